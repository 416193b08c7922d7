"""What makes an exported folder one that timm and the hub read: ``config.json``, and the front matter of its card."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from nas.store.exports import Manifest, Preparation
from nas.tasks.task import Task
from search_spaces.builders.timm_model import ENTRY, TimmSpec
from search_spaces.errors import UsageError
from search_spaces.schema import Json, to_json

CONFIG = "config.json"
LOADER = "timm_subnet.py"
"""Beside the weights where timm's own functions do not build the network; see ``timm_model.loader_source``."""
UNKNOWN = "unknown"
"""The hub's word for a licence that nobody stated."""

_HUB_DATA = {"embedded": "zalando-datasets/fashion_mnist"}
_HUB_PREFIX = "hfds/"


def timm_config(model: nn.Module, manifest: Manifest, preparation: Preparation) -> Mapping[str, Json]:
    """Content of ``config.json``, in the keys of timm's ``save_config_for_hf``, and one more, ``preparation``; timm's
    own names of its first and last layer are taken from the subnet."""
    spec = TimmSpec.from_json(manifest.timm)
    plain = spec.plain_arguments()
    own: dict[str, Any] = getattr(model, "pretrained_cfg", {})
    layers = {key: own[key] for key in ("first_conv", "classifier") if own.get(key)}
    licence = {} if manifest.license is None else {"license": manifest.license}
    return {
        "architecture": ENTRY if plain is None else spec.model,
        "num_classes": spec.interface.outputs,
        "num_features": int(model.num_features),  # type: ignore[arg-type]
        "label_names": list(manifest.classes),
        "model_args": {"spec": manifest.timm} if plain is None else plain,
        "pretrained_cfg": {
            **to_json(replace(manifest.input, levels=None)),  # timm knows none
            "fixed_input_size": False,
            "crop_mode": "center",
            "num_classes": spec.interface.outputs,
            **layers,
            **licence,
        },
        "preparation": to_json(preparation),
    }


def check_license(name: str | None) -> None:
    """Refuse what cannot be the hub's name of a licence. Raises UsageError."""
    if name is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]{0,39}", name):
        raise UsageError(f"`license` '{name}' isn't a licence's name; give it as the hub does: apache-2.0, mit, other")


def data_name(source: str) -> str:
    """A data set's name for other people: of a folder its last part, not where it lies."""
    return Path(source).name if Path(source).is_absolute() else source


def front_matter(manifest: Manifest, files: list[str], task: Task) -> str:
    """YAML at the head of a card, in the hub's keys; strings stand as JSON, which is YAML too.

    Args:
        files: names of the exported files, without the weights.
    """
    data = manifest.provenance.data
    on_hub = _HUB_DATA.get(data) or (data.removeprefix(_HUB_PREFIX) if data.startswith(_HUB_PREFIX) else None)
    of_timm = TimmSpec.from_json(manifest.timm).of_timm
    tags = [task.hub_tag, *(["timm"] if of_timm else []), "neural-architecture-search", manifest.target.name]
    tags += sorted({Path(name).suffix.lstrip(".") for name in files})
    lines = [
        f"license: {manifest.license or UNKNOWN}",
        *(["library_name: timm"] if of_timm else []),
        f"pipeline_tag: {task.hub_tag}",
        *_listed("tags", dict.fromkeys(tags)),
        *(_listed("datasets", [on_hub]) if on_hub else ()),
        *_listed("metrics", [task.metric]),
        "model-index:",
        f"- name: {_text(manifest.candidate)}",
        "  results:",
    ]
    for result in manifest.results:
        if result.split == "test":
            lines += [
                "  - task:",
                f"      type: {task.hub_tag}",
                "    dataset:",
                f"      name: {_text(data)}",
                f"      type: {_text(on_hub or data)}",
                "      split: test",
                "    metrics:",
                f"    - type: {task.metric}",
                f"      name: {_text(task.metric + ', ' + result.what)}",
                f"      value: {result.accuracy.value:.6g}",
            ]
    return "\n".join(("---", *lines, "---", ""))


def _listed(key: str, values: Any) -> list[str]:
    return [f"{key}:", *(f"- {_text(value)}" for value in values)]


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
