"""From a JSON description to a timm model.

An exported subnet carries such a description (:class:`TimmSpec`) in its ``config.json``. Where timm's functions take
all of it as keyword arguments, timm builds it without help. Otherwise :func:`timm_model` does, which needs timm alone;
its own source text lies beside the exported weights: what runs here is what users import.
"""

# mypy: allow-untyped-defs, allow-untyped-calls
# (what is pasted has no types)

from __future__ import annotations

import inspect
import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from search_spaces.architecture import Architecture, Interface
from search_spaces.errors import UserError
from search_spaces.schema import Json
from search_spaces.space import NO_DROP, Drop, Family

from .hf_model import PREFIX as HF
from .hf_model import hf_network
from .rebuild import REBUILDING, shrink
from .torchvision_model import PREFIX as TORCHVISION
from .torchvision_model import torchvision_network
from .typed_code import PREFIX as OWN

if TYPE_CHECKING:
    from torch import nn


PACKAGES: dict[str, Callable[..., nn.Module]] = {HF: hf_network, TORCHVISION: torchvision_network}
"""What the name of a model of another package begins with -> what builds it there; of this, the text is pasted, too."""

ENTRY = "nas_subnet"
"""Name under which the module of :func:`loader_source` registers its builder with timm."""


def timm_model(spec, **given):
    """Build the timm model that a description stands for; ``given`` is for ``timm.create_model``, and wins over it."""
    import copy
    import sys
    from unittest.mock import patch

    import timm

    class Each:
        """A block class that gives every block arguments of its own."""

        def __init__(self, block, entries):
            self.block, self.entries = block, iter(entries)
            self.expansion = getattr(block, "expansion", None)

        def __call__(self, *args, **kwargs):
            return self.block(*args, **{**kwargs, **next(self.entries)})

    class Attention(timm.layers.Attention):
        """A ViT's attention whose heads do not share the embedding out among them."""

        def __init__(self, *args, **kwargs):
            super().__init__(*args, attn_head_dim=spec["head_dim"], **kwargs)

    module = sys.modules[timm.model_entrypoint(spec["model"]).__module__]
    build = getattr(module, "build_model_with_cfg", timm.models.build_model_with_cfg)

    def replaced(model_class, *args, **kwargs):
        def construct(**own):
            if "recipe" in spec:
                return shrink(model_class(**own), spec["recipe"])
            own.update(copy.deepcopy(spec["arguments"]))
            for argument, entries in spec["blocks"].items():
                own[argument] = Each(own.get(argument, timm.models.vision_transformer.Block), entries)
            if "head_dim" in spec:
                own["attn_layer"] = Attention
            if "block_args" in spec["arguments"]:
                own["round_chs_fn"] = int  # channels are final
            return model_class(**own)

        return build(construct, *args, **kwargs)

    common = {"num_classes": spec["num_classes"], "in_chans": spec["in_chans"], **spec["options"]}
    with patch.object(module, "build_model_with_cfg", replaced, create=True):
        return timm.create_model(spec["model"], **{**common, **given})


def nas_subnet(pretrained=False, spec=None, **given):
    """What timm calls for a config.json whose architecture is nas_subnet."""
    model = timm_model(spec, pretrained=pretrained, **given)
    model.pretrained_cfg["architecture"] = "nas_subnet"  # what timm writes when it saves the model
    return model


def loader_source() -> str:
    """Text of a module that needs timm alone and teaches it the architecture :data:`ENTRY`."""
    functions = "\n\n".join(inspect.getsource(function) for function in (*REBUILDING, timm_model, nas_subnet))
    return f'''"""Once imported, timm.create_model("local-dir:FOLDER", pretrained=True) builds what config.json says."""

from timm.models import register_model


{functions}

register_model(nas_subnet)
'''


