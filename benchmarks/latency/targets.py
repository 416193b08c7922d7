"""Fit the constants of the targets other than cortex-a72 and host, and say how well the fits predict unseen networks.

    python -m benchmarks.latency.targets [--write] [target ...]     # from published measurements (NAS_BENCH_DATA)

``--write`` replaces the targets' files in ``predictors/targets``. Peaks of memory are compared with published ones too.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from functools import partial

import numpy as np
from scipy.optimize import nnls
from torch import nn

from benchmarks.latency import nasbench201
from benchmarks.latency.networks import network
from benchmarks.latency.published import TINYENGINE, Table, mlperf_tiny, ncnn, ofa_on_desktop, rows, tinyengine
from benchmarks.latency.published import features as features_of
from benchmarks.latency.validation import Data, additive, cross_validate
from predictors.latency.additive import AdditiveLatency, design
from predictors.latency.fit import FitReport, fit, fit_report
from predictors.latency.measured import MeasuredRange
from predictors.latency.records import COEFFICIENTS, Coefficients
from predictors.targets.card import FOLDER
from predictors.targets.target import Target, load_target, to_toml
from search_spaces.genes import Floats

ENOUGH = 5
"""Networks, each predicted by a fit without it, that make a target ``calibrated``."""

# Networks without depthwise convolutions say nothing of them. On a Cortex-A72, MACs of those cost 4 to 8 times as much
# as of 1x1 convolutions (see the cortex-a72 target).
DEPTHWISE = 4.0
KIB = 1024


@dataclass(frozen=True)
class Fitted:
    """Constants of one precision, and what is known of them; ``measured``: on the device itself."""

    coefficients: Coefficients
    label: str
    source: str
    measured: MeasuredRange | None = None


def scaled(coefficients: Coefficients, factor: float) -> Coefficients:
    """The same network that many times as slow."""
    return Coefficients(*(factor * c for c in astuple(coefficients)))


def predicted(coefficients: Coefficients, data: Data) -> Floats:
    """Milliseconds ``[n]``."""
    return AdditiveLatency({data.precision: coefficients}).predict(data.features, data.precision)


def leave_one_out(data: Data, method: Callable[[Data], Callable[[Floats], Floats]]) -> FitReport:
    """Every network predicted by a fit to the others."""
    n = len(data.ms)
    found = [method(data.take(np.delete(np.arange(n), i)))(data.features[i : i + 1])[0] for i in range(n)]
    return fit_report(np.array(found), data.ms)


def factor_of(coefficients: Coefficients, data: Data) -> float:
    """Geometric mean of measured over predicted."""
    return float(np.exp(np.log(data.ms / predicted(coefficients, data)).mean()))


def show(title: str, report: FitReport) -> None:
    print(f"  {title:52}{report.mape:7.1f} %{report.within_10:7.0f} %{report.tau:7.2f}{report.networks:7d}", flush=True)


Fit = Callable[[Floats, Floats, str], Coefficients]


def few(title: str, table: Table, source: str, method: Fit = fit) -> Fitted:
    """A fit to a handful of networks, judged by leaving each out."""
    data = table.data

    def train(part: Data) -> Callable[[Floats], Floats]:
        coefficients = method(part.features, part.ms, part.precision)
        return lambda f: predicted(coefficients, replace(part, features=f))

    report = leave_one_out(data, train)
    show(title, report)
    label = report.label if report.networks >= ENOUGH else "uncalibrated"
    held = f"MAPE and tau of each network predicted by a fit to the others: {', '.join(table.names)}"
    return Fitted(method(data.features, data.ms, data.precision), label, f"{source}; {held}", data.measured)


# Constants of a simple core, tied: multiples of three free numbers.
SIMPLE = (
    {"stem_ms_per_mmac": 1, "conv_ms_per_mmac": 1, "pointwise_ms_per_mmac": 1, "depthwise_ms_per_mmac": 2},
    {"activation_ms_per_mb": 1, "pool_ms_per_mb": 1, "elementwise_ms_per_mb": 1},
    {"weight_ms_per_mb": 1},
)


def simple(features: Floats, ms: Floats, precision: str) -> Coefficients:
    """Non-negative least squares on relative errors, with the constants tied as in :data:`SIMPLE`."""
    ties = np.array([[group.get(name, 0) for group in SIMPLE] for name in COEFFICIENTS], dtype=np.float64)
    free, _ = nnls(design(features, precision) @ ties / ms[:, None], np.ones(len(ms)))
    return Coefficients(*(ties @ free).tolist())


def carried(title: str, base: Coefficients, data: Data, source: str) -> Fitted:
    """Constants of another setting times one factor, judged by leaving each network out."""

    def method(part: Data) -> Callable[[Floats], Floats]:
        factor = factor_of(base, part)
        return lambda f: factor * predicted(base, replace(part, features=f))

    report = leave_one_out(data, method)
    show(title, report)
    factor = factor_of(base, data)
    held = f"left out in turn, they are off by {report.mape:.0f} %"
    return Fitted(
        scaled(base, factor), "uncalibrated", f"{source}, times {factor:.3g} from {len(data.ms)} networks; {held}",
        data.measured,
    )  # fmt: skip


def many(title: str, data: Data, source: str, of: str, train: int, depthwise_floor: float = 1.0) -> Fitted:
    """A fit to many networks, judged by random splits."""
    report = cross_validate(data, additive(depthwise_floor), train, seeds=10).splits
    assert report is not None
    show(f"{title}, {train} to fit", report)
    label = f"calibrated (MAPE {report.mape:.1f} %, tau {report.tau:.2f}, {report.networks} networks{of})"
    return Fitted(fit(data.features, data.ms, data.precision, depthwise_floor), label, source, data.measured)


def target(
    name: str, device: str, runtime: str, threads: int | None, default: str, fits: dict[str, Fitted], **more: object
) -> Target:
    """A target of fitted constants; ``more`` are its other attributes."""
    return Target(
        name=name, description=device, runtime=runtime, threads=threads, default_precision=default,
        latency=AdditiveLatency({p: f.coefficients for p, f in fits.items()}),
        labels={p: f.label for p, f in fits.items()}, sources={p: f.source for p, f in fits.items()},
        measured={p: f.measured for p, f in fits.items() if f.measured is not None},
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


NCNN_SOURCE = "Tencent/ncnn, benchmark/README.md at a4d2ea1d4422 (BSD-3-Clause), {}, 4 threads, fastest run, 224 px"
NCNN_NOTE = (
    "ncnn computes 3x3 convolutions of stride 1 by Winograd's method, at fewer multiplications than are counted:\n"
    "ResNets are predicted too slow. Floating-point files are stored, and where the core can computed, in 16 bits.\n"
    "int8 has few measured networks, none with hard-swish or squeeze-and-excitation: one factor on all constants."
)


def _ncnn(board: str) -> dict[str, Fitted]:
    floating = few(f"ncnn, {board}, fp32", ncnn(board, 4, "fp32"), NCNN_SOURCE.format(board))
    whole = ncnn(board, 4, "int8").data
    integer = carried(
        f"ncnn, {board}, int8", floating.coefficients, whole, f"fp32's constants; {NCNN_SOURCE.format(board)}"
    )
    return {"fp32": floating, "int8": integer}


def cortex_a53_ncnn() -> tuple[Target, str]:
    board = "Raspberry Pi Zero 2 W"
    return target(
        "cortex-a53-ncnn", f"{board}: 4 x Cortex-A53, 1.0 GHz", "ncnn, 4 threads", 4, "int8", _ncnn(board)
    ), NCNN_NOTE


def cortex_a76() -> tuple[Target, str]:
    board = "Raspberry Pi 5"
    return target(
        "cortex-a76", f"{board}: 4 x Cortex-A76, 2.4 GHz", "ncnn, 4 threads", 4, "fp32", _ncnn(board)
    ), NCNN_NOTE


XNNPACK_NAMES = {
    "MobileNet v1 1.0X": "mobilenet_v1", "MobileNet v2 1.0X": "mobilenet_v2",
    "MobileNet v3 Large": "mobilenet_v3_large", "MobileNet v3 Small": "mobilenet_v3_small",
}  # fmt: skip


def xnnpack(device: str, precision: str) -> Data:
    """Networks of XNNPACK's README on a device, all its cores."""
    found = [
        (XNNPACK_NAMES[r["model"]], float(r["latency_ms"]))
        for r in rows("xnnpack_readme.csv")
        if r["device"] == device and r["precision"] == precision and r["threads"].startswith("multi")
    ]
    matrix = [features_of(partial(network, name, 1.0, "meta"), (3, 224, 224)) for name, _ in found]
    names = tuple(name for name, _ in found)
    return Data(np.stack(matrix), np.array([ms for _, ms in found]), precision, names, (224,) * len(names))


