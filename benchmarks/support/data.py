"""The shared measurements, which aren't part of the repository: ``NAS_BENCH_DATA`` names their folder."""

from __future__ import annotations

import csv
import gzip
import os
import sys
from pathlib import Path


def data_folder() -> Path:
    """The folder ``NAS_BENCH_DATA``, or ``shared/data`` beside the package."""
    return Path(os.environ.get("NAS_BENCH_DATA") or Path(__file__).parents[2] / "shared" / "data")


def data_file(name: str) -> Path:
    """A file below :func:`data_folder`; ends the program where it is absent."""
    path = data_folder() / name
    if not path.is_file():
        sys.exit(f"{path} isn't there; set NAS_BENCH_DATA to the folder of shared measurements")
    return path


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file, compressed or not, without its comments."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        return list(csv.DictReader(line for line in lines if not line.startswith("#")))
