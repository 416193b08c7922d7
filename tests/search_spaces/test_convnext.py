"""ConvNeXt spaces against plain timm models."""

from __future__ import annotations

from dataclasses import replace

import pytest

from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.errors import UsageError
from search_spaces.families.convnext import ConvNeXtFamily
from tests.support.long_forms import long_form
from tests.support.named_models import (
    CLASSES,
    check_against_timm,
    check_channel_groups,
    check_permutations,
    check_shapes,
    sizes,
)

# patch, tiered and plain overlapping stem; linear and convolutional MLP; norm before or after pooling; with and
# without global response norm; simple, root-mean-square and layer norm
SMALL = ["convnext_atto", "convnextv2_atto", "convnext_femto_ols", "convnext_zepto_rms_ols", "test_convnext2"]


@pytest.mark.parametrize("name", long_form(SMALL, ["convnext_tiny_hnf"]))
def test_networks_are_those_of_timm(name: str) -> None:
    check_against_timm(f"timm:{name}:resolution=64", 64)


@pytest.mark.parametrize(
    "name",
    long_form(["convnext_large_mlp", "convnext_atto_rms"], ["convnextv2_huge", "convnext_xxlarge"]),
)
def test_shapes_fit(name: str) -> None:
    check_shapes(f"timm:{name}")


@pytest.mark.parametrize("name", SMALL)
def test_channel_groups(name: str) -> None:
    check_channel_groups(f"timm:{name}:resolution=32", 32)


@pytest.mark.parametrize("argument", [{"head_hidden_size": 24}, {"head_norm_first": True}, {"patch_size": 2}])
def test_channel_groups_of_other_heads_and_stems(argument: dict[str, int]) -> None:
    """As in convnext_large_mlp and convnext_tiny_hnf, and a stem that stage 1 downsamples."""
    space = get_space("timm:test_convnext2:resolution=32")
    assert isinstance(space.family, ConvNeXtFamily)
    spec = space.family.spec(space.largest, Interface(3, CLASSES))
    model = replace(spec, arguments={**spec.arguments, **argument}).build()
    groups = space.family.channel_groups(model)
    check_permutations(model, groups, 32)
    usual = len(space.family.channel_groups(spec.build()))
    assert len(groups) == usual + ("patch_size" in argument)


def test_choices() -> None:
    found = sizes("timm:convnext_tiny:width=0.5,1:depth=0.34,1:kernel=3,5,7,9")
    assert found["s1.width"] == (48, 96)
    assert found["s3.depth"] == (3, 9)
    assert found["s4.kernel"] == (3, 5, 7)
    assert all(side % 32 == 0 for side in found["resolution"])
    with pytest.raises(UsageError, match="kernels have odd sides"):
        get_space("timm:convnext_tiny:kernel=4,7")
