"""A target: a device with a runtime, described by one TOML file.

Files of known targets stand in ``targets/``; a path to one's own file works wherever a name does. Importing this module
and listing the targets needs the standard library alone.

.. code-block:: toml

    name = "my-board"
    description = "what it is"
    runtime = "TFLite 2.7.1, 4 threads"
    default_precision = "int8"
    model = "onnx"                      # optional: the form to export
    memory = { ram_bytes = 262144 }     # optional, and flash_bytes

    [latency.int8]                      # one table a precision, see predictors.latency.Coefficients
    label = "uncalibrated"
    source = "where the constants come from"
    conv_ms_per_mmac = 0.03
    # ...
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .latency import AdditiveLatency

FOLDER = Path(__file__).parent / "targets"
LABEL = re.compile(r"measured|uncalibrated|calibrated \(.+\)")
_TEXTS = ("name", "description", "runtime", "default_precision")
MODELS = ("onnx", "onnx-uint8")
"""Forms of the exported file: int8 activations (ARM, OpenVINO), or uint8 (onnxruntime on x86 runs those faster)."""
_MEMORY = ("ram_bytes", "flash_bytes")


@dataclass(frozen=True)
class Target:
    """A device and the runtime on it.

    Attributes:
        name: for example ``cortex-a72``.
        description: of the device, one line.
        runtime: with version and threads; the latencies hold for this one.
        default_precision: what is searched where the user does not say.
        latency: the model, with constants for every precision the target supports.
        labels: by precision, how far to trust its latencies: ``measured``, ``calibrated (MAPE x %, tau y, n networks)``
            or ``uncalibrated``.
        sources: by precision, where its constants come from.
        ram_bytes, flash_bytes: limits on peak activation memory and on weights; None: none.
        model: form to export, one of :data:`MODELS`; None: ``onnx``.
    """

    name: str
    description: str
    runtime: str
    default_precision: str
    latency: AdditiveLatency
    labels: Mapping[str, str] = field(hash=False)
    sources: Mapping[str, str] = field(hash=False)
    ram_bytes: int | None = None
    flash_bytes: int | None = None
    model: str | None = None

    @property
    def precisions(self) -> tuple[str, ...]:
        """What the target runs."""
        return tuple(self.latency.coefficients)

    def precision(self, name: str | None = None) -> str:
        """``name`` checked, or the default where it is None.

        Raises:
            UsageError: the target does not run that precision.
        """
        if name is not None and name not in self.precisions:
            from search_spaces.errors import unknown_name

            raise unknown_name(f"precision of target '{self.name}'", name, self.precisions)
        return name or self.default_precision

    def label(self, precision: str | None = None) -> str:
        """How far to trust latencies at a precision (default: the target's)."""
        return self.labels[self.precision(precision)]

    def source(self, precision: str | None = None) -> str:
        """Where the constants of a precision come from (default: the target's)."""
        return self.sources[self.precision(precision)]


def available_targets() -> list[str]:
    """Names of the shipped targets, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_target(name_or_path: str | Path) -> Target:
    """The shipped target of that name, or the one that a ``.toml`` file describes.

    Raises:
        UsageError: no target of that name, or no such file.
        UserError: the file is not a valid target; the message names every problem.
    """
    from search_spaces.errors import UsageError, UserError, unknown_name

    text = str(name_or_path)
    is_path = isinstance(name_or_path, Path) or text.endswith(".toml") or "/" in text or "\\" in text
    if not is_path and text not in available_targets():
        raise unknown_name("target", text, available_targets())
    path = Path(text) if is_path else FOLDER / f"{text}.toml"
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"no target file '{path}'; give a path to one, or a name: {_known()}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read target file '{path}': {error}") from None
    return parse_target(content, str(path))


def _known() -> str:
    return ", ".join(available_targets())


def parse_target(text: str, where: str = "target") -> Target:
    """A target from the text of its file; ``where`` names the file in messages.

    Raises:
        UserError: not TOML, or not a valid target; the message names every problem.
    """
    from search_spaces.errors import UserError

    from .latency import COEFFICIENTS, AdditiveLatency, Coefficients

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"target file '{where}' is not TOML: {error}") from None
    if problems := _problems(data, COEFFICIENTS):
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise UserError(f"target file '{where}' has {count}: {'; '.join(problems)}")
    latency = data["latency"]
    return Target(
        **{key: data[key] for key in _TEXTS},
        latency=AdditiveLatency({p: Coefficients(*(float(t[c]) for c in COEFFICIENTS)) for p, t in latency.items()}),
        labels={p: t["label"] for p, t in latency.items()},
        sources={p: t["source"] for p, t in latency.items()},
        **{key: data.get("memory", {}).get(key) for key in _MEMORY},
        model=data.get("model"),
    )


def _problems(data: dict[str, Any], coefficients: tuple[str, ...]) -> list[str]:
    """Everything that is wrong with a file, in the file's terms."""
    from .costs import PRECISIONS

    problems = _unknown("", data, (*_TEXTS, "model", "memory", "latency"))
    for key in (*_TEXTS, *(("model",) if "model" in data else ())):
        problems += _text("", data, key)
    if isinstance(data.get("model"), str) and data["model"] not in MODELS:
        problems.append(f"model = {_show(data['model'])} is unknown; forms are {', '.join(MODELS)}")
    memory = data.get("memory", {})
    if isinstance(memory, dict):
        problems += _unknown("memory.", memory, _MEMORY)
        for key, value in memory.items():
            if key in _MEMORY and (type(value) is not int or value <= 0):
                problems.append(f"memory.{key} = {_show(value)} must be a whole number of bytes above 0")
    else:
        problems.append("memory must be a table with ram_bytes, flash_bytes or both")
    latency = data.get("latency")
    if not isinstance(latency, dict) or not latency:
        return [*problems, f"no table [latency.<precision>]; precisions are {', '.join(PRECISIONS)}"]
    for precision, table in latency.items():
        place = f"latency.{precision}"
        if precision not in PRECISIONS:
            problems.append(f"unknown precision [{place}]; precisions are {', '.join(PRECISIONS)}")
        if not isinstance(table, dict):
            problems.append(f"{place} must be a table")
            continue
        problems += _latency_problems(f"{place}.", table, coefficients)
    default = data.get("default_precision")
    if isinstance(default, str) and default and default not in latency:
        problems.append(f"default_precision '{default}' has no table [latency.{default}]")
    return problems


def _latency_problems(place: str, table: dict[str, Any], coefficients: tuple[str, ...]) -> list[str]:
    """What is wrong with the table of one precision."""
    problems = _unknown(place, table, ("label", "source", *coefficients))
    problems += _text(place, table, "source")
    if wrong := _text(place, table, "label"):
        problems += wrong
    elif not LABEL.fullmatch(table["label"]):
        problems.append(f"{place}label '{table['label']}' is not 'measured', 'uncalibrated' or 'calibrated (...)'")
    for key in coefficients:
        if key not in table:
            problems.append(f"{place}{key} is missing")
        elif type(value := table[key]) not in (int, float) or not 0 <= value < math.inf:  # nan compares false
            problems.append(f"{place}{key} = {_show(value)} must be a number, 0 or more")
    if all(table.get(key) == 0 for key in coefficients):
        problems.append(f"{place.rstrip('.')}: every constant is 0, so every latency would be")
    return problems


def _unknown(place: str, table: dict[str, Any], known: tuple[str, ...]) -> list[str]:
    import difflib

    problems = []
    for key in sorted(set(table) - set(known)):
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"keys are {', '.join(known)}"
        problems.append(f"unknown key '{place}{key}', {hint}")
    return problems


def _text(place: str, table: dict[str, Any], key: str) -> list[str]:
    if key not in table:
        return [f"{place}{key} is missing"]
    if not isinstance(table[key], str) or not table[key].strip():
        return [f"{place}{key} = {_show(table[key])} must be a text"]
    return []


def _show(value: Any) -> str:
    return repr(value) if not isinstance(value, dict | list) else "a table or list"


def to_toml(target: Target, comment: str = "") -> str:
    """The file of a target, for :func:`parse_target`; constants keep six digits.

    Args:
        target: what to write.
        comment: lines to put on top, without ``#``.
    """
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines += [f"{key} = {_quote(getattr(target, key))}" for key in _TEXTS]
    if target.model is not None:
        lines.append(f"model = {_quote(target.model)}")
    limits = {key: value for key in _MEMORY if (value := getattr(target, key)) is not None}
    if limits:
        lines.append(f"memory = {{ {', '.join(f'{key} = {value}' for key, value in limits.items())} }}")
    for precision, coefficients in target.latency.coefficients.items():
        lines += ["", f"[latency.{precision}]", f"label = {_quote(target.labels[precision])}"]
        lines.append(f"source = {_quote(target.sources[precision])}")
        lines += [f"{key} = {float(f'{value:.6g}')!r}" for key, value in asdict(coefficients).items()]
    return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's, except that TOML also escapes DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
