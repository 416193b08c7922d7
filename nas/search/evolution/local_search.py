"""One-exchange local search: change one gene of a member of the front in every way, until nothing gains."""

from __future__ import annotations

import numpy as np

from search_spaces.genes import GeneSpace, Vectors

from .archive import Archive


def one_exchange(space: GeneSpace, vectors: Vectors) -> Vectors:
    """All canonical vectors that differ from a row of ``vectors`` in one choice; may hold duplicates."""
    genes = np.repeat(np.arange(len(space.genes)), space.cardinality)
    choices = np.concatenate([np.arange(n) for n in space.cardinality])
    rows = np.repeat(vectors, len(genes), axis=0)
    moves = np.tile(np.arange(len(genes)), len(vectors))
    changed = rows[np.arange(len(rows)), genes[moves]] != choices[moves]
    rows, moves = rows[changed], moves[changed]
    rows[np.arange(len(rows)), genes[moves]] = choices[moves]
    return space.canonical(rows)


def improve(space: GeneSpace, archive: Archive, evaluations: int, chunk: int = 64) -> None:
    """Pareto local search (Paquete, Chiarandini and Stützle, 2004) on an archive: its members are walked around once
    each, new ones too, until all are or ``evaluations`` more vectors were scored."""
    walked: set[bytes] = set()
    limit = archive.scored + evaluations
    while archive.scored < limit:
        todo = [row for row in archive.vectors if row.tobytes() not in walked][:chunk]
        if not todo:
            return
        walked |= {row.tobytes() for row in todo}
        archive.add(one_exchange(space, np.stack(todo)), limit - archive.scored)
