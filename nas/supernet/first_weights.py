"""Starting a supernet from the weights of an ordinary network: timm's own, or a file of the user's.

The largest network of a space is an ordinary timm model, so its weights fit name by name. What may differ is what the
data set decides: the channels of the first convolution (adapted) and the classifier (set to 0). A random classifier
on trained features makes large random mistakes, and correcting them spoils the features: six epochs on 3,068 photos
ended 23 to 27 points lower with it. Kolesnikov et al., Big Transfer, arXiv:1912.11370, start it at 0 too.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas.quantization.grids import is_clip
from nas.store.files import is_written_by_nas, load_tensors
from nas.store.records import DataField
from nas.supernet.foreign.convert import convert, is_efficientnet_pytorch
from nas.supernet.foreign.once_for_all import convert_ofa, is_ofa
from nas.supernet.foreign.reading import listed, read_file
from search_spaces.architecture import Interface
from search_spaces.builders.hf_model import INSIDE
from search_spaces.builders.timm_compat import timm
from search_spaces.errors import UsageError, UserError, first_line
from search_spaces.schema import read_content
from search_spaces.space import SearchSpace

from .ordering import groups_of, order_channels
from .supernet import Supernet

_LEAVES = (nn.Conv2d, nn.Linear, nn.LayerNorm, nn.GroupNorm, _BatchNorm)
# Absent from most files, and right as they are: a fresh count of batches, an identity kernel matrix.
_OPTIONAL = ("num_batches_tracked", "_matrix")

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and std of pixels in [0, 1], one number per channel."""


@dataclass(frozen=True)
class _TrainedOn:
    data: DataField | None = None
    shared: bool = True


@dataclass(frozen=True)
class Start:
    """What is known of the weights that a supernet starts from.

    Attributes:
        notes: for the user, a line each.
        supernet: they are a supernet's, whose narrow subnets were trained with every channel where it is.
        normalisation: what they expect of images; None: not known.
    """

    notes: tuple[str, ...] = ()
    supernet: bool = False
    normalisation: Normalisation | None = None


def check_start(space: SearchSpace, pretrained: bool, init: str | None) -> None:
    """Refuse a start that cannot be meant, by a UsageError, before anything is read."""
    if pretrained and init is not None:
        raise UsageError("`pretrained` and `init` both give the first weights; give one of them")
    if pretrained and not space.timm_name:
        raise UsageError(
            f"`pretrained`: the largest network of space '{space.name}' isn't a model of timm's; "
            "give a space around one (`space` timm:mobilenetv2_100), or a file of weights (`init`)"
        )
    if pretrained and not timm.is_model_pretrained(space.timm_name):
        raise UsageError(f"`pretrained`: timm has no weights for {space.timm_name}; give a file (`init`)")


def start_from(net: Supernet, pretrained: bool, init: str | None) -> Start:
    """Give a new supernet its first weights, the important channels first; nothing where neither is asked for.
    Raises UserError: the weights cannot be had, or do not fit."""
    if not pretrained and init is None:
        return Start()
    start = load_weights(net, Path(init) if init is not None else None)
    if not start.supernet:
        order_channels(net.model, groups_of(net))
    return start


