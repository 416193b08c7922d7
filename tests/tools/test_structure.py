"""Counting the structure of a checkout, on small ones that can be counted by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools import structure


def figures(root: Path, files: dict[str, str]) -> dict[str, structure.Figure]:
    """Write a checkout, and count it: figures by title."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return {f.title.strip(): f for part in structure.count(root).values() for f in part}


def values(root: Path, files: dict[str, str], *titles: str) -> list[float]:
    """Write a checkout, and count it: the values of some figures."""
    counted = figures(root, files)
    return [counted[title].value for title in titles]


def test_the_widest_folder_is_counted_without_its_init(tmp_path: Path) -> None:
    files = {f"nas/x{i}.py": "" for i in range(21)} | {f"nas/sub/x{i}.py": "" for i in range(20)}
    counted = figures(tmp_path, files | {"nas/__init__.py": "", "tests/test_x.py": "", "benchmarks/x.py": ""})
    assert (counted["files in the widest folder"].value, counted["files in the widest folder"].items) == (21, ["nas"])
    assert counted["folders with more than 20 files"].items == ["nas 21"]
    assert counted["files"].value == 42


def test_lines_of_code_leave_out_blank_ones_comments_and_docstrings(tmp_path: Path) -> None:
    text = '"""One.\n\nThree.\n"""\n\n# six\nX = 1  # code\n"""Of X."""\nY = """\n# code\n"""\n\n\ndef f(): "doc"\n'
    counted = figures(tmp_path, {"nas/a.py": text, "nas/b.py": "x = 1\n" * 600, "cli.py": "", "nas/c.py": "\n\n"})
    assert [counted[t].value for t in ("lines", "of code", "lines of a file: median")] == [616, 605, 8]
    assert (counted["longest"].value, counted["longest"].items) == (600, ["nas/b.py"])
    assert counted["files with more than 500 lines"].items == ["nas/b.py 600"]


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (2, 2), (10, 9), (11, 10), (20, 18)])
def test_nine_files_of_ten_are_no_longer_than_the_90th_percentile(tmp_path: Path, count: int, expected: int) -> None:
    assert values(tmp_path, {f"nas/x{i}.py": "\n" * i for i in range(1, count + 1)}, "90th percentile") == [expected]


IMPORTS = {
    "cli.py": "import nas.cli.main\n",
    "nas/__init__.py": "",
    "nas/cli/main.py": "def f():\n    from ..events import E\n    from nas.data import x\n",
    "nas/events.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import data_c\n",
    "nas/data.py": "from .data_b import y\nfrom .data_b import z\nimport os\n",
    "nas/data_b.py": "",
    "nas/data_c.py": "from nas import data_b\n",
}


def test_arrows_are_pairs_of_files_lazy_ones_too(tmp_path: Path) -> None:
    titles = ("units", "arrows between units", "in one room, outside functions", "arrows between files",
              "of different folders", "arrows between folders")  # fmt: skip
    # units: cli.py, nas/__init__.py, nas/cli, nas/events.py and the group data, data_b, data_c; between them:
    # cli.py -> nas/cli, nas/cli -> events, nas/cli -> group, events -> group, the last one
    # alone in one room and outside functions
    assert values(tmp_path, IMPORTS, *titles) == [5, 4, 1, 6, 3, 2]


def test_two_files_of_a_prefix_are_no_group(tmp_path: Path) -> None:
    del (files := dict(IMPORTS))["nas/data_c.py"]
    # cli.py -> nas/cli, nas/cli -> events, nas/cli -> data, data -> data_b, and events -> nas/__init__.py, since the
    # name that it asks for is no file
    assert values(tmp_path, files, "units", "arrows between units") == [6, 5]


def test_files_named_in_texts_only(tmp_path: Path) -> None:
    files = {
        "nas/a/__init__.py": 'TABLE = {"b": ".b", "c": "nas.a.c:C", "d": "nas.d", "no": "nas.nowhere"}\n',
        "nas/a/b.py": '"""nas.d"""',
        "nas/a/c.py": "",
        "nas/d.py": 'from .a import b\nNAMES = ("nas.a.b", "nas")\n',
    }
    counted = figures(tmp_path, files)
    assert counted["by text only"].items == [f"nas/a/__init__.py -> nas/{name}.py" for name in ("a/b", "a/c", "d")]
    assert counted["arrows between files"].value == 1


def test_circles_are_listed_by_file_and_by_folder(tmp_path: Path) -> None:
    files = {
        "nas/a.py": "from . import b",
        "nas/b.py": "def f():\n    from .c import x",
        "nas/c.py": "import nas.a\nimport nas.c",
        "nas/d.py": "from .a import x",
        "nas/x/a.py": "from ..y.a import q",
        "nas/y/b.py": "from ..x.b import q",
        "nas/y/a.py": "",
        "nas/x/b.py": "",
    }
    counted = figures(tmp_path, files)
    assert counted["circles of files"].items == ["nas/a.py <-> nas/b.py <-> nas/c.py"]
    assert counted["circles of folders"].items == ["nas/x <-> nas/y"]


