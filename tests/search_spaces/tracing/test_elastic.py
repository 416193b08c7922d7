"""Smaller networks: on parts of the model's tensors they compute and learn what the rebuilt ones do."""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search_spaces.builders.rebuild import rebuild, shrink
from search_spaces.errors import UserError
from search_spaces.genes import GeneSpace
from search_spaces.schema import SchemaError, convert
from search_spaces.tracing.checks import foretold
from search_spaces.tracing.choices import Shares
from search_spaces.tracing.derive import derive, derive_anywhere
from search_spaces.tracing.elastic import ElasticModel, Values
from search_spaces.tracing.inputs import Inputs
from search_spaces.tracing.recipe import Recipe, write_recipe
from tests.support.elastic_models import LONG, SHORT, builder, example, filled, lend, meta_of
from tests.support.long_forms import long_form


@lru_cache(maxsize=1)
def elastic_of(name: str) -> ElasticModel:
    return derive(*meta_of(name))


def random_values(elastic: ElasticModel, number: int) -> list[Values]:
    rng = np.random.default_rng(5)
    space = GeneSpace("test", elastic.genes)
    return [dict(space.decode(vector).genes) for vector in space.sample(rng, number)]


def loss(out: Tensor | tuple[Tensor, ...]) -> Tensor:
    return sum((each.square().mean() for each in ([out] if isinstance(out, Tensor) else out)), start=torch.zeros(()))


SLOW = ("ghostnet_050", "mobilenetv3_small_050", "gru")


@pytest.mark.parametrize("name", long_form([name for name in SHORT if name not in SLOW], [*SLOW, *LONG]))
def test_networks_are_what_their_recipes_rebuild(name: str) -> None:
    """The largest is the model, to the bit. Three random ones: outputs, and gradients of all that they borrow."""
    elastic = elastic_of(name)
    build, x = builder(name)
    model, x = filled(build), example(x)
    with torch.no_grad():
        assert torch.equal(lend(elastic, model, {})(x), model(x))
    for values in random_values(elastic, 3):
        borrowed = lend(elastic, model, values)
        cuts = elastic.cuts(values)
        source = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
        state = {cut.name: cut.take(source[cut.name]).detach().clone() for cut in cuts}
        recipe = json.loads(json.dumps(write_recipe(elastic.recipe(values))))
        with torch.device("meta") if not elastic.trace.caches else torch.device("cpu"):
            again = build().eval()
        assert convert(recipe, Recipe, "recipe") == elastic.recipe(values)
        rebuilt = rebuild(again, recipe, state)
        ours, theirs = borrowed(x), rebuilt(x)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
        model.zero_grad()
        loss(ours).backward()
        loss(theirs).backward()
        gradients = dict(rebuilt.named_parameters(remove_duplicate=False))
        largest = max(float(p.grad.abs().max()) for p in gradients.values() if p.grad is not None)
        for cut in cuts:
            parameter = source[cut.name]
            if not isinstance(parameter, nn.Parameter) or gradients[cut.name].grad is None:
                continue
            assert parameter.grad is not None, cut.name
            got, wanted = cut.take(parameter.grad), gradients[cut.name].grad
            assert wanted is not None
            assert float((got - wanted).abs().max()) <= 1e-4 * largest, cut.name
            assert torch.count_nonzero(parameter.grad) <= got.numel(), f"{cut.name} outside of the cut"


def test_names_of_genes_say_where_and_what() -> None:
    genes = {gene.name: gene for gene in elastic_of("test_vit").genes}
    assert genes["blocks.depth"].choices == (3, 6)
    assert genes["blocks.each.mlp.fc1.width"].choices == (96, 144, 192)
    assert len(genes) == 3


def test_genes_inside_a_block_that_may_go_have_its_gate() -> None:
    elastic = derive(*meta_of("super_resolution"), Shares(tied=False))
    gates = {gene.name: gene.gate for gene in elastic.genes}
    assert gates["body.0.body.0.width"] is None
    assert gates["body.3.body.0.width"] == ("body.depth", 4)
    tied = derive(*meta_of("super_resolution"))
    assert len(tied.genes) == len(elastic.genes) - 3


def test_blocks_of_a_plain_residual_network_may_go_by_identity() -> None:
    elastic = elastic_of("super_resolution")
    values = {"body.depth": 2}
    assert elastic.recipe(values).identity == ("body.2", "body.3")
    assert foretold(elastic, values) is None


def test_a_filter_keeps_its_centre() -> None:
    elastic = elastic_of("dense")
    cut = next(each for each in elastic.cuts({"depthwise.kernel": 3}) if each.name == "depthwise.weight")
    assert cut.pieces == (None, None, ((1, 3),), ((1, 3),))
    assert elastic.build({"depthwise.kernel": 3}).get_submodule("depthwise").padding == (1, 1)


def test_a_scale_follows_the_width_that_it_is_the_root_of() -> None:
    class Attends(nn.Module):
        """Attention with one head, whose scale was worked out beforehand."""

        def __init__(self, width: int = 48) -> None:
            super().__init__()
            self.scale, self.rate_scale = width**-0.5, 0.1
            self.query, self.key, self.head = nn.Linear(8, width), nn.Linear(8, width), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            weights = (self.query(x) @ self.key(x).transpose(1, 2) * self.scale).softmax(-1)
            return self.head((weights @ x).mean(1))  # type: ignore[no-any-return]

    with torch.device("meta"):
        model = Attends().eval()
    elastic = derive(model, Inputs((torch.empty(1, 5, 8, device="meta"),)))
    (gene,) = elastic.genes
    narrow = elastic.build({gene.name: 24})
    assert vars(narrow)["scale"] == 24**-0.5
    assert vars(narrow)["rate_scale"] == 0.1
    (setting,) = elastic.recipe({gene.name: 24}).set
    assert (setting.attribute.name, setting.number) == ("scale", 24**-0.5)


