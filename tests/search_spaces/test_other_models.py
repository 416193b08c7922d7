"""Networks of transformers and torchvision, of any task: what ``benchmarks.spaces.other_models`` shows of each."""

from __future__ import annotations

import importlib.util

import pytest

from benchmarks.spaces.other_models import check
from benchmarks.spaces.other_networks import NAMES
from tests.support.long_forms import long_form

SHORT = ("torchvision.squeezenet1_1",)


@pytest.mark.parametrize("name", long_form(SHORT, [name for name in NAMES if name not in SHORT]))
def test_it_becomes_elastic(name: str) -> None:
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        pytest.skip("its package isn't installed")
    found = check(name)
    assert found.equal
    assert found.widths
    assert found.least < 1
    assert found.rebuilt < 1e-5
    assert found.permuted < 1e-6
