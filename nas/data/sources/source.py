"""Sources of images: the protocol, and the table of all kinds. Looking at the table loads no framework.

A new kind is one file in this folder and one line in :data:`SOURCES`; ``docs/adding-a-source.md`` walks through one.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nas.store.records import CLASSIFICATION, DataInfo, Levels
from nas.store.settings import LAYOUTS
from search_spaces.errors import UsageError, UserError, install_hint, unknown_name

AUTO, CLASSES, SPLITS = LAYOUTS
"""What folders of images may be said to be; see :func:`nas.data.folders.layout.read_layout`."""
AS_EARLIER = "earlier"
"""A layout too: how versions before these read folders, by a list of names."""

if TYPE_CHECKING:
    from nas.data.checks.facts import Facts
    from nas.data.dataset import Images, Ints


@dataclass(frozen=True)
class Request:
    """How a data set is to be opened.

    Attributes:
        root: where its files are, for names that aren't paths; None: not given.
        thorough: decode every image now; else only headers may be read where there are many.
        layout: whether its folders are splits or classes, as of :func:`nas.data.folders.layout.read_layout`.
        trained: what a run remembers of it, which is then read as it was; None: nothing was trained on it yet.
    """

    root: str | None = None
    thorough: bool = False
    layout: str = AUTO
    trained: DataInfo | None = None

    @property
    def earlier(self) -> bool:
        """Whether an earlier version trained on it, which knew fewer formats and left copies where they were."""
        return self.trained is not None and not self.trained.content

    @property
    def reading(self) -> str:
        """``layout`` for :func:`nas.data.folders.layout.read_layout`."""
        return AS_EARLIER if self.earlier else self.layout


@dataclass(frozen=True)
class Contents:
    """What a source holds, before splits are drawn.

    Attributes:
        images: all usable images.
        labels: of each image, ``[len(images)]``.
        given: image numbers of the splits that the source itself assigns; ``train`` always.
        warnings: what was left out or looks odd, a line each.
        corrupt: name of every image that cannot be used, and why.
        facts: what each image showed, see :data:`nas.data.checks.facts.FACTS`; None: they were not looked at.
        levels: of deep images, as of :class:`nas.store.records.DataInfo`.
        task: what the labels are for, a key of :data:`nas.tasks.task.TASKS`.
    """

    images: Images
    labels: Ints
    classes: tuple[str, ...]
    given: dict[str, Ints]
    warnings: tuple[str, ...] = ()
    corrupt: tuple[tuple[str, str], ...] = ()
    facts: Facts | None = None
    levels: Levels | None = None
    task: str = CLASSIFICATION


PLAIN = Request()


class Source(Protocol):
    """One kind of data set. One file of this folder holds one."""

    def open(self, name: str, request: Request) -> Contents:
        """Find, check and label the images of a data set.

        Args:
            name: the data set, as the user named it.
            request: how to open it.

        Raises:
            UserError: files are missing, or the data set isn't one label per image.
        """
        ...


@dataclass(frozen=True)
class Entry:
    """A file of this folder and the :class:`Source` in it.

    Attributes:
        form: how a user names such a data set.
        accepts: whether a name has that form.
        package: module that must be installed; empty: none.
        install: what ``pip install`` takes to install it.
    """

    module: str
    kind: str
    form: str
    accepts: Callable[[str], bool]
    package: str = ""
    install: str = ""


def _prefix(word: str) -> Callable[[str], bool]:
    """Whether a name starts with this word and a slash."""
    return lambda name: name.lower().startswith(f"{word}/")


EMBEDDED = "embedded"

SOURCES = {
    EMBEDDED: Entry("embedded", "Embedded", EMBEDDED, lambda name: name == EMBEDDED),
    "torch": Entry("torch_sets", "TorchSets", "torch/NAME", _prefix("torch"), "torchvision", "torchvision"),
    "hfds": Entry("hub", "Hub", "hfds/NAME", _prefix("hfds"), "datasets", ".[datasets]"),
    "tfds": Entry("tfds", "Tfds", "tfds/NAME", _prefix("tfds"), "tensorflow_datasets", "tensorflow-datasets"),
    "wds": Entry("shards", "Shards", "wds/FOLDER", _prefix("wds"), "webdataset", ".[webdataset]"),
    "tar": Entry("tar", "Tar", "FILE.tar", lambda name: Path(name).is_file() and Path(name).suffix == ".tar"),
    "folder": Entry("folder", "Folder", "FOLDER", lambda name: bool(name) and Path(name).exists()),
}
"""Kinds of sources by name; a name is opened by the first that accepts it."""


def open_source(name: str, request: Request = PLAIN) -> Contents:
    """What a data set holds; arguments as of :meth:`Source.open`.

    Raises:
        UsageError: an unknown layout, or one for a data set that lists its splits itself.
        UserError: there is no such data set, its package is missing, or it cannot be used to train a classifier.
    """
    if request.layout not in LAYOUTS:
        raise unknown_name("layout", request.layout, LAYOUTS)
    kind, entry = next(((kind, entry) for kind, entry in SOURCES.items() if entry.accepts(name)), ("", None))
    if entry is None:
        raise _unknown(name)
    if request.layout != AUTO and kind not in ("folder", "tar"):
        raise UsageError(f"`layout` is for folders and tar files, '{name}' lists its splits itself; leave it out")
    if entry.package and importlib.util.find_spec(entry.package) is None:
        raise UserError(
            f"'{name}' needs the package {entry.package}, which is not installed; {install_hint(entry.install)}"
        )
    source: Source = getattr(importlib.import_module(f"{__package__}.{entry.module}"), entry.kind)()
    return source.open(name, request)


def _unknown(name: str) -> UserError:
    if near := difflib.get_close_matches(name, [EMBEDDED], cutoff=0.7):
        return UserError(f"no data folder '{name}'; did you mean '{near[0]}'?")
    names = ", ".join(f"{kind}/..." for kind, entry in SOURCES.items() if entry.form.startswith(f"{kind}/"))
    return UserError(f"no data folder '{name}'; give a folder of images, '{EMBEDDED}' or one of timm's ({names})")
