"""Peak activation memory of a network, exact for its execution order under a runtime's stated rules.

A tensor is alive from the operator that writes it to the last that reads it; the image from the start, since it lies in
the same memory. So a convolution needs its input and its output, a residual sum keeps the block's input alive through
the block, and squeeze-and-excitation keeps the feature map while its vector passes the two small layers. Batch norm,
ReLU, ReLU6, padding and reshaping are part of the operators beside them (``search_spaces.operators.operator``). What
runtimes do differently:

=============  ============================================================================================
``in-place``   an operator that maps elements one to one (hard-swish, a gate, a residual sum) writes over an input of
               the result's size that isn't read afterwards: ONNX Runtime, XNNPACK and what is built on it
``separate``   every result has its own place: TensorFlow Lite with its arena planner
``cmsis-nn``   as ``separate``, and the buffers that CMSIS-NN's int8 kernels ask for on Cortex-M4 and M7: two columns of
               16-bit inputs for k x k convolutions, one for depthwise ones: TensorFlow Lite Micro
``tinyengine`` as ``in-place``, and depthwise convolutions write over their input by way of one channel's plane (Lin et
               al., "MCUNet", 2020, section 3.2)
=============  ============================================================================================

The sum of what is alive is the least that any allocator can do; one that cannot move tensors may need more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from search_spaces.errors import unknown_name
from search_spaces.operators.operator import Op, Stretch

SHORT = 2
"""Bytes of a 16-bit number; buffers of int8 kernels are counted in bytes, which are elements there."""


@dataclass(frozen=True)
class MemoryRules:
    """What a runtime does with memory, by the name that target files have.

    Attributes:
        elementwise_in_place: operators that map one to one may write over an input.
        depthwise_in_place: so may depthwise convolutions, with one channel's plane beside it.
        columns: kernels unfold 16-bit columns of their input, two for a k x k and one for a depthwise convolution.
    """

    name: str
    elementwise_in_place: bool = False
    depthwise_in_place: bool = False
    columns: bool = False


RULES = {
    rules.name: rules
    for rules in (
        MemoryRules("in-place", elementwise_in_place=True),
        MemoryRules("separate"),
        MemoryRules("cmsis-nn", columns=True),
        MemoryRules("tinyengine", elementwise_in_place=True, depthwise_in_place=True),
    )
}
DEFAULT_RULES = "in-place"


def check_rules(name: str) -> str:
    """The name of a rule set. Raises UsageError where there is none of that name."""
    if name not in RULES:
        raise unknown_name("memory rules", name, RULES)
    return name


def live(ops: Sequence[Op], rules: MemoryRules) -> list[int]:
    """Elements in memory while each operator runs, of a network or of a part of one; a tensor that the part does not
    write is alive from its first use."""
    first, last = _lifetimes(ops)
    change = [0] * (len(ops) + 1)
    for (number, elements), start in first.items():
        change[start] += elements
        change[last[number] + 1] -= elements
    counts, alive = [], 0
    for i, op in enumerate(ops):
        alive += change[i]
        counts.append(alive - _saved(op, i, last, rules) + _scratch(op, rules))
    return counts


def peaks(ops: Sequence[Op]) -> tuple[int, ...]:
    """Most elements in memory at once under each of :data:`RULES`, in their order."""
    return tuple(max(live(ops, rules), default=0) for rules in RULES.values())


def stretch_peaks(stretches: Iterable[Stretch]) -> tuple[int, ...]:
    """As :func:`peaks`, of parts of a network around which other tensors are alive."""
    most = [0] * len(RULES)
    for stretch in stretches:
        start = Op("elementwise", "", (), 0, 0, 0, 0, (), stretch.before, False)
        end = Op("elementwise", "", (), 0, 0, 0, 0, stretch.after, (), False)
        for i, rules in enumerate(RULES.values()):
            most[i] = max(most[i], *live([start, *stretch.ops, end], rules)[1:-1])
    return tuple(most)


def _lifetimes(ops: Sequence[Op]) -> tuple[dict[tuple[int, int], int], dict[int, int]]:
    """Index of the first use of each buffer, and of the last by its number."""
    first: dict[tuple[int, int], int] = {}
    last: dict[int, int] = {}
    for i, op in enumerate(ops):
        for buffer in (*op.reads, *op.writes):
            first.setdefault(buffer, i if buffer.number else 0)
            last[buffer.number] = i
    return first, last


def _saved(op: Op, index: int, last: dict[int, int], rules: MemoryRules) -> int:
    """Elements of the result that lie where an input was. The image is not written over."""
    depthwise = rules.depthwise_in_place and op.kind == "depthwise"
    if not depthwise and not (rules.elementwise_in_place and op.one_to_one):
        return 0
    result = op.writes[0]
    for buffer in op.reads:
        fits = buffer.elements >= result.elements if depthwise else buffer.elements == result.elements
        if fits and buffer.number and last[buffer.number] == index and buffer.number != result.number:
            return result.elements
    return 0


def _scratch(op: Op, rules: MemoryRules) -> int:
    """Elements beside inputs and outputs."""
    if rules.columns and op.kind == "conv":
        return 2 * SHORT * op.weights // max(op.channels, 1)
    if rules.columns and op.kind == "depthwise":
        return SHORT * op.weights
    if rules.depthwise_in_place and op.kind == "depthwise":
        return op.reads[0].elements // max(op.channels, 1)
    return 0
