"""Quantization against independent arithmetic: plain timm models, numpy, exact integers."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nas.quantization.decomposed import decompose
from nas.quantization.dialect import Dialect
from nas.quantization.graph import capture
from nas.quantization.grids import QParams, choose_qparams, grid_values, least_error_ratio, quantize_layer, without_ties
from nas.quantization.operators import aten
from nas.quantization.quantize import QuantizedModel, quantize
from nas.quantization.simulator import build_simulator
from search_spaces.builders.timm_compat import timm
from search_spaces.errors import UsageError, UserError
from search_spaces.policy import Policy, parse_policy
from tests.support.quantize_nets import CLASSES, SIDE, batch, trained

pytestmark = pytest.mark.xdist_group("quantize_nets")  # their network takes long: trained once, by one process


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


@given(st.floats(2**-10, 1.0, width=32), st.integers(-128, 127), st.sampled_from([0.25, 0.5, 1.0, 4 / 3]))
def test_no_activation_is_half_way_between_two_integers(scale, zero_point, ratio):
    """Ratios of steps at which, for an identity, hundreds of values would be."""
    values = grid_values(QParams(scale, zero_point))
    assert values[0] == scale * (-128 - zero_point)
    assert values[-1] - values[0] == pytest.approx(255 * scale)
    before = QParams(float(np.float32(scale / ratio)), zero_point)
    after = without_ties(before, values)
    fractions = (values.numpy() / after.scale) % 1
    assert np.abs(fractions - 0.5).min() > 5e-5
    assert before.scale <= after.scale <= 1.01 * before.scale
    assert after.zero_point == zero_point


def simulated_sum(x, y, a, b, zero_point):
    """The simulator's sum of integers ``x`` and ``y`` on grids of steps ``a`` and ``b``, on a grid of step 1."""
    graph = torch.fx.Graph()
    total = graph.call_function(aten.add.Tensor, (graph.placeholder("x"), graph.placeholder("y")))
    graph.output(total)
    ends = {"x": QParams(a, -128 if x.min() >= 0 else 0), "y": QParams(b, -128 if y.min() >= 0 else 0)}
    simulator = build_simulator(torch.fx.GraphModule({}, graph), ends | {total.name: QParams(1.0, zero_point)}, {})
    return simulator(x * a, y * b)


@given(st.floats(2**-9, 2.0), st.floats(2**-9, 2.0), st.sampled_from([-128, 0]), st.sampled_from([-128, 0]))
def test_sums_are_rounded_to_the_nearest_integer(a, b, zero_x, zero_y):
    first, second = torch.arange(-128.0 - zero_x, 128 - zero_x, 17), torch.arange(-128.0 - zero_y, 128 - zero_y, 15)
    x, y = torch.meshgrid(first, second, indexing="ij")
    exact = np.clip(a * x.double().numpy() + b * y.double().numpy(), -118, 137)
    computed = simulated_sum(x, y, a, b, zero_point=-10).double().numpy()
    assert np.abs(computed - exact).max() <= 0.5 + 255 * (2**-20 + 2**-23) * max(a, b)


def test_sums_half_way_are_rounded_up_and_saturate():
    x, y = torch.tensor([1.0, -1.0, 3.0, 120.0, -120.0]), torch.zeros(5)
    assert simulated_sum(x, y, 0.5, 0.5, 97).tolist() == [1.0, 0.0, 2.0, 30.0, -60.0]
    assert simulated_sum(x, y, 0.5, 0.5, -108).tolist() == [1.0, 0.0, 2.0, 60.0, -20.0]


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


@pytest.mark.parametrize(("bits", "largest"), [(8, 127), (4, 7), (2, 1)])
def test_a_clip_is_the_end_of_the_weight_grid(bits, largest):
    rng = np.random.default_rng(0)
    weight, clip = rng.standard_normal((5, 3, 3, 3)).astype(np.float32), rng.uniform(-1.2, 0.3, 5).astype(np.float32)
    layer = quantize_layer(torch.from_numpy(weight), torch.zeros(5), 0.02, bits, torch.from_numpy(clip))
    step = np.abs(weight).reshape(5, -1).max(1) * np.exp(clip) / largest
    np.testing.assert_allclose(layer.weight_scale.numpy(), step, rtol=1e-6)
    expected = np.clip(np.rint(weight / step[:, None, None, None]), -largest, largest)
    np.testing.assert_array_equal(layer.weight.numpy(), expected)


