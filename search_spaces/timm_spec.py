"""From a JSON description to a timm model.

An exported subnet carries such a description in ``architecture.json``. :func:`timm_model` needs timm alone, and its own
source text stands in the model card: what runs here is what users paste.

A description names a model of timm and what is different about this one:

- ``model``: name that ``timm.create_model`` knows;
- ``options``: keyword arguments of ``timm.create_model``;
- ``arguments``: constructor arguments to replace, after timm has worked out its own for that name;
- ``blocks``: ``{argument: [...]}``: that constructor argument is a block class, and its n-th block gets the n-th
  entry's arguments in place of the common ones;
- ``head_dim`` (may be missing): channels of an attention head of a ViT, where they are not embedding / heads;
- ``num_classes``, ``in_chans``.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from .errors import UserError

if TYPE_CHECKING:
    from torch import nn


def timm_model(spec, device=None):  # type: ignore[no-untyped-def]
    """Build the timm model that architecture.json describes."""
    import copy
    import sys
    from unittest.mock import patch

    import timm

    class Each:
        """A block class that gives every block arguments of its own."""

        def __init__(self, block, entries):  # type: ignore[no-untyped-def]
            self.block, self.entries = block, iter(entries)
            self.expansion = getattr(block, "expansion", None)

        def __call__(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            return self.block(*args, **{**kwargs, **next(self.entries)})

    class Attention(timm.layers.Attention):
        """A ViT's attention whose heads do not share the embedding out among them."""

        def __init__(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            super().__init__(*args, attn_head_dim=spec["head_dim"], **kwargs)

    module = sys.modules[timm.model_entrypoint(spec["model"]).__module__]
    build = module.build_model_with_cfg

    def replaced(model_class, *args, **kwargs):  # type: ignore[no-untyped-def]
        def construct(**given):  # type: ignore[no-untyped-def]
            given.update(copy.deepcopy(spec["arguments"]))
            for argument, entries in spec["blocks"].items():
                given[argument] = Each(given.get(argument, timm.models.vision_transformer.Block), entries)
            if "head_dim" in spec:
                given["attn_layer"] = Attention
            if "block_args" in spec["arguments"]:
                given["round_chs_fn"] = int  # channels are final
            return model_class(**given)

        return build(construct, *args, **kwargs)

    with patch.object(module, "build_model_with_cfg", replaced):
        return timm.create_model(
            spec["model"],
            num_classes=spec["num_classes"],
            in_chans=spec["in_chans"],
            **spec["options"],
            **({} if device is None else {"device": device}),
        )


def loader_source() -> str:
    """Source of :func:`timm_model`, for the model card."""
    return inspect.getsource(timm_model).replace("  # type: ignore[no-untyped-def]", "")


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

    with patch.object(module, "build_model_with_cfg", recording):
        model = timm.create_model(name, device="meta")
    return model, found


def build_spec(spec: dict[str, Any], device: str = "cpu") -> nn.Module:
    """Build ``spec`` on ``device``; on ``meta`` without storage or initialisation."""
    from . import timm_compat  # noqa: F401  (before timm is imported)

    model: nn.Module
    if device != "meta":
        model = timm_model(spec, device)
        return model
    from .no_init import NoInit

    with NoInit():
        model = timm_model(spec, "meta")
    return model
