"""Which network a fixed teacher is: an exported folder, the largest subnet of a run (trained, or as it was before its
subnets were), or one of timm's with its weights.

Whatever it is, it must know the classes of the data set, in their order.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.candidates.calibrate import calibrate
from nas.data.batches import eval_batches
from nas.data.dataset import Dataset, PixelCache, listed
from nas.store.exports import Input, TeacherManifest
from nas.store.files import load_tensors, read_record
from nas.store.results import CALIBRATION_IMAGES
from nas.store.run import Run, file_hash
from nas.supernet.first_weights import fetch_model
from search_spaces.builders.timm_compat import timm
from search_spaces.builders.timm_model import TimmSpec, build_foreign
from search_spaces.errors import UsageError, UserError
from search_spaces.schema import convert

_WEIGHTS = "model.safetensors"
_FACTS = "architecture.json"


@dataclass(frozen=True, eq=False)
class Teacher:
    """A network and the images that it expects.

    Attributes:
        model: outputs ``[n, classes]``, before softmax, of images ``[n, channels, resolution, resolution]``.
        weights: 16 hexadecimal digits that change with its weights.
        notes: what could not be checked, a line each.
    """

    model: nn.Module
    weights: str
    input: Input
    notes: tuple[str, ...] = ()

    def images(self, dataset: Dataset, batch_size: int, limit: int | None = None) -> Iterator[Tensor]:
        """Training images ``[<= batch_size, channels, resolution, resolution]`` in their order as this network expects
        them; grey ones are repeated for three channels."""
        channels = dataset.info.in_chans
        info = replace(
            dataset.info, mean=(0.0,) * channels, std=(1.0,) * channels, interpolation=self.input.interpolation,
            crop_pct=self.input.crop_pct,
        )  # fmt: skip
        view = replace(dataset, info=info, cache=PixelCache())  # pixels need not stay once they were shown
        mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in (self.input.mean, self.input.std))
        depth, side, _ = self.input.input_size
        for pixels, _ in eval_batches(view, "train", side, batch_size, limit):
            yield (pixels.expand(-1, depth, -1, -1) - mean) / std


def open_teacher(name: str, dataset: Dataset) -> Teacher:
    """The teacher of that name, with the classes and channels of the data set.

    Args:
        name: folder of ``nas export`` (or a file in it), run directory, its ``adapted.safetensors``, or name of a timm
            model.

    Raises:
        UsageError: it is none of these.
        UserError: it cannot be read or fetched, or its classes or channels are not the data set's.
    """
    run, folder = _places(name)
    if run is not None:
        return _with_levels(_from_run(run, Path(name) == run.adapted, dataset), name, dataset)
    if folder is not None:
        return _with_levels(_from_folder(folder, dataset), name, dataset)
    if Path(name).exists():
        raise UsageError(
            f"`teacher` {name} is neither a run directory nor an exported folder (with {_FACTS} and {_WEIGHTS}); "
            "give one of them, or the name of a timm model"
        )
    return _from_timm(name, dataset)


def _with_levels(teacher: Teacher, name: str, dataset: Dataset) -> Teacher:
    """With a note where it learned from deep images that became 8 bits in another way."""
    theirs, ours = teacher.input.levels, dataset.info.levels
    if theirs == ours:
        return teacher
    words = ["all 16 bits" if levels is None else f"{levels[0]:g} to {levels[1]:g}" for levels in (theirs, ours)]
    note = (
        f"the teacher {name} learned from grey images of {words[0]}, here they are of {words[1]}: it sees them darker "
        "or brighter than it knows them"
    )
    return replace(teacher, notes=(*teacher.notes, note))


def weights_of(name: str) -> str | None:
    """Hash of the weights of a teacher in a folder; None: it is timm's, or is there no more."""
    run, folder = _places(name)
    path = folder / _WEIGHTS if folder is not None else None
    if run is not None:
        path = run.adapted if Path(name) == run.adapted else run.supernet
    return file_hash(path) if path is not None and path.exists() else None


def _places(name: str) -> tuple[Run | None, Path | None]:
    """The run directory or the exported folder that a name means, where it means one."""
    path = Path(name)
    folder = path.parent if path.name in (_FACTS, _WEIGHTS) else path
    run = Run(path.parent)
    run = run if path == run.adapted else Run(path)
    return (run, None) if run.exists else (None, folder if (folder / _FACTS).exists() else None)


