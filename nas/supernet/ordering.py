"""Important channels first.

A narrow subnet borrows the first channels of the largest network (see ``borrow``). In weights that were trained
without that in mind, the first channels aren't better than any others; Once-for-All therefore sorts them by the L1
norm of the weights that read them before the narrow subnets are trained (Cai et al., arXiv:1908.09791, section 3.3).
The largest network computes the same before and after, but for the order in which floating-point sums are taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from search_spaces.channels import Axis, Group


@torch.no_grad()
def order_channels(model: nn.Module, groups: Sequence[Group]) -> None:
    """Permute the items of every group by falling importance, in place; equal ones keep their order.

    The model is the largest network of a space, before it trains: an optimizer's state would not be permuted with it.
    Raises ValueError where the axes of a group do not have the same number of items.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for group in groups:
        order = importance(tensors, group).argsort(descending=True, stable=True)
        for axis in group:
            tensor, dim = tensors[axis.name], axis.dim
            tensor.copy_(_items(tensor, axis).index_select(dim + 1, order).flatten(dim, dim + 2))


def importance(tensors: Mapping[str, Tensor], group: Group) -> Tensor:
    """How much each item of a group matters, ``[items]`` in float64.

    The sum over the scoring axes of the item's share of its tensor's L1 norm: shares, so that a large tensor does not
    drown the others. Where no axis is marked as scoring, all weights count (vectors such as norms and biases do not).
    """
    scoring = [axis for axis in group if axis.score] or [axis for axis in group if tensors[axis.name].ndim > 1]
    counts = {_items(tensors[axis.name], axis).shape[axis.dim + 1] for axis in group}
    if len(counts) != 1:
        raise ValueError(f"axes of {group[0].name} and others have {sorted(counts)} items; a group has one number")
    total = torch.zeros(counts.pop(), dtype=torch.float64, device=tensors[group[0].name].device)
    for axis in scoring:
        weights = _items(tensors[axis.name], axis).to(torch.float64).abs()
        norms = weights.movedim(axis.dim + 1, 0).flatten(1).sum(dim=1)
        total += norms / norms.sum().clamp_min(torch.finfo(torch.float64).tiny)
    return total


def _items(tensor: Tensor, axis: Axis) -> Tensor:
    """The tensor with the axis's dimension split into ``[parts, items, unit]``."""
    items: Tensor = tensor.unflatten(axis.dim, (axis.parts, -1, axis.unit))
    return items
