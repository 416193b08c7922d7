"""The kit of families over every preset, and over one named timm model of every kind."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.kits import family
from tests.support.long_forms import LONG
from tests.support.spaces import DERIVED, NAMES, SHORT


def of_each(names: Sequence[str]) -> pytest.MarkDecorator:
    """A test of every space, by the process that has this space's other tests, and beside them: its supernet is built
    once. To lie beside each other they need the same numbers: names are a beginning of ``NAMES``."""
    marks = {name: [pytest.mark.xdist_group(name), *([] if name in SHORT else [LONG])] for name in names}
    groups = [pytest.param(name, marks=marks[name]) for name in names]
    return pytest.mark.parametrize("name", groups, scope="module")


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@of_each(NAMES)
def test_borrowed_equals_extracted_equals_timm(name: str, training: bool) -> None:
    family.check_borrowing(name, training)


@of_each(DERIVED)
def test_largest_is_the_named_model(name: str) -> None:
    family.check_named_model(name)


@of_each(NAMES)
def test_assembled_skeletons_equal_fresh_ones(name: str) -> None:
    family.check_assembly(name)


@of_each(NAMES)
def test_costs_equal_the_built_model(name: str) -> None:
    family.check_costs(name)


@of_each(NAMES)
def test_a_description_survives_json(name: str) -> None:
    family.check_description(name)


@of_each(NAMES)
def test_reordering_channels_changes_nothing(name: str) -> None:
    family.check_channel_groups(name)


@of_each(NAMES)
def test_genes_and_segments_fit_together(name: str) -> None:
    family.check_genes(name)
