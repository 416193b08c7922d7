"""All rules, and how one is found."""

from __future__ import annotations

from typing import Any

import torch

from search_spaces.tracing.dimensions.axes import fixed, is_fixed
from search_spaces.tracing.labels import Call

from . import attention, elementwise, indexing, norms, products, reductions, reshape, spatial
from .rule import RULES, Rule, UnknownError

FILES = (attention, elementwise, indexing, norms, products, reductions, reshape, spatial)
"""Where the rules of :data:`RULES` are."""


def find_rule(name: str, tags: Any) -> Rule | None:
    """The rule of an operator; None: there is none."""
    if name in RULES:
        return RULES[name]
    return elementwise.pointwise if name in elementwise.POINTWISE or torch.Tag.pointwise in tags else None


def apply(call: Call, tags: Any) -> None:
    """Say what the results' dimensions are. What passes through an unknown operator stays as it is."""
    found = find_rule(call.name, tags)
    if found is not None:
        try:
            found(call)
            return
        except UnknownError:
            pass
    dims = [dim for tensor in call.tensors for dim in call.labels.of(tensor)]
    if not all(map(is_fixed, dims)):
        call.labels.unknown[call.name] = call.labels.unknown.get(call.name, 0) + 1
    call.fix(dims, f"operator '{call.name}' has no rule")
    for number, result in enumerate(call.results):
        if not call.labels.knows(result):
            call.put((fixed(size) for size in result.shape), number)
