"""Text files are UTF-8 on every machine, also where the system has another encoding."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_OPENERS = {"open": 1, "fdopen": 1, "read_text": 9, "write_text": 9}
"""Functions that open text files -> where their mode stands; the last two have none."""


def unencoded(tree: ast.AST) -> Iterator[int]:
    """Lines that open a text file and say no encoding."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name not in _OPENERS or "encoding" in {word.arg for word in node.keywords}:
            continue
        if name == "open" and isinstance(function, ast.Attribute):
            if not node.args or not isinstance(node.args[0], ast.Constant) or not str(node.args[0].value).isalpha():
                continue  # of something else than a file, such as an archive
            mode = node.args[0]
        else:
            mode = node.args[_OPENERS[name]] if len(node.args) > _OPENERS[name] else ast.Constant("r")
        if not (isinstance(mode, ast.Constant) and "b" in str(mode.value)):
            yield node.lineno


@pytest.mark.parametrize("package", ["nas", "search_spaces", "predictors", "cli.py"])
def test_no_text_file_is_opened_in_the_encoding_of_the_system(package: str) -> None:
    at = ROOT / package
    files = [at] if at.is_file() else sorted(at.rglob("*.py"))
    assert files
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in files
        for line in unencoded(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found


def test_what_is_found() -> None:
    code = "open(p)\nopen(p, 'rb')\np.read_text()\np.open('w')\np.open('rb')\nImage.open(f)\nopen(p, 'a', encoding='x')"
    assert list(unencoded(ast.parse(code))) == [1, 3, 4]
