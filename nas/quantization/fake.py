"""Fake quantization: a network computes in floats that lie on the grids of its quantized form.

Weights lie on a grid per output channel whose step is learned (LSQ: Esser et al., arXiv:1902.08153), activations on one
of 255 steps over the range of the batch, which so follows the subnet and its precision. Rounding passes gradients
straight through. Quantized is what the operators that compute read, which are the places of the grids in
``nas.quantization.quantize``: a convolution's result after batch norm and ReLU, not before, and the output not at all.
Batch norm needs no folding here: it scales whole output channels, and symmetric grids per channel scale with them.

The cheap alternative is noise: a random share of the weights is quantized, activations are not (Stock et al.,
arXiv:2004.07320).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from search_spaces.policy import FLOAT, WEIGHT_BITS, Policy

from .grids import STEPS, WEIGHT_MAX
from .operators import GATE_STEP, OPERATORS

_SMALLEST_SPREAD = 1e-6  # a constant tensor has a grid too
_SMALLEST_WEIGHT = 1e-12  # and so has a channel of zeros
_GAUSSIAN = {7: 3.09, 1: 1.54}  # 15 and 3 levels; of a standard deviation: 2.47 and 1.23
_LEAST_RATIO = 0.01
_ROUNDING = 1e-6  # of float32: a grid that ends at the largest weight holds it

COMPUTES = {name for name, operator in OPERATORS.items() if operator.computes}
"""Names of the functions whose inputs lie on grids. The others move or pick values, or vanish (batch norm, ReLU)."""


@dataclass(frozen=True)
class Fake:
    """How a pass is quantized. ``noise``: share of the weights that are, at random, activations not being; 0:
    everything is."""

    policy: Policy
    noise: float = 0.0


def usual_clip(weight: Tensor, top: int) -> Tensor:
    """Clips ``[out]`` of weights ``[out, ...]`` that nothing was learned for: 0 at 8 bits, and below that grids end at
    the multiple of the mean magnitude where Gaussian weights have the least squared error, or at the largest weight."""
    sizes = weight.detach().flatten(1).abs()
    if top not in _GAUSSIAN:
        return sizes.new_zeros(len(sizes))
    return (sizes.mean(1) * _GAUSSIAN[top] / sizes.amax(1).clamp_min_(_SMALLEST_WEIGHT)).clamp_(_LEAST_RATIO, 1.0).log()


def activation_step(x: Tensor, lowest: float = -math.inf, highest: float = math.inf) -> Tensor:
    """Step of the int8 grid that covers zero and the values of ``x`` within the two limits; a scalar.

    The grid covers the whole range, so that rounding alone puts values onto it.
    """
    x = x.detach()
    low, high = x.amin().clamp(lowest, 0.0), x.amax().clamp(0.0, highest)
    return (high - low).clamp_min_(_SMALLEST_SPREAD).div_(STEPS)


class Snap(torch.autograd.Function):
    """Values to the nearest multiples of a step; the gradient passes as it is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor | float) -> Tensor:
        return x.div(step).round_().mul_(step)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class LearnedSteps(torch.autograd.Function):
    """Weights of several layers at once, each ``[out, ...]``, on grids of step ``max|w_channel| * exp(clip) / top``.

    Equation 3 of the paper gives the gradient of a step: of a weight ``w = v * step`` it is ``round(v) - v`` inside the
    grid and ``-top`` or ``top`` beyond, times ``1 / sqrt(weights of the step * top)``. A clip is the step's logarithm,
    and its gradient is that one divided by the step: a descent then moves steps as it would if they were the
    parameters, to first order. The largest weight counts as a constant.

    Arguments are ``top``, the number of layers, their weights, and as many clips ``[out]``.
    """

    @staticmethod
    def forward(ctx: Any, top: int, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        weights, clips = tensors[:count], tensors[count:]
        shapes = [weight.shape for weight in weights]
        ratio = _flat(weights)
        parts = _by_channel(ratio, shapes)
        peaks = torch.cat([part.abs().amax(1) for part in parts])
        steps = peaks.clamp_min_(_SMALLEST_WEIGHT).mul_(torch.cat(clips).exp_()).div_(top)
        each = steps[:, None].split([len(part) for part in parts])
        for part, step in zip(parts, each, strict=True):
            part.div_(step)
        integers = ratio.round().clamp_(-top, top)
        result = integers.clone()
        for part, step in zip(_by_channel(result, shapes), each, strict=True):
            part.mul_(step)
        ctx.save_for_backward(ratio, integers, steps)
        ctx.top, ctx.shapes = top, shapes
        return _shaped(result, shapes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        ratio, integers, steps = ctx.saved_tensors
        grad = _flat(grads)
        inside = grad * (ratio.abs() <= ctx.top * (1 + _ROUNDING))
        of_steps = (grad * integers).addcmul_(inside, ratio, value=-1)
        parts = _by_channel(of_steps, ctx.shapes)
        sums = torch.cat([part.sum(1) / math.sqrt(part.shape[1] * ctx.top) for part in parts])
        return None, None, *_shaped(inside, ctx.shapes), *sums.div_(steps).split([len(part) for part in parts])


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _shaped(flat: Tensor, shapes: Sequence[torch.Size]) -> tuple[Tensor, ...]:
    parts = flat.split([shape.numel() for shape in shapes])
    return tuple(part.view(shape) for part, shape in zip(parts, shapes, strict=True))


def _by_channel(flat: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    """Views ``[out, the rest]`` of each layer's part."""
    return [part.view(len(part), -1) for part in _shaped(flat, shapes)]


def quantized_weights(
    weights: Mapping[str, Tensor], precision_of: Callable[[str], str], clips: Mapping[str, Tensor], noise: float = 0.0
) -> dict[str, Tensor]:
    """The weights of layers by path on their grids; those in fp32 are left out.

    Args:
        weights: of convolutions and linear layers, ``[out, ...]``.
        precision_of: path -> precision.
        clips: path -> logarithms of ratios ``[at least out]``, as in ``nas.quantization.quantize.quantize``, in place
            of :func:`usual_clip`.
        noise: share of the weights that are quantized, drawn from torch's global generator; 0: all.
    """
    groups: dict[str, list[str]] = {}
    for path in weights:
        groups.setdefault(precision_of(path), []).append(path)
    on_grids: dict[str, Tensor] = {}
    for precision, paths in groups.items():
        if precision == FLOAT:
            continue
        layers = [weights[path] for path in paths]
        top = WEIGHT_MAX[WEIGHT_BITS[precision]]
        known = ((clips.get(path), weights[path]) for path in paths)
        ratios = [usual_clip(weight, top) if clip is None else clip[: len(weight)] for clip, weight in known]
        results = LearnedSteps.apply(top, len(layers), *layers, *ratios)  # type: ignore[no-untyped-call]
        if noise:
            results = [torch.where(torch.rand_like(w) < noise, q, w) for q, w in zip(results, layers, strict=True)]
        on_grids |= zip(paths, results, strict=True)
    return on_grids


@dataclass
class _Note:
    """What is known of a tensor that was computed or read.

    Attributes:
        quantized: a quantized function computed it, or moved it.
        step: of its grid, where it is known beforehand.
        snapped: its version when a function last read it, and what that function read instead.
    """

    quantized: bool = False
    step: float | None = None
    snapped: tuple[int, Tensor] | None = None


class _OnGrids(TorchFunctionMode):
    """Puts what computing functions read onto int8 grids.

    Functions are fp32 where the stage that runs is. Between two of those, tensors stay as they are.

    Attributes:
        running: precisions of the stages that are running, the innermost last.
        batch: number of images of the call.
        notes: what is known of tensors, for as long as they live.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.running = [policy.outer]
        self.mixed = FLOAT in policy.precisions
        self.batch = 0
        self.notes: MutableMapping[Tensor, _Note] = WeakTensorKeyDictionary()

    def note(self, x: Tensor) -> _Note:
        return self.notes.setdefault(x, _Note())

    def is_quantized(self, x: Any) -> bool:
        return isinstance(x, Tensor) and x in self.notes and self.notes[x].quantized

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "").rstrip("_")
        kwargs = kwargs or {}
        if name not in COMPUTES:
            out = func(*args, **kwargs)
            if self.mixed and isinstance(out, Tensor) and any(map(self.is_quantized, args)):
                self.note(out).quantized = True
            return out
        quantized = self.running[-1] != FLOAT
        read = OPERATORS[name].operands
        out = func(*[self._read(a, name, quantized) for a in args[:read]], *args[read:], **kwargs)
        if quantized and self.mixed:
            self.note(out).quantized = True
        if quantized and OPERATORS[name].output is not None:
            self.note(out).step = GATE_STEP
        return out

    def _read(self, x: Any, name: str, quantized: bool) -> Any:
        """What a function reads instead of an argument: the same, but for values that come from the images."""
        if not isinstance(x, Tensor) or x.ndim < 2 or len(x) != self.batch or not x.is_floating_point():
            return x
        if not (quantized or self.is_quantized(x)):
            return x
        note = self.note(x)
        if note.snapped is not None and note.snapped[0] == x._version:  # another function read it before
            return note.snapped[1]
        step: Tensor | float | None = note.step
        if step is None:  # values beyond the grid's ends need no clipping: the function is flat there
            step = activation_step(x, *OPERATORS[name].flat_beyond)
        snapped: Tensor = Snap.apply(x, step)  # type: ignore[no-untyped-call]
        note.snapped = (x._version, snapped)
        return snapped


@contextmanager
def fake_quantized(model: nn.Module, fake: Fake, clips: Mapping[str, Tensor]) -> Iterator[None]:
    """Calls of a model ``[n, C, H, W] -> outputs`` inside are quantized; its weights keep getting their gradients.

    The model is a plain timm model or a bound skeleton; ``clips`` are as in :func:`quantized_weights`.
    """
    layers = {path: m for path, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    own = {path: layer._parameters["weight"] for path, layer in layers.items()}
    weights = {path: weight for path, weight in own.items() if weight is not None}
    with ExitStack() as stack:
        for path, weight in quantized_weights(weights, fake.policy.of, clips, fake.noise).items():
            slot: dict[str, Any] = layers[path]._parameters
            stack.callback(slot.__setitem__, "weight", slot["weight"])
            slot["weight"] = weight
        if not fake.noise:
            mode = _OnGrids(fake.policy)
            _follow(stack, model, mode, fake.policy)
            stack.enter_context(mode)
        yield


def _follow(stack: ExitStack, model: nn.Module, mode: _OnGrids, policy: Policy) -> None:
    """Tell the mode how many images a call has, and which stage is running."""

    def begin(_module: nn.Module, args: Any) -> None:
        mode.batch = len(args[0])

    def leave(_module: nn.Module, _args: Any, _out: Any) -> None:
        mode.running.pop()

    stack.callback(model.register_forward_pre_hook(begin).remove)
    stages = dict(policy.stages)
    for path, module in model.named_modules():
        if path in stages:
            precision = stages[path]

            def enter(_module: nn.Module, _args: Any, precision: str = precision) -> None:
                mode.running.append(precision)

            stack.callback(module.register_forward_pre_hook(enter).remove)
            stack.callback(module.register_forward_hook(leave).remove)