def cortex_a53() -> tuple[Target, str]:
    fits = {}
    for precision in ("int8", "fp32"):
        base = load_target("cortex-a72").latency
        while not isinstance(base, AdditiveLatency):
            base = base.base  # type: ignore[attr-defined]
        source = (
            "constants of cortex-a72 (TFLite); google/XNNPACK, README.md (BSD-3-Clause), RPi 3+, 2022, all cores, "
            "224 px, MobileNetV1 and V2" + (" and both V3" if precision == "fp32" else "")
        )
        data = xnnpack("RPi 3+ (BCM2837B0)", precision)
        fits[precision] = carried(
            f"XNNPACK, Raspberry Pi 3 B+, {precision}", base.coefficients[precision], data, source
        )
    note = (
        "Of a Raspberry Pi 3 B+ in XNNPACK, which runs .pte files and TFLite's, only four networks are published. A\n"
        "Cortex-A72's constants say what operators cost relative to one another, one factor says how much slower it is."
    )
    return target(
        "cortex-a53", "Raspberry Pi 3 B+: 4 x Cortex-A53, 1.4 GHz", "XNNPACK (2022), 4 threads", 4, "int8", fits,
        model="litert",
    ), note  # fmt: skip


def nasbench(column: str, precision: str) -> Data:
    """Networks of NAS-Bench-201 without dead edges."""
    table = nasbench201.table("oneproxy")
    ok = np.isfinite(table.ms[column])
    families, px = ("nasbench201",) * int(ok.sum()), (nasbench201.RESOLUTION,) * int(ok.sum())
    return Data(table.features()[ok], table.ms[column][ok], precision, families, px)


