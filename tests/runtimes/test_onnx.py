"""The ONNX file against the simulator, in onnxruntime."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch

from nas.candidates.calibrate import calibrate
from nas.quantization.quantize import quantize
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.policy import parse_policy
from tests.support.processors import SATURATES
from tests.support.quantize_nets import CLASSES, SIDE, batch, trained

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from nas.runtimes.onnx import Onnx  # noqa: E402
from nas.runtimes.onnx_packing import pack  # noqa: E402
from nas.runtimes.table import dialect_for, write_model  # noqa: E402
from predictors.targets.target import load_target  # noqa: E402

pytestmark = pytest.mark.xdist_group("quantize_nets")  # their network takes long: trained once, by one process

STAGES = "int8,blocks.1=w4a8,blocks.2=fp32,blocks.3=w2a8"
METADATA = {"classes": "shirt, dress", "empty": "", "unicode": "é"}


def write(quantized, path, metadata, model=None):
    Onnx().write(quantized, quantized.image_shape, path, metadata, dialect_for("onnx", model))


@pytest.fixture(scope="module")
def quantized():
    return quantize(trained(), batch(256, 6)[0])


saturates = pytest.mark.skipif(SATURATES, reason="this processor's sums of unsigned bytes saturate")


@pytest.fixture(scope="module", params=["onnx", pytest.param("onnx-uint8", marks=saturates)])
def file(request, quantized, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write(quantized, path, METADATA, request.param)
    return path


def test_onnxruntime_computes_what_the_simulator_computes(quantized, file):
    images, labels = batch(2000, 5)
    simulated, executed = quantized(images).numpy(), Onnx().open(file)(images)
    assert (simulated.argmax(1) == executed.argmax(1)).mean() >= 0.995
    close = np.isclose(simulated, executed, rtol=1e-4, atol=1e-4)
    assert close.mean() >= 0.98
    accuracies = [(y.argmax(1) == labels.numpy()).mean() for y in (simulated, executed)]
    assert abs(accuracies[0] - accuracies[1]) <= 0.003


def integer_layers(file, folder):
    """Weights of the integer operators that onnxruntime makes of a file, and how many operators of each kind it has."""
    Onnx().open(file, optimized=folder / "optimized.onnx")
    graph = onnx.load(folder / "optimized.onnx").graph
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    weights = [stored[n.input[3]] for n in graph.node if n.op_type in ("QLinearConv", "QGemm")]
    return weights, Counter(node.op_type for node in graph.node)


def is_among(layer, weights):
    """The last layer's integer operator has its weights transposed."""
    own = layer.weight.numpy()
    return any(np.array_equal(own, w if w.shape == own.shape else w.T) for w in weights)


def test_every_layer_runs_on_integers(quantized, file, tmp_path):
    weights, kinds = integer_layers(file, tmp_path)
    assert all(is_among(layer, weights) for layer in quantized.layers.values())
    assert kinds["QGemm"] == 1  # its result, the logits, is a float
    assert kinds["Conv"] == kinds["FusedConv"] == kinds["Gemm"] == kinds["Add"] == 0


@pytest.fixture(scope="module")
def mixed():
    return quantize(trained(), batch(256, 6)[0], parse_policy(STAGES))


@pytest.fixture(scope="module")
def mixed_file(mixed, tmp_path_factory):
    path = tmp_path_factory.mktemp("mixed") / "model.onnx"
    write_model("onnx", mixed, mixed.image_shape, path, {"classes": "a"}, load_target("x86-64").model)
    return path


def test_the_policy_is_what_onnxruntime_runs(mixed, mixed_file, tmp_path):
    """Layers of 8, 4 and 2 bits in integer operators, those of the float island, and only those, in float ones."""
    weights, kinds = integer_layers(mixed_file, tmp_path)
    assert {layer.bits for layer in mixed.layers.values()} == {8, 4, 2}
    assert all(is_among(layer, weights) for layer in mixed.layers.values())
    assert len(weights) == len(mixed.layers)
    island = [m for path, m in trained().named_modules() if path.startswith("blocks.2.") and hasattr(m, "weight")]
    island = [m for m in island if m.weight.ndim == 4]
    assert kinds["Conv"] + kinds["FusedConv"] == len(island) > 0
    assert kinds["Gemm"] == kinds["MatMul"] == kinds["Cast"] == 0


