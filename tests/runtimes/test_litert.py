"""Files for LiteRT against the simulator, operator by operator, and what is said of those that it cannot run well."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("ai_edge_litert")

from nas.quantization.grids import QParams
from nas.quantization.quantize import quantize
from nas.runtimes.litert import Litert, LitertModel
from nas.runtimes.tflite.builder import Builder, pack
from nas.runtimes.tflite.metadata import LABELS, TABLE, read_texts, with_archive
from nas.runtimes.tflite.padding import choose_padding
from search_spaces.errors import UserError
from search_spaces.policy import parse_policy
from tests.support.long_forms import long_form

SHAPE = (3, 12, 14)
IMAGES = torch.randn(24, *SHAPE, generator=torch.Generator().manual_seed(3))
RUNTIME = Litert()


class Around(nn.Module):
    """A convolution, some operators, and a classifier over their means."""

    def __init__(self, between: Callable[[Tensor], Tensor] | nn.Module, channels: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1)
        self.between = between
        self.head = nn.Linear(channels, 5)

    def forward(self, x: Tensor) -> Tensor:
        between: Any = self.between
        return self.head(between(self.stem(x)).mean((2, 3)))


class Gated(nn.Module):
    """Squeeze-and-excitation around a residual connection."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(8, 8, 5, 1, 2, groups=8), nn.Hardswish())
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 8, 1), gate)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.inner(x)
        return x + inner * self.squeeze(inner)


class LastDims(nn.Module):
    """A layer norm and linear layers over channels that are the last dimension for a while, as in ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.inner, self.outer = nn.LayerNorm(8), nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.outer(nn.functional.gelu(self.inner(self.norm(x.permute(0, 2, 3, 1)))))
        return x + y.permute(0, 3, 1, 2)


class Flattened(nn.Module):
    """A classifier over a whole map, as in VGG."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pool = nn.Conv2d(3, 4, 3, 2, 1), nn.MaxPool2d(3, 2, 1)
        self.inner, self.head = nn.Linear(4 * 3 * 4, 6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.stem(x))).flatten(1)
        return self.head(torch.relu(self.inner(x)))


def strides() -> nn.Module:
    """Kernels and strides whose padding TFLite's SAME has, and others."""
    return nn.Sequential(
        nn.Conv2d(8, 16, 3, 2, 1, groups=8), nn.ReLU6(), nn.Conv2d(16, 8, 1), nn.Conv2d(8, 8, 5, 2, 2), nn.ReLU(),
        nn.Conv2d(8, 8, 3, 1, 2, dilation=2, groups=2), nn.Conv2d(8, 8, 2, 1, 0), nn.Conv2d(8, 8, 3, 1, 1, bias=False),
    )  # fmt: skip


def shifted(x: Tensor) -> Tensor:
    """Slices, padding and a concatenation."""
    return torch.cat([nn.functional.pad(x, (1, 0, 0, 2))[:, 2:, 1:12, :-1], x[:, :3, :11]], 1)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "strides": lambda: Around(strides()),
    "gate of hard sigmoids": lambda: Around(Gated(nn.Hardsigmoid())),
    "channels last": lambda: Around(LastDims()),
    "whole map": Flattened,
    "gate of sigmoids": lambda: Around(Gated(nn.Sigmoid())),
    "SiLU": lambda: Around(nn.SiLU()),
    "tanh": lambda: Around(nn.Tanh()),
    "ELU": lambda: Around(nn.ELU()),
    "leaky ReLU": lambda: Around(nn.LeakyReLU(0.1)),
    "mean pooling": lambda: Around(nn.AvgPool2d(2)),
    "mean pooling of padded maps": lambda: Around(nn.AvgPool2d(3, 2, 1)),
    "max pooling below zero": lambda: Around(nn.MaxPool2d(3, 2, 1)),
    "max pooling, rounded up": lambda: Around(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2, 2, ceil_mode=True))),
    "moved": lambda: Around(shifted, 9),
    "numbers": lambda: Around(lambda x: (x * 0.5 + 1 - x.clamp(-1, 1)) / 3),
    "flipped": lambda: Around(lambda x: x.transpose(2, 3) * 2.0),
}


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name]().eval()


def write(network: Any, folder: Path, texts: dict[str, str] | None = None) -> LitertModel:
    RUNTIME.write(network, SHAPE, folder / "m.tflite", texts or {}, RUNTIME.dialects["litert"])
    return RUNTIME.open(folder / "m.tflite")


@pytest.mark.parametrize("name", long_form([*NETWORKS][:4], [*NETWORKS][4:]))
def test_a_file_computes_the_simulators_integers(name: str, tmp_path: Path) -> None:
    model = made(name)
    network = quantize(model, IMAGES)
    np.testing.assert_array_equal(write(network, tmp_path)(IMAGES), network(IMAGES))
    with torch.no_grad():
        np.testing.assert_allclose(write(model, tmp_path)(IMAGES), model(IMAGES), rtol=0, atol=1e-5)


