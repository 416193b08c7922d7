"""Checks of a space around a named timm model, shared by the tests of the families."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from torch import nn

from nas.supernet.borrow import named_shapes, plan
from nas.supernet.supernet import Supernet
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.builders.timm_compat import timm
from search_spaces.tracing.copies import all_tensors
from search_spaces.tracing.groups import Group, channel_groups

CLASSES = 5


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Statistics, norm weights and layer scales of 0, 1 or 1e-6 would hide errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and tensor.ndim == 1:
                noise = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(noise + 0.5 if name.endswith(("running_var", "weight", "gamma")) else noise - 0.5)


def check_against_timm(space_name: str, side: int) -> None:
    """The largest network is the named model; others are what they extract to."""
    space = get_space(space_name)
    net = Supernet(space, Interface(3, CLASSES)).eval()
    randomise(net.model)
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    plain = timm.create_model(space.timm_name, num_classes=CLASSES).eval()
    plain.load_state_dict(net.model.state_dict())
    with torch.no_grad():
        assert torch.equal(net(x, space.largest), plain(x))
        for vector in [space.extremes()[0], *space.sample(np.random.default_rng(2), 2)]:
            architecture = space.decode(vector)
            ours = net(x, architecture)
            assert ours.isfinite().all()
            assert torch.equal(ours, net.extract(architecture)(x))


def check_shapes(space_name: str, seed: int = 0) -> None:
    """The largest network has the tensors of the named model; smaller ones have leading slices of some of them."""
    space = get_space(space_name)
    large = space.build(space.largest, Interface(3, 1000), "meta").state_dict()
    plain = timm.create_model(space.timm_name, num_classes=1000, device="meta").state_dict()
    assert {n: t.shape for n, t in large.items()} == {n: t.shape for n, t in plain.items()}
    for vector in [space.extremes()[0], *space.sample(np.random.default_rng(seed), 3)]:
        shapes = named_shapes(space.build(space.decode(vector), Interface(3, 1000), "meta"))
        plan(large, shapes, space.family.packed)  # raises where a tensor is unknown or does not fit
        for name, shape in shapes:
            assert len(shape) != 3 or shape == large[name].shape, f"{name}: a 1-D kernel is not cropped at its centre"


def permute(model: nn.Module, group: Group, rng: np.random.Generator) -> None:
    """Put the items of a group in a random order."""
    state = all_tensors(model)
    counts = set()
    places = []
    for axis in group:
        first, end = axis.within or (0, state[axis.name].shape[axis.dim])
        counts.add((end - first) / (axis.parts * axis.unit))
        places.append(np.arange(first, end).reshape(axis.parts, -1, axis.unit))
    assert len(counts) == 1, f"axes of {counts} items in one group"
    order = rng.permutation(int(counts.pop()))
    for axis, place in zip(group, places, strict=True):
        tensor = state[axis.name]
        index = np.arange(tensor.shape[axis.dim])
        index[place.reshape(-1)] = place[:, order].reshape(-1)
        tensor.copy_(tensor.index_select(axis.dim, torch.from_numpy(index)))


def check_permutations(model: nn.Module, groups: list[Group], side: int) -> None:
    """Permuting all groups leaves the output as it is; permuting one tensor alone does not."""
    randomise(model)
    model.double().eval()
    rng = np.random.default_rng(0)
    x = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        before = model(x)
        for group in groups:
            permute(model, group, rng)
            assert any(axis.score for axis in group)
        assert (model(x) - before).abs().max() < 1e-10 * before.abs().max()
        permute(model, groups[-1][:1], rng)
        assert (model(x) - before).abs().max() > 1e-6 * before.abs().max()


def check_channel_groups(space_name: str, side: int, ordered: tuple[str, ...] = ()) -> None:
    """Permutations are harmless, and every elastic dimension is in exactly one group, but for those of tensors whose
    names begin with one of ``ordered``."""
    space = get_space(space_name)
    model = space.build(space.largest, Interface(3, CLASSES))
    groups = channel_groups(space, Interface(3, CLASSES))
    check_permutations(model, groups, side)
    covered = Counter((axis.name, axis.dim) for group in groups for axis in group)
    assert set(covered.values()) == {1}
    large = all_tensors(model)
    small = all_tensors(space.build(space.smallest, Interface(3, CLASSES), "meta"))
    elastic = {(n, d) for n, t in small.items() for d in range(min(2, t.ndim)) if t.shape[d] < large[n].shape[d]}
    left = {name for name, _ in elastic - set(covered)}
    assert all(name.startswith(ordered) for name in left), left
    fixed = {name for name, _ in set(covered) - elastic if name in small}
    assert not fixed


def sizes(space_name: str) -> dict[str, tuple[int | float, ...]]:
    """Choices of every gene."""
    return {gene.name: gene.choices for gene in get_space(space_name).genes}
