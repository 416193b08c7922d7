"""Parsers of a run's files, of exported folders and of devices."""

from __future__ import annotations

import hashlib
import importlib
import json
import random
import shutil
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import typer

from nas.data.opening import open_dataset
from nas.store.run import Run
from search_spaces.architecture import Interface
from search_spaces.errors import UserError
from tests.robustness._fuzz_mutate import json_file, json_text, raw, tensor_file, toml_file, tree
from tests.robustness._fuzz_registry import Case, Seeds, ignore, parser

# a run's JSON


@parser("run.json")
def _run(seeds: Seeds, folder: Path) -> Case:
    from nas.report.gather import gather
    from nas.store.status import read_status
    from nas.training.weights import config_of, load_supernet

    run = Run(folder / "run")
    shutil.copytree(seeds.run, run.path, ignore=shutil.ignore_patterns("export", "checkpoint*"))
    valid = json.loads(run.config.read_text())

    def case(rng: random.Random) -> None:
        run.config.write_bytes(json_file(valid, rng, folder))
        read_status(run)
        with suppress(UserError):
            gather(run)
        run.read()
        config_of(run)
        if rng.random() < 0.05:
            load_supernet(run)

    return case


@parser("metrics")
def _metrics(seeds: Seeds, folder: Path) -> Case:
    from nas.report.gather import gather
    from nas.store.metrics import Metrics
    from nas.store.status import read_status

    run = Run(folder)
    shutil.copy(seeds.run / "run.json", run.config)
    lines = [json.loads(line) for line in (seeds.run / "metrics.jsonl").read_text().splitlines()]

    def case(rng: random.Random) -> None:
        written = [json_text(entry).encode() for entry in lines]
        for _ in range(rng.choice((1, 1, 3))):
            at = rng.randrange(len(lines))
            written[at] = json_file(lines[at], rng, folder)
        run.metrics.write_bytes(b"\n".join(written))
        run.write(replace(run.read(), complete=False))
        read_status(run)
        gather(run)
        Metrics(run.metrics, 20, lambda entry: None)

    return case


ENDS_TRIAL = 6
"""``op_code`` of the line in optuna's journal file that says how a trial ended."""


@parser("journal")
def _journal(seeds: Seeds, folder: Path) -> Case:
    from nas.candidates.candidate import Candidate
    from nas.journal.journal import Journal
    from nas.search.config import SearchConfig
    from nas.search.costs import CandidateCosts
    from nas.search.session import Session
    from nas.tasks.classification import Accuracy
    from predictors.costs.tables import CostTables
    from predictors.targets.target import load_target
    from search_spaces import get_space

    space, path = get_space("mbv3-tiny"), folder / "journal.log"
    weights = Run(seeds.run).read().weights
    measured = (seeds.run / "journal.log").read_bytes().splitlines()[:40]
    costs = CandidateCosts(space, CostTables(space, Interface(1, 10)), load_target("cortex-a72"), "int8")
    batch = space.sample(np.random.default_rng(0), 3)
    claimed, free, _ = (Candidate(space.decode(vector), "int8") for vector in batch)

    def agree(claim: Candidate) -> None:
        """What a worker of a search does with a journal."""
        journal = Journal(path, space, weights, patience=0)
        journal.items()
        Session(costs, SearchConfig("cortex-a72", "int8"), journal, unmeasured, ignore).agree("", batch)
        journal.recall(claim, lambda _: Accuracy(1, 2), "fuzz")

    def unmeasured(candidate: Candidate, split: str) -> Accuracy:
        raise AssertionError("nothing is measured")

    path.write_bytes(b"\n".join(measured) + b"\n")
    agree(claimed)
    lines = path.read_bytes().splitlines()
    ended = max(i for i, line in enumerate(lines) if json.loads(line)["op_code"] == ENDS_TRIAL)
    del lines[ended]  # the claim goes on

    def case(rng: random.Random) -> None:
        found = list(lines)
        for _ in range(rng.choice((1, 1, 2))):
            at = rng.randrange(*rng.choice(((0, len(found)), (len(measured) - 1, len(found)))))
            way = rng.randrange(5)
            if way == 0:
                del found[at]
            elif way == 1:
                found.insert(rng.randrange(len(found)), found[at])
            else:
                found[at] = json_file(json.loads(lines[at % len(lines)]), rng, folder)
        path.write_bytes(b"\n".join(found) + rng.choice((b"\n", b"")))
        agree(free)

    return case


