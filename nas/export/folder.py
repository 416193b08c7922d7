"""A candidate as a folder: a plain timm model, files that were run in their runtimes, and a model card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

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
from nas.store.run import Run, file_hash
from nas.store.versions import libraries
from nas.tasks.score import Score
from nas.workflows.trained import Trained
from predictors.targets.target import Target
from search_spaces.architecture import Interface
from search_spaces.builders.timm_model import TimmSpec, loader_source
from search_spaces.errors import InfeasibleError, UserError

from .card import WEIGHTS, first_weights, input_config, model_card
from .device_script import device_script, script_name
from .hub import CONFIG, LOADER, data_name, timm_config
from .manifest import MANIFEST, exported_hashes, input_size, open_model


def export_candidate(
    trained: Trained, member: dict[str, Any], target: Target, out: Path, finetuned: dict[str, Any] | None = None,
    formats: Sequence[str] | None = None, license: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write the folder of one member of a front and run its files on the whole test split.

    Args:
        member: entry of ``front`` in a search result.
        out: folder; files in it are replaced one by one, and those that an earlier export left removed.
        finetuned: of a fine-tuned candidate: ``before``, its accuracy on the search split until then, and what is
            told as provenance: ``weights`` (the supernet's), ``epochs``, ``lr``, ``netaug``, ``seed``.
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
    info = trained.dataset.info
    shipped = ship(trained.net, trained.dataset, candidate, trained.calibration)
    out.mkdir(parents=True, exist_ok=True)
    spec = trained.space.family.describe(candidate.architecture, Interface(info.in_chans, len(info.classes)))
    content = trained.run.read()
    origin = dict(finetuned or {})
    simulator = "simulator" if origin else "simulator (search)"
    before = [{"what": "before fine-tuning", "split": "search", **origin.pop("before")}] if origin else []
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
            *before,
            {"what": simulator, "split": "search", **member["accuracy"]},
            {"what": simulator, "split": "test", **member["test"]},
        ],
        "provenance": {
            "data": data_name(info.source),
            "images": dict(info.counts),
            "first_weights": _first_weights(trained.run),
            "weights": content["weights"],
            "seed": content["config"]["seed"],
            "calibration_images": trained.calibration_images,
            "versions": libraries(),
            **({"finetuned_from": origin} if origin else {}),
        },
    }
    save_tensors(out / WEIGHTS, shipped.model.state_dict(), {"candidate": candidate.id})
    metadata = {"classes": list(info.classes), "input": facts["input"], "candidate": candidate.id,
                "test_accuracy": member["test"]["value"], "provenance": facts["provenance"]}  # fmt: skip
    texts = {key: json.dumps(value) for key, value in metadata.items()}
    network = shipped.run if isinstance(shipped.run, QuantizedModel) else shipped.model
    facts["files"] = {WEIGHTS: file_hash(out / WEIGHTS)}
    for form in formats or parse_formats(None, target.model):
        file = out / file_name(form, candidate.policy.label)
        write_model(form, network, (info.in_chans, resolution, resolution), file, texts, target.model)
        facts["files"][file.name] = digest = file_hash(file)
        own = run_file(open_model(file, digest), trained.dataset, "test", resolution)
        facts["results"].append({"what": file.name, "split": "test", **accuracy_dict(own)})
        if (code := get_runtime(form).device_code()) is not None:
            atomic_write(out / script_name(form), device_script(form, code).encode())
    earlier = _earlier_files(out)
    write_json(out / MANIFEST, facts)
    write_json(out / CONFIG, timm_config(shipped.model, facts))
    if TimmSpec.from_json(spec).plain_arguments() is None:
        atomic_write(out / LOADER, loader_source().encode())
    atomic_write(out / "README.md", model_card(facts).encode())
    for name in earlier - facts["files"].keys():  # of another network, as nothing in this folder would say any more
        (out / name).unlink(missing_ok=True)
    return facts


def _earlier_files(out: Path) -> set[str]:
    """Files for runtimes that an earlier export wrote into a folder, by its manifest."""
    try:
        listed = exported_hashes(out) or {}
    except UserError:  # damaged, and about to be replaced
        return set()
    return listed.keys() & set(file_names())  # no other name is taken on trust


def _first_weights(run: Run) -> str | None:
    """What the supernet's training began with; a fine-tuned candidate's run lies in ``finetune/`` of the supernet's."""
    content = run.read()
    return first_weights((Run(run.path.parents[1]).read() if "finetuned_from" in content else content)["config"])


def check_images_of(trained: Trained, model: Exported, file: Path) -> None:
    """Refuse to run a file on a run's images where it was made for others: what it answers would mean nothing.

    Raises:
        UserError: its classes, or how it expects images to be prepared, are not the run's; or it does not say.
    """
    info = trained.dataset.info
    here = {"classes": list(info.classes), **input_config(info, input_size(model, file)[-1])}
    try:
        there = {"classes": json.loads(model.metadata["classes"]), **json.loads(model.metadata["input"])}
    except (KeyError, ValueError, TypeError, RecursionError):
        there = {}
    different = [key for key, value in json.loads(json.dumps(here)).items() if there.get(key) != value]
    if different:
        raise UserError(
            f"{file} was not exported from {trained.run.path}: {', '.join(different)} differ; give its own run (--run)"
        )


def run_file(model: Exported, dataset: Dataset, split: str, resolution: int) -> Score:
    """Score of an opened file in its runtime on a whole split."""

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(model(images.contiguous().numpy()))

    return dataset.task.score(run, eval_batches(dataset, split, resolution, EVALUATION_BATCH), "cpu")
