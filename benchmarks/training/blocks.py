"""Which blocks a shallower subnet keeps: ``python -m benchmarks.training.blocks RUN ...``.

A shallower subnet keeps the first blocks of a stage. For the adapted whole of each run (strategy teacher-first), every
other choice is tried by permuting the blocks of a stage that have the same shape, the kept ones to the front: accuracy,
%, on the search and test splits of the shallower network, which then has these blocks, and of the whole, whose blocks
then work in another order. Batch norm is recalibrated, nothing is trained.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.support.cells import measured
from nas.store.run import Run
from nas.training.weights import load_supernet
from nas.workflows.trained import Trained, open_trained
from search_spaces.architecture import Architecture


def choices(trained: Trained) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Stage, its smaller depth, and an order of its blocks with the kept ones first, the present one first."""
    for gene in trained.space.genes:
        if found := re.fullmatch(r"s(\d+)\.depth", gene.name):
            blocks = int(gene.choices[-1])
            for depth in map(int, gene.choices[:-1]):
                for kept in combinations(range(1, blocks), depth - 1):
                    rest = tuple(b for b in range(1, blocks) if b not in kept)
                    if depth > 1 and len(rest) < blocks - 1:
                        yield int(found[1]), depth, (0, *kept, *rest)


def reorder(state: dict[str, Tensor], stage: int, order: tuple[int, ...]) -> dict[str, Tensor] | None:
    """Tensors with the blocks of a stage in another order; None: blocks that change places differ in shape."""
    found = dict(state)
    for place, block in enumerate(order):
        begin = f"blocks.{stage}.{place}."
        for name in (name for name in state if name.startswith(begin)):
            other = state.get(f"blocks.{stage}.{block}.{name.removeprefix(begin)}")
            if other is None or other.shape != state[name].shape:
                return None
            found[name] = other
    return found


def shallower(trained: Trained, stage: int, depth: int) -> Architecture:
    """The largest network with one stage of less depth."""
    space = trained.space
    vector, column = space.extremes()[1], space.index[f"s{stage}.depth"]
    vector[column] = space.genes[column].choices.index(depth)
    return space.decode(vector)


def run(path: Path) -> dict[tuple[int, int, tuple[int, ...]], tuple[float, float]]:
    """Accuracies, %, of the shallower network and of the whole, by choice."""
    trained = open_trained(Run(path))
    trained = replace(trained, net=load_supernet(trained.run, adapted=True))
    state = {name: tensor.clone() for name, tensor in trained.net.model.state_dict().items()}
    found = {}
    for stage, depth, order in choices(trained):
        if (tensors := reorder(state, stage, order)) is not None:
            trained.net.model.load_state_dict(tensors)
            networks = (shallower(trained, stage, depth), trained.space.largest)
            small, whole = (100 * measured(trained, network).value for network in networks)
            found[stage, depth, order] = small, whole
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = [run(path) for path in given.runs]
    print("| stage | kept blocks | shallower, % a run | mean | whole in that order, % a run | mean |\n|" + "---|" * 6)
    for stage, depth, order in found[0]:
        small, whole = (np.array([each[stage, depth, order][i] for each in found]) for i in (0, 1))
        shown = (" ".join(f"{value:.1f}" for value in values) for values in (small, whole))
        first, second = shown
        kept = ", ".join(map(str, order[:depth]))
        print(f"| {stage} | {kept} | {first} | {small.mean():.1f} | {second} | {whole.mean():.1f} |")


if __name__ == "__main__":
    main()
