"""The runner of a bundle, on simulated devices whose latencies are known."""

from __future__ import annotations

import hashlib
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binom

from nas.profiling import runner

# statistics


@pytest.mark.parametrize("n", [6, 9, 15, 50, 51, 400])
def test_the_interval_of_the_median_covers_it(n: int) -> None:
    """Ranks i and n+1-i enclose the median with binomial probability; at least 95 %, and not much more than needed."""
    median, half = runner.median_interval([float(k) for k in range(1, n + 1)])
    assert median == (n + 1) / 2
    low = round(median - half * median)  # the rank of its lower end
    covered = 1 - 2 * binom.cdf(low - 1, n, 0.5)
    assert covered >= 0.95
    assert covered < 0.999 or low == 1
    assert runner.median_interval([2.0] * n) == (2.0, 0.0)


def test_few_times_have_no_interval() -> None:
    assert runner.median_interval([1.0, 2.0, 3.0]) == (2.0, math.inf)


def entry(ms: float, reference: float = 1.0, calm: int = 9) -> dict[str, Any]:
    return {"ms": ms, "reference_ms": reference, "calm": calm}


@pytest.mark.parametrize(
    ("visits", "expected"),
    [
        ([entry(5.0), entry(5.04)], (5.02, runner.SETTLED)),
        ([entry(9.0), entry(5.0), entry(7.0), entry(5.02)], (5.01, runner.SETTLED)),
        ([entry(4.0), entry(5.0), entry(7.0), entry(5.02)], (5.01, runner.SETTLED)),  # one alone may be luck
        ([entry(5.0), entry(5.2)], (5.1, runner.UNSETTLED)),
        ([entry(5.0)], (5.0, runner.UNSETTLED)),
        ([entry(4.5, 0.95), entry(5.2, 1.04)], ((4.5 / 0.95 + 5.2 / 1.04) / 2, runner.UNSETTLED)),
        ([entry(4.75, 0.95), entry(5.2, 1.04)], (5.0, runner.SETTLED)),  # the clock was a little slower
        ([entry(4.1, 0.8), entry(4.1, 0.8), entry(5.0), entry(5.0)], (5.0, runner.SETTLED)),
        ([entry(4.0, calm=0), entry(4.0, calm=0), entry(5.0), entry(5.0)], (5.0, runner.SETTLED)),
        ([entry(6.0, 1.2), entry(6.2, 1.2)], (6.1 / 1.2, runner.DRIFTED)),
    ],
)
def test_two_quiet_visits_must_agree(visits: list[dict[str, Any]], expected: tuple[float, str]) -> None:
    ms, state = runner.settle(visits, level=1.0)
    assert (ms, state) == (pytest.approx(expected[0]), expected[1])


# whole runs on a simulated device


