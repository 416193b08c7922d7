"""Views of a supernet's tensors for a smaller network of the same names.

The rule: a convolution kernel is cropped at its centre, every other dimension is a leading slice. Three exceptions. A
*packed* parameter holds several parts along its first dimension, each sliced by itself and put together again. A
convolution with *kernel transforms* (Cai et al., arXiv:1908.09791, section 3.3: matrices ``7to5_matrix`` and
``5to3_matrix`` beside its weight) passes each crop through the matrix of its size. And a family may say itself which
*pieces* of a dimension a network takes (``search_spaces.space.Family.pieces``).

Views share storage with the supernet, and gradients flow through all of them, so training a subnet trains the supernet.
What is put together of several pieces is a copy: gradients flow through it too, but what a network writes into such a
buffer has to be brought back (:meth:`Cut.put_back`).
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, product
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.space import Pieces

Slices = tuple[slice, ...]


@dataclass(frozen=True)
class Cut:
    """How to get one tensor of the smaller network.

    Attributes:
        name: of the tensor, in both networks.
        parts: what to cut out; several are joined along a dimension; none: the tensor as it is.
        transforms: names of the kernel matrices that the cut passes through, largest kernel first.
        dim: along which parts are joined.
        then: further dimensions that are put together of several slices, where one is not enough.
    """

    name: str
    parts: tuple[Slices, ...] = ()
    transforms: tuple[str, ...] = ()
    dim: int = 0
    then: tuple[tuple[int, Slices], ...] = ()

    def take(self, source: Mapping[str, Tensor]) -> Tensor:
        """The tensor; a view of ``source`` unless it is put together or transformed."""
        whole = source[self.name]
        if not self.parts:
            return whole
        if len(self.parts) > 1:
            if whole.ndim == 1:
                return whole.index_select(0, self._index(whole.device))
            if whole.requires_grad and torch.is_grad_enabled():
                joined: Tensor = _Join.apply(whole, self)  # type: ignore[no-untyped-call]
                return joined
            return self.join(whole)
        cut = _view(whole, self.parts[0])
        for name in self.transforms:
            matrix = source[name]
            side = int(matrix.shape[0] ** 0.5)
            crop = cut[slices(cut.shape, torch.Size((*cut.shape[:2], side, side)))]
            cut = (crop.reshape(-1, side * side) @ matrix.T).reshape(*crop.shape)
        return cut

    def join(self, whole: Tensor) -> Tensor:
        """Several parts, put together."""
        joined = torch.cat([whole[part] for part in self.parts], self.dim)
        for dim, pieces in self.then:
            before = (slice(None),) * dim
            joined = torch.cat([joined[(*before, piece)] for piece in pieces], dim)
        return joined

    def _index(self, device: torch.device) -> Tensor:
        """The entries of a vector that are taken."""
        if device not in self._indices:
            with torch.inference_mode(False):  # it is kept, and may be needed for a gradient later
                runs = [torch.arange(piece.start, piece.stop, device=device) for (piece,) in self.parts]
                self._indices[device] = torch.cat(runs)
        return self._indices[device]

    @cached_property
    def _indices(self) -> dict[torch.device, Tensor]:
        return {}

    @property
    def copies(self) -> bool:
        """Whether the tensor is put together, and no view."""
        return len(self.parts) > 1

    def put_back(self, source: Mapping[str, Tensor], taken: Tensor) -> None:
        """Write a tensor that was put together to where it was taken from."""
        self.place(source[self.name], taken)

    def place(self, whole: Tensor, taken: Tensor) -> None:
        """Write what was put together of ``whole`` into it."""
        if whole.ndim == 1:
            whole.index_copy_(0, self._index(whole.device), taken)
            return
        joined = ((self.dim, tuple(part[self.dim] for part in self.parts)), *self.then)
        for places in product(*(_placed(dim, pieces) for dim, pieces in joined)):
            there, here = list(self.parts[0]), [slice(None)] * taken.dim()
            for dim, piece, place in places:
                there[dim], here[dim] = piece, place
            whole[tuple(there)].copy_(taken[tuple(here)])

    def take_first(self, tensor: Tensor) -> Tensor:
        """The same along the first dimension alone, of a tensor with an entry for each row of this one."""
        if not self.parts:
            return tensor
        if self.dim == 0 and self.copies:
            return torch.cat([tensor[part[0]] for part in self.parts])
        first = next((pieces for dim, pieces in self.then if dim == 0), (self.parts[0][0],))
        return torch.cat([tensor[piece] for piece in first]) if len(first) > 1 else tensor[first[0]]


class _Join(torch.autograd.Function):
    """:meth:`Cut.join` as one step of the graph: each piece by itself would have a gradient as large as the whole."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, cut: Cut) -> Tensor:
        ctx.cut, ctx.shape, ctx.stride = cut, whole.shape, whole.stride()
        return cut.join(whole)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        whole = grad.new_empty_strided(ctx.shape, ctx.stride).zero_()
        ctx.cut.place(whole, grad)
        return whole, None


def _view(whole: Tensor, part: Slices) -> Tensor:
    """A part of a tensor; of several dimensions at once, since each by itself would have a gradient of its own."""
    shape = [piece.stop - piece.start for piece in part]
    if sum(map(operator.ne, shape, whole.shape)) < 2:
        return whole[part]
    strides = whole.stride()
    first = sum(piece.start * stride for piece, stride in zip(part, strides, strict=True))
    return whole.as_strided(shape, strides, whole.storage_offset() + first)


