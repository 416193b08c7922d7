"""Which numbers of a model's code become sizes: what it passes to ``view``, ``split``, slices, norms and so on.

A number that comes from an attribute says that the attribute has to follow the dimension; one that comes from a shape
says that two dimensions are the same; one that is written into the code keeps its dimension as it is.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .dimensions.axes import Axis, Dim, is_fixed, join, nest, size_of, split, unify
from .dimensions.origins import Attribute, Computed, SizeOf, Traced
from .labels import Demand, Labels


@dataclass(frozen=True)
class Given:
    """Arguments of a function, by name."""

    values: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def get(self, *names: str, default: Any = None) -> Any:
        """The first of these arguments that was given."""
        return next((self.values[name] for name in names if name in self.values), default)


Reader = Callable[["Numbers", Given, Any], None]
"""Looks at the arguments of a function, by name, and at what it gave."""

READERS: dict[Any, tuple[tuple[str, ...], Reader]] = {}
"""Function -> names of its arguments in order, and what reads them. A name that begins with ``*`` takes all that
follow."""


def reads(functions: Iterable[Any], *names: str) -> Callable[[Reader], Reader]:
    """What reads the arguments of these functions."""

    def add(reader: Reader) -> Reader:
        READERS.update((function, (names, reader)) for function in functions)
        return reader

    return add


_SHAPE = torch.Tensor.shape


class Numbers(TorchFunctionMode):
    """While active, shapes have origins, and numbers with origins say what follows what.

    ``sizes``: dimensions whose sizes the code makes equal are the same things.
    """

    def __init__(self, labels: Labels, sizes: bool = True) -> None:
        super().__init__()
        self.labels, self.sizes = labels, sizes

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__self__", None) is _SHAPE:
            return self.traced_size(func(*args), self.labels.of(args[0]))
        if func is torch.Tensor.size:
            out = func(*args, **kwargs)
            dims = self.labels.of(args[0])
            if not isinstance(out, int):
                return self.traced_size(out, dims)
            return Traced(out, SizeOf(dims[args[1] if len(args) > 1 else kwargs["dim"]]))
        self.labels.pieces = []
        out = func(*args, **kwargs)
        if func in READERS:
            names, reader = READERS[func]
            reader(self, _by_name(names, args, kwargs), out)
        return out

    def traced_size(self, size: Sequence[int], dims: Sequence[Dim]) -> torch.Size:
        return torch.Size([Traced(n, SizeOf(dim)) for n, dim in zip(size, dims, strict=True)])

    def demand(self, number: Any, dim: Dim) -> None:
        """A number is the size of a dimension."""
        labels = self.labels
        if not self.sizes:
            return
        if not isinstance(number, Traced):
            if isinstance(number, int):
                labels.fix([dim], f"the number {number} is written into the code")
            return
        origin = number.origin
        if isinstance(origin, Attribute):
            known = labels.attributes.setdefault(origin, dim)
            unify(known, dim, f"attribute {origin} is the size of different things")
        elif isinstance(origin, SizeOf):
            unify(origin.dim, dim, f"a size is taken from a shape in {labels.path[-1] or 'the model'}")
        else:
            self._shared_out(origin, dim, int(number))
            labels.demands.append(Demand(number, dim, labels.path[-1]))

    def _shared_out(self, origin: Computed, dim: Dim, value: int) -> None:
        """``C // heads`` says that C is heads times the dimension."""
        whole, parts = origin.left, origin.right
        if (
            origin.function is operator.floordiv
            and isinstance(whole, Traced)
            and isinstance(parts, Traced)
            and isinstance(whole.origin, SizeOf)
            and isinstance(parts.origin, Attribute)
            and int(whole) == int(parts) * value
            and parts.origin in self.labels.attributes
        ):
            unify(whole.origin.dim, nest([self.labels.attributes[parts.origin], dim]), "shared out among heads")

    def demand_all(self, numbers: Sequence[Any], dims: Sequence[Dim]) -> None:
        """Sizes of a shape; -1 is whatever is left."""
        for number, dim in zip(numbers, dims, strict=False):
            if not (isinstance(number, int) and number == -1):
                self.demand(number, dim)