BLIND = (
    "NAS-Bench-201's networks (32 px) have no depthwise convolutions, squeeze-and-excitation or hard-swish: a\n"
    "depthwise MAC was held to 4 of 1x1 convolutions or more, as on a Cortex-A72; the label is of networks like them."
)
ONEPROXY = "Ren-Research/OneProxy, latency_data (MIT), batch 1: {}; NAS-Bench-201 without dead edges, CIFAR-10"
ONLY = " without depthwise convolutions"


def cortex_a76_tflite() -> tuple[Target, str]:
    fits = {
        "fp32": many(
            "TFLite, Pixel 4, fp32", nasbench("nnmeter_measured_a76", "fp32"),
            ONEPROXY.format("nn-Meter's measurements, Pixel 4, TFLite 2.1"), ONLY, 50, DEPTHWISE,
        ),
        "int8": many(
            "TFLite, Snapdragon 855, int8", nasbench("latbench_cpu_855", "int8"),
            ONEPROXY.format("LatBench of BRP-NAS, Snapdragon 855 CPU, TFLite int8"), ONLY, 50, DEPTHWISE,
        ),
    }  # fmt: skip
    return target(
        "cortex-a76-tflite", "Pixel 4 (Snapdragon 855): Cortex-A76, 2.84 GHz", "TFLite 2.1, 1 thread", 1, "int8", fits,
        model="litert",
    ), BLIND  # fmt: skip


def jetson_nano() -> tuple[Target, str]:
    fitted = many(
        "Jetson Nano, fp32", nasbench("latbench_jetson", "fp32"),
        ONEPROXY.format("LatBench of BRP-NAS, Jetson Nano, fp32"), ONLY, 50, DEPTHWISE,
    )  # fmt: skip
    note = BLIND + (
        "\nSuch a GPU waits for memory and for starts of kernels more than for arithmetic; int8 has no fast path there."
    )
    return target(
        "jetson-nano", "NVIDIA Jetson Nano: 128-core Maxwell GPU", "LatBench's (2020), not named", None, "fp32",
        {"fp32": fitted},
    ), note  # fmt: skip


