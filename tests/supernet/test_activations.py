"""Activations that keep their input give what those that overwrite it give, and no copy is made."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from nas.supernet.activations import keep_inputs
from nas.supernet.supernet import Supernet
from search_spaces import get_space
from search_spaces.architecture import Interface


class _Copies(TorchDispatchMode):
    """Counts the copies of tensors that are made inside."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += func is torch.ops.aten.clone.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Mish])
def test_same_bits_without_a_copy(activation: type[nn.Module]) -> None:
    torch.manual_seed(0)
    before = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), activation(inplace=True))
    after = copy.deepcopy(before)
    keep_inputs(after)
    x, found = torch.randn(4, 3, 9, 9), []
    for model in (before, after):
        with _Copies() as copies:
            model(x).square().sum().backward()
        found.append([p.grad for p in model.parameters()])
    assert copies.count == 0
    for ours, wanted in zip(found[1], found[0], strict=True):
        assert ours is not None
        assert wanted is not None
        assert torch.equal(ours, wanted)


def test_subnets_keep_their_inputs_and_extracted_ones_are_timms() -> None:
    space = get_space("mbv3-tiny")
    net = Supernet(space, Interface(1, 10))
    overwriting = [
        {m.inplace for m in model.modules() if isinstance(m, nn.Hardswish)}
        for model in (net.skeleton(space.largest).model, net.extract(space.largest))
    ]
    assert overwriting == [{False}, {True}]