class Device:
    """A clock that networks of known latency advance.

    Args:
        slowdown: factor on the latency of an inference that starts at a time in ms.
    """

    def __init__(self, ms: dict[str, float], slowdown: Any = lambda now: 1.0) -> None:
        self.ms, self.slowdown, self.now, self.random = ms, slowdown, 0.0, random.Random(0)

    def clock(self) -> float:
        return self.now / 1e3

    def open(self, path: Path, shape: list[int], threads: int) -> runner.Inference:
        def run() -> None:
            self.now += self.ms[path.stem] * self.slowdown(self.now) * (1 + 0.003 * self.random.random())

        return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle of six networks without content."""
    networks = []
    for k in range(6):
        (tmp_path / f"n{k}.fp32.onnx").write_bytes(b"%d" % k)
        digest = hashlib.sha256(b"%d" % k).hexdigest()
        files = {"fp32": {"file": f"n{k}.fp32.onnx", "sha256": digest}}
        networks.append({"name": f"n{k}", "input": [3, 4, 4], "files": files})
    manifest = {"bundle": "b" * 16, "threads": 1, "reference": "n0.fp32", "networks": networks}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


MS = {f"n{k}.fp32": 0.5 * 2**k for k in range(6)}


def simulate(folder: Path, monkeypatch: pytest.MonkeyPatch, device: Device, report: Any = None) -> dict[str, Any]:
    monkeypatch.setattr(runner, "open_network", device.open)
    monkeypatch.setattr(runner.time, "perf_counter", device.clock)
    monkeypatch.setattr(runner.time, "thread_time", device.clock)
    monkeypatch.setitem(runner.CLOCKS, "wall", device.clock)
    return runner.measure(folder, 1, "wall", report or (lambda done, total, note: None))


def test_latencies_of_a_quiet_device(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = simulate(folder, monkeypatch, Device(MS))
    assert {n: e["ms"] for n, e in found["networks"].items()} == pytest.approx(MS, rel=0.005)
    assert {e["state"] for e in found["networks"].values()} == {runner.SETTLED}
    assert json.loads((folder / "results.json").read_text()) == found


def test_bursts_of_another_program_are_seen_through(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(MS, lambda now: 1.6 if now % 900 < 400 else 1.0)
    found = simulate(folder, monkeypatch, device)
    assert {n: e["ms"] for n, e in found["networks"].items()} == pytest.approx(MS, rel=0.01)
    assert max(e["visits"] for e in found["networks"].values()) > runner.LEAST_VISITS


@pytest.mark.parametrize("when", [300, 800])
def test_a_clock_that_throttles_for_good_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch, when: int) -> None:
    """All networks are timed at one clock, the one of most of the run, or marked."""
    device = Device(MS, lambda now: 1.0 if now < when else 1.4)
    found = simulate(folder, monkeypatch, device)
    level = found["reference"]["usual_ms"] / MS["n0.fp32"]
    assert level == pytest.approx(1.4, rel=0.01) or when == 800
    for name, e in found["networks"].items():
        if e["state"] == runner.SETTLED:
            assert e["ms"] == pytest.approx(level * MS[name], rel=0.01)
    if when == 300:
        assert found["reference"]["slowest_ms"] > 1.3 * found["reference"]["quickest_ms"]


def test_the_usual_level_is_that_of_most_timings() -> None:
    rng = random.Random(1)
    quick, slow = ([entry(1.0, base + rng.gauss(0, 0.005)) for _ in range(99)] for base in (1, 1.4))
    assert runner.usual_level([*quick[:30], *slow]) == pytest.approx(1.4, rel=0.01)
    assert runner.usual_level([*quick, *slow[:30]]) == pytest.approx(1.0, rel=0.01)
    assert runner.usual_level([entry(1.0, 2.0)]) == 2.0


class Stop(Exception):
    pass


def test_an_interrupted_run_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0

    def report(done: int, total: int, note: str) -> None:
        nonlocal count
        count += 1
        if count == 5:
            raise Stop

    with pytest.raises(Stop):
        simulate(folder, monkeypatch, Device(MS), report)
    path = folder / "measurements.jsonl"
    before = path.read_bytes()
    path.write_bytes(before + b'{"network": "n1.fp')  # the power went in the middle of a line
    found = simulate(folder, monkeypatch, Device(MS))
    assert path.read_bytes().startswith(before)
    assert path.read_bytes()[len(before) :].startswith(b'{"network": "')
    assert len(runner.path_lines(path)) - 1 == sum(e["visits"] for e in found["networks"].values())
    assert {n: e["ms"] for n, e in found["networks"].items()} == pytest.approx(MS, rel=0.005)


def test_measurements_of_another_kind_are_not_mixed_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate(folder, monkeypatch, Device(MS))
    with pytest.raises(runner.Trouble, match="threads: 1 there, 2 here"):
        runner.measure(folder, 2, "wall", lambda done, total, note: None)
    monkeypatch.setattr(runner, "machine", lambda *_: {"cpu": "another"})
    with pytest.raises(runner.Trouble, match="another"):
        runner.measure(folder, 1, "wall", lambda done, total, note: None)


def test_damaged_files_are_not_measured(folder: Path) -> None:
    (folder / "n3.fp32.onnx").write_bytes(b"cut short")
    with pytest.raises(runner.Trouble, match=r"n3\.fp32\.onnx is missing or damaged"):
        runner.read_manifest(folder)
    (folder / "manifest.json").write_text("[]")
    with pytest.raises(runner.Trouble, match=r"manifest\.json is missing or damaged"):
        runner.read_manifest(folder)


def test_a_clock_that_stands_still_is_an_error() -> None:
    with pytest.raises(runner.Trouble, match="does not advance"):
        runner.visit(lambda: None, lambda: None, lambda: 0.0, longest=0.0)


# single visits


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Seconds that the clocks of wall and thread show."""
    seconds = {"wall": 0.0, "thread": 0.0}
    monkeypatch.setattr(runner.time, "perf_counter", lambda: seconds["wall"])
    monkeypatch.setattr(runner.time, "thread_time", lambda: seconds["thread"])
    return seconds


