"""The model card of an exported subnet: what it is, what was measured, how timm loads it, how devices run its files."""

from __future__ import annotations

from collections.abc import Sequence

from nas.runtimes.runtime import pip_arguments
from nas.store.exports import Manifest, Preparation, Provenance
from nas.store.hints import hint
from nas.store.versions import version
from nas.store.words import count_of
from nas.tasks.task import Task
from nas.training.config import TrainConfig
from search_spaces.builders.hf_model import PREFIX as HF
from search_spaces.builders.timm_model import TimmSpec
from search_spaces.builders.typed_code import PREFIX as OWN

from .device_script import Script
from .hub import LOADER, data_name, front_matter
from .preparation import preparation_of
from .program import PROGRAM, Program
from .subnet_loader import RECIPE, SUBNET_LOADER

WEIGHTS = "model.safetensors"
NAMED = 100
"""Classes that a card names."""


def model_card(
    manifest: Manifest, task: Task, scripts: Sequence[Script], checked: int, program: Program | None = None
) -> str:
    """Markdown text, with front matter as the hub reads it.

    Args:
        scripts: of its files.
        checked: images that each script was run on.
        program: what came of writing one; None: nothing was tried.
    """
    size = manifest.input.input_size
    files = [name for name in manifest.files if name != WEIGHTS]
    genes = "\n".join(f"| {name} | {value} |" for name, value in manifest.architecture.genes)
    results = "\n".join(
        f"| {r.what} | {r.split} | {100 * r.accuracy.value:.2f} % "
        f"| {100 * r.accuracy.low:.2f} - {100 * r.accuracy.high:.2f} % | {r.accuracy.images} |"
        for r in manifest.results
    )
    running = "".join(_running(script, checked, size) for script in scripts)
    loading = _loading(manifest, task) + _program(manifest, program)
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

{_prepared(preparation_of(manifest.input, task), manifest.classes)}{running}{loading}## Architecture

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
    levels = ""
    if manifest.input.levels is not None:
        levels = f", levels=({', '.join(map(_exact, manifest.input.levels))})"
    name = LOADER.removesuffix(".py")
    spec = TimmSpec.from_json(manifest.timm)
    if not spec.of_timm:
        return _loading_own(spec.model.removeprefix(OWN)) if spec.model.startswith(OWN) else _loading_packaged(spec)
    plain = spec.plain_arguments() is not None
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
{teach}from preparation import decode, with_channels

