"""Which space suits the images of a run that names none, and what its networks will see of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Size

from nas.data.dataset import SMALL_SIDE, interface_of
from nas.data.preparation import shorter_side
from nas.store.files import is_written_by_nas, load_tensors
from nas.store.records import DataInfo
from nas.store.words import colour_of
from nas.supernet.first_weights import load_weights
from nas.supernet.foreign.convert import is_efficientnet_pytorch
from nas.supernet.foreign.reading import find_network, load_content
from nas.supernet.supernet import Supernet
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.builders.timm_compat import NoInit, timm
from search_spaces.errors import UsageError, UserError
from search_spaces.families.named import spell_out
from search_spaces.families.options import PREFIX
from search_spaces.schema import convert

TINY, SMALL, LARGE = "mbv3-tiny", "mbv3-small", "mbv3-large"
PRETRAINED = "timm:mobilenetv3_large_100"
"""The space around a model whose weights timm has; its own image sides are 128 to 224."""
MANY = 50_000
"""Training images from which large networks are worth their time without weights to start from."""
_DETAILED = 160  # pixels of the shorter side from which networks for 128 to 224 px lose nothing
_TRIED = (
    SMALL, LARGE, TINY, "ofa-mbv3-w1.0", "ofa-mbv3-w1.2", "ofa-proxyless", PRETRAINED, "timm:mobilenetv3_small_100",
    "timm:mobilenetv2_100", "timm:efficientnet_b0", "timm:efficientnet_lite0", "timm:efficientnet_lite1",
    "timm:efficientnet_lite2", "timm:resnet18", "timm:resnet50",
)  # fmt: skip
"""Spaces whose largest network a file of weights may be of."""


@dataclass(frozen=True)
class Choice:
    """A space, and why it is that one."""

    space: str
    reason: str


@dataclass(frozen=True)
class _Supernet:
    space: str


@dataclass(frozen=True)
class _Trained:
    config: _Supernet


def choose_space(info: DataInfo, pretrained: bool = False, init: str | None = None) -> Choice:
    """The space for images of that size, number and colour, and for the first weights that were asked for.

    Raises:
        UsageError: the weights in ``init`` are of none of the spaces that are tried.
        UserError: they cannot be read.
    """
    side, images = info.native_size, info.train_images
    small, detailed = side <= SMALL_SIDE, side >= _DETAILED
    if init is not None:
        return Choice(*_for_weights(Path(init), info))
    if pretrained:
        return _choice(spell_out(_sized(PRETRAINED, info)), info, "timm has weights for it")
    if small:
        return _choice(TINY, info, "")
    if detailed and images >= MANY:
        return _choice(LARGE, info, f"{SMALL} takes a fraction of the time")
    more = f"; {LARGE} sees more, and takes many times as long" if detailed else ""
    return _choice(SMALL, info, f"to start from timm's weights: `pretrained`{more}")


def _sized(name: str, info: DataInfo) -> str:
    """A space around a model of timm's, whose own sides are for photos, at sides for these images."""
    if info.native_size >= _DETAILED or not name.startswith(PREFIX):
        return name
    return f"{name}:resolution={'32,48,64' if info.native_size <= SMALL_SIDE else '64,96,128'}"


def _choice(name: str, info: DataInfo, note: str) -> Choice:
    sides = _sides(name)
    images = f"{info.train_images:,} {colour_of(info.in_chans)} training images"
    why = f"for {images} of {info.native_size} px (shorter side, median)"
    reason = f"`space` {name}, {sides[0]} to {sides[-1]} px, is chosen {why}"
    return Choice(name, f"{reason}; {note}" if note else reason)


def _for_weights(file: Path, info: DataInfo) -> tuple[str, str]:
    """The space whose largest network a file holds the weights of, and that in words."""
    if file.is_file() and is_written_by_nas(file):
        try:
            name = convert(load_tensors(file)[1], _Trained).config.space
        except ValueError:
            pass  # an exported network
        else:
            return name, f"`space` {name} is that of the supernet in {file}"
    content = load_content(file)
    for name in _TRIED:
        shapes = _shapes_of(name)
        here, tensors = _convolutions(shapes.values()), find_network(content, shapes, file).tensors
        there = _convolutions(tensor.shape for tensor in tensors.values())
        if max((here - there).total(), (there - here).total()) > 1:  # the first may see other channels
            continue
        if is_efficientnet_pytorch(tensors):  # they pad as TensorFlow does, and so do timm's models of that name
            name = name.replace(f"{PREFIX}efficientnet", f"{PREFIX}tf_efficientnet")
        try:
            load_weights(Supernet(get_space(name), interface_of(info)), file)
        except UserError:
            continue
        name = spell_out(_sized(name, info))
        return name, f"`space` {name} is chosen because the weights in {file} fit it, with sides for these images"
    raise UsageError(
        f"`init` {file}: the weights are of none of the spaces that are tried ({', '.join(_TRIED)}); "
        "name the one that they are of (`space`), such as timm:NAME"
    )


def _convolutions(shapes: Iterable[Size]) -> Counter[int]:
    """How many weights of convolutions there are, by their size."""
    return Counter(shape.numel() for shape in shapes if len(shape) == 4)


def _shapes_of(name: str) -> dict[str, Size]:
    """Those of the tensors of a space's largest network, by name."""
    with NoInit():
        if name.startswith(PREFIX):
            model = timm.create_model(name.removeprefix(PREFIX), device="meta")
        else:
            space = get_space(name)
            model = space.build(space.largest, Interface(3, 1000), "meta")
    return {tensor: value.shape for tensor, value in model.state_dict().items()}


def _sides(name: str) -> tuple[int, ...]:
    space = get_space(name)
    return tuple(int(side) for side in space.genes[space.index["resolution"]].choices)


def describe_view(name: str, info: DataInfo, augmented: str) -> str:
    """What the networks of a space see of the images; ``augmented``: what is done to those of training, in words."""
    sides = _sides(name)
    resized = [shorter_side(side, info.crop_pct) for side in sides]
    before, after = (", ".join(map(str, values)) for values in (resized, sides))
    cut = "the centre square is cut out" if info.crop_pct == 1 else f"a square of {after} px is cut out of the centre"
    text = (
        f"networks see {after} px of {colour_of(info.in_chans)}: the shorter side of an image "
        f"({info.native_size} px in the median) becomes {before} px, then {cut}"
    )
    return f"{text}; in training, images are {augmented}" if augmented else f"{text}; the same in training"
