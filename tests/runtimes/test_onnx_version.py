"""The opset and the format of ONNX files are the lowest that say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from nas.quantization.quantize import outline, quantize  # noqa: E402
from nas.runtimes.onnx import Onnx  # noqa: E402
from nas.runtimes.onnx_version import SINCE, lower_version, oldest_runtime  # noqa: E402
from nas.runtimes.table import dialect_for  # noqa: E402
from search_spaces.policy import parse_policy  # noqa: E402
from tests.kits.runtime import SHAPE, images, network  # noqa: E402
from tests.support.long_forms import long_form  # noqa: E402

OLD_OPSET, OLD_FORMAT = 19, 9
"""What onnxruntime 1.16 reads."""


class Smooth(nn.Module):
    """Operators whose own ONNX operator is younger than they are: GELU (opset 20), layer norm (17)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, 2, 1)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.gelu(self.stem(x)).mean((2, 3))
        return self.head(self.norm(x))


def lowest(model: Any) -> int:
    """The first opset in which every operator means what it means in the model's: by trying all."""

    def meaning(opset: int) -> list[int | None]:
        found = []
        for node in model.graph.node:
            try:
                found.append(onnx.defs.get_schema(node.op_type, opset, node.domain).since_version)
            except onnx.defs.SchemaError:
                found.append(None)
        return found

    (own,) = (each.version for each in model.opset_import)
    return next(opset for opset in range(1, own + 1) if meaning(opset) == meaning(own))


@pytest.mark.parametrize("kind", long_form(["int8", "smooth", "w2a8"], ["fp32", "smooth-int8", "w4a8"]))
def test_files_state_the_lowest_versions(kind: str, tmp_path: Path) -> None:
    net = (Smooth() if "smooth" in kind else network()).eval()
    if kind in ("fp32", "smooth"):
        form: Any = net
    elif kind in ("w4a8", "w2a8"):
        form = quantize(net, images(), parse_policy(kind))
    else:
        form = quantize(net, images())
    Onnx().write(form, SHAPE, tmp_path / "a.onnx", {}, dialect_for("onnx", None))
    model = onnx.load(tmp_path / "a.onnx")
    onnx.checker.check_model(model, full_check=True)
    (opset,) = model.opset_import
    assert (opset.domain, opset.version) == ("", lowest(model))
    by_release = {row[2]: row[1] for row in reversed(onnx.helper.VERSION_TABLE)}
    assert model.ir_version == by_release[opset.version]
    if kind in ("w4a8", "w2a8"):
        assert oldest_runtime(model) == ("1.18" if kind == "w4a8" else "1.24")
    else:
        assert opset.version <= OLD_OPSET
        assert model.ir_version <= OLD_FORMAT
        assert oldest_runtime(model) == "1.16"
    assert Onnx().open(tmp_path / "a.onnx").metadata == {"needs": f'{{"onnxruntime": "{oldest_runtime(model)}"}}'}


@pytest.mark.parametrize("int8", [False, True])
def test_files_for_timing_run_on_old_devices_too(int8: bool) -> None:
    form: Any = outline(network(), SHAPE) if int8 else network()
    model = onnx.load_from_string(Onnx().timing_file(form, SHAPE, dialect_for("onnx", None)))
    (opset,) = model.opset_import
    assert opset.version <= OLD_OPSET
    assert model.ir_version <= OLD_FORMAT


def test_operators_inside_of_others_count() -> None:
    from onnx import TensorProto, helper

    def value(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])

    inner = helper.make_graph([helper.make_node("Gelu", ["x"], ["y"])], "inner", [], [value("y")])
    nodes = [helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner)]
    inputs = [helper.make_tensor_value_info("c", TensorProto.BOOL, [1]), value("x")]
    model = helper.make_model(
        helper.make_graph(nodes, "outer", inputs, [value("z")]),
        opset_imports=[helper.make_opsetid("", 22), helper.make_opsetid("unused", 1)], ir_version=10,
    )  # fmt: skip
    lower_version(model)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 21)]  # If changed there
    assert model.ir_version == 10


def test_the_table_goes_on_to_the_newest_opset_that_is_written() -> None:
    from nas.runtimes.onnx_packing import OPSETS

    assert {opset for opset, _ in OPSETS.values()} <= SINCE.keys()
    versions = [tuple(map(int, version.split("."))) for version in SINCE.values()]
    assert versions == sorted(versions)
