"""Every module of the benchmarks can be imported, every script explains itself, and every folder has a page."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [path for path in sorted((ROOT / "benchmarks").rglob("*.py")) if path.stem != "__init__"]
SCRIPTS = [path for path in FILES if "argparse" in path.read_text() and "def main() ->" in path.read_text()]
PAGES = [*sorted((ROOT / "benchmarks").rglob("*.md")), ROOT / "tests" / "robustness" / "README.md"]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_modules_import(path: Path) -> None:
    importlib.import_module(module_name(path))


@pytest.mark.parametrize("path", SCRIPTS, ids=module_name)
def test_scripts_explain_themselves(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [path.name, "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(module_name(path)).main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")


def test_every_folder_of_scripts_has_a_page() -> None:
    folders = {path.parent for path in SCRIPTS} - {ROOT / "benchmarks" / "support"}
    assert {folder / "README.md" for folder in folders} <= set(PAGES)


def test_commands_on_the_pages_exist() -> None:
    written = {name for page in PAGES for name in re.findall(r"python -m (\w+(?:\.\w+)+)(?!\.)", page.read_text())}
    modules = {module_name(path) for path in (*FILES, *(ROOT / "tests" / "robustness").glob("*.py"))}
    assert len(written) > 12
    assert written <= modules
