"""A target from latencies that somebody already has: a table of networks and milliseconds."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.store.bundles import MEASURED
from nas.store.seeds import stream
from predictors.latency.extent import extents_of, range_of
from predictors.latency.fit import fit_report
from predictors.targets.target import Target
from search_spaces.errors import UserError
from search_spaces.genes import Floats
from search_spaces.schema import shown

from .bundle import LEAST_CHECK, LEAST_FIT
from .fit import Constants, Fitted, fit_networks, model_of, plausible, predict

NETWORK, MS, PRECISION, RESOLUTION = "network", "ms", "precision", "resolution"
LEAST = LEAST_FIT + LEAST_CHECK
"""Different networks that a precision needs."""
_FOLDS = 10
_LARGEST_FILE, _LARGEST_SIDE = 32_000_000, 65536


@dataclass(frozen=True)
class Pair:
    """A line of the table.

    Attributes:
        line: its number, from 1.
        network: as ``nas estimate`` takes it.
        resolution: side of the image in pixels; None: the network's own.
    """

    line: int
    network: str
    ms: float
    precision: str
    resolution: int | None = None


@dataclass(frozen=True)
class Traced:
    """A pair with its network's operators, ``[ops, features]``, and the shorter side of its image."""

    pair: Pair
    operators: Floats
    side: int


def read_pairs(path: Path, precision: str | None = None) -> tuple[Pair, ...]:
    """The lines of a table with the columns ``network`` and ``ms``, and perhaps ``precision`` and ``resolution``;
    other columns, empty lines and those that begin with ``#`` are skipped.

    Args:
        precision: of lines that name none; None: every line has to.

    Raises:
        UserError: the file cannot be read, or a line has no valid value; it says which.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise UserError(f"{path} has {path.stat().st_size / 1e6:.0f} MB; a table of latencies has less than one")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; give a table with the columns {NETWORK} and {MS}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a table: {str(error)[:100]}") from None
    numbered = [(i + 1, text) for i, text in enumerate(lines) if text.strip() and not text.lstrip().startswith("#")]
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(text for _, text in numbered)]
    except csv.Error as error:
        raise UserError(f"{path} is not a table: {error}") from None
    if not rows or not {NETWORK, MS} <= set(rows[0]):
        there = f"there are {', '.join(map(shown, rows[0]))}" if rows else "it is empty"
        raise UserError(f"{path}: the first line names the columns, {NETWORK} and {MS} among them; {there}"[:300])
    if len(rows) != len(numbered):
        raise UserError(f"{path}: a quoted text goes over several lines; write every network on a line of its own")
    found = []
    for (number, _), row in zip(numbered[1:], rows[1:], strict=True):
        try:
            found.append(_pair(number, dict(zip(rows[0], row, strict=False)), precision))
        except ValueError as error:
            raise UserError(f"{path}, line {number}: {error}") from None
    return tuple(found)


def _pair(line: int, values: dict[str, str], precision: str | None) -> Pair:
    """A line by its columns. Raises ValueError: what is wrong with it."""
    network, side = values.get(NETWORK, ""), values.get(RESOLUTION, "")
    if not network:
        raise ValueError(f"no {NETWORK}; give a model of timm, or an exported folder")
    try:
        ms = float(values.get(MS, ""))
    except ValueError:
        ms = math.nan
    if not (math.isfinite(ms) and ms > 0):
        raise ValueError(f"{MS} is {shown(values.get(MS, ''))}; give milliseconds above 0")
    own = values.get(PRECISION) or precision
    if own not in MEASURED:
        raise ValueError(
            f"{PRECISION} is {shown(own)}; it is {' or '.join(MEASURED)}" if own else
            f"no {PRECISION}; add a column, or give `precision` {' or '.join(MEASURED)} for the whole table"
        )  # fmt: skip
    if side and not (side.isascii() and side.isdigit() and len(side) < 6 and 0 < int(side) <= _LARGEST_SIDE):
        raise ValueError(f"{RESOLUTION} is {shown(side)}; give the image's side in pixels, 1 to {_LARGEST_SIDE}")
    return Pair(line, network, ms, own, int(side) if side else None)


def fit_pairs(pairs: Sequence[Traced], precision: str, source: str, seed: int) -> Fitted:
    """The latency model of one precision, fitted to all its networks and judged by each of them, predicted from a fit
    without it: a tenth of the networks is left out at a time, at all their resolutions.

    Args:
        source: what errors call the table.

    Raises:
        UserError: too few networks, or a latency that no device can have.
    """
    for traced in pairs:
        plausible(f"{source}, line {traced.pair.line}", traced.pair.network, traced.pair.ms, traced.operators)
    names = sorted({traced.pair.network for traced in pairs})
    if len(names) < LEAST:
        raise UserError(f"{source}: {precision}: {len(names)} different networks; {LEAST} or more are needed")
    ms = np.array([traced.pair.ms for traced in pairs])
    operators = [traced.operators for traced in pairs]
    order = stream(seed, "profile.pairs").permutation(len(names))
    fold = {names[i]: k % _FOLDS for k, i in enumerate(order)}
    folds = np.array([fold[traced.pair.network] for traced in pairs])
    predicted = np.zeros(len(ms))
    for k in range(_FOLDS):
        kept, left = np.flatnonzero(folds != k), np.flatnonzero(folds == k)
        without: Constants = fit_networks([operators[i] for i in kept], ms[kept], precision)
        predicted[left] = predict(without, [operators[i] for i in left], precision)
    totals = np.stack([rows.sum(axis=0) for rows in operators])
    extent = range_of(extents_of(totals, ms, [traced.side for traced in pairs]))
    return Fitted(fit_networks(operators, ms, precision), extent, fit_report(predicted, ms), len(ms), ())


def target_of_pairs(
    pairs: Sequence[Traced], source: str, name: str, seed: int
) -> tuple[Target, dict[str, Fitted]]:  # fmt: skip
    """The target that a table makes, which is called ``source`` in it, with the fit of each precision. Raises
    UserError: see :func:`fit_pairs`."""
    there = {traced.pair.precision for traced in pairs}
    if not there:
        raise UserError(f"{source}: no networks; {LEAST} or more are needed")
    fitted = {
        precision: fit_pairs(
            [traced for traced in pairs if traced.pair.precision == precision], precision, source, seed
        )
        for precision in MEASURED
        if precision in there
    }
    basis = "MAPE and tau are of networks that were left out, a tenth at a time, predicted from the others"
    target = Target(
        name=name,
        description=f"the device of {source}",
        runtime=f"the runtime of {source}",
        default_precision="int8" if "int8" in fitted else "fp32",
        latency=model_of({precision: result.constants for precision, result in fitted.items()}),
        labels={precision: result.report.label for precision, result in fitted.items()},
        sources={
            precision: f"fitted by nas profile on {result.networks} latencies of {source}; {basis}"
            for precision, result in fitted.items()
        },
        measured={precision: result.measured for precision, result in fitted.items()},
    )
    return target, fitted
