"""Tensors of a file, and which version of an operator reads them: the first one that does, so that old runtimes run it.

The rules are those of TensorFlow's ``lite/tools/versioning/op_version.cc``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nas.quantization.grids import QParams

Kind = Literal["FLOAT32", "INT8", "INT4", "INT2", "INT32"]
"""Type of a tensor's values, by the schema's name."""


@dataclass(frozen=True)
class Handle:
    """A tensor of the file.

    Attributes:
        index: its number.
        shape: of its values, channels last.
        kind: of its values.
        grid: of int8 values that are computed; None: they are real, or constants.
    """

    index: int
    shape: tuple[int, ...]
    kind: Kind
    grid: QParams | None = None


_SINCE_INT8 = {
    "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "ADD": 2, "MUL": 2, "MEAN": 2, "MAX_POOL_2D": 2, "PAD": 2, "PADV2": 2,
    "CONCATENATION": 2, "TRANSPOSE": 2, "STRIDED_SLICE": 2, "DEQUANTIZE": 2,
}  # fmt: skip
"""Operators whose version tells int8 from floats."""
_SINCE_PACKED = {"INT4": 10, "INT2": 14}  # of FULLY_CONNECTED
_GROUPED, _DILATED, _LARGE_PRODUCT = 6, 2, 3


def version_of(code: str, inputs: Sequence[Handle], output: Handle, dilated: bool) -> int:
    """The version of an operator; ``dilated``: its kernel has gaps."""
    first = inputs[0]
    if code == "CONV_2D" and inputs[1].shape[-1] != first.shape[-1]:
        return _GROUPED
    if code == "FULLY_CONNECTED":
        return _SINCE_PACKED.get(inputs[1].kind, 1)
    if first.kind == "INT8":
        if code == "MUL" and _product(inputs, output) >= 1:
            return _LARGE_PRODUCT
        return _SINCE_INT8.get(code, 1)
    return _DILATED if code == "DEPTHWISE_CONV_2D" and dilated else 1


def _product(inputs: Sequence[Handle], output: Handle) -> float:
    """What products of integers are multiplied by."""
    scales = [each.grid.scale for each in (*inputs, output) if each.grid is not None]
    return scales[0] * scales[1] / scales[2]
