"""Watching a model run: every operator that PyTorch dispatches, and every call of a module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .dimensions.origins import Attribute, follow_value
from .inputs import Inputs
from .known_modules import declare
from .labels import Call, Labels, ModuleCall, Operator, tensors_in
from .meta import run
from .numbers import Numbers
from .rules.table import apply

_OWN = frozenset(vars(nn.Module()))
"""What every module has: its tables of parameters, hooks and so on."""


class Recorder(TorchDispatchMode):
    """Labels the result of every operator."""

    def __init__(self, labels: Labels) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.labels = labels

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunction():  # what is looked at here has no origins
            out = run(func, args, kwargs or {})
            label_results(self.labels, func, args, kwargs or {}, out)
        return out


def label_results(labels: Labels, func: Any, args: Any, kwargs: Any, out: Any) -> Operator:
    """Say what the dimensions of an operator's results are, and note it."""
    name, arguments = _read(func)
    results = tensors_in(out)
    noted = Operator(name, labels.path[-1])
    labels.operators.append(noted)
    call = Call(labels, name, dict(zip(arguments, args, strict=False)) | kwargs, results, noted)
    if results:
        apply(call, func.tags)
    noted.dims = [labels.of(result) for result in results]
    if noted.macs is None and name != "embedding":
        calls = frozenset[int]().union(*map(labels.reached, call.tensors))
        for result in results:
            labels.reach(result, calls)
    return noted


@cache
def _read(func: Any) -> tuple[str, tuple[str, ...]]:
    """Name of an operator, and those of its arguments."""
    name = func.overloadpacket.__name__
    plain = name if name.endswith("__") else name.rstrip("_")
    return plain, tuple(argument.name for argument in func._schema.arguments)


class Shapes(TorchDispatchMode):
    """Notes names, modules and shapes of results alone."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path: list[str] = [""]
        self.notes: list[tuple[str, str, list[tuple[int, ...]]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = run(func, args, kwargs or {})
        self.notes.append((_read(func)[0], self.path[-1], [tuple(result.shape) for result in tensors_in(out)]))
        return out


def record(
    model: nn.Module,
    inputs: Inputs,
    names: Mapping[int, str],
    recorder: Callable[[Labels], TorchDispatchMode] = Recorder,
    sizes: bool = True,
) -> tuple[Labels, list[Tensor]]:
    """Run a model once; what is known of it then, and the tensors that it gave.

    Attributes that hold whole numbers have origins while it runs. ``names``: identity of a tensor -> its name;
    ``recorder`` makes what labels the results of operators; ``sizes`` as in :class:`Numbers`.
    """
    labels = Labels(names)
    declare(model, labels)
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(plain_attention())
        stack.enter_context(watched(model, labels))
        stack.enter_context(followed_attributes(model))
        stack.enter_context(Numbers(labels, sizes))
        stack.enter_context(recorder(labels))
        out = model(*inputs.positional, **inputs.named)
    return labels, tensors_in(out)


def run_shapes(model: nn.Module, inputs: Inputs, shapes: Shapes) -> None:
    """Run a model once under ``shapes``. Where it fails, the last of ``shapes.path`` is the module that failed."""
    handles = []
    for path, module in model.named_modules():

        def enter(_module: nn.Module, _args: Any, path: str = path) -> None:
            shapes.path.append(path)

        def leave(_module: nn.Module, _args: Any, _out: Any) -> None:
            shapes.path.pop()

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        with torch.no_grad(), plain_attention(), shapes:
            model(*inputs.positional, **inputs.named)
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def plain_attention() -> Iterator[None]:
    """torch's transformers run operator by operator, not by one fused function that hides them."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def watched(model: nn.Module, labels: Labels) -> Iterator[None]:
    """Note calls of modules."""
    handles: list[Any] = []
    running: list[int] = []
    for path, module in model.named_modules():

        def enter(_module: nn.Module, args: Any, kwargs: Any, path: str = path) -> None:
            number = len(labels.calls)
            call = ModuleCall(path, len(labels.operators))
            first = next(iter(tensors_in([args, kwargs])), None)
            if first is not None:
                call.inputs = list(labels.of(first))
                labels.reach(first, frozenset([number]))
            labels.calls.append(call)
            labels.path.append(path)
            running.append(number)

        def leave(_module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            labels.path.pop()
            number = running.pop()
            call = labels.calls[number]
            call.last = len(labels.operators)
            call.plain = isinstance(out, Tensor)
            first = next(iter(tensors_in(out)), None)
            if first is not None:
                call.outputs = list(labels.of(first))
                call.passes = number in labels.reached(first)

        handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
        handles.append(module.register_forward_hook(leave, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def followed_attributes(model: nn.Module) -> Iterator[None]:
    """Whole numbers in modules have origins."""
    saved: list[tuple[Any, str, Any]] = []
    for path, module in model.named_modules():
        for name, value in list(vars(module).items()):
            if name in _OWN:
                continue
            followed = follow_value(value, Attribute(path, name))
            if followed is not value:
                saved.append((vars(module), name, value))
                vars(module)[name] = followed
    try:
        yield
    finally:
        for table, name, value in saved:
            table[name] = value
