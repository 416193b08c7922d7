"""Once-for-All weights under our names, against Once-for-All's forward pass written out here from the paper.

Nothing below takes a shape, a slice or an activation from our spaces: channels are the published tables, and the
network runs directly on tensors with published names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nas.supernet.foreign.once_for_all import convert_ofa, is_ofa
from nas.supernet.foreign.reading import read_file
from nas.supernet.supernet import Supernet
from search_spaces import get_space
from search_spaces.architecture import Architecture, Interface
from search_spaces.errors import UserError
from tests.support.long_forms import long_form
from tests.support.once_for_all import CLASSES, PUBLISHED, Published, State, checkpoint, divisible

pytestmark = pytest.mark.xdist_group("once_for_all")  # their networks take long: made once, by one process

Setting = list[list[tuple[int, int]]]
"""Per elastic stage, for each of its active blocks: kernel side and expansion."""

SIDE = 64


def activation(x: Tensor, name: str) -> Tensor:
    if name == "hard_swish":
        return x * (x + 3).clamp(0, 6) / 6
    return x.clamp(0, 6 if name == "relu6" else None)


def published_forward(net: Published, state: State, x: Tensor, setting: Setting) -> Tensor:
    """Logits of a subnet in eval mode: leading channels, transformed kernel centres, leading blocks."""

    def norm(y: Tensor, name: str) -> Tensor:
        w, b, m, v = (
            state[f"{name}.{t}"][: y.shape[1], None, None] for t in ("weight", "bias", "running_mean", "running_var")
        )
        return (y - m) / (v + net.eps).sqrt() * w + b

    def kernel(name: str, wide: int, side: int) -> Tensor:
        weight = state[f"{name}.conv.weight"][:wide]
        for larger in range(7, side, -2):
            centre = weight[:, :, 1:-1, 1:-1]
            matrix = state[f"{name}.{larger}to{larger - 2}_matrix"]
            weight = torch.einsum("oi,cki->cko", matrix, centre.flatten(2)).reshape(centre.shape)
        return weight

    y = activation(norm(F.conv2d(x, state["first_conv.conv.weight"], stride=2, padding=1), "first_conv.bn"), net.act)
    fixed = "blocks.0.mobile_inverted_conv"
    z = F.conv2d(y, state[f"{fixed}.depth_conv.conv.weight"], padding=1, groups=net.stem)
    z = activation(norm(z, f"{fixed}.depth_conv.bn"), "relu6" if net.act == "relu6" else "relu")
    z = norm(F.conv2d(z, state[f"{fixed}.point_linear.conv.weight"]), f"{fixed}.point_linear.bn")
    y = y + z if net.stem == net.first else z
    start = 1
    for (_, stride, depth, se, act), blocks in zip(net.stages, setting, strict=True):
        for b, (side, expand) in enumerate(blocks):
            block, wide = f"blocks.{start + b}.mobile_inverted_conv", divisible(y.shape[1] * expand)
            z = F.conv2d(y, state[f"{block}.inverted_bottleneck.conv.conv.weight"][:wide])
            z = activation(norm(z, f"{block}.inverted_bottleneck.bn.bn"), act)
            weight, step = kernel(f"{block}.depth_conv.conv", wide, side), stride if b == 0 else 1
            z = F.conv2d(z, weight, stride=step, padding=side // 2, groups=wide)
            z = activation(norm(z, f"{block}.depth_conv.bn.bn"), act)
            if se:
                narrow, fc = divisible(wide // 4), f"{block}.depth_conv.se.fc"
                reduce = state[f"{fc}.reduce.weight"][:narrow, :wide, 0, 0]
                squeezed = (z.mean((2, 3)) @ reduce.T + state[f"{fc}.reduce.bias"][:narrow]).relu()
                gate = (
                    squeezed @ state[f"{fc}.expand.weight"][:wide, :narrow, 0, 0].T + state[f"{fc}.expand.bias"][:wide]
                )
                z = z * ((gate + 3).clamp(0, 6) / 6)[:, :, None, None]
            z = norm(
                F.conv2d(z, state[f"{block}.point_linear.conv.conv.weight"][:, :wide]), f"{block}.point_linear.bn.bn"
            )
            y = y + z if step == 1 and z.shape == y.shape else z
        start += depth
    if net.last:
        y = activation(norm(F.conv2d(y, state["final_expand_layer.conv.weight"]), "final_expand_layer.bn"), net.act)
        y = activation(F.conv2d(y.mean((2, 3), keepdim=True), state["feature_mix_layer.conv.weight"]), net.act)
    else:
        y = activation(norm(F.conv2d(y, state["feature_mix_layer.conv.weight"]), "feature_mix_layer.bn"), net.act)
    return y.mean((2, 3)) @ state["classifier.linear.weight"].T + state["classifier.linear.bias"]


def setting_of(net: Published, architecture: Architecture) -> Setting:
    """Our genes as Once-for-All's lists; stage 0 is the fixed block."""
    genes = dict(architecture.genes)
    return [
        [
            (int(genes[f"s{s}.b{b}.kernel"]), int(genes[f"s{s}.b{b}.expand"]))
            for b in range(int(genes.get(f"s{s}.depth", largest)))
        ]
        for s, (_, _, largest, _, _) in enumerate(net.stages, start=1)
    ]


