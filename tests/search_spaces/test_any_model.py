"""The family of models of which nothing is known beforehand."""

from __future__ import annotations

import pytest
import torch

from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.builders.named_model import NamedModel
from search_spaces.errors import UsageError, UserError
from search_spaces.families.any_model import AnyFamily
from search_spaces.families.resnet import ResNetFamily
from tests.kits.family import check_tables
from tests.support.long_forms import LONG, long_form

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


def test_a_nearer_family_comes_first_unless_the_name_asks_for_any() -> None:
    assert isinstance(get_space("timm:test_resnet:resolution=64").family, ResNetFamily)
    assert isinstance(get_space("timm:test_resnet:family=any:resolution=64").family, AnyFamily)


def test_free_blocks_have_widths_of_their_own() -> None:
    name = "timm:resnet18:family=any:resolution=64"
    tied, free = (get_space(each).genes for each in (name, f"{name}:free=block"))
    inside = [gene for gene in tied if "each" in gene.name]
    assert inside
    assert len(free) == len(tied) + len(inside)


def test_fractions_and_kernels_are_those_of_the_name() -> None:
    space = get_space("timm:test_convnext:family=any:resolution=64:width=0.25,0.5:kernel=3")
    assert {choice for gene in space.genes if gene.kind == "kernel" for choice in gene.choices} == {3, 7}
    wide = next(gene for gene in space.genes if gene.kind == "width" and gene.choices[-1] == 64)
    assert wide.choices == (16, 32, 64)


def test_images_of_other_sides_take_a_model_that_is_built_for_them() -> None:
    for sides in ("64", "64,96"):
        space = get_space(f"timm:test_vit:family=any:resolution={sides}")
        model = space.build(space.smallest, Interface(1, 5), "meta")
        assert model(torch.empty(1, 1, 64, 64, device="meta")).shape == (1, 5)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("timm:test_vit:family=any:resolution=100", UsageError, "cannot take images of 100 px"),
        ("timm:test_resnet:family=none", UsageError, "the one word is family=any"),
        ("timm:test_resnet:free=block", UsageError, "add family=any"),
        ("timm:test_resnet:family=any:resolution=64:width=1:depth=1", UserError, "give fractions below 1"),
        pytest.param(
            "timm:qwen3_vit_88m_enc:resolution=64",
            UserError,
            "it does not give one value for each class",
            marks=LONG,
        ),
    ],
)
def test_unusable_names(name: str, error: type[UserError], message: str) -> None:
    with pytest.raises(error) as raised:
        get_space(name)
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 2


def test_rates_of_dropping_that_a_model_lacks_are_refused() -> None:
    model = NamedModel("ghostnet_050")
    assert model.to_json(Interface(3, 5))["options"] == {"drop_rate": 0.0}  # timm's own is 0.2
    model.build(Interface(3, 5), "meta", (0.1, 0.0))
    with pytest.raises(UsageError, match="`drop_path`: timm's ghostnet_050 has none"):
        model.build(Interface(3, 5), "meta", (0.1, 0.1))


def test_parts_of_skeletons_depend_on_fewer_genes_than_their_costs() -> None:
    space = get_space("timm:regnety_002:width=0.5:resolution=64,96")
    assert {block.path for block in space.blocks} >= {"", "s3.b3", "s4.b7"}
    assert max(len(block.genes) for block in space.blocks) <= 7


def test_what_stays_says_why_and_where() -> None:
    stays = get_space("timm:test_vit:family=any").family.stays()
    reason = next(reason for reason, names in stays.items() if "blocks.0.attn.qkv" in names)
    assert "timm/" in reason
    assert ".py:" in reason
    assert not any("filter" in reason for reason in stays)
    assert get_space("mbv3-tiny").family.stays() == {}
