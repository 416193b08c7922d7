"""Imports: the direction they may take, and what must stay unloaded until it is needed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("search_spaces", "predictors", "nas", "cli")  # each may import itself and those before it
FILES = [*sorted(p for room in ROOMS[:3] for p in (ROOT / room).rglob("*.py")), ROOT / "cli.py"]
HEAVY = ("torch", "timm", "torchvision", "optuna", "pymoo", "scipy", "onnx", "onnxruntime", "rich.table")
MAX_LINES = 600


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a file imports anywhere, inside functions and type checks too."""
    found: set[str] = set()
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            assert node.level <= len(package), f"{path}:{node.lineno} climbs out of its package"
            found.add(package[0])
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).split(".")[0])
    return found & set(ROOMS)


def run(code: str, **env: str) -> str:
    """Standard output of an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"} | env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    assert imported_rooms(path) <= allowed, f"{path} imports a room that may import it"


def test_the_rooms_are_all_there() -> None:
    assert {p.relative_to(ROOT).parts[0].removesuffix(".py") for p in FILES} == set(ROOMS)
    assert "predictors" in imported_rooms(ROOT / "nas" / "objectives.py")  # the reader of imports reads


@pytest.mark.parametrize("folder", ["", "nas", "predictors", "search_spaces", "tests", "benchmarks"])
def test_no_file_is_too_long(folder: str) -> None:
    files = (ROOT / folder).rglob("*.py") if folder else ROOT.glob("*.py")
    long = {str(p.relative_to(ROOT)): n for p in files if (n := len(p.read_text().splitlines())) > MAX_LINES}
    assert not long, f"longer than {MAX_LINES} lines: {long}"


@pytest.mark.parametrize("module", ["search_spaces", "predictors.costs", "predictors.target", "nas.listing"])
def test_listing_what_there_is_loads_nothing_heavy(module: str) -> None:
    heavy = [name for name in HEAVY if not (module == "nas.listing" and name.startswith("rich"))]
    loaded = run(f"import sys, {module}\nprint(*[m for m in {heavy!r} if m in sys.modules])")
    assert not loaded.split()


@pytest.mark.parametrize(
    "words", [["--help"], ["train-supernet", "--help"], ["spaces", "--json"], ["targets"], ["runs", "nas"]]
)
def test_commands_that_need_no_network_load_no_framework(words: list[str]) -> None:
    heavy = ("torch", "timm", "optuna", "pymoo", "onnx")
    code = f"""
import sys, cli
sys.argv = ["nas", *{words!r}]
try:
    cli.main()
except SystemExit as ending:
    assert not ending.code
print("loaded:", *[m for m in {heavy!r} if m in sys.modules])
"""
    assert run(code).splitlines()[-1] == "loaded:"


# the mend for a torchvision that was built for another torch

BROKEN = """
import torch
@torch.library.register_fake("torchvision::nms")
def nms(dets, scores, iou_threshold):
    return dets
"""


@pytest.mark.parametrize(
    ("torchvision", "mended"),
    [
        (None, False),
        ("", False),
        (BROKEN, True),
        ("raise RuntimeError('operator torchvision::nms does not exist')", "RuntimeError"),
        ("raise RuntimeError('something else')", "RuntimeError"),
    ],
    ids=["absent", "sound", "broken", "beyond mending", "other trouble"],
)
def test_torchvision_is_mended_only_where_it_must_be(
    tmp_path: Path, torchvision: str | None, mended: bool | str
) -> None:
    if torchvision is not None:
        (tmp_path / "torchvision").mkdir()
        (tmp_path / "torchvision" / "__init__.py").write_text(torchvision)
    for name in ("timm", "timm/data", "timm/optim", "timm/scheduler"):  # what imports torchvision in earnest
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("" if torchvision is None else "import torchvision")
    code = f"""
import sys
from importlib.machinery import PathFinder

class Only:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in ("torchvision", "timm"):
            path = path or [{str(tmp_path)!r}]
        return PathFinder.find_spec(name, path, target)

sys.meta_path = [Only if finder is PathFinder else finder for finder in sys.meta_path]
try:
    from search_spaces import timm_compat
except RuntimeError:
    print("RuntimeError")
else:
    print(bool(timm_compat._keep_alive))
"""
    assert run(code).strip() == str(mended)
