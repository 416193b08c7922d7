"""Names of derived spaces: what they choose, and what is said where they cannot be made."""

from __future__ import annotations

import pytest

from search_spaces import SearchSpace, get_space
from search_spaces.errors import UsageError
from search_spaces.families.any_model import AnyFamily
from search_spaces.families.named import spell_out


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


@pytest.mark.parametrize(
    "name",
    ["timm:tf_efficientnet_lite0:resolution=64", "timm:resnet26d:depth=0.5", "timm:convnext_atto",
     "timm:vit_tiny_patch16_224:resolution=64,96", "timm:vit_base_patch16_siglip_224:resolution=64"],
)  # fmt: skip
def test_a_name_means_what_it_meant_and_a_word_more(name: str) -> None:
    """Without widths, those of earlier runs; spelled out, finer ones between the same ends, in multiples of eight."""
    before, named, now = get_space(name), get_space(f"{name}:width=0.75"), get_space(spell_out(name))
    assert before.genes == named.genes
    assert [gene.name for gene in now.genes] == [gene.name for gene in before.genes]
    finer = 0
    for gene, old in zip(now.genes, before.genes, strict=True):
        if gene.kind != "width":
            assert gene.choices == old.choices
            continue
        assert set(old.choices) <= set(gene.choices)
        assert (gene.choices[0], gene.choices[-1]) == (old.choices[0], old.choices[-1])
        assert all(width % 8 == 0 for width in gene.choices)
        finer += len(gene.choices) > len(old.choices)
    assert finer


def test_the_space_of_earlier_comparisons() -> None:
    space = get_space("timm:tf_efficientnet_lite0:resolution=64")
    assert sum(len(gene.choices) > 1 for gene in space.genes) == 35
    assert choices(space, "s5.width") == (144, 192)
    assert choices(get_space(spell_out(space.name)), "s5.width") == (144, 168, 192)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("timm:resnet18", "timm:resnet18:width=0.75,0.875"),
        ("timm:resnet18:resolution=64", "timm:resnet18:resolution=64:width=0.75,0.875"),
        ("timm:resnet18:width=0.75", "timm:resnet18:width=0.75"),
        ("timm:resnet18:width=0.75,0.875", "timm:resnet18:width=0.75,0.875"),
        ("timm:resnet18:width=1:depth=1", "timm:resnet18:width=1:depth=1"),
        ("mbv3-tiny", "mbv3-tiny"),
        ("auto", "auto"),
    ],
)
def test_what_a_word_stands_for(word: str, name: str) -> None:
    assert spell_out(word) == name
    assert spell_out(name) == name


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
        ("timm:mobilenetv2_100:width=0.5,nan", "fractions lie above 0, up to 1"),
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


def test_a_class_without_a_family_is_that_of_any_model() -> None:
    assert isinstance(get_space("timm:regnetx_002:width=0.5:resolution=64").family, AnyFamily)
