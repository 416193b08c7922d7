"""Data sets of the Hugging Face hub, or local ones in its formats: ``hfds/NAME`` or ``hfds/NAME:LABELS``."""

from __future__ import annotations

import http.client
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from torch.utils.data import ConcatDataset

from nas.data.dataset import listed
from nas.data.decode import Encoded
from nas.data.folders.arrange import Arranged
from nas.data.folders.split_names import split_names
from search_spaces.builders.timm_compat import timm
from search_spaces.errors import UserError

from .readable import keep_readable
from .source import Contents, Request

if TYPE_CHECKING:
    from datasets import Features

_ON_HUB = re.compile(r"[\w.-]+(/[\w.-]+)?")
_PATIENCE_SECONDS = 5.0


class Hub:
    """``hfds/NAME`` or ``hfds/NAME:LABELS``."""

    def open(self, name: str, request: Request) -> Contents:
        """Open a data set with the package ``datasets`` and timm's reader; what isn't there yet is downloaded.

        Its split ``train`` must be there; ``validation`` (or ``val``, ``valid``) becomes the search split, ``test`` the
        test split. The images are its only column of images, the labels the column behind the colon; by default
        ``label``, or its only column of classes. Text labels are sorted.
        The package keeps what it downloads in the request's ``root``; None: in its own cache.
        """
        import datasets

        dataset, colon, column = name.partition("/")[2].rpartition(":")
        if not colon:
            dataset, column = column, ""
        silent = _silent_hub() if _ON_HUB.fullmatch(dataset) and not Path(dataset).exists() else ""
        try:
            with _offline() if silent else nullcontext():
                loaded = datasets.load_dataset(dataset, cache_dir=request.root)
            parts = split_names(loaded, request.earlier)
            if "train" not in parts:
                raise UserError(f"'{name}' has no training split, but {listed(sorted(loaded))}; give another data set")
            features = loaded[parts["train"]].features
            images_in, labels_in = _images(name, features), _labels(name, features, column)
            with _offline() if silent else nullcontext():
                readers = {
                    split: timm.data.create_dataset(
                        f"hfds/{dataset}", root=request.root, split=its, input_key=images_in, target_key=labels_in
                    ).reader
                    for split, its in parts.items()
                }
        except UserError:
            raise
        except Exception as error:  # datasets raises its own kinds, and those of what it downloads and reads with
            if silent:
                raise UserError(f"cannot open '{name}': {silent}, and no earlier download can be read") from error
            text = " ".join((str(error) or type(error).__name__).split())
            raise UserError(f"cannot open '{name}': {text[:200]}") from error
        labels = {split: list(reader.iter_targets()) for split, reader in readers.items()}
        notes = []
        for split in [s for s, values in labels.items() if s != "train" and set(values) <= {-1, None}]:
            notes.append(f"the {parts[split]} split has no labels and is ignored")
            del labels[split], readers[split]
        classes = _classes(name, features[labels_in], labels["train"])
        numbers = {value: i for i, value in enumerate(classes)}
        joined = [numbers.get(value, -1) for values in labels.values() for value in values]
        if min(joined) < 0:
            raise UserError(f"'{name}' has images without a label, or of a class that its training split has not")
        names = tuple(f"{parts[split]}/{i}" for split, values in labels.items() for i in range(len(values)))
        splits = [split for split, values in labels.items() for _ in values]
        images = HubImages(names, name, ConcatDataset(readers.values()))
        return keep_readable(name, images, Arranged(names, joined, splits, tuple(classes.values()), notes), request)


def _silent_hub() -> str:
    """Why nothing can be asked of the hub; empty: it answers, or is not to be asked. Its own client tries for long."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return ""
    try:
        urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=_PATIENCE_SECONDS)
    except (TimeoutError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(error, urllib.error.HTTPError) or isinstance(reason, ssl.SSLError):
            return ""  # somebody answers; the client may have other certificates
        said = getattr(reason, "strerror", None) or reason
        return f"{constants.ENDPOINT} does not answer ({said})"
    except (OSError, ValueError, http.client.HTTPException):
        return ""
    return ""


@contextmanager
def _offline() -> Iterator[None]:
    """Use what was downloaded before, and ask for nothing more."""
    import datasets
    from huggingface_hub import constants

    modules: tuple[Any, ...] = (constants, datasets.config)
    before = [module.HF_HUB_OFFLINE for module in modules]
    for module in modules:
        module.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for module, value in zip(modules, before, strict=True):
            module.HF_HUB_OFFLINE = value


def _images(source: str, features: Features) -> str:
    """The column of images."""
    columns: list[str] = [name for name, feature in features.items() if type(feature).__name__ == "Image"]
    if len(columns) != 1:
        raise UserError(f"'{source}' has {len(columns)} columns of images ({listed([*features])}); the rule is one")
    return columns[0]


def _labels(source: str, features: Features, wanted: str) -> str:
    """The column of labels."""
    if wanted:
        if wanted not in features:
            raise UserError(f"'{source}' has no column '{wanted}', but {listed([*features], 10)}")
        return wanted
    columns: list[str] = [name for name, feature in features.items() if type(feature).__name__ == "ClassLabel"]
    if "label" in features:
        return "label"
    if len(columns) != 1:
        several = (
            f"several columns of classes ({listed(columns, 10)})" if columns else f"no labels ({listed([*features])})"
        )
        raise UserError(f"'{source}' has {several}; say which column holds them: {source}:COLUMN")
    return columns[0]


def _classes(source: str, feature: Any, train: list[Any]) -> dict[Any, str]:
    """Names of the classes by how their labels are written."""
    if hasattr(feature, "names"):
        return dict(enumerate(feature.names))
    if not all(isinstance(label, int | str) for label in train):
        raise UserError(f"'{source}' has labels such as {train[0]!r}; the rule is one class per image")
    return {value: str(value) for value in sorted(set(train))}


@dataclass(frozen=True)
class HubImages(Encoded):
    """Images of timm's readers, end to end."""

    source: str
    readers: ConcatDataset[Any]

    def file(self, index: int) -> IO[bytes]:
        file: IO[bytes] = self.readers[index][0]
        return file

    def place(self, index: int) -> str:
        return f"{self.source}, {self.names[index]}"
