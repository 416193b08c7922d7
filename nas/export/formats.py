"""The forms of an exported file: how each is written, opened, checked and timed."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.quantization.quantize import QuantizedModel
from nas.runtimes import executorch, onnx
from nas.runtimes.executorch import export_executorch, load_executorch
from nas.runtimes.onnx import export_onnx, load_onnx
from nas.store.files import check_format, read_json
from nas.store.records import INPUT
from nas.store.run import file_hash
from nas.store.schema import problem
from predictors.targets.target import Target
from search_spaces.errors import UsageError, UserError, unknown_name
from search_spaces.policy import FLOAT, MIXED, PRECISIONS

from .device_script import DeviceCode

MANIFEST = "architecture.json"
_WARM_UP, _RUNS = 5, 50
_LABELS = (*(p for p in PRECISIONS if p != FLOAT), MIXED, FLOAT)  # quantized ones first


class Exported(Protocol):
    """A file, opened in its own runtime, on one thread."""

    @property
    def metadata(self) -> dict[str, str]: ...

    def __call__(self, images: NDArray[np.float32] | Tensor, /) -> NDArray[np.float32]: ...


Network = QuantizedModel | nn.Module
Write = Callable[[Network, tuple[int, int, int], Path, dict[str, str], Target], None]


@dataclass(frozen=True)
class Format:
    """One form of file.

    Attributes:
        suffix: end of its files' names.
        write: as :func:`write_model`, without the form's name.
        load: opens a file; raises UserError where the runtime is missing or cannot read it.
        device: its part of the script that lies beside a file; None: there is no script.
        fragile: its runtime ends the process on some damaged files, so that only whole ones are opened.
    """

    suffix: str
    write: Write
    load: Callable[[Path], Exported]
    device: DeviceCode | None = None
    fragile: bool = False


def _write_onnx(
    network: Network, image_shape: tuple[int, int, int], path: Path, metadata: dict[str, str], target: Target
) -> None:
    export_onnx(network, path, metadata, uint8=target.model == "onnx-uint8", image_shape=image_shape)


def _write_executorch(
    network: Network, image_shape: tuple[int, int, int], path: Path, metadata: dict[str, str], _target: Target
) -> None:
    export_executorch(network, image_shape, path, metadata)


FORMATS = {
    "onnx": Format(".onnx", _write_onnx, load_onnx, onnx.DEVICE),
    "executorch": Format(".pte", _write_executorch, load_executorch, executorch.DEVICE, fragile=True),
}
"""The runtimes that files are written for. A new one is one file here and one line in this table."""


def parse_formats(text: str | None, target: Target) -> tuple[str, ...]:
    """Formats from ``onnx,executorch``; None: the target's own.

    Raises:
        UsageError: an unknown format, or none.
    """
    if text is None:
        return (target.model,) if target.model in FORMATS else ("onnx",)
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise UsageError(f"--format names no format; there are: {', '.join(FORMATS)}")
    for name in names:
        if name not in FORMATS:
            raise unknown_name("format", name, FORMATS)
    return names


def file_name(form: str, precision: str) -> str:
    """For example ``model.int8.onnx``."""
    return f"model.{precision}{FORMATS[form].suffix}"


def write_model(
    form: str, network: Network, image_shape: tuple[int, int, int], path: Path,
    metadata: dict[str, str], target: Target,
) -> None:  # fmt: skip
    """Write a network in one format; arguments as of :func:`nas.runtimes.onnx.export_onnx`.

    The file's metadata, JSON texts all, also say its precision: ``policy``, as in ``search_spaces.policy``.

    Raises:
        UserError: a package is missing, the format cannot hold the network, or the file cannot be written.
    """
    policy = str(network.policy) if isinstance(network, QuantizedModel) else FLOAT
    metadata = metadata | {"policy": json.dumps(policy)}
    FORMATS[form].write(network, image_shape, path, metadata, target)


def open_model(path: Path, digest: str | None = None) -> Exported:
    """A file in the runtime that its name tells.

    Args:
        path: the file.
        digest: the hash that it must have; None: the one in its folder's manifest, where there is one.

    Raises:
        UserError: the runtime is missing, it cannot read the file, or the file is not what was exported.
    """
    known = check_unaltered(path, digest)
    form = next((form for form in FORMATS.values() if form.suffix == path.suffix), FORMATS["onnx"])
    if form.fragile and not known and path.is_file():
        raise UserError(
            f"{path} has no {MANIFEST} beside it that tells its hash, and its runtime may end the process on a damaged "
            "file; give it in the folder that was exported"
        )
    return form.load(path)


FILE_NAMES = tuple(file_name(form, label) for label in _LABELS for form in FORMATS)
"""Of all files that are written for runtimes, those first that stand for their folder."""


def exported_hashes(folder: Path) -> dict[str, str] | None:
    """Hashes of an exported folder's files by name, as its manifest tells them; None: it tells none, or is missing.

    Raises:
        UserError: the manifest is damaged, or of a later version.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return None
    content = read_json(manifest, {"files?": {str: str}})
    check_format(content, manifest)
    found: dict[str, str] | None = content.get("files")
    return found


def exported_file(path: Path) -> Path | None:
    """The file that a path means: itself, or of an exported folder the first one of :data:`FILE_NAMES` that is there
    and that the manifest, if any, names; None: neither.

    Raises:
        UserError: the manifest is damaged, or of a later version.
    """
    if path.suffix in {form.suffix for form in FORMATS.values()}:
        return path
    listed = exported_hashes(path)
    names = FILE_NAMES if listed is None else [name for name in FILE_NAMES if name in listed]
    return next((path / name for name in names if (path / name).is_file()), None)


def check_unaltered(path: Path, digest: str | None = None) -> bool:
    """Compare a file with its hash, given or from its folder's manifest; whether there is one.

    Raises:
        UserError: it is another file.
    """
    if not path.is_file():
        return False  # the runtimes say so
    if digest is None:
        digest = (exported_hashes(path.parent) or {}).get(path.name)
    if digest is not None and digest != (found := file_hash(path)):
        raise UserError(
            f"{path} is not the file that was exported: its hash is {found}, {MANIFEST} says {digest}; "
            "export it again: nas export"
        )
    return digest is not None


def input_size(model: Exported, path: Path) -> tuple[int, int, int]:
    """Channels, height, width of a file's images. Raises UserError: it does not say."""
    try:
        channels, height, width = size = json.loads(model.metadata["input"])["input_size"]
        if problem(size, INPUT["input_size"]):
            raise ValueError
    except (KeyError, ValueError, TypeError, RecursionError):
        raise UserError(f"{path} was not exported by nas: it says nothing of its input") from None
    return channels, height, width


def latency_ms(model: Exported, image_shape: tuple[int, int, int]) -> float:
    """Latency of one file, as of :func:`latencies_ms`."""
    return latencies_ms({"": (model, image_shape)})[""]


def latencies_ms(files: Mapping[str, tuple[Exported, tuple[int, int, int]]], runs: int = _RUNS) -> dict[str, float]:
    """Median processor time of one image on one thread of this machine, in ms, by name.

    Processor time, not wall time: other programs do not count. Files take turns, so that the machine's states fall on
    all alike; one inference that does not count precedes, since the caches then hold the other files.

    Args:
        files: name -> opened file, and channels, height and width of its image.
        runs: inferences of each that count.
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
    return {name: 1e3 * statistics.median(found[_WARM_UP:]) for name, found in times.items()}
