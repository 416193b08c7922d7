"""From the operators of a network as PyTorch dispatches them to those of the *deployed* network.

- What depends on weights alone is computed beforehand: standardised weights, position biases.
- Batch norm is folded into the convolution before it; ReLU, ReLU6, zero padding and multiplication by a number are part
  of the operator before or after them.
- Other operators that map elements one to one are marked: some runtimes run them in place.

What is alive when, and so how much memory a network needs, is a question of the runtime: ``predictors.costs.memory``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from .operator import Buffer, Op

_WINDOWED = ("conv", "depthwise", "pool")


@dataclass
class Note:
    """An operator as PyTorch dispatched it.

    Attributes:
        rule: what deployment may do with it: ``fold`` it into the weights of the operator before, ``fuse`` it with
            that operator, make ``pad`` part of the operators after it, let it be a mere ``view`` of its input, write
            its result ``inplace`` of an input, or nothing.
        reads: buffers read, with the number of elements.
        writes: buffers written; the first is the result.

    The others are as in :class:`Op`.
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
        smaller: result of a padding that isn't an operator -> elements that are really read.
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
    its batch norm, or the input of an activation again in a shortcut, keeps those operators. Buffer 0 is the image;
    ``elements`` are those of each buffer.
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
