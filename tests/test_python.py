"""The Python interface: complete, loaded late, and as its document shows it."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nas
from tests.support.few_images import write_few

ROOT = Path(__file__).parents[1]


def test_the_document_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On few images of the embedded data set."""
    write_few(tmp_path / "few.npz")
    monkeypatch.setattr("nas.data.sources.embedded.ARRAYS", tmp_path / "few.npz")
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "python.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    scope: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), scope)
    said = capsys.readouterr().out
    assert "10 classes; {'train': 100, 'search': 40, 'test': 40}" in said
    assert "model.int8.tflite" in said
    assert "'unheard-of' is not on the front" in said
    used = {node.attr for block in blocks for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Attribute)}
    functions = {name for name in nas.__all__ if inspect.isfunction(getattr(nas, name))}
    assert functions <= used  # nothing is left undescribed


def test_every_name_is_there_and_explained() -> None:
    # a module of that name would take its place as soon as something imports it
    assert not {module.name for module in pkgutil.iter_modules(nas.__path__)} & set(nas.__all__)
    for name in nas.__all__:
        found = getattr(nas, name)
        assert inspect.getdoc(found), name
        if inspect.isfunction(found):
            assert "return" in found.__annotations__, name
    assert set(nas.__all__) <= set(dir(nas))
    with pytest.raises(AttributeError, match="module 'nas' has no attribute 'serach'"):
        nas.serach  # noqa: B018


def test_importing_loads_nothing() -> None:
    code = "import sys, nas; before = set(sys.modules); nas.UserError; print(*{m.split('.')[0] for m in before})"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"torch", "timm", "numpy", "typer", "rich", "predictors", "search_spaces"} & set(loaded.split())