def _by_name(names: Sequence[str], args: Sequence[Any], kwargs: Any) -> Given:
    found = dict(kwargs)
    for number, name in enumerate(names):
        if name.startswith("*"):
            rest = args[number:]
            if rest:
                several = isinstance(rest[0], tuple | list | torch.Size)
                found[name[1:]] = rest[0] if len(rest) == 1 and several else rest
            break
        if number < len(args):
            found[name] = args[number]
    return Given(found)


@reads([torch.Tensor.view, torch.Tensor.reshape, torch.reshape], "x", "*shape")
def _reshape(numbers: Numbers, given: Given, out: Tensor) -> None:
    sizes: Any = given.get("shape", "size", default=())
    if len(sizes) and isinstance(sizes[0], int):
        numbers.demand_all(sizes, numbers.labels.of(out))


@reads([torch.Tensor.expand], "x", "*size")
def _expand(numbers: Numbers, given: Given, out: Tensor) -> None:
    numbers.demand_all(given["size"], numbers.labels.of(out))


@reads([torch.Tensor.unflatten, torch.unflatten], "x", "dim", "sizes")
def _unflatten(numbers: Numbers, given: Given, out: Tensor) -> None:
    dims = numbers.labels.of(out)
    first = given["dim"] % given["x"].dim()
    numbers.demand_all(given["sizes"], dims[first : first + len(given["sizes"])])


_SPLITS = (
    torch.Tensor.split, torch.split, torch.functional.split, torch.Tensor.split_with_sizes, torch.split_with_sizes,
)  # fmt: skip


@reads(_SPLITS, "x", "split_size_or_sections", "dim")
def _split(numbers: Numbers, given: Given, out: Sequence[Tensor]) -> None:
    sizes = given.get("split_size_or_sections", "split_size", "split_sizes")
    sizes = sizes if isinstance(sizes, tuple | list) else [sizes] * len(out)
    for size, piece in zip(sizes, out, strict=False):
        numbers.demand(size, numbers.labels.of(piece)[given.get("dim", default=0)])


@reads([torch.Tensor.chunk, torch.chunk], "x", "chunks", "dim")
def _chunk(numbers: Numbers, given: Given, out: Sequence[Tensor]) -> None:
    d = given.get("dim", default=0)
    for piece in out[1:]:
        unify(numbers.labels.of(out[0])[d], numbers.labels.of(piece)[d], "chunks of one size")


@reads([torch.Tensor.__getitem__], "x", "index")
def _getitem(numbers: Numbers, given: Given, out: Any) -> None:
    """Every slice that isn't full was an operator of its own, in order."""
    seen = numbers.labels.pieces
    if not isinstance(out, Tensor) or not seen:
        return
    index = given["index"] if isinstance(given["index"], tuple) else (given["index"],)
    slices = [each for each in index if isinstance(each, slice) and each != slice(None)]
    if len(slices) != len(seen):
        numbers.labels.fix([dim for pair in seen for dim in pair], "sliced at a fixed place")
        return
    for bounds, (before, piece) in zip(slices, seen, strict=True):
        if piece is None or (is_fixed(piece) and (before is None or is_fixed(before))):
            continue
        numbers_before = join([dim for dim in (before, piece) if dim is not None])
        for bound, dim in ((bounds.start, before), (bounds.stop, numbers_before)):
            if dim is None or bound is None or bound == 0:
                continue
            if isinstance(bound, int) and bound < 0:
                numbers.labels.fix([before, piece], "sliced from the end")
            else:
                numbers.demand(bound, dim)


@reads([torch.Tensor.narrow, torch.narrow], "x", "dim", "start", "length")
def _narrow(numbers: Numbers, given: Given, out: Tensor) -> None:
    if not numbers.labels.pieces:
        return
    before, piece = numbers.labels.pieces[-1]
    if piece is not None:
        numbers.demand(given["length"], piece)
    if before is not None:
        numbers.demand(given["start"], before)


