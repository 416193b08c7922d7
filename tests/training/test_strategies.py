"""Every strategy over spaces that differ, then each against what its paper says."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.events import Noted
from nas.store.files import load_tensors
from nas.store.run import Run
from nas.store.settings import declared_settings
from nas.supernet.supernet import Supernet
from nas.training.check import ignored_settings
from nas.training.config import Resources, TrainConfig
from nas.training.loop import Interrupted
from nas.training.strategies.attentive import Attentive
from nas.training.strategies.base import Pass
from nas.training.strategies.cost_uniform import CostUniform
from nas.training.strategies.delayed import Delayed
from nas.training.strategies.nested import Sorted
from nas.training.strategies.preferred import Preferred, saliency, scores
from nas.training.strategies.progressive import Progressive
from nas.training.strategies.sizes import chain, macs_pool
from nas.training.strategies.table import SANDWICH_STEPS, STRATEGIES, choose, get_strategy
from nas.workflows.train import train_supernet
from search_spaces import Architecture, SearchSpace, get_space
from search_spaces.architecture import Interface
from search_spaces.errors import UsageError
from tests.conftest import PhotoFolder
from tests.kits.strategy import SPACES, STEPS, check_strategy, facts_of, passes_of, strategy_of
from tests.support.long_forms import long_form
from tests.support.stopping import Acts, interrupt

pytestmark = pytest.mark.xdist_group("strategies")  # some take long to make: once, by one process

TINY = get_space("mbv3-tiny")
RUN = ("sorted", "preferred", "attentive-best")
"""A batch in parts, subnets chosen beforehand, subnets chosen by their losses."""
MIXNET = SPACES[2]  # depth and resolution alone: 64 subnets


def no_loss(architecture: Architecture) -> float:
    raise AssertionError("this strategy needs no losses")


def macs_of(passes: tuple[Pass, ...] | list[Pass], space: SearchSpace = TINY) -> Any:
    return facts_of(space).macs(space.encode_many([p.architecture for p in passes]))


# All strategies


@pytest.mark.parametrize("space", long_form(SPACES[::2], SPACES[1::2]))
@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_passes_the_kit(name: str, space: str) -> None:
    check_strategy(name, space)


@pytest.mark.parametrize("name", long_form([n for n in STRATEGIES if n != "attentive-worst"], ["attentive-worst"]))
def test_every_size_is_visited(name: str) -> None:
    """On a space of 64 subnets; those of a fixed list visit their list and nothing else."""
    space, steps = get_space(MIXNET), 4 * STEPS
    strategy = (
        strategy_of(name, MIXNET) if name in ("preferred", "sorted") else get_strategy(name, facts_of(space, steps))
    )
    seen = {one.architecture for step in range(steps) for one in passes_of(strategy, step)}
    if isinstance(strategy, Sorted):
        assert seen == set(strategy.nested)
    elif isinstance(strategy, Preferred):
        assert seen == {a for group in strategy.preferred for a in group}
    else:
        every = facts_of(space).macs(space.encode_many(list(space.enumerate())))
        found = facts_of(space).macs(space.encode_many(list(seen)))
        assert set(found) == set(every)


def test_unknown_strategy_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'sandwich'"):
        get_strategy("sandwhich", facts_of())


def test_the_help_and_the_page_name_them_all() -> None:
    hint = declared_settings(TrainConfig)["strategy"].setting.help
    for name in STRATEGIES:
        assert name in hint
    text = (Path(__file__).parents[2] / "docs" / "strategies.md").read_text()
    for name in STRATEGIES:
        assert f"`{name}`" in text


# One by one


def test_sandwich_holds_both_extremes() -> None:
    passes = strategy_of("sandwich").passes(0, np.random.default_rng(0), no_loss)
    assert passes[0].architecture == TINY.largest
    assert passes[-1].architecture == TINY.smallest
    assert [p.role for p in passes] == ["teacher", "student", "student", "student"]


def test_alternating_has_exact_shares() -> None:
    found = [passes_of(strategy_of("alternating"), step)[0].architecture for step in range(STEPS)]
    assert found[::4] == [TINY.largest] * (STEPS // 4)
    assert found[2::4] == [TINY.smallest] * (STEPS // 4)
    assert len(set(found[1::2])) > STEPS // 2 - 5


def test_progressive_shrinking_follows_the_published_epochs() -> None:
    """180 epochs full, 125 kernel, then 25 + 125 each of depth and expansion: one step an epoch here."""
    space = get_space("ofa-mbv3-w1.0")
    strategy = Progressive(facts_of(space, 605))
    assert [(p.name, p.start, p.subnets) for p in strategy.phases] == [
        ("full", 0, 0), ("kernel", 180, 1), ("depth", 305, 2), ("depth", 330, 2), ("expand", 455, 4),
        ("expand", 480, 4),
    ]  # fmt: skip
    opened = {
        0: {}, 179: {},
        180: {"kernel": {3, 5, 7}}, 304: {"kernel": {3, 5, 7}},
        305: {"kernel": {3, 5, 7}, "depth": {3, 4}}, 330: {"kernel": {3, 5, 7}, "depth": {2, 3, 4}},
        455: {"kernel": {3, 5, 7}, "depth": {2, 3, 4}, "expand": {4, 6}},
        604: {"kernel": {3, 5, 7}, "depth": {2, 3, 4}, "expand": {3, 4, 6}},
    }  # fmt: skip
    top = dict(space.largest.genes)
    for step, elastic in opened.items():
        seen: dict[str, set[float]] = {}
        for seed in range(20):
            teacher, *students = strategy.passes(step, np.random.default_rng(seed), no_loss)
            assert teacher.architecture == space.largest
            assert teacher.role == ("teacher" if students else "label")
            for student in students:
                for gene, value in student.architecture.genes:
                    seen.setdefault(gene.rpartition(".")[2], set()).add(value)
                    if gene.rpartition(".")[2] not in (*elastic, "resolution"):
                        assert value == top[gene]
        assert {kind: seen[kind] for kind in elastic} == elastic


def test_progressive_shrinking_leaves_out_what_a_space_lacks() -> None:
    assert [p.name for p in Progressive(facts_of(MIXNET, 330)).phases] == ["full", "depth", "depth"]
    assert [p.start for p in Progressive(facts_of(MIXNET, 330)).phases] == [0, 180, 205]
    assert {p.name for p in Progressive(facts_of(TINY)).phases} == {"full", "kernel", "depth", "expand", "width"}


def test_progressive_shrinking_refuses_a_space_of_resolutions(photo_folder: PhotoFolder, tmp_path: Path) -> None:
    """Before a run directory is there."""
    name = "timm:resnet18:resolution=32,64:depth=1:width=1"
    assert get_space(name).size == 2
    config = TrainConfig(space=name, source=str(photo_folder()), strategy="progressive", epochs=1, batch_size=4)
    with pytest.raises(UsageError, match=r"'progressive'.*has none of them.*`strategy` random"):
        train_supernet(Run(tmp_path / "run"), config, Resources(), lambda _: None)
    assert not (tmp_path / "run").exists()


def test_delayed_shrinking_in_closed_form() -> None:
    strategy = Delayed(facts_of(TINY, 400))
    smallest = []
    for step in range(400):
        passes = passes_of(strategy, step)
        if step < 200:
            assert passes == (Pass(TINY.largest),)
            continue
        ramp = min(1.0, (step - 199) / 100)
        assert passes[0] == Pass(TINY.largest, "teacher")
        assert [p.weight for p in passes[1:]] == pytest.approx([ramp] * 3)
        macs = macs_of(passes)
        assert macs[-1] <= macs[1:].min()
        smallest.append(macs[-1])
        if step >= 299:
            assert passes[-1].architecture == TINY.smallest
            assert {p.role for p in passes[1:]} == {"student"}
    assert (np.diff(smallest) <= 0).all()
    assert len(set(smallest)) > 10  # gradually, though most genes have two choices
    roles = [p.role for seed in range(200) for p in passes_of(strategy, 229, seed)[1:]]
    assert np.mean([role == "student" for role in roles]) == pytest.approx(0.3, abs=0.06)  # 2.6 standard errors


@pytest.mark.parametrize("name", [*SPACES, "ofa-mbv3-w1.0"])
def test_the_chain_climbs_one_choice_at_a_time(name: str) -> None:
    space = get_space(name)
    path = chain(space)
    assert (path[0] == 0).all()
    assert (path[-1] == space.cardinality - 1).all()
    rises = np.diff(path, axis=0)
    assert (rises.sum(axis=1) == 1).all()
    assert (rises >= 0).all()
    middle = path[len(path) // 2] / np.maximum(space.cardinality - 1, 1)
    halves = np.array_split(middle[space.cardinality > 1], 2)  # neither end of the network grows first
    assert abs(halves[0].mean() - halves[1].mean()) < 0.35


@pytest.mark.parametrize("name", SPACES)
def test_sorted_subnets_are_nested(name: str) -> None:
    space = get_space(name)
    nested = Sorted(facts_of(space)).nested
    assert 4 <= len(nested) <= 8
    assert nested[0] == space.smallest
    assert nested[-1] == space.largest
    assert (np.diff(space.encode_many(list(nested)), axis=0) >= 0).all()
    macs = np.log(facts_of(space).macs(space.encode_many(list(nested))))
    assert (np.diff(macs) > 0).all()
    shapes = [{n: p.shape for n, p in space.build(a, Interface(1, 3), "meta").named_parameters()} for a in nested]
    for small, large in pairwise(shapes):  # every tensor is a part of the next one's
        for tensor, shape in small.items():
            assert all(s <= b for s, b in zip(shape, large[tensor], strict=True))


def test_sorted_gives_every_part_of_a_batch_one_subnet() -> None:
    passes = passes_of(Sorted(facts_of()), 3)
    assert [p.part for p in passes] == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert [p.weight for p in passes] == [0.25] * 4  # a mean over the batch
    assert [p.part for p in passes_of(Sorted(facts_of(batch_size=32)), 3)] == [(0, 2), (1, 2)]
    assert passes_of(Sorted(facts_of(batch_size=4)), 3)[0].part == (0, 1)


@pytest.mark.parametrize("worst", [False, True])
def test_attentive_takes_the_extreme_of_like_sizes(worst: bool) -> None:
    strategy = Attentive(facts_of(), worst)
    effect = np.random.default_rng(5).normal(size=len(TINY.genes))
    firsts, spreads = [], []
    for step in range(200):
        asked: list[Architecture] = []

        def loss_of(architecture: Architecture, asked: list[Architecture] = asked) -> float:
            asked.append(architecture)
            return float(TINY.encode(architecture) @ effect)

        passes = strategy.passes(step, np.random.default_rng(step), loss_of)
        assert [p.role for p in passes] == ["teacher", "student", "student", "student"]
        assert (passes[0].architecture, passes[-1].architecture) == (TINY.largest, TINY.smallest)
        assert len(asked) == 6  # k = 3 for each of two
        for group, one in zip((asked[:3], asked[3:]), passes[1:3], strict=True):
            losses = [TINY.encode(a) @ effect for a in group]
            assert TINY.encode(one.architecture) @ effect == (max if worst else min)(losses)
            macs = facts_of().macs(TINY.encode_many(group))
            firsts.append(macs[0])
            spreads.append(np.ptp(macs) / macs.mean())
    assert np.median(spreads) < 0.05
    uniform = facts_of().macs(TINY.sample(np.random.default_rng(0), 20_000))
    assert _distance(np.array(firsts), uniform) < 1.63 / np.sqrt(len(firsts))  # Kolmogorov-Smirnov, 1 %


def test_cost_uniform_has_uniform_macs() -> None:
    strategy = strategy_of("cost-uniform")
    low, high = facts_of().macs(TINY.extremes())
    flat = np.linspace(low, high, 20_000)
    found = macs_of([passes_of(strategy, step)[0] for step in range(1000)])
    assert _distance(found, flat) < 1.63 / np.sqrt(1000)
    uniform_genes = facts_of().macs(TINY.sample(np.random.default_rng(0), 1000))
    assert _distance(uniform_genes, flat) > 0.15  # what it is there for


def test_cost_uniform_is_not_bound_to_its_pool() -> None:
    pool = {TINY.decode(v) for v in macs_pool(facts_of())[0]}
    strategy = CostUniform(facts_of())
    found = {passes_of(strategy, step)[0].architecture for step in range(50)}
    assert len(found - pool) > 25


def test_preferred_trains_few_of_every_size_equally_often() -> None:
    strategy = strategy_of("preferred")
    assert isinstance(strategy, Preferred)
    groups = strategy.preferred
    assert len(groups) == 6
    assert all(1 <= len(group) <= 3 for group in groups)
    assert groups[0][0] == TINY.smallest
    assert groups[-1][-1] == TINY.largest
    low, high = facts_of().macs(TINY.extremes())
    for number, group in enumerate(groups):
        share = (facts_of().macs(TINY.encode_many(list(group))) - low) / (high - low)
        assert ((share >= number / 6) & (share <= (number + 1) / 6)).all()
    number_of = {a: i for i, group in enumerate(groups) for a in group}
    found = [number_of[passes_of(strategy, step)[0].architecture] for step in range(1200)]
    assert np.bincount(found) == pytest.approx(np.full(6, 200), abs=45)  # 3.5 standard errors


def test_saliency_scores_are_sums_over_what_a_subnet_takes() -> None:
    net = Supernet(TINY, Interface(1, 3))
    state = torch.random.get_rng_state()
    shares = saliency(net, 0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(float(share.sum()) == pytest.approx(1, rel=1e-4) for share in shares.values())
    again = saliency(Supernet(TINY, Interface(1, 3)), 0)
    assert all(torch.equal(share, again[name]) for name, share in shares.items())
    some = [TINY.smallest, *map(TINY.decode, TINY.sample(np.random.default_rng(0), 4)), TINY.largest]
    found = scores(net, some, shares)
    assert found[-1] == pytest.approx(len(shares), rel=1e-5)
    with torch.no_grad():
        for name, parameter in net.model.named_parameters():
            parameter.copy_(shares[name])
    expected = [sum(float(p.detach().sum()) for p in net.extract(a).parameters()) for a in some]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_saliency_is_weight_times_gradient() -> None:
    """For the classifier: softmax minus one-hot, times the features, on the same noise."""
    net = Supernet(TINY, Interface(1, 3))
    shares = saliency(net, 4)
    generator = torch.Generator().manual_seed(4)
    images = torch.randn(16, 1, 28, 28, generator=generator)
    labels = torch.randint(3, (16,), generator=generator)
    model: Any = net.model.train()
    with torch.no_grad():
        features = model.forward_head(model.forward_features(images), pre_logits=True)
        wrong = model.classifier(features).softmax(1) - torch.nn.functional.one_hot(labels, 3)
        expected = (model.classifier.weight * (wrong.T @ features)).abs()
    torch.testing.assert_close(shares["classifier.weight"], expected / expected.sum(), rtol=1e-3, atol=1e-7)


def test_auto_goes_by_the_length_of_the_run() -> None:
    short, long = facts_of(steps=SANDWICH_STEPS - 1), facts_of(steps=SANDWICH_STEPS)
    assert choose(short)[0] == "random"
    assert choose(long)[0] == "sandwich"
    assert "49,999 steps" in choose(short)[1]
    for known, name in ((short, "random"), (long, "sandwich")):
        assert passes_of(get_strategy("auto", known), 9) == passes_of(get_strategy(name, known), 9)


def _distance(sample: Any, reference: Any) -> float:
    """Greatest difference of the two empirical distribution functions."""
    points = np.sort(np.concatenate([sample, reference]))
    shares = [np.searchsorted(np.sort(s), points, side="right") / len(s) for s in (sample, reference)]
    return float(np.abs(shares[0] - shares[1]).max())


# In a run

ENGINE = Resources(workers=0, save_seconds=1e9, evaluations=0)


def _weights(run: Run) -> dict[str, torch.Tensor]:
    return load_tensors(run.supernet)[0]


@pytest.mark.parametrize("name", long_form(RUN, [n for n in STRATEGIES if n not in (*RUN, "auto")]))
def test_a_short_run(name: str, photos: Path, tmp_path: Path) -> None:
    config = TrainConfig(source=str(photos), epochs=0.5, batch_size=4, strategy=name)
    train_supernet(Run(tmp_path / "run"), config, ENGINE, lambda _: None)
    start, end = Supernet(TINY, Interface(3, 3)).model.state_dict(), _weights(Run(tmp_path / "run"))
    assert all(tensor.isfinite().all() for tensor in end.values())
    assert not torch.equal(start["classifier.weight"], end["classifier.weight"])


def test_auto_says_why_and_trains_as_the_chosen_one(photos: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    weights = []
    for name in ("auto", "random"):
        config = TrainConfig(source=str(photos), epochs=0.5, batch_size=4, strategy=name)
        run = Run(tmp_path / name)
        train_supernet(run, config, ENGINE, lambda e: notes.append(e.text) if isinstance(e, Noted) else None)
        weights.append(_weights(run))
    assert TrainConfig().strategy == "auto"
    assert len([n for n in notes if n.startswith("strategy random: 4 steps")]) == 1
    assert all(torch.equal(tensor, weights[1][key]) for key, tensor in weights[0].items())


@pytest.mark.parametrize("name", STRATEGIES)
def test_settings_that_a_strategy_ignores_are_named(name: str) -> None:
    """Against all steps of a run: there is no student, or the largest subnet is all but never drawn."""
    passes = [each for step in range(STEPS) for each in passes_of(strategy_of(name), step)]
    chosen = "random" if name == "auto" else name
    expected = []
    if not any(each.role == "student" for each in passes):
        expected.append(f"`distill` alpha has no effect: with strategy {chosen} no subnet learns from another")
    if np.mean([each.architecture == TINY.largest for each in passes]) < 0.001:
        expected.append(
            f"`dropout` and `drop_path`: only the largest subnet is trained so, and strategy {chosen} hardly ever "
            "draws it"
        )
    config = TrainConfig(strategy=name, distill="alpha", dropout=0.2, drop_path=0.1)
    assert ignored_settings(config, facts_of()) == expected
    assert ignored_settings(TrainConfig(strategy=name), facts_of()) == []
    shared = ignored_settings(TrainConfig(strategy=name, adapt_share=0.6), facts_of())
    words = f"`adapt_share` has no effect: strategy {chosen} does not train the whole network first"
    assert shared == ([] if name == "teacher-first" else [words])


@pytest.mark.parametrize("name", long_form(["progressive"], ["delayed"]))
def test_stopped_in_any_phase_or_never_is_the_same(photos: Path, tmp_path: Path, at_steps: Acts, name: str) -> None:
    config = TrainConfig(source=str(photos), epochs=1, batch_size=4, strategy=name)
    straight, stopped = Run(tmp_path / "straight"), Run(tmp_path / "stopped")
    train_supernet(straight, config, ENGINE, lambda _: None)
    at_steps += [(2, interrupt), (5, interrupt)]
    for _ in range(2):
        with pytest.raises(Interrupted):
            train_supernet(stopped, config, ENGINE, lambda _: None)
    train_supernet(stopped, config, ENGINE, lambda _: None)
    expected = _weights(straight)
    assert all(torch.equal(tensor, expected[key]) for key, tensor in _weights(stopped).items())
