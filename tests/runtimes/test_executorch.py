"""The .pte file against the simulator, in ExecuTorch; formats and hashes of exported files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from nas.export.device_script import device_script
from nas.export.manifest import MANIFEST, check_unaltered, exported_file
from nas.quantization.quantize import quantize
from nas.runtimes.executorch import Executorch, ExecutorchModel, layers_outside, lower
from nas.runtimes.table import dialect_for, file_name, parse_formats
from nas.store.run import file_hash
from nas.tasks.task import get_task
from predictors.targets.target import load_target
from search_spaces.errors import UsageError, UserError
from search_spaces.policy import parse_policy
from tests.support.scripts import run_script

SHAPE = (1, 10, 10)
RUNTIME, DIALECT = Executorch(), dialect_for("executorch", None)


def small() -> nn.Module:
    """Strides, depthwise, hard sigmoid and hard swish, a residual connection; weights of a usual size."""
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish())
            self.block = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU(), nn.Conv2d(8, 8, 1))
            self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Hardsigmoid())
            self.head = nn.Linear(8, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            x = x + self.block(x) * self.gate(x)
            return self.head(x.mean((2, 3), keepdim=True).flatten(1))

    return Net().eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(64, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("policy", ["int8", "int8,block=fp32"])
def test_the_file_agrees_with_the_simulator(images: torch.Tensor, tmp_path: Path, policy: str) -> None:
    pytest.importorskip("executorch")
    quantized = quantize(small(), images, parse_policy(policy))
    given = {"input_size": SHAPE, "mean": [0.5], "std": [0.2], "crop_pct": 1, "interpolation": "bicubic"}
    texts = {"classes": json.dumps([*"abcdé"]), "input": json.dumps(given)}
    RUNTIME.write(quantized, SHAPE, tmp_path / "m.pte", texts, DIALECT)
    model = RUNTIME.open(tmp_path / "m.pte")
    assert model.metadata == texts
    found, expected = model(images), quantized(images).numpy()
    close = np.isclose(found, expected, atol=1e-5)
    assert close.all(1).mean() >= (0.98 if policy == "int8" else 0.9)  # floats half-way between two integers part ways
    if policy == "int8":
        assert (found == expected).all(1).mean() >= 0.98  # to the last bit, logits too
        says_the_same(model, tmp_path)
    assert not np.allclose(found, small()(images).detach().numpy(), atol=1e-4)
    np.testing.assert_array_equal(model(images[:3].numpy()), found[:3])
    (tmp_path / "half.pte").write_bytes((tmp_path / "m.pte").read_bytes()[:2000])
    (tmp_path / "text.pte").write_text("not a network")
    for name in ("half", "text"):
        with pytest.raises(UserError, match=f"{name}.pte"):
            RUNTIME.open(tmp_path / f"{name}.pte")
    with pytest.raises(UserError, match="no file"):
        RUNTIME.open(tmp_path / "missing.pte")


def says_the_same(model: ExecutorchModel, folder: Path) -> None:
    """The script for devices, on a photo, against the file ``m.pte`` in ``folder`` as it is opened here."""
    photo = np.random.default_rng(0).integers(256, size=(12, 15), dtype=np.uint8)
    Image.fromarray(photo).save(folder / "photo.png")
    (folder / "script.py").write_text(device_script("executorch", RUNTIME.device_code(), get_task()))
    told = run_script(folder / "script.py", folder / "m.pte", folder / "photo.png")
    np.testing.assert_array_equal(told["logits"], model(told["pixels"])[0])
    assert told["printed"].startswith("abcdé"[told["logits"].argmax()])


def test_weights_of_fewer_bits_are_refused(images: torch.Tensor, tmp_path: Path) -> None:
    quantized = quantize(small(), images, parse_policy("int8,block=w4a8"))
    with pytest.raises(UserError, match=r"stores weights in 8 bits.*int8,block=w4a8; export it with `format` onnx"):
        RUNTIME.write(quantized, SHAPE, tmp_path / "m.pte", {}, DIALECT)
    assert list(tmp_path.iterdir()) == []


def test_every_layer_is_delegated() -> None:
    pytest.importorskip("executorch")
    images = torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(2))
    lowered = lower(quantize(small(), images), SHAPE, {})
    graph = lowered.exported_program().graph
    called = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    assert layers_outside(graph) == []
    assert sum("executorch_call_delegate" in name for name in called) == 1
    assert all("executorch_call_delegate" in name or "getitem" in name for name in called)


def test_layers_left_outside_are_found() -> None:
    program = torch.export.export(small(), (torch.zeros(1, *SHAPE),)).run_decompositions()
    assert layers_outside(program.graph) == ["addmm", "convolution"]


def test_a_float_file_computes_what_the_network_does(images: torch.Tensor, tmp_path: Path) -> None:
    pytest.importorskip("executorch")
    RUNTIME.write(small(), SHAPE, tmp_path / "m.pte", {}, DIALECT)
    with torch.no_grad():
        np.testing.assert_allclose(RUNTIME.open(tmp_path / "m.pte")(images), small()(images), atol=1e-5)


def test_without_executorch_there_is_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "executorch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "executorch", None)
    with pytest.raises(UserError, match=r"pip install .*'\.\[executorch\]'"):
        RUNTIME.open(tmp_path / "m.pte")
    with pytest.raises(UserError, match=r"pip install .*'\.\[executorch\]'"):
        RUNTIME.write(small(), SHAPE, tmp_path / "m.pte", {}, DIALECT)


def test_formats_come_from_the_user_or_the_target() -> None:
    target = load_target("cortex-a72")
    assert parse_formats(None, target.model) == ("onnx",)
    assert parse_formats("executorch, onnx,onnx", target.model) == ("executorch", "onnx")
    assert file_name("executorch", "fp32") == "model.fp32.pte"
    with pytest.raises(UsageError, match="tflite"):
        parse_formats("onnx,tflite", target.model)
    with pytest.raises(UsageError, match="names no format"):
        parse_formats(" ,", target.model)


def test_an_altered_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.int8.pte"
    file.write_bytes(b"as exported")
    check_unaltered(file)  # no manifest: nothing is known
    (tmp_path / MANIFEST).write_text(json.dumps({"files": {file.name: file_hash(file)}}))
    check_unaltered(file)
    assert exported_file(tmp_path) == file
    file.write_bytes(b"As exported")
    with pytest.raises(UserError, match="is not the file that was exported"):
        check_unaltered(file)
