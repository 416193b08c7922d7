"""Which networks a latency model was fitted to, and whether another one is like them. Needs no numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from search_spaces.operators.operator import KINDS
from search_spaces.schema import Amount, Check

MARGIN = 1.1
"""A network may be so many times below the least or above the most: latencies are known to some percent only."""

_NAMES = {
    "conv": "k x k convolutions besides the first", "pointwise": "1 x 1 convolutions",
    "depthwise": "depthwise convolutions", "linear": "linear layers", "matmul": "products of activations",
    "elementwise": "elementwise operators", "pool": "pools",
}  # fmt: skip


def _kinds_problem(kinds: tuple[str, ...]) -> str:
    unknown = [kind for kind in kinds if kind not in KINDS]
    return f"'{unknown[0]}' is unknown; kinds of operators are {', '.join(KINDS)}" if unknown else ""


def _order_problem(ends: tuple[float, float]) -> str:
    return "" if ends[0] <= ends[1] else "give the least first, then the most"


Ends = Annotated[tuple[Amount, Amount], Check(_order_problem)]
Kinds = Annotated[tuple[str, ...], Check(_kinds_problem)]


@dataclass(frozen=True)
class Extent:
    """What says of a network whether it is like others.

    Attributes:
        ms: milliseconds of one image, measured or predicted.
        mmacs: millions of multiply-accumulates.
        px: shorter side of its images.
        operators: how many it runs.
        kinds: of those, as in :data:`KINDS`; ``conv`` only besides the first one.
    """

    ms: float
    mmacs: float
    px: float
    operators: float
    kinds: frozenset[str]


@dataclass(frozen=True)
class MeasuredRange:
    """The networks that a latency model was fitted to, from the least to the most of each figure of :class:`Extent`;
    ``kinds``: those that some of them have. Outside of it the model extrapolates, and its error is not known."""

    ms: Ends
    mmacs: Ends
    px: Ends
    operators: Ends
    kinds: Kinds

    def left_out(self, network: Extent) -> tuple[str, ...]:
        """What was measured, in words, where the network lies outside of it; empty: it lies inside."""
        apart = [name for name in ("ms", "mmacs", "px", "operators") if not self._holds(name, network)]
        if "ms" in apart and "mmacs" in apart:
            apart.remove("mmacs")  # says the same
        strange = [_NAMES[kind] for kind in KINDS if kind in network.kinds and kind not in self.kinds]
        return (*(self.words(name) for name in apart), *(f"no {name}" for name in strange))

    def joined(self, other: MeasuredRange) -> MeasuredRange:
        """Of networks that are partly at one precision, partly at another: from the least to the most of both, with the
        kinds of operators that were measured at both."""

        def ends(name: str) -> tuple[float, float]:
            ours, theirs = getattr(self, name), getattr(other, name)
            return min(ours[0], theirs[0]), max(ours[1], theirs[1])

        kinds = tuple(kind for kind in self.kinds if kind in other.kinds)
        return MeasuredRange(ends("ms"), ends("mmacs"), ends("px"), ends("operators"), kinds)

    def _holds(self, name: str, network: Extent) -> bool:
        (least, most), value = getattr(self, name), getattr(network, name)
        return bool(least / MARGIN <= value <= most * MARGIN)

    def words(self, name: str) -> str:
        """The least and the most of a figure, with its unit."""
        least, most = (f"{end:.3g}" for end in getattr(self, name))
        unit = {"mmacs": "MMACs"}.get(name, name)
        return f"{least} {unit}" if least == most else f"{least} to {most} {unit}"

    @property
    def summary(self) -> str:
        """All of it but the kinds, on a line."""
        return ", ".join(self.words(name) for name in ("ms", "mmacs", "px", "operators"))


def outside(reasons: Sequence[str]) -> str:
    """A label in place of a target's own, of a network that is outside."""
    return f"uncalibrated: outside what was measured ({', '.join(reasons)})"
