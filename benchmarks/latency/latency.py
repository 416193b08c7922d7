"""Latency models against published measurements, and the targets of a Raspberry Pi 4 fitted to them.

    python -m benchmarks.latency.latency                        # all tables
    python -m benchmarks.latency.latency rpi4 nasbench201 ...   # some of them
    python -m benchmarks.latency.latency targets --write   # also replace the cortex-a72 files in predictors/targets

Splits are ``numpy.random.default_rng(seed).permutation(n)``, the first N networks to fit and the rest to test, seeds
0, 1, ...; errors are pooled over splits. ``NAS_BENCH_DATA`` names the folder of the measurements. NAS-Bench-201's
networks take minutes to trace the first time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from benchmarks.latency.blocks import fbnet_blocks
from benchmarks.latency.cortex_a72 import ARMNN, DEPTHWISE_FLOOR, TARGETS
from benchmarks.latency.measured_operators import fit_operators
from benchmarks.latency.nasbench201 import table as nasbench201_table
from benchmarks.latency.networks import RPI4, mlperf_rpi4
from benchmarks.latency.residual import learn_residual
from benchmarks.latency.validation import Data, Method, Predictor, additive, cross_validate, predict_vectors
from predictors.costs.network import ACTIVATION_BYTES, COLUMN, operator_rows, total_macs
from predictors.costs.tables import CostTables, operator_tables
from predictors.latency.additive import AdditiveLatency, LatencyModel
from predictors.latency.fit import FitReport, fit, fit_report
from predictors.latency.operator_table import TableLatency
from predictors.targets.card import FOLDER
from predictors.targets.target import load_target, to_toml
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.genes import Floats
from search_spaces.operators.operator import KINDS
from search_spaces.operators.trace import trace


def macs_alone(data: Data) -> Predictor:
    """``a + b MACs`` on relative error, ordinary least squares: what counting operations would give."""

    def columns(features: Floats) -> Floats:
        macs: Floats = total_macs(features) / 1e6
        return np.stack([macs, np.ones_like(macs)], axis=1)

    solution, *_ = np.linalg.lstsq(columns(data.features) / data.ms[:, None], np.ones(len(data.ms)), rcond=None)
    return lambda features: columns(features) @ solution


def plain(data: Data) -> Predictor:
    """Seven constants, non-negative least squares on relative error, no prior: MMAC of k x k, 1 x 1 and depthwise
    convolutions, MB of activations and of weights, operators, one."""
    from scipy.optimize import nnls

    def columns(features: Floats) -> Floats:
        def total(*names: str) -> Floats:
            found: Floats = features[:, [COLUMN[name] for name in names]].sum(axis=1)
            return found

        size = ACTIVATION_BYTES[data.precision]
        macs = [total("macs_conv"), total("macs_pointwise", "macs_linear", "macs_matmul"), total("macs_depthwise")]
        moved = total(*(f"moved_{kind}" for kind in KINDS))
        megabytes = [moved * size / 1e6, total("weights") * size / 1e6]
        counts = [total(*(f"ops_{kind}" for kind in KINDS)), np.ones(len(features))]
        return np.stack([*(m / 1e6 for m in macs), *megabytes, *counts], axis=1)

    rows = columns(data.features) / data.ms[:, None]
    scale = np.maximum(np.linalg.norm(rows, axis=0), 1e-12)
    solution, _ = nnls(rows / scale, np.ones(len(rows)))
    return lambda features: columns(features) @ (solution / scale)


def pure(data: Data) -> Predictor:
    """Boosted trees on logarithms of the features, without a model underneath."""
    from sklearn.ensemble import GradientBoostingRegressor

    trees = GradientBoostingRegressor(random_state=0).fit(np.log1p(data.features), np.log(data.ms))
    return lambda features: np.asarray(np.exp(trees.predict(np.log1p(features))))


def table(data: Data) -> Predictor:
    """The additive model corrected by a table of the blocks it was fitted to."""
    coefficients = fit(data.features, data.ms, data.precision)
    found = fit_operators(coefficients, data.features, data.ms, data.precision)
    model = TableLatency(AdditiveLatency({data.precision: coefficients}), {data.precision: found})
    return lambda features: model.operators(features, data.precision)


def _line(title: str, report: FitReport | None, tau: float | None = None) -> None:
    if report is not None:
        split = "" if tau is None else f"   tau of a split {tau:.3f}"
        print(
            f"  {title:60}{report.mape:6.2f} %{report.within_10:7.1f} %   tau {report.tau:.3f}"
            f"{report.networks:6d}{split}",
            flush=True,
        )


METHODS: dict[str, Method] = {
    "MACs alone": macs_alone,
    "additive of seven constants, no prior": plain,
    "additive": additive(DEPTHWISE_FLOOR),
    "additive + residual": learn_residual(additive(DEPTHWISE_FLOOR)),
}


def rpi4() -> None:
    """MLPerf's whole networks: random splits, and a family left out."""
    for runtime, system in (("TFLite 2.7.1", RPI4), ("ArmNN 22.05", ARMNN)):
        for precision in ("int8", "fp32"):
            data = mlperf_rpi4(precision, system).data(precision)
            print(f"\nRaspberry Pi 4, {runtime}, {precision}, N = 20, 20 seeds")
            for name, method in METHODS.items():
                found = cross_validate(data, method, train=20, seeds=20)
                _line(f"{name}, random splits", found.splits, found.mean_tau)
                _line(f"{name}, family left out", found.families)


