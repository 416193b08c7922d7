"""The look at this machine: complete, and alive whatever is broken."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections import namedtuple
from pathlib import Path

import pytest

from nas.workflows import doctor
from nas.workflows.doctor import EXTRAS, REQUIRED, Finding, as_text, examine
from search_spaces.errors import install_hint
from tests.support.cli_runs import invoke

ROOT = Path(__file__).parents[2]


def lowest(requirements: list[str]) -> dict[str, str]:
    """Names and lowest versions of requirements as ``pyproject.toml`` writes them."""
    return {name: version for text in requirements for name, version in [re.sub(r"\[.*\]", "", text).split(">=")]}


def test_the_packages_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {extra: lowest(names) for extra, names in project["optional-dependencies"].items()}
    assert lowest(project["dependencies"]) == REQUIRED
    assert {extra: extras[extra] for extra in extras.keys() - {"dev", "docs"}} == EXTRAS
    assert set(doctor._USES) == set(EXTRAS)


def test_what_to_install_is_what_the_readme_installs() -> None:
    """The project is on no index: whoever registered its name there would be installed."""
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    readme = (ROOT / "README.md").read_text()
    assert install_hint(".[onnx]").removeprefix("in the clone: ") in readme
    places = ["nas", "predictors", "search_spaces", "docs", "benchmarks", "tests"]
    files = [ROOT / "README.md", ROOT / "cli.py", *(p for place in places for p in (ROOT / place).rglob("*.*"))]
    named: set[str] = set()
    for path in files:
        if path.suffix in (".py", ".md"):
            text = path.read_text()
            assert not re.search(r"pip\s+install[^\n]*\n?['\"]?nas-supernet", text), path
            named |= {extra for found in re.findall(r"\.\[([a-z,]+)\]'", text) for extra in found.split(",")}
    assert {"onnx", "executorch"} <= named <= extras


def test_every_trouble_has_its_fix() -> None:
    found = examine()
    names = [each.name for each in found]
    assert len(names) == len(set(names))
    assert {"python", "torch", "timm", "torchvision", "processor", "memory", "this folder"} <= set(names)
    assert all(each.fix for each in found if each.state in ("warning", "problem"))
    assert not [each for each in found if each.state == "ok" and each.fix]


@pytest.mark.parametrize(("module", "error"), [("torch", "OSError('libtorch_cpu.so: cannot open')"),
                                               ("numpy", "ImportError('numpy.core failed')")])  # fmt: skip
def test_a_broken_package_is_named_and_nothing_else_fails(tmp_path: Path, module: str, error: str) -> None:
    (tmp_path / module).mkdir()
    (tmp_path / module / "__init__.py").write_text(f"raise {error}")
    done = subprocess.run(
        [sys.executable, ROOT / "cli.py", "doctor", "--json"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    found = {each["name"]: each for each in json.loads(done.stdout)}
    assert found[module]["state"] == "problem"
    assert "cannot be imported" in found[module]["text"]
    assert f"pip install --force-reinstall '{module}==" in found[module]["fix"]
    assert found["python"]["state"] == "ok"
    assert found["safetensors"]["state"] == "ok"
    assert "memory" in found


def test_missing_and_old_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"timm": None, "torch": "2.8.1+cpu", "onnx": None, "onnxruntime": "1.9"}
    known = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: versions[name] if name in versions else known(name))
    found = {each.name: each for each in examine()}
    assert (found["timm"].state, found["timm"].text) == ("problem", "not installed")
    assert (found["torch"].state, found["torch"].text) == ("problem", "2.8.1+cpu is below 2.9")
    assert found["onnx"].state == "absent"
    assert found["onnx"].fix.startswith(install_hint(".[onnx]"))
    assert found["onnxruntime"].state == "warning"


@pytest.mark.parametrize(("kept", "state"), [([object()], "warning"), ([], "ok")])
def test_a_torchvision_without_its_operators(monkeypatch: pytest.MonkeyPatch, kept: list[object], state: str) -> None:
    from search_spaces.builders import timm_compat

    monkeypatch.setattr(timm_compat, "_keep_alive", kept)
    (found,) = doctor._torchvision()
    assert found.state == state
    assert bool(found.fix) == (state == "warning")


def test_little_room_and_small_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage(1, 1, 10**7))
    files = {
        "/proc/meminfo": ["MemTotal: 1 kB", "MemAvailable: 8000000 kB"],
        "/sys/fs/cgroup/memory.max": ["1500000000"],
        "/sys/fs/cgroup/memory.current": ["500000000"],
        "/sys/fs/cgroup/cpu.max": ["50000 100000"],
    }
    monkeypatch.setattr(doctor, "_lines", lambda path: files.get(path, []))
    found = {each.name: each for each in examine()}
    assert found["memory"].text == "1.0 GB free"
    for name in ("memory", "shared memory", "this folder", "processor share"):
        assert found[name].state == "warning", found[name]
    assert "may use 0.5 of" in found["processor share"].text


def test_a_look_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def look() -> list[Finding]:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(doctor, "_memory", look)
    (found,) = [each for each in examine() if each.name == "look"]
    assert found.state == "problem"
    assert "first line" in found.text
    assert "second" not in found.text


def test_versions_are_compared_as_numbers() -> None:
    assert doctor._numbers("1.10") > doctor._numbers("1.9.9")
    assert doctor._numbers("2.13.0+cpu") == (2, 13, 0)
    assert doctor._numbers("unknown") == ()


def test_the_text_is_for_pasting(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Finding("a", "ok", "1.0"), Finding("b", "problem", "broken", "mend it")]
    lines = as_text(found).splitlines()
    assert [line.split()[0] for line in lines] == ["ok", "PROBLEM", "fix:"]
    monkeypatch.setattr(doctor, "examine", lambda: found)
    shown = invoke("doctor")
    assert (shown.code, shown.out) == (1, as_text(found) + "\n")
    assert "nas doctor" in shown.err
    monkeypatch.setattr(doctor, "examine", lambda: found[:1])
    assert invoke("doctor", "--json").json == [{"name": "a", "state": "ok", "text": "1.0", "fix": ""}]
