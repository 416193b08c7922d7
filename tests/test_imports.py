"""Imports: the direction they may take, and what must stay unloaded until it is needed."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import structure

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "timm", "torchvision", "optuna", "pymoo", "scipy", "onnx", "onnxruntime", "rich.table")

FLOORS = (
    ("search_spaces/errors.py",),
    ("search_spaces/schema.py",),
    ("search_spaces/architecture.py",),
    ("search_spaces/genes.py", "search_spaces/operators"),
    ("search_spaces/space.py",),
    ("search_spaces/policy.py", "search_spaces/builders"),
    ("search_spaces/tracing",),
    ("search_spaces/families",),
    ("search_spaces/presets",),
    ("search_spaces/__init__.py",),
    ("predictors/__init__.py", "predictors/costs"),
    ("predictors/latency", "predictors/accuracy"),
    ("predictors/targets",),
    ("predictors/policy_costs.py",),
    ("nas/events.py",),
    ("nas/store",),
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
"""From the bottom up. A room imports itself and rooms of lower floors; rooms on one floor don't import each other."""
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def room_of(path: str) -> str:
    """The room that a file lies in: the longest entry of :data:`FLOORS` that it is, or lies below."""
    names = [room for room in FLOOR if room == path or path.startswith(f"{room}/")]
    assert names, f"{path} lies in no room: add it to FLOORS"
    return max(names, key=len)


def run(code: str, **env: str) -> str:
    """Standard output of an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"} | env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


structural = pytest.mark.xdist_group("structure")  # what all files hold is read once, by one process


@pytest.fixture(scope="module")
def checkout() -> structure.Checkout:
    """What lies in the rooms."""
    return structure.Checkout(ROOT)


@pytest.fixture(scope="module")
def figures(checkout: structure.Checkout) -> dict[str, structure.Figure]:
    """Counts of it, by title."""
    counts = (structure.count_files, structure.count_imports, structure.count_records)
    return {figure.title.strip(): figure for count in counts for figure in count(checkout)}


@structural
def test_a_room_imports_only_rooms_below_it(checkout: structure.Checkout) -> None:
    rooms = {path: room_of(path) for path in checkout.files}
    up = {
        f"{path} -> {other}"
        for path, other in checkout.arrows
        if (here := rooms[path]) != (there := rooms[other]) and FLOOR[there] >= FLOOR[here]
    }
    assert not up


@structural
def test_private_modules_stay_in_their_folder(figures: dict[str, structure.Figure]) -> None:
    """``_x.py`` belongs to the files beside it."""
    assert not figures["private files borrowed"].items


@structural
def test_no_circle(figures: dict[str, structure.Figure]) -> None:
    assert not figures["circles of files"].items


@structural
def test_the_reader_of_imports_reads(checkout: structure.Checkout) -> None:
    """``tests/tools`` has more."""
    assert ("predictors/policy_costs.py", "predictors/costs/network.py") in checkout.arrows


@structural
def test_no_folder_is_too_wide(figures: dict[str, structure.Figure]) -> None:
    assert not figures["folders with more than 20 files"].items


@structural
def test_no_file_is_too_long(figures: dict[str, structure.Figure]) -> None:
    assert not figures["files with more than 500 lines"].items
    assert figures["lines of a file: median"].value <= 130
    assert figures["90th percentile"].value <= 300


@structural
def test_no_untyped_record_leaves_a_room(figures: dict[str, structure.Figure]) -> None:
    assert not figures["in signatures outside nas/store/"].items


OWN_FLAGS = ("nas/profiling/runner.py", "nas/profiling/bundle.py", "nas/report/style.py", "nas/export/device_main.py")
"""The runner of bundles, which a bundle explains, and scripts for devices are commands of their own; CSS has names that
begin with ``--``."""


@structural
def test_no_room_below_the_shell_names_a_flag(checkout: structure.Checkout) -> None:
    """Errors name settings; the shell turns them into flags."""
    below = [source for path, source in checkout.files.items() if FLOOR[room_of(path)] < FLOOR["nas/cli"]]
    texts = [
        f"{source.path}: {text}"
        for source in below
        for text in source.texts
        if source.path not in OWN_FLAGS
        and re.search(r"(?<![\w-])--[a-z]", text)
        and not re.search("pip |docker ", text)
    ]
    assert not texts


def private_names(path: Path) -> Iterator[str]:
    """Private names of the packages that a file outside of them imports, reads or replaces."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    modules = set()
    for module, name, local in (found for node in nodes for found in structure.list_imported("", node)):
        if module.partition(".")[0] in (*structure.ROOMS, "cli"):
            modules.add(local)
            if re.search(r"(^|\.)_(?!_)", f"{module}.{name}"):
                yield f"{path.relative_to(ROOT)}: {module}.{name}"
    for node in nodes:
        text = ""
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            text = (
                structure.read_text(node.args[0]) or f"{ast.unparse(node.args[0])}.{structure.read_text(node.args[1])}"
            )
        elif isinstance(node, ast.Attribute):
            text = ast.unparse(node)
        if text.partition(".")[0] in {*modules, *structure.ROOMS} and re.fullmatch(r"[\w.]+\._(?!_)\w+", text):
            yield f"{path.relative_to(ROOT)}: {text}"


