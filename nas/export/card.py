"""The model card of an exported subnet: what it is, what was measured, how timm loads it, how devices run its files."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from nas.runtimes.table import by_suffix, get_runtime
from nas.tasks.task import Task
from nas.training.config import TrainConfig
from search_spaces.builders.timm_model import TimmSpec

from .device_script import script_name
from .hub import LOADER, data_name, front_matter

WEIGHTS = "model.safetensors"


def model_card(facts: dict[str, Any], task: Task) -> str:
    """Markdown text, with front matter as the hub reads it.

    Args:
        facts: content of ``architecture.json`` with the keys ``candidate``, ``timm``, ``input``, ``classes``,
            ``license``, ``results``, ``costs``, ``target``, ``files`` and ``provenance``.
        task: of the network.
    """
    size = facts["input"]["input_size"]
    files = [name for name in facts["files"] if name != WEIGHTS]
    genes = "\n".join(f"| {name} | {value} |" for name, value in facts["architecture"]["genes"].items())
    results = "\n".join(
        f"| {r['what']} | {r['split']} | {100 * r['value']:.2f} % | {100 * r['low']:.2f} - {100 * r['high']:.2f} % "
        f"| {r['images']} |"
        for r in facts["results"]
    )
    latency, costs = facts["target"], facts["costs"]
    return f"""{front_matter(facts, files, task)}
# {facts["candidate"]}

{task.title}, {facts["precision"]}, {len(facts["classes"])} classes, input {size[0]} x {size[1]} x {size[2]}, found
in the supernet space `{facts["architecture"]["space"]}` for the target `{latency["name"]}`.

| what was run | split | accuracy | 95 % interval | images |
|---|---|---|---|---|
{results}

Latency on {latency["name"]}: {latency["latency_ms"]:.3f} ms, {latency["label"]} ({latency["runtime"]}).
{costs["macs"]:,} MACs, {costs["params"]:,} parameters, {costs["size_bytes"]:,} bytes of weights at
{facts["precision"]}, {costs["peak_activation_bytes"]:,} bytes of activations at the peak.

{_loading(facts, task)}{"".join(_running(name) for name in files)}## Architecture

| gene | value |
|---|---|
{genes}

## Provenance

- {_data(facts)}
- {_weights(facts["provenance"])} Seed {facts["provenance"]["seed"]}.
- {_licence(facts)}
"""


def _loading(facts: dict[str, Any], task: Task) -> str:
    """How timm loads the weights, here and from the hub."""
    mode = "L" if facts["input"]["input_size"][0] == 1 else "RGB"
    name = LOADER.removesuffix(".py")
    plain = TimmSpec.from_json(facts["timm"]).plain_arguments() is not None
    teach = "" if plain else f"import {name}  # teaches timm the architecture\n"
    why = (
        "The network is a model of timm with other arguments; timm alone loads this folder."
        if plain
        else "The network is a model of timm whose blocks no argument of timm's functions describes.\n"
        f"`{LOADER}` of this folder passes them on, and needs timm alone."
    )
    return f"""## Load it with timm

{why}

```python
import timm
{teach}from PIL import Image

model = timm.create_model("local-dir:.", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
image = Image.open("photo.jpg").convert("{mode}")
{task.card_code()}
```

These weights are floats, with batch norm calibrated: to look at and to train further. The folder is one as the hub
keeps it: after `hf upload USER/NAME .`, the name is `"hf-hub:USER/NAME"`.

"""


def _running(name: str) -> str:
    """How a device classifies a photo with one of the files."""
    form = by_suffix(PurePath(name).suffix)
    code = None if form is None else get_runtime(form).device_code()
    if form is None or code is None:
        return ""
    return f"""## Run {name} on the device

Copy `{name}` and `{script_name(form)}` there; the script has all the code that is needed.

```sh
pip install {code.packages}
python {script_name(form)} {name} photo.jpg
```

"""


def _data(facts: dict[str, Any]) -> str:
    """The images, and how many of them were for what."""
    told = facts["provenance"]
    counts = ", ".join(f"{count} {split}" for split, count in told["images"].items())
    embedded = " (a subset of Fashion-MNIST, Zalando SE, MIT licence)" if told["data"] == "embedded" else ""
    return f"Data: {told['data']}{embedded}; images: {counts}."


def _weights(provenance: dict[str, Any]) -> str:
    """Where the weights come from, in words."""
    began = "random weights" if provenance["first_weights"] is None else provenance["first_weights"]
    first = f"The supernet began with {began}."
    origin = provenance.get("finetuned_from")
    if origin is None:
        return f"Supernet weights: {provenance['weights']}. {first}"
    inside = " inside wider networks (NetAug)" if origin["netaug"] else ""
    return (
        f"Finetuned from supernet weights {origin['weights']}{inside}: {origin['epochs']:g} epochs, peak learning rate "
        f"{origin['lr']:g}. {first}"
    )


def _licence(facts: dict[str, Any]) -> str:
    if facts["license"] is not None:
        return f"Licence of the weights: {facts['license']}."
    command = "finetune" if "finetuned_from" in facts["provenance"] else "export"
    return f"Licence of the weights: not stated (`nas {command} --license NAME` states it)."


def first_weights(config: TrainConfig) -> str | None:
    """What a training began with, in words; None: random weights."""
    if config.pretrained:
        return f"timm's pretrained weights for {config.space}"
    return None if config.init is None else f"the weights in {data_name(config.init)}"


def input_config(info: Any, resolution: int) -> dict[str, Any]:
    """Arguments of ``timm.data.create_transform`` that reproduce the evaluation pixels."""
    return {
        "input_size": [info.in_chans, resolution, resolution],
        "mean": list(info.mean),
        "std": list(info.std),
        "interpolation": info.interpolation,
        "crop_pct": info.crop_pct,
    }
