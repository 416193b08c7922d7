"""Search spaces: genes together with the family that builds their networks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Protocol

from .architecture import Architecture, Choice, Interface
from .genes import Gene, GeneSpace
from .schema import Json

if TYPE_CHECKING:
    from torch import nn

    from .operators.operator import Part

Drop = tuple[float, float]
"""Probabilities with which a network is regularised while it trains: of dropping a feature before the last layer, and
of dropping the last block (stochastic depth; earlier blocks are dropped less often)."""

NO_DROP: Drop = (0.0, 0.0)


Runs = tuple[tuple[int, int], ...]
"""Runs of indices, (first, how many), laid end to end."""
Pieces = tuple[Runs | None, ...]
"""What is taken of a tensor, for each dimension; None: all of it."""


@dataclass(frozen=True)
class Segment:
    """A part of the network whose shapes depend on few genes (gates not counted), and that exists where its gate, as of
    :class:`Gene`, is open. ``path`` is that of a module, ``blocks.2.0``; ``""`` is all that is outside other segments.
    ``passes``: where it doesn't exist, ``nn.Identity`` has its place.
    """

    path: str
    genes: tuple[str, ...]
    gate: tuple[str, Choice] | None = None
    passes: bool = False


class Family(Protocol):
    """What makes networks of architectures. A member is one file of ``search_spaces/families``. ``packed``: endings
    of parameter names whose first dimension holds several parts of equal shape, and how many; each part is sliced by
    itself (an attention's ``qkv``: 3)."""

    packed: ClassVar[Mapping[str, int]] = {}

    @abstractmethod
    def genes(self) -> tuple[Gene, ...]:
        """The decisions. Choices ascend, so that the first is the smallest network. What has a single choice isn't a
        gene of the space, except the resolution."""

    @abstractmethod
    def segments(self) -> tuple[Segment, ...]:
        """Parts that depend on few genes, usually blocks, and the rest of the network, whose path is ``""``. Names of
        what isn't a gene of the space are left out."""

    def blocks(self) -> tuple[Segment, ...]:
        """Parts that networks are put together of, as :meth:`segments`: of other ones, where what a part costs depends
        on more genes than its tensors do."""
        return self.segments()

    @abstractmethod
    def build(
        self, architecture: Architecture, interface: Interface, device: str = "cpu", drop: Drop = NO_DROP
    ) -> nn.Module:
        """The network of an architecture, freshly initialised; on ``meta`` without storage or initialisation."""

    @abstractmethod
    def describe(self, architecture: Architecture, interface: Interface) -> Mapping[str, Json]:
        """What an exported folder says of the network, so that it can be built without this package."""

    def pieces(self, architecture: Architecture, interface: Interface) -> Mapping[str, Pieces] | None:
        """What a network takes of every tensor of the largest one; None: leading slices, as its shapes say, and the
        centre of filters."""
        return None

    def parts(self, segments: tuple[Segment, ...], interface: Interface) -> Iterator[Part] | None:
        """Where the family knows it: what every segment executes for every combination of its genes, of images of
        every size. None: networks that cover the combinations are looked at. Raises UserError: too many of them."""
        return None

    def stays(self) -> Mapping[str, tuple[str, ...]]:
        """Where that is known: why something cannot shrink, with the line of the model's code where there is one ->
        the layers and tensors, or how often; without what stays in every model, as the sides of filters."""
        return {}


@dataclass(frozen=True)
class SearchSpace(GeneSpace):
    """The genes of a family, and the networks that it builds of them.

    Attributes:
        source: where the choices come from.
        kernel_transforms: smaller kernels pass through learned matrices (Once-for-All) instead of being plain crops.
        timm_name: the timm model that the largest network is, whose weights fit; empty: none.
    """

    genes: tuple[Gene, ...] = field(init=False, repr=False, compare=False)
    family: Family
    source: str = ""
    kernel_transforms: bool = False
    timm_name: str = ""

    def __post_init__(self) -> None:
        genes = (gene for gene in self.family.genes() if len(gene.choices) > 1 or gene.name == "resolution")
        object.__setattr__(self, "genes", tuple(genes))

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        return self._with_genes(self.family.segments())

    @cached_property
    def blocks(self) -> tuple[Segment, ...]:
        return self._with_genes(self.family.blocks())

    def _with_genes(self, parts: tuple[Segment, ...]) -> tuple[Segment, ...]:
        """Parts without names of what isn't a gene of the space."""
        known = self.index
        return tuple(replace(part, genes=tuple(dict.fromkeys(g for g in part.genes if g in known))) for part in parts)

    def build(self, architecture: Architecture, interface: Interface, device: str = "cpu") -> nn.Module:
        """The network of an architecture, freshly initialised; on ``meta`` without storage or initialisation."""
        return self.family.build(architecture, interface, device)
