"""The operators a network executes, read off the model itself.

The model runs once on the ``meta`` device, under a mode that sees every operator PyTorch dispatches and notes it.
Below that level there are few operators (a linear layer, an einsum and attention all end in matrix products), so any
timm model can be read. What is returned is the *deployed* network:

- what depends on weights alone is computed beforehand: standardised weights, position biases;
- batch norm is folded into the convolution before it; ReLU, ReLU6, zero padding and multiplication by a number are part
  of the operator before or after them;
- other operators that map elements one to one run in place where nobody needs their input afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

KINDS = ("conv", "pointwise", "depthwise", "linear", "matmul", "elementwise", "pool")


@dataclass(frozen=True)
class Op:
    """One executed operator at batch 1.

    Attributes:
        kind: one of :data:`KINDS`: ``conv`` is a dense or grouped k x k convolution, ``pointwise`` a dense 1x1,
            ``depthwise`` one filter a channel, ``linear`` a product with a constant matrix, ``matmul`` one of two
            activations, ``pool`` a reduction, ``elementwise`` all the rest.
        path: module that executes it, ``blocks.2.0.conv_dw``.
        out_shape: without the batch dimension.
        macs: multiply-accumulates of convolutions and matrix products.
        weights: weight elements (quantized per channel); a weight that is used twice counts once.
        channels: output channels that have a bias and a scale after folding.
        moved: activation elements read and written.
        live: activation elements alive while it runs, inputs and outputs included.
    """

    kind: str
    path: str
    out_shape: tuple[int, ...]
    macs: int
    weights: int
    channels: int
    moved: int
    live: int


def trace(model: nn.Module, in_chans: int, resolution: int) -> list[Op]:
    """Operators of a model on a square image, in execution order.

    Args:
        model: a timm model in eval mode; its parameters live on the ``meta`` device.
        in_chans: input channels.
        resolution: input side in pixels.

    Raises:
        ValueError, RuntimeError, AssertionError: the network cannot take such an image.
    """
    import torch

    return trace_on(model, torch.empty(1, in_chans, resolution, resolution, device="meta"))


def trace_on(model: nn.Module, image: Tensor) -> list[Op]:
    """As :func:`trace`, on an input ``[1, ...]`` of any shape on the ``meta`` device."""
    import torch

    from .ops_tracer import Tracer

    tracer = Tracer(image)
    with torch.no_grad(), module_paths(model, tracer.path), tracer:
        model(image)
    return deploy(tracer.notes, tracer.elements)


@contextmanager
def module_paths(model: nn.Module, path: list[str]) -> Iterator[None]:
    """Keep the last entry of ``path`` equal to the dotted name of the module that is running."""
    handles = []

    def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        path.pop()

    for name, module in model.named_modules():

        def enter(_module: nn.Module, _inputs: Any, name: str = name) -> None:
            path.append(name)

        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass
class Note:
    """An operator as PyTorch dispatched it.

    Attributes:
        rule: what deployment may do with it: ``fold`` it into the weights of the operator before, ``fuse`` it with
            that operator, make ``pad`` part of the operators after it, let it be a mere ``view`` of its input, write
            its result ``inplace``, or nothing.
        reads: buffers read, with the number of elements.
        writes: buffers written; the first is the result.
        written: elements written.
        Others: as in :class:`Op`.
    """

    kind: str
    rule: str
    path: str
    out_shape: tuple[int, ...]
    macs: int
    weights: int
    channels: int
    reads: list[tuple[int, int]]
    writes: list[int]
    written: int


@dataclass
class _Buffers:
    """Memory of the deployed network. Buffers of the traced one are joined where deployment needs only one.

    Attributes:
        last: buffer -> index of the last note that reads it.
        same: joined buffer -> the one it became.
        smaller: result of a padding that is no operator -> elements that are really read.
        producer: buffer -> the operator that wrote it last.
    """

    last: dict[int, int]
    same: dict[int, int] = field(default_factory=dict)
    smaller: dict[int, int] = field(default_factory=dict)
    producer: dict[int, Note] = field(default_factory=dict)

    def find(self, buffer: int) -> int:
        while buffer in self.same:
            buffer = self.same[buffer]
        return buffer

    def join(self, result: int, source: int) -> None:
        """``result`` lives where ``source`` does."""
        if result != source:
            self.same[result] = source
            self.last[source] = max(self.last[source], self.last.get(result, 0))


def deploy(notes: Sequence[Note], elements: Sequence[int]) -> list[Op]:
    """Apply deployment's rules to the noted operators, then see how much is alive at each.

    A buffer that a later operator still reads is never overwritten: that a convolution's result is also used before
    its batch norm, or the input of an activation again in a shortcut, keeps those operators.

    Args:
        notes: in execution order; buffer 0 is the image.
        elements: of each buffer.
    """
    last = {buffer: i for i, note in enumerate(notes) for buffer, _ in note.reads}
    readers: dict[int, list[Note]] = {}
    for note in notes:
        for buffer, _ in note.reads:
            readers.setdefault(buffer, []).append(note)
    buffers = _Buffers(last)
    kept: list[Note] = []
    for i, note in enumerate(notes):
        source, result = buffers.find(note.reads[0][0]), buffers.find(note.writes[0])
        before = buffers.producer.get(source)
        free = source == result or (before is not None and last[source] == i and elements[source] == elements[result])
        weighted = before is not None and before.macs > 0 and before.channels > 0
        if free and ((note.rule == "fold" and weighted) or (note.rule == "fuse" and before is not None)):
            buffers.join(result, source)
            continue
        padding = note.rule == "pad" and all(r.kind in _WINDOWED for r in readers.get(note.writes[0], []))
        if padding or note.rule == "view":
            buffers.smaller[note.writes[0]] = buffers.smaller.get(note.reads[0][0], note.reads[0][1])
            buffers.join(result, source)
            continue
        note.reads = [(buffers.find(b), min(n, buffers.smaller.get(b, n))) for b, n in note.reads]
        if free and note.rule:
            buffers.join(result, source)
        note.writes = [buffers.find(b) for b in note.writes]
        for buffer in note.writes:
            buffers.producer[buffer] = note
        kept.append(note)
    live = _live(kept, elements)
    return [
        Op(n.kind, n.path, n.out_shape, n.macs, n.weights, n.channels, sum(e for _, e in n.reads) + n.written, live[i])
        for i, n in enumerate(kept)
        if n.kind != "skip"
    ]


_WINDOWED = ("conv", "depthwise", "pool")


def _live(notes: Sequence[Note], elements: Sequence[int]) -> list[int]:
    """Elements alive at each operator: a buffer lives from its first to its last use."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for i, note in enumerate(notes):
        for buffer in [*(b for b, _ in note.reads), *note.writes]:
            first.setdefault(buffer, i)
            last[buffer] = i
    change = [0] * (len(notes) + 1)
    for buffer, start in first.items():
        change[0 if buffer == 0 else start] += elements[buffer]
        change[last[buffer] + 1] -= elements[buffer]
    alive, total = [], 0
    for delta in change[:-1]:
        total += delta
        alive.append(total)
    return alive
