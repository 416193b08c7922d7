"""Imports: the direction they may take, and what must stay unloaded until it is needed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("search_spaces", "predictors", "nas")
FILES = [*sorted(p.relative_to(ROOT) for name in PACKAGES for p in (ROOT / name).rglob("*.py")), Path("cli.py")]
HEAVY = ("torch", "timm", "torchvision", "optuna", "pymoo", "scipy", "onnx", "onnxruntime", "rich.table")

FLOORS = (
    ("search_spaces/errors.py",),
    ("search_spaces/architecture.py", "search_spaces/channels.py", "search_spaces/genes.py"),
    ("search_spaces/space.py",),
    ("search_spaces/policy.py", "search_spaces/operators", "search_spaces/builders"),
    ("search_spaces/families",),
    ("search_spaces/presets",),
    ("search_spaces/__init__.py",),
    ("predictors/__init__.py", "predictors/costs"),
    ("predictors/latency", "predictors/accuracy"),
    ("predictors/targets",),
    ("predictors/policy_costs.py",),
    ("nas/store", "nas/events.py"),
    ("nas/tasks", "nas/quantization"),
    ("nas/data", "nas/supernet", "nas/runtimes"),
    ("nas/candidates", "nas/profiling"),
    ("nas/training", "nas/journal"),
    ("nas/search",),
    ("nas/export",),
    ("nas/workflows",),
    ("nas/report", "nas/__init__.py"),
    ("nas/cli",),
    ("cli.py",),
)
"""From the bottom up. A room imports itself and rooms of lower floors; rooms of one floor do not know each other."""
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

ARROWS_UP = {
    "nas/export/folder.py -> nas/workflows/workflow.py",
    "nas/runtimes/executorch.py -> nas/export/device_script.py",
    "nas/runtimes/onnx.py -> nas/export/device_script.py",
    "search_spaces/space.py -> search_spaces/builders/timm_model.py",
}
PRIVATE_ELSEWHERE = {"nas/profiling/bundle.py -> nas/runtimes/_onnx_timing.py"}
CIRCLES = 4
LONG_FILES = {"nas/workflows/workflow.py"}
MAX_LINES = 500
MAX_FILES = 20


def room_of(path: Path) -> str:
    """The room that a file lies in: the longest entry of :data:`FLOORS` that it is, or lies below."""
    names = [room for room in FLOOR if room == str(path) or str(path).startswith(f"{room}/")]
    assert names, f"{path} lies in no room: add it to FLOORS"
    return max(names, key=len)


def imported_files(path: Path) -> set[Path]:
    """Files of this project that a file imports anywhere, inside functions and type checks too."""
    package = path.parts[:-1]
    modules: list[str] = []
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= len(package), f"{path}:{node.lineno} climbs out of its package"
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            modules += [".".join([*base, alias.name]) for alias in node.names]
    return {file for module in modules if (file := file_of(module))} - {path}


def file_of(module: str) -> Path | None:
    """The file of a dotted name, which may end with a name inside the file; None where it is not of this project."""
    parts = module.split(".")
    if parts[0] not in (*PACKAGES, "cli"):
        return None
    while parts:
        for file in (Path(*parts).with_suffix(".py"), Path(*parts) / "__init__.py"):
            if (ROOT / file).is_file():
                return file
        parts.pop()
    return None


IMPORTS = {path: imported_files(path) for path in FILES}


def circles(arrows: dict[Path, set[Path]]) -> list[set[Path]]:
    """Groups of files that reach each other through imports."""

    def reachable(start: Path) -> set[Path]:
        seen, todo = set(), [start]
        while todo:
            for file in arrows[todo.pop()] - seen:
                seen.add(file)
                todo.append(file)
        return seen

    reach = {path: reachable(path) for path in arrows}
    groups = {frozenset(other for other in reach[path] if path in reach[other]) for path in arrows}
    return [set(group) for group in groups if len(group) > 1]


def run(code: str, **env: str) -> str:
    """Standard output of an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"} | env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_room_imports_only_rooms_below_it() -> None:
    up = {
        f"{path} -> {other}"
        for path, others in IMPORTS.items()
        for other in others
        if (here := room_of(path)) != (there := room_of(other)) and FLOOR[there] >= FLOOR[here]
    }
    assert up == ARROWS_UP


def test_private_modules_stay_in_their_folder() -> None:
    """``_x.py`` belongs to the files beside it."""
    seen = {
        f"{path} -> {other}"
        for path, others in IMPORTS.items()
        for other in others
        if other.name.startswith("_") and other.name != "__init__.py" and other.parent != path.parent
    }
    assert seen == PRIVATE_ELSEWHERE


def test_no_circle() -> None:
    assert len(circles(IMPORTS)) <= CIRCLES, circles(IMPORTS)


def test_the_reader_of_imports_reads() -> None:
    assert Path("predictors/costs/network.py") in IMPORTS[Path("predictors/policy_costs.py")]
    a, b, c = Path("a"), Path("b"), Path("c")
    assert circles({a: {b}, b: {a, c}, c: set()}) == [{a, b}]


def test_no_folder_is_too_wide() -> None:
    count = Counter(path.parent for path in FILES if path.name != "__init__.py")
    assert not {str(folder): n for folder, n in count.items() if n > MAX_FILES}


def test_no_file_is_too_long() -> None:
    lines = {str(path): len((ROOT / path).read_text().splitlines()) for path in FILES}
    assert {path for path, n in lines.items() if n > MAX_LINES} == LONG_FILES
    ordered = sorted(lines.values())
    assert ordered[len(ordered) // 2] <= 130
    assert ordered[len(ordered) * 9 // 10] <= 300


@pytest.mark.parametrize(
    "module", ["search_spaces", "predictors.costs.network", "predictors.targets.target", "nas.cli.listing"]
)
def test_listing_what_there_is_loads_nothing_heavy(module: str) -> None:
    heavy = [name for name in HEAVY if not (module == "nas.cli.listing" and name.startswith("rich"))]
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
