"""What a shell offers after Tab, as the shells ask for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import nas.cli.completion
from nas.training.strategies.table import STRATEGIES
from predictors.targets.target import available_targets
from search_spaces import PRESETS

FRONT = [
    {"id": "0be9e6de-int8", "accuracy": {"value": 0.8245}, "latency_ms": 0.568},
    {"id": "cdb21eba-int8", "accuracy": {"value": 0.8325}, "latency_ms": 0.571},
]


@pytest.fixture
def found(empty: Path) -> Path:
    """A working directory with a run that was searched for two targets, and a damaged one."""
    run = empty / "runs" / "one"
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"config": {}, "data": {}, "complete": False}))
    (run / "search-cortex-a72.json").write_text(json.dumps({"front": FRONT}))
    (run / "search-x86-64.json").write_text(json.dumps({"front": [FRONT[0], FRONT[1] | {"id": "b1-int8"}]}))
    (run / "search-host.plan.json").write_text("{}")  # of an earlier version, and no result
    (empty / "runs" / "two").mkdir()
    (empty / "runs" / "two" / "run.json").write_text("{")
    os.utime(run / "run.json", (2e9, 2e9))
    return empty


CASES = {
    "nas search --target ": [*available_targets()],
    "nas search --target cortex-a72,x8": ["cortex-a72,x86-64"],
    "nas estimate resnet18 --target x8": ["x86-64"],
    "nas targets x8": ["x86-64"],
    "nas train-supernet --space ": [*PRESETS],
    "nas spaces mbv3-t": ["mbv3-tiny"],
    "nas train-supernet --strategy attentive": ["attentive-best", "attentive-worst"],
    "nas search --run runs/o": ["runs/one"],
    "nas report ": ["runs/one", "runs/two"],
    "nas export --candidate ": ["best", "fastest", "smallest", "all", "0be9e6de-int8", "cdb21eba-int8", "b1-int8"],
    "nas export --run runs/one --target x86-64 --candidate b": ["best", "b1-int8"],
    "nas finetune --target cortex-a72 c": ["cdb21eba-int8"],
    "nas evaluate 0": ["0be9e6de-int8"],
    "nas export --run runs/two --candidate ": ["best", "fastest", "smallest", "all"],
    "nas export --run nowhere --candidate a": ["all"],
}

_ASK = """
import contextlib, io, json, os, sys
import cli
found = []
for words in json.load(sys.stdin):
    os.environ.update(_NAS_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1))
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        cli.main()
    found.append(out.getvalue().split())
print(json.dumps([found, [name for name in ("torch", "timm", "optuna") if name in sys.modules]]))
"""


def test_bash_gets_names_and_loads_no_framework(found: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ASK], input=json.dumps([*CASES]), capture_output=True, text=True, check=True
    )
    answers, loaded = json.loads(done.stdout)
    assert dict(zip(CASES, answers, strict=True)) == CASES
    assert done.stderr == ""
    assert not loaded


def test_zsh_gets_texts_beside_the_names(found: Path) -> None:
    asked = {"_NAS_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "nas finetune --run runs/one cdb"}
    done = subprocess.run(
        [sys.executable, "-m", "cli"], capture_output=True, text=True, env=os.environ | asked, check=True
    )
    assert '"cdb21eba-int8":"cortex-a72\\\\: 83.25 %, 0.571 ms"' in done.stdout


def test_strategies_are_those_that_there_are() -> None:
    assert tuple(name for name, _ in nas.cli.completion.strategies("")) == tuple(STRATEGIES)
