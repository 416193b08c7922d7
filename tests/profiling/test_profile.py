"""``nas profile``: a bundle, its runner as a program of its own, and what its results become."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.cli_runs import invoke

for _package in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(_package)

from nas.profiling.bundle import FIT, members, operators_of, read_manifest, write_bundle  # noqa: E402
from nas.profiling.runner import DRIFTED, SETTLED, UNSETTLED  # noqa: E402
from nas.store.bundles import Part, Plan  # noqa: E402
from predictors.latency.additive import AdditiveLatency, Coefficients  # noqa: E402
from predictors.targets.target import load_target  # noqa: E402

pytestmark = pytest.mark.xdist_group("profile")  # their fixtures take long: made once, by one process

PLAN = Plan((Part("mbv3-tiny", 10, 3),), fit=9, check=5, unsigned=platform.machine() == "x86_64")
TRUTH = {
    "fp32": Coefficients(0.06, 0.05, 0.012, 0.05, 0.05, 0.3, 0.05, 0.05, 0.001, 0.01),
    "int8": Coefficients(0.3, 0.05, 0.008, 0.06, 0.05, 0.3, 0.5, 0.03, 0.0014, 0.02),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    write_bundle(folder, PLAN, lambda done, total, note: None)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the bundle in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(written, "bundle"))


@pytest.fixture(scope="module")
def imaginary(written: Path) -> dict[str, Any]:
    """Results of a device that is the additive model itself."""
    manifest = read_manifest(written)
    model = AdditiveLatency(TRUTH)
    networks = {
        f"{network.name}.{precision}": {
            "ms": model.network(operators_of(network), precision),
            "state": SETTLED,
            "visits": 2,
        }
        for network in manifest.networks
        for precision in TRUTH
    }
    quiet = {"mhz": [1800.0] * 4, "celsius": [50.0]}
    return {
        "format": 1, "bundle": manifest.bundle, "threads": 4, "clock": "wall", "units": "ms", "networks": networks,
        "machine": {"cpu": "Imaginary-A99", "cores": 4, "architecture": "aarch64", "runtime": "onnxruntime 1.99"},
        "before": quiet, "after": quiet, "reference": {"usual_ms": 1.0, "quickest_ms": 0.99, "slowest_ms": 1.2},
    }  # fmt: skip


def save(results: Any, path: Path = Path("results.json")) -> Path:
    path.write_text(results if isinstance(results, str) else json.dumps(results))
    return path


def imported(results: Any, folder: Path, *words: object) -> Any:
    return invoke("profile", "--import", save(results), "--bundle", folder, *words)


# what a bundle holds


def test_a_bundle_is_small_complete_and_reproducible(folder: Path, tmp_path: Path) -> None:
    manifest = read_manifest(folder)
    assert [n.use for n in manifest.networks] == [FIT] * 9 + ["check"] * 5
    assert len({n.architecture for n in manifest.networks}) == 14
    files = {f.file for n in manifest.networks for f in n.files.values()}
    assert {p.name for p in folder.iterdir()} == {*files, "manifest.json", "run.py", "README.md"}
    assert len(files) == 28
    assert sum(p.stat().st_size for p in folder.iterdir()) < 3e6
    assert [m.architecture for m in members(PLAN)] == [m.architecture for m in manifest.networks]
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert write_bundle(folder, PLAN, lambda *_: pytest.fail("written again")) == manifest
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_bundle_that_was_not_finished_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.profiling.bundle.LEAST_FIT", 1)
    monkeypatch.setattr("nas.profiling.bundle.LEAST_CHECK", 1)
    folder, plan = tmp_path / "bundle", replace(PLAN, fit=1, check=1, precisions=("int8",))
    write_bundle(folder, plan, lambda *_: None)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    (folder / "manifest.json").unlink()
    (folder / "n001.int8.onnx").write_bytes(b"cut sh")
    write_bundle(folder, plan, lambda *_: None)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_the_runner_needs_nothing_of_this_project(folder: Path) -> None:
    code = "import sys, runpy; sys.argv = ['run.py', '--help']; runpy.run_path('bundle/run.py', run_name='__main__')"
    code = f"import sys; sys.modules.update(dict.fromkeys(['nas', 'torch', 'timm', 'predictors']))\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "results.json" in done.stdout


@pytest.mark.parametrize("package", ["numpy", "onnxruntime"])
def test_the_runner_says_what_is_missing(folder: Path, package: str) -> None:
    code = f"import sys, runpy; sys.modules[{package!r}] = None; sys.argv = ['run.py']"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; runpy.run_path('bundle/run.py', run_name='__main__')"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f"error: the package '{package}' is missing: pip install numpy onnxruntime\n"


@pytest.mark.parametrize("words", [("--threads", "0"), ("--seconds", "-1"), ("--seconds", "nan"), ("--clock", "sun")])
def test_the_runner_refuses_flags_without_sense(folder: Path, words: tuple[str, str]) -> None:
    done = subprocess.run([sys.executable, "bundle/run.py", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert words[0] in done.stderr.splitlines()[-1]


# from the first command to the last


def test_from_a_bundle_to_a_target_that_predicts(folder: Path) -> None:
    words = [sys.executable, "bundle/run.py", "--clock", "thread", "--seconds", "0.1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = invoke("profile", "--import", "bundle/results.json", "--name", "my-board")
    assert result.code == 0, result.err
    assert result.err.strip().splitlines()[-1] == "next: nas search --target my-board.toml"
    target = load_target("my-board.toml")
    manifest, measured = read_manifest(folder), json.loads(Path("bundle/results.json").read_text())["networks"]
    for precision in ("fp32", "int8"):
        ratios = [
            target.latency.network(operators_of(network), precision) / measured[f"{network.name}.{precision}"]["ms"]
            for network in manifest.networks
        ]
        assert np.median(np.abs(np.array(ratios) - 1)) < 0.1
        assert target.label(precision).startswith("calibrated (MAPE ")
        assert target.label(precision).endswith("5 networks)") or "; " in target.label(precision)
    member = manifest.networks[0]
    words = ("estimate", json.dumps(member.architecture.to_dict()), "--classes", 10, "--target", "my-board.toml")
    facts = invoke(*words, "--json").json
    assert facts["latency_ms"] == pytest.approx(target.latency.network(operators_of(member), "int8"), rel=1e-9)
    assert facts["latency_source"] == target.label("int8")


def test_an_import_finds_the_constants_of_a_device(folder: Path, imaginary: dict[str, Any]) -> None:
    result = imported(imaginary, folder, "--out", "new/a99.toml", "--json").json
    assert (result["name"], result["next"]) == ("a99", "nas search --target new/a99.toml")
    target = load_target("new/a99.toml")
    assert (target.description, target.threads) == ("Imaginary-A99", 4)
    assert target.runtime == "onnxruntime 1.99, 4 threads"
    assert target.model == ("onnx-uint8" if PLAN.unsigned else "onnx")
    truth = AdditiveLatency(TRUTH)
    for precision, fit in result["precisions"].items():
        assert (fit["networks"], fit["fitted"]) == (5, 14)
        for member in members(PLAN):
            rows = operators_of(member)
            assert target.latency.network(rows, precision) == pytest.approx(truth.network(rows, precision), rel=0.03)


def test_the_label_tells_of_a_throttled_clock(folder: Path, imaginary: dict[str, Any]) -> None:
    slow = imaginary | {"after": {"mhz": [1200.0] * 4, "celsius": [85.0]}}
    assert imported(slow, folder).code == 0
    assert load_target("board.toml").label("int8").endswith("5 networks; clock fell by 33 %)")
    slow = imaginary | {"reference": {"usual_ms": 1.4, "quickest_ms": 1.0, "slowest_ms": 1.4}}
    assert imported(slow, folder).code == 0
    label = "5 networks; measured 40 % above the device's quickest: clock throttled or device busy)"
    assert load_target("board.toml").label("int8").endswith(label)


HOST = ("profile", "host", "--space", "mbv3-tiny", "--networks", 9, "--held-out", 5)


def test_a_host_profile_is_a_bundle_measured_here(
    folder: Path, imaginary: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files and measurements lie beside the target file; here they were written by an earlier call."""
    calls = []

    def measure(place: Path, threads: int, clock: str, report: Any) -> None:
        calls.append((str(place), threads, clock))
        save(imaginary | {"clock": clock, "threads": threads}, place / "results.json")

    folder.rename("mine.profile")
    monkeypatch.setattr("nas.workflows.profile.measure", measure)
    result = invoke(*HOST, "--out", "mine.toml", "--json").json
    assert calls == [("mine.profile", 1, "thread")]
    assert (result["target"], result["name"], result["unsteady"]) == ("mine.toml", "mine", 0)
    target = load_target("mine.toml")
    assert target.runtime == "onnxruntime 1.99, 1 thread"
    assert "processor time of one thread" in target.sources["int8"]


