"""A candidate as a folder: a plain timm model, files that were run in their runtimes, and a model card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.candidates.calibrate import Calibration
from nas.candidates.candidate import Candidate
from nas.candidates.ship import EVALUATION_BATCH, ship
from nas.data.batches import eval_batches
from nas.data.dataset import Dataset
from nas.quantization.quantize import QuantizedModel
from nas.runtimes.runtime import Exported
from nas.runtimes.table import file_name, file_names, get_runtime, parse_formats, write_model
from nas.search.objectives import misfits
from nas.search.search import accuracy_dict
from nas.store.files import FORMAT, atomic_write, save_tensors, write_json
from nas.store.records import DataInfo
from nas.store.run import file_hash
from nas.store.versions import libraries
from nas.supernet.supernet import Supernet
from nas.tasks.score import Score
from predictors.targets.target import Target
from search_spaces.builders.timm_model import TimmSpec, loader_source
from search_spaces.errors import InfeasibleError, UserError

from ._staging import staged
from .card import WEIGHTS, input_config, model_card
from .device_script import device_script, script_name
from .hub import CONFIG, LOADER, data_name, timm_config
from .manifest import MANIFEST, exported_hashes, input_size, open_model


@dataclass(frozen=True)
class Finetuned:
    """How a candidate was fine-tuned.

    Attributes:
        before: its accuracy on the search split with the supernet's weights.
        weights: hash of the supernet's weights.
        epochs: passes over the training split.
        lr: peak learning rate.
        netaug: whether it was trained inside wider networks too.
        quantization_aware: whether it was trained as its policy quantizes it.
        seed: of everything random.
    """

    before: Score
    weights: str
    epochs: float
    lr: float
    netaug: bool
    quantization_aware: bool
    seed: int


@dataclass(frozen=True)
class Source:
    """The weights that candidates are exported from, and what their folders say of these weights.

    Attributes:
        net: the supernet, or the supernet that a fine-tuned candidate was trained in.
        dataset: that it was trained on.
        calibration: of its subnets.
        weights: hash of its file.
        seed: of its training.
        first_weights: what the supernet's training began with, in words; None: random weights.
        finetuned: None: the weights are a supernet's.
    """

    net: Supernet
    dataset: Dataset
    calibration: Calibration
    weights: str
    seed: int
    first_weights: str | None = None
    finetuned: Finetuned | None = None


def export_candidate(
    source: Source, member: dict[str, Any], target: Target, out: Path, formats: Sequence[str] | None = None,
    license: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write the folder of one member of a front and run its files on the whole test split.

    Args:
        member: entry of ``front`` in a search result.
        out: folder, written when all its files are complete. Files of the same names in it are replaced, and those
            that an earlier export left are removed.
        formats: names of runtimes; None: the target's.
        license: of the weights, by the hub's name (:func:`nas.export.hub.check_license`); None: nobody states one.

    Returns:
        The content of ``architecture.json``; ``results`` holds the table's accuracy and each file's own, ``files`` the
        hashes of the files with weights.

    Raises:
        InfeasibleError: it does not fit into the device's memory.
        UserError: a format's packages are missing, or it cannot hold this network.
    """
    if found := misfits(target, {"size": member["size_bytes"], "memory": member["peak_activation_bytes"]}):
        raise InfeasibleError(f"{member['id']}: {'; '.join(found)}; search again: nas search --target {target.name}")
    candidate = Candidate.from_dict(member)
    resolution = candidate.architecture.resolution
    info, finetuned = source.dataset.info, source.finetuned
    shipped = ship(source.net, source.dataset, candidate, source.calibration)
    spec = source.net.space.family.describe(candidate.architecture, source.dataset.interface)
    simulator = "simulator (search)" if finetuned is None else "simulator"
    facts: dict[str, Any] = {
        "format": FORMAT,
        "candidate": candidate.id,
        "precision": candidate.precision,
        "architecture": candidate.architecture.to_dict(),
        "timm": spec,
        "input": input_config(info, resolution),
        "classes": list(info.classes),
        "license": license,
        "costs": {k: member[k] for k in ("macs", "params", "size_bytes", "peak_activation_bytes")},
        "target": {
            "name": target.name,
            "runtime": target.runtime,
            "latency_ms": member["latency_ms"],
            "label": target.labels_of(candidate.policy.precisions),
        },
        "results": [
            *_before(finetuned),
            {"what": simulator, "split": "search", **member["accuracy"]},
            {"what": simulator, "split": "test", **member["test"]},
        ],
        "provenance": {
            "data": data_name(info.source),
            "images": dict(info.counts),
            "first_weights": source.first_weights,
            "weights": source.weights,
            "seed": source.seed,
            "calibration_images": source.calibration.images,
            "versions": libraries(),
            **_origin(finetuned),
        },
    }
    metadata = {"classes": list(info.classes), "input": facts["input"], "candidate": candidate.id,
                "test_accuracy": member["test"]["value"], "provenance": facts["provenance"]}  # fmt: skip
    texts = {key: json.dumps(value) for key, value in metadata.items()}
    network = shipped.run if isinstance(shipped.run, QuantizedModel) else shipped.model
    earlier = _earlier_files(out)
    with staged(out) as folder:
        save_tensors(folder / WEIGHTS, shipped.model.state_dict(), {"candidate": candidate.id})
        facts["files"] = {WEIGHTS: file_hash(folder / WEIGHTS)}
        for form in formats or parse_formats(None, target.model):
            file = folder / file_name(form, candidate.policy.label)
            write_model(form, network, (info.in_chans, resolution, resolution), file, texts, target.model)
            facts["files"][file.name] = digest = file_hash(file)
            score = run_file(open_model(file, digest), source.dataset, "test", resolution)
            facts["results"].append({"what": file.name, "split": "test", **accuracy_dict(score)})
            if (code := get_runtime(form).device_code()) is not None:
                atomic_write(folder / script_name(form), device_script(form, code, source.dataset.task).encode())
        write_json(folder / CONFIG, timm_config(shipped.model, facts))
        if TimmSpec.from_json(spec).plain_arguments() is None:
            atomic_write(folder / LOADER, loader_source().encode())
        atomic_write(folder / "README.md", model_card(facts, source.dataset.task).encode())
        write_json(folder / MANIFEST, facts)
    for name in earlier - facts["files"].keys():  # of another network, as nothing in this folder would say any more
        (out / name).unlink(missing_ok=True)
    return facts