def x86_64() -> tuple[Target, str]:
    table = ofa_on_desktop(400)
    source = (
        "mikelzc1990/nsganetv2, data/i7-8700K_lut.yaml (Apache-2.0): 400 random Once-for-All MobileNetV3 networks, "
        "widths 1.0 and 1.2, 128 to 224 px, each the sum of its blocks' measured latencies, batch 1"
    )
    fitted = many("i7-8700K, fp32", table.data, source, ", sums of blocks", 50)
    families = cross_validate(table.data, additive(), 50).families
    assert families is not None
    show("i7-8700K, fp32, a width and range of sizes left out", families)
    note = (
        "One desktop core with AVX2. The source does not name the runtime, and sums of blocks are not whole networks.\n"
        "int8 was not measured: for this and for one's own machine, nas profile host."
    )
    return target(
        "x86-64", "Intel Core i7-8700K (AVX2), desktop", "NSGANetV2's (2020), not named", 1, "fp32", {"fp32": fitted}
    ), note


# Copies of TinyEngine's table name a STM32F746 at 216 MHz; its README says STM32H743, and a fit to the STM32H7A3 says
# 1.7 to 2.1 times that one's clock of 280 MHz.
M7_MHZ, H7A3_MHZ, H743_MHZ = 216, 280, 480
X_CUBE = (
    "mlcommons tiny_results_v1.1 (Apache-2.0), Krai, NUCLEO-H7A3ZI-Q at 280 MHz, and mit-han-lab/tinyengine, README "
    "(MIT), STM32H743 at 480 MHz; X-CUBE-AI 7.3, int8"
)
MCU_NOTE = (
    "Few networks, so few terms: MACs, of which depthwise ones cannot use the two-at-once instruction and count\n"
    "twice, bytes of activations and bytes of weights. Memory: X-CUBE-AI lets results overlap inputs, which no public\n"
    "rule describes; by the rules in-place a network is said to need 5 to 31 % more than it reports\n"
    "(benchmarks/latency/targets.py). fp32 runs, 2 to 4 times as slow: not offered."
)


def _cortex_m7() -> tuple[Data, tuple[str, ...]]:
    """Seven networks in X-CUBE-AI 7.3 on two boards, at the clock of one STM32F746."""
    first, second = mlperf_tiny("NUCLEO-H7A3ZI-Q_X-CUBE-AI-7.3"), tinyengine("X-CUBE-AI 7.3.0")
    ms = np.concatenate([first.data.ms * H7A3_MHZ / M7_MHZ, second.data.ms * H743_MHZ / M7_MHZ])
    names = (*first.names, *second.names)
    px = (*first.data.px, *second.data.px)
    return Data(np.concatenate([first.data.features, second.data.features]), ms, "int8", names, px), names


def _limits(ram_kib: int, flash_kib: int, board: str) -> dict[str, object]:
    """Memory of a microcontroller, less what the runtime and the application take."""
    return {
        "ram_bytes": (ram_kib - 32) * KIB, "flash_bytes": (flash_kib - 128) * KIB, "memory_rules": "in-place",
        "memory_source": f"{board}'s data sheet: {ram_kib} KiB SRAM, {flash_kib} KiB flash; less 32 and 128 KiB for "
        "runtime and application (X-CUBE-AI reports 16 and 70 KiB for MobileNetV1)",
    }  # fmt: skip


def cortex_m7() -> tuple[Target, str]:
    data, names = _cortex_m7()
    fitted = few("X-CUBE-AI 7.3, Cortex-M7 at 216 MHz", Table(names, data), f"{X_CUBE}; scaled by clock", simple)
    for other in ("DISCO_F746NG/", "DISCO_F746NG_int8/"):
        board = mlperf_tiny(other).data
        show(f"  on {other} (other runtimes)", fit_report(predicted(fitted.coefficients, board), board.ms))
    return target(
        "cortex-m7", "STM32F746: Cortex-M7, 216 MHz", "X-CUBE-AI 7.3", 1, "int8", {"int8": fitted},
        **_limits(320, 1024, "STM32F746NG"),
    ), MCU_NOTE  # fmt: skip


