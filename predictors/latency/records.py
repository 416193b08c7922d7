"""The plain numbers that a latency model is made of, as a target's file holds them. Needs no numpy."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

from search_spaces.schema import Amount, Range

Positive = Annotated[float, Range(above=0)]


@dataclass(frozen=True)
class Coefficients:
    """Constants of one precision on one target, in the order of the columns of ``additive.design``.

    Attributes:
        stem_ms_per_mmac: k x k convolutions of the image itself, ms per million multiply-accumulates: few channels in,
            so short sums over an input that is first unfolded, which counts as ``additive.UNFOLD`` MACs per byte.
        conv_ms_per_mmac: other dense and grouped k x k convolutions.
        pointwise_ms_per_mmac: 1x1 convolutions, linear layers and matrix products.
        depthwise_ms_per_mmac: depthwise convolutions.
        activation_ms_per_mb: ms per 1e6 bytes of activations read or written, by all but the next two.
        pool_ms_per_mb: the same for pooling and other reductions.
        elementwise_ms_per_mb: the same for elementwise operators: residual sums, hard-swish and gates, which an int8
            runtime computes in more steps than it moves bytes.
        weight_ms_per_mb: ms per 1e6 bytes of weights.
        operator_ms: ms per operator.
        fixed_ms: ms per network.
    """

    stem_ms_per_mmac: Amount
    conv_ms_per_mmac: Amount
    pointwise_ms_per_mmac: Amount
    depthwise_ms_per_mmac: Amount
    activation_ms_per_mb: Amount
    pool_ms_per_mb: Amount
    elementwise_ms_per_mb: Amount
    weight_ms_per_mb: Amount
    operator_ms: Amount
    fixed_ms: Amount


COEFFICIENTS = tuple(f.name for f in fields(Coefficients))


@dataclass(frozen=True)
class OperatorTable:
    """Measured operators, or blocks of a few.

    Attributes:
        features: names of the columns of ``rows``; the other features are 0.
        rows: feature rows of what was measured.
        ms: how long each took, without what every network costs.
        width, noise: of the interpolation, see ``operator_table``; in natural logarithms of the features.
    """

    features: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]
    ms: tuple[Positive, ...]
    width: Positive
    noise: Positive
