"""Fronts and hypervolume against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nas.search.pareto import front, hypervolume

POINTS = st.integers(1, 12).flatmap(lambda n: arrays(np.float64, (n, 3), elements=st.integers(0, 6).map(float)))


@given(POINTS)
@settings(max_examples=60, deadline=None)
def test_front_by_definition(points: np.ndarray) -> None:
    mask = front(points)
    for i, p in enumerate(points):
        dominated = any((q <= p).all() and (q < p).any() for q in points)
        if mask[i]:
            assert not dominated
        else:
            assert dominated or any((points[j] == p).all() and mask[j] for j in range(len(points)))


@given(POINTS)
@settings(max_examples=60, deadline=None)
def test_hypervolume_by_counting_cells(points: np.ndarray) -> None:
    reference = np.full(3, 7.0)
    cells = np.array(list(itertools.product(range(7), repeat=3))) + 0.5
    covered = (points[:, None] <= cells[None]).all(-1).any(0).sum()
    assert hypervolume(points, reference) == pytest.approx(covered)


def test_nothing_is_an_empty_front() -> None:
    assert front(np.zeros((0, 2))).shape == (0,)
    assert hypervolume(np.zeros((0, 2)), np.ones(2)) == 0
