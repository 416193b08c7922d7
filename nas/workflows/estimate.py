"""What a model will cost on a target, without running it: any timm model, a candidate, an exported folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.search.objectives import misfits
from nas.store.files import check_format, is_json, read_json
from nas.store.records import EXPORTED
from nas.store.schema import check_form
from predictors.costs.network import ACTIVATION_BYTES, WEIGHT_BYTES
from predictors.policy_costs import NetworkCosts, network_costs
from predictors.targets.target import load_target
from search_spaces import get_space
from search_spaces.architecture import Architecture, Interface
from search_spaces.errors import UsageError, UserError, unknown_name
from search_spaces.policy import check_stages, parse_policy

if TYPE_CHECKING:
    from torch import nn

    from nas.store.run import Run
    from search_spaces.operators.operator import Op

DEFAULT_TARGET = "cortex-a72"
MEMBERS = ("best", "fastest", "smallest")
_TOO_LARGE = 65536


@dataclass(frozen=True)
class Subject:
    """A model to estimate.

    Attributes:
        name: in the result.
        build: the model on ``meta`` for images of that side; None: its own.
        size: (channels, height, width) of its own images.
        target, precision: what it was made for; empty: nothing in particular.
    """

    name: str
    build: Callable[[int | None], nn.Module]
    size: tuple[int, int, int]
    target: str = ""
    precision: str = ""


def estimate_model(
    model: str,
    target: str | None = None,
    resolution: int | None = None,
    precision: str | None = None,
    run: Callable[[], Run] | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    layers: bool = False,
) -> dict[str, Any]:
    """Costs of a network on a target.

    Args:
        model: a timm name, with or without a pretrained tag; an id on the front of the run's last search, or ``best``,
            ``fastest``, ``smallest``; an architecture as JSON or a file of it; an exported folder or its
            ``model.safetensors``.
        target: name or file; None: a candidate's own, else :data:`DEFAULT_TARGET`.
        resolution: image side in pixels; None: the model's own.
        precision: a precision policy, ``int8`` or ``int8,blocks.1=w4a8``; None: a candidate's own, else the target's.
        run: opens the run that candidates come from.
        num_classes, in_chans: None: the model's own; for an architecture 1000 and 3.
        layers: add one entry an operator.

    Returns:
        ``macs``, ``params``, ``size_bytes``, ``peak_activation_bytes`` as in ``predictors.costs.network.Costs``, the
        device's ``memory`` and what of the network exceeds it (``misfits``), ``latency_ms``
        with how far to trust it (``latency_source``) and why (``latency_basis``), and with ``layers`` the operators,
        whose ``ms`` and ``fixed_ms`` add up to ``latency_ms``.

    Raises:
        UsageError: unknown model, target or precision, or a resolution the network cannot take.
        UserError: a file that is missing or damaged, or a run without a search.
    """
    if resolution is not None and not 1 <= resolution <= _TOO_LARGE:
        raise UsageError(f"resolution {resolution}: give the image's side in pixels, 1 or more (up to {_TOO_LARGE})")
    wanted = load_target(target) if target else None
    if wanted is not None and precision is not None:
        wanted.policy(precision)
    subject = _subject(model, run, num_classes, in_chans)
    device = wanted or load_target(subject.target or DEFAULT_TARGET)
    own = parse_policy(subject.precision or device.default_precision)
    if not set(own.precisions) <= set(device.precisions):
        own = parse_policy(device.default_precision)
    chosen = own if precision is None else device.policy(precision)
    ops, params, size = _operators(subject, resolution)
    check_stages(chosen, (op.path for op in ops), subject.name)
    found = network_costs(ops, params, chosen, device)
    costs = found.costs
    facts = {
        "model": subject.name,
        "target": device.name,
        "precision": str(chosen),
        "resolution": size[1] if size[1] == size[2] else list(size[1:]),
        "in_chans": size[0],
        "macs": costs.macs,
        "params": costs.params,
        "size_bytes": costs.size_bytes,
        "peak_activation_bytes": costs.peak_activation_bytes,
        "memory_rules": device.memory_rules,
        "memory": device.memory,
        "misfits": misfits(device, {"size": costs.size_bytes, "memory": costs.peak_activation_bytes}),
        "latency_ms": found.latency_ms,
        "latency_source": device.labels_of(chosen.precisions),
        "latency_basis": device.sources_of(chosen.precisions),
        "fixed_ms": found.fixed_ms,
        "operators": len(ops),
    }
    return facts | ({"layers": _layers(ops, found)} if layers else {})


def _layers(ops: list[Op], found: NetworkCosts) -> list[dict[str, Any]]:
    """One entry an operator; ``bytes`` are activations read and written, and weights read."""
    return [
        {
            "path": op.path,
            "kind": op.kind,
            "out_shape": list(op.out_shape),
            "macs": op.macs,
            "weights": op.weights,
            "precision": name,
            "bytes": round(op.moved * ACTIVATION_BYTES[name] + op.weights * WEIGHT_BYTES[name]),
            "ms": float(ms),
        }
        for op, name, ms in zip(ops, found.precisions, found.operators_ms, strict=True)
    ]


def _operators(subject: Subject, resolution: int | None) -> tuple[list[Op], int, tuple[int, int, int]]:
    """Operators, parameters and image size of a subject.

    Raises:
        UsageError: the network cannot take such images.
    """
    import torch

    from search_spaces.operators.operator import trace_on

    channels, height, width = subject.size
    if resolution is not None:
        height = width = resolution
    try:
        model = subject.build(None if (height, width) == subject.size[1:] else resolution).eval()
        ops = trace_on(model, torch.empty(1, channels, height, width, device="meta"))
    except (RuntimeError, AssertionError, ValueError, IndexError, ZeroDivisionError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        if (height, width) == subject.size[1:]:
            raise UserError(f"{subject.name} cannot be read without running it: {reason}") from None
        raise UsageError(
            f"{subject.name} cannot take images of {height} x {width} px: {reason}; "
            f"it was made for {subject.size[1]} x {subject.size[2]}"
        ) from None
    return ops, sum(p.numel() for p in model.parameters()), (channels, height, width)


def _subject(model: str, run: Callable[[], Run] | None, num_classes: int | None, in_chans: int | None) -> Subject:
    """What a user's words mean."""
    path = Path(model)
    if is_json(model):
        from .resolve import parse_architecture

        return _of_architecture(parse_architecture(model), num_classes, in_chans)
    if path.is_dir() or path.suffix in (".json", ".safetensors"):
        return _exported(path, num_classes, in_chans)
    if "/" in model or "\\" in model:
        raise UserError(f"{model} does not exist; give an exported folder, or another model")
    if model in MEMBERS or re.fullmatch(r"[0-9a-f]{4,8}(-\w*(-[0-9a-f]{,4})?)?", model):
        return _of_candidate(model, run, num_classes, in_chans)
    return _of_timm(model, num_classes, in_chans)


