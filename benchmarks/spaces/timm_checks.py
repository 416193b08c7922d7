"""What is checked of the space around one of timm's names."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nas.supernet.borrow import named_shapes, plan
from nas.supernet.ordering import order_channels, weight_importance
from nas.supernet.supernet import Supernet
from search_spaces import Architecture, SearchSpace, get_space
from search_spaces.architecture import Interface
from search_spaces.builders.no_init import ARITHMETIC, FILLERS
from search_spaces.builders.timm_compat import timm
from search_spaces.errors import UserError
from search_spaces.families.named import spell_out
from search_spaces.tracing.groups import Group, channel_groups

ENDS = Interface(3, 10)
RANDOM = 3
"""Random subnets of a name."""
REBUILT, GRADIENT, PERMUTED = 1e-5, 1e-3, 1e-6
"""Largest differences that pass, as shares of the largest value: a view and a copy may take different kernels, and
some models compute parts in single precision whatever they are given."""
LOUD = 1e6
"""A logit larger than those of any trained model."""


@dataclass(frozen=True)
class Row:
    """What was found of a name.

    Attributes:
        kind: class of the model.
        status: ``ran``; ``shapes``: checked without values; ``refused``: an error in plain words; ``failed``;
            ``late`` and ``died``: the process was ended, or ended itself.
        why: of what has no space, or failed.
        million: parameters of the model, in millions.
        derive: seconds of processor time until there is a space.
        seconds: of processor time in all.
        rebuilt: largest difference between a subnet and its rebuilt form, as a share of the largest output.
        permuted: difference that another order of channels makes, as such a share, in double precision; None where
            that was not tried.
    """

    name: str
    kind: str
    million: float
    status: str
    why: str = ""
    family: str = ""
    genes: int = 0
    subnets: float = 0
    derive: float = 0
    seconds: float = 0
    rebuilt: float | None = None
    permuted: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def check(name: str, kind: str, million: float, limit: float, first: bool) -> Row:
    """The row of a name. Models above ``limit`` million parameters are checked without values; ``first``: of its class,
    and so on images of its own side and with channels in another order."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    began = time.process_time()
    row = Row(name, kind, million, "failed")
    try:
        space = get_space(spell_out(f"timm:{name}"))
        row = replace(row, family=type(space.family).__name__.removesuffix("Family"), genes=len(space.genes))
        row = replace(row, subnets=float(space.size), derive=round(time.process_time() - began, 2))
        if million > limit:
            _check_shapes(space)
            row = replace(row, status="shapes")
        else:
            row = replace(row, rebuilt=_check_values(space, not first), status="ran")
            if first:
                row = replace(row, permuted=_permuted(space))
    except UserError as error:
        row = replace(row, status="refused", why=str(error))
    except Exception as error:
        row = replace(row, status="failed", why=f"{type(error).__name__}: {error}".splitlines()[0])
    return replace(row, seconds=round(time.process_time() - began, 2))


def _random(space: SearchSpace, number: int) -> list[Architecture]:
    return [space.decode(v) for v in space.sample(np.random.default_rng(0), number)]


@torch.no_grad()
def _check_shapes(space: SearchSpace) -> None:
    largest = dict(space.build(space.largest, ENDS, "meta").state_dict())
    plain = timm.create_model(space.timm_name, num_classes=ENDS.outputs, device="meta").state_dict()
    same = {name: t.shape for name, t in largest.items()} == {name: t.shape for name, t in plain.items()}
    _demand(same, "the largest subnet is not the model")
    for architecture in (space.smallest, *_random(space, RANDOM)):
        shapes = named_shapes(space.build(architecture, ENDS, "meta"))
        plan(largest, shapes, space.family.packed, space.family.pieces(architecture, ENDS))


def _check_values(space: SearchSpace, small: bool) -> float:
    """Runs the largest subnet, the smallest and random ones; with ``small`` on the smallest images that they take.
    Returns the largest difference between a subnet and its rebuilt form."""
    torch.manual_seed(0)
    with _Unfilled():
        net = Supernet(space, ENDS).eval()
        plain = timm.create_model(space.timm_name, num_classes=ENDS.outputs).eval()
    fill(net.model)
    sides = [int(side) for side in space.genes[space.index["resolution"]].choices]
    side = _side(plain, sides) if small else sides[-1]
    _calm(net.model, _image(side))
    plain.load_state_dict(net.model.state_dict())
    with torch.no_grad():
        whole = plain(_image(side))
        _demand(torch.equal(net(_image(side), space.largest), whole), "the largest subnet is not the model")
        _demand(bool(torch.isfinite(whole).all()), "the model does not give finite logits")
        least = net(_image(sides[0]), space.smallest)
        _demand(bool(torch.isfinite(least).all()), "the smallest subnet does not give finite logits")
    del plain
    x = _image(sides[0] if small else sides[-1])
    return max(
        _compare(net, space, architecture, x, gradients=number == 0)
        for number, architecture in enumerate(_random(space, RANDOM))
    )


