"""The algebra of search spaces, against brute force and closed forms."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import Architecture, SearchSpace, get_space
from search_spaces.errors import UsageError, UserError
from search_spaces.families.efficientnet import EfficientNetFamily
from search_spaces.genes import Gene
from search_spaces.presets.efficientnet import inverted
from tests.support.long_forms import long_form
from tests.support.spaces import NAMES, SHORT

SMALL = SearchSpace(
    "small",
    EfficientNetFamily(
        "mobilenetv3_large_100",
        resolutions=(16, 32),
        stems=(8,),
        stages=(
            inverted((8,), (1, 2), (3, 5), (2,), stride=2),
            inverted((8, 16), (1, 2, 3), (3,), (2, 3), stride=1),
        ),
    ),
)
ANY_SPACE = pytest.mark.parametrize("name", long_form(["small", *SHORT], [n for n in NAMES if n not in SHORT]))
SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(("choices", "words"), [((3, 2), "smallest first"), ((2, 2), "each once"), (("a",), "numbers")])
def test_choices_ascend(choices: tuple[int, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Gene("depth", choices)


def test_enumeration_counts_every_architecture_once() -> None:
    found = list(SMALL.enumerate())
    assert len(found) == len(set(found)) == SMALL.size
    # resolutions x (one or two blocks of 2 kernels) x widths x (one to three blocks of 2 expansions)
    assert SMALL.size == 2 * (2 + 4) * 2 * (2 + 4 + 8)


def test_enumeration_agrees_with_all_vectors() -> None:
    grid = np.stack(np.meshgrid(*[range(n) for n in SMALL.cardinality], indexing="ij"), -1)
    everything = grid.reshape(-1, len(SMALL.genes))
    assert {SMALL.decode(v) for v in everything} == set(SMALL.enumerate())
    assert len(np.unique(SMALL.canonical(everything), axis=0)) == SMALL.size


BLOCK = 3 * 3
STAGE = BLOCK**2 + BLOCK**3 + BLOCK**4  # two to four blocks of three kernels and three expansions


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mbv3-large", 4 * (2 * STAGE) ** 5),
        ("ofa-mbv3-w1.0", 25 * 7371**5),
        ("ofa-mbv3-w1.2", 17 * 7371**5),
        ("ofa-proxyless", 25 * STAGE**5 * BLOCK),
        ("mcunet", 12 * 9 * STAGE**5 * BLOCK),
        # resolutions, stem and head; per stage widths x depths x kernels x expansions
        ("attentivenas", 4 * 4 * 8 * 36 * 48 * 48 * 108 * 48 * 8),
    ],
)
def test_sizes_in_closed_form(name: str, expected: int) -> None:
    """7371 and the number of AttentiveNAS architectures are the published ones."""
    assert get_space(name).size == expected


@ANY_SPACE
@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_encode_inverts_decode(name: str, seed: int) -> None:
    space = SMALL if name == "small" else get_space(name)
    vectors = space.sample(np.random.default_rng(seed), 4)
    decoded = [space.decode(v) for v in vectors]
    np.testing.assert_array_equal(space.encode_many(decoded), vectors)
    for architecture in decoded:
        assert Architecture.from_json(architecture.to_json()) == architecture
        assert hash(Architecture.from_dict(json.loads(json.dumps(architecture.to_dict())))) == hash(architecture)


@ANY_SPACE
@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_genes_of_absent_blocks_do_not_count(name: str, seed: int) -> None:
    space = SMALL if name == "small" else get_space(name)
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, space.cardinality, size=(8, len(space.genes)))
    noise = rng.integers(0, space.cardinality, size=raw.shape)
    disturbed = np.where(space.active(raw), raw, noise)
    for a, b in zip(raw, disturbed, strict=True):
        assert space.decode(a) == space.decode(b)
        assert space.decode(a).id == space.decode(b).id


@ANY_SPACE
@given(seed=SEEDS, rate=st.floats(0, 1))
@settings(max_examples=10, deadline=None)
def test_mutation_always_changes_and_stays_canonical(name: str, seed: int, rate: float) -> None:
    space = SMALL if name == "small" else get_space(name)
    rng = np.random.default_rng(seed)
    parents = space.sample(rng, 16)
    children = space.mutate(rng, parents, rate)
    assert (children != parents).any(axis=1).all()
    np.testing.assert_array_equal(children, space.canonical(children))
    assert (children >= 0).all()
    assert (children < space.cardinality).all()


def test_extremes_have_extreme_genes() -> None:
    space = get_space("mbv3-tiny")
    assert all(value == space.genes[space.index[name]].choices[0] for name, value in space.smallest.genes)
    assert all(value == space.genes[space.index[name]].choices[-1] for name, value in space.largest.genes)


def test_wrong_architectures_are_refused() -> None:
    space = get_space("mbv3-tiny")
    genes = dict(space.smallest.genes)
    with pytest.raises(UserError, match=r"resolution = 999.*choices are"):
        space.encode(Architecture(space.name, tuple((genes | {"resolution": 999}).items())))
    with pytest.raises(UserError, match=r"s1\.b1\.kernel"):
        space.encode(Architecture(space.name, tuple((genes | {"s1.b1.kernel": 3}).items())))
    del genes["s1.width"]
    with pytest.raises(UserError, match=r"s1\.width"):
        space.encode(Architecture(space.name, tuple(genes.items())))


def test_unknown_space_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'mbv3-tiny'"):
        get_space("mbv3-tinny")
