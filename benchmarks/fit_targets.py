"""Fit the constants of the shipped targets, and say how well the fit predicts networks it has not seen.

    python benchmarks/fit_targets.py cortex-a72 [--write]    # from published measurements, see data_folder()
    python benchmarks/fit_targets.py host [--write]          # measures this machine, about six minutes

``--write`` replaces the target's file in ``predictors/targets``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from _networks import Measured, mlperf_rpi4

from predictors.costs import Floats, total_macs
from predictors.latency import AdditiveLatency, Coefficients, FitReport, fit, fit_report
from predictors.target import FOLDER, Target, to_toml

# FBNet blocks on a Raspberry Pi 4 in fp32 (HW-NAS-Bench, recovered from HELP) that differ in the kernel alone, 5 or 3:
# a depthwise MAC costs 1.0 ms a million, a pointwise one 0.12. Half of that ratio binds only where the fit is blind.
CORTEX_A72_DEPTHWISE_FLOOR = 4.0
SPLITS, TRAIN = 20, 20

Fit = Callable[[Measured], Callable[[Measured], Floats]]


@dataclass(frozen=True)
class HeldOut:
    """Reports on networks the fit had not seen."""

    splits: FitReport
    mean_tau: float
    families: FitReport


def additive(precision: str, depthwise_floor: float) -> Fit:
    """The additive model."""

    def train(measured: Measured) -> Callable[[Measured], Floats]:
        coefficients = fit(measured.features, measured.ms, precision, depthwise_floor)
        return lambda m: AdditiveLatency({precision: coefficients}).predict(m.features, precision)

    return train


def macs_alone(measured: Measured) -> Callable[[Measured], Floats]:
    """``a + b MACs`` on relative error, ordinary least squares: what counting operations would give."""

    def columns(m: Measured) -> Floats:
        macs: Floats = total_macs(m.features) / 1e6
        return np.stack([macs, np.ones_like(macs)], axis=1)

    solution, *_ = np.linalg.lstsq(columns(measured) / measured.ms[:, None], np.ones(len(measured.ms)), rcond=None)
    return lambda m: columns(m) @ solution


def held_out(measured: Measured, method: Fit) -> HeldOut:
    """Random splits (``TRAIN`` networks to fit, the rest to test), pooled, and every family left out in turn."""
    n = len(measured.ms)
    orders = [np.random.default_rng(seed).permutation(n) for seed in range(SPLITS)]
    parts = [(order[:TRAIN], order[TRAIN:]) for order in orders]
    families = np.array(measured.families)
    left_out = [(np.flatnonzero(families != f), np.flatnonzero(families == f)) for f in sorted(set(families))]

    def evaluate(cuts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[FitReport, float]:
        pairs = []
        for train, test in cuts:
            pairs.append((method(measured.take(train))(measured.take(test)), measured.ms[test]))
        taus = [fit_report(*pair).tau for pair in pairs]
        pooled = fit_report(np.concatenate([p for p, _ in pairs]), np.concatenate([m for _, m in pairs]))
        return pooled, float(np.nanmean(taus))

    splits, mean_tau = evaluate(parts)
    return HeldOut(replace(splits, networks=n), mean_tau, evaluate(left_out)[0])


def study(measured: Measured, precision: str, depthwise_floor: float) -> tuple[Coefficients, HeldOut]:
    """Print the report of one precision; its coefficients, from all networks, and held-out figures."""
    coefficients = fit(measured.features, measured.ms, precision, depthwise_floor)
    own = fit_report(AdditiveLatency({precision: coefficients}).predict(measured.features, precision), measured.ms)
    result = held_out(measured, additive(precision, depthwise_floor))
    print(f"\n{precision}: {len(measured.ms)} networks, {measured.ms.min():.2f} to {measured.ms.max():.2f} ms")
    print(f"  {coefficients}")
    print(f"  {'':34}{'MAPE %':>8}{'within 10 %':>13}{'tau':>7}")
    print(f"  {'additive, the networks fitted':34}{own.mape:8.1f}{own.within_10:13.1f}{own.tau:7.2f}")
    for name, report in (("additive", result), ("MACs alone", held_out(measured, macs_alone))):
        for cut, r in (("random splits", report.splits), ("family left out", report.families)):
            print(f"  {f'{name}, {cut}':34}{r.mape:8.1f}{r.within_10:13.1f}{r.tau:7.2f}")
        print(f"  {f'{name}, mean tau of a split':34}{report.mean_tau:28.2f}")
    return coefficients, result


def cortex_a72() -> tuple[Target, str]:
    """Raspberry Pi 4, from MLPerf Inference."""
    constants, labels = {}, {}
    for precision in ("int8", "fp32"):
        constants[precision], result = study(mlperf_rpi4(precision), precision, CORTEX_A72_DEPTHWISE_FLOOR)
        labels[precision] = result.splits.label
    source = (
        "fitted on MobileNetV1/V2/V3 of mlcommons inference_results v2.1 (Apache-2.0), Krai, rpi4-tflite-v2.7.1-ruy, "
        "batch 1, 4 threads, median; {} networks; MAPE and tau are of random held-out networks"
    )
    target = Target(
        name="cortex-a72",
        description="Raspberry Pi 4: 4 x Cortex-A72, 1.8 GHz",
        runtime="TFLite 2.7.1 (ruy), 4 threads",
        default_precision="int8",
        latency=AdditiveLatency(constants),
        labels=labels,
        sources={p: source.format("TensorFlow's quantized" if p == "int8" else "floating-point") for p in constants},
    )
    comment = (
        "Raspberry Pi 4. Constants: benchmarks/fit_targets.py cortex-a72 --write\n"
        "Measurements: mlcommons inference_results v2.1 (Apache-2.0), open division, TFLite 2.7.1, 4 threads.\n"
        "They hardly vary the kernel, so a depthwise MAC was held to 4 pointwise MACs or more; FBNet blocks on the\n"
        "same CPU in fp32, which do vary it, say 8. The constant of k x k convolutions comes from stems alone (3\n"
        "channels in): too high for convolutions with many channels, as in a ResNet."
    )
    return target, comment


def host() -> tuple[Target, str]:
    """An x86-64 core, measured here."""
    from _host import DESCRIPTION, measure, runtime

    constants, sources = {}, {}
    for precision, measured in measure().items():
        constants[precision], result = study(measured, precision, 1.0)
        sources[precision] = (
            f"fitted on {len(measured.ms)} networks timed on an x86-64 server core with AVX-512 VNNI, not on yours; "
            f"there: held-out MAPE {result.splits.mape:.1f} %, tau {result.splits.tau:.2f}"
        )
    target = Target(
        name="host",
        description=DESCRIPTION,
        runtime=runtime(),
        default_precision="int8",
        latency=AdditiveLatency(constants),
        labels=dict.fromkeys(constants, "uncalibrated"),
        sources=sources,
        model="onnx-uint8",
    )
    comment = (
        "Fitted on an x86-64 server core, not on yours: take ratios and ranks from it rather than milliseconds.\n"
        "int8 is faster there for MobileNetV1/V2, not for networks with hard-swish and squeeze-and-excitation, whose\n"
        "elementwise operators this runtime computes slowly in int8; the file is four times smaller all the same.\n"
        "For your own machine run benchmarks/fit_targets.py host --write, or nas profile."
    )
    return target, comment


TARGETS = {"cortex-a72": cortex_a72, "host": host}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--write", action="store_true", help="replace the target's file")
    arguments = parser.parse_args()
    try:
        target, comment = TARGETS[arguments.target]()
    except FileNotFoundError as error:
        print(f"skipped: {error.filename} is not there; NAS_BENCH_DATA names the folder of published measurements")
        return
    if arguments.write:
        path = FOLDER / f"{target.name}.toml"
        path.write_text(to_toml(target, comment), encoding="utf-8")
        print(f"\nwrote {path.relative_to(FOLDER.parents[1])}")


if __name__ == "__main__":
    main()
