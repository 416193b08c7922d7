"""The script that lies beside an exported file, as somebody runs it on a device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
import unicodedata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from nas.export.device_script import device_script, script_name
from nas.runtimes.table import RUNTIMES, get_runtime
from nas.tasks.task import get_task
from tests.support.scripts import Ran, run_script

CLASSES = ["dark", "été", "light"]
INPUT = {"input_size": [1, 8, 8], "mean": [0.5], "std": [0.25], "crop_pct": 0.875, "interpolation": "bicubic"}


class Options:
    """Settings of an onnxruntime that nobody reads."""

    def add_session_config_entry(self, name: str, value: str) -> None: ...


class Session:
    """An onnxruntime of one file, whose classes are how bright an image is."""

    facts: ClassVar[dict[str, Any]] = {"input": INPUT, "classes": CLASSES}

    def __init__(self, path: str, *_: Any, **__: Any) -> None:
        if Path(path).read_bytes() != b"network":
            raise RuntimeError("[ONNXRuntimeError] : 7 : INVALID_PROTOBUF\nmore of it")

    def get_inputs(self) -> list[Any]:
        return [types.SimpleNamespace(name="images")]

    def get_modelmeta(self) -> Any:
        return types.SimpleNamespace(custom_metadata_map={key: json.dumps(v) for key, v in self.facts.items()})

    def run(self, _: None, inputs: dict[str, Any]) -> list[Any]:
        (images,) = inputs.values()
        place = float(np.clip(1 + images.mean(), 0, 2))
        return [-np.abs(np.arange(3, dtype=np.float32)[None] - place)]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script with a network and photos beside it, and an onnxruntime that only knows how bright they are."""
    fake = types.ModuleType("onnxruntime")
    for name, value in {"InferenceSession": Session, "SessionOptions": Options, "__version__": "1.16.3"}.items():
        setattr(fake, name, value)
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    code = get_runtime("onnx").device_code()
    assert code is not None
    path = tmp_path / script_name("onnx")
    path.write_text(device_script("onnx", code, get_task(), {"onnxruntime": "1.16"}), encoding="utf-8")
    (tmp_path / "model.onnx").write_bytes(b"network")
    photo(tmp_path / "dark.png", 0)
    photo(tmp_path / "light.png", 255)
    monkeypatch.chdir(tmp_path)
    return path


def photo(path: Path, grey: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (9, 12), grey).save(path)


def run(script: Path, *words: object) -> Ran:
    return run_script(script, "model.onnx", *words)


def test_several_photos_and_folders(script: Path) -> None:
    for name in ("b.png", "a.png", "deep/c.png", ".hidden.png", ".hidden/d.png"):
        photo(script.with_name("folder") / name, 255)
    said = run(script, "dark.png", "folder", "light.png")
    assert said.code == 0
    lines = [line.split() for line in said.out.splitlines()]
    assert [(line[0], line[2]) for line in lines] == [
        ("dark", "dark.png"), ("light", "folder/a.png"), ("light", "folder/b.png"), ("light", "folder/deep/c.png"),
        ("light", "light.png"),
    ]  # fmt: skip
    assert said.err == ""


def test_folders_named_as_classes_give_the_accuracy(script: Path) -> None:
    """In either of Unicode's forms, below another folder, and beside images of no class."""
    for form, grey in (("NFC", 127), ("NFD", 127)):
        photo(Path("set", "test", unicodedata.normalize(form, "été"), f"{form}.png"), grey)
    photo(Path("set/dark/a.png"), 0)
    photo(Path("set/dark/deep/wrong.png"), 255)
    photo(Path("set/a.png"), 0)
    said = run(script, "set")
    assert said.code == 0
    assert said.out.splitlines()[-1] == "accuracy 75.00 %: 3 of the 4 images in folders named as classes"
    assert "accuracy" not in run(script, "set/dark").out


def test_what_cannot_be_read_is_named_and_counted(script: Path) -> None:
    Path("folder").mkdir()
    Path("folder/gone.png").symlink_to("nowhere.png")
    Path("folder/half.png").write_bytes(Path("dark.png").read_bytes()[:40])
    Path("folder/loop").symlink_to(".")
    Path("folder/notes.txt").write_text("no image")
    said = run(script, "missing.png", "folder", "light.png")
    assert said.code == 1
    assert said.out.split()[::3] == ["light"]
    assert [line.rpartition(":")[0] for line in said.err.splitlines()] == [
        "skipped missing.png", "skipped folder/gone.png", "skipped folder/half.png", "skipped folder/notes.txt", "",
    ]  # fmt: skip
    assert "skipped missing.png: no such file\n" in said.err
    assert "skipped folder/notes.txt: no image that Pillow reads\n" in said.err
    assert said.err.endswith("4 files were skipped\n")


