"""Exact costs: MACs, parameters, size at a precision, peak activation memory.

Nothing here is estimated. One architecture's costs are sums over the operators of its traced model; memory's peaks are
maxima instead of sums. Populations are scored by table, see ``predictors.costs.tables``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search_spaces.architecture import Architecture, Interface
from search_spaces.genes import Floats
from search_spaces.operators.operator import KINDS, Op, Stretch
from search_spaces.operators.trace import trace
from search_spaces.policy import FLOAT, PRECISIONS, WEIGHT_BITS
from search_spaces.space import SearchSpace

from .memory import DEFAULT_RULES, RULES, check_rules, peaks, stretch_peaks

SUMS = (*(f"macs_{k}" for k in KINDS), *(f"ops_{k}" for k in KINDS), *(f"moved_{k}" for k in KINDS), "stem",
        "unfolded", "weights", "channels", "params")  # fmt: skip
PEAKS = tuple(f"live_{name}" for name in RULES)
FEATURES = (*SUMS, *PEAKS)
COLUMN = {name: i for i, name in enumerate(FEATURES)}
SUMMED = len(SUMS)
"""Columns before this one are summed over operators and segments, those from it on maximised."""

WEIGHT_BYTES = {precision: bits / 8 for precision, bits in WEIGHT_BITS.items()}
ACTIVATION_BYTES = {precision: 4 if precision == FLOAT else 1 for precision in PRECISIONS}


@dataclass(frozen=True)
class Costs:
    """Costs of one network as deployed (batch norm folded), for one image.

    Attributes:
        params: of the timm model, batch norm included.
        size_bytes: weights at the precision and a 4-byte bias per channel; where quantized, a 4-byte scale per channel.
        peak_activation_bytes: largest sum of activations alive at once, in execution order (see ``memory``).
    """

    macs: int
    params: int
    size_bytes: int
    peak_activation_bytes: int


def op_features(ops: Sequence[Op], params: int, stretches: Sequence[Stretch] = ()) -> Floats:
    """Feature vector (order of :data:`FEATURES`) of a list of operators with ``params`` parameters; ``stretches``: the
    same operators, where other tensors are alive around them."""
    row: Floats = operator_rows(ops).sum(axis=0)
    row[COLUMN["params"]] = params
    row[SUMMED:] = stretch_peaks(stretches) if stretches else peaks(ops)
    return row


def operator_rows(ops: Sequence[Op]) -> Floats:
    """One feature row per operator, ``[ops, features]``. They add up to the network's, except parameters and peaks.

    ``stem`` counts once more the MACs of k x k convolutions that read the image and look at its pixels several times,
    as a patch embedding does not; ``unfolded`` how many pixels those look at, repetitions included.
    """
    rows = np.zeros((len(ops), len(FEATURES)))
    for row, op in zip(rows, ops, strict=True):
        row[COLUMN[f"macs_{op.kind}"]] = op.macs
        row[COLUMN[f"ops_{op.kind}"]] = 1
        row[COLUMN[f"moved_{op.kind}"]] = op.moved
        row[COLUMN["weights"]] = op.weights
        row[COLUMN["channels"]] = op.channels
        image = next((b for b in op.reads if b.number == 0), None)
        if op.kind == "conv" and image is not None and op.channels and op.macs / op.channels > image.elements:
            row[COLUMN["stem"]] = op.macs
            row[COLUMN["unfolded"]] = op.macs / op.channels
    return rows


def total_macs(features: Floats) -> Floats:
    """MACs of feature rows ``[..., features]``."""
    return sum((features[..., COLUMN[f"macs_{k}"]] for k in KINDS), np.zeros(features.shape[:-1]))


def size_bytes(features: Floats, precision: str) -> Floats:
    """Bytes of the deployed weights at a precision (see :class:`Costs`)."""
    per_channel = 4 if precision == FLOAT else 8
    return features[..., COLUMN["weights"]] * WEIGHT_BYTES[precision] + features[..., COLUMN["channels"]] * per_channel


def peak_activation_bytes(features: Floats, precision: str, rules: str = DEFAULT_RULES) -> Floats:
    """Bytes of the activations alive at the worst moment. Raises UsageError where ``memory.RULES`` lack the rules."""
    return features[..., COLUMN[f"live_{check_rules(rules)}"]] * ACTIVATION_BYTES[precision]


def costs_of(features: Floats, precision: str, rules: str = DEFAULT_RULES) -> Costs:
    """Costs of one feature row."""
    return Costs(
        macs=int(total_macs(features)),
        params=int(features[COLUMN["params"]]),
        size_bytes=int(size_bytes(features, precision)),
        peak_activation_bytes=int(peak_activation_bytes(features, precision, rules)),
    )


def architecture_features(space: SearchSpace, architecture: Architecture, interface: Interface) -> Floats:
    """Features of one architecture, from its own traced model."""
    model = space.build(architecture, interface, "meta").eval()
    ops = trace(model, interface.in_chans, architecture.resolution)
    return op_features(ops, sum(p.numel() for p in model.parameters()))
