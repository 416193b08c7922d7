"""All runtimes. Looking at the table loads no framework, and importing it the standard library alone."""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from nas.quantization.dialect import Dialect
from search_spaces.errors import UsageError, UserError, install_hint, unknown_name
from search_spaces.policy import FLOAT, MIXED, PRECISIONS

from .runtime import ImageShape, Runtime

if TYPE_CHECKING:
    from .runtime import Network

DEFAULT = "onnx"
"""The runtime, and what its ``model`` means, of a target that names none."""
PROFILED = ("onnx", "litert")
"""The runtimes that devices are measured in, the default first: ``nas/profiling/runner.py`` opens their files."""


@dataclass(frozen=True)
class Entry:
    """A line of the table: a class in a file of this folder.

    Attributes:
        extra: optional dependency of this project that installs its packages.
        packages: name of each of these packages -> its lowest version, as in ``pyproject.toml``.
    """

    module: str
    kind: str
    extra: str
    packages: Mapping[str, str]


RUNTIMES = {
    "onnx": Entry("onnx", "Onnx", "onnx", {"onnx": "1.17", "onnxscript": "0.5", "onnxruntime": "1.20"}),
    "litert": Entry("litert", "Litert", "litert", {"ai_edge_litert": "2.3"}),
    "executorch": Entry("executorch", "Executorch", "executorch", {"executorch": "1.5"}),
}
"""A new runtime is one file in this folder and one line here."""


@cache
def get_runtime(name: str) -> Runtime:
    """A runtime by its name. Raises UsageError where there is none of that name."""
    if name not in RUNTIMES:
        raise unknown_name("format", name, RUNTIMES)
    entry = RUNTIMES[name]
    runtime: Runtime = getattr(importlib.import_module(f"{__package__}.{entry.module}"), entry.kind)()
    return runtime


def parse_formats(text: str | None, model: str | None) -> tuple[str, ...]:
    """Names of runtimes from ``onnx,executorch``; None: that of a target's ``model``. Raises UsageError: a name that
    there is not, or no name at all; UserError: the target's model is unknown."""
    if text is None:
        return (DEFAULT if model is None else runtime_of(model),)
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise UsageError(f"`formats` names no format; there are: {', '.join(RUNTIMES)}")
    for name in names:
        get_runtime(name)
    return names


def check_packages(names: Iterable[str]) -> None:
    """Refuse work whose files could not be written or run in the end. Nothing is imported. Raises UserError: a package
    of one of these runtimes is missing."""
    for name in names:
        entry = RUNTIMES[name]
        missing = [package for package in entry.packages if importlib.util.find_spec(package) is None]
        if missing:
            raise UserError(
                f"format {name} needs the package '{missing[0]}'; {install_hint(f'.[{entry.extra}]')}; "
                "or choose another format (`formats`)"
            )


def runtime_of(model: str) -> str:
    """The name of the runtime that a target's ``model`` means. Raises UserError where it means none."""
    known = {each: name for name in RUNTIMES for each in get_runtime(name).dialects}
    if model not in known:
        raise UserError(f"the target's model = '{model}' is unknown; there are: {', '.join(known)}")
    return known[model]


def dialect_for(name: str, model: str | None) -> Dialect:
    """How a runtime writes quantized networks for a target whose ``model`` is given."""
    dialects = get_runtime(name).dialects
    return dialects.get(model or "", next(iter(dialects.values())))


def file_name(name: str, precision: str) -> str:
    """For example ``model.int8.onnx``."""
    return f"model.{precision}{get_runtime(name).suffix}"


def file_names() -> tuple[str, ...]:
    """Names of all files that are written for runtimes, quantized ones first."""
    labels = (*(p for p in PRECISIONS if p != FLOAT), MIXED, FLOAT)
    return tuple(file_name(name, label) for label in labels for name in RUNTIMES)


def suffixes() -> tuple[str, ...]:
    """Ends of the names of all files that are written for runtimes."""
    return tuple(get_runtime(name).suffix for name in RUNTIMES)


def by_suffix(suffix: str) -> str | None:
    """The name of the runtime whose files end so; None: there is none."""
    return next((name for name in RUNTIMES if get_runtime(name).suffix == suffix), None)


def write_model(
    name: str, network: Network, image_shape: ImageShape, path: Path, metadata: Mapping[str, str], model: str | None
) -> None:
    """Write a network for one runtime, whose dialect a target's ``model`` names; other arguments and errors as of
    :meth:`nas.runtimes.runtime.Runtime.write`.

    The file's metadata, which are JSON texts, also say its precision: ``policy``, as in ``search_spaces.policy``.
    """
    from nas.quantization.quantize import QuantizedModel

    policy = str(network.policy) if isinstance(network, QuantizedModel) else FLOAT
    texts = {**metadata, "policy": json.dumps(policy)}
    get_runtime(name).write(network, image_shape, path, texts, dialect_for(name, model))
