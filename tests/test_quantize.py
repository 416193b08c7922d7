"""Quantization against independent arithmetic: plain timm models, numpy, exact integers."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from quantize_nets import CLASSES, SIDE, batch, trained
from torch import Tensor, nn

from nas.quantize import QuantizedModel, quantize
from nas.quantize_decomposed import decompose
from nas.quantize_graph import aten, capture
from nas.quantize_grids import QParams, choose_qparams, quantize_layer
from search_spaces.errors import UserError
from search_spaces.timm_compat import timm


@pytest.fixture(scope="module")
def quantized() -> QuantizedModel:
    return quantize(trained(), batch(256, 6)[0])


def randomised(model: nn.Module) -> nn.Module:
    """Batch norm with statistics and parameters that are not 0 and 1."""
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            for tensor in (module.bias.data, module.running_mean):
                tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
    return model.eval()


class PreActivation(nn.Module):
    """What plain networks lack: batch norm without a convolution before it, reshapes, a value overwritten in place."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3, bias=False)
        self.twice = nn.BatchNorm2d(6)
        self.head = nn.Linear(6 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu(self.norm(x))
        y = self.conv(x)
        z = self.twice(y) + y  # the convolution has a second reader: batch norm must not be folded into it
        z.clamp_(min=-0.5)
        out: Tensor = self.head(z.view(z.shape[0], -1))
        return out


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(trained, id="mobilenetv3"),
        pytest.param(lambda: timm.create_model("resnet10t", num_classes=5), id="resnet"),
        pytest.param(lambda: timm.create_model("tf_efficientnet_lite0", num_classes=5), id="efficientnet"),
        pytest.param(PreActivation, id="pre-activation"),
    ],
)
def test_folding_batch_norm_changes_nothing(build):
    model = randomised(copy.deepcopy(build()))
    small = isinstance(model, PreActivation)
    shape = (1, SIDE, SIDE) if build is trained else (3, 8, 8) if small else (3, 40, 40)
    graph = capture(model, shape)
    assert all(node.target is not aten.batch_norm.default for node in graph.graph.nodes)
    for n in (1, 5):  # traced with another batch size
        x = torch.randn(n, *shape)
        with torch.no_grad():
            expected = model(x)
            torch.testing.assert_close(graph(x), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@given(
    low=st.floats(-1e4, 1e4, width=32),
    high=st.floats(-1e4, 1e4, width=32),
)
def test_grids_are_usable(low, high):
    low, high = min(low, high), max(low, high)
    grid = choose_qparams(low, high)
    assert grid.scale > 0
    assert np.isfinite(grid.scale)
    assert float(np.float32(grid.scale)) == grid.scale
    assert -128 <= grid.zero_point <= 127  # so that zero is on the grid exactly
    if low >= 0:
        assert grid.zero_point == -128
    if high - low > 1e-5:  # the grid reaches both ends, up to the rounding of the zero point
        smallest, largest = (grid.scale * limit for limit in grid.limits)
        assert smallest <= low + 0.51 * grid.scale
        assert largest >= high - 0.51 * grid.scale


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-6, 1e-3, 1.0, 100.0]))
def test_layer_integers_against_numpy(seed, magnitude):
    rng = np.random.default_rng(seed)
    weight = (rng.standard_normal((4, 3, 3, 3)) * magnitude * rng.uniform(0.01, 1, (4, 1, 1, 1))).astype(np.float32)
    bias = rng.standard_normal(4).astype(np.float32)
    layer = quantize_layer(torch.from_numpy(weight), torch.from_numpy(bias), input_scale=0.02)
    scale = np.abs(weight).reshape(4, -1).max(1) / np.float32(127)
    np.testing.assert_allclose(layer.weight_scale.numpy(), np.maximum(scale, np.abs(bias) / (0.02 * 2**30)), rtol=1e-5)
    scale = layer.weight_scale.numpy()[:, None, None, None]
    error = np.abs(layer.weight.numpy() * scale - weight)
    assert (error <= scale * 0.50001).all()
    assert np.abs(layer.weight.numpy()).max() <= 127
    step = layer.weight_scale.numpy().astype(np.float64) * 0.02
    assert (np.abs(layer.bias.numpy() * step - bias) <= step * 0.50001).all()


def test_a_dead_channel_and_a_large_bias_stay_in_int32():
    weight = torch.zeros(2, 3, 1, 1)
    weight[1] = 1e-20
    layer = quantize_layer(weight, torch.tensor([5.0, -300.0]), input_scale=1e-3)
    assert (layer.weight_scale > 0).all()
    np.testing.assert_allclose(layer.bias.double() * layer.weight_scale.double() * 1e-3, [5.0, -300.0], rtol=1e-6)


