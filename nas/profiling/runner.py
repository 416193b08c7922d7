"""Times the networks of a bundle on the device it runs on. Every bundle holds a copy of this file, named run.py.

    python3 run.py                 # after an interruption, the same again: it continues
    python3 run.py --threads 4     # as many as the application will have

Needs Python 3.9, numpy and the runtime that the files are for, and nothing of the project that wrote the bundle: for
.onnx files onnxruntime 1.16 or later, for .tflite files ai_edge_litert or an older tflite_runtime. Writes results.json.

How a latency is measured: a *visit* of a network is a warm-up and then inferences, a short reference network between
any two of them. Only *calm* inferences count: the reference was as quick as ever right before and right after, and no
other program had the processor in between. So a core that others use now and then, or share the arithmetic units of, is
timed in the moments when they do not. Each is divided by the reference beside it, which cancels what small changes of
the clock do to both. A visit ends when the 95 % confidence interval of the median is within 0.5 % of it, after half a
second with nine calm inferences, or after four seconds (--seconds). All networks are visited in turn, in random order,
and again until two visits of each agree within 1 %; their mean, times what the reference usually takes, is the latency.
A visit whose reference was 10 % off that, because the clock was changed or others were busy throughout, does not count.
After eight visits a network stays as it is and is marked.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib.util
import json
import math
import os
import platform
import random
import re
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TypedDict

FORMAT = 1
OLDEST = [1, 16]  # the first onnxruntime that files are tried with
WARM_UP, LEAST_RUNS, LEAST_SECONDS, MOST_SECONDS, LONGEST_SECONDS = 3, 9, 0.02, 0.5, 4.0
INTERVAL, AGREE, CALM, DRIFT = 0.005, 0.01, 0.05, 0.1
QUICKEST = 0.05  # share of timings that are the quickest
LEAST_VISITS, MOST_VISITS = 2, 8
INTERRUPTED = 0.05  # share of an inference that its thread did not have the processor
TFLITE, COMPRESSED = ".tflite", ".gz"  # ends of names
MANIFEST, MEASUREMENTS, RESULTS = "manifest.json", "measurements.jsonl", "results.json"
SETTLED, UNSETTLED, DRIFTED = "settled", "unsettled", "drifted"

Clock = Callable[[], float]
Inference = Callable[[], Any]
Report = Callable[[int, int, str], None]

CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "thread": time.thread_time}


class File(TypedDict):
    """A file of a bundle, and its hash."""

    file: str
    sha256: str


class Network(TypedDict):
    """A network of a bundle: channels, height and width of its input, and its files by precision."""

    name: str
    input: list[int]
    files: dict[str, File]


class Manifest(TypedDict):
    """What a bundle says of itself, as far as it is needed here."""

    bundle: str
    threads: int
    reference: str
    networks: list[Network]


class Visit(TypedDict):
    """What a visit found: see :func:`visit`."""

    ms: float
    runs: int
    calm: int
    interval: float
    reference_ms: float


class Entry(Visit):
    """A line of the measurements file."""

    network: str


class Machine(TypedDict):
    """What identifies device and runtime."""

    cpu: str
    cores: int
    architecture: str
    system: str
    runtime: str


class Header(TypedDict):
    """What measurements are of."""

    format: int
    bundle: str
    threads: int
    clock: str
    machine: Machine


class Latency(TypedDict):
    """A network's latency, whether its visits agree, and how many there were."""

    ms: float
    state: str
    visits: int


class Results(Header):
    """The content of results.json."""

    units: str
    networks: dict[str, Latency]
    before: dict[str, list[float]]
    after: dict[str, list[float]]
    reference: dict[str, float]


class Trouble(Exception):
    """An error that the user can fix, in one line."""


def median_interval(times: list[float]) -> tuple[float, float]:
    """Median, and half the width of its 95 % confidence interval relative to it, from order statistics.

    Infinite for fewer than six times, whose extremes are no such interval.
    """
    ordered, n = sorted(times), len(times)
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    if n < 6:
        return middle, math.inf
    low = max(0, math.floor((n - 1 - 1.96 * math.sqrt(n)) / 2))
    return middle, (ordered[n - 1 - low] - ordered[low]) / 2 / middle


