"""``manifest.json`` of a bundle of networks to measure on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from search_spaces.architecture import Interface
from search_spaces.policy import FLOAT, INT8
from search_spaces.schema import NOT_NULL, Check, Range, shown

from .exports import Channels
from .records import ArchitectureField, Side

MEASURED = (FLOAT, INT8)
"""Precisions that devices are measured in; those with fewer bits per weight run as int8."""


def _name_problem(value: str) -> str:
    if 0 < len(value) <= 255 and value.isprintable() and not set(value) & set("/\\:") and value.strip("."):
        return ""
    return f"{shown(value)} is not the name of a file in the bundle's own folder"


@dataclass(frozen=True)
class BundleFile:
    """A file of a bundle, and its hash; ``.gz`` at the end of its name: compressed."""

    file: Annotated[str, Check(_name_problem)]
    sha256: str


@dataclass(frozen=True)
class Part:
    """A space whose networks are measured, with the classes and input channels of its data."""

    space: str
    num_classes: Annotated[int, Range(at_least=1, at_most=10**6)]
    in_chans: Channels

    @property
    def interface(self) -> Interface:
        """The two ends of its networks."""
        return Interface(self.in_chans, self.num_classes)


@dataclass(frozen=True)
class BundleNetwork:
    """A network of a bundle, for the fit or the check of latencies, with its files by precision; ``input``:
    channels, height and width of its image."""

    name: str
    use: str
    part: Part
    input: tuple[Side, Side, Side]
    architecture: ArchitectureField
    files: Mapping[str, BundleFile]


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        parts: networks are shared between them evenly.
        fit: networks chosen to tell most about the others, see :mod:`nas.profiling.choose`.
        check: random networks that say how good the fit is.
        precisions: of :data:`MEASURED`.
        unsigned: int8 files with unsigned activations, which some processors are faster with.
        threads: of one inference.
        seed: of the random networks.
        runtime: that the files are for; None, and no key in the manifest: ONNX Runtime.
    """

    parts: tuple[Part, ...]
    fit: int = 24
    check: int = 12
    precisions: tuple[str, ...] = MEASURED
    unsigned: bool = field(default=False, metadata={"key": "uint8"})
    threads: int = 1
    seed: int = 0
    runtime: Annotated[str | None, NOT_NULL] = None


def _plan_problem(plan: Mapping[str, Any]) -> str:
    """A manifest says what its files are, whatever the defaults of a plan that is made here."""
    return next((f"{key} is missing" for key in ("precisions", "uint8") if key not in plan), "")


@dataclass(frozen=True)
class BundleVersions:
    """What the networks were made with."""

    torch: str
    timm: str


@dataclass(frozen=True)
class BundleManifest:
    """The manifest; ``bundle``: hash of its content; ``reference``: the file that others are compared with,
    ``<network>.<precision>``."""

    bundle: str
    reference: str
    threads: Annotated[int, Range(at_least=1, at_most=1024)]
    plan: Annotated[Plan, Check(_plan_problem)]
    versions: BundleVersions
    networks: tuple[BundleNetwork, ...]
