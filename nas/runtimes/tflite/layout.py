"""The order of a tensor's dimensions: TFLite has channels last, PyTorch's operators count them second.

No tensor is moved until an operator needs it in another order: a permutation changes only what is known of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .versions import Handle

Order = tuple[int, ...]

CHANNELS_LAST: Order = (0, 2, 3, 1)
"""Of a map ``[n, channels, height, width]``."""


@dataclass(frozen=True)
class Value:
    """A tensor of the file as an operator of PyTorch sees it.

    Attributes:
        order: PyTorch's number of each dimension that is stored.
    """

    handle: Handle
    order: Order

    @property
    def rank(self) -> int:
        return len(self.order)

    @property
    def shape(self) -> tuple[int, ...]:
        """As PyTorch counts."""
        sizes = dict(zip(self.order, self.handle.shape, strict=True))
        return tuple(sizes[dim] for dim in range(self.rank))

    def axis(self, dim: int) -> int:
        """Where a dimension of PyTorch's lies; negative ones count from its last."""
        return self.order.index(dim % self.rank)

    def lies_as(self, order: Order) -> bool:
        """Whether its numbers follow each other as in another order: dimensions of size 1 do not matter."""
        large = [dim for dim, size in enumerate(self.shape) if size > 1]
        return [dim for dim in self.order if dim in large] == [dim for dim in order if dim in large]


def natural(rank: int) -> Order:
    """PyTorch's own order."""
    return tuple(range(rank))


def with_last(value: Value, dims: Sequence[int]) -> Order:
    """The order of a value with some dimensions moved to the end."""
    last = [dim % value.rank for dim in dims]
    return (*(dim for dim in value.order if dim not in last), *last)


def without(order: Order, dims: Sequence[int]) -> Order:
    """What is left of an order when dimensions vanish, and those behind them count less."""
    gone = {dim % len(order) for dim in dims}
    return tuple(dim - sum(each < dim for each in gone) for dim in order if dim not in gone)


def permuted(order: Order, permutation: Sequence[int]) -> Order:
    """The order of the same numbers after PyTorch's ``permute``."""
    places = [dim % len(order) for dim in permutation]
    return tuple(places.index(dim) for dim in order)
