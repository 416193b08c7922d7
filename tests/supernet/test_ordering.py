"""Important channels first: the largest network computes the same, and narrow subnets keep what matters."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nas.supernet.ordering import groups_of, loss_importance, order_channels, weight_importance
from nas.supernet.supernet import Supernet
from search_spaces import get_space
from search_spaces.architecture import Architecture, Interface
from search_spaces.tracing.groups import Axis, Group


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Statistics and norm weights away from 0 and 1, which hide errors."""
    draw = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 1 and tensor.is_floating_point():
            low = 0.5 if name.endswith(("weight", "running_var")) else -0.5
            tensor.copy_(torch.rand(len(tensor), generator=draw) + low)


@pytest.mark.parametrize("name", ["mbv3-tiny", "timm:mobilenetv2_050", "timm:tf_efficientnet_lite0"])
def test_the_largest_network_computes_the_same(name: str) -> None:
    net = Supernet(get_space(name), Interface(3, 10))
    randomise(net.model)
    plain = copy.deepcopy(net.model).double().eval()
    groups = groups_of(net)
    order_channels(net.model, groups)
    ordered = copy.deepcopy(net.model).double().eval()
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = plain(x)
        torch.testing.assert_close(ordered(x), expected, rtol=0, atol=1e-10 * expected.abs().max().item())
    before, after = plain.state_dict(), ordered.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {axis.name for group in groups for axis in group}
    for group in groups:
        scores = weight_importance(dict(net.model.state_dict()), group)
        assert (scores.diff() <= 1e-12).all(), group[0].name


def test_attention_heads_move_as_wholes() -> None:
    from timm.layers import Attention

    dim, heads = 12, 3
    attention = Attention(dim, num_heads=heads, qkv_bias=True).double().eval()
    with torch.no_grad():
        attention.proj.weight[:, 4:8] *= 3
        attention.proj.weight[:, 8:12] *= 2
    x = torch.randn(2, 5, dim, dtype=torch.float64)
    expected, old = attention(x), copy.deepcopy(attention.state_dict())
    group = (
        Axis("qkv.weight", 0, parts=3, unit=4),
        Axis("qkv.bias", 0, parts=3, unit=4),
        Axis("proj.weight", 1, unit=4, score=True),
    )
    order_channels(attention, [group])
    torch.testing.assert_close(attention(x), expected, rtol=1e-12, atol=1e-12)
    order = [4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3]
    assert torch.equal(attention.proj.weight, old["proj.weight"][:, order])
    assert torch.equal(attention.qkv.bias[12:24], old["qkv.bias"][12:24][order])


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), st.integers(0, 99))
def test_items_by_brute_force(parts: int, items: int, unit: int, dim: int, seed: int) -> None:
    """Every element lands where counting part, item and position by hand puts it."""
    torch.manual_seed(seed)
    shape = [2, 3, 4]
    shape[dim] = parts * items * unit
    model = nn.Module()
    model.weight = nn.Parameter(torch.randn(shape))
    old = model.weight.detach().clone().movedim(dim, 0)
    axis = Axis("weight", dim, parts, unit, score=True)
    rows = [[(p * items + i) * unit + u for p in range(parts) for u in range(unit)] for i in range(items)]
    norms = [sum(old[r].abs().sum().item() for r in row) for row in rows]
    expected = torch.tensor([n / sum(norms) for n in norms], dtype=torch.float64)
    torch.testing.assert_close(
        weight_importance({"weight": model.weight.detach()}, (axis,)), expected, rtol=1e-5, atol=0
    )
    order_channels(model, [(axis,)])
    new = model.weight.detach().movedim(dim, 0)
    best_first = sorted(range(items), key=lambda i: -norms[i])
    for p, (place, item), u in itertools.product(range(parts), enumerate(best_first), range(unit)):
        assert torch.equal(new[(p * items + place) * unit + u], old[(p * items + item) * unit + u])


