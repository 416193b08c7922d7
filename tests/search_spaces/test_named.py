"""Names of derived spaces: what they choose, and what is said where they cannot be made."""

from __future__ import annotations

import pytest

from search_spaces import SearchSpace, get_space
from search_spaces.errors import UsageError, UserError


def choices(space: SearchSpace, gene: str) -> tuple[float, ...]:
    return space.genes[space.index[gene]].choices


def test_given_choices() -> None:
    space = get_space("timm:mobilenetv2_100:width=0.5:depth=0.34:kernel=3:expand=0.5:resolution=96,64")
    assert choices(space, "resolution") == (64, 96)
    assert choices(space, "s3.width") == (32, 64)  # half, and the model's own
    assert choices(space, "s3.depth") == (1, 4)
    assert choices(space, "s3.b0.expand") == (3, 6)
    assert "s3.b0.kernel" not in space.index  # its kernels are 3 x 3 already


def test_default_choices_end_at_the_model() -> None:
    space = get_space("timm:mobilenetv3_large_100")
    assert choices(space, "resolution") == (128, 160, 192, 224)
    assert choices(space, "s2.b0.kernel") == (3, 5)
    assert choices(space, "s6.width")[-1] == 960
    assert all(len(gene.choices) > 1 for gene in space.genes[1:])
    assert space is get_space("timm:mobilenetv3_large_100")


def test_a_residual_first_block_keeps_the_width_before() -> None:
    """MobileNetV3's first stage is residual on the stem, so its width is fixed with the stem's."""
    space = get_space("timm:mobilenetv3_large_100")
    assert "s0.width" not in space.index
    assert "stem.width" not in space.index


def test_pretrained_tags_are_part_of_a_name() -> None:
    space = get_space("timm:mobilenetv3_large_100.ra_in1k:resolution=64")
    assert space.timm_name == "mobilenetv3_large_100.ra_in1k"
    assert choices(space, "resolution") == (64,)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:mobilenetv3_lrge_100", "unknown timm model 'mobilenetv3_lrge_100'; did you mean 'mobilenetv3_l"),
        ("timm:mobilenetv2_100:widht=0.5", "did you mean 'width'"),
        ("timm:mobilenetv2_100:width=wide", "give numbers, like width=0.5,1"),
        ("timm:mobilenetv2_100:width=1.5", "fractions lie above 0, up to 1"),
        ("timm:mobilenetv2_100:resolution=0", "give numbers above 0"),
        ("timm:mobilenetv2_100:resolution=", "give numbers, like resolution=96,128"),
        ("timm:convnext_atto:resolution=8", "cannot take images of 8 px"),
        ("timm:vit_tiny_patch16_224:resolution=100", "16"),
    ],
)
def test_unusable_names(name: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        get_space(name)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) <= 2


def test_a_family_that_cannot_be_sliced_says_why() -> None:
    with pytest.raises(UserError, match="not supported because no family here can slice timm's class SwinTransformer;"):
        get_space("timm:swin_tiny_patch4_window7_224")
