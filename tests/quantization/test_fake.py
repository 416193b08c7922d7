"""Fake quantization against formulas written out, against torch, and against the quantized network itself."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.quantization import fake as fake_quant
from nas.quantization.fake import (
    COMPUTES,
    Fake,
    LearnedSteps,
    activation_step,
    fake_quantized,
    quantized_weights,
    usual_clip,
)
from nas.quantization.grids import is_clip
from nas.quantization.operators import aten
from nas.quantization.quantize import quantize
from nas.store.files import save_tensors
from nas.store.records import FIRST_RULES
from nas.supernet.first_weights import load_weights
from nas.supernet.supernet import Supernet
from search_spaces import Architecture, get_space
from search_spaces.architecture import Interface
from search_spaces.policy import WEIGHT_BITS, Policy, make_policy, parse_policy
from tests.support.quantize_nets import SIDE, batch, trained

pytestmark = pytest.mark.xdist_group("quantize_nets")  # their network takes long: trained once, by one process

TINY = get_space("mbv3-tiny")
TOPS = {"int8": 127, "w4a8": 7, "w2a8": 1}
SHAPES = [(5, 3, 3, 3), (4, 1, 5, 5), (6, 7)]
MIXED = "int8,blocks.1=w2a8,blocks.2=fp32,blocks.3=w4a8"


def tensors(seed: int, clip: float) -> tuple[list[Tensor], list[Tensor]]:
    """Weights of three layers, and their clips around ``clip``."""
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(shape, generator=generator, requires_grad=True) for shape in SHAPES]
    clips = [clip + 0.2 * torch.randn(shape[0], generator=generator) for shape in SHAPES]
    return weights, [c.requires_grad_() for c in clips]


# one layer


@pytest.mark.parametrize("clip", [0.0, -0.7])
@pytest.mark.parametrize("top", TOPS.values())
def test_weights_go_to_the_nearest_multiple_of_their_step(top: int, clip: float) -> None:
    weights, clips = tensors(1, clip)
    for found, weight, ratio in zip(LearnedSteps.apply(top, 3, *weights, *clips), weights, clips, strict=True):
        assert found.shape == weight.shape
        for out, own, c in zip(found.tolist(), weight.detach().double().numpy(), ratio.tolist(), strict=True):
            step = np.abs(own).max() * math.exp(c) / top
            grid = step * np.arange(-top, top + 1)
            nearest = grid[np.abs(own[..., None] - grid).argmin(-1)]
            np.testing.assert_allclose(np.array(out), nearest, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("top", TOPS.values())
def test_gradients_are_the_papers(top: int) -> None:
    """Esser et al., equations 3 and 5 and section 2.2, by weights; a clip's is its step's over the step."""
    weights, clips = tensors(2, -0.5)
    results = LearnedSteps.apply(top, 3, *weights, *clips)
    upstream = [torch.randn_like(result) for result in results]
    torch.autograd.backward(results, upstream)
    for weight, clip, grad in zip(weights, clips, upstream, strict=True):
        assert weight.grad is not None
        assert clip.grad is not None
        for channel in range(len(weight)):
            own, there = weight[channel].flatten().tolist(), grad[channel].flatten().tolist()
            step = max(map(abs, own)) * math.exp(clip[channel].item()) / top
            of_step, of_weights = 0.0, []
            for w, g in zip(own, there, strict=True):
                v = w / step
                inside = -top < v < top
                of_step += g * (round(v) - v if inside else math.copysign(top, v))
                of_weights.append(g if inside else 0.0)
            torch.testing.assert_close(weight.grad[channel].flatten(), torch.tensor(of_weights))
            expected = of_step / math.sqrt(len(own) * top) / step
            assert clip.grad[channel].item() == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_beyond_the_grid_the_steps_gradient_is_the_slope() -> None:
    """Where every weight is clipped the result is smooth in the step, so finite differences know its gradient."""
    weight = torch.tensor([[2.0, -3.0, 2.5], [1.0, 1.5, -1.2]], dtype=torch.float64, requires_grad=True)
    clip = torch.tensor([-1.5, -2.0], dtype=torch.float64, requires_grad=True)
    upstream = torch.tensor([[0.3, -1.0, 2.0], [1.0, 0.5, 0.25]], dtype=torch.float64)

    def loss(c: Tensor) -> Tensor:
        (result,) = LearnedSteps.apply(1, 1, weight, c)
        return (result * upstream).sum()

    loss(clip).backward()
    assert clip.grad is not None
    steps = weight.detach().abs().amax(1) * clip.detach().exp()
    for channel in range(2):
        ahead, behind = clip.detach().clone(), clip.detach().clone()
        ahead[channel] += 1e-5
        behind[channel] -= 1e-5
        slope = ((loss(ahead) - loss(behind)) / 2e-5).item()
        assert clip.grad[channel].item() == pytest.approx(slope / (steps[channel].item() ** 2 * math.sqrt(3)), rel=1e-6)


def test_learning_the_step_lowers_the_error() -> None:
    """Descending the squared error of ternary weights reaches what a search over all steps finds, within 2 %."""
    weight = torch.randn(3, 64, generator=torch.Generator().manual_seed(3))
    clip = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([clip], lr=0.02)

    def errors(c: Tensor) -> Tensor:
        return (LearnedSteps.apply(1, 1, weight, c)[0] - weight).square().sum(1)

    for _ in range(200):
        optimizer.zero_grad()
        errors(clip).sum().backward()
        optimizer.step()
    tried = torch.stack([errors(torch.full((3,), c)) for c in torch.linspace(-2.5, 0, 300).tolist()])
    best = tried.min(0).values
    assert (errors(torch.zeros(3)) > 1.3 * best).all()
    assert (errors(clip.detach()) < 1.02 * best).all()


@pytest.mark.parametrize("top", TOPS.values())
def test_a_grid_over_all_weights_passes_every_gradient(top: int) -> None:
    weights, clips = tensors(4, 0.0)
    results = LearnedSteps.apply(top, 3, *weights, *(torch.zeros_like(clip) for clip in clips))
    upstream = [torch.randn_like(result) for result in results]
    torch.autograd.backward(results, upstream)
    for weight, grad in zip(weights, upstream, strict=True):
        assert torch.equal(weight.grad, grad)  # type: ignore[arg-type]


@pytest.mark.parametrize("top", TOPS.values())
def test_without_clips_grids_suit_gaussian_weights(top: int) -> None:
    weight = torch.randn(2, 20_000, generator=torch.Generator().manual_seed(5))

    def error(clip: Tensor) -> Tensor:
        return (LearnedSteps.apply(top, 1, weight, clip)[0] - weight).square().sum(1)

    usual = usual_clip(weight, top)
    if top == 127:
        assert not usual.any()  # the grid holds every weight
    else:
        best = torch.stack([error(torch.full((2,), c)) for c in torch.linspace(-2, 0, 120).tolist()]).min(0).values
        assert (error(usual) < 1.01 * best).all()
    assert (usual_clip(torch.zeros(2, 5), top) <= 0).all()
    assert not usual_clip(torch.ones(2, 5), top).any()  # never beyond the largest weight


def test_a_channel_of_zeros_stays_zero() -> None:
    weight = torch.zeros(2, 5, requires_grad=True)
    (found,) = LearnedSteps.apply(7, 1, weight, torch.zeros(2, requires_grad=True))
    found.sum().backward()
    assert not found.any()
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


# activations


def test_activations_lie_on_255_steps_over_their_range() -> None:
    x = torch.randn(4, 3, 5, 5, requires_grad=True)
    step = activation_step(x)
    assert step.item() == pytest.approx((x.max() - x.min()).item() / 255)
    out = fake_quant.Snap.apply(x, step)
    assert ((out / step).round() * step - out).abs().max() < 1e-6
    assert (out - x).abs().max() <= step / 2 + 1e-6
    out.backward(upstream := torch.randn_like(out))
    assert torch.equal(x.grad, upstream)  # type: ignore[arg-type]
    assert activation_step(x.abs() + 1).item() == pytest.approx((x.abs().max() + 1).item() / 255)  # from zero on
    assert activation_step(torch.tensor([-9.0, 5.0]), -3.0, 3.0).item() == pytest.approx(6 / 255)
    assert activation_step(torch.zeros(3)).item() > 0


@pytest.fixture
def steps_asked(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Tensors whose step was asked for."""
    asked: list[Tensor] = []

    def noted(x: Tensor, *limits: float) -> Tensor:
        asked.append(x)
        return activation_step(x, *limits)

    monkeypatch.setattr(fake_quant, "activation_step", noted)
    return asked