def test_interrupted_inferences_do_not_count(now: dict[str, float]) -> None:
    """Another program takes the processor in every fifth inference, which then also finds its caches cold."""
    count = 0

    def run() -> None:
        nonlocal count
        count += 1
        own = 2e-3 if count % 5 == 0 else 1e-3
        now["thread"] += own
        now["wall"] += own + (5e-3 if count % 5 == 0 else 0)

    def reference() -> None:
        now["thread"] += 1e-4
        now["wall"] += 1e-4

    found = runner.visit(run, reference, lambda: now["thread"])
    assert found == {
        "ms": pytest.approx(1.0), "interval": pytest.approx(0.0, abs=1e-9), "reference_ms": pytest.approx(0.1),
        "runs": count - runner.WARM_UP, "calm": 9,
    }  # fmt: skip
    assert count > 11


def test_a_core_shared_with_another_program_is_timed_in_its_quiet_moments(now: dict[str, float]) -> None:
    """The other shares the arithmetic units for 7 of 10 ms: all is 1.6 to 2 times as slow, and no clock shows it."""
    rng = random.Random(0)

    def spend(ms: float) -> None:
        slow = rng.uniform(1.6, 2.0) if now["wall"] * 1e3 % 10 < 7 else rng.uniform(1, 1.01)
        now["wall"] = now["thread"] = now["wall"] + ms * slow / 1e3

    found = runner.visit(lambda: spend(0.4), lambda: spend(0.1), lambda: now["thread"])
    assert found["ms"] / found["reference_ms"] == pytest.approx(4, rel=0.005)
    assert found["reference_ms"] == pytest.approx(0.1, rel=0.01)


def test_small_changes_of_the_clock_cancel(now: dict[str, float]) -> None:
    def spend(ms: float) -> None:
        now["wall"] = now["thread"] = now["wall"] + ms * (1.04 if now["wall"] * 1e3 % 10 < 5 else 1.0) / 1e3

    found = runner.visit(lambda: spend(0.4), lambda: spend(0.1), lambda: now["thread"])
    assert found["ms"] / found["reference_ms"] == pytest.approx(4, rel=0.002)


def test_a_visit_waits_for_the_reference_to_be_as_quick_as_before(now: dict[str, float]) -> None:
    """Others are busy for the first two seconds: a visit that knows no better takes that for granted."""

    def spend(ms: float) -> None:
        now["wall"] = now["thread"] = now["wall"] + ms * (1.8 if now["wall"] < 2 else 1.0) / 1e3

    found = runner.visit(lambda: spend(0.4), lambda: spend(0.1), lambda: now["thread"], usual=0.1)
    assert (found["ms"], found["reference_ms"]) == pytest.approx((0.4, 0.1))
    assert now["wall"] < runner.LONGEST_SECONDS
    now["wall"] = now["thread"] = 0.0
    found = runner.visit(lambda: spend(0.4), lambda: spend(0.1), lambda: now["thread"])
    assert (found["ms"], found["reference_ms"]) == pytest.approx((0.72, 0.18))


def test_without_calm_moments_the_quickest_ones_are_compared(now: dict[str, float]) -> None:
    """A reference that never repeats itself: the visit says that none of its inferences was calm."""
    rng = random.Random(0)

    def spend(ms: float) -> None:
        now["wall"] = now["thread"] = now["wall"] + ms * rng.uniform(1, 2) / 1e3

    found = runner.visit(lambda: spend(4), lambda: spend(1), lambda: now["thread"], usual=0.5)
    assert found["calm"] == 0
    assert found["interval"] == 1.0
    assert (found["ms"], found["reference_ms"]) == (pytest.approx(4.2, rel=0.02), pytest.approx(1.05, rel=0.02))


@pytest.mark.parametrize("ms", [1.0, 400.0, 3000.0])
def test_a_visit_ends_when_it_is_sure_or_out_of_time(now: dict[str, float], ms: float) -> None:
    rng = random.Random(0)

    def run() -> None:
        now["wall"] = now["thread"] = now["wall"] + ms * rng.choice((1.0, 1.001) if ms < 2 else (1.0, 2.0)) / 1e3

    def reference() -> None:
        now["wall"] = now["thread"] = now["wall"] + 1e-4

    found = runner.visit(run, reference, lambda: now["thread"])
    if ms < 2:
        assert found["calm"] >= runner.LEAST_RUNS
        assert found["interval"] <= runner.INTERVAL
        assert now["wall"] < 0.1
    else:
        assert runner.LONGEST_SECONDS <= now["wall"] < runner.LONGEST_SECONDS + (runner.WARM_UP + 2) * 2e-3 * ms
        assert found["calm"] == found["runs"]  # few, and nothing is wrong with them
        assert 0.999 * ms <= found["ms"] <= 2.001 * ms
