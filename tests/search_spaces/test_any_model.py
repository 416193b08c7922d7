"""The family of models of which nothing is known beforehand."""

from __future__ import annotations

import pytest
import torch

from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.errors import UsageError
from search_spaces.families.any_model import AnyFamily
from tests.kits.family import check_tables
from tests.support.long_forms import long_form

MORE = (
    "timm:ghostnet_050:width=0.5:resolution=64",
    "timm:densenet121:width=0.5:resolution=64",
    "timm:cs3darknet_focus_s:width=0.5:resolution=64",
    "timm:swin_tiny_patch4_window7_224:width=0.5",
)


@pytest.mark.parametrize("name", long_form(["timm:regnety_002:width=0.5:resolution=64,96"], MORE))
def test_costs_by_table_are_those_of_the_networks(name: str) -> None:
    """Operators, weights, and the memory of networks whose parts do not follow one another."""
    check_tables(name)


def test_what_a_family_cannot_slice_is_sliced_anyway() -> None:
    space = get_space("timm:regnety_002:width=0.5:resolution=64,96")
    assert isinstance(space.family, AnyFamily)
    assert {gene.kind for gene in space.genes} == {"resolution", "depth", "width", "groups"}
    assert space.segments[0].path == ""
    largest = space.build(space.largest, Interface(1, 4), "meta")
    assert largest(torch.empty(1, 1, 64, 64, device="meta")).shape == (1, 4)


def test_a_block_drops_in_training_where_the_model_can() -> None:
    space = get_space("timm:regnety_002:width=0.5:resolution=64,96")
    dropping = space.family.build(space.smallest, Interface(3, 4), "meta", (0.1, 0.2))
    assert {type(module).__name__ for module in dropping.modules()} >= {"DropPath"}


def test_a_side_that_the_model_cannot_take() -> None:
    """A window of 7 x 7 needs 224 px; for one side alone the model is built anew."""
    with pytest.raises(UsageError, match="one other side"):
        get_space("timm:swin_tiny_patch4_window7_224:resolution=100,224")
    space = get_space("timm:swin_tiny_patch4_window7_224:width=0.5:resolution=112")
    assert space.genes[0].choices == (112,)
