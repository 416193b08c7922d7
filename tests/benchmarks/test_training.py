"""The arithmetic of the experiments on trained networks, and its promise to run no cell twice."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch


def test_a_finished_cell_is_not_run_again(tmp_path: Path) -> None:
    from benchmarks.support.cells import cell

    runs = []
    for _ in range(2):
        found = cell(tmp_path, "name", lambda: runs.append(1) or {"accuracy": 0.5})
        assert found == {"accuracy": 0.5}
    assert runs == [1]
    with pytest.raises(KeyboardInterrupt):
        cell(tmp_path, "stopped", _interrupt)
    assert cell(tmp_path, "stopped", lambda: {"done": True}) == {"done": True}


def _interrupt() -> dict[str, bool]:
    raise KeyboardInterrupt


def test_rank_correlation_within_groups() -> None:
    """A guess that orders the groups rightly and reverses every group: counted by hand."""
    from benchmarks.training.quality import rank_correlations

    truth, groups = np.array([1.0, 2, 3, 11, 12, 13]), np.array([0, 0, 0, 1, 1, 1])
    guess = np.array([3.0, 2, 1, 13, 12, 11])
    found = rank_correlations(truth, {"guess": guess, "truth": truth, "constant": np.ones(6)}, groups)
    assert found["guess"] == pytest.approx({"all": (9 - 6) / 15, "within": -1.0})  # 9 pairs right, 6 wrong
    assert found["truth"] == pytest.approx({"all": 1.0, "within": 1.0})
    assert found["constant"] == {"all": 0.0, "within": 0.0}


def test_groups_have_nearly_equal_macs() -> None:
    from benchmarks.training.quality import binned, macs_of
    from search_spaces import get_space

    space = get_space("mbv3-tiny")
    chosen, groups = binned(space, bins=4, each=5, seed=0)
    assert len({a.id for a in chosen}) == 20
    assert groups.tolist() == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5
    macs = macs_of(space, chosen).reshape(4, 5)
    assert (np.ptp(macs, axis=1) < 0.01 * macs.mean(axis=1)).all()
    assert (np.diff(macs.mean(axis=1)) > 0).all()


@pytest.mark.long
def test_a_network_alone_and_a_subnet_through_tiny_budgets(tmp_path: Path) -> None:
    from benchmarks.support.cells import family, summary, trained_alone, trained_supernet
    from nas.training.config import TrainConfig
    from search_spaces import get_space

    space, config = get_space("mbv3-tiny"), TrainConfig(space="mbv3-tiny", strategy="random", batch_size=16)
    asked = {"smallest": space.smallest}
    first = trained_supernet(tmp_path, config, 0.1, asked)
    again = trained_supernet(tmp_path, config, 5.0, asked)  # the plan of the first start stands
    assert (first["steps"], again["steps"], again["seconds"]) == (20, 20, None)
    assert first["accuracy"] == again["accuracy"]
    alone = trained_alone(space, space.smallest, config, steps=3)
    assert alone["steps"] == 3
    assert 0 < alone["accuracy"] < 1
    assert list(family(space, 2, 0)) == ["smallest", "middle", "largest", "random0", "random1"]
    means = summary({"smallest": 0.5, "middle": 0.6, "largest": 0.7, "random0": 0.1, "random1": 0.3})
    assert means == pytest.approx({"smallest": 50, "middle": 60, "largest": 70, "random": 20})


def test_the_task_of_fastnas_is_the_same_network_on_both_sides() -> None:
    from benchmarks.training.fastnas import SIDE, SPACE, count_macs, describe, mobilenet
    from predictors.costs.network import architecture_features, total_macs
    from search_spaces import get_space
    from search_spaces.architecture import Interface

    space = get_space(SPACE)
    features = architecture_features(space, space.largest, Interface(3, 10))
    assert count_macs(mobilenet(), SIDE) == total_macs(features[None])[0]
    row = {"test": 0.5, "search": 0.4, "before": 0.3, "macs": 8e6}
    both = {"FastNAS": row | {"seconds": {"a": 30.0, "b": 10.0}}, "nas": row | {"seconds": {"a": 20.0}}}
    assert describe(both)[-1].endswith(" 0.50")


def test_the_whole_stands_beside_the_best_of_the_front_that_is_no_slower() -> None:
    from benchmarks.training.zoo import describe

    def row(ms: float, correct: int) -> dict[str, object]:
        return {"latency_ms": ms, "search": {"correct": correct, "images": 10}, "test": {"correct": 0, "images": 10}}

    front = [row(1.0, 5), row(2.0, 7), row(3.0, 6)]
    whole = [row(0.5, 2) | {"px": 48}, row(2.5, 6) | {"px": 56}, row(3.0, 8) | {"px": 64}]
    lines = describe({"supernet": {"seconds": 1}, "all": {"seconds": 1, "front": front, "whole": whole}}, "model")
    shown = [line.split("|")[2:-1] for line in lines if " px |" in line]
    assert [[cell.strip() for cell in line] for line in shown] == [
        ["0.500", "10.0", "20.0", "", ""],
        ["2.500", "30.0", "60.0", "35.0 (70.0)", "2.000"],
        ["3.000", "40.0", "80.0", "35.0 (70.0)", "2.000"],
    ]


def test_blocks_change_places_where_their_shapes_allow_it() -> None:
    from benchmarks.training.blocks import reorder

    state = {f"blocks.1.{b}.conv.weight": torch.full((2,), float(b)) for b in (0, 1, 2)}
    found = reorder(state, 1, (0, 2, 1))
    assert found is not None
    assert [found[name][0].item() for name in state] == [0, 2, 1]
    assert reorder(state | {"blocks.1.2.conv.weight": torch.zeros(3)}, 1, (0, 2, 1)) is None


def test_the_command_line_covers_every_budget(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from benchmarks.training import quality
    from benchmarks.training.quality import SHORT, Budget

    seen = []
    monkeypatch.setattr(quality, "quality", lambda *args: seen.append(args) or _EMPTY)
    for more in ([], ["--short"], ["--short", "--seconds", "7", "--bins", "0"]):
        monkeypatch.setattr(sys, "argv", ["quality", "--out", str(tmp_path), *more])
        quality.main()
    budgets = [args[3] for args in seen]
    assert budgets[:2] == [Budget(), SHORT]
    assert (budgets[2].seconds, budgets[2].bins, budgets[2].each) == (7, 0, SHORT.each)


_EMPTY = {
    "accuracy": {},
    "seconds": {},
    "steps": {"supernet": 0, "alone": 0},
    "largest_seconds": 0.0,
    "tau": {},
    "ranked": 0,
    "spread": 0.0,
}