def test_a_tensor_is_quantized_once(steps_asked: list[Tensor]) -> None:
    """A block's input is read by its first convolution and by the addition; squeeze-and-excitation's, twice as well."""
    model = trained()
    with torch.no_grad(), fake_quantized(model, Fake(Policy("int8")), {}):
        model(batch(8, 1)[0])
    assert len({id(x) for x in steps_asked}) == len(steps_asked)
    seen: list[int] = []
    with torch.no_grad(), _Calls(seen):
        model(batch(8, 1)[0])
    assert len(seen) > len(steps_asked)


class _Calls(torch.overrides.TorchFunctionMode):
    """Counts inputs of computing functions."""

    def __init__(self, seen: list[int]) -> None:
        super().__init__()
        self.seen = seen

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func.__name__.rstrip("_") in COMPUTES:
            self.seen += [1 for a in args[:2] if isinstance(a, Tensor) and a.ndim > 1 and len(a) == 8]
        return func(*args, **(kwargs or {}))


# whole networks


@pytest.mark.parametrize("policy", ["int8", "w4a8", "int8,blocks.1=w4a8,blocks.2=fp32"])
def test_on_the_same_grids_it_is_the_quantized_network(monkeypatch: pytest.MonkeyPatch, policy: str) -> None:
    """With the ranges that ``nas.quantization.quantize`` chose, logits differ from the integer network's by a rounding
    here and there, far less than quantization changes them; by the first rules, which have a grid before a gate."""
    model, images = trained(), batch(64, 5)[0]
    clips = {
        path: torch.full((len(m.weight),), -0.1)
        for path, m in model.named_modules()
        if isinstance(m, nn.Conv2d | nn.Linear)
    }
    quantized = quantize(model, images, parse_policy(policy), clips, corrected_bits=0, rules=FIRST_RULES)
    known = {aten.hardsigmoid.default}  # results whose range is known
    grids = [quantized.activations.get(n.name) for n in quantized.graph.graph.nodes if n.target not in known]
    scales = iter({id(grid): grid.scale for grid in grids if grid is not None}.values())
    # tensors are read in the order in which they are computed
    monkeypatch.setattr(fake_quant, "activation_step", lambda x, *limits: torch.tensor(next(scales)))
    with torch.no_grad():
        real = model(images)
        with fake_quantized(model, Fake(parse_policy(policy)), clips):
            fake = model(images.clone())
        assert not list(scales)
        assert torch.equal(model(images), real)  # the model is as it was
    there = quantized(images)
    error, effect = (fake - there).square().mean().sqrt(), (real - there).square().mean().sqrt()
    assert error < 0.15 * effect