@pytest.mark.parametrize("largest", [7, 1])
def test_the_ratio_of_least_squared_error_against_brute_force(largest):
    rng = np.random.default_rng(1)
    rows = np.stack([rng.standard_normal(50), rng.laplace(size=50), rng.uniform(-1, 1, 50), rng.standard_t(2, 50)])

    def error(row, ratio):
        step = np.abs(row).max() * ratio / largest
        return ((np.clip(np.rint(row / step), -largest, largest) * step - row) ** 2).sum()

    found = least_error_ratio(torch.from_numpy(rows), largest).numpy()
    for row, ratio in zip(rows, found, strict=True):
        best = min(error(row, r) for r in np.linspace(0.01, 1.2, 2000))
        assert error(row, ratio) <= 1.02 * best


def test_a_range_holds_all_values():
    model = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(400, 2)).eval()
    images = torch.rand(60, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    images[0, 0, 0, 0], images[1, 0, 5, 5] = -50, 900
    assert next(iter(quantize(model, images).activations.values())).scale == pytest.approx(950 / 255)


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
        for unsigned in (False, True):
            reference = decompose(quantized, Dialect(unsigned=unsigned))(images)
            assert (reference.argmax(1) == signed.argmax(1)).float().mean() >= 0.99
            assert (reference - signed).abs().mean() < 0.02 * signed.std()


STAGES = "int8,blocks.1=w4a8,blocks.2=fp32,blocks.3=w2a8"


@pytest.fixture(scope="module")
def mixed() -> QuantizedModel:
    return quantize(trained(), batch(256, 6)[0], parse_policy(STAGES))


def test_a_policy_decides_layer_by_layer(mixed):
    """Bits of every layer by the module that its shape came from, and grids by their definition."""
    modules = dict(trained().named_modules())
    seen = set()
    for node in mixed.graph.graph.nodes:
        if node.target not in (aten.conv2d.default, aten.linear.default):
            continue
        path = node.meta["path"]
        seen.add(path)
        weight = getattr(mixed.graph, node.args[1].target)
        assert weight.shape == modules[path].weight.shape
        expected = {"blocks.1": 4, "blocks.2": None, "blocks.3": 2}.get(".".join(path.split(".")[:2]), 8)
        layer = mixed.layers.get(node.name)
        assert (layer and layer.bits) == expected
        if layer:
            assert layer.weight.abs().max() == {8: 127, 4: 7, 2: 1}[layer.bits]
            assert node.args[0].name in mixed.activations
    assert seen == {path for path, m in modules.items() if isinstance(m, nn.Conv2d | nn.Linear)}


def test_tensors_inside_a_float_island_stay_real(mixed):
    """Of each tensor on no grid: neither who computes it nor who reads it, at any distance, is quantized."""
    moves = (aten.flatten.using_ints,)

    def readers(node):
        for user in node.users:
            yield from readers(user) if user.target in moves else [user]

    real = 0
    for node in mixed.graph.graph.nodes:
        if node.op != "call_function" or node.target in moves or node.target is aten.linear.default:
            continue
        inside = [
            n.meta["path"].startswith("blocks.2.") or n.meta["path"] == "blocks.2" for n in (node, *readers(node))
        ]
        assert (node.name not in mixed.activations) == all(inside)
        real += all(inside)
    assert real >= 4


def test_float_everywhere_is_the_network_itself():
    images, _ = batch(20, 4)
    torch.testing.assert_close(quantize(trained(), images, Policy("fp32"))(images), trained()(images).detach())


def test_mixed_precision_agrees_with_torchs_quantization_operators(mixed):
    images, _ = batch(200, 8)
    with torch.no_grad():
        reference = decompose(mixed, Dialect())(images)
    simulated = mixed(images)
    assert (simulated - reference).abs().mean() < 0.02 * reference.std()


@pytest.mark.parametrize("policy", ["int8", "w4a8", "w2a8"])
def test_correction_restores_the_mean_and_the_spread_of_a_layer(policy):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(30, 6)).eval()
    images = torch.rand(64, 1, 5, 6) + 0.3
    expected = model(images).detach()
    plain, corrected = (quantize(model, images, Policy(policy), corrected_bits=b) for b in (0, 8))
    (layer,), grid = corrected.layers.values(), next(iter(corrected.activations.values()))
    unit = layer.weight_scale.double() * grid.scale
    assert ((corrected(images) - expected).mean(0).abs() <= 0.51 * unit).all()
    assert not ((plain(images) - expected).mean(0).abs() <= 0.51 * unit).all()
    if policy != "int8":
        torch.testing.assert_close(corrected(images).std(0), expected.std(0), rtol=1e-3, atol=0)


