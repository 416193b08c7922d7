"""What must hold of every family: a borrowed subnet is the extracted one, and the one that the family builds and runs.

Each check takes the name of a space.
"""

from __future__ import annotations

import copy
import json
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nas.supernet.borrow import borrow, constant_shapes, named_shapes
from nas.supernet.supernet import Supernet
from predictors.costs.network import architecture_features, costs_of
from predictors.costs.tables import CostTables
from search_spaces import Architecture, get_space
from search_spaces.architecture import Interface
from search_spaces.builders.timm_compat import NoInit, timm
from search_spaces.builders.timm_model import timm_model
from search_spaces.families.any_model import AnyFamily
from search_spaces.tracing.groups import channel_groups
from tests.support.named_models import permute

CLASSES, SIDE = 7, 64


@lru_cache(maxsize=1)
def supernet(name: str) -> Supernet:
    """A supernet whose statistics and norm weights are not the 0 and 1 that would hide errors."""
    net = Supernet(get_space(name), Interface(3, CLASSES), seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, tensor in net.model.state_dict().items():
            if tensor.is_floating_point() and (tensor.ndim == 1 or key.endswith("_matrix")):
                noise = torch.rand(tensor.shape, generator=generator)
                if key.endswith("_matrix"):
                    tensor.add_(0.1 * (noise - 0.5))
                else:
                    tensor.copy_(noise + 0.5 if key.endswith(("running_var", "weight", "gamma")) else noise - 0.5)
    return net


def architectures(name: str) -> list[Architecture]:
    """The smallest and a random one."""
    space = get_space(name)
    return [space.smallest, space.decode(space.sample(np.random.default_rng(3), 1)[0])]


def images(architecture: Architecture, number: int = 2) -> Tensor:
    """As small as the network takes them; the weights do not depend on it."""
    fixed = len(get_space(architecture.space).genes[0].choices) == 1
    side = architecture.resolution if fixed else min(SIDE, architecture.resolution)
    return torch.randn(number, 3, side, side, generator=torch.Generator().manual_seed(1))


def check_borrowing(name: str, training: bool) -> None:
    """A borrowed subnet, an extracted one and the one that the family builds compute and train the same."""
    net = supernet(name)
    state = {key: tensor.clone() for key, tensor in net.model.state_dict().items()}
    for architecture in architectures(name):
        net.model.load_state_dict(state)
        net.zero_grad()
        extracted = net.extract(architecture)
        with NoInit():  # all is loaded
            reference = get_space(name).build(architecture, Interface(3, CLASSES))
        reference.load_state_dict(extracted.state_dict())
        x = images(architecture)
        ours = net.train(training)(x, architecture)
        theirs = reference.train(training)(x)
        assert torch.equal(ours, theirs)
        assert torch.equal(extracted.train(training)(x), theirs)
        ours.square().mean().backward()
        theirs.square().mean().backward()
        _same_buffers(net, architecture, reference)
        _same_gradients(net, architecture, reference)


def _same_buffers(net: Supernet, architecture: Architecture, reference: nn.Module) -> None:
    """Running statistics went into the slices they came from."""
    after = borrow(net.model.state_dict(), net.plan(architecture, named_shapes(reference)))
    for name, buffer in reference.named_buffers():
        if name in after:
            assert torch.equal(after[name], buffer), name


def _same_gradients(net: Supernet, architecture: Architecture, reference: nn.Module) -> None:
    """The supernet's gradients are the reference's, carried back through the cuts; nothing else has any."""
    leaves = {n: p.detach().clone().requires_grad_() for n, p in net.model.named_parameters()}
    parameters = dict(reference.named_parameters())
    lent = net.plan(architecture, [(n, p.shape) for n, p in parameters.items()])
    expected = [(cut.take(leaves), parameters[cut.name].grad) for cut in lent if parameters[cut.name].grad is not None]
    torch.autograd.backward([taken for taken, _ in expected], [grad for _, grad in expected])
    largest = max(float(grad.abs().max()) for _, grad in expected if grad is not None)
    for name, parameter in net.model.named_parameters():
        wanted = leaves[name].grad
        if wanted is None:
            assert parameter.grad is None or not parameter.grad.any(), name
            continue
        assert parameter.grad is not None, name
        scale = max(float(wanted.abs().max()), 1e-6 * largest)
        assert float((parameter.grad - wanted).abs().max()) <= 1e-5 * scale, name


def check_named_model(name: str) -> None:
    """The largest network of a space around a named timm model is that model."""
    space = get_space(name)
    net = supernet(name).eval()
    options = space.family.model.options if isinstance(space.family, AnyFamily) else {}
    with NoInit():
        plain = timm.create_model(space.timm_name, num_classes=CLASSES, **options).eval()
    plain.load_state_dict(net.model.state_dict())
    side = plain.pretrained_cfg["input_size"][-1] if hasattr(plain, "pos_embed") and not options else 0
    x = torch.randn(1, 3, side, side) if side else images(space.largest, 1)
    with torch.no_grad():
        assert torch.equal(net(x, space.largest), plain(x))


def check_assembly(name: str) -> None:
    """A network put together from known segments is the one that the family builds."""
    net = supernet(name)
    space = get_space(name)
    for vector in space.sample(np.random.default_rng(0), 4):
        architecture = space.decode(vector)
        assembled = net.skeleton(architecture)
        fresh = space.build(architecture, Interface(3, CLASSES), "meta")
        assert dict(named_shapes(assembled.model)) == dict(named_shapes(fresh))
        assert {cut.name for cut in assembled.cuts} == {n for n, _ in (*named_shapes(fresh), *constant_shapes(fresh))}
        assert [n for n, _ in assembled.model.named_modules()] == [n for n, _ in fresh.named_modules()]


def check_costs(name: str) -> None:
    """Costs are what PyTorch counts on the built network."""
    space = get_space(name)
    for architecture in architectures(name):
        costs = costs_of(architecture_features(space, architecture, Interface(3, CLASSES)), "fp32")
        model = space.build(architecture, Interface(3, CLASSES), "meta").eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.empty(1, 3, architecture.resolution, architecture.resolution, device="meta"))
        assert 2 * costs.macs == counter.get_total_flops()
        assert costs.params == sum(p.numel() for p in model.parameters())


