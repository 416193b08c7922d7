"""Borrowed subnets against the plain timm models of the same weights."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas.supernet.borrow import borrow, named_shapes, plan, slices
from nas.supernet.supernet import Supernet
from search_spaces import get_space
from search_spaces.architecture import Interface

TINY = get_space("mbv3-tiny")


@pytest.fixture(scope="module")
def net() -> Supernet:
    net = Supernet(TINY, Interface(2, 7), seed=1)
    _randomise(net.model)
    return net


def _randomise(model: nn.Module) -> None:
    """Statistics and norm weights of 0 and 1 would hide errors."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and tensor.ndim == 1:
                noise = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(noise + 0.5 if name.endswith(("running_var", "weight")) else noise - 0.5)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=8, deadline=None)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_borrowed_equals_plain_timm(net: Supernet, training: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    architecture = TINY.decode(TINY.sample(rng, 1)[0])
    x = torch.from_numpy(rng.standard_normal((3, 2, architecture.resolution, architecture.resolution))).float()
    plain = net.extract(architecture).train(training)
    reference = TINY.build(architecture, Interface(2, 7))
    reference.load_state_dict(plain.state_dict())
    reference.train(training)
    net.train(training)
    net.zero_grad()

    ours, theirs = net(x, architecture), reference(x)
    assert torch.equal(ours, theirs)
    ours.square().mean().backward()
    theirs.square().mean().backward()

    shapes = named_shapes(reference)
    state = net.model.state_dict()
    after = borrow(state, plan(state, shapes))
    for name, buffer in reference.named_buffers():
        assert torch.equal(after[name], buffer), name
    parameters = dict(reference.named_parameters())
    grads = {n: p.grad if p.grad is not None else torch.zeros_like(p) for n, p in net.model.named_parameters()}
    cut = borrow(grads, plan(grads, [(n, p.shape) for n, p in parameters.items()]))
    for name, parameter in parameters.items():
        assert parameter.grad is not None
        scale = parameter.grad.abs().max().clamp_min(1e-12)
        assert ((cut[name] - parameter.grad).abs().max() / scale) < 1e-5, name
    for name, grad in grads.items():
        inside = cut[name].abs().sum() if name in cut else torch.zeros(())
        assert torch.isclose(grad.abs().sum(), inside, rtol=1e-5), name


def test_skeletons_from_cached_parts_equal_fresh_ones() -> None:
    net = Supernet(TINY, Interface(1, 7))
    rng = np.random.default_rng(0)
    for vector in TINY.sample(rng, 60):
        architecture = TINY.decode(vector)
        assembled = net.skeleton(architecture)
        fresh = TINY.build(architecture, Interface(1, 7), "meta")
        assert dict(named_shapes(assembled.model)) == dict(named_shapes(fresh))
        assert {cut.name for cut in assembled.cuts} == set(fresh.state_dict())
        assert [n for n, _ in assembled.model.named_modules()] == [n for n, _ in fresh.named_modules()]


def test_extraction_leaves_the_supernet_alone(net: Supernet) -> None:
    before = {n: t.clone() for n, t in net.model.state_dict().items()}
    subnet = net.extract(TINY.smallest)
    with torch.no_grad():
        for parameter in subnet.parameters():
            parameter.add_(1)
    assert all(torch.equal(t, before[n]) for n, t in net.model.state_dict().items())


def test_largest_subnet_is_the_supernet(net: Supernet) -> None:
    x = torch.randn(2, 2, 32, 32)
    net.eval()
    assert torch.equal(net(x, TINY.largest), net.model(x))


def test_a_copy_computes_the_same_with_tensors_of_its_own(net: Supernet) -> None:
    images, smallest = torch.randn(2, 2, 32, 32), net.space.smallest
    net.eval()
    before = net(images, smallest)
    copied = copy.deepcopy(net)
    assert torch.equal(copied(images, smallest), before)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert torch.equal(net(images, smallest), before)
    assert not copied(images, smallest).any()


def test_same_seed_same_weights() -> None:
    a, b, c = (Supernet(TINY, Interface(1, 3), seed=s).model.state_dict() for s in (5, 5, 6))
    assert all(torch.equal(a[n], b[n]) for n in a)
    assert any(not torch.equal(a[n], c[n]) for n in a)


def test_slices_crop_kernels_at_the_centre() -> None:
    large = torch.arange(2 * 3 * 7 * 7).reshape(2, 3, 7, 7)
    cut = slices(large.shape, torch.Size((1, 2, 3, 3)))
    assert cut is not None
    assert torch.equal(large[cut], large[:1, :2, 2:5, 2:5])


def test_slices_refuse_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"w: \(4,\) is not a part of \(3,\)"):
        slices(torch.Size((3,)), torch.Size((4,)), "w")
