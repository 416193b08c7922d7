"""Devices that are measured in LiteRT: their bundle, its runner, and the target."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("ai_edge_litert")
from ai_edge_litert.interpreter import Interpreter

from nas.profiling.bundle import read_manifest, write_bundle
from nas.quantization.quantize import quantize
from nas.runtimes.table import get_runtime, write_model
from nas.store.bundles import Part, Plan
from predictors.targets.target import load_target
from search_spaces import get_space
from search_spaces.errors import UserError
from tests.support.cli_runs import invoke

PLAN = Plan((Part("mbv3-tiny", 10, 3),), fit=8, check=4, precisions=("int8",), runtime="litert")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    write_bundle(folder, PLAN, lambda *_: None)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(written, "bundle"))


def operators(content: bytes) -> list[tuple[str, list[list[int]]]]:
    """Kinds of all that an interpreter runs, with the parts that XNNPACK took, and shapes of their results."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    shapes = {each["index"]: list(map(int, each["shape"])) for each in interpreter.get_tensor_details()}
    return [
        (each["op_name"], [shapes.get(int(i), []) for i in each["outputs"]]) for each in interpreter._get_ops_details()
    ]


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_a_file_for_timing_runs_what_the_exported_one_does(tmp_path: Path, precision: str) -> None:
    from nas.quantization.graph import capture
    from nas.quantization.quantize import outline

    torch.manual_seed(0)
    space = get_space("mbv3-tiny")
    shape = (3, space.largest.resolution, space.largest.resolution)
    model = space.build(space.largest, PLAN.parts[0].interface).eval()
    real: Any = quantize(model, torch.randn(4, *shape)) if precision == "int8" else model
    write_model("litert", real, shape, tmp_path / "m.tflite", {}, None)
    runtime = get_runtime("litert")
    flat = capture(model, shape)
    timed = runtime.timing_file(
        outline(flat, shape) if precision == "int8" else flat, shape, next(iter(runtime.dialects.values()))
    )
    assert timed is not None
    assert operators(timed) == operators((tmp_path / "m.tflite").read_bytes())
    assert len(gzip.compress(timed)) < len(timed) / 5


def test_a_bundle_is_small_and_reproducible(folder: Path, tmp_path: Path) -> None:
    files = sorted(path.name for path in folder.glob("*.tflite.gz"))
    assert files == [f"n{i:03d}.int8.tflite.gz" for i in range(12)]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3e5
    assert 'pip install numpy "ai_edge_litert>=' in (folder / "README.md").read_text()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "manifest.json").unlink()
    write_bundle(folder, PLAN, lambda *_: None)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_from_a_bundle_to_a_target(folder: Path) -> None:
    words = [sys.executable, "bundle/run.py", "--clock", "thread", "--seconds", "0.05"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = invoke("profile", "--import", "bundle/results.json", "--name", "my-board")
    assert result.code == 0, result.err
    target = load_target("my-board.toml")
    assert target.model == "litert"
    assert target.runtime.startswith("LiteRT ")


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (["numpy"], "error: the package 'numpy' is missing: pip install numpy ai_edge_litert\n"),
        (["ai_edge_litert"], "error: the package 'ai_edge_litert' is missing: pip install numpy ai_edge_litert\n"),
    ],
)
def test_the_runner_says_what_is_missing(folder: Path, gone: list[str], said: str) -> None:
    code = f"import sys, runpy; sys.modules.update(dict.fromkeys({gone})); sys.argv = ['run.py']"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; runpy.run_path('bundle/run.py', run_name='__main__')"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, said)


def test_an_older_package_of_the_interpreter_does_as_well(folder: Path) -> None:
    """``tflite_runtime`` has the same interpreter under another name."""
    pretend = Path("older/tflite_runtime")
    pretend.mkdir(parents=True)
    (pretend / "__init__.py").touch()
    (pretend / "interpreter.py").write_text("from real import Interpreter\n")
    Path("older/real.py").write_text("from ai_edge_litert.interpreter import Interpreter\n")
    about = Path("older/tflite_runtime-2.14.0.dist-info")
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tflite-runtime\nVersion: 2.14.0\n")
    code = (
        "import sys; sys.path[:0] = ['older', 'bundle']; import real, run\n"
        "sys.modules['ai_edge_litert'] = None\n"
        "print(run.machine(in_tflite=True)['runtime'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("TFLite 2.14.0"), done.stderr


def test_a_manifest_of_another_runtime_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="unknown runtime 'tvm'"):
        write_bundle(Path("other"), replace(PLAN, runtime="tvm"), lambda *_: None)
    assert read_manifest(folder).plan.runtime == "litert"
    assert json.loads((folder / "manifest.json").read_text())["plan"]["runtime"] == "litert"
