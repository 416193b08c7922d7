"""The model card of an exported subnet: what it is, what was measured, how timm loads it, how devices run its files."""

from __future__ import annotations

from pathlib import PurePath

from nas.runtimes.table import by_suffix, get_runtime
from nas.store.exports import Input, Manifest, Provenance
from nas.store.hints import hint
from nas.store.records import DataInfo
from nas.tasks.task import Task
from nas.training.config import TrainConfig
from search_spaces.builders.timm_model import TimmSpec

from .device_script import script_name
from .hub import LOADER, data_name, front_matter

WEIGHTS = "model.safetensors"


def model_card(manifest: Manifest, task: Task) -> str:
    """Markdown text, with front matter as the hub reads it."""
    size = manifest.input.input_size
    files = [name for name in manifest.files if name != WEIGHTS]
    genes = "\n".join(f"| {name} | {value} |" for name, value in manifest.architecture.genes)
    results = "\n".join(
        f"| {r.what} | {r.split} | {100 * r.accuracy.value:.2f} % "
        f"| {100 * r.accuracy.low:.2f} - {100 * r.accuracy.high:.2f} % | {r.accuracy.images} |"
        for r in manifest.results
    )
    latency, costs = manifest.target, manifest.costs
    return f"""{front_matter(manifest, files, task)}
# {manifest.candidate}

{task.title}, {manifest.precision}, {len(manifest.classes)} classes, input {size[0]} x {size[1]} x {size[2]}, found
in the supernet space `{manifest.architecture.space}` for the target `{latency.name}`.

| what was run | split | accuracy | 95 % interval | images |
|---|---|---|---|---|
{results}

Latency on {latency.name}: {latency.latency_ms:.3f} ms, {latency.label} ({latency.runtime}).
{costs.macs:,} MACs, {costs.params:,} parameters, {costs.size_bytes:,} bytes of weights at
{manifest.precision}, {costs.peak_activation_bytes:,} bytes of activations at the peak.

{_loading(manifest, task)}{"".join(_running(name) for name in files)}## Architecture

| gene | value |
|---|---|
{genes}

## Provenance

- {_data(manifest)}
- {_weights(manifest.provenance)} Seed {manifest.provenance.seed}.
- {_licence(manifest)}
"""


def _loading(manifest: Manifest, task: Task) -> str:
    """How timm loads the weights, here and from the hub."""
    mode = "L" if manifest.input.input_size[0] == 1 else "RGB"
    name = LOADER.removesuffix(".py")
    plain = TimmSpec.from_json(manifest.timm).plain_arguments() is not None
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
{task.card_code}
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
pip install numpy pillow {code.packages}
python {script_name(form)} {name} photo.jpg
```

"""


def _data(manifest: Manifest) -> str:
    """The images, and how many of them were for what."""
    source = manifest.provenance
    counts = ", ".join(f"{count} {split}" for split, count in source.images.items())
    embedded = " (a subset of Fashion-MNIST, Zalando SE, MIT licence)" if source.data == "embedded" else ""
    return f"Data: {source.data}{embedded}; images: {counts}."


def _weights(provenance: Provenance) -> str:
    """Where the weights come from, in words."""
    began = "random weights" if provenance.first_weights is None else provenance.first_weights
    first = f"The supernet began with {began}."
    origin = provenance.finetuned_from
    if origin is None:
        return f"Supernet weights: {provenance.weights}. {first}"
    inside = " inside wider networks (NetAug)" if origin.netaug else ""
    return (
        f"Finetuned from supernet weights {origin.weights}{inside}: {origin.epochs:g} epochs, peak learning rate "
        f"{origin.lr:g}. {first}"
    )


def _licence(manifest: Manifest) -> str:
    if manifest.license is not None:
        return f"Licence of the weights: {manifest.license}."
    command = "finetune" if manifest.provenance.finetuned_from is not None else "export"
    return f"Licence of the weights: not stated (`{hint(command, license='NAME')}` states it)."


def first_weights(config: TrainConfig) -> str | None:
    """What a training began with, in words; None: random weights."""
    if config.pretrained:
        return f"timm's pretrained weights for {config.space}"
    return None if config.init is None else f"the weights in {data_name(config.init)}"


def input_config(info: DataInfo, resolution: int) -> Input:
    """How evaluation prepares images, at a resolution in pixels."""
    size = (info.in_chans, resolution, resolution)
    return Input(size, tuple(info.mean), tuple(info.std), info.interpolation, info.crop_pct, info.levels)