def test_a_scale_follows_what_an_output_sums_over() -> None:
    """Weight-standardised convolutions multiply by a gain over the root of their inputs (timm's NFNets)."""

    class Standardised(nn.Conv2d):
        def __init__(self, width: int, out: int, groups: int = 1) -> None:
            super().__init__(width, out, 3, padding=1, groups=groups)
            self.scale = 1.7 * self.weight[0].numel() ** -0.5

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.conv2d(x, self.weight * self.scale, self.bias, padding=1, groups=self.groups)

    with torch.device("meta"):
        model = nn.Sequential(Standardised(3, 48), Standardised(48, 64), Standardised(64, 4)).eval()
    elastic = derive(model, Inputs((torch.empty(1, 3, 8, 8, device="meta"),)))
    narrow = elastic.build({"0.width": 24, "1.width": 32})
    for number, width in enumerate((3, 24, 32)):
        assert vars(narrow[number])["scale"] == pytest.approx(1.7 * (width * 9) ** -0.5)  # type: ignore[index]
    assert [str(each.attribute) for each in elastic.recipe({"0.width": 24}).set if each.attribute.name == "scale"] == [
        "1.scale"
    ]


def test_numbers_of_a_smaller_network_are_plain_where_the_code_computes_sizes() -> None:
    class Merges(nn.Module):
        """Neighbours become channels, and a norm whose shape is no weight's own size (Swin's, TNT's)."""

        def __init__(self, width: int = 48) -> None:
            super().__init__()
            self.stem, self.norm = nn.Linear(6, width), nn.LayerNorm(4 * width)
            self.head = nn.Linear(4 * width, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            b, h, w, c = x.shape
            x = x.reshape(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5).flatten(3)
            return self.head(self.norm(x).mean((1, 2)))  # type: ignore[no-any-return]

    with torch.device("meta"):
        model = Merges().eval()
    elastic = derive(model, Inputs((torch.empty(1, 8, 8, 6, device="meta"),)))
    narrow = elastic.build({"stem.width": 24})
    shape = narrow.get_submodule("norm").normalized_shape
    assert shape == (96,)
    numbers = [setting.number for setting in elastic.recipe({"stem.width": 24}).set]
    assert numbers
    assert all(type(number) is int for number in [*shape, *numbers])


def test_a_code_that_does_not_follow_is_kept_from_shrinking() -> None:
    class Stubborn(nn.Module):
        """Checks a width that the labels cannot see."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = nn.Linear(8, 16), nn.Linear(16, 24), nn.Linear(24, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            if float(x.shape[1]) != 16.0:
                raise ValueError("stubborn")
            return self.third(self.second(x))  # type: ignore[no-any-return]

    with torch.device("meta"):
        model = Stubborn().eval()
    elastic = derive(model, Inputs((torch.empty(1, 8, device="meta"),)))
    assert [gene.name for gene in elastic.genes] == ["second.width"]
    assert any("stubborn" in stays.reason for stays in elastic.fixed())


def test_a_code_that_looks_at_values_runs_on_the_cpu() -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.second(x if float(x.sum()) > 1e9 else -x)  # type: ignore[no-any-return]

    elastic = derive_anywhere(Looks, Inputs((torch.zeros(1, 8),)))
    assert [gene.name for gene in elastic.genes] == ["first.width"]
    with pytest.raises(UserError, match="does not run on these inputs"):
        derive_anywhere(Looks, Inputs((torch.zeros(1, 9),)))


@pytest.mark.parametrize(
    "recipe",
    [
        [], {"set": 1}, {"set": [[["a"], 1]]}, {"set": [[["head", "out_features"], "4"]]}, {"delete": [3]},
        {"set": [[["head", "__class__"], 4]]}, {"set": [[["head", "in_features"], 1e9]]}, {"delete": [""]},
        {"set": [[["head", "in_features", -1], 4]]}, {"set": [[["head", "in_features"], True]]},
        {"identity": ["x" * 1000]}, {"set": [[["head", "a b"], 4]]},
    ],
)  # fmt: skip
def test_a_recipe_that_is_none_is_refused(recipe: object) -> None:
    with pytest.raises(SchemaError):
        convert(recipe, Recipe, "recipe")


@pytest.mark.parametrize(
    "recipe",
    [
        {"set": [[["nowhere", "in_features"], 4]]}, {"set": [[["head", "forward"], 4]]}, {"delete": ["nowhere"]},
        {"set": [[["head", "training"], 1]]}, {"set": [[["head", "in_features", 0], 4]]},
        {"set": [[["head", "in_features"], 0.5]]}, {"identity": ["head.weight"]}, {"shapes": {"nothing": [3]}},
        {"set": [[["head", "out_features"], 11]]}, {"shapes": {"head.weight": [11, 48]}},
        {"shapes": {"head.weight": [10]}},
    ],
)  # fmt: skip
def test_a_recipe_of_another_model_is_refused(recipe: object) -> None:
    model, _ = meta_of("functional")
    with pytest.raises(ValueError, match=r"it |cannot "):
        shrink(model, write_recipe(convert(recipe, Recipe, "recipe")))


def test_unknown_choices_are_refused() -> None:
    elastic = elastic_of("functional")
    with pytest.raises(UserError, match="no gene"):
        elastic.build({"nothing": 3})
    with pytest.raises(UserError, match="no gene"):
        elastic.build({elastic.genes[0].name: 7})
