"""Objectives: one row each, which commands, tables, plots and searches read."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from nas.search.bounds import Bounds
from nas.search.costs import CandidateCosts
from nas.search.objectives import OBJECTIVES, find_objective, misfits, with_unit
from predictors.costs.network import Costs
from predictors.costs.tables import CostTables
from predictors.targets.target import load_target
from search_spaces import get_space
from search_spaces.architecture import Interface

SPACE = get_space("mbv3-tiny")
COSTS = CandidateCosts(SPACE, CostTables(SPACE, Interface(1, 10)), load_target("cortex-a72"), "int8")


def test_every_objective_has_a_bound_and_every_bound_an_objective() -> None:
    assert {row.bound for row in OBJECTIVES.values()} == {field.name for field in fields(Bounds)} - {"elsewhere"}


def test_columns_are_the_objectives_in_order_then_other_devices() -> None:
    wide = replace(COSTS, others=(load_target("cortex-a53"),))
    vectors = SPACE.sample(np.random.default_rng(0), 5)
    names = [column.name for column in wide.columns]
    assert names == [*OBJECTIVES, "latency:cortex-a53"]
    for i, name in enumerate(names):
        np.testing.assert_array_equal(wide.of(vectors)[:, i], wide.column(name, vectors))
        assert wide.columns[i] == find_objective(name)


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "latency"])
def test_a_column_is_the_figure_of_a_member(name: str) -> None:
    vectors = SPACE.sample(np.random.default_rng(1), 5)
    exact: list[Costs] = [COSTS.exact(vector) for vector in vectors]
    assert [getattr(costs, OBJECTIVES[name].key) for costs in exact] == COSTS.column(name, vectors).tolist()


def test_words_for_people() -> None:
    assert with_unit("size", 24_312) == "size 24.31 kB"
    assert with_unit("latency:cortex-a53", 1.2) == "latency:cortex-a53 1.2 ms"
    assert with_unit("error", 0.1) == "error 0.1"
    assert [OBJECTIVES[n].text(v) for n, v in [("latency", 1.23456), ("size", 24_312), ("macs", 1.5e6)]] == [
        "1.235", "24.3", "1.50"
    ]  # fmt: skip


def test_what_exceeds_the_memory_of_a_device_is_said() -> None:
    small = replace(load_target("cortex-m7"), flash_bytes=1000, ram_bytes=None)
    (text,) = misfits(small, {"size": 2000, "memory": 1e9})
    assert text == "2 kB of weights exceed the 1 kB of flash that cortex-m7 has for them"
    assert not misfits(small, {"size": 1000, "memory": 1e9})
