"""Image classifiers of transformers: of a model type with its usual settings, or of a folder's ``config.json``.

Nothing is fetched, and no code but that of transformers runs: settings are plain data. The text of :data:`BUILDING`
lies beside exported weights: it needs torch and transformers alone.
"""

# mypy: allow-untyped-defs, allow-untyped-calls
# (what is pasted has no types)

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.architecture import Interface
from search_spaces.errors import UserError, first_line, install_hint, unknown_name
from search_spaces.schema import Json
from search_spaces.space import NO_DROP, Drop

from .base_model import refuse_drop

if TYPE_CHECKING:
    from torch import nn

PREFIX = "hf:"
"""What the name of a space around a model of transformers begins with."""
INSIDE = "network."
"""What the names of its tensors begin with, before those that transformers gives them."""
CONFIG = "config.json"
_SETTINGS = 1_000_000  # bytes of a file of settings
_USUAL = 224
_HASHED = 12  # hexadecimal digits of a hash in a name
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


BUILDING = (hf_network,)


@dataclass(frozen=True)
class HfModel:
    """A model of transformers.

    Attributes:
        word: a model type, ``vit``, or a folder with ``config.json``.
        asked: side of its images in pixels, where it is built for another one than its own; None: its own.
    """

    word: str
    asked: int | None = None

    @property
    def name(self) -> str:
        return f"{PREFIX}{self.word}"

    @property
    def side(self) -> int:
        """The setting ``image_size``, or 224."""
        return self.asked or max(_sizes(*self._settings()), default=_USUAL)

    def at(self, side: int) -> HfModel:
        return replace(self, asked=side)

    def build(self, interface: Interface, device: str = "cpu", drop: Drop = NO_DROP) -> nn.Module:
        import torch

        from .timm_compat import NoInit

        refuse_drop(drop, self.name)
        kind, settings = self._settings()
        with NoInit() if device == "meta" else nullcontext(), torch.device(device):
            try:
                network: nn.Module = hf_network(kind, settings, interface.outputs, interface.in_chans)
            except Exception as error:  # whatever transformers raises on these settings
                raise UserError(f"{self.name} cannot be built: {first_line(error)}") from error
        return network

    def to_json(self, interface: Interface) -> dict[str, Json]:
        """With all its settings: the folder that they come from may not be there where it is read."""
        kind, settings = self._settings()
        ends = {"num_classes": interface.outputs, "in_chans": interface.in_chans}
        return {"model": f"{PREFIX}{kind}", "options": settings, "arguments": {}, "blocks": {}, **ends}

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
            given = dict(read_settings(folder / CONFIG))
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


def read_settings(file: Path) -> Mapping[str, Json]:
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
    model, *choices = word.removeprefix(PREFIX).split(":")
    if "@" in model or not (Path(model) / CONFIG).is_file():
        return word
    return ":".join([f"{PREFIX}{model}@{_hash(model)}", *choices])


def check_settings_hash(folder: str, digest: str) -> None:
    """Raises UserError where a folder's settings are others than when the name was made."""
    if (now := _hash(folder)) != digest:
        raise UserError(
            f"{Path(folder) / CONFIG} has changed since this space was named ({digest}, now {now}); restore it, or "
            "train anew"
        )


def _hash(folder: str) -> str:
    try:
        return hashlib.sha256((Path(folder) / CONFIG).read_bytes()).hexdigest()[:_HASHED]
    except OSError as error:
        raise UserError(f"{PREFIX}{folder}: {error.strerror}: {Path(folder) / CONFIG}") from None
