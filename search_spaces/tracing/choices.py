"""From axes and runs of blocks to genes: what is decided together, how it is called, and which sizes there are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from search_spaces.genes import Gene

from .blocks import Run
from .dimensions.layouts import Joined, Layout, Nested, Width, axes_of
from .known_modules import SMALLEST_KERNEL
from .trace import AxisFacts, Trace

_DIGITS = "0123456789"
_FEW = 4
"""An axis of so many things or fewer has no gene, unless they are heads or groups."""
_LEAST = 2
"""Of one thing, a reshape copies nothing and sums are spread: other operators run."""
_COUNTED = re.compile(r"head|group|branch", re.IGNORECASE)


@dataclass(frozen=True)
class Shares:
    """Choices, as fractions of what the model has; 1 is always among them.

    Attributes:
        width: of the things of an axis; channels are rounded to multiples of 8 (of 4 below 64, none below 32).
        heads: of heads and groups.
        depth: of the blocks of a run.
        kernel: sides of depthwise filters; empty: every odd one from 3.
        tied: outputs of one size of the same layer of the blocks of a stage have one gene.
    """

    width: tuple[float, ...] = (0.5, 0.75)
    heads: tuple[float, ...] = (0.5, 0.75)
    depth: tuple[float, ...] = (0.5,)
    kernel: tuple[int, ...] = ()
    tied: bool = True


@dataclass(frozen=True)
class WidthGene:
    """How many things of some axes, which are of one size, a network has."""

    gene: Gene
    axes: tuple[int, ...]


@dataclass(frozen=True)
class DepthGene:
    """How many blocks of a run a network has."""

    gene: Gene
    run: Run


@dataclass(frozen=True)
class _Place:
    """Where an axis occurs: ``uses`` are (tensor, dimension), ``counts`` attributes that are its size alone;
    ``nested``: its things have an inside, as heads have."""

    facts: AxisFacts
    uses: tuple[tuple[str, int], ...]
    counts: tuple[tuple[str, str], ...]
    nested: bool

    @property
    def counted(self) -> bool:
        """Whether it counts heads or groups."""
        return self.nested and any(_COUNTED.search(name) for _, name in self.counts)

    @property
    def label(self) -> tuple[str, str]:
        """Module and kind that the gene is called after: the first module whose output it is."""
        if self.facts.kernel:
            return self.uses[0][0].rpartition(".")[0], "kernel"
        if self.counted:
            path, name = next((path, name) for path, name in self.counts if _COUNTED.search(name))
            return path, name
        outputs = [name for name, d in self.uses if d == 0] or [name for name, _ in self.uses]
        weights = [name for name in outputs if name.endswith("weight")] or outputs
        return weights[0].rpartition(".")[0], "width"


def width_genes(
    model: nn.Module, trace: Trace, runs: Sequence[Run], shares: Shares, without: frozenset[int]
) -> list[WidthGene]:
    """Genes of all axes but those ``without``, in the order in which the network uses them."""
    groups: dict[tuple[str, int, object], list[tuple[_Place, str]]] = {}
    names = _numbered(model)
    for place in _places(trace):
        number = place.facts.number
        if number in without or (place.facts.size <= _FEW and not place.counted and not place.facts.kernel):
            continue
        path, kind = place.label
        stage, inside = _stage_of(path, names) if shares.tied else ("", "")
        label: object = (kind, f"{path}.".removeprefix(inside)) if stage else number
        groups.setdefault((stage, place.facts.size, label), []).append((place, inside))
    found: list[WidthGene] = []
    taken: set[str] = set()
    for (stage, _, _), members in groups.items():
        place, inside = members[0]
        choices = _width_choices(place, shares)
        if len(choices) < 2:
            continue
        path, kind = place.label
        if len(members) > 1:
            path = f"{stage}.each.{f'{path}.'.removeprefix(inside)}".rstrip(".")
        name = _free_name(f"{path}.{kind}".lstrip("."), taken)
        gate = _gate([each.uses for each, _ in members], runs, shares)
        found.append(WidthGene(Gene(name, choices, gate), tuple(each.facts.number for each, _ in members)))
    return found


def depth_genes(runs: Sequence[Run], shares: Shares) -> list[DepthGene]:
    """A gene for every run that can be shorter."""
    found = []
    for run in runs:
        choices = depth_choices(run, shares)
        if len(choices) > 1:
            found.append(DepthGene(Gene(depth_name(run, runs), choices), run))
    return found


def depth_name(run: Run, runs: Sequence[Run]) -> str:
    """Of the module that has the blocks; with the first block where it has several runs."""
    several = sum(other.owner == run.owner for other in runs) > 1
    owner = run.blocks[0] if several else run.owner
    return f"{owner}.depth".lstrip(".")


def depth_choices(run: Run, shares: Shares) -> tuple[int, ...]:
    count = len(run.blocks)
    return tuple(sorted({max(run.least, round(count * share)) for share in (*shares.depth, 1.0)}))


def _width_choices(place: _Place, shares: Shares) -> tuple[int, ...]:
    size = place.facts.size
    if place.facts.kernel:
        sides = shares.kernel or range(SMALLEST_KERNEL, size, 2)
        return tuple(sorted({side for side in sides if side < size and side % 2} | {size}))
    step = 1 if place.counted else 8 if size >= 64 and size % 8 == 0 else 4 if size >= 32 and size % 4 == 0 else 1
    fractions = shares.heads if place.counted else shares.width
    sizes = {max(step, _LEAST, round(size * share / step) * step) for share in fractions}
    return tuple(sorted({each for each in sizes if each < size} | {size}))


def _places(trace: Trace) -> Iterator[_Place]:
    """Every axis of a tensor of the model, in order."""
    uses: dict[int, list[tuple[str, int]]] = {}
    nested: set[int] = set()
    for name, layouts in trace.tensors.items():
        for d, layout in enumerate(layouts):
            nested.update(_with_inside(layout))
            for axis in dict.fromkeys(axes_of(layout)):
                uses.setdefault(axis, []).append((name, d))
    counts: dict[int, list[tuple[str, str]]] = {}
    for attribute, layout in trace.attributes.items():
        if isinstance(layout, Width) and not attribute.place:
            counts.setdefault(layout.axis, []).append((attribute.path, attribute.name))
    for axis, places in uses.items():
        yield _Place(trace.axes[axis], tuple(places), tuple(counts.get(axis, ())), axis in nested)


def _with_inside(layout: Layout) -> Iterator[int]:
    """Axes with something nested in them."""
    if isinstance(layout, Nested):
        for factor in layout.factors[:-1]:
            if isinstance(factor, Width):
                yield factor.axis
    if isinstance(layout, Joined | Nested):
        for part in layout.parts if isinstance(layout, Joined) else layout.factors:
            yield from _with_inside(part)


def _numbered(model: nn.Module) -> frozenset[str]:
    """Paths of blocks of a stage: modules of several parts whose names differ from a sibling's in a number alone."""
    found = set()
    for path, module in model.named_modules():
        kinds = [(type(child), name.rstrip(_DIGITS)) for name, child in module._modules.items()]
        for (name, child), kind in zip(module._modules.items(), kinds, strict=True):
            if child is None or isinstance(child, nn.Sequential | nn.ModuleList) or not child._modules:
                continue
            if kind[1] != name and kinds.count(kind) > 1:
                found.add(f"{path}.{name}".lstrip("."))
    return frozenset(found)