def subnets() -> list[Architecture]:
    return [TINY.smallest, TINY.decode(TINY.sample(np.random.default_rng(5), 1)[0]), TINY.largest]


@pytest.mark.parametrize("policy", ["int8", "w2a8", MIXED])
@pytest.mark.parametrize("index", range(3))
def test_a_subnet_quantizes_as_it_does_alone(index: int, policy: str) -> None:
    """On borrowed weights and clips: the same outputs as the extracted network's, and gradients in its slices alone."""
    net = Supernet(TINY, Interface(1, 4), seed=1, learned=("int8", "w2a8", "w4a8"))
    with torch.no_grad():
        for name, parameter in net.model.named_parameters():
            if is_clip(name):
                parameter.copy_(-0.3 * torch.rand_like(parameter))
    architecture, images, fake = subnets()[index], torch.randn(6, 1, 28, 28), Fake(parse_policy(policy))
    alone = net.extract(architecture).train()
    clips = net.clips(architecture, fake.policy)
    assert clips is not None
    clips = {path: clip.requires_grad_() for path, clip in clips.items()}
    with fake_quantized(alone, fake, clips):
        expected = alone(images)
    expected.square().sum().backward()
    net.train()
    found = net(images, architecture, fake=fake)
    assert torch.equal(found, expected)
    assert not torch.equal(found, net(images, architecture))
    found.square().sum().backward()
    own = dict(alone.named_parameters())
    for name, parameter in net.model.named_parameters():
        path, _, key = name.rpartition(".")
        if is_clip(name):
            mine = clips[path].grad if key == f"clip_{fake.policy.of(path)}" and path in clips else None
        else:
            mine = own[name].grad if name in own else None
        if mine is None:
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None, name
        inside = tuple(slice(s) for s in mine.shape[:2])
        sides = zip(parameter.shape[2:], mine.shape[2:], strict=True)
        inside += tuple(slice((b - s) // 2, (b + s) // 2) for b, s in sides)
        torch.testing.assert_close(parameter.grad[inside], mine, rtol=1e-4, atol=1e-5)
        outside = parameter.grad.clone()
        outside[inside] = 0
        assert not outside.any(), name


def test_every_stage_has_its_precision() -> None:
    """What convolutions read: so many weights a channel, and inputs on grids but inside the fp32 stage."""
    policy = parse_policy(MIXED)
    net = Supernet(TINY, Interface(1, 4), seed=1)
    model = net.extract(TINY.largest).eval()
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, args, out, path=path: seen.__setitem__(path, (args[0], m.weight)))

    class Read(torch.overrides.TorchFunctionMode):
        inputs: list[Tensor] = []  # noqa: RUF012

        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if func.__name__ == "conv2d":
                self.inputs.append(args[0])
            return func(*args, **(kwargs or {}))

    images = torch.randn(4, 1, 28, 28)
    with torch.no_grad(), Read() as read, fake_quantized(model, Fake(policy), {}):
        model(images)
    assert len(read.inputs) == len(seen)
    paths = list(seen)
    for path, x in zip(paths, read.inputs, strict=True):
        weight, precision = seen[path][1], policy.of(path)
        values = [len(row.unique()) for row in weight.flatten(1)]
        if precision == "fp32":
            assert torch.equal(weight, model.get_parameter(f"{path}.weight"))
        else:
            assert max(values) <= 2 ** WEIGHT_BITS[precision] - 1
        before = paths[paths.index(path) - 1] if path != paths[0] else path
        if precision != "fp32" or policy.of(before) != "fp32":
            assert len(x.unique()) <= 256, path
        elif path.endswith(("conv_dw", "conv_pwl")):
            assert len(x.unique()) > 256, path


def test_noise_is_on_a_share_of_the_weights() -> None:
    weights = {"a": torch.randn(40, 50), "b": torch.randn(30, 20, 3, 3), "c": torch.randn(8, 8)}
    policy = make_policy("w4a8", {"c": "fp32"})
    whole = quantized_weights(weights, policy.of, {})
    assert whole.keys() == {"a", "b"}

    def drawn(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return quantized_weights(weights, policy.of, {}, noise=0.3)

    for name, noisy in drawn(1).items():
        kept, moved = noisy == weights[name], noisy == whole[name]
        assert (kept | moved).all()
        assert (~kept).float().mean().item() == pytest.approx(0.3, abs=0.04)
        assert torch.equal(noisy, drawn(1)[name])
        assert not torch.equal(noisy, drawn(2)[name])


def test_noise_leaves_activations_alone(steps_asked: list[Tensor]) -> None:
    model = trained()
    with torch.no_grad(), fake_quantized(model, Fake(Policy("int8"), noise=1.0), {}):
        model(torch.randn(4, 1, SIDE, SIDE))
    assert not steps_asked


# the supernet's clips


def test_clips_are_sliced_like_the_weights_and_follow_the_policy() -> None:
    net = Supernet(TINY, Interface(1, 4), learned=("int8", "w4a8"))
    with torch.no_grad():
        for i, (name, parameter) in enumerate(net.model.named_parameters()):
            if is_clip(name):
                parameter.copy_(i + torch.arange(len(parameter)) / 1000)
    policy = parse_policy(MIXED)
    found = net.clips(TINY.smallest, policy)
    assert found is not None
    layers = {p: m for p, m in net.extract(TINY.smallest).named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    # neither fp32 nor 2-bit weights were learned
    assert found.keys() == {path for path in layers if policy.of(path) in ("int8", "w4a8")}
    for path, clip in found.items():
        whole = net.model.get_parameter(f"{path}.clip_{policy.of(path)}")
        assert torch.equal(clip, whole[: len(layers[path].weight)])
    assert net.clips(TINY.smallest, Policy("w2a8")) is None
    assert Supernet(TINY, Interface(1, 4)).clips(TINY.smallest, policy) is None
    assert not any(is_clip(name) for name in net.extract(TINY.largest).state_dict())


def test_clips_are_optional_in_a_file_and_in_a_run(tmp_path: Path) -> None:
    plain, learned = Supernet(TINY, Interface(1, 4), seed=1), Supernet(TINY, Interface(1, 4), seed=2, learned=("int8",))
    with torch.no_grad():
        for name, parameter in learned.model.named_parameters():
            if is_clip(name):
                parameter.fill_(-0.25)
    files = {"plain": plain, "learned": learned}
    for name, net in files.items():
        save_tensors(tmp_path / f"{name}.safetensors", net.model.state_dict(), {})
    for source, filled in (("plain", 0.0), ("learned", -0.25)):
        net = Supernet(TINY, Interface(1, 4), seed=3, learned=("int8", "w4a8"))
        load_weights(net, tmp_path / f"{source}.safetensors")
        for name, tensor in net.model.state_dict().items():
            if is_clip(name):
                assert (tensor == (filled if name.endswith("int8") else 0.0)).all()
            else:
                assert torch.equal(tensor, files[source].model.state_dict()[name])
    net = Supernet(TINY, Interface(1, 4), seed=3)
    load_weights(net, tmp_path / "learned.safetensors")
    assert net.model.state_dict().keys() == plain.model.state_dict().keys()
