"""The ONNX file against the simulator, in onnxruntime."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from quantize_nets import CLASSES, SIDE, batch, trained

from nas.calibrate import calibrate
from nas.quantize import quantize
from search_spaces import get_space
from search_spaces.errors import UserError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from nas.export.onnx import export_onnx, load_onnx  # noqa: E402

METADATA = {"classes": "shirt, dress", "empty": "", "unicode": "é"}


@pytest.fixture(scope="module")
def quantized():
    return quantize(trained(), batch(256, 6)[0])


@pytest.fixture(scope="module", params=[False, True], ids=["int8", "uint8"])
def file(request, quantized, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_onnx(quantized, path, METADATA, uint8=request.param)
    return path


def test_onnxruntime_computes_what_the_simulator_computes(quantized, file):
    images, labels = batch(2000, 5)
    simulated, executed = quantized(images).numpy(), load_onnx(file)(images)
    assert (simulated.argmax(1) == executed.argmax(1)).mean() >= 0.995
    close = np.isclose(simulated, executed, rtol=1e-4, atol=1e-4)
    assert close.mean() >= 0.98
    accuracies = [(y.argmax(1) == labels.numpy()).mean() for y in (simulated, executed)]
    assert abs(accuracies[0] - accuracies[1]) <= 0.003


def test_every_layer_runs_on_integers(quantized, file, tmp_path):
    load_onnx(file, optimized=tmp_path / "optimized.onnx")
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    convolutions = sum(layer.weight.ndim == 4 for layer in quantized.layers.values())
    assert kinds["QLinearConv"] == convolutions
    assert kinds["QGemm"] == 1
    assert kinds["Conv"] == kinds["FusedConv"] == kinds["Gemm"] == kinds["Add"] == 0


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
    model = load_onnx(file)
    images, _ = batch(70, 3)
    together = model(images)
    assert together.shape == (70, CLASSES)
    np.testing.assert_array_equal(np.concatenate([model(images[:1]), model(images[1:].numpy())]), together)


def test_metadata_and_names(file):
    model = load_onnx(file)
    assert model.metadata == METADATA
    (image,), (logits,) = model.session.get_inputs(), model.session.get_outputs()
    assert (image.name, image.shape) == ("images", ["batch", 1, SIDE, SIDE])
    assert (logits.name, logits.shape) == ("logits", ["batch", CLASSES])


def test_export_is_quiet_and_leaves_one_file(tmp_path, capfd):
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU6(), torch.nn.Flatten(), torch.nn.Linear(2, 2))
    (tmp_path / "m.onnx").write_bytes(b"old")
    export_onnx(quantize(model.eval(), torch.randn(8, 1, 3, 3)), tmp_path / "m.onnx", {})
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    assert capfd.readouterr() == ("", "")
    assert load_onnx(tmp_path / "m.onnx").metadata == {}
    with pytest.raises(UserError, match="cannot write"):
        export_onnx(quantize(model, torch.randn(8, 1, 3, 3)), tmp_path / "missing" / "m.onnx", {})


def test_damaged_files_are_user_errors(file, tmp_path):
    (tmp_path / "text.onnx").write_text("not a network")
    (tmp_path / "half.onnx").write_bytes(file.read_bytes()[:3000])
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name in ("text", "half", "empty"):
        with pytest.raises(UserError, match=f"{name}.onnx"):
            load_onnx(tmp_path / f"{name}.onnx")
    with pytest.raises(UserError, match="no file"):
        load_onnx(tmp_path / "missing.onnx")


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto"])
def test_other_families_agree_too(name, tmp_path):
    """Strided shortcuts, attention over channels, layer norms and layer scales."""
    torch.manual_seed(0)
    space = get_space(f"timm:{name}:resolution=64")
    model = space.build(space.smallest, CLASSES, 3)
    images = torch.randn(64, 3, 64, 64)
    calibrate(model, images)
    quantized = quantize(model, images)
    export_onnx(quantized, tmp_path / "model.onnx", {})
    executed = torch.from_numpy(load_onnx(tmp_path / "model.onnx")(images.numpy()))
    simulated = quantized(images)
    with torch.no_grad():
        real = model(images)
    assert (simulated - executed).norm() <= 0.02 * executed.norm()
    assert (simulated - real).norm() <= 0.15 * real.norm()
