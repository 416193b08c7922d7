"""Losses against closed forms: the divergences' values and the gradients that the papers give."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.supernet.supernet import Supernet
from nas.tasks.losses import RATIO_LIMIT, Loss, alpha_loss, soft_loss, teacher_loss
from nas.tasks.task import get_task
from nas.training.step import StepInput, run_passes
from nas.training.strategies.base import Pass
from search_spaces import SearchSpace, get_space
from search_spaces.architecture import Interface
from search_spaces.builders.timm_model import TimmFamily
from tests.support.long_forms import long_form

TINY = get_space("mbv3-tiny")
CLASSES = 5


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def logits_of(probabilities: list[list[float]]) -> Tensor:
    """Logits (shifted by anything) of the probabilities."""
    return torch.tensor(probabilities, dtype=torch.float64).log() + 0.7


def gradient(loss: object, logits: Tensor, *rest: object) -> Tensor:
    leaf = logits.clone().requires_grad_(True)
    loss(leaf, *rest).backward()  # type: ignore[operator]
    assert leaf.grad is not None
    return leaf.grad


def divergence(logits: Tensor, teacher: Tensor, alpha: float) -> Tensor:
    """The textbook's alpha-divergence of each image, differentiable as it stands."""
    p, q = teacher.softmax(1), logits.softmax(1)
    return ((p**alpha * q ** (1 - alpha)).sum(1) - 1) / (alpha * (alpha - 1))


def kl(logits: Tensor, teacher: Tensor) -> Tensor:
    p = teacher.softmax(1)
    return (p * (p / logits.softmax(1)).log()).sum(1)


# Labels


def test_label_smoothing_of_numbers_and_of_probabilities() -> None:
    logits, labels = torch.randn(6, CLASSES), torch.tensor([0, 1, 2, 3, 4, 0])
    mixed = torch.rand(6, CLASSES).softmax(1)
    for given, target in ((labels, F.one_hot(labels, CLASSES).float()), (mixed, mixed)):
        smooth = 0.8 * target + 0.2 / CLASSES
        expected = -(smooth * logits.log_softmax(1)).sum(1).mean()
        found = get_task().loss(logits, given, None, Loss(smoothing=0.2))
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)


# In-place distillation


def test_soft_loss_is_cross_entropy_and_leaves_the_teacher_alone() -> None:
    logits, teacher = torch.randn(6, 4), torch.randn(6, 4, requires_grad=True)
    expected = -(teacher.softmax(1) * logits.log_softmax(1)).sum(1).mean()
    assert soft_loss(logits, teacher).item() == pytest.approx(expected.item(), rel=1e-5)
    soft_loss(logits.requires_grad_(True), teacher).backward()
    assert teacher.grad is None