def resolution() -> None:
    """A resolution left out: what extrapolation costs."""
    for precision in ("int8", "fp32"):
        measured = mlperf_rpi4(precision)
        sides = tuple(name.rsplit(" ", 1)[1] for name in measured.names)
        data = Data(measured.features, measured.ms, precision, sides)
        print(f"\nRaspberry Pi 4, TFLite 2.7.1, {precision}, a resolution left out")
        for name, method in (*METHODS.items(), ("boosted trees alone", pure)):
            _line(name, cross_validate(data, method, seeds=0).families)


def nasbench201() -> None:
    """Networks of one space, of which few are measured."""
    from scipy.stats import spearmanr

    for source, column, precision, train in (
        ("help", "raspi4", "fp32", 50),
        ("oneproxy", "nnmeter_measured_a76", "fp32", 20),
        ("oneproxy", "latbench_cpu_855", "int8", 20),
    ):
        published = nasbench201_table(source)
        known = np.isfinite(published.ms[column])
        features, ms = published.features()[known], published.ms[column][known]
        print(f"\nNAS-Bench-201 without dead edges, {column}, {precision}, N = {train}, 10 seeds")
        for name, method in (
            ("MACs alone", macs_alone), ("additive", additive()), ("additive + residual", learn_residual()),
        ):  # fmt: skip
            errors, ranks = [], []
            for seed in range(10):
                order = np.random.default_rng(seed).permutation(len(ms))
                seen, unseen = order[:train], order[train:]
                predicted = method(Data(features[seen], ms[seen], precision, ("",) * train))(features[unseen])
                errors.append(fit_report(predicted, ms[unseen]).mape)
                ranks.append(float(spearmanr(predicted, ms[unseen]).statistic))
            print(
                f"  {name:60}{np.mean(errors):6.2f} %   Spearman {np.mean(ranks):.4f} "
                f"({min(ranks):.4f} to {max(ranks):.4f}), {len(ms)} networks",
                flush=True,
            )


def fbnet() -> None:
    """Single blocks, a stage left out; all blocks fit, those of known absolute latency test."""
    methods: tuple[tuple[str, Method], ...] = (
        ("MACs alone", macs_alone), ("additive", additive()), ("additive + table of the other stages", table),
    )  # fmt: skip
    for column in ("raspi4", "pixel3"):
        blocks = fbnet_blocks(column)
        stages = np.array(blocks.stages)
        print(f"\nFBNet blocks, {column}, fp32, a stage left out")
        for name, method in methods:
            predicted = np.zeros(len(blocks.ms))
            # a table needs latencies, not differences
            usable = blocks.absolute if method is table else np.ones(len(stages), dtype=bool)
            for stage in dict.fromkeys(blocks.stages):
                seen = np.flatnonzero((stages != stage) & usable)
                data = Data(blocks.features[seen], blocks.ms[seen], "fp32", tuple(stages[seen]))
                asked = np.flatnonzero((stages == stage) & usable)
                predicted[asked] = method(data)(blocks.features[asked])
            _line(name, fit_report(predicted[blocks.absolute], blocks.ms[blocks.absolute]))


def rate() -> None:
    """Candidates a second, and whether one network gets the same latency by itself."""
    space = get_space("mbv3-large")
    tables = CostTables(space, Interface(3, 1000))
    vectors = space.sample(np.random.default_rng(0), 100_000)
    additive_part = load_target("cortex-a72").latency
    assert isinstance(additive_part, AdditiveLatency)
    chosen = operator_tables(tables.space, tables.interface).rows[::40]  # stand-ins for measured operators
    took = additive_part.operators(chosen, "fp32")
    measured = fit_operators(additive_part.of("fp32"), chosen[took > 0], 1.2 * took[took > 0], "fp32")
    looked_up = TableLatency(additive_part, {"fp32": measured})
    models: dict[str, LatencyModel] = {
        "cortex-a72": additive_part, f"table of {len(measured.ms)} operators": looked_up,
    }  # fmt: skip
    print("\n100,000 candidates of mbv3-large on one core, fp32")
    for name, model in models.items():
        predict_vectors(model, tables, vectors[:1], "fp32")
        began = time.thread_time()
        found = predict_vectors(model, tables, vectors, "fp32")
        seconds = time.thread_time() - began
        worst = 0.0
        for i in range(20):
            architecture = space.decode(vectors[i])
            ops = trace(space.build(architecture, Interface(3, 1000), "meta").eval(), 3, architecture.resolution)
            worst = max(worst, abs(model.network(operator_rows(ops), "fp32") / found[i] - 1))
        print(f"  {name:60}{seconds:6.2f} s   largest difference to the network itself {worst:.1e}", flush=True)


TABLES: dict[str, Callable[[], None]] = {
    "rpi4": rpi4, "resolution": resolution, "nasbench201": nasbench201, "fbnet": fbnet, "rate": rate,
}  # fmt: skip


def targets(write: bool) -> None:
    """Fit the cortex-a72 family; held-out figures as the files state them."""
    print("\nTargets of a Raspberry Pi 4: MAPE, within 10 %, tau, networks, held out")
    for name, make in TARGETS.items():
        target, note = make()
        if write:
            comment = f"Constants: benchmarks/latency/latency.py targets --write\n{note}"
            (FOLDER / f"{name}.toml").write_text(to_toml(target, comment), encoding="utf-8")
            print(f"  wrote {name}.toml")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*TABLES, "targets"]
    parser.add_argument("table", nargs="*", choices=[*names, []], metavar="table", help=f"{', '.join(names)}; or all")
    parser.add_argument("--write", action="store_true", help="replace the files of the cortex-a72 targets")
    arguments = parser.parse_args()
    for name in arguments.table or names:
        if name == "targets":
            targets(arguments.write)
        else:
            TABLES[name]()


if __name__ == "__main__":
    main()
