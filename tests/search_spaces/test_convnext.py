"""ConvNeXt spaces against plain timm models."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from search_spaces import SearchSpace, get_space
from search_spaces.architecture import Architecture, Interface
from search_spaces.builders.timm_model import TimmSpec
from search_spaces.errors import UsageError
from search_spaces.families.convnext import ConvNeXtFamily
from search_spaces.schema import Json
from search_spaces.tracing.groups import channel_groups
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


@dataclass(frozen=True)
class OtherFamily(ConvNeXtFamily):
    """With other constructor arguments."""

    others: tuple[tuple[str, Json], ...] = ()

    def spec(self, architecture: Architecture, interface: Interface) -> TimmSpec:
        spec = super().spec(architecture, interface)
        return replace(spec, arguments={**spec.arguments, **dict(self.others)})


@pytest.mark.parametrize("argument", [("head_hidden_size", 24), ("head_norm_first", True), ("patch_size", 2)])
def test_channel_groups_of_other_heads_and_stems(argument: tuple[str, Json]) -> None:
    """As in convnext_large_mlp and convnext_tiny_hnf, and a stem that stage 1 downsamples."""
    known = get_space("timm:test_convnext2:resolution=32")
    assert isinstance(known.family, ConvNeXtFamily)
    family = known.family
    other = OtherFamily(family.model, family.resolutions, family.stages, (argument,))
    spaces = [SearchSpace(known.name, each) for each in (family, other)]
    usual, found = (channel_groups(space, Interface(3, CLASSES)) for space in spaces)
    check_permutations(other.build(known.largest, Interface(3, CLASSES)), found, 32)
    assert len(found) == len(usual) + ("patch_size" in argument)


def test_choices() -> None:
    found = sizes("timm:convnext_tiny:width=0.5,1:depth=0.34,1:kernel=3,5,7,9")
    assert found["s1.width"] == (48, 96)
    assert found["s3.depth"] == (3, 9)
    assert found["s4.kernel"] == (3, 5, 7)
    assert all(side % 32 == 0 for side in found["resolution"])
    with pytest.raises(UsageError, match="kernels have odd sides"):
        get_space("timm:convnext_tiny:kernel=4,7")