def test_back_arrows_and_borrowed_private_files(tmp_path: Path) -> None:
    files = {
        "search_spaces/a.py": "def f():\n    from predictors.b import x",
        "predictors/b.py": "import search_spaces.a",
        "nas/x/a.py": "from ._b import q\nfrom ..y import _c\nfrom ..y import __init__",
        "nas/x/_b.py": "",
        "nas/y/_c.py": "",
    }
    counted = figures(tmp_path, files)
    assert counted["back arrows"].items == ["search_spaces/a.py -> predictors/b.py"]
    assert counted["private files borrowed"].items == ["nas/x/a.py -> nas/y/_c.py"]


RECORDS = ("written dict[str, Any]", "by another name", "other spellings", "of public functions")


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ("def f(a: dict[str, Any], *b: dict[str, Any], c: int = 0, **d: 'dict[str, Any]') -> int", [3, 0, 0, 3]),
        ("def f(a: list[dict[str, Any]] | None) -> Callable[[dict[str, Any]], None]", [2, 0, 0, 2]),
        ("def _f(a: dict[str, dict[str, Any]]) -> dict[str, int]", [1, 0, 0, 0]),
        ("def f(a: Mapping[str, Any], b: dict[str, object], c: t.Mapping[str, t.Any], d: dict) -> None", [0, 0, 4, 4]),
        ("def f(a: Record, b: forms.Record, c: Local, d: list[Deep], e: 'Record') -> Named", [0, 6, 0, 6]),
        ("def f(a: Sub, b: Loose, c: dict[Key, What]) -> Whole", [0, 1, 3, 4]),
        ("def f(a: Literal['dict[str, Any]'], b: Annotated[int, 'dict[str, Any]'], c: dict[int, Any])", [0, 0, 0, 0]),
        ("def f(a: Annotated[dict[str, Any], Option(help='Of what.')])", [1, 0, 0, 1]),
        ("class A:\n  def __init__(self, a: dict[str, Any]): ...\n  def _g(self, a: dict[str, Any])", [2, 0, 0, 1]),
    ],
)
def test_records_in_signatures_under_any_name(tmp_path: Path, signature: str, expected: list[float]) -> None:
    forms = (
        "from typing import Any\nRecord = dict[str, Any]\nNamed = NewType('Named', dict[str, Any])\n"
        "class Sub(dict[str, Any]): ...\nLoose = Mapping[str, Any]\nWhole: TypeAlias = 'dict[str, object]'\n"
        "Key = str\nWhat = Any\n"
    )
    head = (
        "import typing as t\nfrom typing import Any\nfrom . import forms\nfrom .middle import Deep\n"
        "from .forms import Record, Named, Sub, Loose, Key, What, Whole\nLocal = list[Record]\n"
    )
    files = {"nas/forms.py": forms, "nas/middle.py": "from .forms import Record as Deep\n"}
    assert values(tmp_path, files | {"nas/a.py": f"{head}{signature}: ...\n"}, *RECORDS) == expected


def test_records_of_the_store_of_fields_and_of_aliases_are_apart(tmp_path: Path) -> None:
    text = "R = dict[str, Any]\nclass A:\n    a: R\n    b: Mapping[str, Any] = {}\ndef f(a: dict[str, Any]) -> R: ...\n"
    titles = ("in signatures outside nas/store/", "in signatures in nas/store/", "in fields of classes",
              "aliases that hold one", "lines of text with dict[str, Any]")  # fmt: skip
    assert values(tmp_path, {"nas/store/a.py": text, "nas/b.py": text}, *titles) == [2, 2, 4, 2, 4]


def test_an_alias_of_itself_ends(tmp_path: Path) -> None:
    text = 'Json = dict[str, "Json"] | list["Json"] | dict[str, Any]\nA = B\nB = A\ndef f(a: Json, b: A) -> None: ...\n'
    assert values(tmp_path, {"nas/a.py": text}, *RECORDS) == [0, 1, 0, 1]


def test_look_ups_by_a_written_key(tmp_path: Path) -> None:
    text = "a['x'] = a[\"y\"][0] + a[k]\ndel a['z']\nb = f'{a[\"v\"]}', a.get('w', 1), a.get(k)\n"
    files = {"nas/a.py": text + "L = Literal['x']\n", "nas/store/a.py": text, "predictors/a.py": text}
    titles = ('["name"] in nas/ outside nas/store/', '.get("name") in nas/ outside nas/store/', "both in nas/store/")
    assert values(tmp_path, files, *titles, 'in the text of nas/: ["name"]') == [4, 1, 5, 4]


