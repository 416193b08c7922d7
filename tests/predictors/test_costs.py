"""Costs against torch's flop counter, the built model and brute-force liveness."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from predictors.costs import memory, network, tables
from predictors.costs.cache import ROOT, SOURCES, load_tables, save_tables, table_format, table_path
from predictors.costs.memory import RULES, live
from predictors.costs.network import (
    COLUMN,
    FEATURES,
    PEAKS,
    architecture_features,
    costs_of,
    peak_activation_bytes,
    size_bytes,
    total_macs,
)
from predictors.costs.tables import CostTables, Entry
from search_spaces import PRESETS, SearchSpace, get_space
from search_spaces.architecture import Interface
from search_spaces.builders import timm_model
from search_spaces.genes import Floats, Vectors
from search_spaces.operators import deploy, operator, segments
from search_spaces.operators import trace as tracing
from search_spaces.operators.segments import structure
from search_spaces.operators.trace import trace
from tests.support.long_forms import LONG
from tests.support.spaces import NAMES

TINY = get_space("mbv3-tiny")

SEEDS = st.integers(0, 2**32 - 1)
OTHERS = [space for name, space in PRESETS.items() if name not in NAMES]  # these in test_families.py


@pytest.mark.long
@pytest.mark.parametrize("space", OTHERS, ids=lambda s: s.name)
@given(seed=SEEDS)
@settings(max_examples=2, deadline=None)
def test_macs_are_half_of_the_flop_counter(space: SearchSpace, seed: int) -> None:
    architecture = space.decode(space.sample(np.random.default_rng(seed), 1)[0])
    found = costs_of(architecture_features(space, architecture, Interface(3, 10)), "fp32")
    model = space.build(architecture, Interface(3, 10), "meta").eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, architecture.resolution, architecture.resolution, device="meta"))
    assert 2 * found.macs == counter.get_total_flops()
    assert found.params == sum(p.numel() for p in model.parameters())


def thinned(space: SearchSpace) -> SearchSpace:
    """A space with the first and the last choice of each gene, which keeps tests of large ones short."""
    thin = replace(space, name=f"{space.name}-thin")
    ends = [replace(g, choices=tuple(dict.fromkeys((g.choices[0], g.choices[-1])))) for g in space.genes]
    thin.__dict__["genes"] = tuple(ends)  # a cached property
    return thin


SMALL = ("mbv3-tiny", "ofa-resnet50-thin", "autoformer-tiny-thin")


@pytest.mark.parametrize(
    "space",
    [
        pytest.param(space, marks=[] if space.name in SMALL else [LONG])
        for space in (TINY, *map(thinned, PRESETS.values()))
    ],
    ids=lambda s: s.name,
)
def test_tables_equal_traced_models(space: SearchSpace) -> None:
    tables = CostTables(space, Interface(1, 10))
    vectors = np.concatenate([space.extremes(), space.sample(np.random.default_rng(0), 4)])
    features = tables.features(vectors)
    for vector, row in zip(vectors, features, strict=True):
        np.testing.assert_array_equal(row, architecture_features(space, space.decode(vector), Interface(1, 10)))


def test_equal_parts_are_run_once() -> None:
    """Blocks of one stage that are built alike are one structure; a stride or a width makes another."""
    blocks = TINY.build(TINY.largest, Interface(1, 10), "meta").blocks
    first = TINY.build(TINY.largest, Interface(1, 10), "meta").blocks
    assert structure(blocks[1][0]) == structure(first[1][0])
    assert structure(blocks[1][0]) != structure(blocks[1][1])
    wide, strided = torch.nn.Conv2d(4, 8, 3, padding=1), torch.nn.Conv2d(4, 8, 3, 2, padding=1)
    assert len({structure(m) for m in (wide, strided, torch.nn.Conv2d(4, 8, 3, padding=1))}) == 2


def written(folder: Path) -> list[Path]:
    return sorted(folder.glob("*"))


def fresh_features(vectors: Vectors) -> Floats:
    """As a new process would get them."""
    tables.tabulate.cache_clear()
    return CostTables(TINY, Interface(1, 10)).features(vectors)


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A cache of its own; notes each time that tables had to be filled."""
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    calls: list[int] = []
    traced = tables.traced_entries
    entries = cache(lambda space, interface: list(traced(space, interface)))  # once is slow enough

    def count(space: SearchSpace, interface: Interface) -> list[Entry]:
        calls.append(1)
        return entries(space, interface)

    monkeypatch.setattr(tables, "traced_entries", count)
    return calls


VECTORS = TINY.sample(np.random.default_rng(3), 50)