def check_tables(name: str) -> None:
    """Costs by table, memory's peaks included, are those of networks that are traced one by one."""
    space = get_space(name)
    vectors = np.concatenate([space.extremes(), space.sample(np.random.default_rng(4), 3)])
    features = CostTables(space, Interface(3, CLASSES)).features(vectors)
    for vector, row in zip(vectors, features, strict=True):
        np.testing.assert_array_equal(row, architecture_features(space, space.decode(vector), Interface(3, CLASSES)))


def check_description(name: str) -> None:
    """What an exported folder holds builds the same network by timm alone."""
    space = get_space(name)
    architecture = architectures(name)[1]
    spec = json.loads(json.dumps(space.family.describe(architecture, Interface(3, CLASSES))))
    again = timm_model(spec, device="meta")
    assert dict(named_shapes(again)) == dict(named_shapes(space.build(architecture, Interface(3, CLASSES), "meta")))


def check_channel_groups(name: str) -> None:
    """Channels of a group may be reordered together; the output stays the same."""
    net = supernet(name)
    model = copy.deepcopy(net.model).double().eval()
    state = model.state_dict()
    x = images(get_space(name).largest, 1).double()
    groups = channel_groups(net.space, net.interface)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for tensor in state.values():
            if tensor.is_floating_point() and tensor.ndim == 1:
                tensor.copy_(torch.from_numpy(rng.uniform(0.5, 1.5, tensor.shape)))
        before = model(x)
        for group in groups:
            permute(model, group, rng)
        torch.testing.assert_close(model(x), before, rtol=1e-9, atol=1e-9)


def check_genes(name: str) -> None:
    """Choices ascend, gates and segments name genes, gating genes have no gate, and paths are modules."""
    space = get_space(name)
    assert len(space.index) == len(space.genes)
    for gene in space.genes:
        assert list(gene.choices) == sorted(set(gene.choices))
        assert gene.gate is None or space.genes[space.index[gene.gate[0]]].gate is None
    modules = {path for path, _ in space.build(space.largest, Interface(3, CLASSES), "meta").named_modules()}
    assert len({segment.path for segment in space.segments}) == len(space.segments)
    for segment in space.segments:
        assert segment.path in modules
        assert {*segment.genes, *([segment.gate[0]] if segment.gate else [])} <= set(space.index)
