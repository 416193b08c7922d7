"""Where measured data lies that is not part of the repository; tests that need it are skipped without."""

from __future__ import annotations

import os
from pathlib import Path


def shared_file(name: str) -> Path:
    """A file below ``$NAS_BENCH_DATA``, or below ``shared/data`` beside the checkout."""
    root = os.environ.get("NAS_BENCH_DATA") or Path(__file__).parents[3] / "shared" / "data"
    return Path(root) / name
