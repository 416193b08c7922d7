"""Proof that what ships does what was measured: scripts are run, and the card's lines followed, on real files."""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from nas.data.batches import eval_pixels
from nas.data.dataset import Dataset, Images
from nas.data.decode import ArrayImages, Encoded
from nas.data.preparation import decode, with_channels
from nas.data.transforms import normalise
from nas.store.exports import Input
from search_spaces.builders.timm_compat import timm
from search_spaces.errors import UserError
from search_spaces.schema import to_json

from .device_main import SAVE
from .device_script import Script

IMAGES = 16
TOLERANCE = 0.02
"""Share of the outputs' range by which a runtime may differ from itself, on another number of threads."""

Floats = NDArray[np.float32]


def check_folder(folder: Path, scripts: Sequence[Script], dataset: Dataset, given: Input) -> int:
    """Run what an exported folder ships on files of the test split; the number of files.

    Args:
        scripts: all that the folder holds.
        given: how the network expects images.

    Raises:
        UserError: a script fails, or computes other inputs or outputs than the evaluation did; or the card's lines do.
    """
    numbers = _choose(dataset)
    side = given.input_size[-1]
    expected: Floats = normalise(eval_pixels(dataset, numbers, side), dataset.info).numpy()
    with tempfile.TemporaryDirectory() as place:
        files = []
        for i, number in enumerate(numbers):
            name, content = read_file(dataset.images, number)
            files.append(Path(place, f"{i:02}{PurePath(name).suffix}"))
            files[-1].write_bytes(content)
        names = [dataset.images.name(number) for number in numbers]
        _compare("README.md", "input", names, _follow_card(files, given), expected)
        for script in scripts:
            inputs, outputs = _run(folder, script, files)
            _compare(script.name, "input", names, inputs, expected)
            _compare(script.name, "output", names, outputs, script.model(expected), TOLERANCE)
    return len(files)


def read_file(images: Images, index: int) -> tuple[str, bytes]:
    """Name and content of the file that an image was decoded from; of one that has no file, a PNG of its pixels."""
    encoded = images.files if isinstance(images, ArrayImages) else images
    if isinstance(encoded, Encoded):
        return images.name(index), encoded.content(index)
    content = io.BytesIO()
    images.image(index).save(content, "PNG")
    return f"{images.name(index)}.png", content.getvalue()


def _choose(dataset: Dataset) -> list[int]:
    """Images of the test split: of every ending of their names first."""
    numbers = [int(number) for number in dataset.splits["test"]]
    endings = {PurePath(dataset.images.name(number)).suffix.lower(): number for number in reversed(numbers)}
    return list(dict.fromkeys((*sorted(endings.values(), key=numbers.index), *numbers)))[:IMAGES]


def _follow_card(files: Sequence[Path], given: Input) -> Floats:
    """Inputs ``[n, C, H, W]`` as the card's lines make them with timm."""
    arguments = to_json(given)
    levels = arguments.pop("levels", None)
    transform = timm.data.create_transform(**arguments, is_training=False)
    channels = given.input_size[0]
    return np.stack([transform(with_channels(decode(file, levels), channels)).numpy() for file in files])


def _run(folder: Path, script: Script, images: Sequence[Path]) -> tuple[Floats, Floats]:
    """Inputs ``[n, C, H, W]`` and outputs ``[n, ...]`` of a script, run in a process of its own."""
    out = images[0].with_name("saved.npz")
    words = [sys.executable, script.name, script.file, *map(str, images), SAVE, str(out)]
    done = subprocess.run(words, cwd=folder, capture_output=True, check=False)
    if done.returncode or not out.exists():
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise UserError(f"{script.name} does not run here ({said[-1]}), so nothing was exported")
    with np.load(out) as found:
        return found["inputs"], found["outputs"]


def _compare(
    script: str, what: str, names: Sequence[str], found: Floats, expected: Floats, tolerance: float = 0.0
) -> None:
    """Refuse other numbers than expected, ``[images, ...]``."""
    same = found.shape == expected.shape
    near = tolerance * float(np.ptp(expected))
    wrong = [i for i in range(len(names)) if not same or not np.allclose(found[i], expected[i], rtol=0, atol=near)]
    if wrong:
        raise UserError(
            f"{script} computes another {what} than the evaluation for {len(wrong)} of {len(names)} images, the first "
            f"of them '{names[wrong[0]]}', so nothing was exported"
        )
