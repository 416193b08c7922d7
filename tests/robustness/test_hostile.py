"""Files that somebody careless or malicious made: refused in a line or two, nothing executed, nothing written."""

from __future__ import annotations

import io
import json
import pickle
import random
import shutil
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.store.files import load_tensors, save_tensors
from search_spaces import PRESETS, get_space
from search_spaces.architecture import Interface
from search_spaces.builders.timm_model import TimmSpec, build_foreign
from tests.robustness._fuzz_mutate import checksum
from tests.support.cli_runs import content, edit_json, invoke, train_words, unfinish, write_photos

Damage = Callable[[bytes, Path], bytes]


class Executed:
    """Loaded carelessly, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.mark), "w")


def truncated(data: bytes, mark: Path) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes, mark: Path) -> bytes:
    """One bit in the middle of the last third: of a tensor where there are tensors."""
    at = len(data) * 5 // 6
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


def oversized(data: bytes, mark: Path) -> bytes:
    """A header that claims to be 8 exabytes long."""
    return struct.pack("<Q", 2**63 - 1) + data[8:]


def pickled(data: bytes, mark: Path) -> bytes:
    return pickle.dumps(Executed(mark))


def zipped(data: bytes, mark: Path) -> bytes:
    """An archive of torch's with such a pickle in it."""
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(1), "x": Executed(mark)}, buffer)
    return buffer.getvalue()


DAMAGES: tuple[Damage, ...] = (truncated, flipped, oversized, pickled, zipped)


@pytest.mark.parametrize("damage", DAMAGES)
def test_checkpoints_and_weights(here: Path, finished: Path, tmp_path: Path, damage: Damage) -> None:
    mark = tmp_path / "executed"
    supernet = here / "run" / "supernet.safetensors"
    whole = supernet.read_bytes()
    supernet.write_bytes(damage(whole, mark))
    result = invoke("export", "--run", "run")
    assert (result.code, "supernet.safetensors is damaged" in result.message) == (1, True)
    supernet.write_bytes(whole)
    unfinish(here / "run")
    for name in ("checkpoint.safetensors", "checkpoint.previous.safetensors"):
        path = here / "run" / name
        path.write_bytes(damage(path.read_bytes(), mark))
    before = content(here)
    result = invoke(*train_words(finished), "--quiet")
    assert (result.code, "checkpoint.safetensors is damaged" in result.message) == (1, True)
    (here / "first.pth").write_bytes(damage(whole, mark))
    result = invoke(*train_words(finished), "--init", "first.pth", "--out", "new", "--quiet")
    assert result.code == 1
    assert "first.pth" in result.message
    (here / "first.pth").unlink()
    assert content(here) == before
    assert not mark.exists()


def test_a_checkpoint_of_another_training_with_a_right_checksum(here: Path, finished: Path) -> None:
    """Whoever wrote it knew how checksums are made."""
    unfinish(here / "run")
    path = here / "run" / "checkpoint.safetensors"
    state = {"model/x": torch.zeros(3)}
    facts = {"step": 1, "seconds": 0.0, "groups": [{"params": [0]}], "scalars": {}}
    real, known = load_tensors(path)
    momentum = next(name for name, tensor in real.items() if name.startswith("optimizer/") and tensor.numel() > 1)
    for tensors, metadata, said in (
        (state, facts, "is not of this training"),
        (state, facts | {"step": -1}, "damaged"),
        (state, facts | {"groups": 3}, "groups is 3, not a list"),
        (state, {}, "step is missing"),
        (real | {momentum: torch.zeros(())}, known, "is not of this training"),
    ):
        save_tensors(path, tensors, metadata)
        (here / "run" / "checkpoint.previous.safetensors").unlink(missing_ok=True)
        result = invoke(*train_words(finished), "--quiet")
        assert result.code == 1
        assert said in result.message
    # settings of the optimizer that a file lacks are those of the run: another version of torch has others
    save_tensors(path, real, known | {"groups": [{"params": group["params"]} for group in known["groups"]]})
    assert invoke(*train_words(finished), "--quiet").code == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c | {"data": c["data"] | {"in_chans": 10**9}}, "data.in_chans: 1000000000 is not"),
        (lambda c: c | {"config": c["config"] | {"space": 3}}, "config.space is 3, not a text"),
        (lambda c: c | {"config": c["config"] | {"lr": "high"}}, 'config.lr is "high", not a number'),
        (lambda c: c | {"data": c["data"] | {"std": [0.0]}}, "data.std[0]: 0.0 is not a number"),
        (lambda c: c | {"complete": "\x1b[2J"}, "complete is"),
    ],
)
def test_facts_of_a_run_that_cannot_be(here: Path, change: Callable[[Any], Any], said: str) -> None:
    edit_json(here / "run" / "run.json", change)
    result = invoke("export", "--run", "run")
    assert result.code == 1
    assert said in result.message
    assert "\x1b" not in result.err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m | {"accuracy": {"value": float("nan")}}, "front[0].accuracy"),
        (lambda m: m | {"architecture": {"space": "mbv3-tiny", "genes": {"resolution": []}}}, "gene resolution is []"),
        (lambda m: m | {"latency_ms": -1}, "front[0].latency_ms"),
        (lambda m: {}, "front[0].id is missing"),
        (lambda m: m | {"architecture": {"space": "mbv3-tiny", "genes": {}}}, "gene"),
    ],
)
def test_results_of_a_search_that_cannot_be(here: Path, change: Callable[[Any], Any], said: str) -> None:
    edit_json(here / "run" / "search-cortex-a72.json", lambda c: c | {"front": [change(c["front"][0])]})
    before = content(here)
    result = invoke("export", "--run", "run")
    assert result.code == 1
    assert said in result.message
    assert content(here) == before


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "9" * 5000, "\ud800", "NaN"])
def test_json_that_no_parser_likes(here: Path, text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    (here / "run" / "search-cortex-a72.json").write_bytes(data)
    assert "is damaged" in invoke("export", "--run", "run").message
    (here / "deep.json").write_bytes(data)
    assert invoke("estimate", "deep.json").code == 1
    (here / "run" / "run.json").write_bytes(data)
    assert "is damaged" in invoke("export", "--run", "run").message


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 5000, "a = " + "9" * 5000, 'name = "\\ud800"', "\xff\xfe", "a" * 100_000]
)
def test_configurations_and_targets(empty: Path, text: str) -> None:
    Path("x.toml").write_bytes(text.encode("latin-1", "replace"))
    result = invoke("search", "--config", "x.toml")
    assert (result.code, len(result.message) < 3000) == (2, True)
    result = invoke("targets", "x.toml")
    assert (result.code, len(result.message) < 3000) == (1, True)


