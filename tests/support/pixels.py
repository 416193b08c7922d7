"""A whole split at once."""

from __future__ import annotations

from nas.data.batches import Batch, eval_batches
from nas.data.dataset import Dataset


def eval_tensors(dataset: Dataset, split: str, resolution: int, limit: int | None = None) -> Batch:
    """Images ``[n, C, R, R]`` and labels ``[n]`` of :func:`nas.data.batches.eval_batches`."""
    return next(eval_batches(dataset, split, resolution, 10**9, limit))
