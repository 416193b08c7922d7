"""How much the untrained weights of a subnet matter, from one backward pass on noise.

The connection sensitivity ``|w * dL/dw|`` (Lee et al., SNIP, arXiv:1810.02340) of the largest network's weights, as
shares of their tensor. A subnet is scored by the shares it borrows, as PreNAS (arXiv:2304.14636) scores without data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from search_spaces.architecture import Architecture

from .base import Floats

if TYPE_CHECKING:
    from nas.supernet.borrow import Cut
    from nas.supernet.supernet import Supernet

_IMAGES = 16


def saliency(net: Supernet, seed: int) -> dict[str, Tensor]:
    """Shares ``|w * dL/dw| / sum |w * dL/dw|`` of every parameter of the largest network, by name.

    L is the cross-entropy of normally distributed images with random labels, in training mode. A tensor without any
    signal (behind a norm whose weight starts at 0) has even shares. The global random state is left as it was.
    """
    generator = torch.Generator().manual_seed(seed)
    side = net.space.largest.resolution
    images = torch.randn(_IMAGES, net.interface.in_chans, side, side, generator=generator)
    labels = torch.randint(net.interface.outputs, (_IMAGES,), generator=generator)
    parameters = dict(net.model.named_parameters())
    with _reproducible(seed):
        net.train()
        loss = F.cross_entropy(net(images, net.space.largest), labels)
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    shares = {}
    for (name, weight), gradient in zip(parameters.items(), gradients, strict=True):
        value = torch.zeros_like(weight) if gradient is None else (weight * gradient).detach().abs()
        total = value.sum()
        shares[name] = value / total if total > 0 else torch.full_like(value, 1 / value.numel())
    return shares


def scores(net: Supernet, architectures: Sequence[Architecture], shares: Mapping[str, Tensor]) -> Floats:
    """Sum of the shares that each subnet borrows, shape ``[n]``; the largest has one for every tensor."""
    tensors = {**dict(net.model.named_buffers()), **dict(net.model.named_parameters())}
    source = {name: t.detach() if name.endswith("_matrix") else shares.get(name, t) for name, t in tensors.items()}
    known: dict[int, tuple[Cut, float]] = {}  # subnets share parts; slices cannot be keys, so by identity

    def kept(cut: Cut) -> float:
        if id(cut) not in known:
            known[id(cut)] = cut, float(cut.take(source).abs().sum(dtype=torch.float64))
        return known[id(cut)][1]

    subnets = (net.skeleton(architecture) for architecture in architectures)
    return np.array([sum(kept(cut) for cut in subnet.cuts if cut.name in shares) for subnet in subnets])


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """One thread, so that sums do not depend on how many there are; random numbers of its own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