def test_a_description_that_makes_timm_load_a_file(here: Path, finished: Path, tmp_path: Path) -> None:
    """An exported folder says what timm shall build; of timm's options, those that open files are refused."""
    folder = next((here / "run" / "export").iterdir())
    mark, weights = tmp_path / "executed", tmp_path / "w.pth"
    weights.write_bytes(pickled(b"", mark))
    for option in ({"checkpoint_path": str(weights)}, {"pretrained": True}, {"pretrained_cfg": {"file": str(weights)}}):
        edit_json(folder / "architecture.json", lambda c, o=option: c | {"timm": c["timm"] | {"options": o}})
        for words in (("estimate", folder), (*train_words(finished)[:-1], "new", "--teacher", folder, "--quiet")):
            result = invoke(*words)
            assert result.code == 1
            assert "doesn't shape a network" in result.message
    assert not mark.exists()


@pytest.mark.parametrize("space", [*PRESETS, "timm:convnext_atto", "timm:deit_tiny_patch16_224"])
def test_descriptions_of_our_own_are_no_foreign_ones(space: str) -> None:
    """What a family writes into an exported folder, it must be allowed to read."""
    known = get_space(space)
    spec = json.loads(json.dumps(known.family.describe(known.smallest, Interface(3, 10))))
    assert sum(p.numel() for p in build_foreign(TimmSpec.from_json(spec), "x", "meta").parameters()) == sum(
        p.numel() for p in known.build(known.smallest, Interface(3, 10), "meta").parameters()
    )


def test_exported_files_that_were_altered(here: Path) -> None:
    folder = next((here / "run" / "export").iterdir())
    path = next(folder.glob("*.tflite"))
    whole = path.read_bytes()
    for damage in DAMAGES:
        path.write_bytes(damage(whole, here / "executed"))
        result = invoke("evaluate", path, "--run", "run")
        assert result.code == 1
        assert "is not the file that was exported" in result.message
    assert not (here / "executed").exists()


