"""Every parser of foreign files with a valid example, hostile variants of it, and the product's own way to read it."""

from __future__ import annotations

import importlib
import io
import json
import os
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from _fuzz_mutate import (
    NAMES,
    STRANGE,
    array_file,
    json_file,
    json_text,
    raw,
    tar_file,
    tensor_file,
    toml_file,
    torch_file,
    tree,
    words,
)
from PIL import Image
from safetensors.torch import save as tensors_of

from nas import checkpoint, data
from nas.run import Run
from search_spaces.errors import UserError

Case = Callable[[random.Random], None]


@dataclass(frozen=True)
class Seeds:
    """Valid files that variants are made of.

    Attributes:
        run: trained, searched and exported for onnx and executorch.
        photos: the data folder that it was trained on.
    """

    run: Path
    photos: Path

    @staticmethod
    def of(run: Path) -> Seeds:
        """Those of a finished run."""
        return Seeds(run, Path(Run(run).read()["config"]["source"]))

    @property
    def exported(self) -> Path:
        """The exported folder."""
        return next(self.run.glob("export/*/architecture.json")).parent


@dataclass(frozen=True)
class Parser:
    """A parser of foreign files.

    Attributes:
        prepare: from the seeds and the folder that cases may use: what makes a variant and reads it, once.
        refusals: what it may raise.
    """

    prepare: Callable[[Seeds, Path], Case]
    refusals: tuple[type[BaseException], ...] = (UserError,)


PARSERS: dict[str, Parser] = {}


def parser(name: str, *more: type[BaseException]) -> Callable[[Callable[[Seeds, Path], Case]], Any]:
    """Register a parser under a name; ``more`` it may raise besides."""

    def register(prepare: Callable[[Seeds, Path], Case]) -> Callable[[Seeds, Path], Case]:
        PARSERS[name] = Parser(prepare, (UserError, *more))
        return prepare

    return register


# tensors and what is made of them


@parser("tensors")
def _tensors(seeds: Seeds, folder: Path) -> Case:
    from nas.files import load_tensors, save_tensors, written_by_nas

    path = folder / "x.safetensors"
    tensors = {"a/weight": torch.rand(4, 3), "b": torch.tensor(3), "c.bias": torch.zeros(5, dtype=torch.float16)}
    save_tensors(path, tensors, {"step": 3, "config": {"space": "x", "lr": 0.1}, "classes": ["a", "b"]})
    valid = path.read_bytes()

    def case(rng: random.Random) -> None:
        path.write_bytes(tensor_file(valid, rng, folder))
        written_by_nas(path)
        load_tensors(path)

    return case


@parser("supernet")
def _supernet(seeds: Seeds, folder: Path) -> Case:
    from nas.trained import load_supernet

    run = Run(folder / "run")
    shutil.copytree(seeds.run, run.path, ignore=shutil.ignore_patterns("export", "checkpoint*"))
    valid = run.supernet.read_bytes()

    def case(rng: random.Random) -> None:
        run.supernet.write_bytes(tensor_file(valid, rng, folder))
        load_supernet(run)

    return case


@parser("checkpoint")
def _checkpoint(seeds: Seeds, folder: Path) -> Case:
    from nas.guards import Guard
    from nas.train_config import TrainConfig, optimizer_of, schedule_of, supernet_of

    content = Run(seeds.run).read()
    config, info = TrainConfig(**content["config"]), data.DataInfo.from_dict(content["data"])
    valid, run = (seeds.run / "checkpoint.safetensors").read_bytes(), Run(folder)
    net = supernet_of(config, info)

    def case(rng: random.Random) -> None:
        run.checkpoint.write_bytes(tensor_file(valid, rng, folder))
        state, _ = checkpoint.load(run)
        if state is not None:
            optimizer = optimizer_of(config, net)
            schedule_of(config, optimizer, 100)
            checkpoint.restore(run, state, net.model, optimizer, 100)
            Guard(1.0, 3, 100, state.health)
            for parameter in net.model.parameters():
                parameter.grad = torch.ones_like(parameter)
            optimizer.step()

    return case