@parser("search result")
def _search(seeds: Seeds, folder: Path) -> Case:
    from nas.candidates.candidate import Candidate
    from nas.report.gather import gather
    from nas.workflows.resolve import pick_member, read_search
    from predictors.targets.target import load_target
    from search_spaces import get_space

    source = next(seeds.run.glob("search-*.json"))
    valid, run, space = json.loads(source.read_text()), Run(folder), get_space("mbv3-tiny")
    shutil.copy(seeds.run / "run.json", run.config)

    def case(rng: random.Random) -> None:
        (folder / source.name).write_bytes(json_file(valid, rng, folder))
        gather(run)
        result = read_search(run)
        load_target(result.settings.target)
        for name in ("best", "fastest", "smallest"):
            member = pick_member(result, name)
            candidate = Candidate(member.architecture, member.precision)
            ignore(candidate.policy)
            space.encode(candidate.architecture)

    return case


# exported folders and files


@parser("exported folder")
def _exported(seeds: Seeds, folder: Path) -> Case:
    from nas.export.manifest import check_unaltered, exported_file
    from nas.report.gather import gather
    from nas.workflows.resolve import read_subject

    run = Run(folder / "run")
    place = run.export("x")
    shutil.copytree(seeds.exported, place)
    shutil.copy(seeds.run / "run.json", run.config)
    valid = json.loads((place / "architecture.json").read_text())
    spec_only = {key: valid[key] for key in ("timm", "input", "candidate", "target", "precision", "classes", "format")}

    def case(rng: random.Random) -> None:
        if rng.random() < 0.5:
            content = json_file(valid, rng, folder)
        else:
            content = json_text(spec_only | {"timm": tree(valid["timm"], rng)}).encode("utf-8", "surrogatepass")
        (place / "architecture.json").write_bytes(content)
        with suppress(UserError):
            check_unaltered(file) if (file := exported_file(place)) else None
        gather(run)
        subject = read_subject(str(place))
        if rng.random() < 0.3:
            subject.build(None)

    return case


@parser("report")
def _report(seeds: Seeds, folder: Path) -> Case:
    from nas.report.page import write_report

    run = Run(folder / "run")
    place = run.export("x")
    shutil.copytree(seeds.run, run.path, ignore=shutil.ignore_patterns("export", "checkpoint*", "supernet*"))
    place.mkdir(parents=True)
    shutil.copy(seeds.exported / "architecture.json", place)
    paths = [run.config, *run.path.glob("search-*.json"), place / "architecture.json"]
    files = {path: path.read_bytes() for path in paths}

    def case(rng: random.Random) -> None:
        path = rng.choice(paths)
        path.write_bytes(json_file(json.loads(files[path]), rng, folder))
        try:
            write_report(run)
        finally:
            path.write_bytes(files[path])

    return case


@parser("teacher folder")
def _teacher_folder(seeds: Seeds, folder: Path) -> Case:
    from nas.training.teacher.teacher import open_teacher

    dataset = open_dataset(str(seeds.photos))
    place = folder / "x"
    shutil.copytree(seeds.exported, place)
    facts = json.loads((place / "architecture.json").read_text())
    tensors = (place / "model.safetensors").read_bytes()

    def case(rng: random.Random) -> None:
        (place / "architecture.json").write_bytes(
            json_file(facts, rng, folder) if rng.random() < 0.7 else json.dumps(facts).encode()
        )
        (place / "model.safetensors").write_bytes(tensor_file(tensors, rng, folder) if rng.random() < 0.5 else tensors)
        open_teacher(str(place), dataset)

    return case


def _load_runtime(suffix: str) -> None:
    """Beforehand, so that the seconds which ExecuTorch's import takes are no case's."""
    if suffix == ".pte":
        importlib.import_module("executorch.runtime")


def _runtime_file(seeds: Seeds, folder: Path, suffix: str) -> Case:
    from nas.export.manifest import input_size, open_model

    _load_runtime(suffix)
    path = folder / f"x{suffix}"
    valid = next(seeds.exported.glob(f"*{suffix}")).read_bytes()

    def case(rng: random.Random) -> None:
        path.write_bytes(raw(valid, rng, folder))
        model = open_model(path)
        input_size(model, path)

    return case