def test_onnxruntime_computes_mixed_precision_as_the_simulator_does(mixed, mixed_file):
    images, _ = batch(1000, 5)
    model = Onnx().open(mixed_file)
    needs = json.dumps({"onnxruntime": "1.24"})  # weights of 2 bits
    assert model.metadata == {"classes": "a", "policy": json.dumps(STAGES), "needs": needs}
    simulated, executed = mixed(images).numpy(), model(images)
    assert (simulated.argmax(1) == executed.argmax(1)).mean() >= 0.99
    assert np.abs(simulated - executed).mean() < 0.01 * simulated.std()


def test_weights_take_the_bits_of_their_policy(mixed, mixed_file):
    model = onnx.load(mixed_file)
    onnx.checker.check_model(model)
    stored = {t.name: t for t in model.graph.initializer}
    size = 0
    for name, layer in mixed.layers.items():
        tensor = stored[f"{name}_weight" if layer.bits == 8 else f"{name}_weight_packed"]
        assert len(tensor.raw_data) == -(-layer.weight.numel() * layer.bits // 8)
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor).astype(np.int8), layer.weight.numpy())
        size += len(tensor.raw_data)
    floats = sum(p.numel() for path, p in trained().named_parameters() if path.startswith("blocks.2."))
    channels = sum(layer.bias.numel() for layer in mixed.layers.values())
    assert mixed_file.stat().st_size <= size + 4 * floats + 16 * channels + 300 * len(model.graph.node)


def test_packed_bytes_hold_the_lowest_bits_first():
    assert pack(np.array([1, -1, 7, -7, 3], dtype=np.int8), 4).tolist() == [0xF1, 0x97, 0x03]
    assert pack(np.array([1, -1, 0, 1, -1], dtype=np.int8), 2).tolist() == [0b01001101, 0b11]


def test_weights_are_stored_in_one_byte(quantized, file):
    model = onnx.load(file)
    onnx.checker.check_model(model)
    stored = [onnx.numpy_helper.to_array(t) for t in model.graph.initializer]
    integers = {a.tobytes() for a in stored if a.dtype == np.int8}
    assert all(layer.weight.numpy().tobytes() in integers for layer in quantized.layers.values())
    assert not any(a.dtype == np.float32 and a.ndim > 1 for a in stored)
    weights = sum(layer.weight.numel() for layer in quantized.layers.values())
    channels = sum(layer.bias.numel() for layer in quantized.layers.values())
    nodes = len(model.graph.node)
    assert file.stat().st_size <= weights + 16 * channels + 300 * nodes


def test_any_batch_size(file):
    model = Onnx().open(file)
    images, _ = batch(70, 3)
    together = model(images)
    assert together.shape == (70, CLASSES)
    np.testing.assert_array_equal(np.concatenate([model(images[:1]), model(images[1:].numpy())]), together)


def test_metadata_and_names(file):
    model = Onnx().open(file)
    assert model.metadata == METADATA | {"needs": json.dumps({"onnxruntime": "1.16"})}
    (image,), (logits,) = model.session.get_inputs(), model.session.get_outputs()
    assert (image.name, image.shape) == ("images", ["batch", 1, SIDE, SIDE])
    assert (logits.name, logits.shape) == ("logits", ["batch", CLASSES])


@pytest.mark.long
@pytest.mark.parametrize("name", ["convnext_atto"])
def test_other_families_agree_too(name, tmp_path):
    """Strided shortcuts, attention over channels, layer norms and layer scales."""
    torch.manual_seed(0)
    space = get_space(f"timm:{name}:resolution=64")
    model = space.build(space.smallest, Interface(3, CLASSES))
    images = torch.randn(64, 3, 64, 64)
    calibrate(model, images)
    quantized = quantize(model, images)
    write(quantized, tmp_path / "model.onnx", {})
    executed = torch.from_numpy(Onnx().open(tmp_path / "model.onnx")(images.numpy()))
    simulated = quantized(images)
    with torch.no_grad():
        real = model(images)
    assert (simulated - executed).norm() <= 0.02 * executed.norm()
    assert (simulated - real).norm() <= 0.15 * real.norm()
