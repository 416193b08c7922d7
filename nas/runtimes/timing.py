"""How long opened files take on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping

import numpy as np

from .runtime import Exported, ImageShape

_WARM_UP, _RUNS = 5, 50


def latency_ms(model: Exported, image_shape: ImageShape) -> float:
    """Latency of one file in ms, as of :func:`latencies_ms`."""
    return latencies_ms({"": (model, image_shape)})[""]


def latencies_ms(files: Mapping[str, tuple[Exported, ImageShape]], runs: int = _RUNS) -> dict[str, float]:
    """Median processor time of one image of its shape on one thread of this machine, in ms, for each file by name.

    Processor time, not wall time: other programs do not count. Files take turns, so that changes of the machine's clock
    affect all alike; an inference that does not count precedes each timed one, since the caches then hold the data of
    other files.
    """
    rng = np.random.default_rng(0)
    images = {name: rng.standard_normal((1, *shape), dtype=np.float32) for name, (_, shape) in files.items()}
    times: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(_WARM_UP + runs):
        for name, (model, _) in files.items():
            image = images[name]
            if len(files) > 1:
                model(image)
            start = time.thread_time()
            model(image)
            times[name].append(time.thread_time() - start)
    return {name: 1e3 * statistics.median(measured[_WARM_UP:]) for name, measured in times.items()}