def _archive(names: tuple[str, ...], pictures: list[bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, picture in zip(names, pictures, strict=False):
            info = tarfile.TarInfo(name)
            info.size = len(picture)
            archive.addfile(info, io.BytesIO(picture))
        link = tarfile.TarInfo("photos/apple/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    return buffer.getvalue()


def test_archives_of_images_with_names_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is unpacked, and what points elsewhere is no image, or one that is lost."""
    place = tmp_path / "a" / "b"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    pictures = [path.read_bytes() for path in write_photos(tmp_path / "photos", count=6).rglob("*.jpg")]
    good = tuple(f"photos/{c}/{i}.jpg" for c in ("apple", "pear") for i in range(6))
    evil = ("../outside.jpg", "photos/../../outside.jpg", "photos/apple/../../../outside.jpg")
    for names, usable in (((*good, *evil), True), ((*good, *evil, f"{tmp_path}/outside.jpg"), False)):
        Path("x.tar").write_bytes(_archive(names, pictures))
        before = sorted(tmp_path.rglob("*"))
        result = invoke("data", "check", "x.tar", "--json")
        assert sorted(tmp_path.rglob("*")) == before
        assert result.code == 1
        if usable:
            assert sum(split["images"] for split in result.json["splits"].values()) == len(good)
            assert [each["image"] for each in result.json["corrupt"]["first"]] == ["photos/apple/link.jpg"]
        else:  # a folder of one image more: none of three splits
            assert "too few images" in result.message


def test_weights_in_an_archive_with_names_outside(here: Path, finished: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(3)}, buffer)
    path = here / "deep" / "x.pth"
    path.parent.mkdir()
    with zipfile.ZipFile(io.BytesIO(buffer.getvalue())) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(f"../{name}", old.read(name))
    before = content(here)
    result = invoke(*train_words(finished)[:-1], "new", "--init", path, "--quiet")
    assert result.code == 1
    assert "--init" in result.message
    assert content(here) == before


def test_a_bundle_whose_files_lie_elsewhere(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.profiling.runner import Trouble, read_manifest
    from tests.robustness._fuzz_parsers import bundle_id, bundle_manifest

    manifest = bundle_manifest()
    Path("bundle").mkdir()
    Path("results.json").write_text("{}")
    for name in ("../x.onnx", "/etc/hostname", "a/b.onnx", "..", "a\\b.onnx", "\0"):
        manifest["networks"][0]["files"]["int8"]["file"] = name
        manifest["bundle"] = bundle_id(manifest)
        Path("bundle/manifest.json").write_text(json.dumps(manifest))
        result = invoke("profile", "--import", "results.json", "--bundle", "bundle")
        assert result.code == 1
        assert "is not the name of a file" in result.message
        with pytest.raises(Trouble):
            read_manifest(Path("bundle"))


def test_the_checksum_of_hostile_tensors_is_the_right_one(tmp_path: Path) -> None:
    tensors, metadata = {"b": torch.rand(3), "a/x": torch.tensor(2)}, {"step": 3, "classes": ["a"]}
    save_tensors(tmp_path / "x.safetensors", tensors, metadata)
    data = (tmp_path / "x.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert json.loads(header["__metadata__"]["nas"])["sha256"] == checksum(tensors, metadata)


CASES = {".pte alone": 0, "once-for-all weights": 2, "supernet": 4, "checkpoint": 4, "first weights": 4, "report": 2}
"""Of the parsers that take long; of the others 6. ``make fuzz`` runs more."""


def test_a_few_random_variants_for_every_parser(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.robustness._fuzz_parsers import PARSERS, Seeds
    from tests.robustness.fuzz import ACCEPTED, REFUSED, generator, outcome

    monkeypatch.chdir(tmp_path)
    run = Path(shutil.copytree(finished / "run", "run", ignore=shutil.ignore_patterns(".*")))
    (exported,) = (run / "export").iterdir()
    assert invoke("export", "--run", run, "--format", "onnx,litert", "--out", exported).code == 0
    seeds, found = Seeds.of(run), {}
    for name, parser in PARSERS.items():
        folder = tmp_path / "cases" / "case"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        cases = CASES.get(name, 6)
        case = parser.prepare(seeds, folder) if cases else None
        for number in range(cases):
            ending = outcome(parser, case, generator(1, name, number), folder)
            if ending not in (ACCEPTED, REFUSED):
                found[f"{name}, case {number}"] = ending
    assert not found


def test_the_fuzzer_sees_what_goes_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that unpickles, one that hangs, one that dies: each is told apart, and the rest is counted."""
    from tests.robustness import _fuzz_parsers, fuzz

    def careless(seeds: Any, folder: Path) -> Callable[[random.Random], None]:
        def case(rng: random.Random) -> None:
            way = rng.randrange(4)
            if way == 0:
                pickle.loads(pickled(b"", folder.parent / "outside")).close()
            elif way == 1:
                raise KeyError("x")
            elif way == 2:
                sys.stderr.close()
                fuzz.os._exit(7)

        return case

    monkeypatch.setitem(_fuzz_parsers.PARSERS, "careless", _fuzz_parsers.Parser(careless))
    tally = fuzz.fuzz("careless", _fuzz_parsers.Seeds(tmp_path, tmp_path), tmp_path / "case", 40, 0)
    kinds = {text.split(":")[0].split("[")[0].strip() for text in tally.crashes.values()}
    assert kinds == {"KeyError", "wrote", "the process ended (7)"}
    assert tally.counts.total() == 40
    assert tally.counts["crashes"] == len(tally.crashes)
    assert 0 < tally.counts["accepted"] < 40