def visit(
    run: Inference, reference: Inference, clock: Clock, threads: int = 1, usual: float = math.inf,
    longest: float = LONGEST_SECONDS,
) -> Visit:  # fmt: skip
    """Median milliseconds of a warmed-up inference, beside ``reference_ms`` of the reference.

    Args:
        run: one inference.
        reference: a short one, see above.
        clock: seconds; what is reported.
        threads: of the inference; with one, the clocks of thread and wall show an interruption.
        usual: milliseconds of the reference, as far as they are known.
        longest: seconds that it waits for calm inferences.
    """
    for _ in range(WARM_UP):
        run()
    begin = time.perf_counter()
    times, between = [], [_timed(reference, clock, threads)]
    checked = 0
    while True:
        times.append(_timed(run, clock, threads))
        between.append(_timed(reference, clock, threads))
        elapsed = time.perf_counter() - begin
        # sorting costs time: looked at after every tenth more
        if elapsed >= longest or (elapsed >= LEAST_SECONDS and len(times) >= 1.1 * checked):
            checked = len(times)
            calm = calm_times(times, between, min(quickest(between), usual))
            sure = len(calm) >= LEAST_RUNS and (
                elapsed >= MOST_SECONDS or median_interval([ms / beside for ms, beside in calm])[1] <= INTERVAL
            )
            if sure or elapsed >= longest:
                break
    enough = len(calm) >= min(LEAST_RUNS, (len(times) + 1) // 2)
    pairs = calm if enough else [(quickest(times), quickest(between))]
    level = median_interval([beside for _, beside in pairs])[0]
    if not level > 0:
        raise Trouble("this device's clock does not advance during an inference; time it on the wall (--clock wall)")
    ratio, interval = median_interval([ms / beside for ms, beside in pairs])
    return {"ms": ratio * level, "runs": len(times), "calm": len(calm) if enough else 0,
            "interval": interval if math.isfinite(interval) else 1.0, "reference_ms": level}  # fmt: skip


def _timed(run: Inference, clock: Clock, threads: int) -> tuple[float, bool]:
    """Milliseconds of an inference, and whether it had the processor to itself."""
    start, wall, thread = clock(), time.perf_counter(), time.thread_time()
    run()
    spent, wall, thread = clock() - start, time.perf_counter() - wall, time.thread_time() - thread
    return spent * 1e3, threads > 1 or wall - thread <= INTERRUPTED * wall


def quickest(times: list[tuple[float, bool]]) -> float:
    """Milliseconds of the quickest of many inferences, but for the luckiest few."""
    return sorted(ms for ms, _ in times)[int(QUICKEST * len(times))]


def calm_times(
    times: list[tuple[float, bool]], between: list[tuple[float, bool]], level: float
) -> list[tuple[float, float]]:
    """Milliseconds of the inferences that were not disturbed, and of the reference beside each.

    Args:
        times: milliseconds and whether uninterrupted, of every inference.
        between: of the reference before the first inference and after each.
        level: milliseconds of the reference when nothing disturbs it.
    """
    quick = [alone and 0 < ms <= level * (1 + CALM) for ms, alone in between]
    return [
        (ms, (between[i][0] + between[i + 1][0]) / 2)
        for i, (ms, alone) in enumerate(times)
        if alone and quick[i] and quick[i + 1]
    ]


def usual_level(visits: Sequence[Visit]) -> float:
    """What the reference takes in most visits: the half-sample mode (Bickel and Fruehwirth, 2006)."""
    left = sorted(v["reference_ms"] for v in visits)
    while len(left) > 2:
        half = (len(left) + 1) // 2
        start = min(range(len(left) - half + 1), key=lambda i: left[i + half - 1] - left[i])
        left = left[start : start + half]
    return sum(left) / len(left) if left else math.inf


def settle(visits: Sequence[Visit], level: float) -> tuple[float, str]:
    """Latency from the visits of one network, and whether they agree; ``level`` as of :func:`usual_level`."""
    steady = sorted(
        v["ms"] * level / v["reference_ms"] for v in visits if v["calm"] and abs(v["reference_ms"] / level - 1) <= DRIFT
    )
    for k in range(1, len(steady)):
        if steady[k] <= steady[k - 1] * (1 + AGREE):
            return (steady[k - 1] + steady[k]) / 2, SETTLED
    if steady:
        return median_interval(steady)[0], UNSETTLED
    return median_interval([v["ms"] * level / v["reference_ms"] for v in visits])[0], DRIFTED


def read_manifest(folder: Path) -> Manifest:
    """The manifest, after checking that every file is as it was written."""
    try:
        manifest: Manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = [(str(f["file"]), f["sha256"]) for n in manifest["networks"] for f in n["files"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Trouble(f"{folder / MANIFEST} is missing or damaged; copy the whole bundle again") from None
    for name, digest in files:
        if set(name) & set("/\\:\0"):
            raise Trouble(f"{folder / MANIFEST} names {name!r:.80}, a file elsewhere; copy the whole bundle again")
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise Trouble(f"{path} is missing or damaged; copy the whole bundle again")
    return manifest


def _needed(module: str, others: str) -> Any:
    """A module of a package, after numpy. ``others``: what is installed with it."""
    for name in ("numpy", module):
        try:
            found = importlib.import_module(name)
        except ImportError:
            raise Trouble(f"the package '{name.split('.')[0]}' is missing: pip install numpy {others}") from None
    return found


def onnxruntime() -> Any:
    """The package, which is young enough."""
    found = _needed("onnxruntime", "onnxruntime")
    if [int(part) for part in re.findall(r"\d+", found.__version__)[:2]] < OLDEST:
        raise Trouble(f"this is onnxruntime {found.__version__}; needs 1.16 or later: pip install -U onnxruntime")
    return found


def tflite() -> tuple[Any, str]:
    """The module with the interpreter, and what its package is called, with its version."""
    old = importlib.util.find_spec("ai_edge_litert") is None and importlib.util.find_spec("tflite_runtime") is not None
    package, name = ("tflite_runtime", "TFLite") if old else ("ai_edge_litert", "LiteRT")
    return _needed(f"{package}.interpreter", "ai_edge_litert"), f"{name} {metadata.version(package)}"


def open_network(path: Path, shape: list[int], threads: int) -> Inference:
    """One inference of a file in its runtime, on random numbers."""
    np = _needed("numpy", "ai_edge_litert" if TFLITE in path.suffixes else "onnxruntime")
    drawn = np.random.default_rng(0).random((1, *shape), dtype=np.float32)
    if TFLITE in path.suffixes:
        content = (gzip.decompress if path.suffix == COMPRESSED else bytes)(path.read_bytes())
        network = tflite()[0].Interpreter(model_content=content, num_threads=threads)
        network.allocate_tensors()
        image = np.ascontiguousarray(drawn.transpose(0, 2, 3, 1))
        place, result = (ends()[0]["index"] for ends in (network.get_input_details, network.get_output_details))

        def run() -> Any:
            network.set_tensor(place, image)
            network.invoke()
            return network.get_tensor(result), content  # the interpreter reads the file while it runs

        return run
    options = onnxruntime().SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    session = onnxruntime().InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {session.get_inputs()[0].name: drawn})


def machine(in_tflite: bool = False) -> Machine:
    """What identifies device and runtime."""
    return {
        "cpu": _cpu(), "cores": os.cpu_count() or 1, "architecture": platform.machine(), "system": platform.system(),
        "runtime": tflite()[1] if in_tflite else f"onnxruntime {onnxruntime().__version__}",
    }  # fmt: skip


def _cpu() -> str:
    board = _text("/proc/device-tree/model").strip("\0")
    for line in _text("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("model name", "hardware") and value.strip():
            return f"{board}, {value.strip()}" if board else value.strip()
    return board or platform.processor() or platform.machine() or "unknown processor"


def sensors() -> dict[str, list[float]]:
    """Clock of every core in MHz, and temperatures in degrees Celsius, where the system tells."""
    cpus, zones = Path("/sys/devices/system/cpu"), Path("/sys/class/thermal")
    clocks = [_text(p) for p in sorted(cpus.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))]
    heat = [_text(p) for p in sorted(zones.glob("thermal_zone*/temp"))]
    return {
        "mhz": [int(t) / 1e3 for t in clocks if t.strip().isdigit()],
        "celsius": [int(t) / 1e3 for t in heat if t.strip().isdigit()],
    }


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


class Measurements:
    """The measurements file: a line that says of what, then one line a visit, each complete or not there."""

    def __init__(self, path: Path, header: Header, networks: set[str]) -> None:
        self.path, self.networks = path, networks
        self.visits: list[Entry] = []
        if path.exists():
            self._resume(header)
        else:
            self._write(header)

    def _resume(self, header: Header) -> None:
        lines = path_lines(self.path)
        if not lines or lines[0] != header:
            here: dict[str, object] = {**header}
            there = lines[0] if lines and isinstance(lines[0], dict) else {}
            other = next((k for k in here if there.get(k) != here[k]), "the file")
            raise Trouble(
                f"{self.path} holds measurements of another kind ({other}: {there.get(other)!r:.200} there, "
                f"{here.get(other)!r} here); remove it to measure anew"
            )
        if not all(self._is_visit(line) for line in lines[1:]):
            raise Trouble(f"{self.path} is damaged; remove it to measure anew")
        self.visits = lines[1:]
        text = self.path.read_bytes()
        complete = text[: text.rfind(b"\n") + 1]
        if complete != text:  # the line that was being written when the power went
            with open(self.path, "r+b") as file:
                file.truncate(len(complete))

    def _is_visit(self, line: Any) -> bool:
        return (
            isinstance(line, dict)
            and isinstance(line.get("network"), str)
            and line["network"] in self.networks
            and type(line.get("calm")) is int
            and all(type(line.get(k)) in (int, float) and 0 < line[k] < math.inf for k in ("ms", "reference_ms"))
        )

    def add(self, entry: Entry) -> None:
        self.visits.append(entry)
        self._write(entry)

    def _write(self, entry: Header | Entry) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())


def path_lines(path: Path) -> list[Any]:
    """The complete lines of a measurements file."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True)
                if line.endswith("\n")]  # fmt: skip
    except (ValueError, RecursionError):
        raise Trouble(f"{path} is damaged; remove it to measure anew") from None


def measure(
    folder: Path, threads: int, clock: str, report: Report, out: Path | None = None, longest: float = LONGEST_SECONDS
) -> Results:
    """Time every network of a bundle, from where an earlier call stopped; the content of results.json, also written.

    Args:
        folder: the bundle; measurements go there too.
        threads: of one inference.
        clock: ``wall``, or ``thread``: processor time of the calling thread, which other programs do not lengthen but
            which misses what further threads do.
        report: called with networks settled, networks in all, and a word on the last one.
        out: of the results; None: in the folder.
        longest: seconds of a visit.

    Raises:
        Trouble: a file is damaged, a package is missing, or measurements of another kind are in the way.
    """
    manifest = read_manifest(folder)
    here = machine(any(TFLITE in Path(f["file"]).suffixes for n in manifest["networks"] for f in n["files"].values()))
    header: Header = {
        "format": FORMAT, "bundle": manifest["bundle"], "threads": threads, "clock": clock, "machine": here,
    }  # fmt: skip
    files = {f"{n['name']}.{p}": (f["file"], n["input"]) for n in manifest["networks"] for p, f in n["files"].items()}
    log = Measurements(folder / MEASUREMENTS, header, set(files))
    seen = {name: [each for each in log.visits if each["network"] == name] for name in files}

    def inference(name: str) -> Inference:
        file, shape = files[name]
        return open_network(folder / file, shape, threads)

    before, tick, shuffle = sensors(), CLOCKS[clock], random.Random(len(log.visits))
    reference = inference(manifest["reference"])
    while True:
        level = usual_level(log.visits)
        open_ones = [
            name for name, v in seen.items()
            if len(v) < LEAST_VISITS or (len(v) < MOST_VISITS and settle(v, level)[1] != SETTLED)
        ]  # fmt: skip
        if not open_ones:
            break
        shuffle.shuffle(open_ones)
        for k, name in enumerate(open_ones):
            timed = visit(inference(name), reference, tick, threads, usual_level(log.visits), longest)
            entry: Entry = {"network": name, **timed}
            log.add(entry)
            seen[name].append(entry)
            report(len(files) - len(open_ones) + k + 1, len(files), f"{name} {entry['ms']:.3f} ms")
    level = usual_level(log.visits)
    settled = {name: (*settle(visits, level), len(visits)) for name, visits in seen.items()}
    networks: dict[str, Latency] = {n: {"ms": ms, "state": s, "visits": v} for n, (ms, s, v) in settled.items()}
    readings = sorted(v["reference_ms"] for v in log.visits)
    results: Results = {
        **header, "units": "ms", "networks": networks, "before": before, "after": sensors(),
        "reference": {"usual_ms": level, "quickest_ms": readings[len(readings) // 50],
                      "slowest_ms": readings[-1 - len(readings) // 50]},
    }  # fmt: skip
    path = out or folder / RESULTS
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=None, help="of one inference; default: the bundle's")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    parser.add_argument("--seconds", type=float, default=LONGEST_SECONDS, help="of a visit at most, see above")
    parser.add_argument("--out", type=Path, default=None, help="default: results.json in this folder")
    arguments = parser.parse_args()
    folder = Path(__file__).resolve().parent
    if arguments.threads is not None and arguments.threads < 1:
        parser.error(f"--threads {arguments.threads}: 1 or more")
    if not arguments.seconds > 0:
        parser.error(f"--seconds {arguments.seconds}: more than 0")

    def report(done: int, total: int, note: str) -> None:
        print(f"\r{done}/{total} {note:<40}", end="", file=sys.stderr, flush=True)

    try:
        threads = arguments.threads or read_manifest(folder)["threads"]
        results = measure(folder, threads, arguments.clock, report, arguments.out, arguments.seconds)
    except Trouble as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        print("\nstopped; the same command continues from here", file=sys.stderr)
        raise SystemExit(130) from None
    marked = sum(n["state"] != SETTLED for n in results["networks"].values())
    print(f"\nwrote {arguments.out or folder / RESULTS}: {len(results['networks'])} networks, {marked} marked unsteady")


if __name__ == "__main__":
    main()
