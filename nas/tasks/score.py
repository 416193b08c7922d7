"""How well a network did, as everything but its task sees it."""

from __future__ import annotations

from typing import Protocol


class Score(Protocol):
    """How well a network did on some examples."""

    @property
    def value(self) -> float:
        """From 0 to 1, and larger is better: a search minimises the rest to 1."""

    @property
    def standard_error(self) -> float:
        """Of ``value``, above 0."""

    def interval(self, z: float = 1.96) -> tuple[float, float]:
        """Confidence interval of ``value``: ``z`` standard deviations of a normal distribution to each side."""

    def record(self) -> dict[str, float]:
        """What a journal and a result keep of it; :meth:`Task.score_of` is the inverse."""