@dataclass(frozen=True)
class TimmSpec:
    """A model that ``timm.create_model`` or another package knows by name, and what is different about this one.

    Attributes:
        model: timm's name; of another package (:data:`PACKAGES`) or a user's own code, with that before it.
        options: keyword arguments of ``timm.create_model``, or what the other package is given.
        arguments: constructor arguments to replace, after timm has worked out its own for that name.
        blocks: by the constructor argument that is a block class, arguments of every block in order; the n-th block
            gets those of the n-th entry in place of the common ones.
        head_dim: channels of an attention head of a ViT, where they are not embedding / heads.
        recipe: of any model, what makes the smaller network of it once it is built (see ``rebuild``).
    """

    model: str
    interface: Interface
    options: Mapping[str, Json] = field(default_factory=dict)
    arguments: Mapping[str, Json] = field(default_factory=dict)
    blocks: Mapping[str, Sequence[Mapping[str, Json]]] = field(default_factory=dict)
    head_dim: int | None = None
    recipe: Mapping[str, Json] | None = None

    def to_json(self) -> dict[str, Json]:
        """As an exported folder holds it, and as :func:`timm_model` takes it."""
        return {
            "model": self.model,
            "options": self.options,
            "arguments": self.arguments,
            "blocks": self.blocks,
            "num_classes": self.interface.outputs,
            "in_chans": self.interface.in_chans,
            **({} if self.head_dim is None else {"head_dim": self.head_dim}),
            **({} if self.recipe is None else {"recipe": self.recipe}),
        }

    @staticmethod
    def from_json(content: Mapping[str, Json]) -> TimmSpec:
        """Inverse of :meth:`to_json`, of checked content."""
        data: Any = content
        interface = Interface(data["in_chans"], data["num_classes"])
        return TimmSpec(
            data["model"], interface, data["options"], data["arguments"], data["blocks"], data.get("head_dim"),
            data.get("recipe"),
        )  # fmt: skip

    def build(self, device: str = "cpu") -> nn.Module:
        """The model; on ``meta`` without storage or initialisation."""
        import torch

        from .timm_compat import NoInit  # before timm is imported

        with NoInit() if device == "meta" else nullcontext():
            if self.of_timm:
                model: nn.Module = timm_model(self.to_json(), device=device)
                return model
            package, _, name = self.model.partition(":")
            with torch.device(device):
                whole = PACKAGES[f"{package}:"](name, self.options, self.interface.outputs, self.interface.in_chans)
                model = whole if self.recipe is None else shrink(whole, self.recipe)
        return model

    @property
    def of_timm(self) -> bool:
        """Whether the model is one of timm's, and not of another package or a user's own code."""
        return ":" not in self.model

    def plain_arguments(self) -> dict[str, Json] | None:
        """All keyword arguments but ``num_classes`` and ``in_chans`` with which ``timm.create_model`` builds the model
        without help; None: timm's own functions do not take it. Those of EfficientNet and MobileNet decode
        ``block_args`` from a text of their own, blocks that differ have no common argument, and attention heads of a
        width of their own need a class.
        """
        merged: dict[str, Json] = {}
        for entries in self.blocks.values():
            if len({json.dumps(entry, sort_keys=True) for entry in entries}) > 1:
                return None
            merged |= entries[0]
        if "block_args" in self.arguments or self.head_dim is not None or self.recipe is not None:
            return None
        return {**self.options, **self.arguments, **merged}


@dataclass(frozen=True, eq=False)
class TimmFamily(Family):
    """A family whose networks are the timm model of a name with other arguments, on images of several sides in
    pixels."""

    model: str
    resolutions: tuple[int, ...]

    @abstractmethod
    def spec(self, architecture: Architecture, interface: Interface) -> TimmSpec:
        """The model of timm that an architecture describes."""

    def build(
        self, architecture: Architecture, interface: Interface, device: str = "cpu", drop: Drop = NO_DROP
    ) -> nn.Module:
        spec = self.spec(architecture, interface)
        if drop != NO_DROP:
            spec = replace(spec, options={**spec.options, "drop_rate": drop[0], "drop_path_rate": drop[1]})
        return spec.build(device)

    def describe(self, architecture: Architecture, interface: Interface) -> Mapping[str, Json]:
        return self.spec(architecture, interface).to_json()


OPTIONS = ("act_layer", "bn_eps", "drop_path_rate", "drop_rate", "dynamic_img_size", "head_bias", "img_size")
"""Those of ``timm.create_model`` that a file may give."""
_LARGEST, _MOST, _DEEPEST = 65536, 4096, 8
_LIMITED_ELSEWHERE = ("num_classes", "recipe")  # by the forms of the records that they come from


def build_foreign(spec: TimmSpec, where: str, device: str = "cpu") -> nn.Module:
    """:meth:`TimmSpec.build` for a description from the file ``where``. Raises UserError where it has another option
    than those that shape a network (timm's others load files) or a size beyond any network's, or its package cannot
    build it."""
    if not spec.of_timm and not spec.model.startswith(tuple(PACKAGES)):
        raise UserError(
            f"{where} is cut from the model of {spec.model.removeprefix(OWN)}; its load_subnet.py builds it"
        )
    for option in spec.options if spec.of_timm else ():
        if option not in OPTIONS:
            raise UserError(f"{where} asks timm for '{option!s:.50}', which doesn't shape a network; export it again")
    if not _moderate({key: value for key, value in spec.to_json().items() if key not in _LIMITED_ELSEWHERE}):
        raise UserError(f"{where} doesn't describe a network of a usual size; export it again")
    try:
        return spec.build(device)
    except Exception as error:  # constructors of all of timm's families, on arguments that anybody may have written
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        if isinstance(error, KeyError):
            reason = f"it has no {reason}"
        package = "timm" if spec.of_timm else spec.model.partition(":")[0].replace("hf", "transformers")
        raise UserError(
            f"{where} doesn't describe a network that {package} can build: {reason}; export it again"
        ) from None


def _moderate(value: Json, depth: int = 0) -> bool:
    """Whether numbers, texts and lists are of sizes that a description has."""
    if isinstance(value, str):
        return len(value) <= _MOST
    if isinstance(value, Mapping | Sequence):
        parts = value.values() if isinstance(value, Mapping) else value
        return depth < _DEEPEST and len(value) <= _MOST and all(_moderate(part, depth + 1) for part in parts)
    return value is None or abs(value) <= _LARGEST
