"""What a shell completes: names from small files, without a framework. Nothing here raises: a shell shows no errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import typer

Completions = list[tuple[str, str]]
"""Words with a help text each; shells that show none show the words."""


def targets(incomplete: str) -> Completions:
    """Devices by name, also after a comma."""
    from predictors.targets.card import available_targets, shipped_card

    done, comma, begun = incomplete.rpartition(",")
    names = [name for name in available_targets() if name.startswith(begun)]
    return [(f"{done}{comma}{name}", shipped_card(name).description) for name in names]


def spaces(incomplete: str) -> Completions:
    from search_spaces import PRESETS

    return _matching(incomplete, ((name, space.source) for name, space in PRESETS.items()))


def runs(incomplete: str) -> Completions:
    """Run directories below ``runs``, the last one first."""
    from nas.store.status import list_runs

    found = _quietly(lambda: [(r.run, f"{r.state}: {r.space or '?'} on {r.source or '?'}") for r in list_runs()])
    return _matching(incomplete, found)


@dataclass(frozen=True)
class _Accuracy:
    value: float


@dataclass(frozen=True)
class _Member:
    id: str
    accuracy: _Accuracy
    latency_ms: float


@dataclass(frozen=True)
class _Front:
    """What is shown of a search's result; the rest isn't checked, which would take longer."""

    front: tuple[_Member, ...]


def candidates(ctx: typer.Context, incomplete: str) -> Completions:
    """Members of the fronts of ``--run``, or of the last run; of ``--target``'s alone where that is given."""
    from nas.workflows.describe import ALL, PICKS

    fixed = [*PICKS.items()] + ([(ALL, "the whole front")] if ctx.info_name in ("export", "finetune") else [])
    found = _quietly(lambda: _members(ctx.params.get("run"), ctx.params.get("target")))
    return _matching(incomplete, [*fixed, *found])


def _members(run: Path | str | None, target: str | None) -> Completions:
    from nas.store.run import Run, latest
    from search_spaces.schema import convert

    words: dict[str, str] = {}
    for name, path in (latest() if run is None else Run(Path(run))).searches().items():
        if target not in (None, name):
            continue
        for member in convert(json.loads(path.read_text(encoding="utf-8")), _Front).front:
            words.setdefault(member.id, f"{name}: {100 * member.accuracy.value:.2f} %, {member.latency_ms:.3f} ms")
    return list(words.items())


def strategies(incomplete: str) -> Completions:
    from nas.training.strategies.table import STRATEGIES

    return _matching(incomplete, ((name, entry.summary) for name, entry in STRATEGIES.items()))


def _matching(incomplete: str, words: Iterable[tuple[str, str]]) -> Completions:
    return [(word, text) for word, text in words if word.startswith(incomplete)]


def _quietly(look: Callable[[], Completions]) -> Completions:
    """What ``look`` finds; nothing where files are missing or damaged."""
    from search_spaces.errors import UserError

    try:
        return look()
    except (UserError, OSError, ValueError, LookupError, TypeError, AttributeError):
        return []
