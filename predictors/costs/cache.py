"""Cost tables on disk: in ``$NAS_CACHE``, else ``$XDG_CACHE_HOME/nas``, else ``~/.cache/nas``.

A file's name is a hash of everything that decides its content, so that nothing ever has to be invalidated. A file that
cannot be read is ignored, and a folder that cannot be written costs only time.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from search_spaces.architecture import Interface
from search_spaces.genes import Floats
from search_spaces.space import SearchSpace

ROOT = Path(__file__).parents[2]
SOURCES = (
    "predictors/costs/network.py",
    "predictors/costs/tables.py",
    "predictors/costs/memory.py",
    "search_spaces/operators/deploy.py",
    "search_spaces/operators/operator.py",
    "search_spaces/operators/trace.py",
    "search_spaces/operators/tracer.py",
    "search_spaces/operators/segments.py",
    "search_spaces/builders/timm_model.py",
    "search_spaces/families/any_model.py",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "search_spaces" / "tracing").rglob("*.py")),
)
"""Files that decide how a table is filled; a change in them is a new format."""


def table_format() -> list[str]:
    """Hashes of the files that decide how a table is filled."""
    return [hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in SOURCES]


def cache_folder() -> Path:
    """Where tables are kept."""
    if chosen := os.environ.get("NAS_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "nas"


def table_path(space: SearchSpace, interface: Interface, features: Sequence[str]) -> Path:
    """The file for the tables of a space whose networks have these ends."""
    content = {
        "space": space.name,
        "genes": [asdict(gene) for gene in space.genes],
        "segments": [asdict(segment) for segment in space.segments],
        "models": [space.family.describe(architecture, interface) for architecture in (space.smallest, space.largest)],
        "features": list(features),
        "timm": importlib.metadata.version("timm"),
        "torch": importlib.metadata.version("torch"),
        "format": table_format(),
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
    return cache_folder() / f"costs-{digest[:32]}.npz"


def load_tables(path: Path, shapes: Sequence[tuple[int | None, ...]]) -> list[Floats] | None:
    """The tables of a file; None where there is none, or it is damaged or not of these shapes (None: any length)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            tables = [file[f"segment{i}"] for i in range(len(shapes))]
    except Exception:  # zip, zlib, numpy and its parser of headers: each fails in its own ways on damaged files
        return None
    return tables if all(map(_fits, tables, shapes)) else None


def _fits(table: object, wanted: tuple[int | None, ...]) -> bool:
    if not isinstance(table, np.ndarray) or table.dtype != np.float64 or table.ndim != len(wanted):
        return False
    return all(w is None or f == w for f, w in zip(table.shape, wanted, strict=True))


def kept_tables(path: Path, shapes: Sequence[tuple[int | None, ...]], fill: Callable[[], list[Floats]]) -> list[Floats]:
    """The tables of a file, as :func:`load_tables`; filled and written where it cannot be used."""
    if (tables := load_tables(path, shapes)) is None:
        save_tables(path, tables := fill())
    return tables


def save_tables(path: Path, tables: Sequence[Floats]) -> None:
    """Write a file in one step; where that is not possible, do without."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{f"segment{i}": table for i, table in enumerate(tables)})  # type: ignore[arg-type]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(buffer.getvalue())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