@parser("predictor")
def _predictor(seeds: Seeds, folder: Path) -> Case:
    from predictors.accuracy_files import from_bytes

    valid = next(seeds.run.glob("predictor-*.safetensors")).read_bytes()
    return lambda rng: _ignore(from_bytes(tensor_file(valid, rng, folder), "mbv3-tiny"))


@parser("teacher answers")
def _teacher(seeds: Seeds, folder: Path) -> Case:
    from nas.files import save_tensors
    from nas.teacher import answers_in

    asked = {"teacher": "x", "temperature": 1.0, "k": 3, "data": "f", "order": "o"}
    run = Run(folder)
    answers = {"classes": torch.tensor([[0, 1, 2], [2, 0, 1]] * 4, dtype=torch.int32), "values": torch.rand(8, 3) / 3}
    save_tensors(run.teacher, answers, asked)
    valid = run.teacher.read_bytes()

    def case(rng: random.Random) -> None:
        run.teacher.write_bytes(tensor_file(valid, rng, folder))
        found = answers_in(run, asked, 8, 3, _ignore)
        if found is not None:
            found.of(np.arange(8))

    return case


@parser("first weights")
def _init(seeds: Seeds, folder: Path) -> Case:
    from nas.pretrained import load_weights
    from nas.supernet import Supernet
    from search_spaces import get_space

    net = Supernet(get_space("mbv3-tiny"), 3, 3)
    state = net.model.state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    valid, plain = buffer.getvalue(), tensors_of({k: v.contiguous() for k, v in state.items()})
    ours = (seeds.run / "supernet.safetensors").read_bytes()

    def case(rng: random.Random) -> None:
        way = rng.randrange(4)
        path = folder / ("x.safetensors" if way > 1 else "x.pth")
        path.write_bytes(
            torch_file(state, valid, rng, folder) if way < 2 else tensor_file((plain, ours)[way - 2], rng, folder)
        )
        load_weights(net, path)

    return case


@parser("once-for-all weights")
def _ofa(seeds: Seeds, folder: Path) -> Case:
    from nas.import_ofa import _published_names
    from nas.pretrained import load_weights
    from nas.supernet import Supernet
    from search_spaces import get_space

    net = Supernet(get_space("ofa-mbv3-w1.0"), 10, 3)
    names = _published_names(list(net.model.state_dict()))
    # one number under every shape: the file stays small
    state = {names[k]: torch.zeros((), dtype=v.dtype).expand(v.shape) for k, v in net.model.state_dict().items()}
    state = {k.replace(".depth_conv", ".mobile_inverted_conv.depth_conv"): v for k, v in state.items()}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    valid, path = buffer.getvalue(), folder / "x.pth"

    def case(rng: random.Random) -> None:
        path.write_bytes(torch_file(state, valid, rng, folder))
        load_weights(net, path)

    return case


# a run's JSON


@parser("run.json")
def _run(seeds: Seeds, folder: Path) -> Case:
    from nas.report.gather import gather
    from nas.runs import standing
    from nas.trained import config_of, load_supernet

    run = Run(folder / "run")
    shutil.copytree(seeds.run, run.path, ignore=shutil.ignore_patterns("export", "checkpoint*"))
    valid = json.loads(run.config.read_text())

    def case(rng: random.Random) -> None:
        run.config.write_bytes(json_file(valid, rng, folder))
        standing(run)
        with suppress(UserError):
            gather(run)
        content = run.read()
        config_of(run)
        data.DataInfo.from_dict(content["data"])
        if rng.random() < 0.05:
            load_supernet(run)

    return case


