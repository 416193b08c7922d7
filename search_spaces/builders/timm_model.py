"""From a JSON description to a timm model.

An exported subnet carries such a description in its ``config.json``. Where timm's functions take all of it as keyword
arguments, timm builds it without help (:func:`plain_arguments`). Else :func:`timm_model` does, which needs timm alone;
its own source text lies beside the exported weights: what runs here is what users import.

A description names a model of timm and what is different about this one:

- ``model``: name that ``timm.create_model`` knows;
- ``options``: keyword arguments of ``timm.create_model``;
- ``arguments``: constructor arguments to replace, after timm has worked out its own for that name;
- ``blocks``: ``{argument: [...]}``: that constructor argument is a block class, and its n-th block gets the n-th
  entry's arguments in place of the common ones;
- ``head_dim`` (may be missing): channels of an attention head of a ViT, where they are not embedding / heads;
- ``num_classes``, ``in_chans``.
"""

# mypy: allow-untyped-defs, allow-untyped-calls
# (what is pasted has no types)

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

from search_spaces.errors import UserError

if TYPE_CHECKING:
    from torch import nn


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
    build = module.build_model_with_cfg

    def replaced(model_class, *args, **kwargs):
        def construct(**own):
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
    with patch.object(module, "build_model_with_cfg", replaced):
        return timm.create_model(spec["model"], **{**common, **given})


def nas_subnet(pretrained=False, spec=None, **given):
    """What timm calls for a config.json whose architecture is nas_subnet."""
    model = timm_model(spec, pretrained=pretrained, **given)
    model.pretrained_cfg["architecture"] = "nas_subnet"  # what timm writes when it saves the model
    return model


def loader_source() -> str:
    """Text of a module that needs timm alone and teaches it the architecture :data:`ENTRY`."""
    functions = "\n\n".join(inspect.getsource(function) for function in (timm_model, nas_subnet))
    return f'''"""Once imported, timm.create_model("local-dir:FOLDER", pretrained=True) builds what config.json says."""

from timm.models import register_model


{functions}

register_model(nas_subnet)
'''


def plain_arguments(spec: dict[str, Any]) -> dict[str, Any] | None:
    """Keyword arguments with which ``timm.create_model`` builds a description without help.

    Returns:
        All but ``num_classes`` and ``in_chans``; None: timm's own functions do not take it. Those of EfficientNet and
        MobileNet decode ``block_args`` from a text of their own, blocks that differ have no common argument, and
        attention heads of a width of their own need a class.
    """
    merged: dict[str, Any] = {}
    for entries in spec["blocks"].values():
        if len({json.dumps(entry, sort_keys=True) for entry in entries}) > 1:
            return None
        merged |= entries[0]
    if "block_args" in spec["arguments"] or "head_dim" in spec:
        return None
    return {**spec["options"], **spec["arguments"], **merged}


def make_spec(
    model: str, num_classes: int, in_chans: int, options: dict[str, Any] | None = None,
    arguments: dict[str, Any] | None = None, blocks: dict[str, list[dict[str, Any]]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A description with all its keys (see the head of this file)."""
    return {
        "model": model,
        "options": options or {},
        "arguments": arguments or {},
        "blocks": blocks or {},
        "num_classes": num_classes,
        "in_chans": in_chans,
    }


def constructor_arguments(name: str) -> tuple[nn.Module, dict[str, Any]]:
    """A named timm model on ``meta``, and the arguments that timm passes to its class.

    Raises:
        UserError: timm does not build it through its common builder.
    """
    import copy
    import sys
    from unittest.mock import patch

    from .no_init import NoInit
    from .timm_compat import timm

    found: dict[str, Any] = {}
    module: Any = sys.modules[timm.model_entrypoint(name).__module__]
    build = getattr(module, "build_model_with_cfg", None)
    if build is None:
        raise UserError(f"timm:{name} is not supported because timm does not build it by its common builder")

    def recording(model_class: Any, *args: Any, **kwargs: Any) -> Any:
        def construct(**given: Any) -> Any:
            found.update(copy.deepcopy(given))
            return model_class(**given)

        return build(construct, *args, **kwargs)

    with NoInit(), patch.object(module, "build_model_with_cfg", recording):
        model = timm.create_model(name, device="meta")
    return model, found


_OPTIONS = ("act_layer", "bn_eps", "head_bias", "img_size")
"""Those of ``timm.create_model`` that a file may give."""
_LARGEST, _MOST, _DEEPEST = 65536, 4096, 8


def build_foreign(spec: dict[str, Any], where: str, device: str = "cpu") -> nn.Module:
    """:func:`build_spec` for a description that comes from a file: nothing but a network of a usual size is made.

    Args:
        where: the file, for messages.

    Raises:
        UserError: another option than those that shape a network (timm's others load files), a size beyond any
            network's, or timm cannot build it.
    """
    for option in spec["options"]:
        if option not in _OPTIONS:
            raise UserError(f"{where} asks timm for '{option!s:.50}', which shapes no network; export it again")
    if not _moderate({key: value for key, value in spec.items() if key != "num_classes"}):
        raise UserError(f"{where} describes no network of a usual size; export it again")
    try:
        return build_spec(spec, device)
    except Exception as error:  # constructors of all of timm's families, on arguments that anybody may have written
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise UserError(f"{where} describes no network that timm can build: {reason}; export it again") from None


def _moderate(value: Any, depth: int = 0) -> bool:
    """Whether numbers, texts and lists are of sizes that a description has."""
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return depth < _DEEPEST and len(value) <= _MOST and all(_moderate(part, depth + 1) for part in parts)
    if isinstance(value, str):
        return len(value) <= _MOST
    return value is None or abs(value) <= _LARGEST


def build_spec(spec: dict[str, Any], device: str = "cpu") -> nn.Module:
    """Build ``spec`` on ``device``; on ``meta`` without storage or initialisation."""
    from . import timm_compat  # noqa: F401  (before timm is imported)

    model: nn.Module
    if device != "meta":
        model = timm_model(spec, device=device)
        return model
    from .no_init import NoInit

    with NoInit():
        model = timm_model(spec, device="meta")
    return model
