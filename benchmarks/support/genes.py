"""Search spaces without networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search_spaces.architecture import Choice
from search_spaces.genes import Gene, GeneSpace


def plain_space(name: str, genes: Mapping[str, Sequence[Choice]] | Sequence[Gene]) -> GeneSpace:
    """A search space of genes alone, given as name -> choices (ascending) or, with gates, as :class:`Gene` objects."""
    if isinstance(genes, Mapping):
        genes = [Gene(gene, tuple(choices)) for gene, choices in genes.items()]
    return GeneSpace(name, tuple(genes))
