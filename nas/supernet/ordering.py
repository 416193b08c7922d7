"""Important channels first.

A narrow subnet borrows the first channels of the largest network (see ``borrow``). In weights that were trained
without that in mind, the first channels aren't better than any others; so they are sorted before narrow subnets are
trained. Two measures of importance: the L1 norm of the weights that read a channel (Cai et al., Once-for-All,
arXiv:1908.09791, section 3.3), which needs no data, and what the loss would change by without the channel, estimated
from gradients (Molchanov et al., arXiv:1906.10771). The largest network computes the same before and after, but for
the order in which floating-point sums are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from nas.quantization.grids import is_clip
from search_spaces.tracing.groups import Axis, Group, channel_groups

from .supernet import Supernet

Importance = Callable[[Group], Tensor]
"""How much each item of a group matters, ``[items]`` in float64."""


def groups_of(net: Supernet) -> list[Group]:
    """What may be reordered in a supernet's weights (:mod:`search_spaces.tracing.groups`); learned clips follow the
    rows of their layer."""
    clips: dict[str, list[str]] = {}
    for name, _ in net.model.named_parameters():
        if is_clip(name):
            clips.setdefault(f"{name.rpartition('.')[0]}.weight", []).append(name)
    return [
        (*group, *(replace(axis, name=clip) for axis in group if axis.dim == 0 for clip in clips.get(axis.name, ())))
        for group in channel_groups(net.space, net.interface)
    ]


@torch.no_grad()
def order_channels(model: nn.Module, groups: Sequence[Group], importance: Importance | None = None) -> None:
    """Permute the items of every group by falling importance, in place; equal ones keep their order.

    The model is the largest network of a space; an optimizer's state is not permuted with it.

    Args:
        importance: of a group of this model; None: :func:`weight_importance`.

    Raises:
        ValueError: the axes of a group do not have the same number of items.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for group in groups:
        value = weight_importance(tensors, group) if importance is None else importance(group)
        order = value.argsort(descending=True, stable=True)
        for axis in group:
            tensor, dim = tensors[axis.name], axis.dim
            _section(tensor, axis).copy_(_items(tensor, axis).index_select(dim + 1, order).flatten(dim, dim + 2))


def weight_importance(tensors: Mapping[str, Tensor], group: Group) -> Tensor:
    """Importance by weights alone.

    The sum over the scoring axes of the item's share of its tensor's L1 norm: shares, so that a large tensor does not
    drown the others. Where no axis is marked as scoring, all weights count (vectors such as norms and biases do not).
    """
    scoring = [axis for axis in group if axis.score] or [axis for axis in group if tensors[axis.name].ndim > 1]
    total = _zeros(tensors, group)
    for axis in scoring:
        norms = _sums(tensors[axis.name].abs(), axis)
        total += norms / norms.sum().clamp_min(torch.finfo(torch.float64).tiny)
    return total


def loss_importance(model: nn.Module, groups: Sequence[Group], batches: Iterable[Iterable[Tensor]]) -> Importance:
    """Importance by a loss: how much it would change without an item, to first order.

    For each batch the sum of weight times gradient over everything of the item, squared; the sum of that over batches
    (Molchanov et al., arXiv:1906.10771, equations 7 and 8, with the item's weights as one parameter).

    Args:
        batches: losses of the model that add up to a batch's, each a scalar whose graph is still there.
    """
    parameters = dict(model.named_parameters())
    tensors = {**parameters, **dict(model.named_buffers())}
    totals = [_zeros(tensors, group) for group in groups]
    for losses in batches:
        changes = [torch.zeros_like(total) for total in totals]
        for loss in losses:
            gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            with torch.no_grad():
                products = {
                    name: weight * gradient
                    for (name, weight), gradient in zip(parameters.items(), gradients, strict=True)
                    if gradient is not None
                }
                for change, group in zip(changes, groups, strict=True):
                    change += _group_sum(products, tensors, group)
        totals = [total + change.square() for total, change in zip(totals, changes, strict=True)]
    known = dict(zip(groups, totals, strict=True))
    return lambda group: known[group]


def _group_sum(products: Mapping[str, Tensor], tensors: Mapping[str, Tensor], group: Group) -> Tensor:
    total = _zeros(tensors, group)
    for axis in group:
        if axis.name in products:
            total += _sums(products[axis.name], axis)
    return total


def _zeros(tensors: Mapping[str, Tensor], group: Group) -> Tensor:
    """One for each item of a group."""
    return torch.zeros(_count(tensors, group), dtype=torch.float64, device=tensors[group[0].name].device)


def _count(tensors: Mapping[str, Tensor], group: Group) -> int:
    """Items of a group. Raises ValueError: its axes disagree."""
    counts = {_items(tensors[axis.name], axis).shape[axis.dim + 1] for axis in group}
    if len(counts) != 1:
        raise ValueError(f"axes of {group[0].name} and others have {sorted(counts)} items; a group has one number")
    return counts.pop()


def _sums(tensor: Tensor, axis: Axis) -> Tensor:
    """Of everything that belongs to each item, ``[items]`` in float64."""
    return _items(tensor.to(torch.float64), axis).movedim(axis.dim + 1, 0).flatten(1).sum(dim=1)


def _items(tensor: Tensor, axis: Axis) -> Tensor:
    """What of the tensor is the axis's, with the dimension split into ``[parts, items, unit]``."""
    items: Tensor = _section(tensor, axis).unflatten(axis.dim, (axis.parts, -1, axis.unit))
    return items


def _section(tensor: Tensor, axis: Axis) -> Tensor:
    """A view of what of the tensor is the axis's."""
    if axis.within is None:
        return tensor
    first, end = axis.within
    return tensor.narrow(axis.dim, first, end - first)
