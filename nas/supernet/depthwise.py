"""A faster weight gradient of depthwise convolutions on CPUs.

For kernels above 3, torch (oneDNN) computes that gradient at a tenth of the forward pass's rate, which makes it more
than half of a training step of Once-for-All's largest network; where maps are smaller than the kernel it is slower
still, whatever the kernel: at 2 x 2 positions it takes 20 to 60 times as long as the forward pass. But with stride s,
padding p, images x and output gradient g it is

    dw[c, i, j] = sum over n, a, b of x[n, c, s a + i - p, s b + j - p] * g[n, c, a, b].

Three ways to run it. Where g has few positions: this sum, one (i, j) after the other. Else it is itself a depthwise
convolution, image x[n, c] convolved with g[n, c] as its kernel, dilation s in place of stride s, summed over images,
and the forward pass of such a convolution is fast: image by image, or, where maps are so small that the calls would
cost more than the work, all at once with (image, channel) pairs as channels, which needs a transposed copy.
``benchmarks/training/speed.py`` measures them.
"""

from __future__ import annotations

import platform
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.overrides import handle_torch_function, has_torch_function

Pair = tuple[int, int]

LARGE_KERNEL = 5
"""Side from which a kernel gains on maps of every size; of 3 x 3 kernels torch's own gradient is three times as fast
where the map is no smaller than the kernel."""
ONE_SUM = 9
"""Output positions up to which the definition is summed up as it stands."""
ONE_CALL = 64
"""Output positions up to which all images go into one call."""
TINY_MAP = 4
"""Side of the images below which torch's own gradient takes a microsecond for each pair of an image and a channel."""
MANY_PAIRS = 4096
"""Such pairs from which the sum is used: with fewer there are milliseconds to gain, and earlier runs keep their
rounding."""

FASTER_HERE = platform.machine().lower() in ("x86_64", "amd64") and torch.backends.mkldnn.is_available()
"""Whether this is the kind of machine on which it was measured to be faster: x86-64 with oneDNN."""


