"""A run keeps the rules of quantization that it began with; what is shipped follows them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nas.store.records import FIRST_RULES, RULES
from nas.store.run import Run
from nas.workflows.trained import open_trained
from search_spaces.errors import UserError
from tests.support.cli_runs import invoke


def test_a_run_keeps_the_rules_that_it_began_with(here: Path) -> None:
    file = here / "run" / "run.json"
    facts = json.loads(file.read_text())
    now = open_trained(Run(here / "run"))
    assert facts["rules"] == now.calibration.rules == RULES
    del facts["rules"]  # as in earlier versions
    file.write_text(json.dumps(facts))
    url = f"sqlite:///{here}/shared.db"
    former = open_trained(Run(here / "run"))
    assert former.calibration.rules == FIRST_RULES
    assert former.journal(url).name != now.journal(url).name  # equal weights, other integers
    file.write_text(json.dumps(facts | {"rules": RULES + 1}))
    with pytest.raises(UserError, match=f"trained by a later version of nas: .* rules {RULES + 1}, .* update nas"):
        open_trained(Run(here / "run"))


@pytest.mark.long
def test_a_litert_file_has_the_simulators_accuracy(here: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    assert invoke("export", "--run", "run", "--format", "litert", "--out", "lite").code == 0
    results = {row["what"]: row for row in json.loads((here / "lite" / "architecture.json").read_text())["results"]}
    assert results["model.int8.tflite"]["correct"] == next(
        row["correct"] for what, row in results.items() if what.startswith("simulator") and row["split"] == "test"
    )
    assert (here / "lite" / "classify_litert.py").exists()
    assert invoke("evaluate", "lite", "--run", "run").code == 0