def test_correction_brings_low_bits_nearer():
    images, _ = batch(256, 6)
    others, _ = batch(500, 12)
    real = trained()(others).detach()
    plain, corrected = (quantize(trained(), images, Policy("w2a8"), corrected_bits=b)(others) for b in (0, 4))
    assert (corrected - real).norm() < 0.8 * (plain - real).norm()


def test_every_consumer_has_its_own_dequantize_node(quantized):
    nodes = [n for n in decompose(quantized, Dialect()).graph.nodes if "dequantize" in str(n.target)]
    assert nodes
    assert all(len(n.users) == 1 for n in nodes)


def test_any_batch_size_gives_the_same_logits(quantized):
    images, _ = batch(70, 9)
    together = quantized(images)
    assert together.shape == (70, CLASSES)
    torch.testing.assert_close(torch.cat([quantized(images[:1]), quantized(images[1:])]), together)


def test_quantization_points(quantized):
    """Grids end where the next function is flat; results of ReLUs and gates start at -128."""
    for node in quantized.graph.graph.nodes:
        grid = quantized.activations.get(node.name)
        assert node.target is not aten.hardsigmoid.default  # all follow layers, whose saturation they are
        if node.target is aten.hardswish.default:
            before = quantized.activations[node.args[0].name]
            assert before.scale * before.limits[0] >= -3 - before.scale
        if node.target is aten.hardtanh.default:
            assert grid.scale <= 1 / 255 * 1.001
        if node.target in (aten.relu.default, aten.hardtanh.default):
            assert grid is not None
            assert grid.zero_point == -128
            assert quantized.activations[node.args[0].name] == grid


def test_the_model_is_not_modified():
    model = trained()
    before = copy.deepcopy(model.state_dict())
    quantize(model, batch(16, 1)[0])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_dead_activations_still_quantize():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.Hardswish(), nn.Flatten(), nn.Linear(4, 2)
    )
    nn.init.constant_(model[0].bias, -100.0)  # nothing passes the ReLU
    nn.init.constant_(model[2].bias, -7.0)  # everything is below hard-swish's flat end
    images = torch.randn(4, 1, 3, 3)
    quantized = quantize(model.eval(), images)
    assert all(grid.scale > 0 for grid in quantized.activations.values())
    torch.testing.assert_close(quantized(images), model(images), rtol=1e-4, atol=1e-4)


def test_mistakes_are_user_errors():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4, 2)).eval()
    with pytest.raises(UserError, match="at least one image"):
        quantize(model, torch.zeros(0, 1, 3, 3))
    with pytest.raises(UserError, match="not finite"):
        quantize(model, torch.full((4, 1, 3, 3), torch.nan))
    with pytest.raises(UserError, match="constant: all 36 values are") as caught:
        quantize(model, torch.full((4, 1, 3, 3), 0.5))
    assert caught.value.exit_code == 1
    with pytest.raises(UsageError, match="has no stage"):
        quantize(model, torch.randn(4, 1, 3, 3), parse_policy("int8,blocks.9=fp32"))
    with pytest.raises(UserError, match="convolutional networks"):
        quantize(Matrix().eval(), torch.randn(4, 1, 3, 3))
    with pytest.raises(UserError, match="pads with 1"):
        quantize(nn.Sequential(nn.ConstantPad2d(1, 1.0), *model).eval(), torch.randn(4, 1, 1, 1))
    with pytest.raises(ValueError, match="eval"):
        quantize(copy.deepcopy(model).train(), torch.randn(4, 1, 3, 3))


class Matrix(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(9, 2))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.matrix
