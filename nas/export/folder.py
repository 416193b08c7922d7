"""A candidate as a folder: a plain timm model, files that were run in their runtimes, and a model card."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nas.candidates.calibrate import Calibration
from nas.candidates.candidate import Candidate
from nas.candidates.ship import EVALUATION_BATCH, ship
from nas.data.batches import eval_batches
from nas.data.dataset import Dataset
from nas.quantization.quantize import QuantizedModel
from nas.runtimes.runtime import NEEDS, Exported, ImageShape, NoFormError
from nas.runtimes.table import (
    DEFAULT,
    RUNTIMES,
    by_suffix,
    file_name,
    file_names,
    get_runtime,
    parse_formats,
    write_model,
)
from nas.search.objectives import misfits
from nas.search.outcome import record_accuracy
from nas.store.exports import ExportCosts, ExportTarget, FinetuneOrigin, Manifest, Provenance, Result
from nas.store.files import FORMAT, atomic_write, save_tensors, write_json
from nas.store.hints import hint
from nas.store.records import DataInfo
from nas.store.results import AccuracyRecord, Member
from nas.store.run import file_hash
from nas.store.versions import libraries
from nas.supernet.supernet import Supernet
from nas.tasks.task import Score
from predictors.costs.network import architecture_features
from predictors.latency.extent import extents_of
from predictors.targets.target import Target
from search_spaces.builders.timm_model import TimmSpec, loader_source
from search_spaces.errors import InfeasibleError, UserError
from search_spaces.schema import to_json

from .card import WEIGHTS, model_card
from .check import check_folder
from .device_script import Script, device_script, script_name
from .hub import CONFIG, LOADER, data_name, timm_config
from .manifest import MANIFEST, exported_hashes, input_size, open_model
from .preparation import PREPARATION, input_config, preparation_of, preparation_source
from .program import PROGRAM, write_program
from .subnet_loader import RECIPE, SUBNET_LOADER, recipe_content, subnet_loader_source

if TYPE_CHECKING:
    from nas.runtimes.runtime import Network

_UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class Finetuned:
    """How a candidate was fine-tuned; ``before``: its accuracy on the search split with the supernet's weights."""

    before: AccuracyRecord
    origin: FinetuneOrigin


