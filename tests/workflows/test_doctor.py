"""The look at this machine: complete, and alive whatever is broken."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections import namedtuple
from collections.abc import Mapping
from importlib import metadata
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


def test_what_to_install_is_what_the_readme_installs() -> None:
    """The project is on no index: whoever registered its name there would be installed."""
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    readme = (ROOT / "README.md").read_text()
    assert install_hint(".[litert,onnx]").removeprefix("in the clone: ") in readme
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


def pretend_installed(monkeypatch: pytest.MonkeyPatch, versions: Mapping[str, str | None]) -> None:
    """Give some packages another version; None: as if they were missing."""
    installed = metadata.version

    def version(name: str) -> str:
        answer = versions[name] if name in versions else installed(name)
        if answer is None:
            raise metadata.PackageNotFoundError(name)
        return answer

    monkeypatch.setattr(metadata, "version", version)


def test_missing_and_old_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"timm": None, "torch": "2.8.1+cpu", "optuna": "unknown", "scipy": "1.9.9", "numpy": "1.100",
                "pillow": "99.1.0+local", "onnx": None, "onnxruntime": "1.9"}  # fmt: skip
    pretend_installed(monkeypatch, versions)
    findings = {finding.name: finding for finding in examine()}
    assert (findings["timm"].state, findings["timm"].text) == ("problem", "not installed")
    assert (findings["torch"].state, findings["torch"].text) == ("problem", "2.8.1+cpu is below 2.9")
    assert findings["optuna"].text == f"unknown is below {REQUIRED['optuna']}"
    assert findings["scipy"].text == f"1.9.9 is below {REQUIRED['scipy']}"  # 9 is less than 11
    assert [findings[name].state for name in ("numpy", "pillow")] == ["ok", "ok"]
    assert findings["onnx"].state == "absent"
    assert findings["onnx"].fix.startswith(install_hint(".[onnx]"))
    assert findings["onnxruntime"].state == "warning"


def test_a_missing_extra_says_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    packages = [name for names in EXTRAS.values() for name in names]
    pretend_installed(monkeypatch, dict.fromkeys(packages))
    findings = {finding.name: finding for finding in examine()}
    assert all("  # for: nas " in findings[name].fix for name in packages)


@pytest.mark.parametrize(("kept", "state"), [([object()], "warning"), ([], "ok")])
def test_a_torchvision_without_its_operators(monkeypatch: pytest.MonkeyPatch, kept: list[object], state: str) -> None:
    from search_spaces.builders import timm_compat

    monkeypatch.setattr(timm_compat, "DECLARED", kept)
    (found,) = [finding for finding in examine() if finding.name == "torchvision"]
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
    read = Path.read_text
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda path, **more: "\n".join(files[str(path)]) if str(path) in files else read(path, **more),
    )
    found = {each.name: each for each in examine()}
    assert found["memory"].text == "1.0 GB free"
    for name in ("memory", "shared memory", "this folder", "processor share"):
        assert found[name].state == "warning", found[name]
    assert "may use 0.5 of" in found["processor share"].text


def test_an_examination_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_usage(path: object) -> None:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(doctor.shutil, "disk_usage", disk_usage)
    (found,) = [finding for finding in examine() if finding.name == "disk"]
    assert found.state == "problem"
    assert "first line" in found.text
    assert "second" not in found.text


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
