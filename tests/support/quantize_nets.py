"""A small trained network for the quantization tests: untrained ones amplify one flipped bit into nonsense."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from search_spaces import get_space
from search_spaces.architecture import Interface

CLASSES = 8
SIDE = 20


@cache
def templates() -> Tensor:
    generator = torch.Generator().manual_seed(7)
    coarse = torch.randn(CLASSES, 1, 5, 5, generator=generator)
    return nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear")


def batch(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """``n`` noisy copies of eight patterns, with their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (n,), generator=generator)
    noise = 2.2 * torch.randn(n, 1, SIDE, SIDE, generator=generator)
    return templates()[labels] + noise, labels


@cache
def trained() -> nn.Module:
    """A MobileNetV3 with squeeze-and-excitation and a residual connection, trained for a few seconds; in eval mode."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        space = get_space("mbv3-tiny")
        vector = space.extremes()[0]
        vector[space.index["s2.depth"]] = 1  # one block with a residual connection around squeeze-and-excitation
        model = space.build(space.decode(vector), Interface(1, CLASSES))
        steps = 200
        optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, total_steps=steps)
        for step in range(steps):
            images, labels = batch(48, 1000 + step)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            schedule.step()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None  # cumulative average
        with torch.no_grad():
            model(batch(512, 999)[0])
    torch.set_num_threads(threads)
    return model.eval()
