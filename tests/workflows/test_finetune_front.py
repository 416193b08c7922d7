"""Fine-tuning a whole front: its members take turns, and ship with their new weights unless those are worse."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import nas.workflows.export
import nas.workflows.finetune_front
import nas.workflows.single
from nas.candidates.candidate import Candidate
from nas.candidates.ship import measure, ship
from nas.events import ignore
from nas.export.folder import Source
from nas.store.files import load_tensors, save_tensors
from nas.store.results import Member
from nas.store.run import Run, file_hash
from nas.supernet.supernet import Supernet
from nas.tasks.classification import Accuracy
from nas.training.config import FinetuneConfig, Resources, share_epochs
from nas.training.strategies.fixed import Fixed, InTurn
from nas.workflows.export import ship_member
from nas.workflows.finetune import Training, plan_training, ships_tuned, train_further
from nas.workflows.finetune_front import plan_front
from nas.workflows.trained import open_trained
from search_spaces import get_space
from search_spaces.architecture import Architecture
from search_spaces.schema import to_json
from tests.support.cli_runs import Result, content, edit_json, half, invoke
from tests.support.small_runs import are_equal
from tests.support.stopping import Acts, interrupt

pytestmark = pytest.mark.xdist_group("finetune_front")  # its front is tuned once, by one process

SEARCH = "search-cortex-a72.json"
TINY = get_space("mbv3-tiny")
WORDS = ("finetune", "all", "--workers", "0", "--save-seconds", "0", "--budget", "8", "--lr", "0.05", "--run")
RESOURCES = Resources(workers=0, save_seconds=1e9, evaluations=0)


def forget_the_classes(run: Run) -> None:
    """As if the supernet had not learned them, and had been searched so: fine-tuning gains whatever it does."""
    tensors, metadata = load_tensors(run.supernet)
    save_tensors(run.supernet, tensors | {"classifier.weight": 0 * tensors["classifier.weight"]}, metadata)
    weights = file_hash(run.supernet)
    edit_json(run.config, lambda c: c | {"weights": weights})
    edit_json(run.search("cortex-a72"), lambda c: c | {"weights": weights, "front": c["front"][:2]})
    run.journal.unlink()


@pytest.fixture(scope="module")
def tuned(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A folder with a ``run`` whose front was fine-tuned and exported, and what the command said; tests change nothing
    in it."""
    folder = tmp_path_factory.mktemp("tuned")
    shutil.copytree(finished / "run", folder / "run")
    forget_the_classes(Run(folder / "run"))
    result = invoke(*WORDS, folder / "run")
    assert result.code == 0, result.err
    return folder, result