@dataclass(frozen=True)
class Imported:
    published: Published
    state: State
    supernet: Supernet


@pytest.fixture(
    scope="module",
    params=long_form(
        ["ofa-mbv3-w1.0", "ofa-proxyless"], [n for n in PUBLISHED if n not in ("ofa-mbv3-w1.0", "ofa-proxyless")]
    ),
)
def imported(request: pytest.FixtureRequest) -> Imported:
    return _import(request.param)


@pytest.fixture(scope="module")
def w10() -> Imported:
    return _import("ofa-mbv3-w1.0")


def _import(name: str) -> Imported:
    state = checkpoint(PUBLISHED[name])
    net = Supernet(get_space(name), Interface(3, CLASSES)).double().eval()
    net.model.load_state_dict(convert_ofa(state, net.model))
    return Imported(PUBLISHED[name], state, net)


def images(seed: int) -> Tensor:
    """Two images of coarse blobs: pixel noise is much the same to a network that averages."""
    coarse = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 2 * F.interpolate(coarse, (SIDE, SIDE), mode="bilinear")


def relative(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, in units of what the image changes: most of a random network's logits is its biases."""
    return float((ours - theirs).abs().max() / (theirs[0] - theirs[1]).std())


@torch.no_grad()
def test_smallest_and_largest_equal_the_published_forward(imported: Imported) -> None:
    space, x = imported.supernet.space, images(0)
    depths = [stage[2] for stage in imported.published.stages]
    for architecture, setting in (
        (space.smallest, [[(3, 3)] * min(2, depth) for depth in depths]),
        (space.largest, [[(7, 6)] * depth for depth in depths]),
    ):
        theirs = published_forward(imported.published, imported.state, x, setting)
        assert relative(imported.supernet(x, architecture), theirs) < 1e-9


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=6, deadline=None)
@torch.no_grad()
def test_random_subnets_equal_the_published_forward(imported: Imported, seed: int) -> None:
    space = imported.supernet.space
    architecture = space.decode(space.sample(np.random.default_rng(seed), 1)[0])
    x = images(seed)
    theirs = published_forward(imported.published, imported.state, x, setting_of(imported.published, architecture))
    assert relative(imported.supernet(x, architecture), theirs) < 1e-9


@torch.no_grad()
def test_extracted_subnet_equals_the_published_forward(w10: Imported) -> None:
    space, x = w10.supernet.space, images(1)
    architecture = space.decode(space.sample(np.random.default_rng(5), 1)[0])
    theirs = published_forward(w10.published, w10.state, x, setting_of(w10.published, architecture))
    ours = w10.supernet.extract(architecture)
    assert relative(ours(x), theirs) < 1e-9
    torch.testing.assert_close(ours.float()(x.float()).double(), theirs, rtol=1e-4, atol=1e-4)


def _newer(name: str) -> str:
    return name.replace(".mobile_inverted_conv.", ".conv.")


@pytest.mark.parametrize(
    "rename",
    [_newer, "module.{}".format, lambda name: re.sub(r"\b(conv\.conv|bn\.bn)\b", lambda m: m[0].split(".")[0], name)],
    ids=["newer", "module", "static"],
)
def test_every_layout_gives_the_same(w10: Imported, rename: Callable[[str], str], tmp_path: Path) -> None:
    state = {rename(name): tensor for name, tensor in w10.state.items()}
    assert state.keys() != w10.state.keys()
    expected = w10.supernet.model.state_dict()
    for file in (state, {"state_dict": state, "epoch": 3}):
        torch.save(file, tmp_path / "published.pth")
        read = read_file(tmp_path / "published.pth", {}).tensors
        assert is_ofa(read)
        found = convert_ofa(read, w10.supernet.model)
        assert list(found) == list(expected)
        assert all(torch.equal(found[name], expected[name]) for name in expected)


