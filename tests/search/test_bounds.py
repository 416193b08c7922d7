"""Bounds: an amount with or without its unit, and what is said of one that bounds nothing or excludes all."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nas.search.bounds import Bounds, amount, parse_limit
from nas.search.costs import CandidateCosts
from nas.search.objectives import OBJECTIVES, find_objective
from predictors.costs.tables import CostTables
from predictors.targets.target import load_target
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.errors import InfeasibleError, UsageError

SPACE = get_space("mbv3-tiny")
COSTS = CandidateCosts(SPACE, CostTables(SPACE, Interface(1, 10)), load_target("cortex-a72"), "int8")
POWERS = {
    "latency": {"": 0, "ms": 0, "s": 3, "us": -3, "µs": -3},
    "size": {"": 3, "kb": 3, "KB": 3, "kB": 3, "B": 0, "MB": 6, "mb": 6, "GB": 9},
    "memory": {"": 3, "kB": 3, "B": 0, "MB": 6},
    "macs": {"": 6, "M": 6, "k": 3, "G": 9, "MMACs": 6, "macs": 0, "GMACs": 9},
}
"""Powers of ten, of the cost's own unit, that a limit's units stand for."""
WRITTEN = [(name, unit) for name, units in POWERS.items() for unit in units]


@given(
    st.sampled_from(WRITTEN),
    st.decimals("0.001", "99999", places=3, allow_nan=False),
    st.sampled_from(["", " ", "  "]),
)
@example(("size", "kB"), Decimal(100), "")
def test_an_amount_is_its_number_times_its_unit(written: tuple[str, str], number: Decimal, space: str) -> None:
    name, unit = written
    limit = parse_limit(OBJECTIVES[name], f"{number}{space}{unit}")
    assert limit == pytest.approx(float(number * Decimal(10) ** POWERS[name][unit]), rel=1e-14)


@given(st.sampled_from(list(OBJECTIVES)), st.floats(1e-6, 1e12))
def test_what_is_printed_is_read_again(name: str, value: float) -> None:
    written = amount(OBJECTIVES[name], value)
    assert amount(OBJECTIVES[name], parse_limit(OBJECTIVES[name], written)) == written


def test_binary_units() -> None:
    assert Bounds.parse(size="64KiB", memory="2 MiB") == Bounds(size_bytes=65536, memory_bytes=2 * 1024 * 1024)


def test_bounds_as_a_user_writes_them() -> None:
    bounds = Bounds.parse(["cortex-a53=7", "host=0.002s"], latency=2.5, size="0.1MB", macs=3, memory=None)
    assert bounds == Bounds(latency_ms=2.5, size_bytes=1e5, macs=3e6, elsewhere={"cortex-a53": 7, "host": 2})
    assert [bounds.limit(find_objective(n)) for n in (*OBJECTIVES, "latency:cortex-a53")] == [2.5, 1e5, 3e6, None, 7]
    assert bounds.in_words() == (
        "latency <= 2.5 ms, size <= 100 kB, MACs <= 3 M, latency on cortex-a53 <= 7 ms, latency on host <= 2 ms"
    )
    assert Bounds().in_words() == ""


@pytest.mark.parametrize("limit", ["", "kB", "1 parsec", "1,5", "3ms", "nan", "1e", "1 k B", "0x10", "1__0"])
def test_no_amount(limit: str) -> None:
    with pytest.raises(UsageError, match=r"`max_size` is .*; give a number of kB, or one with its unit: B, MB"):
        Bounds.parse(size=limit)


def test_limits_that_nothing_is_within() -> None:
    for limit in (0, "-1kB", "0 MB"):
        with pytest.raises(UsageError, match=r"`max_size` is .*; a limit must be above 0"):
            Bounds.parse(size=limit)
    with pytest.raises(UsageError, match="`size_bytes` is nan; a limit must be above 0"):
        Bounds(size_bytes=float("nan"))
    with pytest.raises(UsageError, match="`size_bytes` is inf; a limit must be a finite number"):
        Bounds(size_bytes=float("inf"))
    with pytest.raises(UsageError, match="unknown objective 'sise'; did you mean 'size'"):
        Bounds.parse(sise=3)


ALL = np.array([SPACE.extremes()[1], *SPACE.sample(np.random.default_rng(0), 3000)])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_bound_that_bounds_nothing_is_said_with_the_largest_network(name: str) -> None:
    row = OBJECTIVES[name]
    most = COSTS.column(name, ALL).max()  # of the largest network, and of many others
    (said,) = COSTS.idle_bounds(Bounds(**{row.bound: most * 1.01}))
    assert f"bounds nothing: the largest network has {most / row.unit.scale:.4g} {row.unit.name}" in said
    assert not COSTS.idle_bounds(Bounds(**{row.bound: most * 0.99}))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_bound_that_excludes_all_is_said_in_the_unit_of_tables(name: str) -> None:
    row = OBJECTIVES[name]
    least = COSTS.column(name, ALL).min()
    with pytest.raises(InfeasibleError) as caught:
        COSTS.feasible_start(Bounds(**{row.bound: least / 100}))
    assert f"{row.title} <= {amount(row, least / 100)} is not reachable: the smallest is" in str(caught.value)
    assert f" {row.unit.name}" in str(caught.value).rpartition("the smallest is")[2]