def test_importance_in_closed_form() -> None:
    """Shares of each scoring tensor add up; vectors and tensors that do not score are not asked."""
    tensors = {
        "reads": torch.tensor([[1.0, -1.0, 2.0]]),
        "reads_too": torch.tensor([[300.0, 100.0, 0.0]]),
        "writes": torch.tensor([[9.0], [0.0], [0.0]]),
        "bias": torch.tensor([0.0, 0.0, 9.0]),
    }
    marked = (Axis("reads", 1, score=True), Axis("reads_too", 1, score=True), Axis("writes", 0), Axis("bias", 0))
    assert weight_importance(tensors, marked).tolist() == [0.25 + 0.75, 0.25 + 0.25, 0.5]
    unmarked = (Axis("reads", 1), Axis("writes", 0), Axis("bias", 0))
    assert weight_importance(tensors, unmarked).tolist() == [0.25 + 1.0, 0.25, 0.5]


def test_equal_items_keep_their_order() -> None:
    model = nn.Sequential(nn.Conv2d(2, 5, 1), nn.Conv2d(5, 2, 1))
    nn.init.constant_(model[1].weight, 0.5)
    old = copy.deepcopy(model.state_dict())
    order_channels(model, [(Axis("0.weight", 0), Axis("0.bias", 0), Axis("1.weight", 1, score=True))])
    assert all(torch.equal(tensor, old[name]) for name, tensor in model.state_dict().items())


def test_axes_of_unequal_length() -> None:
    model = nn.Sequential(nn.Conv2d(2, 5, 1), nn.Conv2d(6, 2, 1))
    with pytest.raises(ValueError, match=r"\[5, 6\] items"):
        order_channels(model, [(Axis("0.weight", 0), Axis("1.weight", 1, score=True))])


def _outputs(net: Supernet, architecture: Architecture, x: Tensor) -> Tensor:
    net.eval()
    with torch.no_grad():
        return net(x, architecture)


