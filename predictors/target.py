"""A target: a device with a runtime, described by one TOML file.

Files of known targets stand in ``targets/``; a path to one's own file works wherever a name does. Importing this module
and listing the targets needs the standard library alone.

.. code-block:: toml

    name = "my-board"
    description = "what it is"
    runtime = "TFLite 2.7.1, 4 threads"
    threads = 4                         # optional
    default_precision = "int8"
    model = "onnx"                      # optional: the form to export
    weight_bits = [8, 4]                # optional: of quantized weights in that form's files
    memory = { ram_bytes = 262144 }     # optional, and flash_bytes, rules (see predictors.memory) and source

    [latency.int8]                      # one table a precision, see predictors.latency.Coefficients
    label = "uncalibrated"
    source = "where the constants come from"
    conv_ms_per_mmac = 0.03
    # ...

    [latency.int8.operators]            # optional: a look-up table, see predictors.latency_table.OperatorTable
    [latency.int8.residual]             # optional: a learned correction, see predictors.latency_residual.Residual
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.policy import INT8, MIXED, PRECISIONS, WEIGHT_BITS, Policy, parse_menu, parse_policy

from .target_checks import show, unknown
from .target_checks import text as text_problems

if TYPE_CHECKING:
    from .latency import LatencyModel

FOLDER = Path(__file__).parent / "targets"
LABEL = re.compile(r"measured|uncalibrated|calibrated \(.+\)")
_TEXTS = ("name", "description", "runtime", "default_precision")
MODELS = ("onnx", "onnx-uint8", "executorch")
"""Forms of the exported file: ONNX with int8 activations (ARM, OpenVINO) or with uint8 (onnxruntime on x86 runs those
faster), or ExecuTorch's .pte."""
_MEMORY = ("ram_bytes", "flash_bytes")
_MEMORY_TEXTS = ("rules", "source")


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
        threads: that the runtime uses; None: not known.
        ram_bytes, flash_bytes: limits on peak activation memory and on weights; None: none.
        memory_rules: what the runtime does with memory, one of ``memory.RULES``.
        memory_source: where the limits come from.
        model: form to export, one of :data:`MODELS`; None: ``onnx``.
        weight_bits: of quantized weights that its files can hold. Fewer than 8 run as int8 does, unless the target has
            constants for them: a gain in storage alone.
    """

    name: str
    description: str
    runtime: str
    default_precision: str
    latency: LatencyModel
    labels: Mapping[str, str] = field(hash=False)
    sources: Mapping[str, str] = field(hash=False)
    ram_bytes: int | None = None
    flash_bytes: int | None = None
    model: str | None = None
    threads: int | None = None
    memory_rules: str = "in-place"
    memory_source: str | None = None
    weight_bits: tuple[int, ...] = (8,)

    @property
    def precisions(self) -> tuple[str, ...]:
        """What the target runs."""
        known = self.latency.precisions
        stored = {p for p, bits in WEIGHT_BITS.items() if bits in self.weight_bits and INT8 in known}
        return tuple(p for p in PRECISIONS if p in stored or p in known)

    def runs_as(self, precision: str) -> str:
        """The precision whose latencies hold for another: int8's for those that only store weights in fewer bits."""
        return precision if precision in self.latency.precisions else INT8

    @property
    def memory(self) -> dict[str, int | str]:
        """The limits and ``memory_rules``, for results; empty where there are no limits."""
        known = {key: value for key in _MEMORY if (value := getattr(self, key)) is not None}
        return known | {"memory_rules": self.memory_rules} if known else {}

    def precision(self, name: str | None = None) -> str:
        """``name`` checked, or the default where it is None.

        Raises:
            UsageError: the target does not run that precision.
        """
        if name is not None and name not in self.precisions:
            from search_spaces.errors import unknown_name

            raise unknown_name("precision", name, self.precisions, f"of target '{self.name}'")
        return name or self.default_precision

    def menu(self, text: str | None = None) -> tuple[str, ...]:
        """Precisions that a search may mix, of ``int8,w4a8``; ``mixed`` is all there are, None the default alone.

        Raises:
            UsageError: not such a list, or the target does not run one of them.
        """
        if text == MIXED:
            return self.precisions
        found = parse_menu(text or self.default_precision)
        for name in found:
            self.precision(name)
        return found

    def policy(self, text: str) -> Policy:
        """A precision policy, checked.

        Raises:
            UsageError: not a policy, or the target does not run one of its precisions.
        """
        found = parse_policy(text)
        for name in found.precisions:
            self.precision(name)
        return found

    def label(self, precision: str | None = None) -> str:
        """How far to trust latencies at a precision (default: the target's)."""
        return self.labels[self.runs_as(self.precision(precision))]

    def labels_of(self, precisions: Sequence[str]) -> str:
        """How far to trust latencies of networks with several precisions; each with its name where they differ."""
        return self._told(precisions, self.label)

    def sources_of(self, precisions: Sequence[str]) -> str:
        """Where the constants of several precisions come from, likewise."""
        return self._told(precisions, self.source)

    def _told(self, precisions: Sequence[str], what: Callable[[str], str]) -> str:
        found = {self.runs_as(name): what(name) for name in precisions}
        texts = list(dict.fromkeys(found.values()))
        return texts[0] if len(texts) == 1 else "; ".join(f"{name}: {text}" for name, text in found.items())

    def source(self, precision: str | None = None) -> str:
        """Where the constants of a precision come from (default: the target's)."""
        return self.sources[self.runs_as(self.precision(precision))]


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
    except OSError as error:
        raise UserError(f"cannot read target file '{path}': {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"target file '{path}' is not TOML: it is no text") from None
    return parse_target(content, str(path))


def _known() -> str:
    return ", ".join(available_targets())


def parse_target(text: str, where: str = "target") -> Target:
    """A target from the text of its file; ``where`` names the file in messages.

    Raises:
        UserError: not TOML, or not a valid target; the message names every problem.
    """
    from search_spaces.errors import UserError

    from .memory import DEFAULT_RULES
    from .target_latency import read_latency

    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a plain ValueError
        raise UserError(f"target file '{where}' is not TOML: {error}") from None
    if problems := _problems(data):
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise UserError(f"target file '{where}' has {count}: {'; '.join(problems)}")
    latency = data["latency"]
    return Target(
        **{key: data[key] for key in _TEXTS},
        latency=read_latency(latency),
        labels={p: t["label"] for p, t in latency.items()},
        sources={p: t["source"] for p, t in latency.items()},
        **{key: data.get("memory", {}).get(key) for key in _MEMORY},
        memory_rules=data.get("memory", {}).get("rules", DEFAULT_RULES),
        memory_source=data.get("memory", {}).get("source"),
        model=data.get("model"),
        threads=data.get("threads"),
        weight_bits=tuple(data.get("weight_bits", (8,))),
    )


def _problems(data: dict[str, Any]) -> list[str]:
    """Everything that is wrong with a file, in the file's terms."""
    from .target_latency import problems_of

    problems = unknown("", data, (*_TEXTS, "model", "threads", "memory", "weight_bits", "latency"))
    for key in (*_TEXTS, *(("model",) if "model" in data else ())):
        problems += text_problems("", data, key)
    if isinstance(data.get("model"), str) and data["model"] not in MODELS:
        problems.append(f"model = {show(data['model'])} is unknown; forms are {', '.join(MODELS)}")
    if type(threads := data.get("threads", 1)) is not int or threads < 1:
        problems.append(f"threads = {show(threads)} must be a whole number, 1 or more")
    if "weight_bits" in data:
        problems += _bits_problems(data["weight_bits"], data.get("latency"))
    memory = data.get("memory", {})
    if isinstance(memory, dict):
        problems += _memory_problems(memory)
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
        problems += problems_of(place, table, precision)
    default = data.get("default_precision")
    if isinstance(default, str) and default and default not in latency:
        problems.append(f"default_precision '{default}' has no table [latency.{default}]")
    return problems


def _bits_problems(given: Any, latency: Any) -> list[str]:
    """What is wrong with the bits of weights."""
    known = [bits for bits in WEIGHT_BITS.values() if bits <= 8]
    if not isinstance(given, list) or 8 not in given or any(type(b) is not int or b not in known for b in given):
        return [f"weight_bits = {show(given)} must be a list of {', '.join(map(str, known))}, with 8 among them"]
    if isinstance(latency, dict) and INT8 not in latency:
        return [f"weight_bits are of quantized weights, and there is no table [latency.{INT8}]"]
    return []


def _memory_problems(memory: dict[str, Any]) -> list[str]:
    """What is wrong with the table of memory."""
    from .memory import RULES

    problems = unknown("memory.", memory, (*_MEMORY, *_MEMORY_TEXTS))
    for key, value in memory.items():
        if key in _MEMORY and (type(value) is not int or value <= 0):
            problems.append(f"memory.{key} = {show(value)} must be a whole number of bytes above 0")
        elif key in _MEMORY_TEXTS:
            problems += text_problems("memory.", memory, key)
    if isinstance(rules := memory.get("rules"), str) and rules.strip() and rules not in RULES:
        problems.append(f"memory.rules = {show(rules)} is unknown; rules are {', '.join(RULES)}")
    return problems


def to_toml(target: Target, comment: str = "") -> str:
    """The file of a target, for :func:`parse_target`; constants keep six digits.

    Args:
        target: what to write.
        comment: lines to put on top, without ``#``.
    """
    from .memory import DEFAULT_RULES
    from .target_latency import latency_lines

    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines += [f"{key} = {_quote(getattr(target, key))}" for key in _TEXTS]
    if target.threads is not None:
        lines.append(f"threads = {target.threads}")
    if target.model is not None:
        lines.append(f"model = {_quote(target.model)}")
    if target.weight_bits != (8,):
        lines.append(f"weight_bits = [{', '.join(map(str, target.weight_bits))}]")
    memory = [f"{key} = {value}" for key in _MEMORY if (value := getattr(target, key)) is not None]
    if target.memory_rules != DEFAULT_RULES or memory:
        memory.append(f"rules = {_quote(target.memory_rules)}")
    if target.memory_source is not None:
        memory.append(f"source = {_quote(target.memory_source)}")
    if memory:
        lines.append(f"memory = {{ {', '.join(memory)} }}")
    for precision in target.latency.precisions:
        lines += ["", f"[latency.{precision}]", f"label = {_quote(target.labels[precision])}"]
        lines += [f"source = {_quote(target.sources[precision])}", *latency_lines(target.latency, precision)]
    return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's, except that TOML also escapes DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
