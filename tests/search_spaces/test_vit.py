"""Vision transformers: against plain timm models, arithmetic head by head, and closed forms."""

from __future__ import annotations

import inspect
import json
import math
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nas.quantization.quantize import quantize
from nas.supernet.borrow import named_shapes, plan
from nas.supernet.supernet import Supernet
from search_spaces import Architecture, SearchSpace, get_space
from search_spaces.architecture import Interface
from search_spaces.builders.timm_compat import timm
from search_spaces.builders.timm_model import timm_model
from search_spaces.errors import UsageError, UserError
from search_spaces.families.named import derived_space
from search_spaces.families.vit import GatedVitFamily, VitFamily
from search_spaces.tracing.groups import channel_groups
from tests.support.named_models import permute

CLASSES = 5
WIDTH, HEADS, SIZE, DEPTH = 64, 4, 16, 3  # of the largest network of the spaces made here

# What timm's vision transformers differ in. The arguments need not be JSON here.
VARIANTS: dict[str, dict[str, object]] = {
    "plain": {},
    "registers": {"class_token": False, "reg_tokens": 2, "global_pool": "avg", "no_embed_class": True},
    "layer scale": {"init_values": 0.1, "pre_norm": True, "qkv_bias": False},
    "norms": {"qk_norm": True, "scale_attn_norm": True, "scale_mlp_norm": True, "embed_norm_layer": "rmsnorm"},
    "pooling by attention": {"class_token": False, "global_pool": "map"},
    "gated": {"mlp_layer": timm.layers.SwiGLUPacked, "global_pool": "map"},
    "swiglu": {"mlp_layer": timm.layers.SwiGLU, "proj_bias": False, "norm_layer": "rmsnorm"},
    "norms behind": {"block_fn": timm.models.vision_transformer.ResPostBlock},
    "parallel": {"block_fn": timm.models.vision_transformer.ParallelThingsBlock},
    "distilled": {},
}


def made(variant: str) -> SearchSpace:
    family = GatedVitFamily if variant == "gated" else VitFamily
    arguments = {"num_heads": HEADS, "img_size": 48, **VARIANTS[variant]}
    return SearchSpace(
        variant,
        family(
            model="deit_tiny_distilled_patch16_224" if variant == "distilled" else "test_vit",
            resolutions=(32, 48),
            widths=(32, 48, WIDTH),
            depths=(2, DEPTH),
            heads=(1, 2, HEADS),
            expands=(1.5, 2.04, 3),
            head_dim=SIZE,
            pool=VARIANTS[variant].get("global_pool") == "map",
            arguments=tuple(arguments.items()),
        ),
    )


@cache
def supernet(variant: str) -> Supernet:
    """In double precision, and without the 0 and 1 that would hide errors."""
    net = Supernet(made(variant), Interface(3, CLASSES)).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.model.parameters():
            noise = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(noise + 0.5 if parameter.ndim == 1 else 0.4 * (noise - 0.5))
    return net.eval()


def images(side: int, number: int = 2) -> Tensor:
    return torch.randn(number, 3, side, side, generator=torch.Generator().manual_seed(side))


NAMED = (
    "vit_tiny_patch16_224",
    "deit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "test_vit2",  # layer scale, a register, mean over tokens
    "test_vit3",  # pooling by attention
    "test_vit4",  # root mean square norms
    "vit_tiny_r_s16_p8_224",  # patches of a convolutional stem
)


@pytest.mark.parametrize("name", NAMED)
def test_a_named_model_is_the_largest_network(name: str) -> None:
    space = derived_space(f"timm:{name}")
    net = Supernet(space, Interface(3, CLASSES)).eval()
    plain = timm.create_model(name, num_classes=CLASSES).eval()
    plain.load_state_dict(net.model.state_dict())
    x = images(plain.pretrained_cfg["input_size"][-1], 1)
    assert space.largest.resolution == x.shape[-1]
    with torch.no_grad():
        assert torch.equal(net(x, space.largest), plain(x))
        for architecture in (space.smallest, space.decode(space.sample(np.random.default_rng(1), 1)[0])):
            x = images(architecture.resolution, 1)
            torch.testing.assert_close(net(x, architecture), net.extract(architecture)(x), rtol=1e-12, atol=1e-12)


