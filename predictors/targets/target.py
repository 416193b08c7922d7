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
    memory = { ram_bytes = 262144 }     # optional, and flash_bytes, rules (see predictors.costs.memory) and source

    [latency.int8]                      # one table a precision, see predictors.latency.additive.Coefficients
    label = "uncalibrated"
    source = "where the constants come from"
    conv_ms_per_mmac = 0.03
    # ...

    [latency.int8.operators]            # optional: a look-up table, see predictors.latency.operator_table.OperatorTable
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.policy import INT8, PRECISIONS, WEIGHT_BITS

from .card import FOLDER, MEMORY, TEXTS, TargetCard, available_targets, fields_of
from .checks import show, unknown
from .checks import text as text_problems

if TYPE_CHECKING:
    from predictors.latency.additive import LatencyModel

MODELS = ("onnx", "onnx-uint8", "executorch")
"""Forms of the exported file: ONNX with int8 activations (ARM, OpenVINO) or with uint8 (onnxruntime on x86 runs those
faster), or ExecuTorch's .pte."""
_MEMORY_TEXTS = ("rules", "source")


@dataclass(frozen=True)
class Target(TargetCard):
    """A device and the runtime on it, with its latencies.

    Attributes:
        latency: the model, with constants for every precision that has a label.
    """

    latency: LatencyModel = field(kw_only=True)


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
    except UnicodeDecodeError:
        raise UserError(f"target file '{path}' is not TOML: it is no text") from None
    except (FileNotFoundError, ValueError):  # no path may hold a null character
        raise UsageError(f"no target file '{path}'; give a path to one, or a name: {_known()}") from None
    except OSError as error:
        raise UserError(f"cannot read target file '{path}': {error.strerror}") from None
    return parse_target(content, str(path))


def _known() -> str:
    return ", ".join(available_targets())


def parse_target(text: str, where: str = "target") -> Target:
    """A target from the text of its file; ``where`` names the file in messages.

    Raises:
        UserError: not TOML, or not a valid target; the message names every problem.
    """
    from search_spaces.errors import UserError

    from .latency_section import read_latency

    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a plain ValueError
        raise UserError(f"target file '{where}' is not TOML: {error}") from None
    if problems := _problems(data):
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise UserError(f"target file '{where}' has {count}: {'; '.join(problems)}")
    return Target(**fields_of(data), latency=read_latency(data["latency"]))


def _problems(data: dict[str, Any]) -> list[str]:
    """Everything that is wrong with a file, in the file's terms."""
    from .latency_section import problems_of

    problems = unknown("", data, (*TEXTS, "model", "threads", "memory", "weight_bits", "latency"))
    for key in (*TEXTS, *(("model",) if "model" in data else ())):
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
    from predictors.costs.memory import RULES

    problems = unknown("memory.", memory, (*MEMORY, *_MEMORY_TEXTS))
    for key, value in memory.items():
        if key in MEMORY and (type(value) is not int or value <= 0):
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
    from predictors.costs.memory import DEFAULT_RULES

    from .latency_section import latency_lines

    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines += [f"{key} = {_quote(getattr(target, key))}" for key in TEXTS]
    if target.threads is not None:
        lines.append(f"threads = {target.threads}")
    if target.model is not None:
        lines.append(f"model = {_quote(target.model)}")
    if target.weight_bits != (8,):
        lines.append(f"weight_bits = [{', '.join(map(str, target.weight_bits))}]")
    memory = [f"{key} = {value}" for key in MEMORY if (value := getattr(target, key)) is not None]
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