def weight_gradient(x: Tensor, grad: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
    """Gradient ``[c, 1, *kernel]`` of a depthwise convolution's weight; equals torch's but for rounding.

    Args:
        x: images ``[n, c, h, w]``, channels last in memory.
        grad: of the output, ``[n, c, a, b]``, channels last in memory.
    """
    images, channels, height, width = x.shape
    a, b = grad.shape[2:]
    pairs = images * channels
    if a * b <= ONE_SUM and pairs >= MANY_PAIRS:
        return _summed(x, grad, kernel, stride, padding)
    if a * b <= ONE_CALL:
        # channels last with the images among the channels: memory in the order h, w, n, c
        maps = x.permute(2, 3, 0, 1).reshape(height, width, pairs).permute(2, 0, 1)[None]
        kernels = grad.permute(2, 3, 0, 1).reshape(a, b, pairs).permute(2, 0, 1)[:, None]
        each = _correlate(maps, kernels, kernel, stride, padding)
        return each.view(images, channels, 1, *kernel).sum(0)
    total = x.new_zeros(channels, *kernel)
    for i in range(images):
        total += _correlate(x[i : i + 1], grad[i][:, None], kernel, stride, padding)[0]
    return total[:, None]


def _summed(x: Tensor, grad: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
    """The gradient by its definition; places of the kernel that lie beside the map at all positions get 0."""
    maps, grads = x.permute(0, 2, 3, 1), grad.permute(0, 2, 3, 1)  # as they lie in memory
    total = x.new_zeros(*kernel, x.shape[1])
    for i in range(kernel[0]):
        rows, below = _overlap(i, x.shape[2], grad.shape[2], stride[0], padding[0])
        for j in range(kernel[1]):
            columns, beside = _overlap(j, x.shape[3], grad.shape[3], stride[1], padding[1])
            products = maps[:, rows, columns] * grads[:, below, beside]
            torch.sum(products.flatten(0, 2), 0, out=total[i, j])
    return total.permute(2, 0, 1)[:, None].contiguous()


def _overlap(place: int, side: int, positions: int, stride: int, padding: int) -> tuple[slice, slice]:
    """Along one dimension: what of a map of so many pixels a place of the kernel sees, and at which positions."""
    first = max(0, -(-(padding - place) // stride))
    last = max(first, min(positions, (side - 1 + padding - place) // stride + 1))
    begin = stride * first + place - padding
    return slice(begin, begin + stride * (last - first), stride), slice(first, last)


def _correlate(maps: Tensor, kernels: Tensor, size: Pair, dilation: Pair, padding: Pair) -> Tensor:
    """``[1, channels, *size]``; what strides left over at the lower and right border is cut off."""
    whole = F.conv2d(maps, kernels, None, 1, padding, dilation, len(kernels))
    return whole[..., : size[0], : size[1]]


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution with :func:`weight_gradient`; everything else is torch's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        if x.shape[2:] == (1, 1) and padding == (weight.shape[2] // 2, weight.shape[3] // 2):
            centre = weight[:, 0, padding[0], padding[1], None, None]  # the one place that sees the map
            return x * centre if bias is None else torch.addcmul(bias[:, None, None], x, centre)
        return F.conv2d(x, weight, bias, stride, padding, 1, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        images, _, biases = ctx.needs_input_grad[:3]
        x_grad, _, bias_grad = torch.ops.aten.convolution_backward(
            grad, x, weight, [len(weight)] if biases else None, ctx.stride, ctx.padding, (1, 1), False, (0, 0),
            len(weight), (images, False, biases),
        )  # fmt: skip
        side = (weight.shape[2], weight.shape[3])
        w_grad = weight_gradient(x, grad, side, ctx.stride, ctx.padding) if ctx.needs_input_grad[1] else None
        return x_grad, w_grad, bias_grad, None, None


class FastDepthwise(nn.Conv2d):
    """A depthwise ``nn.Conv2d`` that trains faster; see :func:`speed_up`."""

    @staticmethod
    def sharing(conv: nn.Conv2d) -> FastDepthwise:
        """One with the parameters of an ordinary depthwise convolution."""
        assert not isinstance(conv.padding, str)
        kernel, stride, padding = _pair(conv.kernel_size), _pair(conv.stride), _pair(conv.padding)
        channels, bias = len(conv.weight), conv.bias is not None
        fast = FastDepthwise(channels, channels, kernel, stride, padding, groups=channels, bias=bias, device="meta")
        fast.weight, fast.bias = conv.weight, conv.bias
        return fast.train(conv.training)

    def forward(self, x: Tensor) -> Tensor:
        """Output ``[n, channels, a, b]`` for images ``[n, channels, h, w]``, exactly ``nn.Conv2d``'s."""
        if not _gains(x, self.weight):
            return super().forward(x)
        return depthwise_conv2d(x, self.weight, self.bias, self.stride, self.padding)


def _pair(sides: tuple[int, ...]) -> Pair:
    return sides[0], sides[1]


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any) -> Tensor:
    """``F.conv2d`` with as many groups as channels, and :func:`weight_gradient`; function modes see it as one call."""
    if has_torch_function((x, weight)):
        out: Tensor = handle_torch_function(depthwise_conv2d, (x, weight), x, weight, bias, stride, padding)
        return out
    return _Depthwise.apply(x, weight, bias, stride, padding)  # type: ignore[no-untyped-call, no-any-return]


def _gains(x: Tensor, weight: Tensor) -> bool:
    kernel = min(weight.shape[2:])
    if min(x.shape[2:]) < min(TINY_MAP, kernel):
        enough = x.shape[0] * x.shape[1] >= MANY_PAIRS
    else:
        enough = kernel >= LARGE_KERNEL
    return (
        enough
        and weight.requires_grad
        and torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def speed_up(model: nn.Module) -> None:
    """Let the depthwise convolutions of a model train with the faster gradient where it is one.

    The model keeps its names and tensors; its output does not change.
    """
    if not FASTER_HERE:
        return
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Conv2d and _suits(child):
                parent.register_module(name, FastDepthwise.sharing(child))


def _suits(conv: nn.Conv2d) -> bool:
    return (
        conv.groups == conv.in_channels == conv.out_channels > 1
        and min(conv.kernel_size) > 1
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
    )