def test_tests_and_benchmarks_use_public_names_of_rooms() -> None:
    files = [path for folder in ("tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
    assert not [name for path in files for name in private_names(path)]


@pytest.mark.parametrize(
    "module", ["search_spaces", "predictors.costs.network", "predictors.targets.target", "nas.cli.tables.listing"]
)
def test_listing_what_there_is_loads_nothing_heavy(module: str) -> None:
    heavy = [name for name in HEAVY if not (module == "nas.cli.tables.listing" and name.startswith("rich"))]
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


# the workaround for a torchvision that was built for another torch

BROKEN = """
import torch
@torch.library.register_fake("torchvision::nms")
def nms(dets, scores, iou_threshold):
    return dets
"""


TORCHVISIONS: dict[str, tuple[str | None, str]] = {
    "absent": (None, "False"),
    "sound": ("", "False"),
    "broken": (BROKEN, "True"),
    "beyond repair": ("raise RuntimeError('operator torchvision::nms does not exist')", "RuntimeError"),
    "other trouble": ("raise RuntimeError('something else')", "RuntimeError"),
}
"""What lies in the place of torchvision, and whether it is replaced."""


def test_torchvision_is_replaced_only_where_it_must_be(tmp_path: Path) -> None:
    """Each in a process that is forked from one that has loaded torch, which takes seconds."""
    for case, (torchvision, _) in TORCHVISIONS.items():
        if torchvision is not None:
            (tmp_path / case / "torchvision").mkdir(parents=True)
            (tmp_path / case / "torchvision" / "__init__.py").write_text(torchvision)
        for name in ("timm", "timm/data", "timm/optim", "timm/scheduler"):  # the modules that import torchvision
            (tmp_path / case / name).mkdir(parents=True)
            (tmp_path / case / name / "__init__.py").write_text("" if torchvision is None else "import torchvision")
    code = f"""
import os, sys
from importlib.machinery import PathFinder
import torch

class Only:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in ("torchvision", "timm"):
            path = path or [place]
        return PathFinder.find_spec(name, path, target)

sys.meta_path = [Only if finder is PathFinder else finder for finder in sys.meta_path]
for case in {list(TORCHVISIONS)!r}:
    if os.fork():
        assert os.wait()[1] == 0
        continue
    place = os.path.join({str(tmp_path)!r}, case)
    try:
        from search_spaces.builders import timm_compat
    except RuntimeError:
        print(case, "RuntimeError", sep=": ")
    else:
        print(case, bool(timm_compat.DECLARED), sep=": ")
    sys.exit()
"""
    assert run(code).splitlines() == [f"{case}: {repaired}" for case, (_, repaired) in TORCHVISIONS.items()]
