"""One exported file, run here and on the board, on the same images."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.quantization.emulation.board import HERE, Board, call
from benchmarks.quantization.emulation.counts import Counts, read_counts
from nas.export.device_script import device_script, script_name
from nas.export.manifest import MANIFEST, input_size, open_model
from nas.runtimes.runtime import Exported
from nas.runtimes.table import get_runtime
from nas.store.files import read_json
from nas.tasks.task import get_task
from search_spaces.errors import UsageError
from search_spaces.policy import FLOAT, PRECISIONS, Policy, parse_policy

Floats = NDArray[np.float32]
PLUGINS = ("instructions", "caches")
ENDINGS = (".onnx", ".pte")
_WARM_UP = 2  # inferences before the markers: runtimes allocate in the first


@dataclass(frozen=True)
class File:
    """An exported file, opened in its runtime on this machine.

    Attributes:
        path: the file, absolute.
        model: what runs it here.
        shape: channels, height, width of its images.
        policy: what it is stored and computed in; None: it does not say.
    """

    path: Path
    model: Exported
    shape: tuple[int, int, int]
    policy: Policy | None

    @property
    def integer(self) -> bool:
        """Whether all of it is known to be quantized: then every machine must give the same bits."""
        return self.policy is not None and FLOAT not in self.policy.precisions

    @property
    def onnx(self) -> bool:
        return self.path.suffix == get_runtime("onnx").suffix

    def here(self, images: Floats) -> Floats:
        """Logits ``[n, classes]`` on this machine, one image at a time, as a board runs them."""
        return np.concatenate([self.model(image[None]) for image in images])

    def there(self, board: Board, images: Floats) -> tuple[Floats, float]:
        """Logits ``[n, classes]`` under emulation, and seconds of one inference of this machine's time."""
        with tempfile.TemporaryDirectory() as folder:
            return self._run(board, Path(folder), images, 0)

    def counts(self, board: Board, image: Floats, repeats: int) -> tuple[Counts, list[Counts]]:
        """Counts of inferences of an image ``[C, H, W]`` in a process of its own: with cold caches, and ``repeats``
        more."""
        with tempfile.TemporaryDirectory() as folder:
            outs = {name: Path(folder) / name for name in PLUGINS}
            self._run(board, Path(folder), np.stack([image] * _WARM_UP), 1 + repeats, outs)
            instructions, caches = (read_counts(out) for out in outs.values())
            cold, *warm = [a | b for a, b in zip(instructions, caches, strict=True)]
            return cold, warm

    def classified(self, board: Board, image: Floats) -> tuple[str, str]:
        """What the script for devices prints of an image ``[C, H, W]`` here and under emulation (an ONNX file's)."""
        with tempfile.TemporaryDirectory() as folder:
            script, picture = Path(folder) / script_name("onnx"), Path(folder) / "image.png"
            code = get_runtime("onnx").device_code()
            assert code is not None
            script.write_text(device_script("onnx", code, get_task(), code.needs))
            photo(image, read_input(self.model.metadata)).save(picture)
            words = [str(script), str(self.path), str(picture)]
            here = call([sys.executable, *words], script.name)
            there = call(board.command([board.python, *words]), f"{script.name} under emulation")
            return here.strip(), there.strip()

    def _run(
        self, board: Board, folder: Path, images: Floats, marked: int, outs: Mapping[str, Path] | None = None
    ) -> tuple[Floats, float]:
        """Run it under emulation; logits and seconds an inference."""
        pixels_in, logits_out = folder / "images", folder / "logits"
        np.ascontiguousarray(images, dtype=np.float32).tofile(pixels_in)
        runner = [board.python, HERE / "run_onnx.py"] if self.onnx else [board.run_pte()]
        words: list[str | Path] = [*runner, self.path, pixels_in, logits_out, *map(str, images.shape), str(marked)]
        seconds = float(call(board.command(words, outs), f"{self.path.name} under emulation").split()[-1])
        return np.fromfile(logits_out, dtype=np.float32).reshape(len(images), -1), seconds


def open_file(path: Path) -> File:
    """Open an exported file.

    Raises:
        UsageError: the name is not that of an exported file that the board runs.
        UserError: there is none, it was altered, its runtime is missing, or it does not say what its images are.
    """
    if path.suffix not in ENDINGS:
        raise UsageError(f"'{path}' is not an exported file; give one that ends with {' or '.join(ENDINGS)}")
    model = open_model(path)
    manifest = path.parent / MANIFEST
    precision = read_json(manifest)["precision"] if manifest.is_file() else path.stem.partition(".")[2]
    policy = parse_policy(precision) if precision.split(",")[0] in PRECISIONS else None
    return File(path.absolute(), model, input_size(model, path), policy)


def read_input(metadata: Mapping[str, str]) -> dict[str, Any]:
    """A file's ``input_size``, ``mean``, ``std`` and ``crop_pct``."""
    facts: dict[str, Any] = json.loads(metadata["input"])
    return facts


def photo(image: Floats, given: Mapping[str, Any]) -> Image.Image:
    """A picture that evaluation makes a normalised image ``[C, H, W]`` of: with the border that is cut off."""
    values = np.rint(255 * (image.transpose(1, 2, 0) * np.array(given["std"]) + np.array(given["mean"])))
    side = image.shape[1]
    before = round((int(side / given["crop_pct"]) - side) / 2)
    after = int(side / given["crop_pct"]) - side - before
    picture = np.pad(np.clip(values, 0, 255).astype(np.uint8), ((before, after), (before, after), (0, 0)))
    return Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture)
