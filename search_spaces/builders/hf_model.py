"""Image classifiers of transformers: of a model type with its usual settings, or of a folder's ``config.json``.

Nothing is fetched, and no code but that of transformers runs: settings are plain data. The text of
:func:`hf_network` lies beside exported weights: it needs torch and transformers alone.
"""

# mypy: allow-untyped-defs, allow-untyped-calls
# (what is pasted has no types)

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.architecture import Interface
from search_spaces.errors import UserError, install_hint, unknown_name
from search_spaces.schema import Json

from .base_model import describe_base
from .hashed_names import add_hash, check_hash, hash_file
from .packaged_model import PackagedModel

if TYPE_CHECKING:
    from torch import nn

PREFIX = "hf:"
"""What the name of a space around a model of transformers begins with."""
INSIDE = "network."
"""What the names of its tensors begin with, before those that transformers gives them."""
CONFIG = "config.json"
_SETTINGS = 1_000_000  # bytes of a file of settings
_USUAL = 224
_UNUSED = (
    "architectures", "dtype", "id2label", "label2id", "problem_type", "return_dict", "torch_dtype",
    "transformers_version", "use_cache",
)  # fmt: skip
"""Settings that don't shape a network for images of other classes."""


def hf_network(kind, settings, num_classes, in_chans):
    """The image classifier of transformers of a model type, with random weights; it gives logits alone."""
    import torch

    def check(value, depth=0):  # settings that make transformers fetch or import something, and sizes beyond any
        if isinstance(value, dict):
            loading = ("auto_map", "attn_implementation", "backbone", "experts_implementation", "quantization_config",
                       "use_pretrained_backbone")  # fmt: skip
            for key, entry in value.items():
                if key.startswith("_") or (key in loading and entry):
                    raise ValueError(f"the setting {key} of a model can load code or files; take it out")
        if isinstance(value, (dict, list)):
            if depth > 6 or len(value) > 4096:
                raise ValueError("the settings are not those of a model")
            for entry in value.values() if isinstance(value, dict) else value:
                check(entry, depth + 1)
        elif isinstance(value, (int, float)) and not abs(value) <= 65536:
            raise ValueError(f"{value} is beyond any size of a network")

    class Logits(torch.nn.Module):
        """A classifier of transformers, called with images alone."""

        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, x):
            return self.network(pixel_values=x).logits

    check(settings)
    if kind == "timm_wrapper":
        raise ValueError("timm_wrapper is a model of timm's: name it as timm does")
    from transformers import AutoConfig, AutoModelForImageClassification

    config = AutoConfig.for_model(kind, **{**settings, "num_labels": num_classes})
    channels = next((name for name in ("num_channels", "in_channels", "in_chans") if hasattr(config, name)), None)
    if channels is not None:
        setattr(config, channels, in_chans)
    elif in_chans != 3:
        raise ValueError(f"{kind} takes images of 3 channels alone")
    return Logits(AutoModelForImageClassification.from_config(config, trust_remote_code=False))


@dataclass(frozen=True)
class HfModel(PackagedModel):
    """A model of transformers; ``word``: a model type, ``vit``, or a folder with ``config.json``."""

    prefix = PREFIX

    @property
    def side(self) -> int:
        """The setting ``image_size``, or 224."""
        return self.asked or max(_sizes(*self._settings()), default=_USUAL)

    def find(self) -> Callable[[int, int], nn.Module]:
        return partial(hf_network, *self._settings())

    def to_json(self, interface: Interface) -> dict[str, Json]:
        """With all its settings: the folder that they come from may not be there where it is read."""
        kind, settings = self._settings()
        return describe_base(f"{PREFIX}{kind}", interface, settings)

    def _settings(self) -> tuple[str, dict[str, Json]]:
        """Model type and settings. Raises UserError: transformers is missing, or it has no such image classifier."""
        if importlib.util.find_spec("transformers") is None:
            raise UserError(f"{self.name} needs the package 'transformers'; {install_hint('.[transformers]')}")
        importlib.import_module(".timm_compat", __package__)  # before transformers looks for a torchvision
        from transformers import CONFIG_MAPPING
        from transformers import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING as KNOWN

        folder, kinds = Path(self.word), [kind for kind, made in CONFIG_MAPPING.items() if made in KNOWN]
        given: dict[str, Json] = {}
        kind = self.word
        if (folder / CONFIG).is_file():
            given = dict(_read_settings(folder / CONFIG))
            kind = str(given.pop("model_type"))
        elif "/" in self.word:
            raise UserError(
                f"{self.name}: there is no {folder / CONFIG}, and models are not fetched; fetch it into a folder "
                "(hf download does that), and name the folder"
            )
        if kind not in kinds:
            raise unknown_name("image classifier of transformers", kind, kinds)
        if self.asked is not None and (sizes := _sizes(kind, given)):
            given["image_size"] = [self.asked] * len(sizes) if len(sizes) > 1 else self.asked
        return kind, given


def _sizes(kind: str, given: Mapping[str, Json]) -> list[int]:
    """The setting ``image_size`` of a model type, one or several pixels; empty: it has none."""
    from transformers import AutoConfig

    size = given.get("image_size", getattr(AutoConfig.for_model(kind), "image_size", None))
    several = size if isinstance(size, list | tuple) else [size]
    return [each for each in several if isinstance(each, int)]


def _read_settings(file: Path) -> Mapping[str, Json]:
    """Settings of a model in a file, without those that don't shape it. Raises UserError: it holds none."""
    try:
        content = file.read_bytes()
        found = json.loads(content) if len(content) <= _SETTINGS else None
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("model_type"), str):
        raise UserError(f"{file} holds no settings of a model of transformers: it has no 'model_type'")
    return {key: value for key, value in found.items() if key not in _UNUSED and value is not None}


def spell_out_hf(word: str) -> str:
    """The name of a space that a user means: with a hash of the settings where they are a folder's."""
    return add_hash(word, PREFIX, lambda model: _hash(model) if (Path(model) / CONFIG).is_file() else None)


def check_settings_hash(folder: str, digest: str) -> None:
    """Raises UserError where a folder's settings are others than when the name was made."""
    check_hash(str(Path(folder) / CONFIG), digest, _hash(folder))


def _hash(folder: str) -> str:
    """Of a folder's settings. Raises UserError: they cannot be read."""
    try:
        return hash_file(Path(folder) / CONFIG)
    except OSError as error:
        raise UserError(f"{PREFIX}{folder}: {error.strerror}: {Path(folder) / CONFIG}") from None
