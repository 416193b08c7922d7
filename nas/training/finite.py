"""Stopping at losses, gradients and weights that are not finite, before they replace good ones."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from search_spaces.errors import UserError

from .strategies.base import Pass

_SHOWN = 160  # characters of genes in a message
_KEPT = "the last good state is kept. Train again with another `out` and a lower `lr`"


def check_finite(passes: Sequence[Pass], losses: Sequence[float], step: int) -> None:
    """Stop before a loss that isn't finite reaches the weights: a UserError names the step and the subnet."""
    for trained, loss in zip(passes, losses, strict=True):
        if not math.isfinite(loss):
            raise UserError(f"the loss is {loss} at step {step}, of {_named([trained])}; {_KEPT}")


def check_norm(passes: Sequence[Pass], norm: float, step: int) -> None:
    """Stop before weights are written that gradients moved whose ``norm`` isn't finite: a UserError names the step and
    the subnets of its passes."""
    if not math.isfinite(norm):
        raise UserError(f"the norm of the gradients is {norm} at step {step}, of {_named(passes)}; {_KEPT}")


def check_weights(tensors: Iterable[Tensor], done: int) -> None:
    """Refuse, by a UserError that names the step, to overwrite a good checkpoint with weights that aren't finite."""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise UserError(f"weights or running statistics are not finite after step {done}; {_KEPT}")


def _named(passes: Sequence[Pass]) -> str:
    if len(passes) > 1:
        return f"subnets {', '.join(one.architecture.id for one in passes)}"
    genes = json.dumps(dict(passes[0].architecture.genes), separators=(",", ":"))
    return f"subnet {passes[0].architecture.id} {genes if len(genes) <= _SHOWN else genes[:_SHOWN] + '...'}"
