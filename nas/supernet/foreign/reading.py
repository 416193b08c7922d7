"""Files of weights that others wrote: read without running what is in them."""

from __future__ import annotations

import argparse
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Size, Tensor

from search_spaces.errors import UserError, first_line

from . import convert, once_for_all
from .unwrap import Unwrapped, unwrap


def read_file(file: Path, names: Mapping[str, Size]) -> Unwrapped:
    """The network's tensors in a file, of which ``names`` gives the shapes. Raises UserError as the two do that it
    calls."""
    return find_network(load_content(file), names, file)


def load_content(file: Path) -> object:
    """What a file of weights holds; never runs code that is in it. Raises UserError: it is missing or damaged."""
    if not file.is_file():
        raise UserError(f"`init` {file} doesn't exist, or isn't a file; give safetensors or a state dictionary (.pth)")
    try:
        return _content(file)
    except Exception as error:  # a foreign file: torch, pickle and safetensors each fail in ways of their own
        reason = first_line(error)[:200]
        advice = "give safetensors or a .pth"
        if isinstance(error, pickle.UnpicklingError) or "weights_only" in reason:  # their own advice is to load it
            reason = f"it is damaged, or holds Python objects{_objects(file)}, which can run anything and aren't loaded"
            advice = "save the network's state_dict() alone"
        raise UserError(f"`init` {file} cannot be read as named tensors: {reason}; {advice}") from None


def find_network(content: object, names: Mapping[str, Size], file: Path) -> Unwrapped:
    """The tensors of a network in what a file holds.

    Args:
        names: shapes of the network's tensors by name.
        file: where the content is from, for messages.

    Raises:
        UserError: it is something else than named tensors.
    """
    unwrapped = unwrap(content, (*once_for_all.MARKS, *convert.MARKS), names, str(file))
    if not unwrapped.tensors:
        raise UserError(f"`init` {file} holds no named tensors; save the network's state_dict()")
    if strange := [name[:50] for name, tensor in unwrapped.tensors.items() if not _is_plain(tensor)]:
        raise UserError(f"`init` {file} holds tensors that aren't plain numbers: {listed(strange)}; save dense ones")
    return unwrapped


def _content(file: Path) -> object:
    """What a file of safetensors or of torch's holds."""
    with open(file, "rb") as opened:
        head = opened.read(9)
    if head[8:] == b"{":
        return safetensors.torch.load_file(file)
    known = torch.serialization.safe_globals([argparse.Namespace])  # a training's arguments: names and numbers
    with warnings.catch_warnings(action="ignore"), known:  # warnings about files that are then refused
        return torch.load(file, map_location="cpu", weights_only=True)


def _objects(file: Path) -> str:
    """The classes of Python objects in a file, in brackets; empty where they cannot be told."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(file))
    except Exception:  # of an old form, or damaged
        return ""
    return f" ({', '.join(sorted(names)[:3])})" if names else ""


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor's numbers are in memory."""
    return tensor.layout == torch.strided and tensor.device.type == "cpu"


def listed(problems: list[str]) -> str:
    """The first of several problems in one line."""
    return "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
