"""Padding: PyTorch pads both sides alike, TFLite's SAME pads one more after than before where their sum is odd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Pair = Sequence[int]


@dataclass(frozen=True)
class Padding:
    """How a kernel's operator is padded.

    Attributes:
        kind: the operator's own, ``SAME`` or ``VALID``.
        before, after: what an operator in front of it adds, rows and columns; negative where the last ones are read by
            no kernel.
    """

    kind: str
    before: tuple[int, int] = (0, 0)
    after: tuple[int, int] = (0, 0)

    @property
    def in_front(self) -> bool:
        """Whether there is an operator in front."""
        return any(each > 0 for each in (*self.before, *self.after))


def choose_padding(
    size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool = False, same: bool = True
) -> Padding:
    """The padding of a kernel on maps of a size ``[height, width]``, with PyTorch's arguments; ``SAME``, which costs
    nothing, where that pads alike and is allowed (``same``)."""
    wanted, own = [], []
    for each in zip(size, kernel, stride, padding, dilation, strict=True):
        length, taps, step, around, apart = each
        reach = (taps - 1) * apart + 1
        count = (length + 2 * around - reach + (step - 1 if ceil_mode else 0)) // step + 1
        if ceil_mode and (count - 1) * step >= length + around:  # the last one must begin inside or in front
            count -= 1
        wanted.append((count, around, (count - 1) * step + reach - length - around))
        steps = -(-length // step)
        missing = max((steps - 1) * step + reach - length, 0)
        own.append((steps, missing // 2, missing - missing // 2))
    if wanted == own and (same or not any(map(any, (each[1:] for each in own)))):
        return Padding("SAME")
    (_, top, bottom), (_, left, right) = wanted
    return Padding("VALID", (top, left), (max(bottom, 0), max(right, 0)))
