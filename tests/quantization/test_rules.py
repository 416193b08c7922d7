"""Rules of quantization: what they change, and that a run keeps those that it began with."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.quantization.fixed_point import hard_swish_table
from nas.quantization.gates import fold_gates
from nas.quantization.graph import capture
from nas.quantization.grids import QMAX, QMIN, QParams, choose_qparams, grid_values, without_ties
from nas.quantization.operators import aten, source_of
from search_spaces.policy import parse_policy
from tests.kits.runtime import SHAPE, images, network, quantized


class Read(nn.Module):
    """A hard sigmoid after a layer that something else reads, one after no layer, and one of another stage."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stage = nn.Conv2d(1, 4, 3), nn.Hardsigmoid()
        self.last = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        gate = nn.functional.hardsigmoid(x)
        return self.stage(self.last(x * gate + nn.functional.hardsigmoid(x * gate))).mean((2, 3))


def count(graph: torch.fx.GraphModule) -> int:
    """Hard sigmoids."""
    return sum(node.target is aten.hardsigmoid.default for node in graph.graph.nodes)


def test_a_folded_gate_is_the_same_function() -> None:
    graph = capture(network(), SHAPE)
    assert count(graph) == 1
    fold_gates(graph, parse_policy("int8"))
    assert count(graph) == 0
    with torch.no_grad():
        torch.testing.assert_close(graph(images()), network()(images()))


@pytest.mark.parametrize(("policy", "left"), [("int8", 2), ("int8,stage=fp32", 3)])
def test_gates_that_others_read_or_of_another_precision_stay(policy: str, left: int) -> None:
    graph = capture(Read().eval(), SHAPE)
    fold_gates(graph, parse_policy(policy))
    assert count(graph) == left


def test_hard_swish_rounds_in_fixed_point_as_in_real_numbers() -> None:
    def agrees(given: QParams, result: QParams) -> bool:
        real = nn.functional.hardswish(grid_values(given)) / result.scale
        wanted = (real.round() + result.zero_point).clamp(QMIN, QMAX).long()
        return torch.equal(hard_swish_table(given, result), wanted)

    model = quantized()
    (node,) = (each for each in model.graph.graph.nodes if each.target is aten.hardswish.default)
    assert agrees(model.activations[source_of(node).name], model.activations[node.name])
    rng = np.random.default_rng(1)
    before, after = [], []
    for _ in range(60):
        given = choose_qparams(-rng.uniform(0.5, 3), rng.uniform(0.5, 12))
        values = nn.functional.hardswish(grid_values(given))
        grid = choose_qparams(float(values.min()), float(values.max()))
        wider = without_ties(grid, values, partial(hard_swish_table, given))
        before.append(agrees(given, without_ties(grid, values)))
        after.append(agrees(given, wider))
        assert grid.scale <= wider.scale < 1.016 * grid.scale
    assert all(after)
    assert sum(before) < 40


def test_the_fixed_point_is_that_of_litert() -> None:
    pytest.importorskip("ai_edge_litert")
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from nas.runtimes.silence import silence
    from nas.runtimes.tflite.builder import Builder

    rng = np.random.default_rng(0)
    with silence():
        for _ in range(40):
            given = choose_qparams(-rng.uniform(0, 4), rng.uniform(0.1, 20))
            result = choose_qparams(-rng.uniform(0, 0.375), rng.uniform(0.05, 20))
            builder = Builder()
            x = builder.tensor("x", (1, 256), "INT8", given)
            y = builder.operator("HARD_SWISH", [x], builder.tensor("y", (1, 256), "INT8", result))
            plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            content = builder.finish(x, y, ("x", "y"), {})
            interpreter = Interpreter(model_content=content, experimental_op_resolver_type=plain)
            interpreter.allocate_tensors()
            interpreter.set_tensor(
                interpreter.get_input_details()[0]["index"], np.arange(QMIN, QMAX + 1, dtype=np.int8)[None]
            )
            interpreter.invoke()
            said = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
            np.testing.assert_array_equal(hard_swish_table(given, result).numpy(), said, str((given, result)))


def test_a_grid_of_a_table_that_never_agrees_is_without_ties_all_the_same() -> None:
    values = grid_values(QParams(0.1, 0))
    never = without_ties(QParams(0.2, 0), values, lambda grid: torch.full((256,), 1000))
    assert never == without_ties(QParams(0.2, 0), values)
