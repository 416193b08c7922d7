"""Training for quantization: which passes are quantized and how, resuming, mixed precision, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.quantization.fake import Fake, LearnedSteps
from nas.quantization.grids import is_clip
from nas.store.files import load_tensors
from nas.store.run import Run
from nas.supernet.supernet import Supernet
from nas.tasks.losses import Loss
from nas.tasks.task import get_task
from nas.training.amp import Amp
from nas.training.builders import make_optimizer, make_phase
from nas.training.config import Resources, TrainConfig
from nas.training.loop import Interrupted
from nas.training.quantized import QuantizedPhase, start_clips, trained_menu
from nas.training.step import StepInput, run_passes, update
from nas.training.strategies.base import Pass
from nas.training.weights import load_supernet
from nas.workflows.train import train_supernet
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.policy import Policy, parse_policy, stages_of
from tests.support.cli_runs import invoke
from tests.support.long_forms import long_form
from tests.support.stopping import Acts, interrupt

TINY = get_space("mbv3-tiny")
ENGINE = Resources(workers=0, save_seconds=1e9, evaluations=1)
PASSES = tuple(Pass(a, role) for a, role in ((TINY.largest, "teacher"), (TINY.smallest, "student")))


def phase_of(menu: str, share: float = 0.25, noise: float = 0.0, steps: int = 100, seed: int = 0) -> QuantizedPhase:
    config = TrainConfig(
        space=TINY.name, quantization_aware=menu, quantization_phase=share, quantization_noise=noise, seed=seed
    )
    return make_phase(config, steps)


# which passes


def test_the_last_part_of_the_steps_is_quantized() -> None:
    phase = phase_of("int8,w4a8", 0.3)
    for step in range(100):
        found = phase.of(PASSES, step)
        assert [(p.architecture, p.role) for p in found] == [(p.architecture, p.role) for p in PASSES]
        assert [p.fake is not None for p in found] == [step >= 70] * 2
    assert all(phase_of("", 0.3).of(PASSES, step) == PASSES for step in range(100))
    assert all(p.fake for p in phase_of("int8", 1.0).of(PASSES, 0))


def test_policies_are_a_function_of_seed_and_step() -> None:
    phase = phase_of("int8,w4a8,w2a8", 1.0)
    drawn = [[p.fake for p in phase.of(PASSES, step)] for step in range(50)]
    assert drawn[::-1] == [[p.fake for p in phase.of(PASSES, step)] for step in reversed(range(50))]
    assert drawn != [[p.fake for p in phase_of("int8,w4a8,w2a8", 1.0, seed=1).of(PASSES, s)] for s in range(50)]
    assert any(a != b for a, b in drawn)  # the passes of a step have policies of their own


def test_half_of_the_policies_are_uniform_and_the_others_take_every_precision_everywhere() -> None:
    menu, stages = ("int8", "w4a8"), stages_of(TINY)
    rng = np.random.default_rng(0)
    drawn = [phase_of(",".join(menu)).draw(rng) for _ in range(2000)]
    uniform = [policy for policy in drawn if not policy.stages]
    chance = 0.5 + 0.5 * 2 / 2 ** (1 + len(stages))
    assert len(uniform) / len(drawn) == pytest.approx(chance, abs=0.04)
    for part in ("conv_stem", *stages):
        shares = Counter(policy.of(part) for policy in drawn)
        assert shares.keys() == set(menu)
        assert shares["int8"] / len(drawn) == pytest.approx(0.5, abs=0.04)
    assert {phase_of("int8").draw(rng) for _ in range(20)} == {Policy("int8")}


def test_clips_start_where_weights_lose_least_unless_they_were_learned() -> None:
    net = Supernet(TINY, Interface(1, 3), seed=2, learned=("int8", "w4a8", "w2a8"))
    with torch.no_grad():
        learned = net.model.get_parameter("blocks.1.0.conv_pw.clip_w4a8")
        learned.fill_(-0.1)
    average = {name: tensor.clone() for name, tensor in net.model.state_dict().items()}
    start_clips(net.model, average)
    for name, clip in net.model.named_parameters():
        if not is_clip(name):
            continue
        assert torch.equal(average[name], clip)
        weight = net.model.get_parameter(f"{name.rpartition('.')[0]}.weight").detach()
        if name.endswith("int8"):
            assert not clip.any()
        elif clip is learned:
            assert (clip == -0.1).all()
        else:
            top = 7 if name.endswith("w4a8") else 1
            errors = [(LearnedSteps.apply(top, 1, weight, c)[0] - weight).square().sum() for c in (clip, 0 * clip)]
            assert errors[0] < errors[1]


# a step


@pytest.mark.parametrize(("amp", "accumulate"), [("off", 1), ("off", 2), ("bf16", 1)])
def test_a_quantized_step_moves_clips_and_weights(amp: str, accumulate: int) -> None:
    config = TrainConfig(quantization_aware="int8,w4a8")
    net = Supernet(TINY, Interface(1, 3), seed=2, learned=("int8", "w4a8"))
    optimizer = make_optimizer(config, net.model)
    before = {name: p.detach().clone() for name, p in net.model.named_parameters()}
    torch.manual_seed(0)
    batch = StepInput(torch.randn(8, 1, 28, 28), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1]))
    one = Pass(TINY.largest, fake=Fake(Policy("w4a8")))
    precision = Amp(amp)
    run_passes(net, (one,), batch, get_task(), Loss(0.1), precision, accumulate)
    update(net, optimizer, 0.0, 5.0, precision)
    for name, parameter in net.model.named_parameters():
        moved = not torch.equal(parameter, before[name])
        assert parameter.isfinite().all()
        if is_clip(name):
            assert moved == name.endswith("w4a8"), name
        elif name.endswith("weight") and not name.endswith("_matrix"):
            assert moved, name


def test_micro_batches_add_up_to_one_gradient() -> None:
    """Two equal halves have the ranges and statistics of the whole, so gradients must be the whole's."""
    half = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    batch = StepInput(torch.cat([half, half]), torch.tensor([0, 1, 2, 0] * 2))
    found = []
    for accumulate in (1, 2):
        net = Supernet(TINY, Interface(1, 3), seed=2, learned=("w4a8",))
        run_passes(
            net, (Pass(TINY.smallest, fake=Fake(Policy("w4a8"))),), batch, get_task(), Loss(0.1), accumulate=accumulate
        )
        found.append({name: p.grad for name, p in net.model.named_parameters() if p.grad is not None})
    assert any(is_clip(name) for name in found[0])
    for name, grad in found[0].items():
        torch.testing.assert_close(found[1][name], grad, rtol=1e-3, atol=2e-5)