def test_simulator_equals_integer_arithmetic():
    """One convolution with ReLU and one linear layer, recomputed in numpy with int64 accumulators."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 2, bias=True), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4)).eval()
    images = torch.randn(50, 2, 3, 3)
    quantized = quantize(model, images)
    (conv, linear), grids = quantized.layers.values(), list(quantized.activations.values())
    first = grids[0]
    after = next(g for name, g in quantized.activations.items() if "relu" in name)
    assert after.zero_point == -128

    q = np.clip(np.round(images.numpy() / np.float32(first.scale)) + first.zero_point, -128, 127).astype(np.int64)
    x = q - first.zero_point
    windows = np.lib.stride_tricks.sliding_window_view(x, (2, 2), axis=(2, 3))
    accumulator = np.einsum("ncyxhw,ochw->noyx", windows, conv.weight.numpy().astype(np.int64))
    accumulator += conv.bias.numpy()[:, None, None]
    real = accumulator * (first.scale * conv.weight_scale.numpy().astype(np.float64))[:, None, None]
    hidden = np.clip(np.round(real / after.scale) - 128, -128, 127).astype(np.int64) + 128
    logits = hidden.reshape(50, -1) @ linear.weight.numpy().astype(np.int64).T + linear.bias.numpy()
    expected = logits * (after.scale * linear.weight_scale.numpy().astype(np.float64))
    np.testing.assert_allclose(quantized(images).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_accuracy_survives(quantized):
    images, labels = batch(2000, 5)
    with torch.no_grad():
        real = trained()(images)
    simulated = quantized(images)
    before, after = ((y.argmax(1) == labels).float().mean() for y in (real, simulated))
    assert before > 0.85
    assert abs(before - after) <= 0.01
    assert not torch.equal(real, simulated)


def test_simulator_agrees_with_torchs_quantization_operators(quantized):
    images, _ = batch(500, 8)
    signed = quantized(images)
    with torch.no_grad():
        for uint8 in (False, True):
            reference = decompose(quantized, uint8)(images)
            assert (reference.argmax(1) == signed.argmax(1)).float().mean() >= 0.99
            assert (reference - signed).abs().mean() < 0.02 * signed.std()


def test_every_consumer_has_its_own_dequantize_node(quantized):
    nodes = [n for n in decompose(quantized).graph.nodes if "dequantize" in str(n.target)]
    assert nodes
    assert all(len(n.users) == 1 for n in nodes)


def test_any_batch_size_gives_the_same_logits(quantized):
    images, _ = batch(70, 9)
    together = quantized(images)
    assert together.shape == (70, CLASSES)
    torch.testing.assert_close(torch.cat([quantized(images[:1]), quantized(images[1:])]), together)


def test_quantization_points(quantized):
    """Grids end where the next function is flat; gates have 1/2 on their grid; results of ReLUs start at -128."""
    for node in quantized.graph.graph.nodes:
        grid = quantized.activations.get(node.name)
        if node.target in (aten.hardswish.default, aten.hardsigmoid.default):
            before = quantized.activations[node.args[0].name]
            assert before.scale * before.limits[0] >= -3 - before.scale
        if node.target is aten.hardsigmoid.default:
            assert grid == QParams(float(np.float32(1 / 254)), -128)
        if node.target is aten.relu.default:
            assert grid is not None
            assert grid.zero_point == -128
            assert quantized.activations[node.args[0].name] == grid


def test_the_model_is_not_modified():
    model = trained()
    before = copy.deepcopy(model.state_dict())
    quantize(model, batch(16, 1)[0])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_constant_images_and_dead_activations_still_quantize():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.Hardswish(), nn.Flatten(), nn.Linear(4, 2)
    )
    nn.init.constant_(model[0].bias, -100.0)  # nothing passes the ReLU
    nn.init.constant_(model[2].bias, -7.0)  # everything is below hard-swish's flat end
    quantized = quantize(model.eval(), torch.zeros(4, 1, 3, 3))
    assert all(grid.scale > 0 for grid in quantized.activations.values())
    images = torch.randn(4, 1, 3, 3)
    torch.testing.assert_close(quantized(images), model(images), rtol=1e-4, atol=1e-4)


def test_mistakes_are_user_errors():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4, 2)).eval()
    with pytest.raises(UserError, match="at least one image"):
        quantize(model, torch.zeros(0, 1, 3, 3))
    with pytest.raises(UserError, match="not finite"):
        quantize(model, torch.full((4, 1, 3, 3), torch.nan))
    with pytest.raises(UserError, match="convolutional networks"):
        quantize(Matrix().eval(), torch.randn(4, 1, 3, 3))
    with pytest.raises(UserError, match="pads with 1"):
        quantize(nn.Sequential(nn.ConstantPad2d(1, 1.0), *model).eval(), torch.randn(4, 1, 1, 1))
    with pytest.raises(ValueError, match="eval"):
        quantize(copy.deepcopy(model).train(), torch.zeros(4, 1, 3, 3))


class Matrix(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(9, 2))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.matrix
