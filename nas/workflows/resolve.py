"""What a user's word means: a member of a front, an architecture, an exported folder or file, a timm model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nas.runtimes.table import suffixes
from nas.store.exports import EstimateManifest
from nas.store.files import check_format, is_json, read_json, read_record
from nas.store.hints import hint
from nas.store.results import Member, SearchResult
from nas.store.run import Run, open_run
from predictors.targets.target import load_target
from search_spaces import PRESETS, get_space
from search_spaces.architecture import Architecture, Interface
from search_spaces.builders.typed_code import PREFIX as OWN
from search_spaces.errors import UsageError, UserError, unknown_name
from search_spaces.families.named import spell_out
from search_spaces.families.options import PREFIX as TIMM
from search_spaces.families.packaged import PREFIXES
from search_spaces.schema import Json, read_content, shown

from .describe import PICKS

if TYPE_CHECKING:
    from torch import nn


def find_run(path: Path | None, word: str | None = None) -> Run:
    """The run of a directory; None: the one that ``word``, an exported file, lies in, or the run touched last.
    Raises UserError where there is none."""
    if path is None and word is not None and not is_json(word):
        for parent in Path(word).resolve().parents:
            if (parent / "run.json").exists():
                return Run(parent)
    return open_run(path)


def read_search(run: Run, target: str | None = None) -> SearchResult:
    """The result of the last search, or of the one for ``target``. Raises UserError: there is none."""
    if target is not None:
        paths = [run.search(load_target(target).name)]
    else:
        paths = sorted(run.searches().values(), key=lambda p: p.stat().st_mtime)
    if not paths or not paths[-1].exists():
        wanted = "" if target is None else f" for {target}"
        start = hint("search", run=run.path, target=target)
        raise UserError(f"{run.path} has no finished search{wanted}; start one: {start}")
    return read_record(paths[-1], SearchResult)


def pick_member(result: SearchResult, name: str = "best") -> Member:
    """A member of a front by id (or its beginning), or ``best`` (most accurate), ``fastest``, ``smallest``. Raises
    UserError: the front is empty, or has no such member."""
    front = result.front
    if not front:
        raise UserError("the front of this search is empty; search again: nas search")
    if name == "best":
        return max(front, key=lambda m: m.accuracy.value)
    if name in ("fastest", "smallest"):
        return min(front, key=lambda m: m.latency_ms if name == "fastest" else m.size_bytes)
    members = [m for m in front if m.id.startswith(name)]
    if len(members) != 1:
        raise UsageError(f"candidate '{name}' is not on the front; there are: {', '.join(m.id for m in front)}")
    return members[0]


def parse_architecture(text: str) -> Architecture:
    """An architecture from JSON text or a file that holds it, as in ``architecture.json``. Raises UserError:
    neither."""
    try:
        content = json.loads(text) if is_json(text) else _read_foreign(Path(text))
        if not isinstance(content, dict):
            raise ValueError(f"it is {shown(content)}, not a table")
        return Architecture.from_dict(content.get("architecture", content))
    except (ValueError, AttributeError, TypeError, RecursionError, OSError) as error:
        raise UserError(f"'{text[:200]}' is not an architecture: {str(error)[:200]}") from None


def _read_foreign(path: Path) -> object:
    """A JSON file from anywhere. Raises UserError: missing, damaged or of a later version."""
    content = read_json(path)
    check_format(content, path)
    return content


@dataclass(frozen=True)
class Chosen:
    """A candidate that a word means; an architecture alone has no precision, and is on no search's front."""

    architecture: Architecture
    precision: str | None = None
    search: SearchResult | None = None


def read_candidate(run: Run, word: str, target: str | None = None) -> Chosen:
    """A member of a front, or any architecture.

    Args:
        word: as :func:`pick_member` or :func:`parse_architecture` take it.
        target: whose front; None: the last search's.

    Raises:
        UsageError: no such candidate.
        UserError: no such search, or JSON that isn't an architecture.
    """
    if is_json(word) or Path(word).suffix == ".json":
        return Chosen(parse_architecture(word))
    search = read_search(run, target)
    member = pick_member(search, word)
    return Chosen(member.architecture, member.precision, search)


@dataclass(frozen=True)
class Subject:
    """A model to estimate.

    Attributes:
        name: in the result.
        build: the model on ``meta`` for images of that side; None: its own.
        size: (channels, height, width) of its own images.
        target, precision: what it was made for; empty: nothing in particular.
    """

    name: str
    build: Callable[[int | None], nn.Module]
    size: tuple[int, int, int]
    target: str = ""
    precision: str = ""