@dataclass(frozen=True)
class Source:
    """The weights that candidates are exported from, and what their folders say of these weights.

    Attributes:
        net: the supernet, or the supernet that a fine-tuned candidate was trained in.
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
    source: Source, member: Member, target: Target, out: Path, formats: Sequence[str] | None = None,
    license: str | None = None,
) -> Manifest:  # fmt: skip
    """Write the folder of one member of a front and run its files on the whole test split.

    Args:
        out: folder, written when all its files are complete. Files of the same names in it are replaced, and those
            that an earlier export left are removed.
        formats: names of runtimes; None: the target's.
        license: of the weights, by the hub's name (:func:`nas.export.hub.check_license`); None: nobody states one.

    Returns:
        The content of ``architecture.json``.

    Raises:
        InfeasibleError: it does not fit into the device's memory.
        UserError: a format's packages are missing, or it cannot hold this network; or a script that is shipped does
            not compute what the evaluation did.
    """
    if problems := misfits(target, {"size": member.size_bytes, "memory": member.peak_activation_bytes}):
        again = hint("search", target=target.name)
        raise InfeasibleError(f"{member.id}: {'; '.join(problems)}; search again: {again}")
    candidate = Candidate(member.architecture, member.precision)
    resolution = candidate.architecture.resolution
    info = source.dataset.info
    shipped = ship(source.net, source.dataset, candidate, source.calibration)
    manifest = _manifest(source, candidate, member, target, license)
    task, prepared = source.dataset.task, preparation_of(manifest.input, source.dataset.task)
    metadata = {"classes": list(info.classes), "input": to_json(manifest.input), "preparation": to_json(prepared),
                "candidate": candidate.id, "test_accuracy": member.test.value,
                "provenance": to_json(manifest.provenance)}  # fmt: skip
    texts = {key: json.dumps(value) for key, value in metadata.items()}
    network = shipped.run if isinstance(shipped.run, QuantizedModel) else shipped.model
    earlier = _earlier_files(out)
    with _staged(out) as folder:
        save_tensors(folder / WEIGHTS, shipped.model.state_dict(), {"candidate": candidate.id})
        files, results = {WEIGHTS: file_hash(folder / WEIGHTS)}, [*manifest.results]
        program = None
        if "recipe" in manifest.timm:  # its classes are the model's own, so that others may lack them
            program = write_program(shipped.model, manifest.input.input_size, folder / PROGRAM)
            files |= {} if program.problem else {PROGRAM: file_hash(folder / PROGRAM)}
        atomic_write(folder / PREPARATION, preparation_source().encode())
        scripts, remarks = [], {}
        shape = (info.in_chans, resolution, resolution)
        for wanted in formats or parse_formats(None, target.model):
            other = None if formats else DEFAULT
            form, instead = _write(wanted, other, network, shape, folder, candidate.policy.label, texts, target.model)
            file = folder / file_name(form, candidate.policy.label)
            files[file.name] = digest = file_hash(file)
            if instead:
                remarks[file.name] = instead
            model = open_model(file, digest)
            score = run_file(model, source.dataset, "test", resolution)
            results.append(Result(file.name, "test", record_accuracy(score)))
            if model.remark:
                remarks[file.name] = model.remark
            if (code := get_runtime(form).device_code()) is not None:
                needs = json.loads(model.metadata[NEEDS])
                script = Script(script_name(form), file.name, model, needs, code.channels_last)
                atomic_write(folder / script.name, device_script(form, code, task, script.needs).encode())
                scripts.append(script)
        left_out = {PROGRAM: program.problem} if program is not None and program.problem else None
        manifest = replace(manifest, results=tuple(results), files=files, left_out=left_out, remarks=remarks or None)
        checked = check_folder(folder, scripts, source.dataset, manifest.input)
        spec = TimmSpec.from_json(manifest.timm)
        if spec.of_timm:
            write_json(folder / CONFIG, timm_config(shipped.model, manifest, prepared))
            if spec.plain_arguments() is None:
                atomic_write(folder / LOADER, loader_source().encode())
        if "recipe" in manifest.timm:
            write_json(folder / RECIPE, recipe_content(manifest.timm))
            atomic_write(folder / SUBNET_LOADER, subnet_loader_source(spec.model).encode())
        atomic_write(folder / "README.md", model_card(manifest, task, scripts, checked, program).encode())
        write_json(folder / MANIFEST, to_json(manifest))
    for name in (
        earlier - files.keys() - {script.name for script in scripts}
    ):  # of another network, as nothing in this folder would say any more
        (out / name).unlink(missing_ok=True)
    return manifest


def _write(
    form: str, other: str | None, network: Network, shape: ImageShape, folder: Path, label: str,
    texts: Mapping[str, str], model: str | None,
) -> tuple[str, str]:  # fmt: skip
    """Write a network in a format, or in the ``other`` one where that cannot hold it. Which of them it was, and why the
    other one; empty: it was the first."""
    try:
        write_model(form, network, shape, folder / file_name(form, label), texts, model)
    except NoFormError as error:
        if other is None or other == form:
            raise
        write_model(other, network, shape, folder / file_name(other, label), texts, model)
        return other, f"written in place of the target's format {form}, which cannot hold this network: {error.reason}"
    return form, ""


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """An empty folder to write in; its files take their places in ``out`` where the block ends without an error.

    Where there is no folder ``out``, the new one gets its name at once. Otherwise its files replace those of the same
    names one after the other; the others stay.
    """
    home = out.resolve()
    stage = home / _UNFINISHED if home.is_dir() else home.parent / f".{home.name}{_UNFINISHED}"
    folder = stage / home.name  # one level deeper than exports, so that nobody lists it as one
    shutil.rmtree(stage, ignore_errors=True)  # of a process that was killed
    try:
        folder.mkdir(parents=True)
        yield folder
        if home.is_dir():
            for path in folder.iterdir():
                os.replace(path, home / path.name)
        else:
            os.rename(folder, home)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _manifest(source: Source, candidate: Candidate, member: Member, target: Target, license: str | None) -> Manifest:
    """What the folder of a candidate says before its files are written."""
    info, finetuned = source.dataset.info, source.finetuned
    simulator = "simulator (search)" if finetuned is None else "simulator"
    row = architecture_features(source.net.space, candidate.architecture, source.dataset.interface)
    (extent,) = extents_of(row[None], np.array([member.latency_ms]), [candidate.architecture.resolution])
    results = [Result(simulator, "search", member.accuracy), Result(simulator, "test", member.test)]
    if finetuned is not None:
        results.insert(0, Result("before fine-tuning", "search", finetuned.before))
    return Manifest(
        format=FORMAT,
        candidate=candidate.id,
        precision=candidate.precision,
        architecture=candidate.architecture,
        timm=dict(source.net.space.family.describe(candidate.architecture, source.dataset.interface)),
        input=input_config(info, candidate.architecture.resolution),
        classes=tuple(info.classes),
        license=license,
        costs=ExportCosts(member.macs, member.params, member.size_bytes, member.peak_activation_bytes),
        target=ExportTarget(
            target.name, target.runtime, member.latency_ms, target.label_for(candidate.policy.precisions, extent)
        ),
        results=tuple(results),
        provenance=Provenance(
            data=data_name(info.source),
            images=dict(info.counts),
            first_weights=source.first_weights,
            weights=source.weights,
            seed=source.seed,
            calibration_images=source.calibration.images,
            versions=libraries(),
            finetuned_from=None if finetuned is None else finetuned.origin,
        ),
    )


def _earlier_files(out: Path) -> set[str]:
    """Programs, files for runtimes and their scripts that an earlier export wrote into a folder, by its manifest."""
    try:
        listed = exported_hashes(out) or {}
    except UserError:  # damaged, and about to be replaced
        return set()
    known = {PROGRAM, *file_names(), *map(script_name, RUNTIMES)}  # no other name is taken on trust
    scripts = {script_name(form) for name in listed if (form := by_suffix(Path(name).suffix)) is not None}
    return (listed.keys() | scripts) & known


def check_images_of(info: DataInfo, run: Path, model: Exported, file: Path) -> None:
    """Refuse to run a file on a run's images where it was made for others: its answers would mean nothing. Raises
    UserError: its classes, or how it expects images to be prepared, are not the run's; or it does not say."""
    expected = to_json(input_config(info, input_size(model, file)[-1]))
    here = {"classes": list(info.classes), "levels": None, **expected}
    try:
        there = {"classes": json.loads(model.metadata["classes"]), **json.loads(model.metadata["input"])}
    except (KeyError, ValueError, TypeError, RecursionError):
        there = {}
    different = [key for key, value in json.loads(json.dumps(here)).items() if there.get(key) != value]
    if different:
        raise UserError(f"{file} was not exported from {run}: {', '.join(different)} differ; give its own run (`run`)")


def run_file(model: Exported, dataset: Dataset, split: str, resolution: int) -> Score:
    """Score of an opened file in its runtime on a whole split."""

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(model(images.contiguous().numpy()))

    return dataset.task.score(run, eval_batches(dataset, split, resolution, EVALUATION_BATCH), "cpu")
