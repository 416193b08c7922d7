"""Operators of timm models against torch's flop counter, closed forms, and liveness by hand."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from predictors.costs.memory import RULES, live
from search_spaces.builders.timm_compat import NoInit, timm
from search_spaces.operators.operator import KINDS, Op
from search_spaces.operators.trace import trace, trace_on
from tests.support.long_forms import long_form

# One of each kind of network: plain, pre-activation, standardised and scaled weights, dense, many branches, dynamic
# convolutions; windows, relative positions, rotary, cross-covariance, talking heads; pools, mixers; hybrids.
NAMES = (
    "vgg11_bn", "resnet18", "resnetv2_50", "nf_resnet26", "resnext50_32x4d", "densenet121", "inception_v3", "dla34",
    "tf_mobilenetv3_small_075", "efficientnet_cc_b0_4e", "ghostnet_100", "repvgg_a0", "regnety_002", "convnext_atto",
    "vit_tiny_patch16_224", "vit_tiny_r_s16_p8_224", "beit_base_patch16_224", "swin_tiny_patch4_window7_224",
    "cait_xxs24_224", "volo_d1_224", "levit_128s", "coat_tiny", "mixer_b16_224", "poolformer_s12", "mobilevit_s",
    "halonet26t", "edgenext_xx_small", "swinv2_tiny_window8_256", "vit_base_patch16_rope_224", "eca_nfnet_l0",
)  # fmt: skip

# Computed from weights alone, and so not executed once deployed: MACs by name. A network of two linear layers makes the
# position bias of each block from the offsets in a window of 8; a convolution projects a Fourier encoding.
CONSTANT = {
    "swinv2_tiny_window8_256": sum(15 * 15 * 512 * (2 + heads) * n for heads, n in ((3, 2), (6, 2), (12, 6), (24, 2))),
    "edgenext_xx_small": 32 * 32 * 64 * 48,
}


IN_PLACE = RULES["in-place"]


def build(name: str) -> nn.Module:
    with NoInit():
        model: nn.Module = timm.create_model(name, device="meta").eval()
    return model


@pytest.mark.parametrize("name", long_form(NAMES[::5], [name for name in NAMES if name not in NAMES[::5]]))
def test_macs_are_half_of_the_flop_counter(name: str) -> None:
    model = build(name)
    image = torch.empty(1, *timm.get_pretrained_cfg(name).input_size, device="meta")
    ops = trace_on(model, image)
    with FlopCounterMode(display=False) as counter:
        model(image)
    assert 2 * (sum(op.macs for op in ops) + CONSTANT.get(name, 0)) == counter.get_total_flops()
    assert {op.kind for op in ops} <= set(KINDS)
    paths = {path for path, _ in model.named_modules()}
    assert {op.path for op in ops} <= paths
    assert max(live(ops, IN_PLACE)) >= image.numel()


def kinds(ops: list[Op]) -> list[str]:
    return [op.kind for op in ops]


def traced(model: nn.Module, *shape: int) -> list[Op]:
    return trace_on(model.eval().to("meta"), torch.empty(1, *shape, device="meta"))


def test_every_parameter_is_a_weight_or_a_channel() -> None:
    """A ViT has no batch norm, so what is deployed are its parameters: weights, and biases as channels."""
    model = build("vit_tiny_patch16_224")
    ops = trace(model, 3, 224)
    assert sum(op.weights + op.channels for op in ops) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("layer", "shape", "kind", "macs"),
    [
        (nn.Conv1d(4, 6, 3), (4, 10), "conv", 8 * 6 * 4 * 3),
        (nn.Conv2d(4, 6, 1), (4, 5, 5), "pointwise", 25 * 24),
        (nn.Conv2d(4, 8, 3, groups=2, padding="same"), (4, 5, 5), "conv", 25 * 8 * 2 * 9),
        (nn.Conv2d(4, 4, 3, groups=4, dilation=2), (4, 7, 7), "depthwise", 9 * 4 * 9),
        (nn.Conv3d(2, 3, (1, 2, 3)), (2, 4, 4, 4), "conv", 4 * 3 * 2 * 3 * 2 * 6),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (4, 5, 5), "conv", 25 * 4 * 6 * 4),
        (nn.ConvTranspose1d(4, 6, 3, groups=2), (4, 5), "conv", 5 * 4 * 3 * 3),
        (nn.Linear(4, 6), (4,), "linear", 24),
        (nn.Linear(4, 6, bias=False), (5, 4), "linear", 5 * 24),
        (nn.AvgPool2d(2), (4, 6, 6), "pool", 0),
        (nn.MaxPool2d(3, 2, 1), (4, 6, 6), "pool", 0),
        (nn.AdaptiveAvgPool2d(2), (4, 6, 6), "pool", 0),
        (nn.LayerNorm(4), (5, 4), "elementwise", 0),
        (nn.GroupNorm(2, 4), (4, 5, 5), "elementwise", 0),
        (nn.BatchNorm2d(4), (4, 5, 5), "elementwise", 0),
        (nn.Softmax(-1), (4, 5), "elementwise", 0),
        (nn.Upsample(scale_factor=2, mode="bilinear"), (4, 5, 5), "elementwise", 0),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else None,
)
def test_one_layer(layer: nn.Module, shape: tuple[int, ...], kind: str, macs: int) -> None:
    (op,) = traced(layer, *shape)
    out = layer.to_empty(device="cpu")(torch.zeros(1, *shape))
    assert (op.kind, op.macs, op.out_shape) == (kind, macs, tuple(out.shape[1:]))
    weight = getattr(layer, "weight", None)
    assert op.weights == (0 if weight is None else weight.numel())
    assert op.moved == torch.Size(shape).numel() + out.numel()


class Products(nn.Module):
    """Every way to write a matrix product."""

    def forward(self, x: Tensor) -> Tensor:  # [1, 6, 4]
        a = x @ x.transpose(1, 2)  # 6 x 6 x 4
        b = torch.einsum("bnd,bmd->bnm", x, x)  # the same
        c = torch.baddbmm(a, b, b)  # 6 x 6 x 6
        d = F.scaled_dot_product_attention(x[None], x[None], x[None])  # 2 x 6 x 6 x 4
        return torch.bmm(c, d[0])  # 6 x 6 x 4


def test_products() -> None:
    ops = traced(Products(), 6, 4)
    assert [op.macs for op in ops if op.kind == "matmul"] == [144, 144, 216, 144, 144, 144]
    assert Counter(kinds(ops)) == {"matmul": 6, "elementwise": 1}  # softmax; the scale is part of a product


# what deployment does


class Residual(nn.Module):
    """Pre-activation: the first norm has no convolution before it, and its input is needed again."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.n1, self.n2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y = F.relu(self.n1(x))  # an operator: folding would change the shortcut
        return x + F.relu(self.n2(self.b(y)))  # folded and fused


