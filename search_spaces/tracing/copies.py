"""Copies of a model's tree of modules: the same tensors, and attributes that can be changed in the copy alone."""

# mypy: allow-untyped-calls
# (what is pasted beside exported weights has no types)

from __future__ import annotations

from collections import OrderedDict
from types import MethodType
from typing import Any

from torch import Tensor, nn

from search_spaces.builders.rebuild import name_tensors

_TABLES = ("_parameters", "_buffers", "_modules")


def copy_tree(model: nn.Module) -> nn.Module:
    """A model of the same classes and tensors. What a run keeps in dictionaries, lists and hooks stays in the copy."""
    twins: dict[int, nn.Module] = {}
    twin = _copy(model, twins)
    for each in twins.values():
        for name, value in list(vars(each).items()):
            if name not in _TABLES:
                vars(each)[name] = _rebound(value, twins)
    return twin


def _copy(module: nn.Module, twins: dict[int, nn.Module]) -> nn.Module:
    if id(module) not in twins:
        twin = twins[id(module)] = module.__class__.__new__(module.__class__)
        vars(twin).update(vars(module))
        vars(twin).update({name: dict(vars(module)[name]) for name in _TABLES})
        for name, child in twin._modules.items():
            twin._modules[name] = None if child is None else _copy(child, twins)
    return twins[id(module)]


def _rebound(value: Any, twins: dict[int, nn.Module]) -> Any:
    """An attribute's value, with the copies of modules in place of the modules."""
    if isinstance(value, nn.Module):
        return twins.get(id(value), value)
    if isinstance(value, MethodType) and isinstance(value.__self__, nn.Module) and id(value.__self__) in twins:
        return MethodType(value.__func__, twins[id(value.__self__)])
    if type(value) in (list, tuple):
        return type(value)(_rebound(each, twins) for each in value)
    if type(value) is dict or type(value) is OrderedDict:  # of hooks, too: code may add some while it runs
        return type(value)((key, _rebound(each, twins)) for key, each in value.items())
    return value.copy() if type(value) is set else value


def tensor_names(model: nn.Module) -> dict[int, str]:
    """Identity of every parameter and buffer -> its name, the first of several."""
    names: dict[int, str] = name_tensors(model)
    return names


def all_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Every name of a parameter or buffer -> the tensor; one with several names is there several times."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def shared_tensors(module: nn.Module) -> list[tuple[list[Any], int, Tensor]]:
    """Lists in a module's attributes that hold some of its parameters too (recurrent networks have one): the list, the
    place in it, and the tensor."""
    own = {id(tensor) for tensor in module._parameters.values() if tensor is not None}
    return [
        (value, place, tensor)
        for name, value in vars(module).items()
        if name not in _TABLES and type(value) is list
        for place, tensor in enumerate(value)
        if isinstance(tensor, Tensor) and id(tensor) in own
    ]