@parser(".onnx alone")
def _onnx(seeds: Seeds, folder: Path) -> Case:
    return _runtime_file(seeds, folder, ".onnx")


@parser(".pte alone")
def _pte(seeds: Seeds, folder: Path) -> Case:
    return _runtime_file(seeds, folder, ".pte")


@parser("files of runtimes in a folder")
def _hashed(seeds: Seeds, folder: Path) -> Case:
    from nas.export.manifest import open_model

    place = folder / "x"
    shutil.copytree(seeds.exported, place)
    files = {path: path.read_bytes() for path in place.iterdir() if path.suffix in (".onnx", ".tflite", ".pte")}
    for path in files:
        _load_runtime(path.suffix)

    def case(rng: random.Random) -> None:
        path = rng.choice(list(files))
        altered = raw(files[path], rng, folder)
        path.write_bytes(altered)
        try:
            open_model(path)
        except UserError:
            assert altered != files[path], "a whole file was refused"
            raise
        finally:
            path.write_bytes(files[path])
        assert altered == files[path], "an altered file was opened"

    return case


# devices


@parser("target")
def _target(seeds: Seeds, folder: Path) -> Case:
    from predictors.targets.target import FOLDER, load_target, to_toml

    texts, path = [p.read_text() for p in sorted(FOLDER.glob("*.toml"))], folder / "x.toml"

    def case(rng: random.Random) -> None:
        path.write_bytes(toml_file(rng.choice(texts), rng, folder))
        to_toml(load_target(path))

    return case


@cache
def command_parser(command: str) -> Any:
    """Typer's parser of a command."""
    from nas.cli.main import make_app

    parsers: Any = typer.main.get_command(make_app(command))
    return parsers.commands[command]


def read_configuration(command: str, path: Path) -> None:
    """Read a configuration file as a command does. Typer's errors have no public class in common."""
    try:
        command_parser(command).make_context(command, ["--config", str(path)])
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        raise UserError(error.format_message()) from None


@parser("configuration")
def _config(seeds: Seeds, folder: Path) -> Case:
    path = folder / "x.toml"
    texts = {
        "train-supernet": 'space = "mbv3-tiny"\nseed = 3\nepochs = 2\nlr = 0.1\npretrained = false\nout = "runs/x"\n',
        "search": 'target = "host"\nmeasurements = 8\nmax-latency = 3.5\nmax-latency-on = ["cortex-a53=20"]\n',
        "export": 'candidate = "best"\nformat = "onnx,executorch"\nrun = "runs/x"\njson = false\n',
        "estimate": 'precision = "int8"\nresolution = 64\nlayers = true\n',
    }

    def case(rng: random.Random) -> None:
        command = rng.choice(list(texts))
        path.write_bytes(toml_file(texts[command], rng, folder))
        read_configuration(command, path)

    return case


@parser("configuration of an earlier run")
def _earlier(seeds: Seeds, folder: Path) -> Case:
    path = folder / "x.json"
    sources = {"train-supernet": seeds.run / "run.json", "search": next(seeds.run.glob("search-*.json"))}
    kept = {command: json.loads(source.read_text()) for command, source in sources.items()}

    def case(rng: random.Random) -> None:
        command = rng.choice(list(kept))
        if rng.random() < 0.5:
            content = json_file(kept[command], rng, folder)
        else:  # where most is not read
            content = json_text(kept[command] | {"config": tree(kept[command]["config"], rng)}).encode(
                "utf-8", "replace"
            )
        path.write_bytes(content)
        read_configuration(command, path)

    return case