def test_another_resolution_resamples_the_position_embedding() -> None:
    net = Supernet(derived_space("timm:test_vit2:resolution=96,160"), Interface(3, CLASSES)).eval()
    plain = timm.create_model("test_vit2", num_classes=CLASSES, img_size=96, dynamic_img_size=False).eval()
    state = net.model.state_dict()
    state["pos_embed"] = timm.layers.resample_abs_pos_embed(state["pos_embed"], [6, 6], [10, 10], 1)
    plain.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(net(images(96), net.space.largest), plain(images(96)))


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=4, deadline=None)
@pytest.mark.parametrize("variant", VARIANTS)
def test_borrowed_equals_extracted(variant: str, seed: int) -> None:
    """But for the rounding of some processors, whose products depend on how a matrix lies in memory."""
    net = supernet(variant)
    architecture = net.space.decode(net.space.sample(np.random.default_rng(seed), 1)[0])
    x = images(architecture.resolution).double()
    with torch.no_grad():
        torch.testing.assert_close(net(x, architecture), net.extract(architecture)(x), rtol=1e-12, atol=1e-12)


def narrow(net: Supernet, width: int = 48, heads: int = 2) -> Architecture:
    """Narrower than the heads' sum or wider, with one block less."""
    genes: dict[str, int | float] = {"resolution": 32, "width": width, "depth": 2}
    genes |= {f"b{b}.{gene}": value for b in range(2) for gene, value in (("heads", heads), ("expand", 1.5))}
    return net.space.decode(net.space.encode(Architecture(net.space.name, tuple(genes.items()))))


