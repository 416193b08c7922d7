"""One run of a model, and all that it says: what every dimension of every tensor consists of, which numbers follow,
what each operator costs, and why something stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from .copies import copy_tree, tensor_names
from .dimensions.axes import Axis, Cat, Dim, factors_of, fix, leaves, parts_of, resolve
from .dimensions.layouts import Fixed, Joined, Layout, Nested, Width
from .dimensions.origins import Attribute, Traced
from .dimensions.roots import Root, find_roots
from .inputs import Inputs
from .known_modules import filters_of
from .labels import Labels
from .recorder import Recorder, record


@dataclass(frozen=True)
class AxisFacts:
    """An axis of a tensor of the model.

    Attributes:
        number: in layouts.
        name: tensor and dimension that it was first seen in, ``conv1.weight:0``.
        ordered: its things cannot be put in another order.
        kernel: it is the side of a filter.
    """

    number: int
    name: str
    size: int
    ordered: bool
    kernel: bool


@dataclass(frozen=True)
class Stays:
    """A dimension of a tensor that stays as it is.

    Attributes:
        name: tensor and dimension.
        reason: why, with the line of the model's code where there is one.
    """

    name: str
    size: int
    reason: str


@dataclass(frozen=True)
class OperatorRow:
    """An operator.

    Attributes:
        shapes: of its results.
        macs: the dimensions that multiply to its multiply-accumulates, with another factor ``times``; None: none.
    """

    name: str
    path: str
    shapes: tuple[tuple[Layout, ...], ...]
    macs: tuple[Layout, ...] | None = None
    times: int = 1


@dataclass(frozen=True)
class CallRow:
    """A call of a module, as in :class:`search_spaces.tracing.labels.ModuleCall`."""

    path: str
    first: int
    last: int
    inputs: tuple[Layout, ...] | None
    outputs: tuple[Layout, ...] | None
    passes: bool
    plain: bool


@dataclass(frozen=True)
class Equation:
    """A number of the code that has to equal a size; in the module ``path``."""

    number: Traced
    layout: Layout
    path: str


@dataclass(frozen=True, eq=False)
class Trace:
    """What one run of a model says.

    Attributes:
        tensors: name of a parameter or buffer that was used -> its dimensions.
        attributes: numbers in modules that follow a dimension.
        halves: numbers in modules that are half of a dimension, rounded down (the padding around a filter).
        roots: fractions in modules that are 1 over the root of dimensions (the scale of an attention).
        caches: buffers that the model replaces while it runs; they belong to no weights.
        unknown: operators without a rule -> how often they kept something from shrinking.
    """

    tensors: Mapping[str, tuple[Layout, ...]]
    axes: Mapping[int, AxisFacts]
    stays: tuple[Stays, ...]
    attributes: Mapping[Attribute, Layout]
    halves: Mapping[Attribute, Layout]
    roots: Mapping[Attribute, Root]
    equations: tuple[Equation, ...]
    operators: tuple[OperatorRow, ...]
    calls: tuple[CallRow, ...]
    caches: frozenset[str]
    unknown: Mapping[str, int]
    outputs: tuple[tuple[Layout, ...], ...]
    reader: Reader

    def layout(self, dim: Dim) -> Layout:
        """Of a dimension that an origin in :attr:`equations` refers to."""
        return self.reader.layout(dim)


class Reader:
    """Turns dimensions into layouts; axes are numbered in the order in which they are asked for."""

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}
        self.axes: dict[int, AxisFacts] = {}
        self._alive: list[Axis] = []
        self._known: dict[int, Layout] = {}

    def layout(self, dim: Dim) -> Layout:
        dim = resolve(dim)
        if id(dim) not in self._known:
            self._known[id(dim)] = self._read(dim)
            self._alive.append(dim)  # type: ignore[arg-type]
        return self._known[id(dim)]

    def layouts(self, dims: Iterable[Dim]) -> tuple[Layout, ...]:
        return tuple(map(self.layout, dims))

    def _read(self, dim: Dim) -> Layout:
        if isinstance(dim, Axis):
            if dim.reason is not None:
                return Fixed(dim.size)
            number = self.numbers.setdefault(id(dim), len(self.numbers))
            self.axes[number] = AxisFacts(number, dim.name, dim.size, dim.ordered, dim.kernel)
            return Width(number, dim.size, dim.kernel)
        parts = parts_of(dim) if isinstance(dim, Cat) else factors_of(dim)
        if len(parts) < 2:
            return self.layout(parts[0]) if parts else Fixed(1)
        layouts = tuple(map(self.layout, parts))
        return Joined(layouts) if isinstance(dim, Cat) else Nested(layouts)


def trace(
    model: nn.Module,
    inputs: Inputs,
    free_outputs: bool = False,
    recorder: Callable[[Labels], TorchDispatchMode] = Recorder,
    sizes: bool = True,
) -> Trace:
    """Run a model once, without gradients, on the device of its tensors and inputs.

    The model is as it was afterwards, also where running it fails.

    Args:
        model: in eval mode, on ``meta`` unless its code looks at values.
        free_outputs: whether what it gives may change its size (where it is a part of a larger model).
        recorder: makes what labels the results of operators.
        sizes: whether dimensions whose sizes the code makes equal are the same things, as where they shrink; without,
            those alone are that meet in an operator, as where their order changes.
    """
    twin = copy_tree(model)
    names = tensor_names(twin)
    labels, outputs = record(twin, inputs, names, recorder, sizes)
    caches = frozenset(names.values()) - frozenset(names[each] for each in tensor_names(twin) if each in names)
    if not free_outputs:
        for output in outputs:
            for dim in labels.of(output):
                fix(dim, "an output of the model")
    for dims in (*labels.tensors.values(), *map(labels.of, outputs)):
        for dim in dims:
            _keep_inside(dim)
    reader = Reader()
    tensors = {name: reader.layouts(dims) for name, dims in labels.tensors.items() if name not in caches}
    attributes = {each: reader.layout(dim) for each, dim in labels.attributes.items()}
    halves: dict[Attribute, Layout] = {}
    for path, sides in filters_of(twin):
        layouts = tensors.get(f"{path}.weight".lstrip("."), (Fixed(0),))
        if isinstance(layouts[-1], Width):
            for side in range(sides):
                attributes[Attribute(path, "kernel_size", (side,))] = layouts[-1]
                halves[Attribute(path, "padding", (side,))] = layouts[-1]
    return Trace(
        tensors,
        reader.axes,
        tuple(_list_stays(labels)),
        attributes,
        halves,
        dict(find_roots(model, tensors, attributes)),
        tuple(Equation(each.number, reader.layout(each.dim), each.path) for each in labels.demands),
        tuple(
            OperatorRow(
                each.name,
                each.path,
                tuple(map(reader.layouts, each.dims)),
                None if each.macs is None else reader.layouts(each.macs),
                each.times,
            )
            for each in labels.operators
        ),
        tuple(
            CallRow(
                each.path,
                each.first,
                each.last,
                None if each.inputs is None else reader.layouts(each.inputs),
                None if each.outputs is None else reader.layouts(each.outputs),
                each.passes,
                each.plain,
            )
            for each in labels.calls
        ),
        caches,
        dict(labels.unknown),
        tuple(reader.layouts(labels.of(output)) for output in outputs),
        reader,
    )


def _keep_inside(dim: Dim) -> None:
    """Of nested axes the outer one alone shrinks: heads, not the inside of a head."""
    dim = resolve(dim)
    if isinstance(dim, Axis):
        return
    several = parts_of(dim) if isinstance(dim, Cat) else factors_of(dim)
    if not isinstance(dim, Cat):
        free = [factor for factor in several if any(axis.reason is None for axis in leaves(factor))]
        for factor in free[1:]:
            fix(factor, "inside of what can shrink")
    for each in several:
        if not isinstance(resolve(each), Axis):
            _keep_inside(each)


def _list_stays(labels: Labels) -> Iterable[Stays]:
    """Axes of tensors that stay as they are, and why; not those of size 1."""
    seen: set[int] = set()
    for dims in labels.tensors.values():
        for dim in dims:
            for axis in leaves(dim):
                if axis.reason not in (None, "one", "given") and id(axis) not in seen and axis.name:
                    seen.add(id(axis))
                    yield Stays(axis.name, axis.size, axis.reason or "")
