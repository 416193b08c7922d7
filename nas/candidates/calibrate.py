"""Batch-norm statistics of one subnet.

A subnet's shared statistics are a mixture over all subnets that trained with them; using them as they are costs tens
of points. One plain pass over a few hundred training images gives the subnet its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas.store.records import RULES
from nas.store.results import CALIBRATION, CALIBRATION_IMAGES
from nas.store.settings import Declared, check_setting
from search_spaces.architecture import Architecture
from search_spaces.errors import UserError

_REMEMBERED = 1024  # subnets; a large one has about 100 kB of statistics


@torch.no_grad()
def calibrate(model: nn.Module, images: Tensor, batch_size: int = 32) -> None:
    """Replace the running statistics by those of all ``images`` [n, c, h, w]; leaves the model in eval mode.

    Mean and (unbiased) variance are those of the values of all batches together: a mean of the batches' variances would
    lack how far their means lie apart. What a batch norm passes on is normalised by the batch's own statistics, as in
    training, so with several batches those of later layers are slightly noisy. The same images give the same
    statistics. A network without batch norm is not run. Raises UserError: fewer than two images, which have no
    variance.
    """
    norms = _norms(model)
    model.eval()
    if not norms:
        return
    if len(images) < 2:
        raise UserError(f"calibration needs at least two images, got {len(images)}")
    pools = {norm: _Pool() for norm in norms.values()}
    kept = [(norm, norm.momentum) for norm in pools]
    hooks = [norm.register_forward_hook(pool.see) for norm, pool in pools.items()]
    for norm in pools:
        norm.reset_running_stats()
        norm.momentum = 1.0  # the statistics of the last batch, as they are
        norm.train()
    try:
        for batch in images.tensor_split(-(-len(images) // batch_size)):  # even parts: none of a single image
            model(batch.contiguous(memory_format=torch.channels_last))
    finally:
        for hook in hooks:
            hook.remove()
        for norm, momentum in kept:
            norm.momentum = momentum
        model.eval()
    for norm, pool in pools.items():
        pool.write(norm)


@dataclass
class Calibration:
    """Calibrates the subnets of one supernet on so many images of one data set, none of them twice in this process.

    ``rules``: how they become integers afterwards, see :data:`nas.store.records.RULES`.
    """

    images: int = CALIBRATION_IMAGES
    rules: int = RULES
    _known: dict[Architecture, dict[str, Tensor]] = field(default_factory=dict, repr=False)

    def __call__(self, model: nn.Module, architecture: Architecture, load: Callable[[], Tensor]) -> None:
        """As :func:`calibrate` of an extracted subnet, or the statistics of the last time.

        ``load`` gives the images, if they are needed.
        """
        names = [f"{path}.{name}" for path, norm in _norms(model).items() for name, _ in norm.named_buffers()]
        if not names:
            model.eval()
            return
        if architecture not in self._known:
            calibrate(model, load())
            self._known[architecture] = {name: model.get_buffer(name).clone() for name in names}
            if len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]
            return
        for name, value in self._known[architecture].items():
            model.get_buffer(name).copy_(value)
        model.eval()


def check_images(images: int) -> None:
    """Refuse a number of calibration images that gives no variance, by a UsageError that names the rule."""
    check_setting(Declared("calibration_images", int, False, CALIBRATION_IMAGES, CALIBRATION), images)


class _Pool:
    """Mean and variance of the values of several batches (Chan, Golub and LeVeque, 1979), in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor | None = None
        self.squares: Tensor | None = None  # sum of squared distances from the mean

    def see(self, norm: nn.Module, inputs: tuple[Any, ...], _output: Any) -> None:
        """Add the batch that the norm just saw."""
        assert isinstance(norm, _BatchNorm)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        count = inputs[0].numel() // inputs[0].shape[1]
        mean, squares = norm.running_mean.double(), norm.running_var.double() * (count - 1)
        if self.mean is None or self.squares is None:
            self.count, self.mean, self.squares = count, mean, squares
            return
        distance, total = mean - self.mean, self.count + count
        self.mean = self.mean + distance * (count / total)
        self.squares = self.squares + squares + distance.square() * (self.count * count / total)
        self.count = total

    def write(self, norm: _BatchNorm) -> None:
        """Put the statistics into the norm; one that saw nothing keeps mean 0 and variance 1."""
        if self.mean is None or self.squares is None:
            return
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(self.mean)
        norm.running_var.copy_(self.squares / (self.count - 1))


def _norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """Path -> batch norm that keeps statistics."""
    found = {path: m for path, m in model.named_modules() if isinstance(m, _BatchNorm)}
    return {path: norm for path, norm in found.items() if norm.running_mean is not None}
