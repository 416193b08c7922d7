"""Exported ONNX files in older and newer versions of onnxruntime: do they compute the same?

    python -m benchmarks.export.runtimes runs/demo/export/* [--versions 1.16.3,1.18.1,1.20.1,newest] [--venvs FOLDER]

Each version gets a virtual environment of its own (kept with --venvs), in which the folder's own script runs the file
on images of noise. Its outputs are compared with those of the onnxruntime of this environment.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

VERSIONS = ("1.16.3", "1.18.1", "1.20.1", "newest")
_BEFORE_NUMPY_2 = ("1.16", "1.17", "1.18")


def environment(version: str, folder: Path) -> Path | str:
    """Python in an environment with that onnxruntime, made where it is not there yet; or why it cannot be made."""
    python = folder / version / "bin" / "python"
    if not (folder / version / "made").exists():
        runtime = "onnxruntime" if version == "newest" else f"onnxruntime=={version}"
        numpy = "numpy<2" if version.startswith(_BEFORE_NUMPY_2) else "numpy"
        for words in ([sys.executable, "-m", "venv", str(folder / version)],
                      [str(python), "-m", "pip", "install", "-q", runtime, numpy, "pillow"]):  # fmt: skip
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                return (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        (folder / version / "made").touch()
    return python


def write_images(folder: Path, number: int, size: tuple[int, int, int]) -> None:
    """Images of noise that a network sees whole."""
    channels, height, width = size
    rng = np.random.default_rng(0)
    for i in range(number):
        pixels = rng.integers(256, size=(2 * height, 2 * width, channels), dtype=np.uint8)
        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(folder / f"{i:03}.png")


def outputs(python: Path, export: Path, file: Path, images: Path, out: Path) -> NDArray[np.float32] | str:
    """Outputs ``[images, outputs]`` of a file in an environment; or what its script said instead."""
    words = [str(python), str(export / "classify_onnx.py"), str(file), str(images), "--save", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["nothing"])[-1]
    with np.load(out) as found:
        result: NDArray[np.float32] = found["outputs"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exports", type=Path, nargs="+", help="exported folders")
    parser.add_argument("--versions", default=",".join(VERSIONS), help="of onnxruntime, or newest")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--venvs", type=Path, help="where environments are kept; default: a folder that is removed")
    given = parser.parse_args()
    different = 0
    with tempfile.TemporaryDirectory() as place:
        folder = given.venvs or Path(place, "venvs")
        pythons: dict[str, Path] = {}
        for version in given.versions.split(","):
            made = environment(version, folder.absolute())
            if isinstance(made, str):
                print(f"onnxruntime {version} cannot be installed here: {made}")
            else:
                pythons[version] = made
        table = Table("file", *pythons, title=f"outputs that differ from this environment's, {given.images} images")
        for i, (export, file) in enumerate((e, f) for e in given.exports for f in sorted(e.glob("*.onnx"))):
            manifest = json.loads((export / "architecture.json").read_text())
            images = Path(place, f"images-{i}")
            images.mkdir()
            write_images(images, given.images, manifest["input"]["input_size"])
            here = outputs(Path(sys.executable), export, file, images, Path(place, "here.npz"))
            row = []
            for version, python in pythons.items():
                there = outputs(python, export, file, images, Path(place, f"{version}.npz"))
                if isinstance(here, str) or isinstance(there, str):
                    different += 1
                    row.append(f"{here if isinstance(here, str) else there}")
                    continue
                wrong = int((there != here).sum())
                different += wrong
                row.append(f"{wrong} of {here.size}" + (f", up to {np.abs(there - here).max():.2g}" if wrong else ""))
            table.add_row(f"{export.name}/{file.name}", *row)
    Console().print(table)
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
