"""An architecture as small blocks: one a block of the network, read off its operators."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from .chart import INK, drawing
from .markup import tag

_BLOCK = re.compile(r"(?:stages\.\d+\.)?[A-Za-z_]+\d*(?:\.\d+)+|s\d+\.b\d+|[^.]*")
_KERNELS = {3: "#8fbcdb", 5: "#1769aa", 7: "#0b3558"}
_OTHER = "#9aa5b4"
_WIDTH, _GAP, _STAGE, _TALL, _LABELS = 24, 3, 20, 84, 34


@dataclass(frozen=True)
class Block:
    """A block of a network.

    Attributes:
        path: module.
        channels, side: of its result; side 1 where it has no height and width.
        kernel: of its depthwise convolution; 0: it has none.
        precision: of its operators.
        macs, ms: of all its operators.
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
        """Blocks of one stage have one name."""
        return re.sub(r"\.?b?\d+$", "", self.path) if "." in self.path else self.path


def blocks_of(layers: Iterable[dict[str, Any]]) -> list[Block]:
    """Blocks in the order of execution, from the operators of :func:`nas.estimate.estimate`.

    What computes nothing (an activation, a pooling between blocks) belongs to the block before.
    """
    groups: list[tuple[str, list[dict[str, Any]]]] = []
    for row in layers:
        match = _BLOCK.match(row["path"])
        path = match.group() if match else ""
        if groups and (path == groups[-1][0] or (not row["macs"] and path not in {p for p, _ in groups})):
            groups[-1][1].append(row)
        elif row["macs"]:
            groups.append((path, [row]))
    return [_block(path, rows) for path, rows in groups]


def _block(path: str, rows: list[dict[str, Any]]) -> Block:
    shape = next(row["out_shape"] for row in reversed(rows) if row["macs"])
    channels, side = (shape[0], shape[-1]) if len(shape) == 3 else (shape[-1], 1)
    kernels = [
        round(math.sqrt(row["weights"] / row["out_shape"][0])) for row in rows if row["kind"] == "depthwise"
    ]  # fmt: skip
    macs, ms = sum(row["macs"] for row in rows), sum(row["ms"] for row in rows)
    return Block(path, channels, side, max(kernels, default=0), rows[0]["precision"], macs, ms)


def draw(title: str, blocks: list[Block]) -> Element:
    """Blocks side by side: height for the root of the channels, colour for the kernel, a gap before a new stage, whose
    precision is written below where the network has several."""
    mixed = len({block.precision for block in blocks}) > 1
    most = max(block.channels for block in blocks)
    x, content, previous = 2.0, [], blocks[0].stage
    for block in blocks:
        new = block is blocks[0] or block.stage != previous
        x += _STAGE if new and block is not blocks[0] else 0
        previous = block.stage
        height = max(6.0, _TALL * math.sqrt(block.channels / most))
        kernel = f"kernel {block.kernel}\n" if block.kernel else ""
        tip = (
            f"{block.path}\n{block.channels} channels, {block.side} px, {block.precision}\n{kernel}"
            f"{block.macs / 1e6:.3f} MMACs, {block.ms:.4f} ms"
        )
        colour = _KERNELS.get(block.kernel, _OTHER)
        content.append(
            tag("rect", x=x, y=_TALL - height + 2, width=_WIDTH, height=height, rx=2, fill=colour, data_tip=tip)
        )
        if block.kernel:
            pale = "#1c2430" if block.kernel == 3 else "#fff"
            number = tag("text", str(block.kernel), x=x + 9, y=_TALL - 4.0, fill=pale, pointer_events="none")
            content.append(number)
        if new:
            content.append(tag("text", str(block.channels), x=x, y=_TALL + 17.0, fill=INK))
            content.append(tag("text", f"{block.side} px", x=x, y=_TALL + 31.0, fill=INK))
            if mixed:
                content.append(tag("text", block.precision, x=x, y=_TALL + 45.0, fill=INK))
        x += _WIDTH + _GAP
    return drawing(title, x + 10, _TALL + _LABELS + 2 + 14 * mixed, content)
