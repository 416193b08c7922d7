"""From measured networks to a target: what is checked, how it is fitted, and how far to trust it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas.store.bundles import BundleManifest, BundleNetwork
from predictors.costs.network import COLUMN, total_macs
from predictors.latency.additive import AdditiveLatency, LatencyModel
from predictors.latency.extent import extents_of, range_of
from predictors.latency.fit import FitReport, fit, fit_report
from predictors.latency.measured import MeasuredRange
from predictors.latency.operator_learning import Networks, learn_operators
from predictors.latency.operator_table import TableLatency
from predictors.latency.records import Coefficients, OperatorTable
from predictors.targets.target import Target
from search_spaces.errors import UserError
from search_spaces.genes import Floats

from .bundle import CHECK, FIT, LEAST_CHECK, LEAST_FIT, dialect_name, operators_of
from .results import Results
from .runner import DRIFTED, UNSETTLED

Constants = tuple[Coefficients, OperatorTable | None]
"""Of one precision: the additive model, and corrections of operators; None: they brought nothing."""

_SLOWED = 0.05  # share of the clock, between before and after, that is reported
# Nothing runs one image at a time beyond these: outside, the numbers are not milliseconds.
_MOST_MACS_PER_MS, _LEAST_MS_PER_OPERATOR, _LONGEST_MS = 1e10, 1e-5, 1e6


@dataclass(frozen=True)
class Measurement:
    """Networks at one precision on one device.

    Attributes:
        operators: of each, ``[ops, features]``.
        ms: of each.
        states: of each, how its visits agreed, see :func:`nas.profiling.runner.settle`.
    """

    precision: str
    members: tuple[BundleNetwork, ...]
    operators: tuple[Floats, ...]
    ms: Floats
    states: tuple[str, ...]

    def take(self, keep: Callable[[BundleNetwork, str], bool]) -> Measurement:
        """The networks for which ``keep(member, state)``."""
        rows = [i for i, (m, s) in enumerate(zip(self.members, self.states, strict=True)) if keep(m, s)]
        return replace(
            self, members=tuple(self.members[i] for i in rows), operators=tuple(self.operators[i] for i in rows),
            ms=self.ms[rows], states=tuple(self.states[i] for i in rows),
        )  # fmt: skip


@dataclass(frozen=True)
class Fitted:
    """The latency model of one precision, fitted to so many networks, which lie in a range; ``report``: on held-out
    ones, from a fit without them."""

    constants: Constants
    measured: MeasuredRange
    report: FitReport
    networks: int
    notes: tuple[str, ...]


def model_of(fitted: Mapping[str, Constants]) -> LatencyModel:
    """The latencies of a device from the constants of each precision."""
    base = AdditiveLatency({precision: coefficients for precision, (coefficients, _) in fitted.items()})
    tables = {precision: table for precision, (_, table) in fitted.items() if table is not None}
    return TableLatency(base, tables) if tables else base


def fit_networks(operators: Sequence[Floats], ms: Floats, precision: str) -> Constants:
    """The constants of networks; corrections of operators where they help."""
    coefficients = fit(np.stack([rows.sum(axis=0) for rows in operators]), ms, precision)
    return coefficients, learn_operators(coefficients, Networks.of(operators), ms, precision)


def predict(fitted: Constants, operators: Sequence[Floats], precision: str) -> Floats:
    """Milliseconds ``[n]`` of networks."""
    model = model_of({precision: fitted})
    return np.array([model.network(rows, precision) for rows in operators])


def fit_precision(measured: Measurement) -> Fitted:
    """Fit the chosen networks, judge on the held-out ones, then fit them all; those that were timed while the clock
    was slow are left out as long as enough others remain. Raises UserError: too few networks."""
    notes = []
    drifted = sum(s == DRIFTED for s in measured.states)
    used = measured.take(lambda _, state: state != DRIFTED)
    parts = [used.take(lambda m, _, use=use: m.use == use) for use in (FIT, CHECK)]  # type: ignore[misc]
    if drifted and (len(parts[0].ms) < LEAST_FIT or len(parts[1].ms) < LEAST_CHECK):
        used = measured
        parts = [used.take(lambda m, _, use=use: m.use == use) for use in (FIT, CHECK)]  # type: ignore[misc]
        notes.append(f"clock throttled or device busy during {drifted} of {len(measured.ms)} networks")
    elif drifted:
        notes.append(f"{drifted} of {len(measured.ms)} networks left out: clock throttled or device busy")
    if unsettled := sum(s == UNSETTLED for s in used.states):
        notes.append(f"{unsettled} networks unsteady")
    chosen, check = parts
    for part, least, what in ((chosen, LEAST_FIT, "to fit"), (check, LEAST_CHECK, "to judge the fit")):
        if len(part.ms) < least:
            raise UserError(
                f"{measured.precision}: {len(part.ms)} measured networks {what}, {least} or more are needed; "
                "run the rest of the bundle"
            )
    precision = measured.precision
    alone = fit_networks(chosen.operators, chosen.ms, precision)
    report = fit_report(predict(alone, check.operators, precision), check.ms)
    totals = np.stack([rows.sum(axis=0) for rows in used.operators])
    measured_range = range_of(extents_of(totals, used.ms, [min(member.input[1:]) for member in used.members]))
    constants = fit_networks(used.operators, used.ms, precision)
    return Fitted(constants, measured_range, report, len(used.ms), tuple(notes))


def target_of(
    manifest: BundleManifest, results: Results, name: str, skipped: Callable[[str], None]
) -> tuple[Target, dict[str, Fitted]]:
    """The target that results make, with the fit of each precision; ``skipped`` is called with a line for every
    precision that has too few networks. Raises UserError: no precision can be fitted."""
    fitted: dict[str, Fitted] = {}
    problems = []
    for measured in measurements(manifest, results):
        try:
            fitted[measured.precision] = fit_precision(measured)
        except UserError as error:
            problems.append(str(error))
    if not fitted:
        raise UserError(f"no target can be fitted: {'; '.join(problems)}")
    for problem in problems:
        skipped(problem)
    plan = manifest.plan
    slow = clock_note(results)
    labels, sources = {}, {}
    clock = "processor time of one thread" if results.clock == "thread" else "wall time"
    spaces = " and ".join(part.space for part in plan.parts)
    for precision, result in fitted.items():
        extra = "".join(f"; {note}" for note in (*result.notes, *slow))
        labels[precision] = f"{result.report.label[:-1]}{extra})"
        sources[precision] = (
            f"fitted on {result.networks} subnets of {spaces} measured by nas profile, bundle {manifest.bundle}, "
            f"{clock}; MAPE and tau are of {result.report.networks} random ones, predicted from the others"
        )
    threads = results.threads
    target = Target(
        name=name,
        description=results.machine.cpu,
        runtime=f"{results.machine.runtime}, {threads} thread{'s' if threads > 1 else ''}",
        default_precision="int8" if "int8" in fitted else next(iter(fitted)),
        latency=model_of({precision: result.constants for precision, result in fitted.items()}),
        labels=labels,
        sources=sources,
        measured={precision: result.measured for precision, result in fitted.items()},
        model=dialect_name(plan),
        threads=threads,
        weight_bits=(8, 4) if "int8" in fitted else (8,),
    )
    return target, fitted


def clock_note(results: Results) -> list[str]:
    """Notes where the device was not the same all the time: its clock fell, or the reference network took longer."""
    notes = []
    before, after = results.before.mhz, results.after.mhz
    if before and after and (fell := 1 - max(after) / max(before)) > _SLOWED:
        notes.append(f"clock fell by {100 * fell:.0f} %")
    if (slower := results.reference.usual_ms / results.reference.quickest_ms - 1) > _SLOWED:
        notes.append(f"measured {100 * slower:.0f} % above the device's quickest: clock throttled or device busy")
    return notes


def measurements(manifest: BundleManifest, results: Results) -> list[Measurement]:
    """What was measured, by precision. Raises UserError: a latency that no device can have had: other units."""
    operators = {network.name: operators_of(network) for network in manifest.networks}
    measured = []
    for precision in manifest.plan.precisions:
        members = tuple(n for n in manifest.networks if f"{n.name}.{precision}" in results.networks)
        timings = [results.networks[f"{n.name}.{precision}"] for n in members]
        for network, timing in zip(members, timings, strict=True):
            plausible("results", network.name, timing.ms, operators[network.name])
        ms, states = np.array([float(t.ms) for t in timings]), tuple(t.state for t in timings)
        measured.append(Measurement(precision, members, tuple(operators[n.name] for n in members), ms, states))
    return measured


def plausible(where: str, name: str, ms: float, operators: Floats) -> None:
    """Raises UserError, which begins with ``where``, for a latency that no device can have: other units."""
    macs = float(total_macs(operators.sum(axis=0)))
    count = sum(float(operators[:, c].sum()) for n, c in COLUMN.items() if n.startswith("ops_"))
    least = max(macs / _MOST_MACS_PER_MS, count * _LEAST_MS_PER_OPERATOR)
    if not least <= ms <= _LONGEST_MS:
        raise UserError(
            f"{where}: {ms:g} ms for {name} ({macs / 1e6:.3g} million MACs, {count:.0f} operators) is outside "
            f"{least:.2g} to {_LONGEST_MS:g}; are these milliseconds?"
        )
