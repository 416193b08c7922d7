"""``docs/your-own-model.md`` as it stands: its file, its commands, and its network in an interpreter without this
project."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli_runs import invoke
from tests.support.few_images import write_few

PAGE = (Path(__file__).parents[1] / "docs" / "your-own-model.md").read_text()
PYTHON = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = [line.split()[1:] for block in re.findall(r"^```bash\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
            for line in block.splitlines()]  # fmt: skip
SHORTER = {"search": ["--measurements", "4", "--compare", "none"], "train-supernet": ["--epochs", "1"]}
PROGRAM = """
{lines}
import sys
print(tuple(logits.shape))
print([name for name in sys.modules if name.split(".")[0] in ("nas", "search_spaces", "timm", "tinynet")])
"""
ALONE = """
import sys
sys.path[:0] = [{folder!r}, {home!r}]
{lines}
import torch
print(tuple(model(torch.zeros(2, 1, 28, 28)).shape))
print([name for name in sys.modules if name.split(".")[0] in ("nas", "search_spaces", "predictors", "timm")])
"""


def test_the_page_can_be_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On few images of the embedded data set."""
    write_few(tmp_path / "few.npz")
    monkeypatch.setattr("nas.data.sources.embedded.ARRAYS", tmp_path / "few.npz")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("NAS_ALLOWED_CODE", "")
    source, loading, program, looking = PYTHON
    (tmp_path / "tinynet.py").write_text(source)
    for words in COMMANDS:
        result = invoke(*words, *SHORTER.get(words[0], ()))
        assert result.code == 0, result.err
    (folder,) = (tmp_path / "runs" / "tiny" / "export").iterdir()
    code = ALONE.format(folder=str(folder), home=str(tmp_path), lines=loading)
    for text, shape in ((code, "(2, 10)"), (PROGRAM.format(lines=program), "(5, 10)")):
        words = [sys.executable, "-I", "-c", text]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [shape, "[]"]
    scope: dict[str, object] = {}
    exec(compile(looking, "docs/your-own-model.md", "exec"), scope)
    assert {"blocks.depth", "stem.width"} <= {gene.name for gene in scope["elastic"].genes}  # type: ignore[attr-defined]
