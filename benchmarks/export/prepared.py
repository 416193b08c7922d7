"""Image files of every kind, prepared by training, by shipped scripts and by the model card: pixels that differ.

    python -m benchmarks.export.prepared [--files 200] [--formats onnx,executorch] [--sets "8 bits" floats]

Three data sets are written: of all modes of 8 bits a channel, of 16 and 32 bits (their values end at 4095), and of
floats from 0 to 1; upright and turned, with one frame or more. A small network is trained on each, searched and
exported. Then the exported folder gets all files of its set: each script in a process of its own, and the card's lines.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.support.image_kinds import DEEP, Kind, kinds, write
from nas.data.batches import eval_pixels
from nas.data.transforms import normalise
from nas.runtimes.table import get_runtime
from nas.store.run import Run
from nas.workflows.trained import open_trained

ROOT = Path(__file__).parents[2]
_NAS = "import sys; sys.argv[0] = 'nas'; import cli; cli.main()"
_SIZES = (20, 90)
CLASSES = ("one", "two")

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Sort:
    """A data set: kinds of its files, and the brightest value of deep ones."""

    name: str
    kinds: Sequence[Kind]
    white: float = 255


def sorts() -> list[Sort]:
    """The three data sets."""
    every = kinds()
    return [
        Sort("8 bits", [kind for kind in every if kind.mode not in DEEP]),
        Sort("16 and 32 bits", [kind for kind in every if kind.mode in DEEP and kind.mode != "F"], 4095),
        Sort("floats", [kind for kind in every if kind.mode == "F"], 1),
    ]


def write_set(sort: Sort, folder: Path, files: int, rng: np.random.Generator) -> None:
    """Write so many files into a folder for each class, all kinds in turn, of random sizes."""
    for i in range(files):
        kind = sort.kinds[i // len(CLASSES) % len(sort.kinds)]
        place = folder / CLASSES[i % len(CLASSES)] / f"{i:03}-{kind.mode.replace(';', '')}.{kind.ending}"
        place.parent.mkdir(parents=True, exist_ok=True)
        width, height = (int(side) for side in rng.integers(*_SIZES, size=2))
        write(kind, place, (width, height), rng, sort.white)


def nas(*words: object) -> None:
    """Run a command; ends where it fails."""
    call([sys.executable, "-c", _NAS, *map(str, words)], ROOT)


def call(words: Sequence[str], folder: Path) -> None:
    """Run a process; ends where it fails."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words[:4])}...: {(done.stderr or done.stdout).strip()}")


def export(photos: Path, run: Path, formats: str) -> Path:
    """Train, search and export quickly; the exported folder."""
    nas("train-supernet", "--data", photos, "--out", run, "--space", "mbv3-tiny", "--epochs", "1", "--batch-size", "16",
        "--workers", "0", "--lr", "0.01")  # fmt: skip
    nas("search", "--run", run, "--measurements", "4", "--compare", "none")
    nas("export", "--run", run, "--format", formats)
    (folder,) = (run / "export").iterdir()
    return folder


def evaluated(run: Path, side: int) -> tuple[list[Path], Floats]:
    """The files of a run's data set, and the inputs ``[n, C, side, side]`` that its evaluation makes of them."""
    dataset = open_trained(Run(run)).dataset
    numbers = np.sort(np.concatenate(list(dataset.splits.values())))
    names = [Path(dataset.info.source, dataset.images.name(int(number))) for number in numbers]
    return names, normalise(eval_pixels(dataset, numbers, side), dataset.info).numpy()


def by_script(folder: Path, script: Path, files: Sequence[Path]) -> Floats:
    """The inputs that a script makes of files."""
    form = script.stem.partition("_")[2]
    model = next(folder.glob(f"model.*{get_runtime(form).suffix}"))
    return _saved([str(script), str(model)], files)


def by_card(folder: Path, files: Sequence[Path]) -> Floats:
    """The inputs that the lines of a folder's model card make of files, with timm."""
    (lines,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    before, image, _ = re.split(r"^(image = .*)$", lines, maxsplit=1, flags=re.MULTILINE)
    program = (
        f"import sys\nsys.path[:0] = [{str(ROOT)!r}, '.']\nimport numpy\n"
        f"import search_spaces.builders.timm_compat  # for a torchvision that was built for another torch\n{before}\n"
        "inputs = []\n"
        "for path in sys.argv[1:-2]:\n"
        f"    {image.replace(chr(34) + 'photo.jpg' + chr(34), 'path')}\n"
        "    inputs.append(transform(image).numpy())\n"
        "numpy.savez(sys.argv[-1], inputs=numpy.stack(inputs))\n"
    )
    return _saved(["-c", program], files, folder)


def _saved(words: Sequence[str], files: Sequence[Path], folder: Path = ROOT) -> Floats:
    with tempfile.TemporaryDirectory() as place:
        out = Path(place, "out.npz")
        call([sys.executable, *words, *map(str, files), "--save", str(out)], folder)
        with np.load(out) as found:
            inputs: Floats = found["inputs"]
    return inputs


def compare(run: Path, folder: Path) -> dict[str, tuple[int, int]]:
    """Who prepares -> pixels that differ from those of the evaluation, of how many."""
    side = _side(folder)
    files, expected = evaluated(run, side)
    found = {script.name: by_script(folder, script, files) for script in sorted(folder.glob("classify_*.py"))}
    found["README.md"] = by_card(folder, files)
    return {name: (int((inputs != expected).sum()), expected.size) for name, inputs in found.items()}


def _side(folder: Path) -> int:
    manifest = json.loads((folder / "architecture.json").read_text())
    return int(manifest["input"]["input_size"][-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200, help="of all data sets")
    parser.add_argument("--formats", default="onnx", help="for example onnx,executorch")
    shares = {"8 bits": 0.6, "16 and 32 bits": 0.25, "floats": 0.15}
    parser.add_argument("--sets", nargs="+", choices=shares, default=[*shares], help="which data sets")
    given = parser.parse_args()
    different = 0
    with tempfile.TemporaryDirectory() as place:
        for sort in (sort for sort in sorts() if sort.name in given.sets):
            photos, run = Path(place, sort.name), Path(place, f"{sort.name}-run")
            files = round(given.files * shares[sort.name])
            write_set(sort, photos, files, np.random.default_rng(0))
            folder = export(photos, run, given.formats)
            modes = ", ".join(dict.fromkeys(kind.mode for kind in sort.kinds))
            print(f"{sort.name}: {files} files of modes {modes}")
            for name, (wrong, pixels) in compare(run, folder).items():
                print(f"  {name:<26}{wrong:>9,} of {pixels:,} pixels differ", flush=True)
                different += wrong
    print(f"{different} pixels differ")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