def test_measurements_of_another_machine_are_in_the_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.rename("host.profile")
    header = {"format": 1, "bundle": read_manifest(Path("host.profile")).bundle, "threads": 1, "clock": "thread"}
    Path("host.profile/measurements.jsonl").write_text(
        json.dumps(header | {"machine": {"cpu": "Imaginary-A99"}}) + "\n"
    )
    result = invoke(*HOST)
    assert result.code == 1
    assert "measurements.jsonl holds measurements of another kind (machine:" in result.message
    assert "remove it to measure anew" in result.message


def marked(results: dict[str, Any], state: str, factor: float, names: list[str]) -> dict[str, Any]:
    networks = {
        n: e | {"ms": e["ms"] * factor, "state": state} if n.split(".")[0] in names else e
        for n, e in results["networks"].items()
    }
    return results | {"networks": networks}


def test_networks_timed_at_a_slow_clock_are_left_out(folder: Path, imaginary: dict[str, Any]) -> None:
    expected = imported(imaginary, folder, "--json").json
    result = imported(marked(imaginary, DRIFTED, 1.5, ["n010"]), folder)
    assert result.code == 0
    assert "1 of 14 networks left out: clock throttled or device busy" in result.err
    target = load_target("board.toml")
    assert "1 of 14 networks left out" in target.label("fp32")
    rows = operators_of(members(PLAN)[3])
    assert target.latency.network(rows, "int8") == pytest.approx(AdditiveLatency(TRUTH).network(rows, "int8"), rel=0.03)
    assert expected["precisions"]["int8"]["fitted"] == 14