def load_weights(net: Supernet, file: Path | None = None) -> Start:
    """Copy weights and running statistics into the supernet.

    Args:
        file: safetensors, or a state dictionary of torch's (``.pth``, ``.pt``, ``.bin``, ``.ckpt``; bare, or within
            what a training keeps, see :mod:`nas.supernet.foreign.unwrap`) in timm's names or a layout of ``convert`` or
            ``convert_ofa``; None: timm's own weights for the space's model, fetched or from the cache.

    Raises:
        UserError: the weights cannot be fetched or read, or a tensor is missing, unknown, of another shape or not of
            floating point.
    """
    what = str(file) if file is not None else f"timm's {net.space.timm_name}"
    default = timm.get_pretrained_cfg(net.space.timm_name) if net.space.timm_name else None
    normalisation: Normalisation | None = (tuple(default.mean), tuple(default.std)) if default else None
    notes: list[str] = []
    place, supernet = "", False
    if file is None:
        name, fix = net.space.timm_name, "fetch them elsewhere and give the file as `init`"
        state = fetch_model(name, name, fix).state_dict()
    elif is_written_by_nas(file):
        state, metadata = load_tensors(file)
        found = read_content(metadata, _TrainedOn, file)
        supernet = found.shared
        normalisation = (found.data.mean, found.data.std) if found.data else None
    else:
        named = {n: t.shape for n, t in net.model.state_dict().items() if not is_clip(n)}
        inside = INSIDE if all(name.startswith(INSIDE) for name in named) else ""
        here = {name.removeprefix(inside): shape for name, shape in named.items()}
        unwrapped = read_file(file, here)
        state, place = unwrapped.tensors, unwrapped.place
        notes += unwrapped.notes
        if is_ofa(state):
            state = convert_ofa(state, net.model)
            supernet = True
            normalisation = (timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD)
        elif is_efficientnet_pytorch(state) and type(getattr(net.model, "conv_stem", None)) is nn.Conv2d:
            notes.append(f"{what} pads as TensorFlow does; timm's tf_ models do so too, this space does not")
        state = {f"{inside}{name}": tensor for name, tensor in convert(state, here).items()}
    fitting, more = _fit(_filtered(state, net.model, what), net, what, place)
    with torch.no_grad():
        for name, tensor in net.model.state_dict(keep_vars=True).items():
            if name in fitting:
                tensor.copy_(fitting[name])
    return Start((*notes, *more), supernet, normalisation)


def fetch_model(name: str, what: str, fix: str) -> nn.Module:
    """A model of timm's with its weights; where they cannot be fetched, the UserError says ``what`` and ends in
    ``fix``."""
    try:
        model: nn.Module = timm.create_model(name, pretrained=True)
    except Exception as error:  # the network's libraries fail in ways of their own
        raise UserError(f"the weights of {what} cannot be fetched ({first_line(error)[:120]}); {fix}") from None
    return model


def _filtered(state: dict[str, Tensor], model: nn.Module, what: str) -> dict[str, Tensor]:
    """What timm itself does to weights of this class: older names, position embeddings of another image size."""
    keep = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if keep is None:
        return state
    try:
        return dict(keep(state, model))
    except Exception as error:  # written for checkpoints of that class only
        raise UserError(f"{what} does not fit a {type(model).__name__}: {error}") from None


def _fit(
    state: Mapping[str, Tensor], net: Supernet, what: str, place: str
) -> tuple[dict[str, Tensor], list[str]]:  # fmt: skip
    """The tensors to copy, and notes on what was replaced or adapted; ``place``: where in the file they were."""
    model, ends = net.model, _ends(net)
    here = {name: tensor.shape for name, tensor in model.state_dict().items()}
    # clips are optional on both sides: a run may learn steps of precisions that the file knows nothing of
    there, notes = {n: t for n, t in state.items() if n in here or not is_clip(n)}, []
    heads = tuple(f"{name}." for name in ends.classifier)
    head = [n for n in here if n.startswith(heads) and not is_clip(n)] if heads else []
    left = [n for n in head if n not in there or (there[n].ndim == len(here[n]) and there[n].shape != here[n])]
    if left:
        classes = {there[n].shape[0] for n in left if n in there}
        reason = f"{classes.pop()} classes there, {here[left[0]][0]} here" if classes else "it is not there"
        notes.append(f"the classifier of {what} is not taken over ({reason}); it starts at 0")
        there = {n: t for n, t in there.items() if not n.startswith(heads)}
        there |= {n: torch.zeros(here[n]) for n in here if n.startswith(heads)}
    for stem in ends.first_conv:
        name = f"{stem}.weight"
        if name in there and name in here and _only_channels_differ(there[name].shape, here[name]):
            notes.append(f"{stem}: adapted from {there[name].shape[1]} to {here[name][1]} channels")
            there[name] = timm.models.adapt_input_conv(here[name][1], there[name], base_chans=there[name].shape[1])
    if problems := _misfits(there, state, model):
        at = f" (below '{place}')" if place else ""
        raise UserError(f"{what}{at} does not hold weights of this space's largest network: {listed(problems)}")
    return there, notes