def read_subject(
    word: str, run: Callable[[], Run] | None = None, num_classes: int | None = None, in_chans: int | None = None
) -> Subject:
    """The network that a word means.

    Args:
        word: JSON of an architecture, or a file of it; an exported folder or a file in it; the id of a member of a
            front or its beginning, or one of :data:`PICKS`; a search space, of which the largest network is meant;
            a name of timm's, with or without a pretrained tag.
        run: opens the run that members of a front come from.
        num_classes, in_chans: None: the network's own; for an architecture 1000 and 3.

    Raises:
        UsageError: an unknown model, or a member of no run in particular.
        UserError: a file that is missing or damaged, JSON that isn't an architecture, or a run without a search.
    """
    path = Path(word)
    if is_json(word):
        return _of_architecture(parse_architecture(word), num_classes, in_chans)
    if path.is_dir() or path.suffix in (".json", ".safetensors", *suffixes()):
        return _of_export(path, num_classes, in_chans)
    if is_member(word):
        return _of_member(word, run, num_classes, in_chans)
    if is_space(word):
        return replace(_of_architecture(get_space(spell_out(word)).largest, num_classes, in_chans), name=word)
    if "/" in word or "\\" in word:
        raise UserError(f"{word} does not exist; give an exported folder, or another model")
    return _of_timm(word, num_classes, in_chans)


def is_member(word: str) -> bool:
    """Whether a word can only mean a member of a front: one of :data:`PICKS`, an id or its beginning."""
    return word in PICKS or re.fullmatch(r"[0-9a-f]{4,8}(-\w*(-[0-9a-f]{,4})?)?", word) is not None


def is_space(word: str) -> bool:
    """Whether a word can only mean a search space."""
    return word in PRESETS or word.startswith((TIMM, OWN, *PREFIXES))


def _of_timm(name: str, num_classes: int | None, in_chans: int | None) -> Subject:
    from search_spaces.builders.timm_compat import NoInit, timm

    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        raise unknown_name("model", name, [*timm.list_models(), *PRESETS, *PICKS])
    tagged = timm.list_models(f"{base}.*", pretrained=True) if tag else []
    if tag and name not in tagged:
        raise unknown_name("pretrained tag", tag, [t.partition(".")[2] for t in tagged], f"of {base}")
    options = {k: v for k, v in (("num_classes", num_classes), ("in_chans", in_chans)) if v is not None}

    def create(**more: int) -> nn.Module:
        with NoInit():
            return timm.create_model(name, pretrained=False, device="meta", **options, **more)  # type: ignore[no-any-return]

    def build(resolution: int | None) -> nn.Module:
        if resolution is None:
            return create()
        try:
            return create(img_size=resolution)  # position embeddings are made for one size
        except TypeError:
            return create()  # most networks take any size

    channels, height, width = timm.get_pretrained_cfg(name).input_size
    return Subject(name, build, (in_chans or channels, height, width))


def _of_architecture(architecture: Architecture, num_classes: int | None, in_chans: int | None) -> Subject:
    space = get_space(architecture.space)
    space.encode(architecture)
    classes, channels = num_classes or 1000, in_chans or 3

    def build(resolution: int | None) -> nn.Module:
        genes = dict(architecture.genes) | ({"resolution": resolution} if resolution else {})
        return space.build(Architecture(space.name, tuple(genes.items())), Interface(channels, classes), "meta")

    side = architecture.resolution
    return Subject(f"{space.name} {architecture.id}", build, (channels, side, side))


def _of_member(name: str, run: Callable[[], Run] | None, num_classes: int | None, in_chans: int | None) -> Subject:
    if run is None:
        raise UsageError(f"candidate '{name}' needs its run; give `run`")
    home = run()
    result = read_search(home)
    member = pick_member(result, name)
    data = home.read().data
    network = _of_architecture(member.architecture, num_classes or data.num_classes, in_chans or data.in_chans)
    return Subject(member.id, network.build, network.size, result.settings.target, member.precision)


def _of_export(path: Path, num_classes: int | None, in_chans: int | None) -> Subject:
    from search_spaces.builders.timm_model import TimmSpec, build_foreign

    folder = path if path.is_dir() else path.parent
    file = path if path.suffix == ".json" else folder / "architecture.json"
    content = _read_foreign(file)
    if not isinstance(content, dict) or "timm" not in content:
        return _of_architecture(parse_architecture(str(file)), num_classes, in_chans)
    facts = read_content(content, EstimateManifest, file)
    spec = TimmSpec.from_json(facts.timm)
    interface = Interface(in_chans or spec.interface.in_chans, num_classes or spec.interface.outputs)

    def build(resolution: int | None) -> nn.Module:
        def fit(part: Mapping[str, Json]) -> Mapping[str, Json]:
            return {**part, "img_size": resolution} if resolution is not None and "img_size" in part else part

        changed = replace(spec, interface=interface, options=fit(spec.options), arguments=fit(spec.arguments))
        return build_foreign(changed, str(file), "meta")

    size = (interface.in_chans, *facts.input.input_size[1:])
    return Subject(facts.candidate, build, size, facts.target.name, facts.precision)