def test_alpha_one_is_kullback_leibler() -> None:
    logits, teacher = torch.randn(8, CLASSES).double(), torch.randn(8, CLASSES).double()
    exact = alpha_loss(logits, teacher, (1.0, 1.0))
    assert exact.item() == pytest.approx(kl(logits, teacher).mean().item(), rel=1e-9)
    near = [alpha_loss(logits, teacher, (alpha, alpha), math.inf).item() for alpha in (0.99, 0.999, 0.9999)]
    distance = [abs(value - exact.item()) for value in near]
    assert distance[0] > distance[1] > distance[2]
    assert distance[2] < 1e-4
    torch.testing.assert_close(
        gradient(alpha_loss, logits, teacher, (1.0, 1.0)), gradient(soft_loss, logits, teacher), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("alpha", [-1.0, -0.5, 0.5, 2.0])
def test_unlimited_value_and_gradient_are_the_divergences_own(alpha: float) -> None:
    """The estimator with constant weights is the true gradient where every class is summed over."""
    logits, teacher = torch.randn(8, CLASSES).double(), torch.randn(8, CLASSES).double()
    loss = alpha_loss(logits, teacher, (alpha, alpha), math.inf)
    assert loss.item() == pytest.approx(divergence(logits, teacher, alpha).mean().item(), rel=1e-9)
    expected = gradient(lambda x: divergence(x, teacher, alpha).mean(), logits)
    torch.testing.assert_close(gradient(alpha_loss, logits, teacher, (alpha, alpha), math.inf), expected)


def test_the_larger_divergence_is_taken_for_each_image() -> None:
    """The first student doubts where its teacher is sure, the second is too sure."""
    logits, teacher = logits_of([[0.5, 0.5], [0.98, 0.02]]), logits_of([[0.8, 0.2], [0.9, 0.1]])
    low, high = divergence(logits, teacher, -1.0), kl(logits, teacher)
    assert low[0] > high[0]
    assert low[1] < high[1]
    expected = lambda x: (divergence(x, teacher, -1.0)[0] + kl(x, teacher)[1]) / 2  # noqa: E731
    assert alpha_loss(logits, teacher).item() == pytest.approx(expected(logits).item(), rel=1e-9)
    torch.testing.assert_close(gradient(alpha_loss, logits, teacher), gradient(expected, logits))


def test_no_gradient_where_the_student_is_the_teacher() -> None:
    logits = torch.randn(4, CLASSES).double() * 3
    for alphas in ((-1.0, 1.0), (-1.0, -1.0), (1.0, 1.0)):
        assert alpha_loss(logits, logits, alphas).item() == pytest.approx(0, abs=1e-12)
        assert gradient(alpha_loss, logits, logits, alphas).abs().max() < 1e-12


def test_the_limit_bounds_value_and_weight() -> None:
    """Class 1: q / p = 90, counted as 5. By hand: D = (q0 r0 + 5 q1 - 1) / 2, weights r0 and 5 on grad log q."""
    p, q = [0.99, 0.01], [0.1, 0.9]
    logits, teacher = logits_of([q]), logits_of([p])
    r0 = q[0] / p[0]
    value = (q[0] * r0 + 5 * q[1] - 1) / 2
    assert alpha_loss(logits, teacher, (-1.0, -1.0)).item() == pytest.approx(value, rel=1e-9)
    # grad of log q_c by logit j is [c == j] - q_j
    weights = [q[0] * r0, q[1] * RATIO_LIMIT]
    expected = [weights[0] * (1 - q[0]) - weights[1] * q[0], weights[1] * (1 - q[1]) - weights[0] * q[1]]
    found = gradient(alpha_loss, logits, teacher, (-1.0, -1.0))
    assert found[0].tolist() == pytest.approx(expected, rel=1e-9)
    unlimited = gradient(alpha_loss, logits, teacher, (-1.0, -1.0), math.inf)
    assert unlimited.abs().max() > 10 * found.abs().max()


def test_alpha_loss_is_finite_where_the_student_is_utterly_wrong() -> None:
    logits, teacher = torch.tensor([[300.0, -300.0]]), torch.tensor([[-300.0, 300.0]], requires_grad=True)
    assert math.isfinite(alpha_loss(logits, teacher).item())
    assert gradient(alpha_loss, logits, teacher).isfinite().all()
    alpha_loss(logits.requires_grad_(True), teacher).backward()
    assert teacher.grad is None


# A fixed teacher


def test_fixed_teacher_in_closed_form() -> None:
    logits, labels = torch.randn(6, CLASSES), torch.tensor([0, 1, 2, 3, 4, 0])
    teacher = torch.randn(6, CLASSES).softmax(1)
    t = 2.5
    soft = -t * t * (teacher * (logits / t).log_softmax(1)).sum(1).mean()
    assert teacher_loss(logits, teacher, t).item() == pytest.approx(soft.item(), rel=1e-5)
    loss = Loss(0.1, teacher_weight=0.3, temperature=t)
    own = F.cross_entropy(logits, labels, label_smoothing=0.1)
    expected = 0.7 * own + 0.3 * soft
    assert get_task().loss(logits, labels, teacher, loss).item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.equal(
        get_task().loss(logits, labels, None, loss), F.cross_entropy(logits, labels, label_smoothing=0.1)
    )


def test_who_learns_from_what() -> None:
    """A step by hand: the fixed teacher is in the passes that learn from labels, the students' loss is alpha's."""
    net = Supernet(TINY, Interface(1, 3), seed=2)
    images, labels, teacher = torch.randn(4, 1, 28, 28), torch.tensor([0, 1, 2, 0]), torch.rand(4, 3).softmax(1)
    passes = (
        Pass(TINY.largest, "teacher", part=(1, 2)),
        Pass(TINY.largest, "student", 0.5, part=(1, 2)),
        Pass(TINY.largest, "label"),
    )
    found = run_passes(net, passes, StepInput(images, labels, teacher), get_task(), Loss(0.1, "alpha", 0.25, 2.0))
    half, whole = (Supernet(TINY, Interface(1, 3), seed=2).train()(x, TINY.largest) for x in (images[2:], images))
    expected = [
        0.75 * F.cross_entropy(half, labels[2:], label_smoothing=0.1) + 0.25 * teacher_loss(half, teacher[2:], 2.0),
        torch.tensor(0.0),  # the student is the teacher
        0.75 * F.cross_entropy(whole, labels, label_smoothing=0.1) + 0.25 * teacher_loss(whole, teacher, 2.0),
    ]
    assert found == pytest.approx([e.item() for e in expected], rel=1e-5, abs=1e-6)


# Regularisation of the largest


def standalone(space: SearchSpace, net: Supernet, drop: tuple[float, float]) -> torch.nn.Module:
    """timm's own model of the largest architecture with the supernet's weights."""
    family, interface = space.family, net.interface
    assert isinstance(family, TimmFamily)
    spec = family.spec(space.largest, interface)
    options = {**spec.options, "drop_rate": drop[0], "drop_path_rate": drop[1]}
    model = replace(spec, options=options).build()
    model.load_state_dict(net.model.state_dict())
    return model.train()


@pytest.mark.parametrize(
    "name",
    long_form(
        ["mbv3-tiny", "timm:vit_tiny_patch16_224:resolution=32,64"],
        ["timm:resnet10t:resolution=32,64", "timm:convnext_atto:resolution=32,64"],
    ),
)
def test_dropping_is_timms_own(name: str) -> None:
    """Outputs and gradients of the largest subnet are those of timm's model with the same rates and randomness."""
    space = get_space(name)
    net = Supernet(space, Interface(1, 3), seed=1).train()
    model, drop = standalone(space, net, (0.4, 0.3)), (0.4, 0.3)
    images = torch.randn(8, 1, space.largest.resolution, space.largest.resolution)
    torch.manual_seed(5)
    expected = model(images)
    torch.manual_seed(5)
    found = net(images, space.largest, drop)
    assert torch.equal(found, expected)
    torch.manual_seed(6)
    assert not torch.equal(net(images, space.largest, drop), expected)
    for out in (expected, found):
        out.square().mean().backward()
    for parameter, own in zip(net.model.parameters(), model.parameters(), strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, own.grad, rtol=1e-4, atol=1e-6)
    net.eval()
    torch.testing.assert_close(net(images, space.largest, drop), net(images, space.largest), rtol=0, atol=0)


def test_dropout_keeps_the_expectation() -> None:
    """Dropout is before a linear layer, so its mean over masks is the output without; so is the variance, in closed
    form: p / (1 - p) * sum of (weight * feature)^2."""
    net = Supernet(TINY, Interface(1, 3), seed=3).train()
    images, p, n = torch.randn(2, 1, 28, 28), 0.25, 400
    with torch.no_grad():
        plain = net(images, TINY.largest)
        draws = torch.stack([net(images, TINY.largest, (p, 0.0)) for _ in range(n)])
        model = standalone(TINY, net, (0.0, 0.0))
        features = model.forward_head(model.forward_features(images), pre_logits=True)
        weight = model.get_classifier().weight
    variance = p / (1 - p) * (features.square() @ weight.square().T)
    assert ((draws.mean(0) - plain).abs() < 5 * (variance / n).sqrt()).all()
    torch.testing.assert_close(draws.var(0), variance, rtol=0.5, atol=0)


def test_only_the_largest_is_dropped() -> None:
    images, labels = torch.randn(8, 1, 28, 28), torch.arange(8) % 3

    def step(architecture: object, drop: tuple[float, float]) -> dict[str, Tensor]:
        net = Supernet(TINY, Interface(1, 3), seed=4)
        torch.manual_seed(9)
        run_passes(net, (Pass(architecture),), StepInput(images, labels), get_task(), Loss(0.1, drop=drop))  # type: ignore[arg-type]
        return {name: p.grad for name, p in net.model.named_parameters() if p.grad is not None}

    for architecture, same in ((TINY.largest, False), (TINY.smallest, True)):
        off, on = step(architecture, (0.0, 0.0)), step(architecture, (0.3, 0.2))
        assert off.keys() == on.keys()
        assert all(torch.equal(off[name], on[name]) for name in off) == same
