"""What experiments on trained networks print and keep: a line of accuracies, and a JSON file of all figures."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

COLUMNS = ("smallest", "middle", "largest", "random")


def add_out(parser: argparse.ArgumentParser) -> None:
    """The flag that names the folder of the results."""
    parser.add_argument("--out", type=Path, default=Path("runs/bench-training"), help="folder of the results")


def figures(row: dict[str, float]) -> str:
    """Accuracies, in %, below the heads :data:`COLUMNS`."""
    return "".join(f"{row[c]:>10.1f}" if c in row else f"{'':>10}" for c in COLUMNS)


def write_results(name: str, given: argparse.Namespace, found: dict[str, Any]) -> None:
    """Write the figures of an experiment and its settings to ``<out>/<name>.json``."""
    path = given.out / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"settings": vars(given), "found": found, "torch": torch.__version__}
    path.write_text(json.dumps(content, indent=1, default=str))  # paths, alone or in a list
    print(f"written: {path}; load average {os.getloadavg()[0]:.1f}", file=sys.stderr)