def _stage_of(path: str, blocks: frozenset[str]) -> tuple[str, str]:
    """The stage, and the prefix of the block in it, that a module lies in; empty: in none.

    Blocks whose name is a number alone come first: others may be layers of a block.
    """
    around = [path]
    while "." in around[-1]:
        around.append(around[-1].rpartition(".")[0])
    for plain in (True, False):
        for block in around:
            if block in blocks and block.rpartition(".")[2].isdigit() == plain:
                return block.rpartition(".")[0] or "blocks", f"{block}."
    return "", ""


def _gate(uses: Iterable[Iterable[tuple[str, int]]], runs: Sequence[Run], shares: Shares) -> tuple[str, int] | None:
    """When a gene counts: only where one of the blocks that it is about is there."""
    first: dict[str, int] = {}
    for places in uses:
        blocks = {_block_of(name, runs) for name, _ in places}
        if len(blocks) != 1 or (block := blocks.pop()) is None:
            return None
        run, number = block
        name = depth_name(run, runs)
        first[name] = min(number, first.get(name, number))
    if len(first) != 1:
        return None
    name, number = first.popitem()
    run = next(run for run in runs if depth_name(run, runs) == name)
    choices = depth_choices(run, shares)
    if number < choices[0] or len(choices) < 2:
        return None
    return name, next(choice for choice in choices if choice > number)


def _block_of(tensor: str, runs: Sequence[Run]) -> tuple[Run, int] | None:
    for run in runs:
        for number, block in enumerate(run.blocks):
            if tensor.startswith(f"{block}."):
                return run, number
    return None


def _free_name(name: str, taken: set[str]) -> str:
    """A name that no other gene has: two axes may be the output of one module."""
    number, free = 2, name
    while free in taken:
        free, number = f"{name}{number}", number + 1
    taken.add(free)
    return free