@parser("metrics")
def _metrics(seeds: Seeds, folder: Path) -> Case:
    from nas.report.gather import gather
    from nas.runs import standing

    run = Run(folder)
    shutil.copy(seeds.run / "run.json", run.config)
    lines = [json.loads(line) for line in (seeds.run / "metrics.jsonl").read_text().splitlines()]

    def case(rng: random.Random) -> None:
        written = [json_text(entry).encode() for entry in lines]
        for _ in range(rng.choice((1, 1, 3))):
            at = rng.randrange(len(lines))
            written[at] = json_file(lines[at], rng, folder)
        run.metrics.write_bytes(b"\n".join(written))
        content = run.read() | {"complete": False}
        run.write(content)
        standing(run)
        gather(run)

    return case


@parser("journal")
def _journal(seeds: Seeds, folder: Path) -> Case:
    from nas.journal import Journal
    from search_spaces import get_space

    space, path = get_space("mbv3-tiny"), folder / "journal.log"
    weights = Run(seeds.run).read()["weights"]
    lines = (seeds.run / "journal.log").read_bytes().splitlines()[:40]

    def case(rng: random.Random) -> None:
        found = list(lines)
        for _ in range(rng.choice((1, 1, 2))):
            at = rng.randrange(len(found))
            way = rng.randrange(5)
            if way == 0:
                del found[at]
            elif way == 1:
                found.insert(rng.randrange(len(found)), found[at])
            else:
                found[at] = json_file(json.loads(lines[at]), rng, folder)
        path.write_bytes(b"\n".join(found) + rng.choice((b"\n", b"")))
        Journal(path, space, weights, patience=0).items()

    return case


@parser("search result")
def _search(seeds: Seeds, folder: Path) -> Case:
    from nas.candidates import Candidate
    from nas.report.gather import gather
    from nas.workflow import calibrated_on, find_search, pick_member
    from predictors.target import load_target
    from search_spaces import get_space

    source = next(seeds.run.glob("search-*.json"))
    valid, run, space = json.loads(source.read_text()), Run(folder), get_space("mbv3-tiny")
    shutil.copy(seeds.run / "run.json", run.config)

    def case(rng: random.Random) -> None:
        (folder / source.name).write_bytes(json_file(valid, rng, folder))
        gather(run)
        result = find_search(run)
        calibrated_on(result)
        load_target(result["config"]["target"])
        for name in ("best", "fastest", "smallest"):
            candidate = Candidate.from_dict(pick_member(result, name))
            _ignore(candidate.policy)
            space.encode(candidate.architecture)

    return case


# exported folders and files


@parser("exported folder")
def _exported(seeds: Seeds, folder: Path) -> Case:
    from nas.estimate import _exported as read
    from nas.export.formats import check_unaltered, exported_file
    from nas.report.gather import gather

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
        file = exported_file(place)
        with suppress(UserError):
            check_unaltered(file) if file else None
        gather(run)
        subject = read(place, None, None)
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
    from nas.teacher_open import open_teacher

    dataset = data.open_dataset(str(seeds.photos))
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


def _runtime_file(seeds: Seeds, folder: Path, suffix: str) -> Case:
    from nas.export.formats import input_size, open_model

    if suffix == ".pte":
        importlib.import_module("executorch.runtime")  # takes seconds
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


@parser(".onnx and .pte in a folder")
def _hashed(seeds: Seeds, folder: Path) -> Case:
    from nas.export.formats import open_model

    place = folder / "x"
    shutil.copytree(seeds.exported, place)
    files = {path: path.read_bytes() for path in place.iterdir() if path.suffix in (".onnx", ".pte")}

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
    from predictors.target import FOLDER, load_target, to_toml

    texts, path = [p.read_text() for p in sorted(FOLDER.glob("*.toml"))], folder / "x.toml"

    def case(rng: random.Random) -> None:
        path.write_bytes(toml_file(rng.choice(texts), rng, folder))
        to_toml(load_target(path))

    return case