@reads([torch.nn.functional.layer_norm, torch.layer_norm, torch.nn.functional.rms_norm], "x", "normalized_shape")
def _layer_norm(numbers: Numbers, given: Given, out: Tensor) -> None:
    shape = given["normalized_shape"]
    numbers.demand_all(shape, numbers.labels.of(given["x"])[-len(shape) :])


@reads([torch.native_layer_norm, torch.rms_norm], "x", "normalized_shape")
def _native_layer_norm(numbers: Numbers, given: Given, out: Any) -> None:
    _layer_norm(numbers, given, out)


_CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)


@reads(_CONVOLUTIONS, "x", "weight", "bias", "stride", "padding", "dilation", "groups")
def _convolution(numbers: Numbers, given: Given, out: Tensor) -> None:
    groups = given.get("groups", default=1)
    if groups != 1 and numbers.labels.groups is not None:
        numbers.demand(groups, numbers.labels.groups)


_TRANSPOSED = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)


@reads(_TRANSPOSED, "x", "weight", "bias", "stride", "padding", "output_padding", "groups")
def _transposed(numbers: Numbers, given: Given, out: Tensor) -> None:
    _convolution(numbers, given, out)


_FACTORIES = (torch.zeros, torch.ones, torch.empty, torch.rand, torch.randn)
_NEW = (torch.Tensor.new_zeros, torch.Tensor.new_ones, torch.Tensor.new_empty)


@reads(_FACTORIES, "*size")
def _factory(numbers: Numbers, given: Given, out: Tensor) -> None:
    """A tensor that the code makes: its sizes follow where they come from."""
    sizes = given.get("size", default=())
    labels = numbers.labels
    if len(sizes) != out.dim():
        return
    dims = list(labels.of(out))
    for d, size in enumerate(sizes):
        if isinstance(size, Traced) and size > 1:
            dims[d] = Axis(int(size), f"new in {labels.path[-1]}")
            numbers.demand(size, dims[d])
    labels.put(out, dims)
    if labels.operators and len(labels.operators[-1].dims) == 1:
        labels.operators[-1].dims = [dims]


@reads(_NEW, "x", "*size")
def _new(numbers: Numbers, given: Given, out: Tensor) -> None:
    _factory(numbers, given, out)


@reads([torch.full], "size")
def _full(numbers: Numbers, given: Given, out: Tensor) -> None:
    _factory(numbers, given, out)


@reads([torch.Tensor.new_full], "x", "size")
def _new_full(numbers: Numbers, given: Given, out: Tensor) -> None:
    _factory(numbers, given, out)


@reads([torch.arange], "end")
def _arange(numbers: Numbers, given: Given, out: Tensor) -> None:
    """What depends on such numbers, as the frequencies of a position, is not that of fewer."""
    if isinstance(given.get("end"), int) and int(given["end"]) == out.numel():
        _factory(numbers, Given({"size": (given["end"],)}), out)
        numbers.labels.fix(numbers.labels.of(out), "numbered by the code")


_ATTENTION = ("query", "key", "value", "embed_dim_to_check", "num_heads", "in_proj_weight")


@reads([torch.nn.functional.multi_head_attention_forward], *_ATTENTION)
def _attention(numbers: Numbers, given: Given, out: Any) -> None:
    """torch's own attention divides the embedding by the heads inside, out of the sight of this mode."""
    labels = numbers.labels
    width = labels.of(given["query"])[-1]
    numbers.demand(given["embed_dim_to_check"], width)
    weights = [given.get(f"{name}_proj_weight") for name in ("q", "k", "v")]
    packed = given["in_proj_weight"]
    if packed is not None:
        halves = split(labels.of(packed)[0], size_of(width))
        sides = [] if halves is None else [halves[1]]
    else:
        sides = [labels.of(weight)[0] for weight in weights if weight is not None]
    for side in sides:
        unify(side, width, "embedding of an attention")
    heads = split(width, size_of(width) // given["num_heads"])
    if heads is None:
        labels.fix([width], "heads of an attention")
        return
    numbers.demand(given["num_heads"], heads[0])
    labels.fix([heads[1]], "inside of a head")
