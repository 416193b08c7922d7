"""Values of objectives with their units, for people."""

from __future__ import annotations

_UNITS = {"latency": (1.0, " ms"), "size": (1e3, " kB"), "macs": (1e6, " M"), "memory": (1e3, " kB")}


def with_unit(objective: str, value: float) -> str:
    """A value after the name of its objective: ``size 24.3 kB``, ``latency:cortex-a53 1.2 ms``, ``error 0.1``."""
    scale, unit = _UNITS.get(objective.partition(":")[0], (1.0, ""))
    return f"{objective} {value / scale:.4g}{unit}"
