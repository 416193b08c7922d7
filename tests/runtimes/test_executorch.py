"""The .pte file against the simulator, in ExecuTorch; hashes of exported files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.export.manifest import MANIFEST, check_unaltered, exported_file
from nas.quantization.quantize import quantize
from nas.runtimes.executorch import Executorch, layers_outside, lower
from nas.runtimes.table import dialect_for
from nas.store.run import file_hash
from search_spaces.errors import UserError
from search_spaces.policy import parse_policy
from tests.kits.runtime import SHAPE, images, network, quantized

RUNTIME, DIALECT = Executorch(), dialect_for("executorch", None)


@pytest.mark.long
def test_floats_and_integers_in_one_file(tmp_path: Path) -> None:
    """All layers are in the file, and floats half-way between two integers part ways."""
    pytest.importorskip("executorch")
    quantized = quantize(network(), images(), parse_policy("int8,block=fp32"))
    RUNTIME.write(quantized, SHAPE, tmp_path / "m.pte", {}, DIALECT)
    executed, expected = RUNTIME.open(tmp_path / "m.pte")(images()), quantized(images()).numpy()
    assert np.isclose(executed, expected, atol=1e-5).all(1).mean() >= 0.9


def test_integers_are_those_of_the_simulator_to_the_last_bit(tmp_path: Path) -> None:
    """The outputs, too, which are floats."""
    pytest.importorskip("executorch")
    RUNTIME.write(quantized(), SHAPE, tmp_path / "m.pte", {}, DIALECT)
    model = RUNTIME.open(tmp_path / "m.pte")
    assert (model(images()) == quantized()(images()).numpy()).all(1).mean() >= 0.98
    (tmp_path / "half.pte").write_bytes((tmp_path / "m.pte").read_bytes()[:2000])
    (tmp_path / "text.pte").write_text("not a network")
    for name in ("half", "text"):
        with pytest.raises(UserError, match=f"{name}.pte"):
            RUNTIME.open(tmp_path / f"{name}.pte")


def test_weights_of_fewer_bits_are_refused(tmp_path: Path) -> None:
    quantized = quantize(network(), images(), parse_policy("int8,block=w4a8"))
    with pytest.raises(UserError, match=r"stores weights in 8 bits.*int8,block=w4a8; choose another"):
        RUNTIME.write(quantized, SHAPE, tmp_path / "m.pte", {}, DIALECT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_every_layer_is_delegated() -> None:
    pytest.importorskip("executorch")
    lowered = lower(quantized(), SHAPE, {}, DIALECT)
    graph = lowered.exported_program().graph
    called = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    assert layers_outside(graph) == []
    assert sum("executorch_call_delegate" in name for name in called) == 1
    assert all("executorch_call_delegate" in name or "getitem" in name for name in called)


def test_layers_left_outside_are_found() -> None:
    program = torch.export.export(network(), (torch.zeros(1, *SHAPE),)).run_decompositions()
    assert layers_outside(program.graph) == ["addmm", "convolution"]


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
