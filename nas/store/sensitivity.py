"""``sensitivity.json``: what each smaller choice costs a trained supernet, one gene at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from search_spaces.schema import NOT_NULL, Amount, Count

from .records import Versions
from .results import AccuracyRecord


@dataclass(frozen=True, kw_only=True)
class MeasuredSubnet:
    """A subnet: its accuracy on the images of the table, its multiply-accumulates, and its latency on the table's
    target; None: no target was asked for."""

    accuracy: AccuracyRecord
    macs: Count
    latency_ms: Annotated[Amount | None, NOT_NULL] = None


@dataclass(frozen=True, kw_only=True)
class Lowered(MeasuredSubnet):
    """The largest subnet with one gene down.

    Attributes:
        gene: its name.
        largest, choice: its value in the largest subnet, and here.
        lost: accuracy of the largest less that of this one, a share of one.
    """

    gene: str
    largest: float
    choice: float
    lost: float


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """Where a supernet's accuracy goes: every gene taken down to each of its smaller choices, everything else whole.

    Attributes:
        weights: hash of the supernet's weights that were measured.
        calibration_images: what the batch norm of each subnet was calibrated on.
        complete: whether every choice is there; a measurement that was stopped continues from those.
        target: device of the latencies, and their precision; None: none.
        largest: the subnet with every gene whole, on the same images.
        rows: the most accuracy lost first; of equal ones, the fewest MACs saved first.
    """

    weights: str
    calibration_images: Count
    complete: bool
    target: Annotated[str | None, NOT_NULL] = None
    largest: MeasuredSubnet
    rows: tuple[Lowered, ...] = ()
    versions: Versions

    @property
    def images(self) -> int:
        """Images of the search split, the same for every subnet."""
        return self.largest.accuracy.images

    def with_row(self, row: Lowered, complete: bool) -> Sensitivity:
        """The same with one row more, in its place."""
        rows = sorted((*self.rows, row), key=lambda each: (-each.lost, -each.macs))
        return replace(self, rows=tuple(rows), complete=complete)

    def saved(self, row: MeasuredSubnet) -> float:
        """Share of the largest subnet's MACs that a subnet does without."""
        return 1 - row.macs / self.largest.macs
