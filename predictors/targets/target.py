"""A target: a device with a runtime, described by one TOML file.

Files of known targets lie in ``targets/``; a path to a file of one's own works wherever a name does. Importing this
module and listing the targets needs the standard library alone.

.. code-block:: toml

    name = "my-board"
    description = "what it is"
    runtime = "TFLite 2.7.1, 4 threads"
    threads = 4                         # optional
    default_precision = "int8"
    model = "onnx"                      # optional: the form to export
    weight_bits = [8, 4]                # optional: of quantized weights in that form's files
    memory = { ram_bytes = 262144 }     # optional, and flash_bytes, rules (see predictors.costs.memory) and source

    [latency.int8]                      # one table per precision, see predictors.latency.records.Coefficients
    label = "uncalibrated"
    source = "where the constants come from"
    conv_ms_per_mmac = 0.03
    # ...

    [latency.int8.operators]            # optional: a look-up table, see predictors.latency.records.OperatorTable

    [latency.int8.measured]             # optional: networks fitted to, see predictors.latency.measured.MeasuredRange
    ms = [2.7, 85]
    mmacs = [20, 570]
    px = [96, 224]
    operators = [40, 110]
    kinds = ["conv", "pointwise", "depthwise", "linear", "elementwise", "pool"]
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from predictors.costs.memory import DEFAULT_RULES
from search_spaces.errors import UsageError, UserError, unknown_name
from search_spaces.schema import convert, problems

from .card import FOLDER, MEMORY, TEXTS, TargetCard, available_targets, make_card
from .record import TargetFile

if TYPE_CHECKING:
    from predictors.latency.additive import LatencyModel


@dataclass(frozen=True)
class Target(TargetCard):
    """A device and the runtime on it, with its latencies at every precision that has a label."""

    latency: LatencyModel = field(kw_only=True)


def load_target(name_or_path: str | Path) -> Target:
    """The shipped target of that name, or the one that a ``.toml`` file describes. Raises UsageError where there is
    none, and otherwise as :func:`parse_target`."""
    text = str(name_or_path)
    is_path = isinstance(name_or_path, Path) or text.endswith(".toml") or "/" in text or "\\" in text
    if not is_path and text not in available_targets():
        raise unknown_name("target", text, available_targets())
    path = Path(text) if is_path else FOLDER / f"{text}.toml"
    try:
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"target file '{path}' is not TOML: it isn't a text") from None
    except (FileNotFoundError, ValueError):  # no path may hold a null character
        known = ", ".join(available_targets())
        raise UsageError(f"no target file '{path}'; give a path to one, or a name: {known}") from None
    except OSError as error:
        raise UserError(f"cannot read target file '{path}': {error.strerror}") from None
    return parse_target(content, str(path))


def parse_target(text: str, where: str = "target") -> Target:
    """A target from the text of its file ``where``. Raises UserError with every problem where it isn't a valid one."""
    from .latency_section import contradictions, read_latency

    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a plain ValueError
        raise UserError(f"target file '{where}' is not TOML: {error}") from None
    wrong = list(problems(data, TargetFile, closed=True))
    if not wrong:
        file = convert(data, TargetFile)
        wrong = file.contradictions()
        wrong += [line for precision, table in file.latency.items() for line in contradictions(precision, table)]
    if wrong:
        count = "a problem" if len(wrong) == 1 else f"{len(wrong)} problems"
        raise UserError(f"target file '{where}' has {count}: {'; '.join(wrong)}")
    card = make_card(file)
    return Target(**{f.name: getattr(card, f.name) for f in fields(card)}, latency=read_latency(file.latency))


def to_toml(target: Target, comment: str = "") -> str:
    """The file of a target, for :func:`parse_target`, below a comment; constants keep six digits."""
    from .latency_section import latency_lines, measured_lines

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
        if precision in target.measured:
            lines += ["", f"[latency.{precision}.measured]", *measured_lines(target.measured[precision])]
    return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's, except that TOML also escapes DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