def _from_run(run: Run, adapted: bool, dataset: Dataset) -> Teacher:
    """The largest subnet, with batch-norm statistics of its own."""
    from nas.training.weights import load_supernet

    info = run.read().data
    _check(str(run.path), info.in_chans, info.num_classes, info.classes, dataset)
    net = load_supernet(run, adapted=adapted)
    largest = net.space.largest
    size = (info.in_chans, largest.resolution, largest.resolution)
    model = net.extract(largest)
    seen = Input(size, info.mean, info.std, info.interpolation, info.crop_pct, info.levels)
    teacher = Teacher(model, file_hash(run.adapted if adapted else run.supernet), seen)
    calibrate(model, torch.cat(list(teacher.images(dataset, 64, CALIBRATION_IMAGES))))
    return teacher


def _from_folder(folder: Path, dataset: Dataset) -> Teacher:
    facts = read_record(folder / _FACTS, TeacherManifest)
    seen, classes, spec = facts.input, facts.classes, TimmSpec.from_json(facts.timm)
    channels = seen.input_size[0]
    sizes = {len(seen.mean), len(seen.std), spec.interface.in_chans, channels}
    if len(sizes) > 1 or spec.interface.outputs != len(classes):
        raise UserError(f"{folder / _FACTS} is damaged: its sizes contradict each other; export it again")
    _check(str(folder), channels, len(classes), classes, dataset)
    model = build_foreign(spec, str(folder / _FACTS))
    tensors, _ = load_tensors(folder / _WEIGHTS)
    try:
        model.load_state_dict(tensors)
    except RuntimeError:
        raise UserError(
            f"{folder / _WEIGHTS} does not hold the weights of {folder / _FACTS}; export it again"
        ) from None
    return Teacher(model, file_hash(folder / _WEIGHTS), seen)


def _from_timm(name: str, dataset: Dataset) -> Teacher:
    if ":" not in name:  # local-dir:FOLDER and hf-hub:NAME are timm's own way to name weights elsewhere
        if not timm.is_model(name):
            near = difflib.get_close_matches(name, timm.list_models(), n=1)
            hint = f"did you mean '{near[0]}'?" if near else "give a run, an exported folder or a timm model's name"
            raise UsageError(f"`teacher` {name}: no such folder, and no model of timm's; {hint}")
        if not timm.is_model_pretrained(name):
            raise UsageError(f"`teacher` {name}: timm has no weights for it; give a model that has some")
        cfg = timm.get_pretrained_cfg(name)
        _check(name, 3, cfg.num_classes, None, dataset)  # before anything is fetched
    fix = "give an exported folder or a run, or fetch the weights while there is a network"
    model: Any = fetch_model(name, f"the teacher {name}", fix)
    wanted = convert(json.loads(json.dumps(timm.data.resolve_model_data_config(model))), Input)
    names = class_names(model, dataset.info.classes)
    _check(name, wanted.input_size[0], model.num_classes, names, dataset)
    notes = () if names else (f"nothing says in which order the teacher {name} knows the classes; it must be "
                              f"{listed(dataset.info.classes)}",)  # fmt: skip
    return Teacher(model, _hash(model), wanted, notes)


def class_names(model: nn.Module, wanted: tuple[str, ...]) -> tuple[str, ...] | None:
    """Class names of a timm model, where it carries them, or where ``wanted`` are ImageNet's own; None: not known."""
    if known := getattr(model, "pretrained_cfg", {}).get("label_names"):
        # a list, or a dictionary by number that went through JSON
        return tuple(known) if not isinstance(known, dict) else tuple(known[key] for key in sorted(known, key=int))
    subset = timm.data.infer_imagenet_subset(model)
    synsets = tuple(timm.data.ImageNetInfo(subset).label_names()) if subset else ()
    return synsets if set(synsets) == set(wanted) else None


def _check(what: str, channels: int, number: int, classes: tuple[str, ...] | None, dataset: Dataset) -> None:
    """Refuse a teacher whose classes or channels are not the data set's."""
    info = dataset.info
    if channels not in (3, info.in_chans):
        raise UserError(
            f"the teacher {what} takes {channels}-channel images, '{info.source}' has {info.in_chans}-channel ones; "
            "give a teacher of the same images"
        )
    if number != info.num_classes:
        raise UserError(
            f"the teacher {what} knows {number} classes, '{info.source}' has {info.num_classes}; "
            "give a teacher that was trained on these classes"
        )
    if classes is not None and classes != info.classes:
        kind = "the classes in another order" if set(classes) == set(info.classes) else "other classes"
        at = next(i for i, (theirs, ours) in enumerate(zip(classes, info.classes, strict=True)) if theirs != ours)
        raise UserError(
            f"the teacher {what} knows {kind} than '{info.source}': class {at} is '{classes[at]}' there and "
            f"'{info.classes[at]}' here; give a teacher that was trained on these classes"
        )


def _hash(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
