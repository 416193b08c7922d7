"""NAS-Bench-201 networks (Dong and Yang, 2020) as small modules, and published latencies of them.

Three stages of five equal cells, 16, 32 and 64 channels wide, with a residual block of stride 2 between stages, on
32 x 32 images. A cell is a complete graph of four nodes; each of its six edges carries one of five operators.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.support.data import data_file, read_table
from predictors.costs.cache import cache_folder, load_tables, save_tables, table_format
from predictors.costs.network import FEATURES, op_features
from search_spaces.builders.timm_compat import NoInit
from search_spaces.genes import Floats
from search_spaces.operators.operator import Op
from search_spaces.operators.trace import trace

OPERATORS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""Tail and head of each edge, in the order of the digits of a code."""

NONE, SKIP, CONV1, CONV3, POOL = range(5)
WIDTHS, CELLS, CLASSES, RESOLUTION = (16, 32, 64), 5, 10, 32


def code_of(arch: str) -> str:
    """Six digits, one an edge, of ``|nor_conv_3x3~0|+|none~0|...``; a code is returned as it is.

    Raises:
        ValueError: neither.
    """
    if len(arch) == len(EDGES) and all(c in "01234" for c in arch):
        return arch
    names = [part for node in arch.split("+") for part in node.strip("|").split("|")]
    if len(names) != len(EDGES):
        raise ValueError(f"'{arch}' does not have {len(EDGES)} edges")
    by_head: dict[tuple[int, int], int] = {}
    for name, edge in zip(names, EDGES, strict=True):
        operator, _, tail = name.partition("~")
        if operator not in OPERATORS or tail != str(edge[0]):
            raise ValueError(f"'{arch}': edge '{name}' is unknown")
        by_head[edge] = OPERATORS.index(operator)
    return "".join(str(by_head[edge]) for edge in EDGES)


def dead_edges(arch: str) -> list[tuple[int, int]]:
    """Edges with an operator that lie on no path from the cell's input to its output.

    Runtimes differ in whether they execute those, and published tables do too.
    """
    code = code_of(arch)
    used = [edge for edge, digit in zip(EDGES, code, strict=True) if int(digit) != NONE]
    reached, useful = {0}, {3}
    for _ in range(3):
        reached |= {head for tail, head in used if tail in reached}
        useful |= {tail for tail, head in used if head in useful}
    return [(tail, head) for tail, head in used if tail not in reached or head not in useful]


def connected(arch: str) -> bool:
    """Whether a path leads from the cell's input to its output."""
    code = code_of(arch)
    reached = {0}
    for edge, digit in zip(EDGES, code, strict=True):  # edges are in topological order of their heads
        if int(digit) != NONE and edge[0] in reached:
            reached.add(edge[1])
    return 3 in reached


class Cell(nn.Module):
    """One cell; edges without operator are left out, as a converter would.

    Args:
        code: six digits.
        width: channels.
        number: of the cell in its network.
    """

    def __init__(self, code: str, width: int, number: int) -> None:
        super().__init__()
        dead = dead_edges(code)
        used = [(edge, int(d)) for edge, d in zip(EDGES, code, strict=True) if int(d) != NONE and edge not in dead]
        self.edges = [(tail, head, digit) for (tail, head), digit in used]
        self.convs = nn.ModuleDict(
            {f"{tail}{head}": _conv_norm((number, tail, head), width, width, 1 if digit == CONV1 else 3)
             for tail, head, digit in self.edges if digit in (CONV1, CONV3)}
        )  # fmt: skip
        self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        nodes, activated = {0: x}, {}
        for tail, head, digit in sorted(self.edges, key=lambda edge: edge[1]):
            value = nodes[tail]
            if digit in (CONV1, CONV3):
                if tail not in activated:
                    activated[tail] = torch.relu(value)  # converters compute equal expressions once
                value = self.convs[f"{tail}{head}"](activated[tail])
            elif digit == POOL:
                value = self.pool(value)
            nodes[head] = nodes[head] + value if head in nodes else value
        return nodes.get(3, x)