@torch.no_grad()
def test_without_matrices_kernels_are_plain_centres(w10: Imported) -> None:
    plain = {name: tensor for name, tensor in w10.state.items() if not name.endswith("_matrix")}
    identity = {
        name: torch.eye(len(tensor), dtype=tensor.dtype)
        for name, tensor in w10.state.items()
        if name.endswith("_matrix")
    }
    net = Supernet(w10.supernet.space, Interface(3, CLASSES)).double().eval()
    net.model.load_state_dict(convert_ofa(plain, net.model))
    x, setting = images(2), [[(3, 3)] * 2] * 5
    assert relative(net(x, net.space.smallest), published_forward(w10.published, plain | identity, x, setting)) < 1e-9
    assert relative(net(x, net.space.smallest), published_forward(w10.published, w10.state, x, setting)) > 1e-2


def test_classes_and_channels_are_the_files(w10: Imported) -> None:
    net = Supernet(w10.supernet.space, Interface(1, 3))
    found = convert_ofa(w10.state, net.model)
    wanted = {name: tensor.shape for name, tensor in net.model.state_dict().items()}
    other = {name for name, tensor in found.items() if tensor.shape != wanted[name]}
    assert other == {"classifier.weight", "classifier.bias", "conv_stem.weight"}
    assert torch.equal(found["classifier.weight"], w10.state["classifier.linear.weight"])
    assert torch.equal(found["conv_stem.weight"], w10.state["first_conv.conv.weight"])


def test_missing_misshapen_and_surplus_tensors_are_named(w10: Imported) -> None:
    state = dict(w10.state)
    del state["blocks.3.mobile_inverted_conv.depth_conv.conv.5to3_matrix"]
    state["classifier.linear.weight"] = torch.zeros(CLASSES, 12)
    state["blocks.21.mobile_inverted_conv.point_linear.bn.bn.bias"] = torch.zeros(3)
    start = "these Once-for-All weights do not fit the space's largest network: "
    first = (
        "blocks.3.depth_conv.conv.5to3_matrix is missing; classifier.linear.weight is 7x12 in the file and 7x1280 here"
    )
    end = "; by its first convolution the file is for `space` ofa-mbv3-w1.0"
    with pytest.raises(UserError) as error:
        convert_ofa(state, w10.supernet.model)
    assert str(error.value) == f"{start}{first}; blocks.21.point_linear.bn.bias has no place here{end}"

    del state["first_conv.bn.weight"]
    with pytest.raises(UserError) as error:
        convert_ofa(state, w10.supernet.model)
    assert str(error.value) == f"{start}first_conv.bn.weight is missing; {first}; and 1 more{end}"


@pytest.mark.parametrize(
    ("given", "name"),
    [(given, name) for given in PUBLISHED for name in ("ofa-mbv3-w1.2", "ofa-proxyless", "mbv3-tiny") if given != name],
)
def test_another_network_is_an_error_that_names_the_right_space(given: str, name: str) -> None:
    space = get_space(name)
    model = space.build(space.largest, Interface(3, CLASSES), "meta")
    with pytest.raises(UserError, match=rf"and \d+ more; by its first convolution the file is for `space` {given}$"):
        convert_ofa(checkpoint(PUBLISHED[given]), model)


def test_matrices_without_a_place(w10: Imported) -> None:
    model = get_space("mbv3-large").build(get_space("mbv3-large").largest, Interface(3, CLASSES), "meta")
    with pytest.raises(UserError, match=r"blocks.1.depth_conv.conv.5to3_matrix has no place here; .* 37 more"):
        convert_ofa(w10.state, model)  # 20 blocks, two matrices each


def test_other_layouts_are_not_taken_for_this_one(w10: Imported) -> None:
    assert is_ofa(w10.state)
    assert not is_ofa(w10.supernet.model.state_dict())
    assert not is_ofa(
        {"features.1.conv.0.0.weight": torch.zeros(1), "_blocks.0._depthwise_conv.weight": torch.zeros(1)}
    )
