"""ONNX files that take as long to run as a network's own, written in seconds and a hundred times smaller.

How long a network takes depends on its operators and their shapes, not on the values of its weights. So such a file
needs no trained weights and no calibration, and it holds a constant in place of every large tensor, which the runtime
writes out when it loads the file. The operators are those of the exported file: one function writes both.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .onnx_version import lower_version

_SMALL = 16  # tensors of fewer elements stay as they are: shapes, paddings, bounds


def shrink(model: Any) -> Any:
    """The model with constants of the same shape in place of large tensors."""
    from onnx import helper, numpy_helper

    nodes, kept = [], []
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.ndim < 2 or value.size < _SMALL:
            kept.append(tensor)
            continue
        fill = value.dtype.type(1 if value.dtype.kind == "i" else 1 / max(1, math.prod(value.shape[1:])))
        shape = f"{tensor.name}_shape"
        kept.append(numpy_helper.from_array(np.array(value.shape, np.int64), shape))
        filler = numpy_helper.from_array(np.array([fill]), "value")
        nodes.append(helper.make_node("ConstantOfShape", [shape], [tensor.name], value=filler))
    small = type(model)()
    small.CopyFrom(model)
    del small.graph.initializer[:]
    small.graph.initializer.extend(kept)
    body = [*nodes, *small.graph.node]
    del small.graph.node[:]
    small.graph.node.extend(body)
    lower_version(small)
    return small