def cortex_m4() -> tuple[Target, str]:
    data, _ = _cortex_m7()
    base = simple(data.features, data.ms, "int8")
    board = mlperf_tiny("NUCLEO-L4R5ZI_X-CUBE-AI-7.3").data
    fitted = carried(
        "X-CUBE-AI 7.3, STM32L4R5 at 120 MHz", base, board,
        "constants of cortex-m7; mlcommons tiny_results_v1.1 (Apache-2.0), Krai, NUCLEO-L4R5ZI, X-CUBE-AI 7.3, int8",
    )  # fmt: skip
    return target(
        "cortex-m4", "STM32L4R5: Cortex-M4, 120 MHz", "X-CUBE-AI 7.3", 1, "int8", {"int8": fitted},
        **_limits(640, 2048, "STM32L4R5ZI"),
    ), MCU_NOTE  # fmt: skip


TARGETS = {
    "cortex-a53": cortex_a53, "cortex-a53-ncnn": cortex_a53_ncnn, "cortex-a76": cortex_a76,
    "cortex-a76-tflite": cortex_a76_tflite, "x86-64": x86_64, "jetson-nano": jetson_nano, "cortex-m7": cortex_m7,
    "cortex-m4": cortex_m4,
}  # fmt: skip


def published_memory() -> None:
    """Peaks by the rules beside published ones, in thousands of bytes."""
    from predictors.costs.network import peak_activation_bytes

    builds: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
        "mbv2-w0.35-r144": (partial(network, "mobilenet_v2", 0.35, "meta"), (3, 144, 144)),
        "proxyless-w0.3-r176": TINYENGINE["proxyless-w0.3-r176"],
        "mobilenet-v1-w0.25-r224": (partial(network, "mobilenet_v1", 0.25, "meta"), (3, 224, 224)),
        "mobilenet-v1-w0.5-r224": (partial(network, "mobilenet_v1", 0.5, "meta"), (3, 224, 224)),
    }
    # README of mit-han-lab/tinyengine (MIT); stm32ai-modelzoo, MobileNetV1, STM32H7, X-CUBE-AI 10, in KiB there.
    published = (
        ("mbv2-w0.35-r144", "tinyengine", "TinyEngine", 295), ("mbv2-w0.35-r144", "in-place", "X-CUBE-AI 7.3", 296),
        ("proxyless-w0.3-r176", "tinyengine", "TinyEngine", 259),
        ("proxyless-w0.3-r176", "in-place", "X-CUBE-AI 7.3", 221),
        ("mobilenet-v1-w0.25-r224", "in-place", "X-CUBE-AI 10", 272.96 * 1.024),
        ("mobilenet-v1-w0.5-r224", "in-place", "X-CUBE-AI 10", 449.58 * 1.024),
    )  # fmt: skip
    print(f"\n{'peak memory, int8':26}{'rules':12}{'published by':16}{'kB':>8}{'here kB':>9}{'off':>8}")
    for name, rules, runtime, kilobytes in published:
        row = features_of(*builds[name])
        found = float(peak_activation_bytes(row, "int8", rules)) / 1e3
        print(f"{name:26}{rules:12}{runtime:16}{kilobytes:8.0f}{found:9.0f}{100 * (found / kilobytes - 1):+7.0f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="target", help="default: all")
    parser.add_argument("--write", action="store_true", help="replace the targets' files")
    arguments = parser.parse_args()
    print(f"{'held-out networks':54}{'MAPE':>9}{'in 10 %':>9}{'tau':>7}{'n':>7}")
    for name in arguments.targets or TARGETS:
        print(name)
        found, comment = TARGETS[name]()
        if arguments.write:
            comment = f"Constants: benchmarks/latency/targets.py --write {name}\n{comment}"
            (FOLDER / f"{name}.toml").write_text(to_toml(found, comment), encoding="utf-8")
    if not arguments.targets:
        published_memory()


if __name__ == "__main__":
    main()