def test_files_that_describe_a_runtime(tmp_path: Path) -> None:
    files = {
        "nas/a.py": 'X = "onnx-uint8"',
        "nas/b.py": 'HELP = "Formats: onnx,executorch."',
        "nas/c.py": 'def f(p):\n    return f"{p}.onnx"',
        "nas/d.py": "def f():\n    import onnxruntime as ort",
        "nas/e.py": "def f(uint8=False): ...",
        "nas/f.py": "class A:\n    executorch: bool = False",
        "nas/runtimes/table.py": 'RUNTIMES = {"onnx": 1}',
        "nas/runtimes/onnx_timing.py": "import onnx",
        "nas/no.py": '"""About onnx."""\nfrom .runtimes import onnx\nX = "ONNX, onnxlike"',
    }
    counted = figures(tmp_path, files)
    assert counted["files that describe a runtime"].items == [
        *(f"nas/{x}.py" for x in "abcdef"),
        "nas/runtimes/table.py",
    ]
    assert counted["outside nas/runtimes/"].value == 6


def test_files_that_describe_the_objectives(tmp_path: Path) -> None:
    files = {
        "nas/a.py": 'U = {"latency": (1.0, " ms"), "size": 1, "macs": 1, "memory": 1}',
        "nas/b.py": "def f(max_latency=0, max_size=1e6, max_macs=0, max_memory=0): ...",
        "nas/c.py": "def f(m):\n    p(m['latency_ms'], m['size_bytes'] / 1e3, m['macs'], m['peak_activation_bytes'])",
        "nas/search/objectives.py": 'X = (C("latency", "ms"), C("size"), C("macs"), C("memory"))',
        "nas/no_unit.py": 'U = ("latency", "size", "macs", "memory")',
        "nas/three.py": 'U = {"latency": "ms", "size": "kB", "macs": 1}',
        "nas/apart.py": 'A = {"latency": "ms", "size": "kB"}\nB = {"macs": 1e6, "memory": 1}',
    }
    counted = figures(tmp_path, files)
    places = counted["files that describe the objectives"].items
    assert places == ["nas/a.py", "nas/b.py", "nas/c.py", "nas/search/objectives.py"]
    assert counted["outside nas/search/objectives.py"].value == 3


def test_places_that_list_the_training_settings(tmp_path: Path) -> None:
    names = [f"setting_{i}" for i in range(20)]
    config = "class TrainConfig:\n" + "".join(f"    {n}: int = 0\n" for n in names)
    files = {
        "nas/training/config.py": config,
        "nas/a.py": f"def train({', '.join(names[:10])}): ...\ndef few({', '.join(names[:9])}): ...",
        "nas/b.py": f"x(**k, {', '.join(f'{n}=0' for n in names[:10])})\nx({', '.join(f'{n}=0' for n in names[:9])})",
        "nas/c.py": f"A = {[n.replace('_', '-') for n in names[:5]]}\nB = {names[:4]}",
    }
    counted = figures(tmp_path, files)
    assert counted["places that list the training settings"].items == [
        "nas/a.py:1 FunctionDef, 10 of 20", "nas/b.py:1 Call, 10 of 20", "nas/c.py:1 List, 5 of 20",
        "nas/training/config.py:1 ClassDef, 20 of 20",
    ]  # fmt: skip
    assert counted["outside nas/training/config.py"].value == 3


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the script as a command."""
    return subprocess.run([sys.executable, structure.__file__, *words], capture_output=True, text=True, check=False)


def test_the_command_prints_one_or_two_columns(tmp_path: Path) -> None:
    for name, count in (("old", 3), ("new", 2)):
        (tmp_path / name / "nas").mkdir(parents=True)
        for i in range(count):
            (tmp_path / name / "nas" / f"x{i}.py").write_text("from . import x0, x1\n")
    done = run("--root", tmp_path / "new", "--compare", tmp_path / "old")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0] == ["before", "after"]
    assert ["files", "3", "2"] in rows
    assert "nas/x0.py <-> nas/x1.py" in done.stdout
    content = json.loads(run("--root", tmp_path / "new", "--json").stdout)
    assert content["count"]["FILES"]["files"] == {"value": 2, "items": []}


def test_what_cannot_be_counted_is_named(tmp_path: Path) -> None:
    assert "holds no Python files" in run("--root", tmp_path).stderr
    (tmp_path / "cli.py").write_text("def f(:\n")
    done = run("--root", tmp_path)
    assert (done.returncode, "cli.py, line 1" in done.stderr, "Traceback" in done.stderr) == (1, True, False)
