"""The operators a network executes, read off the model itself.

The model runs once on the ``meta`` device, under a mode that sees every operator PyTorch dispatches and notes it.
Below that level there are few operators (a linear layer, an einsum and attention all end in matrix products), so any
timm model can be read. What is returned is the *deployed* network:

- what depends on weights alone is computed beforehand: standardised weights, position biases;
- batch norm is folded into the convolution before it; ReLU, ReLU6, zero padding and multiplication by a number are part
  of the operator before or after them;
- other operators that map elements one to one are marked: some runtimes run them in place.

What is alive when, and so how much memory a network needs, is a question of the runtime: ``predictors.costs.memory``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor, nn

KINDS = ("conv", "pointwise", "depthwise", "linear", "matmul", "elementwise", "pool")


class Buffer(NamedTuple):
    """A tensor in memory, of one image.

    Attributes:
        number: equal for the same tensor in the operators of one trace; 0 is the image.
        elements: all it holds, also where an operator looks at a part.
    """

    number: int
    elements: int


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
        reads: activations read, in the order of its arguments.
        writes: activations written; the first is the result.
        one_to_one: element i of the result needs no other element of an input of its size than i, or the rows of
            elements around it that are read before it is written (softmax, layer norm): it can be computed in place.
    """

    kind: str
    path: str
    out_shape: tuple[int, ...]
    macs: int
    weights: int
    channels: int
    moved: int
    reads: tuple[Buffer, ...]
    writes: tuple[Buffer, ...]
    one_to_one: bool


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

    from ._tracer import Tracer

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
            its result ``inplace`` of an input, or nothing.
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
    """Apply deployment's rules to the noted operators.

    A buffer that a later operator still reads is never overwritten: that a convolution's result is also used before
    its batch norm, or the input of an activation again in a shortcut, keeps those operators.

    Args:
        notes: in execution order; buffer 0 is the image.
        elements: of each buffer.
    """
    sizes = list(elements)
    notes = _written_once(notes, sizes)
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
        free = source == result or (before is not None and last[source] == i and sizes[source] == sizes[result])
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
        note.writes = [buffers.find(b) for b in note.writes]
        for buffer in note.writes:
            buffers.producer[buffer] = note
        kept.append(note)
    return [_op(note, sizes) for note in kept if note.kind != "skip"]


def _op(note: Note, sizes: Sequence[int]) -> Op:
    return Op(
        note.kind, note.path, note.out_shape, note.macs, note.weights, note.channels,
        moved=sum(n for _, n in note.reads) + note.written,
        reads=tuple(dict.fromkeys(Buffer(b, sizes[b]) for b, _ in note.reads)),
        writes=tuple(Buffer(b, sizes[b]) for b in note.writes),
        one_to_one=note.kind == "elementwise" and note.rule in ("fold", "fuse", "inplace"),
    )  # fmt: skip


def _written_once(notes: Sequence[Note], sizes: list[int]) -> list[Note]:
    """The notes with a new buffer for every result, so that ``x += y`` and ``x = x + y`` in a model's code are equal;
    ``sizes`` grows by the new ones. What fills a part of a buffer stays where it is."""
    current: dict[int, int] = {}
    seen = {0}
    renamed = []
    for note in notes:
        reads = [(current.get(b, b), n) for b, n in note.reads]
        seen |= {b for b, _ in reads}
        writes = []
        for buffer in note.writes:
            now = current.get(buffer, buffer)
            if now in seen and note.written == sizes[now]:
                current[buffer] = now = len(sizes)
                sizes.append(sizes[buffer])
            seen.add(now)
            writes.append(now)
        renamed.append(replace(note, reads=reads, writes=writes))
    return renamed


_WINDOWED = ("conv", "depthwise", "pool")
