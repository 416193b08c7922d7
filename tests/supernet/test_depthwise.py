"""The faster weight gradient of depthwise convolutions against torch's own and against its definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nas.supernet import depthwise
from nas.supernet.depthwise import FastDepthwise, speed_up, weight_gradient
from nas.supernet.supernet import Supernet
from search_spaces import get_space
from search_spaces.architecture import Interface


def _layer(channels: int, kernel: int, stride: int, bias: bool, padding: int | None = None) -> nn.Conv2d:
    around = kernel // 2 if padding is None else padding
    return nn.Conv2d(channels, channels, kernel, stride, around, groups=channels, bias=bias)


def _gradients(layer: nn.Conv2d, x: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
    x = x.detach().requires_grad_()
    out = layer(x)
    return out.detach(), *torch.autograd.grad(out, [x, *layer.parameters()], grad)


@pytest.mark.parametrize("side", [4, 9, 20], ids=lambda s: f"side{s}")  # below and above the bound of one call
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(5, 1, 2), (7, 1, 3), (5, 2, 2), (7, 2, 3), (5, 3, 1)])
@pytest.mark.parametrize("bias", [False, True])
def test_gradients_are_torchs(side: int, kernel: int, stride: int, padding: int, bias: bool) -> None:
    torch.manual_seed(0)
    plain = _layer(24, kernel, stride, bias, padding)
    x = torch.randn(3, 24, side, side).contiguous(memory_format=torch.channels_last)
    grad = torch.randn_like(plain(x))
    fast = _layer(24, kernel, stride, bias, padding)
    fast.load_state_dict(plain.state_dict())
    fast = FastDepthwise.sharing(fast)
    output, *gradients = _gradients(fast, x, grad)
    wanted_output, *wanted = _gradients(plain, x, grad)
    assert torch.equal(output, wanted_output)
    for found, expected in zip(gradients, wanted, strict=True):
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("side", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (5, 1, 2), (5, 2, 2), (7, 1, 3)])
@pytest.mark.parametrize("bias", [False, True])
def test_gradients_of_tiny_maps_are_torchs(
    monkeypatch: pytest.MonkeyPatch, side: int, kernel: int, stride: int, padding: int, bias: bool
) -> None:
    taken = []
    real = weight_gradient
    monkeypatch.setattr(depthwise, "weight_gradient", lambda *args: taken.append(1) or real(*args))
    monkeypatch.setattr(depthwise, "MANY_PAIRS", 3 * 24)
    torch.manual_seed(0)
    plain = _layer(24, kernel, stride, bias, padding)
    x = torch.randn(3, 24, side, side).contiguous(memory_format=torch.channels_last)
    output, *gradients = _gradients(FastDepthwise.sharing(plain), x, torch.ones_like(plain(x)))
    wanted_output, *wanted = _gradients(plain, x, torch.ones_like(output))
    assert len(taken) == (side < kernel)
    assert torch.allclose(output, wanted_output, rtol=1e-6, atol=1e-7)
    for found, expected in zip(gradients, wanted, strict=True):
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("kernel", [(5, 7), (7, 5)])
@pytest.mark.parametrize(
    ("side", "stride", "padding"),
    [(5, (2, 3), (2, 3)), (6, (1, 2), (1, 3)), (12, (1, 1), (2, 0)), (21, (2, 1), (0, 2))],
)
def test_gradient_is_its_definition(
    monkeypatch: pytest.MonkeyPatch, kernel: tuple[int, int], side: int, stride: tuple[int, int],
    padding: tuple[int, int],
) -> None:  # fmt: skip
    monkeypatch.setattr(depthwise, "MANY_PAIRS", 1)
    torch.manual_seed(1)
    x = torch.randn(2, 3, side, side + 1, dtype=torch.float64)
    a = (side + 2 * padding[0] - kernel[0]) // stride[0] + 1
    b = (side + 1 + 2 * padding[1] - kernel[1]) // stride[1] + 1
    grad = torch.randn(2, 3, a, b, dtype=torch.float64)
    padded = nn.functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    wanted = torch.zeros(3, 1, *kernel, dtype=torch.float64)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            rows = slice(i, i + stride[0] * (a - 1) + 1, stride[0])
            columns = slice(j, j + stride[1] * (b - 1) + 1, stride[1])
            wanted[:, 0, i, j] = (padded[:, :, rows, columns] * grad).sum((0, 2, 3))
    assert torch.allclose(weight_gradient(x, grad, kernel, stride, padding), wanted, rtol=1e-12, atol=1e-12)


def test_a_whole_step_is_the_plain_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is taken: with the faster gradient switched off, the supernet's step gives the same gradients."""
    space = get_space("mbv3-tiny")
    taken = []
    real = weight_gradient
    monkeypatch.setattr(depthwise, "weight_gradient", lambda *args: taken.append(args[2]) or real(*args))
    x = torch.randn(4, 1, 28, 28).contiguous(memory_format=torch.channels_last)
    found = []
    for here in (True, False):
        monkeypatch.setattr(depthwise, "FASTER_HERE", here)
        net = Supernet(space, Interface(1, 10), seed=3).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        net(x, space.largest).square().mean().backward()
        found.append({name: p.grad for name, p in net.model.named_parameters() if p.grad is not None})
        if here:
            kernels = [m.kernel_size for m in net.model.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
            assert sorted(taken) == sorted(k for k in kernels if k[0] >= 5) != []
    fast, plain = found
    assert fast.keys() == plain.keys()
    for name, grad in plain.items():
        assert (fast[name] - grad).abs().max() <= 1e-4 * grad.abs().max(), name


def test_only_what_gains_is_changed() -> None:
    model = nn.Sequential(
        _layer(8, 5, 1, True), _layer(8, 3, 1, True), _layer(8, 1, 1, True), nn.Conv2d(8, 8, 5, padding=2),
        nn.Conv2d(8, 8, 5, padding="same", groups=8), nn.Conv2d(8, 8, 5, padding=4, dilation=2, groups=8),
    )  # fmt: skip
    speed_up(model)
    here = depthwise.FASTER_HERE
    assert [type(m) is FastDepthwise for m in model] == [here, here, False, False, False, False]


def test_other_tensors_take_torchs_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object) -> None:
        raise AssertionError("the faster gradient was taken")

    monkeypatch.setattr(depthwise, "weight_gradient", fail)
    layer = _layer(8, 5, 1, False)
    layer = FastDepthwise.sharing(layer)
    rows = torch.randn(2, 8, 10, 10)
    layer(rows).sum().backward()
    last = rows.contiguous(memory_format=torch.channels_last)
    _gradients(FastDepthwise.sharing(_layer(8, 3, 1, False)), last, torch.ones_like(last))
    layer(torch.randn(2, 8, 3, 6).contiguous(memory_format=torch.channels_last)).sum().backward()
    with torch.autocast("cpu", torch.bfloat16):
        layer(last).sum().backward()
    with pytest.raises(AssertionError, match="was taken"):
        layer(last).sum().backward()
