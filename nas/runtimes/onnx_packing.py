"""Weights of 4 and 2 bits, stored in an ONNX file as what they are.

Runtimes compute on int8 and have no kernels for smaller integers. So the file holds an INT4 or INT2 tensor and a Cast
to INT8 behind it, which a runtime folds when it loads the file: the operators it then sees, and fuses, are those of an
int8 network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import UserError

OPSETS = {4: (21, 10), 2: (25, 13)}
"""Bits -> the first opset that can cast from integers of so many, with its version of the file format."""


def pack_weights(model: Any, bits: Mapping[str, int]) -> None:
    """Store initializers of an ``onnx.ModelProto`` in fewer bits; raises its opset where they need it.

    Args:
        bits: name of an int8 initializer -> 4 or 2, which hold all its values.

    Raises:
        UserError: the installed onnx is too old for 2 bits.
    """
    from onnx import TensorProto, helper

    if 2 in bits.values() and not hasattr(TensorProto, "INT2"):
        raise UserError("weights of 2 bits need onnx 1.20 or newer: pip install -U onnx onnxruntime")
    types = {size: getattr(TensorProto, f"INT{size}") for size in set(bits.values())}
    casts = []
    for tensor in model.graph.initializer:
        if tensor.name not in bits:
            continue
        size = bits[tensor.name]
        integers = np.frombuffer(tensor.raw_data, dtype=np.int8)
        casts.append(helper.make_node("Cast", [f"{tensor.name}_packed"], [tensor.name], to=TensorProto.INT8))
        tensor.name = f"{tensor.name}_packed"
        tensor.data_type = types[size]
        tensor.raw_data = pack(integers, size).tobytes()
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    for size in types:
        opset, version = OPSETS[size]
        model.opset_import[0].version = max(model.opset_import[0].version, opset)
        model.ir_version = max(model.ir_version, version)


def pack(integers: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """Two's complement integers ``[n]`` of 4 or 2 bits, two or four to a byte, the first in the lowest bits."""
    share = 8 // bits
    padded = np.zeros(-(-len(integers) // share) * share, dtype=np.uint8)
    padded[: len(integers)] = integers.view(np.uint8) & ((1 << bits) - 1)
    shifts = np.arange(share, dtype=np.uint8) * bits
    packed: NDArray[np.uint8] = np.bitwise_or.reduce(padded.reshape(-1, share) << shifts, axis=1).astype(np.uint8)
    return packed