def test_where_too_few_are_left_all_are_used_and_that_is_said(folder: Path, imaginary: dict[str, Any]) -> None:
    names = [f"n{k:03d}" for k in range(10)]
    assert imported(marked(imaginary, DRIFTED, 1.0, names), folder).code == 0
    assert "clock throttled or device busy during 10 of 14 networks" in load_target("board.toml").label("int8")
    assert imported(marked(imaginary, UNSETTLED, 1.0, ["n001"]), folder).code == 0
    assert load_target("board.toml").label("int8").endswith("; 1 networks unsteady)")


def test_a_precision_with_too_few_networks_is_left_out(folder: Path, imaginary: dict[str, Any]) -> None:
    few = {n: e for n, e in imaginary["networks"].items() if n.endswith("fp32") or n < "n005"}
    result = imported(imaginary | {"networks": few}, folder)
    assert result.code == 0
    assert "left out: int8: 5 measured networks to fit, 8 or more are needed" in result.err
    assert load_target("board.toml").precisions == ("fp32",)
    few = {n: e for n, e in few.items() if n < "n005"}
    result = imported(imaginary | {"networks": few}, folder)
    assert result.code == 1
    assert "no target can be fitted: fp32: 5 measured networks" in result.message


# results that cannot be used


def at(*path: str, value: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Results with one value replaced."""

    def change(results: dict[str, Any]) -> dict[str, Any]:
        new: dict[str, Any] = json.loads(json.dumps(results))
        place = new
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        return new

    return change


MS = ("networks", "n001.fp32", "ms")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: "{", "is not a results file"),
        (lambda _: "[" * 100_000, "is not a results file"),
        (lambda _: [], "is not a results file of a bundle's runner"),
        (at("format", value=99), "is not a results file of a bundle's runner"),
        (at("bundle", value="0" * 16), 'measured with bundle "0000000000000000", this one is'),
        (at("bundle", value=["x"]), 'bundle is ["x"], not a text'),
        (at("units", value="s"), 'units is "s", not "ms"'),
        (at("clock", value="sundial"), 'clock is "sundial", not "wall" or "thread"'),
        (at("threads", value=0), "threads: 0 is not a whole number from 1 to 1024"),
        (at("threads", value=True), "threads: true is not a whole number"),
        (at("machine", value=3), "machine is 3, not a table"),
        (at("machine", "cpu", value="a\nb = 1"), "is not a line of text"),
        (at("after", value={"mhz": [-1.0], "celsius": []}), "after.mhz[0]: -1.0 is not a number above 0"),
        (at("reference", value={}), "reference.usual_ms is missing"),
        (at("networks", value={}), "no networks were measured"),
        (at("networks", "n999.fp32", value={"ms": 1.0, "state": SETTLED}), 'network "n999.fp32" is not in the bundle'),
        (at("networks", "n001.fp32", value=2.0), "networks.n001.fp32 is 2.0, not a table"),
        (at(*MS, value=float("nan")), "n001.fp32.ms: NaN is not a number above 0"),
        (at(*MS, value=float("inf")), "n001.fp32.ms: Infinity is not a number above 0"),
        (at(*MS, value=-1.0), "n001.fp32.ms: -1.0 is not a number above 0"),
        (at(*MS, value=10**400), "n001.fp32.ms: 1000"),
        (at(*MS, value="fast"), 'n001.fp32.ms: "fast" is not a number above 0'),
        (at(*MS, value=True), "n001.fp32.ms: true is not a number above 0"),
        (at(*MS, value=1e-6), "are these milliseconds?"),
        (at(*MS, value=1e9), "are these milliseconds?"),
        (
            at("networks", "n001.fp32", "state", value="fine"),
            'n001.fp32.state is "fine", not "settled" or "unsettled" or "drifted"',
        ),
    ],
)
def test_hostile_results(folder: Path, imaginary: dict[str, Any], change: Any, message: str) -> None:
    result = imported(change(imaginary), folder)
    assert result.code == 1
    assert message in result.message
    assert len(result.message) < 400
    assert not list(Path().glob("*.toml"))


def test_a_huge_file_is_not_read(folder: Path) -> None:
    with open("results.json", "wb") as file:
        file.truncate(10**9)
    result = invoke("profile", "--import", "results.json", "--bundle", folder)
    assert "results.json has 1000 MB" in result.message


@pytest.mark.parametrize("change", [lambda m: m | {"bundle": "0" * 16}, lambda m: m | {"threads": 2}, lambda m: []])
def test_a_changed_manifest_is_refused(folder: Path, imaginary: dict[str, Any], change: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    assert "manifest.json is damaged" in imported(imaginary, folder).message


# flags


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("gpu",), 2, "nas profile gpu: measures 'host'; for other devices give a --bundle"),
        (("--precision", "int4"), 2, "unknown --precision 'int4'"),
        (("--networks", "3"), 2, "--networks 3: a fit needs 8 or more"),
        (("--held-out", "0"), 2, "--held-out 0"),
        (("--threads", "0"), 2, "--threads"),
        (("--out", "host.json"), 2, "--out is host.json; a target file ends in .toml"),
        (("--name", "../x"), 2, "--name is '../x'"),
        (("--runtime", "tvm"), 2, "unknown --runtime 'tvm'"),
        (("--bundle", "other", "--runtime", "litert", "--uint8"), 2, "--uint8: files of litert have signed"),
        (("--uint8",), 2, "--uint8 is for a --bundle"),
        (("--classes", "5"), 2, "--classes and --in-chans are those of a space; give --space too"),
        (("--space", "mbv3-tinny"), 2, "did you mean 'mbv3-tiny'?"),
        (("--import", "missing.json"), 2, "does not lie in its bundle"),
        (("--import", "missing.json", "--bundle", "bundle"), 1, "missing.json does not exist"),
        (("--import", "x.json", "--dry-run"), 2, "--dry-run: an import measures nothing"),
        (("--import", "x.json", "--bundle", "."), 1, "is not a bundle"),
        (("--bundle", "."), 1, "is not empty and holds no bundle"),
        (("--bundle", "bundle", "--space", "mbv3-tiny"), 1, "holds a bundle of other settings"),
    ],
)
def test_flags_that_cannot_be_met(folder: Path, words: tuple[str, ...], code: int, message: str) -> None:
    Path("notes.txt").write_text("mine")
    result = invoke("profile", *words)
    assert (result.code, message in result.message) == (code, True), result.err


@pytest.mark.parametrize(
    ("words", "said", "following"),
    [
        ((), "would measure 36 subnets (24 to fit, 12 held out) of mbv3-tiny and mbv3-large", "nas profile"),
        (("--bundle", "b"), "in fp32, int8, 1 thread; about", "nas profile --bundle b"),
        (("--space", "ofa-resnet50", "--precision", "fp32", "--threads", "4"), "ofa-resnet50 in fp32, 4 threads",
         "nas profile --space ofa-resnet50 --precision fp32 --threads 4"),
        (("--bundle", "my board", "--uint8", "--held-out", "9", "--seed", "3"), "9 held out",
         "nas profile --bundle 'my board' --held-out 9 --uint8 --seed 3"),
    ],
)  # fmt: skip
def test_a_dry_run_says_what_it_would_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str, following: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("profile", "--dry-run", *words)
    assert result.code == 0, result.err
    assert said in result.out
    assert result.err.strip().splitlines()[-1] == f"next: {following}"
    assert not list(tmp_path.iterdir())


def test_the_last_run_says_whose_networks(here: Path) -> None:
    """A run's space, with its classes and channels."""
    result = invoke("profile", "--run", "run", "--dry-run", "--json").json
    assert "subnets of mbv3-tiny" in result["summary"].replace("(24 to fit, 12 held out) ", "")
    assert result["next"] == "nas profile --run run"
