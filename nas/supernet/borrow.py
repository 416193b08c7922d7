"""Views of a supernet's tensors for a smaller network of the same names.

The rule: a convolution kernel is cropped at its centre, every other dimension is a leading slice. Three exceptions. A
family that knows more (``Family.pieces``) says for each dimension which runs of it are laid end to end. A
*packed* parameter holds several parts along its first dimension, each sliced by itself and put together again. A
convolution with *kernel transforms* (Cai et al., arXiv:1908.09791, section 3.3: matrices ``7to5_matrix`` and
``5to3_matrix`` beside its weight) passes each crop through the matrix of its size.

Views share storage with the supernet, and gradients flow through all of them, so training a subnet trains the supernet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces.space import Pieces

Slices = tuple[slice, ...]
_FEW_RUNS = 32
"""Of more runs than this, joining views takes longer than looking up every index."""


@dataclass(frozen=True)
class Cut:
    """How to get one tensor of the smaller network.

    Attributes:
        name: of the tensor, in both networks.
        parts: what to cut out; several are joined along the first dimension; none: the tensor as it is.
        transforms: names of the kernel matrices that the cut passes through, largest kernel first.
        pieces: in place of parts, runs of every dimension.
    """

    name: str
    parts: tuple[Slices, ...] = ()
    transforms: tuple[str, ...] = ()
    pieces: Pieces = ()

    def take(self, source: Mapping[str, Tensor]) -> Tensor:
        """The tensor; a view of ``source`` unless it is packed or transformed."""
        whole = source[self.name]
        if self.pieces:
            return take_pieces(whole, self.pieces)
        if not self.parts:
            return whole
        if len(self.parts) > 1:
            return torch.cat([whole[part] for part in self.parts])
        cut = whole[self.parts[0]]
        for name in self.transforms:
            matrix = source[name]
            side = int(matrix.shape[0] ** 0.5)
            crop = cut[slices(cut.shape, torch.Size((*cut.shape[:2], side, side)))]
            cut = (crop.reshape(-1, side * side) @ matrix.T).reshape(*crop.shape)
        return cut


def take_pieces(tensor: Tensor, pieces: Pieces) -> Tensor:
    """Runs of every dimension laid end to end; a view where each dimension has one run."""
    plain = tuple(
        slice(runs[0][0], sum(runs[0])) if runs is not None and len(runs) == 1 else slice(None) for runs in pieces
    )
    if any(each != slice(None) for each in plain):
        tensor = tensor[plain]
    for d, runs in enumerate(pieces):
        if runs is None or len(runs) == 1:
            continue
        if len(runs) <= _FEW_RUNS:
            tensor = torch.cat([tensor.narrow(d, first, count) for first, count in runs], d)
        else:
            index = torch.cat([torch.arange(first, first + count) for first, count in runs])
            tensor = tensor.index_select(d, index.to(tensor.device))
    return tensor


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
    source: Mapping[str, Tensor], shapes: Iterable[tuple[str, torch.Size]], packed: Mapping[str, int] | None = None
) -> list[Cut]:
    """For every tensor of the smaller network, by its ``shapes``, how to get it from ``source``.

    ``packed`` is as in ``search_spaces.space.Family``. Raises ValueError where a shape does not fit.
    """
    return [_cut(source, name, shape, packed or {}) for name, shape in shapes]


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
        whole = (slice(0, small[0]), slice(0, small[1]))
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