def test_tables_are_kept_on_disk_and_mended(tmp_path: Path, filled: list[int]) -> None:
    expected = fresh_features(VECTORS)
    np.testing.assert_array_equal(fresh_features(VECTORS), expected)
    assert len(filled) == 1
    (file,) = written(tmp_path / "cache")
    sound = file.read_bytes()
    flipped = bytearray(sound)
    flipped[len(sound) // 2] ^= 255
    for damage in (b"", sound[: len(sound) // 2], b"no archive", bytes(flipped)):
        file.write_bytes(damage)
        np.testing.assert_array_equal(fresh_features(VECTORS), expected)
        assert written(tmp_path / "cache") == [file]
        assert load_tables(file, [t.shape for t in CostTables(TINY, Interface(1, 10)).tables]) is not None
    assert len(filled) == 5


def test_tables_that_do_not_fit_are_not_taken(tmp_path: Path) -> None:
    file = tmp_path / "costs.npz"
    save_tables(file, [np.ones((3, 2)), np.ones((1, 2))])
    assert load_tables(file, [(3, 2), (1, 2)]) is not None
    assert load_tables(file, [(3, 2), (2, 2)]) is None
    assert load_tables(file, [(3, 2), (1, 2), (1, 2)]) is None


def test_a_cache_that_cannot_be_written_costs_only_time(
    tmp_path: Path, filled: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fresh_features(VECTORS)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "file" / "below"))
    np.testing.assert_array_equal(fresh_features(VECTORS), expected)
    np.testing.assert_array_equal(fresh_features(VECTORS), expected)
    assert len(filled) == 3


def test_the_name_of_a_table_follows_its_content(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NAS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    paths = {
        table_path(space, Interface(channels, classes), FEATURES)
        for space in (TINY, get_space("mbv3-small"), thinned(TINY))
        for classes in (10, 11)
        for channels in (1, 3)
    }
    assert len(paths) == 12
    assert {p.parent for p in paths} == {tmp_path / "nas"}
    assert table_path(TINY, Interface(1, 10), FEATURES) in paths


def test_the_files_that_decide_a_table_are_where_the_cache_looks_for_them() -> None:
    """A file that moves must be found again, or old tables would be taken for new ones."""
    assert len(set(table_format())) == len(SOURCES)
    for module in (tables, network, memory, deploy, operator, segments, tracing, timm_model):
        assert str(Path(module.__file__ or "").relative_to(ROOT)) in SOURCES


def test_additive_equals_weighted_features() -> None:
    space = get_space("mbv3-tiny")
    tables = CostTables(space, Interface(1, 10))
    rng = np.random.default_rng(0)
    vectors = space.sample(rng, 200)
    weights = rng.random(len(FEATURES)) * ~np.isin(FEATURES, PEAKS)
    np.testing.assert_allclose(tables.additive(weights, vectors), tables.features(vectors) @ weights, rtol=1e-12)
    for peak in PEAKS:
        one = np.eye(len(FEATURES))[COLUMN[peak]]
        np.testing.assert_array_equal(
            tables.lookup([table @ one for table in tables.tables], vectors, "max"),
            tables.features(vectors)[:, COLUMN[peak]],
        )


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

    from predictors.costs.network import op_features

    ops = trace(Small().eval().to("meta"), 1, 8)
    assert [op.kind for op in ops] == ["conv", "pointwise", "pointwise", "elementwise", "pool", "linear"]
    plane = 64
    # At c its input (8 planes), its output (4) and the residual (4) are alive.
    found = live(ops, RULES["in-place"])
    assert max(found) == 16 * plane
    assert found[:2] == [5 * plane, 12 * plane]
    row = op_features(ops, 0)
    weights, channels = 4 * 9 + 32 + 32 + 8, 4 + 8 + 4 + 2
    assert size_bytes(row, "int8") == weights + 8 * channels
    assert size_bytes(row, "fp32") == 4 * weights + 4 * channels
    assert peak_activation_bytes(row, "fp32") == 4 * peak_activation_bytes(row, "int8") == 4 * 16 * plane
    assert total_macs(row) == plane * (36 + 32 + 32) + 8


def test_larger_choices_never_cost_less() -> None:
    space = get_space("mbv3-tiny")
    tables = CostTables(space, Interface(1, 10))
    rng = np.random.default_rng(1)
    vectors = space.sample(rng, 100)
    grown = vectors.copy()
    gene = rng.integers(len(space.genes), size=100)
    rows = np.arange(100)
    grown[rows, gene] = np.minimum(grown[rows, gene] + 1, space.cardinality[gene] - 1)
    before, after = tables.features(vectors), tables.features(space.canonical(grown))
    assert (total_macs(after) >= total_macs(before)).all()
    assert (after[:, COLUMN["params"]] >= before[:, COLUMN["params"]]).all()