def test_a_subnet_keeps_the_channels_that_matter() -> None:
    """Where the first half of a block's channels is read by nobody, the subnet of half the expansion is the largest
    network itself after ordering, and has lost everything before."""
    space = get_space("timm:mobilenetv2_050:expand=0.5:width=1:depth=1:resolution=64")
    net = Supernet(space, Interface(3, 10))
    randomise(net.model)
    with torch.no_grad():
        for name, weight in net.model.named_parameters():
            if name.endswith("conv_pwl.weight"):
                weight[:, : weight.shape[1] // 2] = 0
    x = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    half = space.smallest
    assert {value for name, value in half.genes if name.endswith("expand")} == {3.0}
    full = _outputs(net, space.largest, x)
    lost = (_outputs(net, half, x) - full).norm() / full.norm()
    assert lost > 0.1
    order_channels(net.model, groups_of(net))
    torch.testing.assert_close(_outputs(net, half, x), full, rtol=1e-4, atol=1e-5 * full.abs().max().item())


def test_narrow_layers_lose_less() -> None:
    """Two layers whose important channels are last: cutting to k of n loses exactly the readers of the others."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8, bias=False), nn.Linear(8, 3, bias=False)).double()
    with torch.no_grad():
        model[1].weight *= torch.arange(1, 9) ** 2
    x = torch.randn(50, 6, dtype=torch.float64)

    def loss(kept: int) -> float:
        first, second = model[0].weight, model[1].weight
        narrow = x @ first[:kept].T @ second[:, :kept].T
        return (narrow - model(x)).norm().item()

    before = [loss(kept) for kept in range(1, 8)]
    order_channels(model, [(Axis("0.weight", 0), Axis("1.weight", 1, score=True))])
    after = [loss(kept) for kept in range(1, 8)]
    assert all(a < b for a, b in zip(after, before, strict=True)), (before, after)


def test_kernel_matrices_stay() -> None:
    """They mix positions within a kernel and know no channels."""
    net = Supernet(get_space("ofa-mbv3-w1.0"), Interface(3, 10))
    matrices = {n: p.detach().normal_().clone() for n, p in net.model.named_parameters() if n.endswith("_matrix")}
    assert matrices
    order_channels(net.model, groups_of(net))
    for name, matrix in matrices.items():
        assert torch.equal(net.model.get_parameter(name), matrix)


def test_clips_follow_the_rows_of_their_layer() -> None:
    net = Supernet(get_space("mbv3-tiny"), Interface(3, 10), learned=("w4a8",))
    clips = {axis.name: axis for group in groups_of(net) for axis in group if axis.name.endswith(".clip_w4a8")}
    rows = {axis.name for group in groups_of(net) for axis in group if axis.dim == 0 and axis.name.endswith(".weight")}
    layers = {name for name in rows if net.model.get_parameter(name).ndim > 1}
    assert {name.replace(".clip_w4a8", ".weight") for name in clips} == layers
    assert layers
    assert not any(axis.score for axis in clips.values())


@pytest.mark.parametrize("name", ["mbv3-tiny", "timm:vit_tiny_patch16_224:resolution=32"])
def test_what_the_loss_loses_without_an_item(name: str) -> None:
    """Against the derivative of the loss when everything of an item is scaled together, by finite differences."""
    net = Supernet(get_space(name), Interface(3, 4))
    randomise(net.model)
    model = net.model.double().eval()
    side = net.space.largest.resolution
    draw = torch.Generator().manual_seed(3)
    batches = [torch.randn(2, 3, side, side, dtype=torch.float64, generator=draw) for _ in range(2)]

    def loss_of(images: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(images), torch.tensor([0, 3]))

    groups = groups_of(net)
    importance = loss_importance(model, groups, ([loss_of(images)] for images in batches))
    parameters = dict(model.named_parameters())
    for group in groups[:: max(1, len(groups) // 4)]:
        found, item = importance(group), len(importance(group)) // 2

        def scaled(factor: float, images: Tensor, group: Group = group, item: int = item) -> float:
            owned = [axis for axis in group if axis.name in parameters]
            with torch.no_grad():
                for axis in owned:
                    _scale(parameters[axis.name], axis, item, factor)
                value = loss_of(images).item()
                for axis in owned:
                    _scale(parameters[axis.name], axis, item, 1 / factor)
            return value

        step = 1e-6
        slopes = [(scaled(1 + step, x) - scaled(1 - step, x)) / (2 * step) for x in batches]
        expected = sum(slope**2 for slope in slopes)
        assert found[item].item() == pytest.approx(expected, rel=1e-3, abs=1e-12), group[0].name


def _scale(tensor: Tensor, axis: Axis, item: int, factor: float) -> None:
    """Multiply what belongs to an item of an axis: every ``parts`` x ``unit`` rows by counting."""
    rows = tensor.movedim(axis.dim, 0)
    per_part = len(rows) // axis.parts
    for part in range(axis.parts):
        begin = part * per_part + item * axis.unit
        rows[begin : begin + axis.unit] *= factor


def test_the_order_by_the_loss_puts_what_matters_first() -> None:
    """A hidden unit that nothing reads matters nothing, however large the weights that write it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight[0] *= 100
        model[2].weight[:, 0] = 0
    group = (Axis("0.weight", 0), Axis("0.bias", 0), Axis("2.weight", 1, score=True))
    before = copy.deepcopy(model)
    images, labels = torch.randn(8, 4), torch.randint(2, (8,))
    loss = nn.functional.cross_entropy(model(images), labels)
    order_channels(model, [group], loss_importance(model, [group], [[loss]]))
    assert torch.equal(model[0].weight[2], before[0].weight[0])
    torch.testing.assert_close(model(images), before(images))


def test_a_batch_in_parts_is_the_batch() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).double()
    group = (Axis("0.weight", 0), Axis("0.bias", 0), Axis("2.weight", 1, score=True))
    images, labels = torch.randn(6, 4, dtype=torch.float64), torch.randint(2, (6,))

    def share(begin: int, end: int) -> Tensor:
        return nn.functional.cross_entropy(model(images[begin:end]), labels[begin:end]) * (end - begin) / 6

    whole = loss_importance(model, [group], [[share(0, 6)]])(group)
    parts = loss_importance(model, [group], [[share(0, 4), share(4, 6)]])(group)
    assert whole.any()
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=0)
