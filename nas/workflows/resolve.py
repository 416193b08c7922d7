"""What a user's word means: a search, a member of its front, an architecture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nas.candidates.calibrate import CALIBRATION_IMAGES
from nas.store.files import is_json, read_json
from nas.store.records import SEARCH as SEARCH_RESULT
from nas.store.run import Run
from predictors.targets.target import load_target
from search_spaces.architecture import Architecture
from search_spaces.errors import UsageError, UserError


def read_search(run: Run, target: str | None = None) -> dict[str, Any]:
    """The result of the last search, or of the one for ``target``.

    Raises:
        UserError: there is none.
    """
    if target is not None:
        paths = [run.search(load_target(target).name)]
    else:
        paths = sorted(run.searches().values(), key=lambda p: p.stat().st_mtime)
    if not paths or not paths[-1].exists():
        of, flag = ("", "") if target is None else (f" for {target}", f" --target {target}")
        raise UserError(f"{run.path} has no finished search{of}; start one: nas search --run {run.path}{flag}")
    result: dict[str, Any] = read_json(paths[-1], SEARCH_RESULT)
    return result


def pick_member(result: dict[str, Any], name: str = "best") -> dict[str, Any]:
    """A member of a front by id (or its beginning), or ``best`` (most accurate), ``fastest``, ``smallest``.

    Raises:
        UserError: the front is empty, or has no such member.
    """
    front = result["front"]
    if not front:
        raise UserError("the front of this search is empty; search again: nas search")
    if name == "best":
        return max(front, key=lambda m: m["accuracy"]["value"])
    if name in ("fastest", "smallest"):
        return min(front, key=lambda m: m["latency_ms" if name == "fastest" else "size_bytes"])
    found = [m for m in front if m["id"].startswith(name)]
    if len(found) != 1:
        raise UsageError(f"candidate '{name}' is not on the front; there are: {', '.join(m['id'] for m in front)}")
    member: dict[str, Any] = found[0]
    return member


def calibrated_on(result: dict[str, Any]) -> int:
    """Images that the candidates of a search were calibrated on."""
    images: int = result["config"].get("calibration_images", CALIBRATION_IMAGES)
    return images


def parse_architecture(text: str) -> Architecture:
    """An architecture from JSON text or a file that holds it, as in ``architecture.json``.

    Raises:
        UserError: neither.
    """
    path = Path(text)
    try:
        content = json.loads(text) if is_json(text) else read_json(path, {})
        return Architecture.from_dict(content.get("architecture", content))
    except (ValueError, AttributeError, TypeError, RecursionError, OSError) as error:
        raise UserError(f"'{text[:200]}' is no architecture: {str(error)[:200]}") from None
