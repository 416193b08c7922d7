"""Hard sigmoids after layers, as squeeze-and-excitation has them: one operator and one rounding instead of two."""

from __future__ import annotations

from torch import fx

from search_spaces.policy import Policy

from .graph import path_of
from .operators import aten, operator_of, source_of


def fold_gates(graph: fx.GraphModule, policy: Policy) -> None:
    """Turn each hard sigmoid that alone reads a layer's result into that layer's saturation: ``hardsigmoid(x)`` is
    ``x / 6 + 1/2`` between 0 and 1, and a layer can be divided by 6.

    So no runtime needs a hard sigmoid of integers, which TFLite lacks. The graph, of
    :func:`nas.quantization.graph.capture`, is changed.
    """
    for node in list(graph.graph.nodes):
        if node.target is not aten.hardsigmoid.default:
            continue
        layer = source_of(node)
        alone = operator_of(layer).has_weights and len(layer.users) == 1
        if not alone or policy.of(path_of(layer)) != policy.of(path_of(node)):
            continue
        weight, bias = (each for each in layer.args[1:3] if isinstance(each, fx.Node))
        for attribute, shift in ((weight, 0.0), (bias, 0.5)):
            value = getattr(graph, str(attribute.target)).double() / 6 + shift
            setattr(graph, str(attribute.target), value.float())
        with graph.graph.inserting_before(node):
            folded = graph.graph.call_function(aten.hardtanh.default, (layer, 0, 1))
        folded.meta.update(node.meta)
        node.replace_all_uses_with(folded)
        graph.graph.erase_node(node)
    graph.recompile()
