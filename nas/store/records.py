"""What a run keeps of itself: its data set, ``run.json`` and the metadata of checkpoints.

A record is read with :func:`nas.store.files.read_record`, which checks it, and written with
:func:`search_spaces.schema.to_json`, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from search_spaces.architecture import Architecture
from search_spaces.errors import UserError
from search_spaces.schema import NOT_NULL, Also, Amount, Check, Count, Made, Range, SchemaError, convert

SPLITS = ("train", "search", "test")
CLASSIFICATION = "classification"
"""The task of runs that name none."""

Positive = Annotated[float, Range(at_least=1e-12)]
Side = Annotated[int, Range(at_least=1, at_most=65536)]
Crop = Annotated[float, Range(at_least=1e-3, at_most=1)]
Levels = Annotated[
    tuple[float, float], Check(lambda levels: "" if levels[0] < levels[1] else "black must be less than white")
]
"""The values of the darkest and of the brightest pixels."""
Versions = dict[str, str]
"""Version by the name of a package."""


def _architecture(value: Any) -> Architecture:
    architecture = Architecture.from_dict(value)
    if "resolution" not in dict(architecture.genes):
        raise ValueError("gene resolution is missing")
    return architecture


ArchitectureField = Annotated[Architecture, Made(_architecture, Architecture.to_dict)]
"""An architecture in a record."""


@dataclass(frozen=True)
class DataInfo:
    """What a run must remember of its data; goes into every checkpoint.

    Attributes:
        source: as given by the user: ``embedded``, a folder or one of timm's names.
        classes: class names; the position is the label.
        in_chans: 1 where all images looked at were grey, else 3.
        mean, std: of training pixels scaled to [0, 1], a number per channel.
        native_size: median shorter side of the training images looked at, in pixels.
        counts: images of each split.
        crop_pct: share of the side that evaluation keeps after resizing (timm's ``crop_pct``).
        interpolation: of evaluation (timm's ``interpolation``).
        fingerprint: 16 hexadecimal digits of names, labels and splits; differs where an image changed its split.
        task: what networks learn from it, a key of :data:`nas.tasks.task.TASKS`.
        content: 16 hexadecimal digits of the images' files; empty: not looked at, as in earlier versions.
        levels: (black, white) of grey images of more than 8 bits, of the whole set; None: the upper 8 of 16 bits.
    """

    source: str
    classes: tuple[str, ...]
    in_chans: Annotated[int, Range(at_least=1, at_most=3)]
    mean: tuple[float, ...]
    std: tuple[Positive, ...]
    native_size: Side
    counts: Mapping[str, Count]
    crop_pct: Crop
    interpolation: str = "bicubic"
    fingerprint: str = ""
    task: str = CLASSIFICATION
    levels: Levels | None = None
    content: str = ""

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def train_images(self) -> int:
        return self.counts["train"]

    def to_json(self) -> dict[str, Any]:
        """As ``run.json`` and checkpoints have it; what is as usual isn't named: task, levels and content."""
        facts = {name: list(v) if isinstance(v, tuple) else v for name, v in vars(self).items()}
        if self.task == CLASSIFICATION:
            del facts["task"]
        if self.levels is None:
            del facts["levels"]
        if not self.content:
            del facts["content"]
        return facts | {"counts": dict(self.counts)}

    @staticmethod
    def from_json(value: object) -> DataInfo:
        """Inverse of :meth:`to_json`. Raises UserError: it isn't a description of a data set."""
        try:
            return convert(value, DataField, "data")
        except SchemaError as error:
            raise UserError(f"not a description of a data set: {error}") from None


def _data_problem(data: Mapping[str, Any]) -> str:
    if not len(data["mean"]) == len(data["std"]) == data["in_chans"]:
        return "mean and std must have a number per channel"
    if set(data["counts"]) != set(SPLITS):
        return f"counts must be of {', '.join(SPLITS)}"
    return ""


DataField = Annotated[DataInfo, Check(_data_problem)]
"""A data set in a record, whose parts must agree."""


@dataclass(frozen=True)
class _Settings:
    space: str = ""
    source: str = ""


RULES = 2
"""How networks become integers. A run keeps the rules that it began with, so that what was measured stays what is
shipped.

1. Those of version 0.1.0.
2. A hard sigmoid after a layer is the saturation of that layer; on grids of hard-swishes, fixed point rounds as real
   numbers do; no result of a function of one value lies half-way between two integers, not only of the activations of
   convolutional networks.
"""
FIRST_RULES = 1


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """``run.json``: what a run trains and how far it is.

    Attributes:
        config: settings of the training; :func:`nas.training.weights.config_of` reads them.
        versions: of what the run was made with; None: not recorded, as by earlier versions.
        finetuned_from: hash of the supernet's weights, where the run is a fine-tuning.
        lr: the learning rate that was found, where the settings ask for one.
        weights: hash of the trained weights.
        steps: optimizer steps of the finished training.
        rules: of quantization (:data:`RULES`) of a supernet's candidates; None: the first ones.
    """

    config: Annotated[dict[str, Any], Also(_Settings)]
    data: DataField
    versions: Annotated[Versions | None, NOT_NULL] = None
    complete: bool
    finetuned_from: Annotated[str | None, NOT_NULL] = None
    format: int | None = None
    lr: Annotated[Positive | None, NOT_NULL] = None
    weights: Annotated[str | None, NOT_NULL] = None
    steps: Count | None = None
    rules: Annotated[Count | None, NOT_NULL] = None

    @property
    def settings(self) -> _Settings:
        """Search space and data set; empty: not said."""
        return convert(self.config, _Settings)


@dataclass(frozen=True)
class Group:
    """A group of parameters of an optimizer, with settings of its own beside them."""

    params: tuple[Count, ...]


@dataclass(frozen=True, kw_only=True)
class CheckpointRecord:
    """Metadata of a checkpoint; see :class:`nas.training.checkpoint.State`.

    Attributes:
        step: optimizer steps done.
        seconds: time spent training so far.
        groups: the optimizer's groups of parameters, as torch has them.
        scalars: the optimizer's numbers that aren't tensors, by parameter and name.
        scaler: of the loss scaling; a number of it may be missing.
        health: of the loss.
    """

    step: Count
    seconds: Amount
    groups: Annotated[list[dict[str, Any]], Also(tuple[Group, ...])]
    scalars: dict[str, dict[str, Any]]
    scaler: dict[str, float | None] = field(default_factory=dict)
    health: dict[str, float] = field(default_factory=dict)
