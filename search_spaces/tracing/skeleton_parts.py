"""A model in parts whose tensors and numbers depend on few genes: blocks, and what is left. Networks are put together
of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import MethodType
from typing import Any

from torch import nn

from search_spaces.space import Segment

from .dimensions.layouts import axes_of
from .elastic import ElasticModel

_PLAIN = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def skeleton_parts(elastic: ElasticModel) -> tuple[Segment, ...]:
    """Parts of a model: each block that may go, other modules beside and around them, and ``""`` for the rest.

    Where modules know one another by other ways than the tree, the model is one part.
    """
    deleted = {block: each.run.delete for each in elastic.depths for block in each.run.blocks}
    blocks = {block for run in elastic.runs for block in run.blocks}
    paths = tuple(_split("", elastic.model, blocks))
    if _tangled(elastic.model, paths):
        paths = ()
    depends = _depends(elastic, paths)
    found = []
    for path in paths:
        gate = elastic.gates.get(path)
        found.append(Segment(path, tuple(depends[path]), gate, gate is not None and not deleted[path]))
    inside = [] if paths else [each.gene.name for each in elastic.depths]
    return (*found, Segment("", (*inside, *depends[""])))


def _split(path: str, module: nn.Module, blocks: set[str]) -> Iterator[str]:
    """Paths of parts: blocks, and members of plain containers and of the model that have modules but no blocks."""
    for name, child in module._modules.items():
        here = f"{path}.{name}".lstrip(".")
        if child is None:
            continue
        if here in blocks:
            yield here
        elif any(block.startswith(f"{here}.") for block in blocks) or isinstance(child, _PLAIN):
            yield from _split(here, child, blocks)
        elif (isinstance(module, _PLAIN) or (child._modules and not path)) and any(True for _ in child.parameters()):
            yield here


def _tangled(model: nn.Module, paths: tuple[str, ...]) -> bool:
    """Whether a module has another one in an attribute that lies in another part, or occurs twice."""
    owner = {}
    places = 0
    for path, module in model.named_modules(remove_duplicate=False):
        places += 1
        owner[id(module)] = innermost(path, paths)
    if places > len(owner):
        return True
    for path, module in model.named_modules():
        here = innermost(path, paths)
        for name, value in vars(module).items():
            if name not in ("_modules", "_parameters", "_buffers"):
                for other in _modules_in(value):
                    if not here or owner.get(id(other), here) != here:
                        return True
    return False


def _modules_in(value: Any) -> Iterator[nn.Module]:
    """Modules that an attribute refers to."""
    if isinstance(value, nn.Module):
        yield value
    elif isinstance(value, MethodType) and isinstance(value.__self__, nn.Module):
        yield value.__self__
    elif isinstance(value, list | tuple | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _modules_in(each)


def _depends(elastic: ElasticModel, paths: tuple[str, ...]) -> dict[str, list[str]]:
    """Path of a part -> genes that tensors and numbers in it depend on, in order."""
    genes, trace = elastic.axis_genes, elastic.trace
    found: dict[str, set[str]] = {path: set() for path in ("", *paths)}
    for name, layouts in trace.tensors.items():
        mine = found[innermost(name, paths)]
        mine.update(genes[axis] for layout in layouts for axis in axes_of(layout) if axis in genes)
    wholes = [(attribute, (layout,)) for attribute, layout in (*trace.attributes.items(), *trace.halves.items())]
    for attribute, several in (*wholes, *((attribute, root.layouts) for attribute, root in trace.roots.items())):
        here = found[innermost(attribute.path, paths)]
        here.update(genes[axis] for layout in several for axis in axes_of(layout) if axis in genes)
    return {path: [gene.name for gene in elastic.genes if gene.name in names] for path, names in found.items()}


def innermost(path: str, paths: Sequence[str]) -> str:
    """The longest of some module paths that a path lies in."""
    return max((each for each in paths if not each or f"{path}.".startswith(f"{each}.")), key=len, default="")
