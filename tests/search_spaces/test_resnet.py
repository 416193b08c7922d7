"""ResNet spaces against plain timm models, closed forms and the published figures of Once-for-All."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import make_divisible

from nas.supernet.borrow import named_shapes, plan
from predictors.costs.network import architecture_features, costs_of
from search_spaces import Architecture, get_space
from search_spaces.architecture import Interface
from search_spaces.builders.timm_model import timm_model
from search_spaces.families.options import inner_width
from tests.support.long_forms import long_form
from tests.support.named_models import check_against_timm, check_channel_groups, check_shapes, sizes

OFA = get_space("ofa-resnet50")
SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    "name",
    long_form(["resnet18", "ecaresnet26t"], ["skresnet18", "resnet26d", "seresnet18", "resnetblur18"]),
)
def test_networks_are_those_of_timm(name: str) -> None:
    check_against_timm(f"timm:{name}:depth=0.5,1:resolution=64", 64)


@pytest.mark.parametrize(
    "name",
    long_form(
        ["seresnet50", "resnest26d", "test_resnet"],
        [
            "resnext50_32x4d",
            "res2net50d",
            "ecaresnetlight",
            "resnetrs50",
            "wide_resnet50_2",
            "senet154",
            "resnet50_gn",
            "ecaresnet50d_pruned",
        ],
    ),
)
def test_shapes_fit(name: str) -> None:
    check_shapes(f"timm:{name}")


@pytest.mark.parametrize(
    ("name", "ordered"),
    [
        ("resnet18", ()),
        ("resnetblur18", ()),
        ("resnet26d", ()),
        ("seresnet50", ()),
        # efficient channel attention is a convolution over the channels: their order matters
        (
            "ecaresnet26t",
            tuple(f"layer{s}.{b}.{p}" for s in (1, 2, 3, 4) for b in (0, 1) for p in ("conv1", "conv3", "bn3", "down")),
        ),
    ],
)
def test_channel_groups(name: str, ordered: tuple[str, ...]) -> None:
    check_channel_groups(f"timm:{name}:resolution=64", 64, ordered)


def test_what_cannot_be_sliced_keeps_its_width() -> None:
    for name in ("resnext50_32x4d", "resnet50_gn", "skresnet18"):
        assert {gene.split(".")[-1] for gene in sizes(f"timm:{name}")} == {"resolution", "depth"}
    # 64 channels come in and 64 go out: without the shortcut's convolution that other widths would need
    assert "s1.width" not in sizes("timm:resnet18:width=0.5,1")
    assert sizes("timm:resnet18:width=0.5,1")["s2.width"] == (64, 128)
    # 16 x 4 channels would lose it
    assert sizes("timm:resnet26d:width=0.25,0.5,1")["s1.width"] == (32, 64)
    # the kernel of efficient channel attention has side 7 from 2,048 channels on, and 5 below
    assert sizes("timm:ecaresnet26t")["s3.width"] == (192, 256)
    assert "s4.width" not in sizes("timm:ecaresnet26t")


@given(width=st.integers(1, 4096), expand=st.floats(0.05, 1))
@settings(deadline=None)
def test_inner_width_rounds_as_timm(width: int, expand: float) -> None:
    assert inner_width(width, expand) == make_divisible(width * expand, 8)


@given(seed=SEEDS)
@settings(max_examples=4, deadline=None)
def test_ofa_widths_are_the_published_ones(seed: int) -> None:
    """Outputs are multiples of 8 near .65, .8 and 1 times the base's, inner widths near .2, .25 or .35 of these."""
    architecture = OFA.decode(OFA.sample(np.random.default_rng(seed), 1)[0])
    genes = dict(architecture.genes)
    model = timm_model(json.loads(json.dumps(OFA.family.describe(architecture, Interface(3, 10)))), device="meta")
    assert model.bn1.num_features in (40, 48, 64)
    for s, base in enumerate((256, 512, 1024, 2048), start=1):
        blocks = model.get_submodule(f"layer{s}")
        assert len(blocks) == genes[f"s{s}.depth"]
        choice = OFA.encode(architecture)[OFA.index[f"s{s}.width"]]
        width = make_divisible(base * (0.65, 0.8, 1.0)[choice], 8)
        for b, block in enumerate(blocks):
            inner = make_divisible(width * genes[f"s{s}.b{b}.expand"], 8)
            assert (block.conv1.out_channels, block.conv2.out_channels, block.conv3.out_channels) == (
                inner,
                inner,
                width,
            )
    large = OFA.build(OFA.largest, Interface(3, 10), "meta").state_dict()
    plan(large, named_shapes(model))


def test_ofa_count() -> None:
    """The published 2.46e12 has two depths and 3 x 3 widths of the stem, and no resolution."""
    per_stage = [sum(3**depth for depth in depths) for depths in ((2, 3, 4), (2, 3, 4), (4, 5, 6), (2, 3, 4))]
    without_stem = int(np.prod(per_stage)) * 3**4
    assert OFA.size == without_stem * 3 * 25
    assert f"{without_stem * 9 * 2:.2e}" == "2.46e+12"


def test_ofa_macs_at_224() -> None:
    """The published 7,492 M for the largest. The smallest has 962 M with the published stem: 24 channels, no second
    convolution, 40 channels; ours has 20, 20, 40."""

    def macs(architecture: Architecture) -> int:
        genes = tuple((gene, 224 if gene == "resolution" else value) for gene, value in architecture.genes)
        return costs_of(architecture_features(OFA, Architecture(OFA.name, genes), Interface(3, 1000)), "fp32").macs

    published_stem = 112**2 * 9 * (3 * 24 + 24 * 40)
    our_stem = 112**2 * 9 * (3 * 20 + 20 * 20 + 20 * 40)
    assert round(macs(OFA.largest) / 1e6) == 7492
    assert round((macs(OFA.smallest) - our_stem + published_stem) / 1e6) == 962


def test_ofa_channel_groups() -> None:
    check_channel_groups("ofa-resnet50", 32)
