"""Fronts of known figures, for tests of the report."""

from __future__ import annotations

from typing import Any


def make_front(result: dict[str, Any]) -> dict[str, Any]:
    """A front of known figures: the first member again and again."""
    first = result["front"][0]
    result["front"] = [
        first | {
            "id": f"{i}-int8", "latency_ms": latency, "size_bytes": 1000 * i,
            "accuracy": first["accuracy"] | {"value": value, "low": value - 0.1, "high": value + 0.05},
        }
        for i, (latency, value) in enumerate([(0.5, 0.5), (0.75, 0.7), (1.25, 0.6), (3.0, 0.9)])
    ]  # fmt: skip
    return result