def _misfits(there: Mapping[str, Tensor], state: Mapping[str, Tensor], model: nn.Module) -> list[str]:
    """What keeps tensors, made of those of a file, from being a model's, the most telling first."""
    here = model.state_dict()
    both = [name for name in here if name in there]
    if 10 * len(both) < len(here):
        first, more = next(iter(state)), f" and {len(state) - 1} more" if len(state) > 1 else ""
        return [f"its names are another network's, '{first}'{more}; this network's begin with '{next(iter(here))}'"]
    problems = [
        f"{name} is {tuple(there[name].shape)} there, {tuple(here[name].shape)} here"
        for name in both
        if there[name].shape != here[name].shape
    ]
    floating = [name for name in both if here[name].is_floating_point()]
    codes = [name for name in floating if not there[name].is_floating_point()]
    problems += [f"{n} holds codes ({str(there[n].dtype).removeprefix('torch.')}), which mean nothing without a scale; "
                 "give the weights before quantization" for n in codes[:1]]  # fmt: skip
    problems += [f"{n} holds infinities or NaN" for n in floating if n not in codes and not _is_finite(there[n])]
    problems += [f"{n} is missing" for n in here if n not in there and not (n.endswith(_OPTIONAL) or is_clip(n))]
    problems += [f"{n} {tuple(t.shape)} is not in this network" for n, t in there.items() if n not in here]
    return problems


def _is_finite(tensor: Tensor) -> bool:
    return bool(tensor.float().isfinite().all())


@dataclass(frozen=True)
class _Ends:
    """Names of the modules that belong to the images' channels and to the classes."""

    first_conv: tuple[str, ...]
    classifier: tuple[str, ...]


def _ends(net: Supernet) -> _Ends:
    """As timm declares them; of other models, those whose shapes follow the channels and the classes."""
    interface = net.interface
    declared = [getattr(net.model, "pretrained_cfg", {}).get(key) or () for key in ("first_conv", "classifier")]
    if any(declared):
        return _Ends(*((names,) if isinstance(names, str) else tuple(names) for names in declared))
    others = (replace(interface, in_chans=interface.in_chans + 1), replace(interface, outputs=interface.outputs + 1))
    return _Ends(*(_differing(net.space, interface, other) for other in others))


def _differing(space: SearchSpace, one: Interface, other: Interface) -> tuple[str, ...]:
    """Modules of the largest network whose tensors differ in shape with other ends."""
    try:
        shapes = [
            {name: tensor.shape for name, tensor in space.build(space.largest, ends, "meta").state_dict().items()}
            for ends in (one, other)
        ]
    except UserError:  # it takes these ends alone
        return ()
    found = (name.rpartition(".")[0] for name, shape in shapes[0].items() if shapes[1].get(name) != shape)
    return tuple(dict.fromkeys(found))


def _only_channels_differ(there: torch.Size, here: torch.Size) -> bool:
    return len(there) == len(here) == 4 and there[1] != here[1] and (there[0], *there[2:]) == (here[0], *here[2:])


@torch.no_grad()
def zero_gamma(model: nn.Module) -> list[str]:
    """Let every residual block start as the identity: its last batch norm's weight is 0 (Goyal et al.,
    arXiv:1706.02677; BigNAS, arXiv:2003.11142).

    The branch's last layer must be that norm. timm's ResNets and RegNets know it themselves (and start so anyway); in
    blocks with ``has_skip`` it is the last layer of the block. Returns names of the weights that are 0 now; none where
    a network has no such norm.
    """
    for block in model.modules():
        if callable(own := getattr(block, "zero_init_last", None)):
            own()
        elif getattr(block, "has_skip", False):
            leaves = [m for m in block.modules() if isinstance(m, _LEAVES)]
            if leaves and isinstance(leaves[-1], _BatchNorm) and leaves[-1].affine:
                nn.init.zeros_(leaves[-1].weight)
    norms = [(path, m) for path, m in model.named_modules() if isinstance(m, _BatchNorm) and m.affine]
    return [f"{path}.weight" for path, norm in norms if not norm.weight.any()]