# a run


@pytest.mark.parametrize("noise", long_form([0.5], [0.0]))
def test_stopped_twice_or_never_is_the_same(photos: Path, tmp_path: Path, at_steps: Acts, noise: float) -> None:
    """Stopped in the float part and in the quantized part."""
    config = TrainConfig(
        source=str(photos), epochs=1.0, batch_size=4, quantization_aware="int8,w4a8", quantization_phase=0.5,
        quantization_noise=noise,
    )  # fmt: skip
    straight, stopped = Run(tmp_path / "straight"), Run(tmp_path / "stopped")
    train_supernet(straight, config, ENGINE, lambda entry: None)
    at_steps += [(2, interrupt), (6, interrupt)]
    for _ in range(2):
        with pytest.raises(Interrupted):
            train_supernet(stopped, config, ENGINE, lambda entry: None)
    train_supernet(stopped, config, ENGINE, lambda entry: None)
    assert not at_steps
    ours, theirs = load_tensors(straight.supernet)[0], load_tensors(stopped.supernet)[0]
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    clips = {name: tensor for name, tensor in ours.items() if is_clip(name)}
    policy = parse_policy("int8,blocks.1=w4a8")
    found = load_supernet(straight).clips(TINY.smallest, policy)
    if noise:
        assert not clips
        assert found is None
    else:
        assert any(tensor.any() for tensor in clips.values())
        assert found is not None
        assert any(clip.any() for clip in found.values())


def test_a_menu_may_keep_floats() -> None:
    assert trained_menu("fp32, int8") == ("fp32", "int8")
    assert trained_menu("") == ()


def test_the_flags_reach_the_run(photos: Path, tmp_path: Path) -> None:
    words = (
        "train-supernet", "--data", photos, "--out", tmp_path / "run", "--epochs", "0.5", "--batch-size", "8",
        "--workers", "0", "--quantization-aware", "int8,w2a8", "--quantization-phase", "0.6",
        "--quantization-noise", "0.4", "--quiet",
    )  # fmt: skip
    assert invoke(*words).code == 0
    config = Run(tmp_path / "run").read().config
    assert (config["quantization_aware"], config["quantization_phase"], config["quantization_noise"]) == (
        "int8,w2a8", 0.6, 0.4,
    )  # fmt: skip