def test_batch_norm_before_a_convolution_is_an_operator() -> None:
    ops = traced(Residual(), 3, 5, 5)
    assert kinds(ops) == ["pointwise", "elementwise", "conv", "elementwise"]
    assert [op.path for op in ops] == ["a", "n1", "b", ""]
    assert (ops[1].weights, ops[1].channels) == (4, 4)
    plane = 25
    assert live(ops, IN_PLACE) == [7 * plane, 8 * plane, 12 * plane, 8 * plane]  # the sum overwrites a summand


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return torch.cat([y, self.norm(y), F.gelu(self.norm(y)), self.conv(x)], 1)


def test_what_is_needed_again_is_neither_folded_nor_overwritten() -> None:
    ops = traced(Shared(), 3, 5, 5)
    assert kinds(ops) == ["pointwise", "elementwise", "elementwise", "elementwise", "pointwise", "elementwise"]
    plane = 25
    # image 3, then y 4, norm 4, norm 4 (and gelu in place), conv 4; cat adds 16 and needs the image no more
    assert live(ops, IN_PLACE) == [p * plane for p in (7, 11, 15, 15, 19, 32)]
    assert [op.weights for op in ops] == [12, 4, 4, 0, 0, 0]  # shared weights count once


class SamePadding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.hardswish(self.conv(F.pad(x, (0, 1, 0, 1))), inplace=True)


def test_padding_is_part_of_the_convolution() -> None:
    conv, act = traced(SamePadding(), 3, 8, 8)
    assert conv.moved == 3 * 64 + 4 * 16
    assert (act.kind, act.moved) == ("elementwise", 2 * 64)
    assert live([conv, act], IN_PLACE) == [conv.moved, 64]


class Constants(nn.Module):
    """A position bias from a small network, and standardised weights."""

    def __init__(self) -> None:
        super().__init__()
        self.bias, self.conv = nn.Linear(2, 16), nn.Conv2d(3, 4, 3)
        self.register_buffer("where", torch.zeros(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.conv.weight
        weight = (weight - weight.mean()) / weight.std()
        bias = self.bias(self.where).view(1, 4, 4, 4)
        return F.conv2d(x, weight, self.conv.bias) + bias


def test_what_depends_on_weights_alone_is_computed_beforehand() -> None:
    conv, add = traced(Constants(), 3, 6, 6)
    assert (conv.kind, conv.weights, conv.macs) == ("conv", 108, 16 * 108)
    assert (add.kind, add.weights, add.moved) == ("elementwise", 64, 2 * 64)


def test_a_chain_needs_two_buffers() -> None:
    chain = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 2, 1), nn.Flatten(), nn.Linear(50, 7))
    ops = traced(chain, 3, 5, 5)
    assert live(ops, IN_PLACE) == [11 * 25, 8 * 25, 10 * 25, 57]


def test_an_image_that_is_too_small_is_told() -> None:
    with pytest.raises(ValueError, match=r"0: a 7x7 convolution does not fit on 5x5"):
        traced(nn.Sequential(nn.Conv2d(3, 4, 7)), 3, 5, 5)


def test_tracing_leaves_the_model_as_it_was() -> None:
    model = build("resnet18")
    trace(model, 3, 64)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_no_init_skips_timms_own_initialisers() -> None:
    """The same names and shapes, and nothing computed in place."""

    class InPlace(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            seen[func.__name__] += 1
            return func(*args, **(kwargs or {}))

    seen: Counter[str] = Counter()
    with InPlace(), NoInit():
        model = timm.create_model("convnext_atto", device="meta")
    assert not {"erfinv_", "uniform_", "clamp_", "mul_", "normal_"} & seen.keys()
    plain = timm.create_model("convnext_atto", device="meta")
    assert [(n, p.shape) for n, p in model.named_parameters()] == [(n, p.shape) for n, p in plain.named_parameters()]
    values = torch.ones(3)
    with NoInit():
        assert values.mul_(2).tolist() == [2, 2, 2]  # only tensors without storage are left alone
