"""``architecture.json``: the manifest of an exported folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from search_spaces.schema import NOT_NULL, Also, Count, Made, Range, convert, to_json
from search_spaces.tracing.recipe import Recipe

from .records import ArchitectureField, Crop, Levels, Positive, Side, Versions
from .results import AccuracyRecord

Channels = Annotated[int, Range(at_least=1, at_most=4096)]


@dataclass(frozen=True)
class _Spec:
    model: str
    options: dict[str, Any]
    arguments: dict[str, Any]
    blocks: dict[str, tuple[dict[str, Any], ...]]
    num_classes: Annotated[int, Range(at_least=1, at_most=10**7)]
    in_chans: Channels
    head_dim: Annotated[Channels | None, NOT_NULL] = None
    recipe: Annotated[Recipe | None, NOT_NULL] = None


Spec = Annotated[dict[str, Any], Also(_Spec)]
"""A network as :class:`search_spaces.builders.timm_model.TimmSpec` writes it."""


@dataclass(frozen=True)
class InputSize:
    """Channels, height and width of the images."""

    input_size: tuple[Side, Side, Side]


@dataclass(frozen=True)
class Input:
    """Arguments of ``timm.data.create_transform`` that reproduce the evaluation pixels, of images that
    ``nas/data/preparation.py`` decodes with ``levels``; None: the upper 8 of 16 bits."""

    input_size: tuple[Side, Side, Side]
    mean: tuple[float, ...]
    std: tuple[Positive, ...]
    interpolation: str
    crop_pct: Crop
    levels: Annotated[Levels | None, NOT_NULL] = None


@dataclass(frozen=True)
class Preparation:
    """How a file becomes a network's input and what the output is, for people and programs that use neither timm nor
    this project.

    Attributes:
        image: what of the file is used, in words.
        mode: of the decoded image, in Pillow's words: ``L`` (grey) or ``RGB``; 8 bits a channel.
        levels: (black, white) of grey images of more than 8 bits: these values become 0 and 255. None: 0 and 65535.
        shorter_side: pixels of the image's shorter side after resizing; the longer one keeps the ratio, rounded down.
        interpolation: of resizing, as Pillow does it.
        crop: height and width of the middle part that is kept.
        layout: order of the input's dimensions.
        scale: what pixels are divided by before ``mean`` is subtracted and ``std`` divided by, a number a channel.
        input, output: their names in a file that names them.
        meaning: of the output, in words.
    """

    image: str
    mode: str
    levels: Levels | None
    shorter_side: Side
    interpolation: str
    crop: tuple[Side, Side]
    layout: str
    scale: int
    mean: tuple[float, ...]
    std: tuple[Positive, ...]
    input: str
    output: str
    meaning: str


@dataclass(frozen=True)
class TeacherManifest:
    """What a teacher needs of a manifest."""

    timm: Spec
    input: Input
    classes: tuple[str, ...]


@dataclass(frozen=True)
class NamedTarget:
    """The device that an export is for."""

    name: str


@dataclass(frozen=True)
class EstimateManifest:
    """What an estimate needs of a manifest."""

    timm: Spec
    input: InputSize
    candidate: str
    precision: str
    target: NamedTarget


@dataclass(frozen=True)
class FilesManifest:
    """Hashes of the files by name; None: an export of an earlier version tells none."""

    files: dict[str, str] | None = None


@dataclass(frozen=True)
class ExportCosts:
    """Costs of an exported network, as of :class:`nas.store.results.Member`."""

    macs: Count
    params: Count
    size_bytes: float
    peak_activation_bytes: float


@dataclass(frozen=True)
class ExportTarget:
    """The device that an export is for, with the predicted latency of one image; ``label``: what that is worth."""

    name: str
    runtime: str
    latency_ms: float
    label: str


@dataclass(frozen=True)
class Result:
    """An accuracy that was measured: of which form of the network, and on which split."""

    what: str
    split: str
    accuracy: AccuracyRecord

    def to_json(self) -> dict[str, Any]:
        """As the file has it: the accuracy's figures beside the names."""
        return {"what": self.what, "split": self.split, **to_json(self.accuracy)}


@dataclass(frozen=True)
class _Names:
    what: str
    split: str


def _result(value: Any) -> Result:
    names = convert(value, _Names)
    return Result(names.what, names.split, convert(value, AccuracyRecord))


@dataclass(frozen=True)
class FinetuneOrigin:
    """How a candidate was fine-tuned.

    Attributes:
        weights: hash of the supernet's weights.
        netaug: whether it was trained inside wider networks too.
        quantization_aware: whether it was trained as its policy quantizes it.
        teacher: what it learned from beside the labels; None: nothing, or not recorded.
        neighbour: the candidate whose fine-tuned weights it started from, in records of earlier versions; None: it
            started from the supernet's.
        together: how many candidates of a front were trained in turn, this one among them; None: it was alone.
    """

    weights: str
    epochs: float
    lr: float | None
    netaug: bool
    quantization_aware: bool | None
    seed: int
    teacher: str | None = None
    neighbour: str | None = None
    together: int | None = None


@dataclass(frozen=True)
class Provenance:
    """Where an exported network comes from.

    Attributes:
        images: of each split.
        first_weights: what the supernet's training began with, in words; None: random weights.
        weights: hash of the weights that the network was taken from.
        seed: of their training.
        finetuned_from: None: the weights are a supernet's.
    """

    data: str
    images: Mapping[str, int]
    first_weights: str | None
    weights: str
    seed: int
    calibration_images: int
    versions: Versions
    finetuned_from: FinetuneOrigin | None = None


@dataclass(frozen=True)
class Manifest:
    """All that an exported folder says of itself, in the order of the file.

    Attributes:
        precision: policy of the network.
        timm: how timm builds it.
        input: how images are prepared.
        classes: names, by label.
        license: of the weights, by the hub's name; None: nobody states one.
        files: hashes of the files with weights, by name.
        left_out: files that there would be, and why they could not be written; None: there are none.
        remarks: files that run otherwise than one may think, and in what; None: there are none.
    """

    format: int
    candidate: str
    precision: str
    architecture: ArchitectureField
    timm: Spec
    input: Input
    classes: tuple[str, ...]
    license: str | None
    costs: ExportCosts
    target: ExportTarget
    results: tuple[Annotated[Result, Made(_result)], ...]
    provenance: Provenance
    files: Mapping[str, str] = field(default_factory=dict)
    left_out: Annotated[Mapping[str, str] | None, NOT_NULL] = None
    remarks: Annotated[Mapping[str, str] | None, NOT_NULL] = None