def _of_timm(name: str, num_classes: int | None, in_chans: int | None) -> Subject:
    from search_spaces.builders.no_init import NoInit
    from search_spaces.builders.timm_compat import timm

    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        raise unknown_name("model", name, [*timm.list_models(), *MEMBERS])
    tagged = timm.list_models(f"{base}.*", pretrained=True) if tag else []
    if tag and name not in tagged:
        raise unknown_name("pretrained tag", tag, [t.partition(".")[2] for t in tagged], f"of {base}")
    options = {k: v for k, v in (("num_classes", num_classes), ("in_chans", in_chans)) if v is not None}

    def create(**more: int) -> nn.Module:
        with NoInit():
            return timm.create_model(name, pretrained=False, device="meta", **options, **more)  # type: ignore[no-any-return]

    def build(resolution: int | None) -> nn.Module:
        if resolution is None:
            return create()
        try:
            return create(img_size=resolution)  # position embeddings are made for one size
        except TypeError:
            return create()  # most networks take any size

    channels, height, width = timm.get_pretrained_cfg(name).input_size
    return Subject(name, build, (in_chans or channels, height, width))


def _of_architecture(architecture: Architecture, num_classes: int | None, in_chans: int | None) -> Subject:
    space = get_space(architecture.space)
    space.encode(architecture)
    classes, channels = num_classes or 1000, in_chans or 3

    def build(resolution: int | None) -> nn.Module:
        genes = dict(architecture.genes) | ({"resolution": resolution} if resolution else {})
        return space.build(Architecture(space.name, tuple(genes.items())), Interface(channels, classes), "meta")

    side = architecture.resolution
    return Subject(f"{space.name} {architecture.id}", build, (channels, side, side))


def _of_candidate(name: str, run: Callable[[], Run] | None, num_classes: int | None, in_chans: int | None) -> Subject:
    from .resolve import pick_member, read_search

    if run is None:
        raise UsageError(f"candidate '{name}': of which run? give --run")
    opened = run()
    result = read_search(opened, None)
    member = pick_member(result, name)
    data = opened.read_data()
    found = _of_architecture(
        Architecture.from_dict(member["architecture"]),
        num_classes or len(data["classes"]),
        in_chans or data["in_chans"],
    )
    return Subject(member["id"], found.build, found.size, result["config"]["target"], member["precision"])


def _exported(path: Path, num_classes: int | None, in_chans: int | None) -> Subject:
    """An exported folder or a file in it, or a file with an architecture alone."""
    from search_spaces.builders.timm_model import TimmSpec, build_foreign

    folder = path if path.is_dir() else path.parent
    file = path if path.suffix == ".json" else folder / "architecture.json"
    content = read_json(file)
    check_format(content, file)
    if not isinstance(content, dict) or "timm" not in content:
        from .resolve import parse_architecture

        return _of_architecture(parse_architecture(str(file)), num_classes, in_chans)
    check_form(content, EXPORTED, file)
    spec = dict(content["timm"])
    spec |= {"num_classes": num_classes or spec["num_classes"], "in_chans": in_chans or spec["in_chans"]}
    if len(size := content["input"]["input_size"]) != 3:
        raise UserError(f"{file} is damaged: input_size is not channels, height and width; export it again")
    facts = (content["candidate"], content["target"]["name"], content["precision"])

    def build(resolution: int | None) -> nn.Module:
        changed = dict(spec)
        for part in ("options", "arguments"):
            if resolution is not None and "img_size" in changed.get(part, {}):
                changed[part] = changed[part] | {"img_size": resolution}
        return build_foreign(TimmSpec.from_json(changed), str(file), "meta")

    return Subject(facts[0], build, (spec["in_chans"], *size[1:]), *facts[1:])