model = timm.create_model("local-dir:.", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
image = with_channels(decode("photo.jpg"{levels}), {manifest.input.input_size[0]})
{task.card_code}
```

`preparation.py` of this folder decodes the image, with numpy and Pillow alone. `Image.open` of Pillow neither turns
photos upright nor scales images of more than 8 bits.

The weights are floats, with batch norm calibrated: to look at and to train further. The folder is one as the hub keeps
it: after `hf upload USER/NAME .`, the name is `"hf-hub:USER/NAME"`.

"""


def _loading_own(function: str) -> str:
    """How a model of one's own takes the weights."""
    module, _, name = function.rpartition(".")
    return f"""## Load it

The network is cut from the model of `{function}`. `{SUBNET_LOADER}` of this folder builds it with that function, torch
and safetensors; `{RECIPE}` says what is smaller.

```python
from {module} import {name}
from load_subnet import load

model = load(build={name})
```

The weights are floats, with batch norm calibrated: to look at and to train further.

"""


def _loading_packaged(spec: TimmSpec) -> str:
    """How a model of another package takes the weights."""
    prefix, _, name = spec.model.partition(":")
    package = "transformers" if f"{prefix}:" == HF else prefix
    return f"""## Load it

The network is cut from the model `{name}` of {package} {version(package)}. `{SUBNET_LOADER}` of this folder builds it
with that package, torch and safetensors; `{RECIPE}` says what is smaller.

```python
from load_subnet import load

model = load()
```

The weights are floats, with batch norm calibrated: to look at and to train further.

"""


def _program(manifest: Manifest, program: Program | None) -> str:
    """How torch runs the network without its classes."""
    if program is None or program.problem:
        return ""
    channels, height, width = manifest.input.input_size
    batch = "n" if program.any_batch else "1"
    return f"""## Run it with torch alone

`{PROGRAM}` holds the network and its weights as `torch.export` writes them, so that neither timm nor the code of its
model is needed:

```python
import torch

network = torch.export.load("{PROGRAM}").module()
outputs = network(images)  # [{batch}, {channels}, {height}, {width}]
```

It was loaded and run before this folder was written: outputs were those of the network, to the bit. It only computes;
to train further, take the weights. torch may run code that such a file holds, so load those of people you trust.

"""


def _prepared(given: Preparation, classes: Sequence[str]) -> str:
    """From a file to the input, and what comes out, for people who use nothing of this folder but the network."""
    channels, grey = len(given.mean), given.mode == "L"
    height, width = given.crop
    more = ", ... (all: `label_names` in `config.json`)" if len(classes) > NAMED else ""
    longer = f"longer one in proportion, rounded down, {given.interpolation} as in Pillow"
    place = f"from round((height - {height}) / 2) and round((width - {width}) / 2) on"
    return f"""## What goes in and what comes out

| | |
|---|---|
| image | {given.image} |
| mode | {"grey" if grey else "colour, in the order red, green, blue"} (`{given.mode}` of Pillow), 8 bits |
| deeper grey files | {_deep(*(given.levels or (0, 65535)))} |
| resize | shorter side to {given.shorter_side} pixels, {longer} |
| crop | the middle, {height} x {width}, {place} |
| input | `{given.input}`: float32 {given.layout}, `[1, {channels}, {height}, {width}]` |
| its values | (pixel / {given.scale} - mean) / std, mean {_listed(given.mean)}, std {_listed(given.std)} |
| output | `{given.output}`: {given.meaning} |
| classes | {", ".join(classes[:NAMED])}{more} |

"""


def _deep(black: float, white: float) -> str:
    """What becomes of values of more than 8 bits, as :func:`nas.data.preparation.to_grey_or_rgb` has it."""
    low, high = _exact(black), _exact(white)
    said = f"{low} becomes 0 and {high} becomes 255: a value v becomes "
    if black == int(black) and white == int(white):
        whole = f"(v - {low}) * 256 // {int(white) - int(black) + 1}"
        said += f"{whole} in files of whole numbers, else "
    return said + f"(v - {low}) * 255 / ({high} - {low}), rounded; cut to 0 to 255; what is no number becomes 0"


def _exact(number: float) -> str:
    return str(int(number)) if number == int(number) else repr(number)


def _listed(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{number:.6g}" for number in numbers)


def _running(script: Script, checked: int, size: Sequence[int]) -> str:
    """How a device classifies photos with one of the files, whose images have ``size`` ``[C, H, W]``."""
    channels, height, width = size
    own = f"A program of your own gives it the input channels last, float32 NHWC, `[1, {height}, {width}, {channels}]`."
    versions = " and ".join(f"{name} {lowest} or later" if lowest else name for name, lowest in script.needs.items())
    return f"""## Run {script.file} on the device

Copy `{script.file}` and `{script.name}` there; the script has all the code that is needed. It runs on Python 3.9 or
later with {versions}.

```sh
pip install numpy pillow {pip_arguments(script.needs)}
python {script.name} {script.file} photo.jpg more.png folder/
```

For a folder with a sub-folder for each class, it prints the accuracy too. Before this folder was written, the script
ran on {count_of(checked, "image")} of the test split: inputs were those of the evaluation, pixel by pixel, and so were
outputs.{f" {own}" if script.channels_last else ""}{f" {script.model.remark}." if script.model.remark else ""}

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
    through = "" if origin.neighbour is None else f", by way of the fine-tuned {origin.neighbour}"
    others = "" if origin.together is None else f" in turn with the others of a front of {origin.together}"
    taught = {
        None: "",
        "supernet": ", with the supernet's largest network as its teacher",
        "adapted": ", with the whole network, as it was before it was shared, as its teacher",
    }
    teacher = taught.get(origin.teacher, f", with the teacher {origin.teacher}")
    return (
        f"Finetuned from supernet weights {origin.weights}{through}{others}{inside}: {origin.epochs:g} epochs, peak "
        f"learning rate {origin.lr:g}{teacher}. {first}"
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