def bundle_id(manifest: dict[str, Any]) -> str:
    """The id that a manifest must have: a hash of everything else in it."""
    content = {key: value for key, value in manifest.items() if key != "bundle"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def bundle_manifest() -> dict[str, Any]:
    """Of a bundle that was never written: its networks have no files."""
    from nas.profiling.bundle import CHECK, FIT
    from nas.profiling.runner import FORMAT
    from nas.store.bundles import Part, Plan
    from search_spaces import get_space
    from search_spaces.schema import to_json

    plan, space = Plan((Part("mbv3-tiny", 10, 3),), fit=8, check=4), get_space("mbv3-tiny")
    drawn = space.sample(np.random.default_rng(0), plan.fit + plan.check)
    networks = [
        {"name": f"n{i:03d}", "use": CHECK if i >= plan.fit else FIT, "part": asdict(plan.parts[0]),
         "input": [3, architecture.resolution, architecture.resolution], "architecture": architecture.to_dict(),
         "files": {p: {"file": f"n{i:03d}.{p}.onnx", "sha256": "0" * 64} for p in plan.precisions}}
        for i, architecture in enumerate(map(space.decode, drawn))
    ]  # fmt: skip
    content = {"format": FORMAT, "plan": to_json(plan), "versions": {"torch": "2", "timm": "1"}, "threads": 1,
               "reference": f"{networks[0]['name']}.int8", "networks": networks}  # fmt: skip
    content = json.loads(json.dumps(content))
    return {"bundle": bundle_id(content), **content}


@parser("bundle")
def _bundle(seeds: Seeds, folder: Path) -> Case:
    from nas.profiling.bundle import read_manifest
    from nas.profiling.runner import Trouble
    from nas.profiling.runner import read_manifest as read_on_device

    valid, path = bundle_manifest(), folder / "manifest.json"

    def case(rng: random.Random) -> None:
        content = json_file(valid, rng, folder)
        with suppress(ValueError, RecursionError, AttributeError, TypeError):
            changed = json.loads(content)
            if rng.random() < 0.8:  # as somebody who knows how it is made
                content = json_text(changed | {"bundle": bundle_id(changed)}).encode("utf-8", "surrogatepass")
        path.write_bytes(content)
        with suppress(Trouble):
            read_on_device(folder)
        read_manifest(folder)

    return case


@parser("results of a bundle")
def _results(seeds: Seeds, folder: Path) -> Case:
    from nas.profiling.fit import clock_note, measurements
    from nas.profiling.results import read_results
    from nas.store.bundles import BundleManifest
    from search_spaces.schema import convert

    content, path = bundle_manifest(), folder / "results.json"
    manifest = convert(content, BundleManifest)
    networks = {f"{n['name']}.{p}": {"ms": 1.5, "state": "settled", "visits": 2} for n in content["networks"]
                for p in n["files"]}  # fmt: skip
    quiet = {"mhz": [1800.0] * 4, "celsius": [50.0]}
    valid = {"format": 1, "bundle": content["bundle"], "threads": 4, "clock": "wall", "units": "ms",
             "networks": networks, "machine": {"cpu": "A", "cores": 4, "architecture": "a", "runtime": "onnxruntime"},
             "before": quiet, "after": quiet,
             "reference": {"usual_ms": 1.0, "quickest_ms": 0.99, "slowest_ms": 1.2}}  # fmt: skip

    def case(rng: random.Random) -> None:
        path.write_bytes(json_file(valid, rng, folder))
        results = read_results(path, manifest)
        clock_note(results)
        if rng.random() < 0.01:
            measurements(manifest, results)

    return case


@parser("measurements of a bundle")
def _measurements(seeds: Seeds, folder: Path) -> Case:
    from nas.profiling.runner import Measurements, Trouble, settle, usual_level

    path = folder / "measurements.jsonl"
    header = {"format": 1, "bundle": "x", "threads": 1, "clock": "wall", "machine": {"cpu": "A"}}
    visits = [{"network": f"n{i}.int8", "ms": 1.0 + i, "runs": 20, "calm": 12, "interval": 0.01, "reference_ms": 1.0}
              for i in range(4)]  # fmt: skip

    def case(rng: random.Random) -> None:
        lines = [json_text(line).encode() for line in (header, *visits)]
        at = rng.randrange(len(lines))
        lines[at] = json_file((header, *visits)[at], rng, folder)
        path.write_bytes(b"\n".join(lines) + rng.choice((b"\n", b"")))
        try:
            log = Measurements(path, header, {v["network"] for v in visits})
        except Trouble as error:
            raise UserError(str(error)) from None
        level = usual_level(log.visits)
        if log.visits:
            settle(log.visits, level)

    return case
