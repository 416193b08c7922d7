"""Precision policies: what each stage of a network is stored and computed in.

A policy is written ``int8`` (the whole network) or ``int8,blocks.1=w4a8,blocks.3=fp32``: the precision of everything,
then the stages that differ. A candidate is an architecture and a policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import UsageError, unknown_name

if TYPE_CHECKING:
    from .space import SearchSpace

WEIGHT_BITS = {"fp32": 32, "int8": 8, "w4a8": 4, "w2a8": 2}
"""Precision -> bits of a weight. Activations are floats in fp32, and int8 in all others."""

PRECISIONS = tuple(WEIGHT_BITS)
FLOAT, INT8 = "fp32", "int8"
MIXED = "mixed"


@dataclass(frozen=True)
class Policy:
    """The precision of every part of a network. Made by :func:`make_policy` or :func:`parse_policy`.

    ``stages`` are pairs (path of a module, its precision) where that isn't ``outer``, in the order of the paths; the
    stem and the head are never among them.
    """

    outer: str
    stages: tuple[tuple[str, str], ...] = ()

    def of(self, path: str) -> str:
        """Precision of a module by its dotted path, ``blocks.1.0.conv_dw``; the longest matching entry counts."""
        matches = [(len(stage), name) for stage, name in self.stages if within(path, stage)]
        return max(matches)[1] if matches else self.outer

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions that occur, in the order of :data:`PRECISIONS`."""
        used = {self.outer, *(name for _, name in self.stages)}
        return tuple(name for name in PRECISIONS if name in used)

    @property
    def label(self) -> str:
        """For names: the precision of the whole network, or ``mixed``."""
        return MIXED if self.stages else self.outer

    @property
    def quantized(self) -> bool:
        """Whether any part is quantized."""
        return self.precisions != (FLOAT,)

    def __str__(self) -> str:
        return ",".join([self.outer, *(f"{stage}={name}" for stage, name in self.stages)])


def within(path: str, stage: str) -> bool:
    """Whether a module is a stage or a part of it, by their dotted paths."""
    return path == stage or path.startswith(f"{stage}.")


def make_policy(outer: str, stages: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> Policy:
    """A policy in its one form: no entry that repeats what is around it, entries in order. Raises UsageError where a
    precision is unknown."""
    entries = dict(stages)
    for name in (outer, *entries.values()):
        if name not in PRECISIONS:
            raise unknown_name("precision", name, PRECISIONS)
    kept: list[tuple[str, str]] = []
    for stage, name in sorted(entries.items(), key=lambda entry: len(entry[0])):
        if name != Policy(outer, tuple(kept)).of(stage):
            kept.append((stage, name))
    return Policy(outer, tuple(sorted(kept, key=lambda entry: _natural(entry[0]))))


def parse_policy(text: str) -> Policy:
    """The policy that a text such as ``int8,blocks.1=w4a8`` describes. Raises UsageError where a precision is unknown,
    or a part is not ``stage=precision``."""
    outer, *rest = (part.strip() for part in text.split(","))
    entries: dict[str, str] = {}
    for part in rest:
        stage, sign, name = (word.strip() for word in part.partition("="))
        if not (stage and sign and name) or stage in entries:
            raise UsageError(
                f"precision policy '{text}': '{part}' isn't stage=precision, or repeats a stage; "
                "give for example int8,blocks.1=w4a8,blocks.3=fp32"
            )
        entries[stage] = name
    return make_policy(outer, entries)


def parse_menu(text: str, setting: str = "`precision`") -> tuple[str, ...]:
    """The precisions that stages may have, of ``int8,w4a8``; in the order of :data:`PRECISIONS`. Raises UsageError,
    which names the ``setting``, where one is unknown or repeated, or there is none."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in PRECISIONS:
            raise unknown_name("precision", name, (*PRECISIONS, MIXED))
    if len(set(names)) < len(names):
        raise UsageError(f"{setting} {text} names one of them twice; give each once")
    return tuple(name for name in PRECISIONS if name in names)


def stages_of(space: SearchSpace) -> tuple[str, ...]:
    """Paths of a space's stages, in order: segments up to the first part with a number, ``blocks.1`` or ``layer2``."""
    paths = [re.match(r"(?:[^.\d]+\.)*[^.]*\d+", s.path) for s in space.segments]
    return tuple(dict.fromkeys(match.group() for match in paths if match))


def check_stages(policy: Policy, paths: Iterable[str], what: str) -> None:
    """Raise UsageError where a policy names a stage which the network ``what`` with modules at ``paths`` doesn't
    have."""
    known = list(paths)
    for stage, _ in policy.stages:
        if not any(within(path, stage) for path in known):
            raise UsageError(f"precision policy '{policy}': {what} has no stage '{stage}'")


def _natural(path: str) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdecimal() and len(part) < 10 else (1, part) for part in path.split(".")]
