"""Costs against torch's flop counter, the built model and brute-force liveness."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from predictors.costs import (
    COLUMN,
    FEATURES,
    CostTables,
    architecture_features,
    costs_of,
    peak_activation_bytes,
    size_bytes,
    total_macs,
)
from search_spaces import PRESETS, SearchSpace, get_space
from search_spaces.ops import trace

SEEDS = st.integers(0, 2**32 - 1)
ANY_PRESET = pytest.mark.parametrize("space", PRESETS.values(), ids=lambda s: s.name)


@ANY_PRESET
@given(seed=SEEDS)
@settings(max_examples=8, deadline=None)
def test_macs_are_half_of_the_flop_counter(space: SearchSpace, seed: int) -> None:
    architecture = space.decode(space.sample(np.random.default_rng(seed), 1)[0])
    costs = costs_of(architecture_features(space, architecture, 10, 3), "fp32")
    model = space.build(architecture, 10, 3).eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, architecture.resolution, architecture.resolution))
    assert 2 * costs.macs == counter.get_total_flops()
    assert costs.params == sum(p.numel() for p in model.parameters())


@ANY_PRESET
def test_tables_equal_traced_models(space: SearchSpace) -> None:
    tables = CostTables(space, 10, 1)
    vectors = np.concatenate([space.extremes(), space.sample(np.random.default_rng(0), 10)])
    features = tables.features(vectors)
    for vector, row in zip(vectors, features, strict=True):
        np.testing.assert_array_equal(row, architecture_features(space, space.decode(vector), 10, 1))


def test_additive_equals_weighted_features() -> None:
    space = get_space("mbv3-tiny")
    tables = CostTables(space, 10, 1)
    rng = np.random.default_rng(0)
    vectors = space.sample(rng, 200)
    weights = rng.random(len(FEATURES)) * (np.array(FEATURES) != "live")
    np.testing.assert_allclose(tables.additive(weights, vectors), tables.features(vectors) @ weights, rtol=1e-12)
    live = np.eye(len(FEATURES))[COLUMN["live"]]
    np.testing.assert_array_equal(tables.additive(live, vectors, "max"), tables.features(vectors)[:, -1])


def test_size_and_peak_by_hand() -> None:
    """A 3x3 convolution with ReLU, a residual 1x1 pair, pooling and a linear layer."""

    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = torch.nn.Conv2d(1, 4, 3, padding=1)
            self.b = torch.nn.Conv2d(4, 8, 1, bias=False)
            self.c = torch.nn.Conv2d(8, 4, 1, bias=False)
            self.d = torch.nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.a(x).relu()
            x = x + self.c(self.b(x).relu())
            return self.d(x.mean((2, 3)))

    from predictors.costs import op_features

    ops = trace(Small().eval().to("meta"), 1, 8)
    assert [op.kind for op in ops] == ["conv", "pointwise", "pointwise", "elementwise", "pool", "linear"]
    plane = 64
    # At c its input (8 planes), its output (4) and the residual (4) are alive.
    assert max(op.live for op in ops) == 16 * plane
    assert [op.live for op in ops][:2] == [5 * plane, 12 * plane]
    row = op_features(ops, 0)
    weights, channels = 4 * 9 + 32 + 32 + 8, 4 + 8 + 4 + 2
    assert size_bytes(row, "int8") == weights + 8 * channels
    assert size_bytes(row, "fp32") == 4 * weights + 4 * channels
    assert peak_activation_bytes(row, "fp32") == 4 * peak_activation_bytes(row, "int8") == 4 * 16 * plane
    assert total_macs(row) == plane * (36 + 32 + 32) + 8


def test_larger_choices_never_cost_less() -> None:
    space = get_space("mbv3-tiny")
    tables = CostTables(space, 10, 1)
    rng = np.random.default_rng(1)
    vectors = space.sample(rng, 100)
    grown = vectors.copy()
    gene = rng.integers(len(space.genes), size=100)
    rows = np.arange(100)
    grown[rows, gene] = np.minimum(grown[rows, gene] + 1, space.cardinality[gene] - 1)
    before, after = tables.features(vectors), tables.features(space.canonical(grown))
    assert (total_macs(after) >= total_macs(before)).all()
    assert (after[:, COLUMN["params"]] >= before[:, COLUMN["params"]]).all()