@torch.no_grad()
def _side(plain: nn.Module, sides: list[int]) -> int:
    """The smallest side that a plain model takes: one of fixed size takes its own alone."""
    for side in sides[:-1]:
        with suppress(Exception):
            plain(_image(side))
            return side
    return sides[-1]


def _compare(net: Supernet, space: SearchSpace, architecture: Architecture, x: Tensor, gradients: bool) -> float:
    """A subnet against the network that is built for it and given the extracted weights."""
    with _Unfilled():
        rebuilt = space.build(architecture, ENDS).eval()
    rebuilt.load_state_dict(net.extract(architecture).state_dict())
    if gradients:
        net.train().eval()  # some keep in evaluation what they worked out of their weights, without gradients
    with torch.set_grad_enabled(gradients):
        ours, theirs = net(x, architecture), rebuilt(x)
    difference = _difference(ours, theirs)
    _demand(difference <= REBUILT, f"a subnet is not its rebuilt form: {difference:.1e}")
    if gradients:
        weights = torch.randn(ours.shape)
        (ours * weights).sum().backward()
        (theirs * weights).sum().backward()
        _compare_gradients(net, architecture, rebuilt)
        net.zero_grad(set_to_none=True)
    return difference


def _compare_gradients(net: Supernet, architecture: Architecture, rebuilt: nn.Module) -> None:
    """Every parameter that the rebuilt network uses has the same gradient in the supernet."""
    source = {name: parameter.grad for name, parameter in net.model.named_parameters()}
    cuts = {cut.name: cut for cut in net.skeleton(architecture).cuts}
    wanted = {name: p.grad for name, p in rebuilt.named_parameters() if p.grad is not None}
    _demand(bool(wanted), "no parameter has a gradient")
    largest = max(float(gradient.abs().max()) for gradient in wanted.values())
    for name, gradient in wanted.items():
        whole = source.get(name)
        _demand(whole is not None, f"{name} has no gradient")
        assert whole is not None
        gap = float((cuts[name].take({name: whole}) - gradient).abs().max())
        most = GRADIENT * (float(gradient.abs().max()) + GRADIENT * largest)
        _demand(
            gap <= most, f"the gradient of {name} differs by {gap:.1e}, of at most {float(gradient.abs().max()):.1e}"
        )


@torch.no_grad()
def _permuted(space: SearchSpace) -> float:
    """What changes where all channels, heads and groups that a subnet may lose are in another order."""
    with _Unfilled():
        model = space.build(space.largest, ENDS).eval()
    fill(model)
    model = model.double()
    x = _image(space.largest.resolution).double()
    before = model(x)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}

    def random(group: Group) -> Tensor:
        return torch.rand(weight_importance(tensors, group).shape)

    order_channels(model, channel_groups(space, ENDS), random)
    difference = _difference(model.train().eval()(x), before)  # what it keeps of its weights is worked out anew
    _demand(difference <= PERMUTED, f"another order of channels changes the output by {difference:.1e}")
    return difference


def _image(side: int) -> Tensor:
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(side))


def _difference(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


@torch.no_grad()
def fill(model: nn.Module) -> None:
    """Values that hide nothing: norms and biases that aren't 1 and 0, no classifier of zeros."""
    for tensor in model.parameters():
        if tensor.ndim > 1:
            tensor.normal_(0, tensor[0].numel() ** -0.5)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.add_(torch.rand(tensor.shape) - 0.5, alpha=0.5)


@torch.no_grad()
def _calm(model: nn.Module, image: Tensor) -> None:
    """Make filters and matrices smaller until no result is so large that gradients overflow."""
    for _ in range(3):
        if float(model(image).abs().max()) < LOUD:
            return
        for tensor in model.parameters():
            if tensor.ndim > 1:
                tensor.mul_(0.5)


class _Unfilled(TorchFunctionMode):
    """While active, matrices and filters are built without the values that :func:`fill` replaces anyway."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        target = args[0] if args else (kwargs or {}).get("tensor")
        if func in FILLERS | ARITHMETIC and isinstance(target, nn.Parameter) and target.ndim > 1:
            return target
        return func(*args, **(kwargs or {}))