def test_a_pipe_among_the_photos_is_skipped(script: Path) -> None:
    Path("folder").mkdir()
    os.mkfifo("folder/a.png")
    said = run(script, "folder", "light.png")
    assert (said.code, said.out.split()[::3]) == (1, ["light"])
    assert "skipped folder/a.png: a pipe or a device\n" in said.err


def test_a_folder_of_nothing(script: Path) -> None:
    Path("folder").mkdir()
    said = run(script, "folder")
    assert (said.code, said.out, said.err.strip()) == (1, "", "no images in folder")


def test_a_reader_that_leaves_ends_it_quietly(script: Path) -> None:
    facts = json.dumps({key: json.dumps(value) for key, value in Session.facts.items()})
    Path("onnxruntime.py").write_text(f"""
import json, types
import numpy as np
__version__ = "1.16.3"
SessionOptions = lambda: types.SimpleNamespace(add_session_config_entry=lambda *_: None)
class InferenceSession:
    def __init__(self, *_, **__): pass
    def get_inputs(self): return [types.SimpleNamespace(name="images")]
    def get_modelmeta(self): return types.SimpleNamespace(custom_metadata_map=json.loads({facts!r}))
    def run(self, *_): return [np.arange(3, dtype=np.float32)[None]]
""")
    with subprocess.Popen(
        [sys.executable, script.name, "model.onnx", *["light.png"] * 900], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:  # fmt: skip
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.read(1)
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("other.onnx", "dark.png"), "no file 'other.onnx'"),
        (("dark.png", "dark.png"), "cannot open 'dark.png': [ONNXRuntimeError] : 7 : INVALID_PROTOBUF"),
    ],
)
def test_files_that_are_no_network(script: Path, words: tuple[str, ...], expected: str) -> None:
    said = run_script(script, *words)
    assert (said.code, said.out, said.err) == (1, "", f"{expected}\n")


def test_a_foreign_network(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "facts", {})
    said = run(script, "dark.png")
    assert (said.code, said.err) == (1, "'model.onnx' says nothing of its images: it is no file that nas exported\n")


@pytest.mark.parametrize("version", ["1.12", "1.9.0", "0.17.1", "1.15.1+cpu"])
def test_an_older_runtime_is_told(script: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(sys.modules["onnxruntime"], "__version__", version)
    said = run(script, "dark.png")
    hint = "pip install 'onnxruntime>=1.16'"
    assert (said.code, said.err) == (1, f"needs onnxruntime 1.16 or later; this is {version}: {hint}\n")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    missing = run(script, "dark.png")
    assert missing.code == 1
    assert missing.err.startswith("needs the package onnxruntime (")
    assert missing.err.endswith(f"): {hint}\n")


@pytest.mark.parametrize("version", ["1.16.0", "1.20", "2.0rc1", "1.16.3+cu12"])
def test_later_runtimes_are_taken(script: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(sys.modules["onnxruntime"], "__version__", version)
    assert run(script, "dark.png").code == 0


def test_inputs_and_outputs_can_be_saved(script: Path) -> None:
    assert run(script, "dark.png", "light.png", "--save", "out.npz").code == 0
    with np.load("out.npz") as saved:
        assert saved["inputs"].shape == (2, 1, 8, 8)
        assert saved["outputs"].shape == (2, 3)
        np.testing.assert_array_equal(saved["inputs"][:, 0, 0, 0], [-2, 2])


@pytest.mark.parametrize("form", list(RUNTIMES))
def test_a_script_stands_alone_and_is_well_formed(form: str, tmp_path: Path) -> None:
    code = get_runtime(form).device_code()
    assert code is not None
    path = tmp_path / script_name(form)
    text = device_script(form, code, get_task(), code.needs)
    path.write_text(text, encoding="utf-8")
    checks = ["check", "--isolated", "--select", "E,F,W,I", "--line-length", "120", "--target-version", "py39"]
    for words in (checks, ["format", "--isolated", "--line-length", "120", "--check"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *words, str(path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    loaded = (
        f"import runpy, sys; runpy.run_path({str(path)!r}); print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", loaded], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert {"numpy", "PIL"} <= set(modules)
    assert not {"nas", "search_spaces", "predictors", "torch", "timm", *RUNTIMES[form].packages} & set(modules)
