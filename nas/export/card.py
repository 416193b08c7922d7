"""The model card of an exported subnet: what it is, what was measured, how to load it with timm alone."""

from __future__ import annotations

from typing import Any

from search_spaces.timm_spec import loader_source


def model_card(facts: dict[str, Any]) -> str:
    """Markdown text.

    Args:
        facts: content of ``architecture.json`` with the keys ``candidate``, ``timm``, ``input``, ``classes``,
            ``results``, ``costs``, ``target``, ``files`` and ``provenance``.
    """
    size = facts["input"]["input_size"]
    genes = "\n".join(f"| {name} | {value} |" for name, value in facts["architecture"]["genes"].items())
    results = "\n".join(
        f"| {r['what']} | {r['split']} | {100 * r['value']:.2f} % | {100 * r['low']:.2f} - {100 * r['high']:.2f} % "
        f"| {r['images']} |"
        for r in facts["results"]
    )
    latency = facts["target"]
    return f"""# {facts["candidate"]}

Image classifier, {facts["precision"]}, {len(facts["classes"])} classes, input {size[0]} x {size[1]} x {size[2]}, found
in the supernet space `{facts["architecture"]["space"]}` for the target `{latency["name"]}`.

| what was run | split | accuracy | 95 % interval | images |
|---|---|---|---|---|
{results}

Latency on {latency["name"]}: {latency["latency_ms"]:.3f} ms, {latency["label"]} ({latency["runtime"]}).
{facts["costs"]["macs"]:,} MACs, {facts["costs"]["params"]:,} parameters, {facts["costs"]["size_bytes"]:,} bytes of
weights at {facts["precision"]}, {facts["costs"]["peak_activation_bytes"]:,} bytes of activations at the peak.

## Load it with timm alone

```python
import json
import timm.data
from safetensors.torch import load_file

{loader_source()}

facts = json.load(open("architecture.json"))
model = timm_model(facts["timm"])
model.load_state_dict(load_file("model.safetensors"))
model.eval()
transform = timm.data.create_transform(**facts["input"], is_training=False)
# image: a PIL image of mode {"L" if size[0] == 1 else "RGB"}
# facts["classes"][model(transform(image)[None]).argmax()]
```

{_running(facts["files"])}## Architecture

| gene | value |
|---|---|
{genes}

## Provenance

Data: {facts["provenance"]["data"]}. {_weights(facts["provenance"])}
Seed {facts["provenance"]["seed"]}.
"""


def _running(files: dict[str, str]) -> str:
    """How the files of :mod:`nas.export.formats` are run, each in its own section."""
    text = ""
    for name in files:
        if name.endswith(".onnx"):
            text += f"""## Run {name}

```python
import onnxruntime

session = onnxruntime.InferenceSession("{name}")
logits = session.run(None, {{session.get_inputs()[0].name: transform(image)[None].numpy()}})[0]
```

"""
        elif name.endswith(".pte"):
            text += f"""## Run {name}

```python
from executorch.runtime import Runtime

program = Runtime.get().load_program("{name}")  # keep it while the method is in use
logits = program.load_method("forward").execute([transform(image)[None]])[0]
```

"""
    return text


def _weights(provenance: dict[str, Any]) -> str:
    """Where the weights come from, in words."""
    origin = provenance.get("finetuned_from")
    if origin is None:
        return f"Supernet weights: {provenance['weights']}."
    inside = " inside wider networks (NetAug)" if origin["netaug"] else ""
    return (
        f"Finetuned from supernet weights {origin['weights']}{inside}: {origin['epochs']:g} epochs, peak learning rate "
        f"{origin['lr']:g}."
    )


def input_config(info: Any, resolution: int) -> dict[str, Any]:
    """Arguments of ``timm.data.create_transform`` that reproduce the evaluation pixels."""
    return {
        "input_size": [info.in_chans, resolution, resolution],
        "mean": list(info.mean),
        "std": list(info.std),
        "interpolation": info.interpolation,
        "crop_pct": info.crop_pct,
    }