def _placed(dim: int, pieces: Slices) -> list[tuple[int, slice, slice]]:
    """For each of several pieces of a dimension where it is, and where it comes to lie."""
    ends = list(accumulate(piece.stop - piece.start for piece in pieces))
    places = [slice(end - (piece.stop - piece.start), end) for piece, end in zip(pieces, ends, strict=True)]
    return [(dim, piece, place) for piece, place in zip(pieces, places, strict=True)]


def slices(large: torch.Size, small: torch.Size, name: str = "tensor") -> Slices:
    """Index that cuts a tensor of shape ``small`` out of one of shape ``large``.

    The last two dimensions of a 4-D weight are kernel height and width: cropped at the centre. Raises ValueError:
    ``small`` does not fit into ``large``.
    """
    if len(large) != len(small) or any(s > b for s, b in zip(small, large, strict=True)):
        raise ValueError(f"{name}: {tuple(small)} is not a part of {tuple(large)}")
    index = [slice(0, s) for s in small]
    if len(small) == 4:
        for d in (2, 3):
            start = (large[d] - small[d]) // 2
            index[d] = slice(start, start + small[d])
    return tuple(index)


def plan(
    source: Mapping[str, Tensor],
    shapes: Iterable[tuple[str, torch.Size]],
    packed: Mapping[str, int] | None = None,
    pieces: Mapping[str, Pieces] | None = None,
) -> list[Cut]:
    """For every tensor of the smaller network, by its ``shapes``, how to get it from ``source``.

    ``packed`` and ``pieces`` are as in ``search_spaces.space.Family``. Raises ValueError where a shape does not fit.
    """
    if pieces is None:
        return [_cut(source, name, shape, packed or {}) for name, shape in shapes]
    return [_pieced(name, source[name].shape, shape, pieces.get(name)) for name, shape in shapes]


def _pieced(name: str, large: torch.Size, small: torch.Size, pieces: Pieces | None) -> Cut:
    sides = [((0, side),) for side in large] if pieces is None else pieces
    runs = [((0, side),) if each is None else each for each, side in zip(sides, large, strict=True)]
    if [sum(count for _, count in each) for each in runs] != list(small):
        raise ValueError(f"{name}: {tuple(small)} is not what is taken of {tuple(large)}")
    if large == small:
        return Cut(name)
    index = [tuple(slice(first, first + count) for first, count in each) for each in runs]
    several = [dim for dim, each in enumerate(index) if len(each) > 1]
    if not several:
        return Cut(name, (tuple(each[0] for each in index),))
    dim, *others = several
    around = [slice(None) if d in others else each[0] for d, each in enumerate(index)]
    parts = tuple((*around[:dim], piece, *around[dim + 1 :]) for piece in index[dim])
    return Cut(name, parts, (), dim, tuple((other, index[other]) for other in others))


def _cut(source: Mapping[str, Tensor], name: str, small: torch.Size, packed: Mapping[str, int]) -> Cut:
    large = source[name].shape
    if large == small:
        return Cut(name)
    parts = next((n for ending, n in packed.items() if name.endswith(ending)), 1)
    if parts > 1:
        step, length = large[0] // parts, small[0] // parts
        rest = slices(large, small, name)[1:]
        return Cut(name, tuple((slice(p * step, p * step + length), *rest) for p in range(parts)))
    module = name.removesuffix("weight")
    if len(small) == 4 and small[3] < large[3] and f"{module}{large[3]}to{large[3] - 2}_matrix" in source:
        sides = range(large[3], small[3], -2)
        whole = tuple(slice(0, side) for side in (*small[:2], *large[2:]))
        return Cut(name, (whole,), tuple(f"{module}{side}to{side - 2}_matrix" for side in sides))
    return Cut(name, (slices(large, small, name),))


def borrow(source: Mapping[str, Tensor], cuts: Iterable[Cut]) -> dict[str, Tensor]:
    """The smaller network's tensors, by a :func:`plan`. Gradients flow through them; buffers are written through."""
    return {cut.name: cut.take(source) for cut in cuts}


def named_shapes(model: nn.Module) -> list[tuple[str, torch.Size]]:
    """Names and shapes of all parameters and persistent buffers."""
    return [(name, tensor.shape) for name, tensor in model.state_dict(keep_vars=True).items()]


def constant_shapes(model: nn.Module) -> list[tuple[str, torch.Size]]:
    """Names and shapes of the buffers that a state dict leaves out, such as the filters of a blurring pool."""
    kept = model.state_dict(keep_vars=True)
    return [(name, buffer.shape) for name, buffer in model.named_buffers() if name not in kept]


def add_kernel_transforms(model: nn.Module, sides: Mapping[str, Iterable[int]]) -> None:
    """Give convolutions of the largest network kernel matrices, identity at first; its own output does not change.

    ``sides``: name of a convolution -> smaller kernel sides that occur, in steps of 2 below its own.
    """
    for name, smaller in sides.items():
        module = model.get_submodule(name)
        weight = model.get_parameter(f"{name}.weight")
        for side in smaller:
            matrix = torch.eye(side * side, device=weight.device, dtype=weight.dtype)
            module.register_parameter(f"{side + 2}to{side}_matrix", nn.Parameter(matrix))