def _before(finetuned: Finetuned | None) -> list[dict[str, Any]]:
    """What a fine-tuned candidate's accuracy was before."""
    if finetuned is None:
        return []
    return [{"what": "before fine-tuning", "split": "search", **accuracy_dict(finetuned.before)}]


def _origin(finetuned: Finetuned | None) -> dict[str, Any]:
    """How a candidate was fine-tuned, as its provenance says it."""
    if finetuned is None:
        return {}
    return {"finetuned_from": {key: value for key, value in asdict(finetuned).items() if key != "before"}}


def _earlier_files(out: Path) -> set[str]:
    """Files for runtimes that an earlier export wrote into a folder, by its manifest."""
    try:
        listed = exported_hashes(out) or {}
    except UserError:  # damaged, and about to be replaced
        return set()
    return listed.keys() & set(file_names())  # no other name is taken on trust


def check_images_of(info: DataInfo, run: Path, model: Exported, file: Path) -> None:
    """Refuse to run a file on a run's images where it was made for others: its answers would mean nothing.

    Args:
        info: of the run's images.
        run: the run's folder.
        model: the opened file.
        file: where it is.

    Raises:
        UserError: its classes, or how it expects images to be prepared, are not the run's; or it does not say.
    """
    here = {"classes": list(info.classes), **input_config(info, input_size(model, file)[-1])}
    try:
        there = {"classes": json.loads(model.metadata["classes"]), **json.loads(model.metadata["input"])}
    except (KeyError, ValueError, TypeError, RecursionError):
        there = {}
    different = [key for key, value in json.loads(json.dumps(here)).items() if there.get(key) != value]
    if different:
        raise UserError(f"{file} was not exported from {run}: {', '.join(different)} differ; give its own run (--run)")


def run_file(model: Exported, dataset: Dataset, split: str, resolution: int) -> Score:
    """Score of an opened file in its runtime on a whole split."""

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(model(images.contiguous().numpy()))

    return dataset.task.score(run, eval_batches(dataset, split, resolution, EVALUATION_BATCH), "cpu")
