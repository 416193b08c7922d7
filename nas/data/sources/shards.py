"""WebDataset shards as a source: ``wds/FOLDER``."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from nas.data.dataset import listed
from nas.data.folders.formats import EARLIER, endings
from nas.data.folders.split_names import EARLIER as EARLIER_NAMES
from nas.data.folders.split_names import HELD, split_names, words_of
from search_spaces.errors import UserError

from .readable import NAMED
from .source import Contents, Request
from .stream import create, read_streams

_READER = "timm.data.readers.reader_wds"
_INFO = ("_info.json", "info.json")


class Shards:
    """``wds/FOLDER``."""

    def open(self, name: str, request: Request) -> Contents:
        """Samples are an image and ``.cls``, its class number. The folder is relative to ``root``."""
        folder = Path(request.root or "") / name.partition("/")[2]
        known = EARLIER if request.earlier else endings()
        keys = ";".join(sorted(ending[1:] for ending in known))
        with _skipped() as lost:
            parts = {}
            for split, its in find_shards(folder, request.earlier).items():
                parts[split] = create(f"wds/{folder.name}", str(folder), its, input_img_mode="", input_key=keys)
                # every process of a run reads all: batches are shared out later
                parts[split].reader.dist_rank, parts[split].reader.dist_num_replicas = 0, 1
            try:
                contents = read_streams(name, parts, request)
            except UserError as error:
                if not lost:
                    raise
                raise UserError(f"{error}; {len(lost)} could not be read, the first: {lost[0]}") from None
        if not lost:
            return contents
        what = "sample" if len(lost) == 1 else "samples or shards"
        note = f"{len(lost)} corrupt {what} left out: {listed(lost, NAMED)}"
        corrupt = tuple((f"number {i}", text) for i, text in enumerate(lost, start=1))
        return replace(contents, warnings=(note, *contents.warnings), corrupt=corrupt)


def find_shards(folder: Path, earlier: bool = False) -> dict[str, str]:
    """timm's notation for the shards of each split.

    They are those of timm's ``_info.json``, which names its splits; without that file those with a split's name in
    theirs, as in ``train-000.tar`` or ``flowers-val-07.tar``; and where no name says a split, all are for training.

    Args:
        earlier: whether only names count that earlier versions knew.

    Raises:
        UserError: there are none, or none for training.
    """
    if not folder.is_dir():
        raise UserError(f"'{folder}' is not a folder; give the one with the shards: wds/FOLDER")
    named = next((_splits_of(folder / name) for name in _INFO if (folder / name).exists()), None)
    if named is not None:
        splits = split_names(named, earlier)
    else:
        files: dict[str, list[str]] = {}
        for path in sorted(folder.glob("*.tar")):
            known = " ".join(w for w in re.split(r"[\W_\d]+", path.stem) if not earlier or w.lower() in EARLIER_NAMES)
            words = words_of(known)
            files.setdefault(words[-1] if words else "", []).append(path.name)
        if HELD in files:
            files["search" if "test" in files else "test"] = files.pop(HELD)
        if set(files) == {""}:
            files = {"train": files[""]}
        # names, not patterns: "::" is what stands between them
        splits = {split: "::".join(names) for split, names in files.items() if split}
        named = [*files]
    if "train" not in splits:
        what = f"the splits {listed(sorted(named))}" if any(named) else "no .tar files"
        raise UserError(f"'{folder}' has {what}; it needs shards for training, as train-000.tar")
    return splits


def _splits_of(path: Path) -> list[str]:
    try:
        names = list(json.loads(path.read_text(encoding="utf-8"))["splits"])
        if not all(isinstance(name, str) for name in names):
            raise TypeError("names of splits are texts")
        return names
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"'{path}' does not say which splits there are ({error!r}); fix or remove it") from None


@contextmanager
def _skipped() -> Iterator[list[str]]:
    """What timm's reader leaves out meanwhile: it continues after a sample or a shard that it cannot read."""
    heard: list[str] = []

    class Listener(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            text = record.getMessage()
            if (error := re.match(r"Handling webdataset error \((.*)\). Ignoring", text, re.DOTALL)) is not None:
                heard.append(" ".join(error.group(1).split())[:120])
            return False

    logger = logging.getLogger(_READER)
    logger.addFilter(listener := Listener())
    try:
        yield heard
    finally:
        logger.removeFilter(listener)
