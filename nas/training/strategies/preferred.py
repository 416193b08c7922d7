"""Preferred subnets (Wang et al., PreNAS, arXiv:2304.14636): choose by an untrained score, then train the chosen.

The score is how much the untrained weights of a subnet matter, from one backward pass on noise: the connection
sensitivity ``|w * dL/dw|`` (Lee et al., SNIP, arXiv:1810.02340) of the largest network's weights, as shares of their
tensor. A subnet is scored by the shares it borrows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from search_spaces.architecture import Architecture
from search_spaces.genes import Floats

from .base import LossOf, Pass, RunFacts
from .sizes import macs_pool

if TYPE_CHECKING:
    from nas.supernet.borrow import Cut
    from nas.supernet.supernet import Supernet

_IMAGES = 16


@dataclass(frozen=True)
class Preferred:
    """A few subnets of every size, chosen by a zero-cost score before training; one of them a step.

    The score grows with size, so candidates are compared by how far it lies above the line
    through all candidates in log MACs; the paper compares networks of like size. Groups are drawn equally often.

    Attributes:
        groups: ranges of MACs of equal width.
        best: subnets of a group. The smallest and the largest subnet of the space are among those of the end groups.
        candidates: scored, their MACs spread evenly between the extremes.
    """

    facts: RunFacts
    groups: int = 6
    best: int = 3
    candidates: int = 120

    @cached_property
    def preferred(self) -> tuple[tuple[Architecture, ...], ...]:
        """The subnets to train, by group, ascending in MACs."""
        space = self.facts.space
        vectors, macs = macs_pool(self.facts)
        nearest = [int(np.abs(macs - target).argmin()) for target in np.linspace(macs[0], macs[-1], self.candidates)]
        rows = np.unique([*nearest, 0, len(macs) - 1])
        found = [space.decode(vectors[row]) for row in rows]
        net = self.facts.initial()
        value, size = np.log(scores(net, found, saliency(net, self.facts.seed))), np.log(macs[rows])
        spread = np.var(size)
        slope = np.mean((size - size.mean()) * value) / spread if spread else 0.0
        value = value - slope * size
        value[[0, -1]] = np.inf
        width = (macs[-1] - macs[0]) / self.groups or 1.0
        group = np.minimum((macs[rows] - macs[0]) // width, self.groups - 1)
        chosen = []
        for number in np.unique(group):
            members = np.flatnonzero(group == number)
            best = members[np.argsort(-value[members], kind="stable")[: self.best]]
            chosen.append(tuple(found[i] for i in sorted(best)))
        return tuple(chosen)

    def passes(self, step: int, rng: np.random.Generator, loss_of: LossOf) -> tuple[Pass, ...]:
        group = self.preferred[int(rng.integers(len(self.preferred)))]
        return (Pass(group[int(rng.integers(len(group)))]),)


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
