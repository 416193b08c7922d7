"""What a fuzzed parser is, and the list of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.store.run import Run
from search_spaces.errors import UserError

Case = Callable[[random.Random], None]


@dataclass(frozen=True)
class Seeds:
    """Valid files that variants are made of.

    Attributes:
        run: trained, searched and exported for onnx, litert and executorch.
        photos: the data folder that it was trained on.
    """

    run: Path
    photos: Path

    @staticmethod
    def of(run: Path) -> Seeds:
        """Those of a finished run."""
        return Seeds(run, Path(Run(run).read().config["source"]))

    @property
    def exported(self) -> Path:
        """The exported folder."""
        return next(self.run.glob("export/*/architecture.json")).parent


@dataclass(frozen=True)
class Parser:
    """A parser of foreign files.

    Attributes:
        prepare: from the seeds and the folder that cases may use: what makes a variant and reads it, once.
        refusals: what it may raise.
    """

    prepare: Callable[[Seeds, Path], Case]
    refusals: tuple[type[BaseException], ...] = (UserError,)


PARSERS: dict[str, Parser] = {}


def parser(name: str, *more: type[BaseException]) -> Callable[[Callable[[Seeds, Path], Case]], Any]:
    """Register a parser under a name; ``more`` it may raise besides."""

    def register(prepare: Callable[[Seeds, Path], Case]) -> Callable[[Seeds, Path], Case]:
        PARSERS[name] = Parser(prepare, (UserError, *more))
        return prepare

    return register


def ignore(_: Any) -> None:
    """What is read is not needed."""
