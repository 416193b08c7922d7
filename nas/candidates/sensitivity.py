"""Subnets in which one gene is down and everything else is whole: what they lose shows where the accuracy goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from search_spaces.architecture import Architecture, Choice
from search_spaces.genes import GeneSpace


@dataclass(frozen=True)
class Down:
    """The largest network of a space with one ``gene`` taken from ``largest`` down to ``choice``."""

    gene: str
    largest: Choice
    choice: Choice
    architecture: Architecture


def take_down(space: GeneSpace) -> Iterator[Down]:
    """Every gene at each of its smaller choices, the next smaller first; genes that another one shuts off don't count
    in it."""
    whole = space.extremes()[1]
    for column, gene in enumerate(space.genes):
        for index in reversed(range(int(whole[column]))):
            vector = whole.copy()
            vector[column] = index
            yield Down(gene.name, gene.choices[-1], gene.choices[index], space.decode(vector))
