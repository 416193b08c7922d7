"""How well `nas profile` predicts subnets it has not measured, and how many networks that takes.

    python -m benchmarks.latency.host_profile mbv3-tiny --folder DIR    # again: continues where it stopped
    python -m benchmarks.latency.host_profile mbv3-large --chosen 24 --drawn 0 --folder DIR

One run on one core of this machine measures in onnxruntime, fp32 and int8: networks that `nas profile` chooses, 60
random ones to test on, and more random ones, so that choosing can be compared with drawing. Then a bundle of 24 chosen
networks is run by its own runner as a program by itself, as on a board, and timed on the wall.

(Not called profile.py: the standard library has a module of that name.)
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from nas.profiling.bundle import CHECK, FIT, write_bundle
from nas.profiling.fit import Measurement, fit_networks, measurements, predict
from nas.profiling.results import read_results
from nas.profiling.runner import RESULTS, measure
from nas.store.bundles import Part, Plan
from predictors.latency.fit import FitReport, fit_report

CLASSES = {"mbv3-tiny": 10}
TESTED = 60
SIZES = (12, 16, 20, 24, 40)
DRAWS = 8  # of the random ones


def quiet(done: int, total: int, note: str) -> None:
    """Progress on one line of stderr."""
    print(f"\r{done}/{total} {note:<40}", end="", file=sys.stderr, flush=True)


def parts(measured: Measurement) -> tuple[Measurement, Measurement, Measurement]:
    """Chosen networks in the order of choice, those to test on, and those drawn for comparison."""
    chosen = measured.take(lambda m, _: m.use == FIT)
    random = measured.take(lambda m, _: m.use == CHECK)
    tested = {m.name for m in random.members[:TESTED]}
    return chosen, random.take(lambda m, _: m.name in tested), random.take(lambda m, _: m.name not in tested)


def judge(fitted_to: Measurement, rows: Any, test: Measurement) -> tuple[FitReport, FitReport]:
    """Reports on the tested networks: the additive model alone, and with corrections of operators."""
    operators = [fitted_to.operators[i] for i in rows]
    coefficients, table = fit_networks(operators, fitted_to.ms[rows], test.precision)
    return tuple(  # type: ignore[return-value]
        fit_report(predict((coefficients, t), test.operators, test.precision), test.ms) for t in (None, table)
    )


def line(name: str, n: int, reports: list[tuple[FitReport, FitReport]]) -> None:
    """One row of the table, the mean of several draws."""
    figures = []
    for which in (0, 1):
        mape = np.mean([r[which].mape for r in reports])
        tau = np.mean([r[which].tau for r in reports])
        figures.append(f"{mape:.2f} % | {tau:.3f}")
    print(f"| {name} | {n} | {figures[0]} | {figures[1]} |")


def study(measured: Measurement) -> None:
    """Chosen against drawn networks, by number."""
    chosen, test, drawn = parts(measured)
    states = ", ".join(f"{n} {state}" for state, n in sorted(Counter(measured.states).items()))
    span = f"{test.ms.min():.3f} to {test.ms.max():.3f} ms"
    print(f"\n{measured.precision}: {len(test.ms)} held-out subnets, {span} ({states})\n")
    print("| networks | fitted | additive: MAPE | tau | with operators: MAPE | tau |\n|---|---|---|---|---|---|")
    for n in SIZES:
        if n <= len(chosen.ms):
            line("chosen", n, [judge(chosen, np.arange(n), test)])
        if n <= len(drawn.ms):
            draws = [np.random.default_rng(seed).permutation(len(drawn.ms))[:n] for seed in range(DRAWS)]
            line("random", n, [judge(drawn, rows, test) for rows in draws])


def as_a_board(space: str, folder: Path, direct: list[Measurement]) -> None:
    """A bundle run by its own runner, on the wall; its fit against the networks measured directly."""
    part = Part(space, CLASSES.get(space, 1000), 3)
    manifest = write_bundle(folder, Plan((part,), fit=24, check=12, unsigned=True), quiet)
    subprocess.run([sys.executable, str(folder / "run.py")], check=True, stdout=subprocess.DEVNULL)
    results = read_results(folder / RESULTS, manifest)
    print("\n| 24 networks, measured | held-out MAPE | tau |\n|---|---|---|")
    for board, here in zip(measurements(manifest, results), direct, strict=True):
        chosen, test, _ = parts(here)
        for name, source in (
            ("by nas profile host", chosen),
            ("by the bundle's runner", board.take(lambda m, _: m.use == FIT)),
        ):
            report = judge(source, np.arange(24), test)[1]
            print(f"| {here.precision}, {name} | {report.mape:.2f} % | {report.tau:.3f} |")


def main() -> None:
    import torch

    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space")
    parser.add_argument("--chosen", type=int, default=40, help="networks to fit, 24 or more")
    parser.add_argument("--drawn", type=int, default=40, help="random ones to compare them with")
    parser.add_argument("--folder", type=Path, default=Path("profile-benchmark"), help="files and measurements")
    arguments = parser.parse_args()
    space, folder = arguments.space, arguments.folder / arguments.space
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Part(space, CLASSES.get(space, 1000), 3)
    plan = Plan((part,), fit=arguments.chosen, check=TESTED + arguments.drawn, unsigned=True)
    manifest = write_bundle(folder, plan, quiet)
    if not (folder / RESULTS).exists():
        measure(folder, 1, "thread", quiet)
    results = read_results(folder / RESULTS, manifest)
    direct = measurements(manifest, results)
    print(f"\n\n## {space}: {results.machine.cpu}, {results.machine.runtime}, one thread")
    for measured in direct:
        study(measured)
    as_a_board(space, arguments.folder / f"{space}-board", direct)


if __name__ == "__main__":
    main()