@parser("configuration", typer.BadParameter.mro()[1])
def _config(seeds: Seeds, folder: Path) -> Case:
    import cli

    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
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
        commands[command].make_context(command, ["--config", str(path)])

    return case


def bundle_manifest() -> dict[str, Any]:
    """Of a bundle that was never written: its networks have no files."""
    from nas.profile_bundle import CHECK, FIT, Member, Part, Plan, _id
    from nas.profile_runner import FORMAT
    from search_spaces import get_space

    plan, space = Plan((Part("mbv3-tiny", 10, 3),), fit=8, check=4), get_space("mbv3-tiny")
    drawn = space.sample(np.random.default_rng(0), plan.fit + plan.check)
    members = [Member(f"n{i:03d}", CHECK if i >= plan.fit else FIT, plan.parts[0], space.decode(vector))
               for i, vector in enumerate(drawn)]  # fmt: skip
    networks = [
        {"name": m.name, "use": m.use, "part": asdict(m.part), "input": list(m.image),
         "architecture": m.architecture.to_dict(),
         "files": {p: {"file": f"{m.name}.{p}.onnx", "sha256": "0" * 64} for p in plan.precisions}}
        for m in members
    ]  # fmt: skip
    content = {"format": FORMAT, "plan": asdict(plan), "versions": {"torch": "2", "timm": "1"}, "threads": 1,
               "reference": f"{networks[0]['name']}.int8", "networks": networks}  # fmt: skip
    content = json.loads(json.dumps(content))
    return {"bundle": _id(content), **content}


@parser("bundle")
def _bundle(seeds: Seeds, folder: Path) -> Case:
    from nas.profile_bundle import _id, read_manifest, read_members
    from nas.profile_runner import Trouble
    from nas.profile_runner import read_manifest as read_on_device

    valid, path = bundle_manifest(), folder / "manifest.json"

    def case(rng: random.Random) -> None:
        content = json_file(valid, rng, folder)
        with suppress(ValueError, RecursionError, AttributeError, TypeError):
            changed = json.loads(content)
            if rng.random() < 0.8:  # as somebody who knows how it is made
                rest = {k: v for k, v in changed.items() if k != "bundle"}
                content = json_text({"bundle": _id(rest), **rest}).encode("utf-8", "surrogatepass")
        path.write_bytes(content)
        with suppress(Trouble):
            read_on_device(folder)
        read_members(read_manifest(folder))

    return case


