"""Targets of a Raspberry Pi 4, fitted to published measurements, one for every runtime and number of threads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.latency.networks import RPI4, mlperf_rpi4
from benchmarks.latency.published import Table, ncnn
from benchmarks.latency.targets import Fitted, carried, few, scaled, show, xnnpack
from benchmarks.latency.validation import additive, cross_validate
from predictors.latency.additive import AdditiveLatency
from predictors.latency.fit import fit
from predictors.targets.target import Target

# FBNet blocks on a Raspberry Pi 4 in fp32 (HW-NAS-Bench, recovered from HELP) that differ in the kernel alone, 5 or 3:
# a depthwise MAC costs 1.0 ms a million, a pointwise one 0.12. Half of that ratio binds only where the fit is blind.
DEPTHWISE_FLOOR = 4.0
ARMNN = ("v2.1", "rpi4-armnn-v22.05-neon")
BOARD = "Raspberry Pi 4"
DESCRIPTION = "Raspberry Pi 4: 4 x Cortex-A72, 1.8 GHz"
MLPERF = (
    "fitted on MobileNetV1/V2/V3 of mlcommons inference_results v2.1 (Apache-2.0), Krai, {}, batch 1, median; "
    "{} networks; MAPE and tau are of random held-out networks"
)
NETWORKS = {"int8": "TensorFlow's quantized", "fp32": "floating-point"}


def _target(name: str, runtime: str, threads: int, fits: dict[str, Fitted], model: str | None = "litert") -> Target:
    return Target(
        name=name,
        description=DESCRIPTION,
        runtime=runtime,
        threads=threads,
        model=model,
        default_precision="int8",
        latency=AdditiveLatency({p: f.coefficients for p, f in fits.items()}),
        labels={p: f.label for p, f in fits.items()},
        sources={p: f.source for p, f in fits.items()},
        measured={p: f.measured for p, f in fits.items() if f.measured is not None},
    )


def _mlperf(name: str, runtime: str, system: tuple[str, str]) -> Target:
    """A target from MLPerf's whole networks."""
    fits = {}
    for precision in ("int8", "fp32"):
        data = mlperf_rpi4(precision, system).data(precision)
        source = MLPERF.format(system[1], NETWORKS[precision])
        coefficients = fit(data.features, data.ms, precision, DEPTHWISE_FLOOR)
        report = cross_validate(data, additive(DEPTHWISE_FLOOR)).splits
        assert report is not None
        show(f"{name}, {precision}", report)
        fits[precision] = Fitted(coefficients, report.label, source, data.measured)
    return _target(name, runtime, 4, fits)


NOTE = (
    "Measured networks hardly vary the kernel, so a depthwise MAC was held to 4 pointwise MACs or more; FBNet blocks\n"
    "on the same CPU in fp32, which do vary it, say 8. They have no k x k convolutions but the stem: those of, say, a\n"
    "ResNet are thought to cost what 1x1 convolutions do."
)


def cortex_a72() -> tuple[Target, str]:
    """The default: TFLite, four threads."""
    return replace(_mlperf("cortex-a72", "TFLite 2.7.1 (ruy), 4 threads", RPI4), weight_bits=(8, 4)), NOTE


def cortex_a72_armnn() -> tuple[Target, str]:
    """The same networks in another runtime."""
    return _mlperf("cortex-a72-armnn", "ArmNN 22.05 (Neon), 4 threads", ARMNN), NOTE


NCNN = "Tencent/ncnn, benchmark/README.md at a4d2ea1d4422 (BSD-3-Clause), {}, {}, fastest run, 224 px"
NCNN_NOTE = (
    "int8 has few measured networks, none with hard-swish or squeeze-and-excitation: one factor on all constants of\n"
    "fp32. ncnn stores floating-point files in 16 bits."
)