@pytest.mark.parametrize("policy", ["w4a8,between=fp32", *long_form([], ["w2a8", "fp32,between=w4a8", "w4a8"])])
def test_every_precision_computes_what_the_simulator_does(policy: str, tmp_path: Path) -> None:
    network = quantize(made("gate of hard sigmoids"), IMAGES, parse_policy(policy))
    executed, simulated = write(network, tmp_path)(IMAGES), network(IMAGES).numpy()
    assert np.isclose(executed, simulated, atol=1e-5).mean() >= 0.98


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "side"),
    [("mobilenetv2_100", 96), ("mobilenetv3_large_100", 96), ("mobilenetv4_conv_small", 96),
     ("efficientnet_lite0", 96), ("resnet18", 64)],
)  # fmt: skip
def test_networks_of_timm_compute_the_simulators_integers(name: str, side: int, tmp_path: Path) -> None:
    from search_spaces.builders.timm_compat import timm

    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10)
    images = torch.randn(16, 3, side, side)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        model(images)
    network = quantize(model.eval(), images)
    RUNTIME.write(network, (3, side, side), tmp_path / "m.tflite", {}, RUNTIME.dialects["litert"])
    opened = RUNTIME.open(tmp_path / "m.tflite")
    assert opened.remark == ""
    assert (opened(images) == network(images).numpy()).mean() > 0.9  # of random weights: one bit goes far


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_padding_is_pytorchs(ceil_mode: bool) -> None:
    """Against max pooling, whose every output tells where its kernel lay."""
    for size in range(5, 10):
        for kernel, stride, around in ((1, 1, 0), (2, 2, 0), (3, 1, 1), (3, 2, 1), (3, 2, 0), (5, 2, 2), (5, 3, 1)):
            x = torch.arange(1.0, size + 1).expand(1, 1, size, size)
            wanted = nn.functional.max_pool2d(x, kernel, stride, around, 1, ceil_mode)
            found = choose_padding((size, size), (kernel,) * 2, (stride,) * 2, (around,) * 2, (1, 1), ceil_mode)
            before, after = found.before[1], found.after[1]
            if found.kind == "SAME":  # the rule in TensorFlow's documentation
                total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
                before, after = total // 2, total - total // 2
            padded = nn.functional.pad(x, (before, after, before, after))
            assert torch.equal(nn.functional.max_pool2d(padded, kernel, stride), wanted), (size, kernel, stride, around)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_small_integers_share_bytes(bits: int) -> None:
    values = np.random.default_rng(0).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), 13)
    packed = pack(values.astype(np.int8).view(np.uint8), bits)
    whole = int.from_bytes(packed.tobytes(), "little")
    for place, value in enumerate(values):
        part = (whole >> (bits * place)) % 2**bits
        assert part - (2**bits if part >= 2 ** (bits - 1) else 0) == value
    assert len(packed) == -(-13 * bits // 8)


def test_weights_of_4_bits_take_half_the_bytes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Around(nn.Sequential(nn.Conv2d(8, 160, 1), nn.ReLU(), nn.Conv2d(160, 80, 1)), 80).eval()
    sizes = {}
    for policy in ("int8", "w4a8"):
        network = quantize(model, IMAGES, parse_policy(policy))
        opened = write(network, tmp_path)
        assert opened.remark == ""
        np.testing.assert_array_equal(opened(IMAGES), network(IMAGES))
        sizes[policy] = (tmp_path / "m.tflite").stat().st_size
    assert sizes["int8"] - sizes["w4a8"] == pytest.approx((8 * 160 + 160 * 80) / 2, abs=200)


def test_operators_outside_xnnpack_are_said(tmp_path: Path) -> None:
    assert write(made("strides"), tmp_path).remark == ""
    below_zero = quantize(made("max pooling below zero"), IMAGES)
    assert "PADV2" in write(below_zero, tmp_path).remark


@pytest.mark.parametrize("policy", ["int8", "w4a8", "fp32"])
@pytest.mark.parametrize(("kernel", "stride"), [((7, 7), 1), ((7, 7), 2), ((9, 3), 1)])
def test_large_depthwise_kernels_run_outside_xnnpack_and_are_exact(
    kernel: tuple[int, int], stride: int, policy: str, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    around = (kernel[0] // 2, kernel[1] // 2)
    model = Around(nn.Sequential(nn.Conv2d(8, 8, kernel, stride, around, groups=8), nn.ReLU())).eval()
    network: Any = model if policy == "fp32" else quantize(model, IMAGES, parse_policy(policy))
    opened = write(network, tmp_path)
    assert opened.remark.startswith("depthwise kernels above 5 x 5 run in LiteRT's own way")
    with torch.no_grad():
        wanted, found = network(IMAGES), torch.from_numpy(opened(IMAGES.numpy()))
    if policy == "fp32":
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    else:
        assert torch.equal(found, wanted)


def test_kernels_of_25_weights_run_in_xnnpack(tmp_path: Path) -> None:
    for layer in (nn.Conv2d(8, 8, 5, 1, 2, groups=8), nn.Conv2d(8, 8, 7, 1, 3)):
        assert write(quantize(Around(layer).eval(), IMAGES), tmp_path).remark == ""


def test_what_the_format_has_no_form_of_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"for LiteRT: there is no form of mish in .*another format"):
        write(Around(nn.Mish()).eval(), tmp_path)
    attention = Around(lambda x: nn.functional.scaled_dot_product_attention(x, x, x)).eval()
    with pytest.raises(UserError, match=r"cannot write this network for LiteRT: it has attention .*another format"):
        write(attention, tmp_path)
    assert not (tmp_path / "m.tflite").exists()


def test_files_of_others_and_of_later_versions_are_refused(tmp_path: Path) -> None:
    builder = Builder()
    image = builder.tensor("x", (1, 4), "INT8", QParams(0.1, 0))
    same = builder.operator("LOGISTIC", [image], builder.tensor("y", (1, 4), "INT8", QParams(1 / 256, -128)))
    (tmp_path / "other.tflite").write_bytes(builder.finish(image, same, ("x", "y"), {}))
    with pytest.raises(UserError, match=r"other.tflite' was not exported by nas"):
        RUNTIME.open(tmp_path / "other.tflite")
    builder = Builder()
    image = builder.tensor("x", (1, 4, 4, 1), "FLOAT32")
    later = builder.operator("ROUND", [image], builder.tensor("y", (1, 4, 4, 1), "FLOAT32"))
    builder._codes = {("ROUND", 99): 0}
    (tmp_path / "later.tflite").write_bytes(builder.finish(image, later, ("x", "y"), {}))
    with pytest.raises(UserError, match=r"later.tflite' is not a readable LiteRT file: .*ROUND.*99"):
        RUNTIME.open(tmp_path / "later.tflite")


def test_texts_of_a_damaged_archive_are_none(tmp_path: Path) -> None:
    texts = {"classes": json.dumps([*"ab"]), "policy": '"fp32"'}
    whole, file = with_archive(b"network" * 9, texts), tmp_path / "m.tflite"
    for changed in range(63, len(whole)):
        file.write_bytes(whole[:changed] + bytes([whole[changed] ^ 0x55]) + whole[changed + 1 :])
        assert all(isinstance(text, str) for text in read_texts(file).values())
        file.write_bytes(whole[:changed])
        assert read_texts(file) == {}
    file.write_bytes(whole)
    assert read_texts(file) == texts


def test_the_task_librarys_table_says_how_images_are_normalised(tmp_path: Path) -> None:
    """Read by field numbers of its schema."""
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import number_types as types
    from flatbuffers.encode import Get, packer
    from flatbuffers.table import Table

    given = {"input_size": SHAPE, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.5]}
    texts = {"classes": json.dumps(["a", "two\nlines", "ü"]), "input": json.dumps(given), "policy": '"fp32"'}
    opened = write(made("strides"), tmp_path, texts)
    assert opened.metadata.items() >= texts.items()
    with zipfile.ZipFile(tmp_path / "m.tflite") as archive:
        assert archive.read(LABELS).decode().split("\n") == ["a", "two lines", "ü"]
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs((tmp_path / "m.tflite").read_bytes()))
    (entry,) = [each for each in model.metadata if each.name.decode() == TABLE]
    content = bytes(model.buffers[entry.buffer].data)
    assert content[4:8] == b"M001"

    def field(table: Table, number: int) -> int:
        return int(table.Pos + table.Offset(4 + 2 * number))

    def inner(table: Table, number: int) -> Table:
        return Table(content, table.Indirect(field(table, number)))

    def first(table: Table, number: int) -> Table:
        return Table(content, table.Indirect(table.Vector(field(table, number) - table.Pos)))

    def floats(table: Table, number: int) -> list[float]:
        start, count = table.Vector(field(table, number) - table.Pos), table.VectorLen(field(table, number) - table.Pos)
        return [float(Get(packer.float32, content, start + 4 * i)) for i in range(count)]

    root = Table(content, Get(packer.uoffset, content, 0))
    graph = first(root, 3)
    image, output = first(graph, 2), first(graph, 3)
    unit = first(image, 4)
    assert unit.Get(types.Uint8Flags, field(unit, 0)) == 1  # NormalizationOptions
    options = inner(unit, 1)
    np.testing.assert_allclose(floats(options, 0), [255 * each for each in given["mean"]], rtol=1e-6)
    np.testing.assert_allclose(floats(options, 1), [255 * each for each in given["std"]], rtol=1e-6)
    labels = first(output, 6)
    assert labels.String(field(labels, 0)) == LABELS.encode()
    assert labels.Get(types.Int8Flags, field(labels, 2)) == 2  # TENSOR_AXIS_LABELS