@pytest.mark.parametrize(("width", "heads"), [(48, 2), (32, 4), (64, 1)])
def test_attention_head_by_head(width: int, heads: int) -> None:
    """A subnet's attention is the sum over its heads, each with the rows of that head in the largest network."""
    net = supernet("plain")
    subnet = net.skeleton(narrow(net, width, heads)).bind(dict(net.model.named_parameters()))
    attention = subnet.get_submodule("blocks.1.attn")
    state = {name.removeprefix("blocks.1.attn."): t for name, t in net.model.state_dict().items()}
    x = torch.randn(2, 7, width, dtype=torch.float64)
    expected = state["proj.bias"][:width].expand(2, 7, width).clone()
    for head in range(heads):
        rows = [slice(part * WIDTH + head * SIZE, part * WIDTH + (head + 1) * SIZE) for part in range(3)]
        q, k, v = (torch.einsum("bnc,dc->bnd", x, state["qkv.weight"][r, :width]) + state["qkv.bias"][r] for r in rows)
        scores = torch.softmax(torch.einsum("bnd,bmd->bnm", q, k) / math.sqrt(SIZE), dim=-1)
        out = state["proj.weight"][:width, head * SIZE : (head + 1) * SIZE]
        expected += torch.einsum("bnm,bmd,cd->bnc", scores, v, out)
    torch.testing.assert_close(attention(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("variant", ["plain", "gated"])
def test_gradients_reach_exactly_the_borrowed_weights(variant: str) -> None:
    net = supernet(variant)
    net.zero_grad()
    net(images(32).double(), narrow(net)).square().sum().backward()
    hidden = 3 * WIDTH
    used = {
        "blocks.1.attn.qkv.weight": ([*range(32), *range(WIDTH, WIDTH + 32), *range(128, 128 + 32)], 48),
        "blocks.1.attn.proj.weight": (range(48), 32),
        "blocks.1.mlp.fc1.weight": (range(72), 48),
        "blocks.1.mlp.fc2.weight": (range(48), 72),
        "head.weight": (range(CLASSES), 48),
    }
    if variant == "gated":
        used["blocks.1.mlp.fc1.weight"] = ([*range(36), *range(hidden // 2, hidden // 2 + 36)], 48)
        used["blocks.1.mlp.fc2.weight"] = (range(48), 36)
    for name, (rows, columns) in used.items():
        grad = net.model.get_parameter(name).grad
        assert grad is not None
        expected = torch.zeros_like(grad, dtype=torch.bool)
        expected[list(rows), :columns] = True
        assert torch.equal(grad != 0, expected), name
    assert all(p.grad is None for n, p in net.model.named_parameters() if n.startswith("blocks.2."))


@pytest.mark.parametrize("variant", [*VARIANTS, "timm:vit_tiny_r_s16_p8_224:resolution=64"])
def test_order_of_channels_does_not_matter(variant: str) -> None:
    net = (
        Supernet(derived_space(variant), Interface(3, CLASSES)).double().eval() if ":" in variant else supernet(variant)
    )
    model, x = net.model, images(net.space.largest.resolution, 1).double()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    groups = channel_groups(net.space, net.interface)
    with torch.no_grad():
        expected = model(x)
        for group in groups:
            permute(model, group, np.random.default_rng(0))
            assert not torch.equal(model.state_dict()[group[0].name], before[group[0].name])
            torch.testing.assert_close(model(x), expected, rtol=1e-10, atol=1e-10)
        model.load_state_dict(before)
    # the groups are complete: whatever shrinks is an axis of one of them
    axes = {(axis.name, axis.dim) for group in groups for axis in group}
    small = dict(named_shapes(net.space.build(net.space.smallest, Interface(3, CLASSES), "meta")))
    shrinks = {
        (name, dim)
        for name, tensor in before.items() if name in small
        for dim in range(tensor.ndim) if small[name][dim] < tensor.shape[dim]
    }  # fmt: skip
    assert shrinks <= axes
    assert any(axis.score for group in groups for axis in group)


def test_the_order_of_the_embedding_is_not_that_of_the_heads_of_the_pooling() -> None:
    """The pooling reshapes its heads to the size of the tokens: as many, but other things."""
    groups = channel_groups(derived_space("timm:test_vit3:resolution=64"), Interface(3, CLASSES))
    embedding = next(group for group in groups if any(axis.name == "patch_embed.proj.weight" for axis in group))
    assert {axis.unit for axis in embedding} == {1}
    heads = next(group for group in groups if ("attn_pool.kv.weight", 0) in {(axis.name, axis.dim) for axis in group})
    assert {(axis.name, axis.dim, axis.parts, axis.unit) for axis in heads} == {
        ("attn_pool.q.weight", 0, 1, 32),
        ("attn_pool.q.bias", 0, 1, 32),
        ("attn_pool.kv.weight", 0, 2, 32),
        ("attn_pool.kv.bias", 0, 2, 32),
        ("attn_pool.proj.weight", 1, 1, 32),
    }


def test_the_pasted_loader_builds_a_subnet_with_timm_alone() -> None:
    space = derived_space("timm:test_vit3:resolution=64,96")
    net = Supernet(space, Interface(3, CLASSES))
    architecture = space.smallest
    extracted = net.extract(architecture)
    pasted: dict[str, object] = {}
    exec(inspect.getsource(timm_model), pasted)
    spec = json.loads(json.dumps(space.family.describe(architecture, Interface(3, CLASSES))))
    model: nn.Module = pasted["timm_model"](spec).eval()  # type: ignore[operator]
    model.load_state_dict(extracted.state_dict())
    assert torch.equal(model(images(64)), extracted(images(64)))


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("vit_giant_patch14_dinov2", set()),  # gated MLPs
        ("beit3_base_patch16_224", set()),  # norms inside attention and MLP
        ("vit_so400m_patch14_siglip_384", set()),  # 384 is no multiple of 14
        ("vit_base_mci_224", {"width"}),  # a convolutional stem ends in the embedding
        ("vit_dwee_patch16_reg1_gap_256", {"width", "heads"}),  # differential attention
        ("vit_pwee_patch16_reg1_gap_256", {"width", "heads", "expand"}),  # one layer for attention and MLP
    ],
)
def test_what_named_models_can_vary(name: str, missing: set[str]) -> None:
    space = derived_space(f"timm:{name}")
    kinds = {gene.name.split(".")[-1] for gene in space.genes}
    assert kinds == {"resolution", "width", "depth", "heads", "expand"} - missing
    largest = space.build(space.largest, Interface(3, CLASSES), "meta")
    source = largest.state_dict()
    assert dict(named_shapes(largest)) == dict(
        named_shapes(timm.create_model(name, num_classes=CLASSES, device="meta"))
    )
    for vector in space.sample(np.random.default_rng(0), 2):
        model = space.build(space.decode(vector), Interface(3, CLASSES), "meta")
        shapes = dict(named_shapes(model))
        for cut in plan(source, shapes.items(), space.family.packed):  # raises where a shape does not fit
            assert cut.take(source).shape == shapes[cut.name]


def test_choices_are_whole() -> None:
    space = derived_space("timm:vit_tiny_patch16_224:heads=0.1,0.5:expand=0.3,0.99:width=0.4:resolution=48")
    values = {gene.name: gene.choices for gene in space.genes}
    assert values["b3.heads"] == (1, 3)  # 1.5 is as near to 1
    assert values["width"] == (80, 192)
    assert [int(192 * ratio) for ratio in values["b3.expand"]] == [232, 760, 768]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_tiny_patch16_224:resolution=100", "multiples of 16 px .* not 100: try 96"),
        ("vit_so400m_patch14_siglip_384:resolution=378,384", "multiples of 14 px .* not 384: try 378"),
        ("vit_tiny_r_s16_p8_224:resolution=64,72", "multiples of 32 px .* not 72: try 64"),
    ],
)
def test_resolutions_are_multiples_of_the_patch(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        derived_space(f"timm:{name}")


def test_it_trains() -> None:
    """Random networks on one batch: the loss of the smallest and of the largest falls."""
    net = Supernet(made("plain"), Interface(3, CLASSES), seed=1).train()
    optimizer = torch.optim.AdamW(net.model.parameters(), lr=2e-3)
    x, labels = images(48, 16), torch.arange(16) % CLASSES
    extremes = (net.space.smallest, net.space.largest)

    def losses() -> list[float]:
        with torch.no_grad():
            return [float(nn.functional.cross_entropy(net(x, a), labels)) for a in extremes]

    before = losses()
    for vector in net.space.sample(np.random.default_rng(0), 20):
        optimizer.zero_grad()
        for architecture in (*extremes, net.space.decode(vector)):
            nn.functional.cross_entropy(net(x, architecture), labels).backward()
        optimizer.step()
    assert all(now < 0.5 * then for now, then in zip(losses(), before, strict=True))


PUBLISHED = {  # subnets (arXiv:2107.00651, table 1), parameters of the searched models (table 3)
    "tiny": (3 * sum((2 * 2) ** d for d in (12, 13, 14)), 1.06e9, 5.7e6),
    "small": (3 * sum((3 * 3) ** d for d in (12, 13, 14)), 7.7e13, 22.9e6),
    "base": (3 * sum((2 * 3) ** d for d in (14, 15, 16)), 1.0e13, 54e6),
}


@pytest.mark.parametrize("size", PUBLISHED)
def test_autoformer(size: str) -> None:
    exact, published, searched = PUBLISHED[size]
    space = get_space(f"autoformer-{size}")
    assert space.size == exact == pytest.approx(published, rel=0.02)
    counts = []
    for architecture in (space.smallest, space.largest):
        genes = dict(architecture.genes)
        width = int(genes["width"])
        expected = 3 * 16**2 * width + width + (1 + 1 + 14**2) * width  # patches, class token, positions
        for b in range(int(genes["depth"])):
            inner, hidden = 64 * int(genes[f"b{b}.heads"]), int(width * genes[f"b{b}.expand"])
            expected += 2 * 2 * width + (width + 1) * 3 * inner + (inner + 1) * width
            expected += (width + 1) * hidden + (hidden + 1) * width
        expected += 2 * width + (width + 1) * 1000
        model = space.build(architecture, Interface(3, 1000), "meta")
        counts.append(sum(p.numel() for p in model.parameters()))
        assert counts[-1] == expected
    assert counts[0] < searched < counts[1]


def test_int8_refuses_with_the_way_out() -> None:
    model = timm.create_model("test_vit", num_classes=CLASSES).eval()
    place = r"\(\w+ in blocks.0.attn \(.*attention.py:\d+\)\)"
    with pytest.raises(UserError, match=rf"attention layers {place}, .* convolutional networks; use `precision` fp32"):
        quantize(model, images(160, 4))
