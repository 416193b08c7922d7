"""What an executed operator is: its kind, its work, and what it reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from search_spaces.architecture import Choice

KINDS = ("conv", "pointwise", "depthwise", "linear", "matmul", "elementwise", "pool")


class Buffer(NamedTuple):
    """A tensor in memory, of one image: its number, equal in all operators of one trace (0 is the image), and all the
    elements that it holds, even where an operator reads a part of it."""

    number: int
    elements: int


@dataclass(frozen=True)
class Op:
    """One executed operator at batch 1.

    Attributes:
        kind: one of :data:`KINDS`: ``conv`` is a dense or grouped k x k convolution, ``pointwise`` a dense 1x1,
            ``depthwise`` one filter per channel, ``linear`` a product with a constant matrix, ``matmul`` one of two
            activations, ``pool`` a reduction, ``elementwise`` everything else.
        path: module that executes it, ``blocks.2.0.conv_dw``.
        out_shape: without the batch dimension.
        macs: multiply-accumulates of convolutions and matrix products.
        weights: weight elements (quantized per channel); a weight that is used twice counts once.
        channels: output channels that have a bias and a scale after folding.
        moved: activation elements read and written.
        reads: activations read, in the order of its arguments.
        writes: activations written; the first is the result.
        one_to_one: element i of the result needs no other element of an input of its size than i, or the rows of
            elements around it that are read before it is written (softmax, layer norm): it can be computed in place.
    """

    kind: str
    path: str
    out_shape: tuple[int, ...]
    macs: int
    weights: int
    channels: int
    moved: int
    reads: tuple[Buffer, ...]
    writes: tuple[Buffer, ...]
    one_to_one: bool


@dataclass(frozen=True)
class Stretch:
    """Operators of a network that follow one another, and what is alive around them.

    Attributes:
        before: buffers that were written before and are read in it or later.
        after: buffers that are read after it.
    """

    ops: tuple[Op, ...]
    before: tuple[Buffer, ...]
    after: tuple[Buffer, ...]


@dataclass(frozen=True)
class Part:
    """What a part of a network executes for one combination of its genes.

    Attributes:
        number: of the part.
        values: of its genes.
        params: its parameters.
        stretches: its operators where they follow one another; several where the network comes back to it.
    """

    number: int
    values: Mapping[str, Choice]
    params: int
    stretches: tuple[Stretch, ...]
