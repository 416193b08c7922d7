"""Where metrics go besides ``metrics.jsonl``: TensorBoard, Weights & Biases. A new one is a class and a line here.

Their packages are optional and imported when a run asks for them.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nas.events import Event, Listener
from nas.store.metrics import Metric, line_of
from search_spaces.errors import UserError, install_hint, unknown_name

from .config import TrainConfig

_NO_METRICS = ("step", "steps", "eta_s")


def scalars(metric: Metric) -> dict[str, float]:
    """The numbers of a line of metrics, without the step that they belong to."""
    return {name: value for name, value in line_of(metric).items() if name not in _NO_METRICS}


class TensorBoard:
    """Event files in ``<run>/tensorboard``; a resumed run overwrites what it trains again."""

    package = "tensorboard"

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._open = lambda step: SummaryWriter(str(folder / "tensorboard"), purge_step=step)
        self._writer: Any = None

    def write(self, metric: Metric) -> None:
        if self._writer is None:
            self._writer = self._open(metric.step)  # type: ignore[no-untyped-call]
        for name, value in scalars(metric).items():
            self._writer.add_scalar(name, value, metric.step)
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class WandB:
    """A run of Weights & Biases, named after the run directory; a resumed run continues it."""

    package = "wandb"

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        wandb: Any = importlib.import_module("wandb")

        place = folder.resolve()
        identity = hashlib.sha256(str(place).encode()).hexdigest()[:12]
        self._run = wandb.init(
            project="nas", name=place.name, id=identity, resume="allow", dir=str(place), config=asdict(config)
        )

    def write(self, metric: Metric) -> None:
        self._run.log(scalars(metric), step=metric.step)

    def close(self) -> None:
        self._run.finish()


Logger = TensorBoard | WandB
LOGGERS: dict[str, type[Logger]] = {"tensorboard": TensorBoard, "wandb": WandB}


def parse_loggers(text: str) -> tuple[str, ...]:
    """Names from a list with commas. Raises UsageError for an unknown one, UserError where its package is missing."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in LOGGERS:
            raise unknown_name("log", name, LOGGERS)
        package = LOGGERS[name].package
        try:
            importlib.import_module(package)
        except ImportError:
            raise UserError(f"`log` {name} needs the package {package}; {install_hint(f'.[{name}]')}") from None
    return names


@contextmanager
def logging_to(names: Sequence[str], folder: Path, config: TrainConfig) -> Iterator[Listener]:
    """A function that hands the lines with a step to every logger named; they are closed on leaving."""
    with ExitStack() as stack:
        loggers: list[Logger] = []
        for name in names:
            logger = LOGGERS[name](folder, config)
            stack.callback(logger.close)
            loggers.append(logger)

        def write(event: Event) -> None:
            if isinstance(event, Metric):
                for logger in loggers:
                    logger.write(event)

        yield write
