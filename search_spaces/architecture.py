"""An architecture, one choice for every active gene of a search space, and the two ends of its network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from .schema import Json

Choice = int | float
_LARGEST = 2**31


@dataclass(frozen=True)
class Interface:
    """The two ends of a network, which its data set decides and no architecture: channels of the image, and values that
    it gives per image (a classifier's classes)."""

    in_chans: int
    outputs: int


@dataclass(frozen=True)
class Architecture:
    """One network of a space: frozen, hashable and canonical.

    Only *active* genes are held (a block beyond its stage's depth has none), in the order of the space, so that two
    architectures that build the same network are equal.
    """

    space: str
    genes: tuple[tuple[str, Choice], ...]

    @property
    def resolution(self) -> int:
        """Side of the square input image in pixels."""
        return int(dict(self.genes)["resolution"])

    @property
    def id(self) -> str:
        """Eight hexadecimal digits that name this architecture in tables and folders."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:8]

    def to_dict(self) -> dict[str, Json]:
        return {"space": self.space, "genes": dict(self.genes)}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), separators=(",", ":"))

    @staticmethod
    def from_dict(data: Mapping[str, Json]) -> Architecture:
        """Inverse of :meth:`to_dict`. Raises ValueError where keys or values are not those of an architecture."""
        if set(data) != {"space", "genes"} or not isinstance(genes := data["genes"], Mapping):
            raise ValueError(f"an architecture has the keys 'space' and 'genes', not {str(sorted(data))[:100]}")
        values: list[tuple[str, Choice]] = []
        for gene, value in genes.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
                raise ValueError(f"gene {str(gene)[:50]} is {value!r:.50}, not a number")
            values.append((gene, value))
        return Architecture(str(data["space"]), tuple(values))

    @staticmethod
    def from_json(text: str) -> Architecture:
        return Architecture.from_dict(json.loads(text))