def _ncnn(threads: int) -> tuple[Target, str]:
    plural = f"{threads} thread" + ("s" if threads > 1 else "")
    source = NCNN.format(BOARD, plural)
    floating = few(f"ncnn, {BOARD}, {plural}, fp32", ncnn(BOARD, threads, "fp32"), source)
    integer = carried(
        f"ncnn, {BOARD}, {plural}, int8", floating.coefficients, ncnn(BOARD, threads, "int8").data,
        f"fp32's constants; {source}",
    )  # fmt: skip
    name = "cortex-a72-ncnn" + ("" if threads > 1 else "-1-thread")
    return _target(name, f"ncnn, {plural}", threads, {"int8": integer, "fp32": floating}, model=None), NCNN_NOTE


def cortex_a72_ncnn() -> tuple[Target, str]:
    """ncnn on all cores."""
    return _ncnn(4)


def cortex_a72_ncnn_1_thread() -> tuple[Target, str]:
    """ncnn on one core."""
    return _ncnn(1)


XNNPACK_NOTE = (
    "XNNPACK runs .pte files (ExecuTorch) and those of TFLite. A few networks are published: the constants of TFLite\n"
    "(target cortex-a72) say what operators cost relative to one another, one factor how XNNPACK compares."
)


def _xnnpack_fits() -> dict[str, Fitted]:
    fits = {}
    for precision in ("int8", "fp32"):
        tflite = mlperf_rpi4(precision).data(precision)
        base = fit(tflite.features, tflite.ms, precision, DEPTHWISE_FLOOR)
        source = (
            "constants of cortex-a72 (TFLite); google/XNNPACK, README.md (BSD-3-Clause), RPi 4 (BCM2711, ARM64), 2022, "
            "all cores, 224 px, MobileNetV1 and V2" + (" and both V3" if precision == "fp32" else "")
        )
        data = xnnpack("RPi 4 (BCM2711, ARM64)", precision)
        fits[precision] = carried(f"XNNPACK, {BOARD}, {precision}", base, data, source)
    return fits


def cortex_a72_xnnpack() -> tuple[Target, str]:
    """XNNPACK on all cores."""
    return _target("cortex-a72-xnnpack", "XNNPACK (2022; ExecuTorch), 4 threads", 4, _xnnpack_fits()), XNNPACK_NOTE


def _slow_down(precision: str) -> tuple[float, float, int]:
    """How many times as long ncnn takes on one thread as on four: geometric mean, spread in percent, networks."""
    one, four = (ncnn(BOARD, threads, precision) for threads in (1, 4))
    both = [name for name in one.names if name in four.names]
    logs = np.log([_ms(one, name) / _ms(four, name) for name in both])
    return float(np.exp(logs.mean())), float(100 * logs.std(ddof=1)), len(both)


def _ms(table: Table, name: str) -> float:
    return float(table.data.ms[table.names.index(name)])


def cortex_a72_xnnpack_1_thread() -> tuple[Target, str]:
    """XNNPACK on one core, carried over twice."""
    fits = {}
    for precision, four in _xnnpack_fits().items():
        factor, spread, networks = _slow_down(precision)
        source = (
            f"{four.source}; then times {factor:.3g} for one thread, as ncnn takes on this board ({networks} networks, "
            f"which differ by {spread:.0f} %)"
        )
        fits[precision] = Fitted(scaled(four.coefficients, factor), "uncalibrated", source)
    note = f"{XNNPACK_NOTE} No network is published for one thread."
    return _target("cortex-a72-xnnpack-1-thread", "XNNPACK (2022; ExecuTorch), 1 thread", 1, fits), note


TARGETS = {
    "cortex-a72": cortex_a72,
    "cortex-a72-armnn": cortex_a72_armnn,
    "cortex-a72-ncnn": cortex_a72_ncnn,
    "cortex-a72-ncnn-1-thread": cortex_a72_ncnn_1_thread,
    "cortex-a72-xnnpack": cortex_a72_xnnpack,
    "cortex-a72-xnnpack-1-thread": cortex_a72_xnnpack_1_thread,
}