@parser("results of a bundle")
def _results(seeds: Seeds, folder: Path) -> Case:
    from nas.profile_fit import clock_note, measurements, read_results

    manifest, path = bundle_manifest(), folder / "results.json"
    networks = {f"{n['name']}.{p}": {"ms": 1.5, "state": "settled", "visits": 2} for n in manifest["networks"]
                for p in n["files"]}  # fmt: skip
    quiet = {"mhz": [1800.0] * 4, "celsius": [50.0]}
    valid = {"format": 1, "bundle": manifest["bundle"], "threads": 4, "clock": "wall", "units": "ms",
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
    from nas.profile_runner import Measurements, Trouble, settle, usual_level

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


# images and data sets


def _pictures() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    found = {}
    colour = Image.fromarray(rng.integers(0, 255, (24, 20, 3), np.uint8))
    deep = Image.fromarray(rng.integers(0, 65535, (24, 20)).astype(np.uint16))
    ways: tuple[tuple[str, Image.Image, dict[str, Any]], ...] = (
        ("jpg", colour, {}), ("png", colour, {}), ("png", deep, {}), ("gif", colour.convert("P"), {}),
        ("bmp", colour, {}), ("webp", colour, {}), ("tiff", colour, {"compression": "tiff_lzw"}), ("tiff", deep, {}),
        ("ppm", colour, {}), ("jpg", colour.convert("CMYK"), {}), ("png", colour.convert("LA"), {}),
        ("jpg", colour, {"progressive": True}),
    )  # fmt: skip
    for i, (form, image, options) in enumerate(ways):
        buffer = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(buffer, {"jpg": "jpeg"}.get(form, form), exif=exif, **options)
        found[f"{i}.{form}"] = buffer.getvalue()
    return found


@parser("image")
def _image(seeds: Seeds, folder: Path) -> Case:
    from nas.data_decode import FileImages, decode_all

    pictures = list(_pictures().items())

    def case(rng: random.Random) -> None:
        name, valid = rng.choice(pictures)
        content = raw(valid, rng, folder)
        if rng.random() < 0.5:
            content = raw(content, rng, folder)
        (folder / name).write_bytes(content)
        images = FileImages(folder, (name,))
        bad, _ = decode_all(images)
        images.image(0)
        assert not bad, f"left out, though it can be decoded: {bad}"

    return case


@parser("data folder")
def _folder(seeds: Seeds, folder: Path) -> Case:
    pictures = list(_pictures().items())
    place = folder / "photos"

    def case(rng: random.Random) -> None:
        shutil.rmtree(place, ignore_errors=True)
        for label in (
            "apple",
            "pear",
            rng.choice(("plum", "train", "val", "test/x", ".x", "a\nb", "\udcff", "é" * 60)),
        ):
            own = place / label
            own.mkdir(parents=True, exist_ok=True)
            for i in range(rng.choice((0, 3, 6, 6))):
                name, valid = rng.choice(pictures)
                content = raw(valid, rng, folder) if rng.random() < 0.2 else valid
                (own / f"{i}-{rng.choice(('x', 'a b', chr(10), chr(0xDCFF)))}-{name}").write_bytes(content)
            if rng.random() < 0.3:
                with suppress(FileExistsError):
                    (own / rng.choice(("loop", "x.jpg"))).symlink_to(
                        rng.choice((place, folder, Path("/dev/zero"), own / "gone"))
                    )
        if rng.random() < 0.1:
            os.mkfifo(place / "apple" / "pipe.jpg")
        data.open_dataset(str(place))

    return case


def _members(prefix: str = "photos/") -> dict[str, bytes]:
    pictures = list(_pictures().values())
    return {f"{prefix}{label}/{i}.jpg": pictures[(i * 5) % 2 * 11] for label in ("apple", "pear") for i in range(6)}


@parser("tar of images")
def _tar(seeds: Seeds, folder: Path) -> Case:
    valid, path = _members(), folder / "x.tar"

    def case(rng: random.Random) -> None:
        path.write_bytes(tar_file(valid, rng, folder))
        data.open_dataset(str(path))

    return case


@parser("webdataset shards")
def _wds(seeds: Seeds, folder: Path) -> Case:
    picture = _pictures()["0.jpg"]
    valid: dict[str, bytes] = {}
    for i in range(12):
        valid |= {f"{i:03d}.jpg": picture, f"{i:03d}.cls": str(i % 2).encode()}
    place = folder / "shards"
    place.mkdir()
    info = {"splits": {"train": {"num_samples": 12, "filenames": ["train-0.tar"], "shard_lengths": [12]}}}

    def case(rng: random.Random) -> None:
        own = {k: raw(v, rng, folder) if rng.random() < 0.05 else v for k, v in valid.items()}
        (place / "train-0.tar").write_bytes(
            tar_file(own, rng, folder) if rng.random() < 0.8 else tar_file(valid, rng, folder)
        )
        (place / "_info.json").unlink(missing_ok=True)
        if rng.random() < 0.4:
            (place / "_info.json").write_bytes(json_file(info, rng, folder))
        data.open_dataset(f"wds/{place}")

    return case


@parser("cost tables")
def _tables(seeds: Seeds, folder: Path) -> Case:
    from predictors.table_cache import load_tables

    path = folder / "x.npz"
    arrays = {"segment0": np.random.default_rng(0).random((4, 3)), "segment1": np.zeros((2, 3))}

    def case(rng: random.Random) -> None:
        path.write_bytes(array_file(arrays, rng, folder))
        load_tables(path, [(None, 3), (None, 3)])

    return case


# what is typed


@parser("precision policy")
def _policy(seeds: Seeds, folder: Path) -> Case:
    from search_spaces import get_space
    from search_spaces.policy import check_stages, parse_menu, parse_policy

    paths = [s.path for s in get_space("mbv3-tiny").segments]

    def case(rng: random.Random) -> None:
        text = words("int8,blocks.1=w4a8,blocks.3=fp32", rng, ("fp32", "w2a8", "blocks.1", "mixed"))
        with suppress(UserError):
            parse_menu(text)
        policy = parse_policy(text)
        assert parse_policy(str(policy)) == policy
        check_stages(policy, paths, "x")

    return case


@parser("space name")
def _space(seeds: Seeds, folder: Path) -> Case:
    from search_spaces import get_space

    known = ("timm:resnet10t", "timm:mobilenetv2_050:width=0.5,1:resolution=96,128", "mbv3-tiny", "ofa-mbv3-w1.0")

    def case(rng: random.Random) -> None:
        get_space(words(rng.choice(known), rng, ("timm:", "width=", "depth=0.5", "resolution=1", ":kernel=3,5", "inf")))

    return case


@parser("architecture")
def _architecture(seeds: Seeds, folder: Path) -> Case:
    from nas.workflow import parse_architecture
    from search_spaces import get_space

    space, path = get_space("mbv3-tiny"), folder / "x.json"
    valid = space.largest.to_dict()

    def case(rng: random.Random) -> None:
        content = json_file(valid if rng.random() < 0.8 else {"architecture": valid}, rng, folder)
        path.write_bytes(content)
        text = content.decode("utf-8", "surrogateescape") if rng.random() < 0.5 else str(path)
        found = parse_architecture(text)
        space.encode(found)

    return case


@parser("objectives, bounds, formats, names")
def _typed(seeds: Seeds, folder: Path) -> Case:
    from nas.baselines import parse_baselines
    from nas.export.formats import parse_formats
    from nas.loggers import parse_loggers
    from nas.objectives import parse_bounds_elsewhere, parse_objectives
    from nas.storage import check_url, without_password
    from predictors.target import load_target

    host = load_target("host")
    ways: tuple[tuple[Callable[[str], Any], str], ...] = (
        (parse_objectives, "accuracy,latency,latency:host,size"), (lambda t: parse_bounds_elsewhere([t]), "host=20.5"),
        (lambda t: parse_formats(t, host), "onnx,executorch"), (parse_baselines, "random,uniform,nsga2"),
        (parse_loggers, "tensorboard,wandb"), (load_target, "cortex-a72"), (host.menu, "fp32,int8"),
        (check_url, "postgresql://user:secret@host:5432/name?sslmode=require"), (check_url, "sqlite:///file.db"),
        (without_password, "--storage=mysql://u:p@h/n"),
    )  # fmt: skip

    def case(rng: random.Random) -> None:
        read, valid = rng.choice(ways)
        read(words(valid, rng, ("accuracy", "latency:", "none", "://", "@", "[::1]", "%zz")))

    return case


@parser("names in an archive")
def _names(seeds: Seeds, folder: Path) -> Case:
    """Names in an archive of images become classes and paths."""
    from nas.data_layout import arrange, tree_of

    def case(rng: random.Random) -> None:
        names = [f"{rng.choice(('train', 'val', 'x', 'test'))}/{c}/{i}.jpg" for c in "ab" for i in range(3)]
        for _ in range(rng.choice((1, 2, 5))):
            names.insert(rng.randrange(len(names) + 1), rng.choice(NAMES))
        arrange(tree_of(names), "x")

    return case


def _ignore(_: Any) -> None:
    """What is read is not needed."""


assert STRANGE
