"""``nas profile --pairs``: the networks that a table of latencies names, looked at, and the target that it makes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from nas.profiling.fit import Fitted
from nas.profiling.pairs import Traced, read_pairs, target_of_pairs
from predictors.costs.network import operator_rows
from predictors.targets.target import Target
from search_spaces.errors import UserError
from search_spaces.genes import Floats

from .estimate import operators_of_subject
from .resolve import read_subject


def fit_table(
    path: Path, precision: str | None, name: str, seed: int, report: Callable[[int, int, str], None]
) -> tuple[Target, dict[str, Fitted]]:
    """The target of a table, with the fit of each precision.

    Args:
        precision: of lines that name none; None: every line has to.
        seed: of the division into networks to fit and to judge.
        report: called with networks looked at, networks in all, and the last one.

    Raises:
        UserError: the table is damaged, names an unknown network, or has too few.
    """

    @cache
    def look(network: str, resolution: int | None) -> tuple[Floats, int]:
        ops, _, size = operators_of_subject(read_subject(network), resolution)
        return operator_rows(ops), min(size[1:])

    pairs = read_pairs(path, precision)
    traced = []
    for k, pair in enumerate(pairs):
        try:
            traced.append(Traced(pair, *look(pair.network, pair.resolution)))
        except UserError as error:
            raise UserError(f"{path}, line {pair.line}: {error}") from None
        report(k + 1, len(pairs), pair.network)
    return target_of_pairs(traced, path.name, name, seed)
