"""A TFLite file as it grows: tensors and operators are added one after the other, then it becomes bytes.

The schema is the one that LiteRT's own package holds, https://ai.google.dev/edge/litert.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas.quantization.grids import QParams

from .versions import Handle, Kind, version_of

Shape = Sequence[int]

IDENTIFIER = b"TFL3"
_VERSION = 3
_LAST_OLD_CODE = 127  # codes of operators were bytes once; old readers look at this one where the code is larger
_NUMPY: Mapping[Kind, Any] = {
    "FLOAT32": np.float32, "INT8": np.int8, "INT4": np.int8, "INT2": np.int8, "INT32": np.int32,
}  # fmt: skip
_BITS: Mapping[Kind, int] = {"INT4": 4, "INT2": 2}


@dataclass(frozen=True)
class Scales:
    """Grid of constants: a scale for each index along an axis, or one for all, and the integer that stands for zero."""

    values: ArrayLike
    axis: int = 0
    zero: int = 0


class Builder:
    """One network of one image at a time. LiteRT's package has to be there."""

    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema: Any = schema
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[tuple[str, int], int] = {}
        self._buffers = [self._made("Buffer")]  # the first one is empty by the format's rule
        self._constants: dict[tuple[Any, ...], Handle] = {}

    def tensor(self, name: str, shape: Shape, kind: Kind, grid: QParams | None = None) -> Handle:
        """A tensor that an operator computes, or the images."""
        quantization = None
        if grid is not None:
            quantization = self._quantization(np.array([grid.scale]), np.array([grid.zero_point]), 0)
        return self._add(name, tuple(shape), kind, 0, quantization, grid)

    def constant(self, name: str, values: NDArray[Any], kind: Kind, scales: Scales | None = None) -> Handle:
        """A tensor of given values, stored once however often it is asked for; ``INT4`` lies in [-8, 7], ``INT2`` in
        [-2, 1]."""
        stored = np.ascontiguousarray(values, _NUMPY[kind])
        steps = None if scales is None else np.atleast_1d(np.asarray(scales.values, np.float32))
        key = (
            kind,
            stored.shape,
            stored.tobytes(),
            *(() if steps is None or scales is None else (steps.tobytes(), scales.axis, scales.zero)),
        )
        if key not in self._constants:
            content = pack(np.frombuffer(stored.tobytes(), np.uint8), _BITS.get(kind, 8))
            quantization = None
            if scales is not None and steps is not None:
                axis = scales.axis if len(steps) > 1 else 0
                quantization = self._quantization(steps, np.full(len(steps), scales.zero), axis)
            self._buffers.append(self._made("Buffer", data=content))
            place = len(self._buffers) - 1
            self._constants[key] = self._add(name, stored.shape, kind, place, quantization, None)
        return self._constants[key]

    def operator(self, code: str, inputs: Sequence[Handle], output: Handle, options: str = "", **fields: Any) -> Handle:
        """An operator with one result, which is returned.

        Args:
            code: its name in the schema, ``CONV_2D``.
            options: the table of its fields, ``Conv2DOptions``; empty: it has none.
        """
        dilated = any(fields.get(f"dilation{side}Factor", 1) != 1 for side in "HW")
        version = version_of(code, inputs, output, dilated)
        number = self._codes.setdefault((code, version), len(self._codes))
        operator = self._made("Operator", opcodeIndex=number)
        operator.inputs = np.array([each.index for each in inputs], np.int32)
        operator.outputs = np.array([output.index], np.int32)
        if options:
            operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, options)
            operator.builtinOptions = self._made(options, **fields)
        self._operators.append(operator)
        return output

    def computed(self, constant: Handle, name: str) -> Handle:
        """Real constants as the result of an operator, which hands them on as they are: XNNPACK takes no layer whose
        weights are computed, so that LiteRT's own kernel runs it."""
        numbers = self.constant(f"{name}_shape", np.array(constant.shape), "INT32")
        made = self.tensor(name, constant.shape, constant.kind)
        shape = np.array(constant.shape, np.int32)
        return self.operator("RESHAPE", [constant, numbers], made, "ReshapeOptions", newShape=shape)

    def named(self, table: str, name: str) -> int:
        """A number of the schema by its name, for example ``Padding``, ``SAME``."""
        number: int = getattr(getattr(self._schema, table), name)
        return number

    def finish(self, images: Handle, outputs: Handle, names: tuple[str, str], metadata: Mapping[str, bytes]) -> bytes:
        """The file: ``names`` are those of its input and its output, ``metadata`` texts or tables by name."""
        import flatbuffers

        model = self._made("Model", version=_VERSION, description=b"nas", buffers=self._buffers)
        model.operatorCodes = [self._code(code, version) for code, version in self._codes]
        graph = self._made("SubGraph", name=b"main", tensors=self._tensors, operators=self._operators)
        ends = [np.array([each.index], np.int32) for each in (images, outputs)]
        graph.inputs, graph.outputs = ends
        model.subgraphs = [graph]
        signature = self._made("SignatureDef", signatureKey=b"serving_default", subgraphIndex=0)
        maps = [
            self._made("TensorMap", name=name.encode(), tensorIndex=each.index)
            for name, each in zip(names, (images, outputs), strict=True)
        ]
        signature.inputs, signature.outputs = maps[:1], maps[1:]
        model.signatureDefs = [signature]
        model.metadata = []
        for name, content in metadata.items():
            self._buffers.append(self._made("Buffer", data=np.frombuffer(content, np.uint8)))
            model.metadata.append(self._made("Metadata", name=name.encode(), buffer=len(self._buffers) - 1))
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    def _made(self, table: str, **fields: Any) -> Any:
        """A table of the schema."""
        made = getattr(self._schema, f"{table}T")()
        for name, value in fields.items():
            setattr(made, name, value)
        return made

    def _code(self, code: str, version: int) -> Any:
        number = self.named("BuiltinOperator", code)
        old = min(number, _LAST_OLD_CODE)
        return self._made("OperatorCode", builtinCode=number, deprecatedBuiltinCode=old, version=version)

    def _quantization(self, scales: NDArray[Any], zeros: NDArray[Any], axis: int) -> Any:
        made = self._made("QuantizationParameters", quantizedDimension=axis)
        made.scale, made.zeroPoint = scales.astype(np.float32), zeros.astype(np.int64)
        return made

    def _add(
        self, name: str, shape: tuple[int, ...], kind: Kind, place: int, quantization: Any, grid: QParams | None
    ) -> Handle:
        tensor = self._made("Tensor", name=name.encode(), type=self.named("TensorType", kind), buffer=place)
        tensor.shape, tensor.hasRank, tensor.quantization = np.array(shape, np.int32), True, quantization
        self._tensors.append(tensor)
        return Handle(len(self._tensors) - 1, shape, kind, grid)


def pack(values: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Bytes whose lower ``bits``, 2, 4 or 8, count, put together: the first one is the lowest part of a byte."""
    each = 8 // bits
    filled = np.pad(values, (0, -len(values) % each)).reshape(-1, each) & (2**bits - 1)
    packed: NDArray[np.uint8] = np.bitwise_or.reduce(filled << np.arange(0, 8, bits), 1).astype(np.uint8)
    return packed