class Reduction(nn.Module):
    """Residual block of stride 2 that doubles the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_a, self.conv_b = _conv_norm((0,), width // 2, width, 3, 2), _conv_norm((1,), width, width, 3)
        self.pool, self.shortcut = nn.AvgPool2d(2), nn.Conv2d(width // 2, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv_b(torch.relu(self.conv_a(torch.relu(x)))) + self.shortcut(self.pool(x))
        return out


@cache
def _conv_norm(place: tuple[int, ...], width_in: int, width: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Built once a ``place``, since building takes longer than tracing; without storage networks may share it."""
    conv = nn.Conv2d(width_in, width, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width))


def network(arch: str, cells: int = CELLS) -> nn.Module:
    """The CIFAR-10 network of a cell, without storage, in eval mode; ``cells`` a stage."""
    code = code_of(arch)
    with NoInit(), torch.device("meta"):
        parts: list[nn.Module] = [_conv_norm((), 3, WIDTHS[0], 3)]
        for i, width in enumerate(WIDTHS):
            parts += [Reduction(width)] if i else []
            parts += [Cell(code, width, number) for number in range(cells)]
        head = [nn.BatchNorm2d(WIDTHS[-1]), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*parts, *head, nn.Linear(WIDTHS[-1], CLASSES)).eval()


def operators(arch: str) -> list[Op]:
    """Deployed operators of the whole network."""
    return trace(network(arch), 3, RESOLUTION)


def features(arch: str) -> Floats:
    """Feature row ``[features]`` (order of ``predictors.costs.network.FEATURES``) of the whole network.

    Every cell after a stage's second adds what the second did, so that two networks of one and two cells a stage say
    what one of five costs; a test compares with the whole network.
    """
    rows = []
    for cells in (1, 2):
        model = network(arch, cells)
        rows.append(op_features(trace(model, 3, RESOLUTION), sum(p.numel() for p in model.parameters())))
    row: Floats = rows[1] + (CELLS - 2) * (rows[1] - rows[0])
    return row


@dataclass(frozen=True)
class Table:
    """Published latencies of networks.

    Attributes:
        codes: six digits each.
        ms: by column of the file, ``[n]``; NaN where the network could not be measured.
    """

    codes: list[str]
    ms: dict[str, Floats]

    def features(self) -> Floats:
        """``[n, features]``; kept on disk, since thousands of networks take minutes."""
        content = json.dumps([self.codes, FEATURES, table_format(), Path(__file__).read_text(encoding="utf-8")])
        path = cache_folder() / f"nasbench201-{hashlib.sha256(content.encode()).hexdigest()[:32]}.npz"
        found = load_tables(path, [(len(self.codes), len(FEATURES))])
        if found is None:
            found = [np.stack([features(code) for code in self.codes])]
            save_tables(path, found)
        return found[0]


FILES = {"help": "nb201_hwnasbench_help_edge.csv.gz", "oneproxy": "nb201_oneproxy_18dev.csv.gz"}


def table(name: str, dead: bool = False) -> Table:
    """A published table, in the file's order.

    Args:
        name: ``help`` (HW-NAS-Bench and HELP: columns ``raspi4``, ``pixel3``, ...) or ``oneproxy``
            (``nnmeter_measured_a76``, ``latbench_cpu_855``, ``latbench_jetson``, ``hwnasbench_edgegpu``, ...).
        dead: keep networks with dead edges, or without any path.
    """
    rows = read_table(data_file(f"latency/{FILES[name]}"))
    if not dead:
        rows = [row for row in rows if connected(row["code"]) and not dead_edges(row["code"])]
    columns = [c for c in rows[0] if c not in ("arch_idx", "code")]
    values = {c: np.array([float(row[c]) for row in rows]) for c in columns}
    return Table([row["code"] for row in rows], {c: np.where(v > 0, v, np.nan) for c, v in values.items()})
