"""What a model costs on a target, without running it: a model of timm, a space's largest, a candidate, an export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nas.search.objectives import misfits
from predictors.costs.network import ACTIVATION_BYTES, WEIGHT_BYTES, operator_rows
from predictors.latency.extent import extents_of
from predictors.policy_costs import NetworkCosts, network_costs
from predictors.targets.target import load_target
from search_spaces.errors import UsageError, UserError, first_line
from search_spaces.policy import check_stages, parse_policy

from .resolve import Subject, read_subject

if TYPE_CHECKING:
    from nas.store.run import Run
    from search_spaces.operators.operator import Op

DEFAULT_TARGET = "cortex-a72"
_TOO_LARGE = 65536


@dataclass(frozen=True)
class Layer:
    """What one operator costs.

    Attributes:
        kind: one of ``search_spaces.operators.operator.KINDS``.
        out_shape: of its output, without the batch.
        macs, weights: multiplications with additions, and parameters.
        bytes: activations that it reads and writes, and weights that it reads.
        ms: its share of the latency.
    """

    path: str
    kind: str
    out_shape: tuple[int, ...]
    macs: int
    weights: int
    precision: str
    bytes: int
    ms: float


@dataclass(frozen=True)
class Estimate:
    """Costs of a network on a target.

    Attributes:
        resolution: side of an image in pixels, or its height and width where they differ.
        macs, params, size_bytes, peak_activation_bytes: as in :class:`predictors.costs.network.Costs`.
        memory_rules: what the runtime does with memory, one of ``predictors.costs.memory.RULES``.
        memory: limits of the device, as :attr:`predictors.targets.card.TargetCard.memory`; empty: none.
        misfits: what of the network exceeds them, in words.
        latency_ms: milliseconds of one inference.
        latency_source, latency_basis: how far to trust them for this network, and where they come from.
        fixed_ms: milliseconds of any network; with those of the layers they make ``latency_ms``.
        layers: the operators in the order of execution; None: not asked for.
    """

    model: str
    target: str
    precision: str
    resolution: int | tuple[int, int]
    in_chans: int
    macs: int
    params: int
    size_bytes: float
    peak_activation_bytes: float
    memory_rules: str
    memory: Mapping[str, int | str]
    misfits: tuple[str, ...]
    latency_ms: float
    latency_source: str
    latency_basis: str
    fixed_ms: float
    operators: int
    layers: tuple[Layer, ...] | None = None


def estimate_model(
    model: str,
    target: str | None = None,
    resolution: int | None = None,
    precision: str | None = None,
    run: Callable[[], Run] | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    layers: bool = False,
) -> Estimate:
    """Costs of a network on a target.

    Args:
        model: as :func:`nas.workflows.resolve.read_subject` takes it.
        target: name or file; None: a candidate's own, else :data:`DEFAULT_TARGET`.
        resolution: image side in pixels; None: the model's own.
        precision: a precision policy, ``int8`` or ``int8,blocks.1=w4a8``; None: a candidate's own, else the target's.
        run: opens the run that candidates come from.
        num_classes, in_chans: None: the model's own; for an architecture 1000 and 3.
        layers: list the operators too.

    Raises:
        UsageError: unknown model, target or precision, or a resolution the network cannot take.
        UserError: a file that is missing or damaged, or a run without a search.
    """
    if resolution is not None and not 1 <= resolution <= _TOO_LARGE:
        raise UsageError(f"resolution {resolution}: give the image's side in pixels, 1 or more (up to {_TOO_LARGE})")
    wanted = load_target(target) if target else None
    if wanted is not None and precision is not None:
        wanted.policy(precision)
    subject = read_subject(model, run, num_classes, in_chans)
    device = wanted or load_target(subject.target or DEFAULT_TARGET)
    policy = parse_policy(subject.precision or device.default_precision)
    if not set(policy.precisions) <= set(device.precisions):
        policy = parse_policy(device.default_precision)
    if precision is not None:
        policy = device.policy(precision)
    ops, params, size = operators_of_subject(subject, resolution)
    check_stages(policy, (op.path for op in ops), subject.name)
    network = network_costs(ops, params, policy, device)
    costs, rows = network.costs, operator_rows(ops).sum(axis=0, keepdims=True)
    (extent,) = extents_of(rows, np.array([network.latency_ms]), [min(size[1:])])
    return Estimate(
        model=subject.name,
        target=device.name,
        precision=str(policy),
        resolution=size[1] if size[1] == size[2] else size[1:],
        in_chans=size[0],
        **vars(costs),
        memory_rules=device.memory_rules,
        memory=device.memory,
        misfits=tuple(misfits(device, {"size": costs.size_bytes, "memory": costs.peak_activation_bytes})),
        latency_ms=network.latency_ms,
        latency_source=device.label_for(policy.precisions, extent),
        latency_basis=device.sources_of(policy.precisions),
        fixed_ms=network.fixed_ms,
        operators=len(ops),
        layers=_layers(ops, network) if layers else None,
    )


def _layers(ops: list[Op], network: NetworkCosts) -> tuple[Layer, ...]:
    return tuple(
        Layer(
            op.path,
            op.kind,
            tuple(op.out_shape),
            op.macs,
            op.weights,
            precision,
            round(op.moved * ACTIVATION_BYTES[precision] + op.weights * WEIGHT_BYTES[precision]),
            float(ms),
        )
        for op, precision, ms in zip(ops, network.precisions, network.operators_ms, strict=True)
    )


def operators_of_subject(subject: Subject, resolution: int | None) -> tuple[list[Op], int, tuple[int, int, int]]:
    """Operators, parameters and image size of a subject. Raises UsageError: the network cannot take such images."""
    import torch

    from search_spaces.operators.trace import trace_on

    channels, height, width = subject.size
    if resolution is not None:
        height = width = resolution
    try:
        model = subject.build(None if (height, width) == subject.size[1:] else resolution).eval()
        ops = trace_on(model, torch.empty(1, channels, height, width, device="meta"))
    except (RuntimeError, AssertionError, ValueError, IndexError, ZeroDivisionError) as error:
        reason = first_line(error).rstrip(".")
        if (height, width) == subject.size[1:]:
            raise UserError(f"{subject.name} cannot be read without running it: {reason}") from None
        raise UsageError(
            f"{subject.name} cannot take images of {height} x {width} px: {reason}; "
            f"it was made for {subject.size[1]} x {subject.size[2]}"
        ) from None
    return ops, sum(p.numel() for p in model.parameters()), (channels, height, width)
