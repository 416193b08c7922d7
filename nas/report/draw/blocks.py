"""An architecture as a row of boxes, one per block of the network, found from its operators."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from nas.workflows.estimate import Layer

from .chart import drawing
from .marks import words
from .markup import tag
from .palette import GREY, INK, KERNELS, ON_DEEP, ON_PALE

_BLOCK = re.compile(r"(?:stages\.\d+\.)?[A-Za-z_]+\d*(?:\.\d+)+|s\d+\.b\d+|[^.]*")
_WIDTH, _GAP, _STAGE, _TALL, _LINE = 24, 3, 12, 84, 15
_FONT, _LETTER = 12, 7.2


@dataclass(frozen=True)
class Block:
    """A block of a network.

    Attributes:
        path: name of its module.
        channels: of its output.
        side: of its output in pixels; 1 if it has no height and width.
        kernel: side of its depthwise convolution; 0: it has none.
        precision, macs, ms: of all its operators.
    """

    path: str
    channels: int
    side: int
    kernel: int
    precision: str
    macs: int
    ms: float

    @property
    def stage(self) -> str:
        return re.sub(r"\.?b?\d+$", "", self.path) if "." in self.path else self.path


def find_blocks(layers: Iterable[Layer]) -> list[Block]:
    """Blocks in the order of execution, from the operators of :func:`nas.workflows.estimate.estimate_model`.

    An operator without multiplications (an activation, a pooling between blocks) belongs to the block before it.
    """
    groups: list[tuple[str, list[Layer]]] = []
    for row in layers:
        match = _BLOCK.match(row.path)
        path = match.group() if match else ""
        if groups and (path == groups[-1][0] or (not row.macs and path not in {p for p, _ in groups})):
            groups[-1][1].append(row)
        elif row.macs:
            groups.append((path, [row]))
    return [_block(path, rows) for path, rows in groups]


def _block(path: str, rows: list[Layer]) -> Block:
    shape = next(row.out_shape for row in reversed(rows) if row.macs)
    channels, side = (shape[0], shape[-1]) if len(shape) == 3 else (shape[-1], 1)
    kernels = [
        round(math.sqrt(row.weights / row.out_shape[0])) for row in rows if row.kind == "depthwise"
    ]  # fmt: skip
    macs, ms = sum(row.macs for row in rows), sum(row.ms for row in rows)
    return Block(path, channels, side, max(kernels, default=0), rows[0].precision, macs, ms)


def draw_blocks(title: str, blocks: list[Block]) -> Element:
    """Blocks side by side: height for the root of the channels, colour for the kernel, a gap before a new stage. Below
    the first of a stage: channels and side of its result, and its precision where the network has several."""
    mixed = len({block.precision for block in blocks}) > 1
    most = max(block.channels for block in blocks)
    x, free, content, previous = 2.0, 0.0, [], ""
    for i, block in enumerate(blocks):
        new = i == 0 or block.stage != previous
        previous = block.stage
        labels = [str(block.channels), f"{block.side} px", *([block.precision] if mixed else [])] if new else []
        if new and i:
            x = max(x + _STAGE, free)
        height = max(6.0, _TALL * math.sqrt(block.channels / most))
        colour = KERNELS.get(block.kernel, GREY)
        box = tag(
            "rect", x=x, y=_TALL - height + 2, width=_WIDTH, height=height, rx=2, fill=colour, data_tip=_tip(block)
        )
        content.append(box)
        if block.kernel:
            number = words(
                str(block.kernel), x + _WIDTH / 2, _TALL - 3, "middle", ON_DEEP if block.kernel in (5, 7) else ON_PALE
            )
            number.set("pointer-events", "none")
            content.append(number)
        for row, label in enumerate(labels, 1):
            content.append(words(label, x, _TALL + 2.0 + row * _LINE, "start", INK))
        free = max(free, *(x + _LETTER * len(label) + 6 for label in labels)) if labels else free
        x += _WIDTH + _GAP
    return drawing(title, max(x, free), _TALL + 8 + _LINE * (2 + mixed), content, font=_FONT)


def _tip(block: Block) -> str:
    kernel = f"kernel {block.kernel} x {block.kernel}\n" if block.kernel else ""
    result = f"{block.channels} channels, {block.side} px, {block.precision}"
    return f"{block.path}\n{result}\n{kernel}{block.macs / 1e6:.3f} MMACs, {block.ms:.4f} ms"