@pytest.fixture
def here(tuned: tuple[Path, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a copy of it."""
    shutil.copytree(tuned[0] / "run", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def members_of(run: Path) -> list[dict[str, Any]]:
    """The front as the search found it, from the most MACs to the fewest."""
    front = json.loads((run / SEARCH).read_text())["front"]
    return sorted(front, key=lambda m: (-m["macs"], m["id"]))


def read_tuned(run: Path) -> dict[str, dict[str, Any]]:
    return {m["id"]: m for m in json.loads((run / "tuned.json").read_text())["members"]}


def candidate(member: Mapping[str, Any]) -> Candidate:
    return Candidate(Architecture.from_dict(member["architecture"]), member["precision"])


def test_all_are_trained_in_one_training_from_the_supernet(tuned: tuple[Path, Result]) -> None:
    """The records against scores of networks that are put together here."""
    run = Run(tuned[0] / "run")
    found, trained = read_tuned(run.path), open_trained(run)
    (folder,) = {member["folder"] for member in found.values()}
    record = run.finetune(folder).read()
    assert record.finetuned_from == trained.weights
    assert record.config["init"] == str(run.supernet.resolve())
    after = opened(run, folder)
    for member in members_of(run.path):
        for key, net in (("before", trained.net), ("after", after)):
            score = measure(net, trained.dataset, candidate(member), "search").value
            assert found[member["id"]][key]["value"] == score
        assert found[member["id"]]["origin"]["together"] == 2


def opened(run: Run, folder: str) -> Supernet:
    """The supernet that a candidate was trained in."""
    trained = open_trained(run)
    net = Supernet(trained.space, trained.dataset.interface)
    net.model.load_state_dict(load_tensors(run.finetune(folder).supernet)[0])
    return net.eval()


def test_what_no_member_has_stays_as_it_was(tuned: tuple[Path, Result]) -> None:
    """Which entries of the tensors members borrow is written by hand, slice by slice. Decay of the weights moves what
    no member has, next to nothing."""
    run = Run(tuned[0] / "run")
    before = open_trained(run).net.model.state_dict()
    found = read_tuned(run.path)
    net = opened(run, next(iter(found.values()))["folder"])
    borrowed = {name: torch.zeros(tensor.shape, dtype=torch.bool) for name, tensor in before.items()}
    for member in members_of(run.path):
        for name, tensor in net.extract(candidate(member).architecture).state_dict().items():
            index = [slice(0, size) for size in tensor.shape]
            for d in (2, 3) if tensor.ndim == 4 else ():
                begin = (before[name].shape[d] - tensor.shape[d]) // 2
                index[d] = slice(begin, begin + tensor.shape[d])
            borrowed[name][tuple(index)] = True
    assert not all(there.all() for there in borrowed.values())
    changed = False
    for name, tensor in net.model.state_dict().items():
        lent = borrowed[name]
        torch.testing.assert_close(tensor[~lent], before[name][~lent], rtol=1e-3, atol=1e-6)
        changed = changed or not torch.allclose(tensor[lent].float(), before[name][lent].float(), rtol=1e-2)
    assert changed


def test_a_front_of_one_is_a_candidate_alone(here: Path) -> None:
    trained = open_trained(Run(here / "run"))
    config = FinetuneConfig(epochs=0.5, lr=0.05, teacher="none")
    one = Candidate(TINY.smallest, "int8")
    nets = [
        train_further(plan, RESOURCES, ignore).net.model.state_dict()
        for plan in (plan_front(trained, [one], config), plan_training(trained, one, config))
    ]
    assert are_equal(*nets)


@pytest.mark.parametrize(
    ("settings", "images", "members", "epochs"),
    [
        ({}, 3000, 1, 5), ({}, 60000, 1, 5), ({}, 1000, 1, 15), ({}, 50, 1, 20), ({}, 1000, 2, 15),
        ({"epochs": 7}, 1000, 1, 7), ({"epochs": 7}, 1000, 4, 7), ({"budget": 8}, 1000, 4, 2), ({}, 1000, 10, 3),
    ],
)  # fmt: skip
def test_small_sets_are_seen_more_often(settings: dict[str, float], images: int, members: int, epochs: float) -> None:
    assert share_epochs(FinetuneConfig(**settings), images, members) == epochs


def test_precisions_of_one_architecture_are_one_training_unless_it_rounds(here: Path) -> None:
    trained = open_trained(Run(here / "run"))
    pair = [Candidate(TINY.smallest, "int8"), Candidate(TINY.smallest, "w4a8"), Candidate(TINY.largest, "int8")]
    for aware, turns in ((False, 2), (True, 3)):
        plan = plan_front(trained, pair, FinetuneConfig(budget=3, teacher="none", quantization_aware=aware))
        strategy = plan.curriculum.strategy
        assert isinstance(strategy, InTurn)
        assert len(strategy.networks) == turns
        assert plan.origin.epochs == 3 / turns
    passes = [strategy.passes(step, np.random.default_rng(0), lambda _: 0.0)[0] for step in range(3)]
    assert [str(each.policy) for each in passes] == ["int8", "w4a8", "int8"]
    assert set(plan.settings.quantization_aware.split(",")) == {"int8", "w4a8"}


def test_members_take_equal_turns() -> None:
    networks = tuple(Fixed(TINY, architecture) for architecture in (TINY.largest, TINY.smallest, TINY.largest))
    strategy = InTurn(networks)
    visited = [strategy.passes(step, np.random.default_rng(step), lambda _: 0.0) for step in range(6)]
    assert [pass_.architecture for (pass_,) in visited] == 2 * [TINY.largest, TINY.smallest, TINY.largest]


def test_what_ships_is_what_the_records_say(tuned: tuple[Path, Result]) -> None:
    run, said = Run(tuned[0] / "run"), tuned[1]
    trained, found = open_trained(run), read_tuned(run.path)
    assert any(m["kept"] == "finetuned" for m in found.values())  # the classes have their own colours
    for member in members_of(run.path):
        record = found[member["id"]]
        scores = [Accuracy(record[when]["correct"], record[when]["images"]) for when in ("before", "after")]
        assert (record["kept"] == "finetuned") == ships_tuned(*scores)
        folder = run.path / "export" / f"cortex-a72-{member['id']}"
        assert f"exported: {folder}" in said.out
        net = opened(run, record["folder"]) if record["kept"] == "finetuned" else trained.net
        shipped = ship(net, trained.dataset, candidate(member)).model.state_dict()
        exported = load_tensors(folder / "model.safetensors")[0]
        assert all(torch.equal(tensor, exported[name]) for name, tensor in shipped.items())
        results = json.loads((folder / "architecture.json").read_text())["results"]
        rows = {(r["what"], r["split"]): r["correct"] for r in results}
        assert rows[("model.int8.tflite", "test")] == record["test"]["correct"]
        if record["kept"] == "finetuned":
            assert rows[("simulator", "search")] == record["after"]["correct"]
            assert "as its teacher" in (folder / "README.md").read_text()
    assert "2 candidates in turn for" in said.err
    assert not list(run.path.glob("finetune/*/checkpoint*"))


def test_the_same_command_again_trains_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(here / "run" / "finetune") | {"tuned": (here / "run" / "tuned.json").read_bytes()}

    def train_again(*_: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(nas.workflows.single, "train", train_again)
    monkeypatch.setattr(nas.workflows.finetune_front, "export_members", lambda *_, **__: [])
    assert invoke(*WORDS, "run").code == 0
    assert content(here / "run" / "finetune") | {"tuned": (here / "run" / "tuned.json").read_bytes()} == before


def test_stopped_or_not_is_the_same(here: Path, at_steps: Acts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nas.workflows.finetune_front, "export_members", lambda *_, **__: [])
    run = here / "run"
    wanted, weights = read_tuned(run), tensors_of(run)
    shutil.rmtree(run / "finetune")
    (run / "tuned.json").unlink()
    at_steps += [(2, interrupt), (5, interrupt)]
    for _ in range(2):
        result = invoke(*WORDS, "run")
        assert result.code == 130
        assert "To resume: nas finetune all" in result.err
        assert not (run / "tuned.json").exists()
    assert invoke(*WORDS, "run").code == 0
    told = ("steps", "before", "after", "kept", "test", "origin")  # a file's hash knows where its run lies
    assert {i: [m[key] for key in told] for i, m in read_tuned(run).items()} == {
        i: [m[key] for key in told] for i, m in wanted.items()
    }
    again = tensors_of(run)
    assert again.keys() == weights.keys()
    assert all(are_equal(tensors, weights[name]) for name, tensors in again.items())


def tensors_of(run: Path) -> dict[str, dict[str, torch.Tensor]]:
    """The weights of each training."""
    return {p.parent.name.partition("-")[0]: load_tensors(p)[0] for p in run.glob("finetune/*/supernet.safetensors")}


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Source, Member]]:
    """What would have been exported: writing a folder takes longer than all else."""
    found: list[tuple[Source, Member]] = []

    def record(source: Source, member: Member, *_: Any) -> SimpleNamespace:
        found.append((source, member))
        origin = SimpleNamespace(finetuned_from=None)
        return SimpleNamespace(results=(), provenance=origin, files={"x": ""}, left_out=None, remarks=None)

    monkeypatch.setattr(nas.workflows.export, "export_candidate", record)
    return found


def test_exports_take_the_tuned_weights_unless_told_otherwise(
    here: Path, exported: list[tuple[Source, Member]]
) -> None:
    run = Run(here / "run")
    found, trained = read_tuned(run.path), open_trained(run)
    assert invoke("export", "--run", "run").code == 0
    best = found[exported[0][1].id]
    assert best["kept"] == "finetuned"
    assert best["after"]["value"] == max(max(m["after"]["value"], m["before"]["value"]) for m in found.values())
    assert invoke("export", "--run", "run", "--no-tuned", "--candidate", best["id"]).code == 0
    (tuned, member), (plain, searched) = exported
    assert member.id == searched.id == best["id"]
    assert tuned.finetuned is not None
    assert to_json(tuned.finetuned.origin) == best["origin"]
    assert (tuned.weights, plain.weights, plain.finetuned) == (best["weights"], trained.weights, None)
    assert [m.accuracy.value for m in (member, searched)] == [
        best["after"]["value"], next(m for m in members_of(run.path) if m["id"] == best["id"])["accuracy"]["value"],
    ]  # fmt: skip
    net = opened(run, best["folder"])
    shipped = ship_member(run, best["id"]).model.state_dict()
    for name, tensor in ship(net, trained.dataset, Candidate(member.architecture, "int8")).model.state_dict().items():
        assert torch.equal(tensor, shipped[name])
    half(run.finetune(best["folder"]).supernet)
    result = invoke("export", "--run", "run")
    assert result.code == 1
    assert "--no-tuned" in result.message
    half(run.tuned)
    assert "tuned.json is damaged" in invoke("export", "--run", "run").message


def test_tuned_weights_of_another_supernet_are_not_taken(here: Path, exported: list[tuple[Source, Member]]) -> None:
    edit_json(here / "run" / "tuned.json", lambda c: c | {"weights": "0" * 16})
    assert invoke("export", "--run", "run").code == 0
    [(source, _)] = exported
    assert source.finetuned is None


def test_the_report_shows_both(here: Path) -> None:
    assert invoke("report", "run").code == 0
    page = (here / "run" / "report.html").read_text()
    kept = [m for m in read_tuned(here / "run").values() if m["kept"] == "finetuned"]
    assert page.count('fill="#5fa300"') > 2 * len(kept)  # two marks in each of two plots
    for each in kept:
        for accuracy in (each["before"], each["after"], each["test"]):
            assert f"{100 * accuracy['value']:.2f} %" in page
    assert "fine-tuned: search split" in page
    shutil.copy(here / "run" / SEARCH, here / "run" / "tuned.json")
    assert "tuned.json" in invoke("report", "run").err  # damaged: left out, and said


def test_a_dry_run_changes_nothing_and_says_what_it_costs(here: Path) -> None:
    shutil.rmtree(here / "run" / "finetune")
    before = content(here)
    result = invoke(*WORDS[:-1], "--budget", "300", "--dry-run", "--run", "run")
    assert result.code == 0, result.err
    steps = round(300 * (Run(here / "run").read().data.counts["train"] // 16))
    assert f"would fine-tune 2 candidates in turn for {steps:,} steps, about {steps // 2} each (about" in result.out
    assert content(here) == before


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("all", "--budget", "4", "--epochs", "2"), "give one of them"),
        (("best", "--budget", "4"), "--budget is shared by the members"),
        (("all", "--teacher", "nonsense"), "no model of timm's"),
        (("all", "--budget", "0.01"), "2 members and the budget makes 1 step, too few"),
    ],
)
def test_bad_input(here: Path, words: tuple[str, ...], text: str) -> None:
    before = content(here)
    result = invoke("finetune", *words, "--workers", "0", "--run", "run", "--quiet")
    assert result.code == 2
    assert text in result.message
    assert content(here) == before


def plan(run: Path, **settings: Any) -> Training:
    return plan_training(open_trained(Run(run)), Candidate(TINY.smallest, "int8"), FinetuneConfig(**settings))


def test_the_teacher_is_the_largest_network_unless_told_otherwise(here: Path) -> None:
    run = Run(here / "run")
    assert plan(run.path).settings.teacher == str(run.path.resolve())
    assert plan(run.path).origin.teacher == "supernet"
    alone = plan(run.path, teacher="none", epochs=0.5)
    assert (alone.settings.teacher, alone.origin.teacher) == (None, None)
    run.adapted.touch()  # as strategy teacher-first leaves it, which has taught the subnets already
    assert plan(run.path).settings.teacher is None
    assert plan(run.path).settings_id == plan(run.path, teacher="none").settings_id
    for word in (str(run.adapted), str(Path("run") / ".." / "run" / run.adapted.name)):
        asked = plan(run.path, teacher=word)  # in the words of this folder
        assert (asked.settings.teacher_weight, asked.origin.teacher) == (0.9, "adapted")
    assert plan(run.path, teacher="timm:nothing").settings.teacher_weight is None
    run.adapted.unlink()
    taught = plan(run.path, epochs=0.5)
    weights = []
    for each in (alone, taught):
        after = train_further(each, RESOURCES, ignore)
        weights.append(load_tensors(after.run.supernet)[0])
    assert any(not torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    assert (taught.run.teacher.read_bytes(), alone.run.teacher.exists()) == (run.finetune().teacher.read_bytes(), False)


def test_folders_keep_their_names(here: Path) -> None:
    """Of the settings that are not the defaults of the first version; not of where the run lies, nor of the teacher."""
    weights = open_trained(Run(here / "run")).weights
    source = Run(here / "run").read().settings.source
    told = {"augment": "none", "batch_size": 16, "epochs": 3.0, "lr": 0.03, "source": source, "strategy": "fixed"}
    expected = hashlib.sha256(json.dumps([weights, told], sort_keys=True).encode()).hexdigest()[:6]
    assert plan(here / "run", epochs=3.0, lr=0.03, teacher="none").settings_id == expected
    moved = shutil.copytree(here / "run", here / "elsewhere" / "run")
    assert plan(moved, lr=0.03).settings_id == plan(here / "run", lr=0.03).settings_id
