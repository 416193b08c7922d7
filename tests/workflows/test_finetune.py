"""Fine-tuning one candidate: its step by hand, the wider networks around it, and what the command leaves."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import nas.workflows.finetune
import nas.workflows.single
from nas.candidates.candidate import Candidate
from nas.candidates.ship import ship
from nas.store.files import load_tensors, save_tensors
from nas.store.run import Run, file_hash
from nas.supernet.supernet import Supernet
from nas.tasks.classification import Accuracy
from nas.tasks.losses import Loss
from nas.tasks.task import get_task
from nas.training.config import FinetuneConfig, Resources, TrainConfig
from nas.training.step import StepInput, run_passes
from nas.training.strategies.fixed import FACTORS, Fixed
from nas.workflows.finetune import pick_candidate, plan_training, ships_tuned, train_config
from nas.workflows.trained import open_trained
from search_spaces import Architecture, get_space
from search_spaces.architecture import Interface
from search_spaces.errors import UsageError
from search_spaces.policy import parse_policy
from tests.support.cli_runs import Result, content, edit_json, invoke, unfinish
from tests.support.long_forms import long_form
from tests.support.stopping import Acts, interrupt

TINY = get_space("mbv3-tiny")
SHORT = ("finetune", "smallest", "--run", "run", "--workers", "0", "--save-seconds", "0", "--quiet")


def no_loss(architecture: Architecture) -> float:
    raise AssertionError("a fixed network needs no losses")


def kind(gene: str) -> str:
    return gene.rpartition(".")[2]


# the step


@pytest.mark.parametrize("netaug", [False, True])
def test_gradients_are_those_of_the_networks_alone(netaug: bool) -> None:
    """The candidate's own gradient, and with NetAug that of the wider network added where it borrows."""
    net = Supernet(TINY, Interface(1, 3), seed=2)
    base = TINY.smallest
    passes = Fixed(TINY, base, netaug).passes(0, np.random.default_rng(3), no_loss)
    assert passes[0].architecture == base
    assert len(passes) == 1 + netaug
    images, labels = torch.randn(4, 1, 24, 24), torch.tensor([0, 1, 2, 0])
    by_hand = {n: torch.zeros_like(p) for n, p in net.model.named_parameters()}
    touched, losses = set(), []
    for one in passes:
        subnet = net.extract(one.architecture).train()
        loss = F.cross_entropy(subnet(images), labels, label_smoothing=0.1)
        loss.backward()
        losses.append(loss.item())
        for name, parameter in subnet.named_parameters():
            index = [slice(0, s) for s in parameter.shape]
            for d in (2, 3) if parameter.ndim == 4 else ():
                start = (by_hand[name].shape[d] - parameter.shape[d]) // 2
                index[d] = slice(start, start + parameter.shape[d])
            assert parameter.grad is not None
            by_hand[name][tuple(index)] += parameter.grad
            touched.add(name)
    found = run_passes(net, passes, StepInput(images, labels), get_task(), Loss(0.1))
    assert found == pytest.approx(losses, rel=1e-5)
    for name, weight in net.model.named_parameters():
        if name in touched:
            assert weight.grad is not None
            torch.testing.assert_close(weight.grad, by_hand[name], rtol=1e-4, atol=1e-6)
        else:
            assert weight.grad is None, name  # what no pass borrows stays as the supernet had it


@pytest.mark.parametrize("name", ["mbv3-tiny", "timm:mobilenetv3_small_075:resolution=64,96:width=0.25,0.5,1"])
def test_wider_networks_contain_the_candidate_and_are_not_too_wide(name: str) -> None:
    space = get_space(name)
    base = space.decode(space.sample(np.random.default_rng(4), 1)[0] // 2)
    strategy = Fixed(space, base, netaug=True)
    seen: dict[str, set[float]] = {}
    for step in range(300):
        _, wider = strategy.passes(step, np.random.default_rng([0, step]), no_loss)
        space.encode(wider.architecture)
        assert wider.architecture.resolution == base.resolution
        assert (wider.role, wider.weight) == ("label", 1.0)
        for changed, value in wider.architecture.genes:
            seen.setdefault(changed, set()).add(value)
    own = dict(base.genes)
    for gene in space.genes:
        if gene.name in own:
            most = FACTORS.get(kind(gene.name), np.inf) * own[gene.name]
            allowed = {c for c in gene.choices if own[gene.name] <= c <= most}
            assert seen[gene.name] == ({base.resolution} if gene.name == "resolution" else allowed)
        elif gene.name in seen:
            assert seen[gene.name] == set(gene.choices)


def test_the_published_factor_binds() -> None:
    space = get_space("timm:mobilenetv3_small_075:resolution=64,96:width=0.25,0.5,1")
    low, high = Fixed(space, space.smallest, netaug=True).bounds
    bound = False
    for column, gene in enumerate(space.genes):
        if kind(gene.name) == "width":
            found = gene.choices[low[column] : high[column] + 1]
            assert found == tuple(c for c in gene.choices if c <= 2.6 * gene.choices[0])
            bound |= found != gene.choices
    assert bound


def test_nothing_is_wider_than_the_largest() -> None:
    with pytest.raises(UsageError, match="has none that contain it"):
        Fixed(TINY, TINY.largest, netaug=True)
    small = TINY.decode(np.where(np.arange(len(TINY.genes)) == 0, 0, TINY.cardinality - 1))
    with pytest.raises(UsageError, match="`netaug`"):  # another resolution is not wider
        Fixed(TINY, small, netaug=True)
    assert len(Fixed(TINY, TINY.largest).passes(0, np.random.default_rng(0), no_loss)) == 1


# the command


def tune(*words: object) -> Result:
    result = invoke(*SHORT, "--json", *words)
    assert result.code == 0, result.err
    return result


@pytest.fixture
def supernet(here: Path) -> Iterator[Path]:
    """The run's supernet, which must be what it was when the test ends."""
    path = here / "run" / "supernet.safetensors"
    before = path.read_bytes()
    yield path
    assert path.read_bytes() == before


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing the folder takes longer than training a few steps."""
    monkeypatch.setattr(nas.workflows.finetune, "export_candidate", lambda *_, **__: SimpleNamespace(results=()))


def forget_the_classes(run: Run) -> None:
    """As if the supernet had not learned them; the search knows nothing of it."""
    tensors, metadata = load_tensors(run.supernet)
    save_tensors(run.supernet, tensors | {"classifier.weight": 0 * tensors["classifier.weight"]}, metadata)
    edit_json(run.config, lambda c: c | {"weights": file_hash(run.supernet)})
    run.journal.unlink()


def test_what_fine_tuning_leaves_is_the_tuned_network(here: Path) -> None:
    run = Run(here / "run")
    forget_the_classes(run)
    weights = run.supernet.read_bytes()
    words = ("finetune", TINY.smallest.to_json(), *SHORT[2:], "--epochs", "12", "--lr", "0.05", "--netaug", "--json")
    assert "--license 'Apache 2!'" in invoke(*words, "--license", "Apache 2!").message
    words += ("--license", "apache-2.0")
    found = invoke(*words).json
    assert run.supernet.read_bytes() == weights
    assert found["after"]["correct"] > found["before"]["correct"]  # the classes have their own colours
    assert found["kept"] == "finetuned"
    folder = here / found["path"]
    facts = json.loads((folder / "architecture.json").read_text())
    rows = {(r["what"], r["split"]): r["correct"] for r in facts["results"]}
    assert rows == {
        ("before fine-tuning", "search"): found["before"]["correct"],
        ("simulator", "search"): found["after"]["correct"],
        ("simulator", "test"): found["test"]["correct"],
        ("model.int8.tflite", "test"): found["test"]["correct"],
    }
    trained = open_trained(run)
    origin = {"weights": trained.weights, "epochs": 12.0, "lr": 0.05, "netaug": True, "quantization_aware": False}
    origin |= {"seed": 0, "teacher": "supernet"}
    assert facts["provenance"]["finetuned_from"] == found["finetuned_from"] == origin
    card = (folder / "README.md").read_text()
    assert f"Finetuned from supernet weights {trained.weights} inside wider networks" in card
    assert "Licence of the weights: apache-2.0." in card
    assert json.loads((folder / "config.json").read_text())["pretrained_cfg"]["license"] == "apache-2.0"

    tuned = Supernet(trained.space, Interface(3, 3))
    tuned.model.load_state_dict(load_tensors(here / found["folder"] / "supernet.safetensors")[0])
    model = ship(tuned, trained.dataset, Candidate(TINY.smallest, "int8")).model
    exported = load_tensors(folder / "model.safetensors")[0]
    for name, tensor in model.state_dict().items():
        assert torch.equal(exported[name], tensor), name


@pytest.mark.parametrize(("after", "ships"), [(95, True), (80, True), (72, True), (71, False), (0, False)])
def test_fine_tuned_weights_ship_unless_they_are_worse_than_chance(after: int, ships: bool) -> None:
    """The 95 % interval of 80 of 100 begins at 0.711 (Wilson, 1927)."""
    assert ships_tuned(Accuracy(80, 100), Accuracy(after, 100)) == ships


def test_the_rule_follows_what_is_true_of_a_chosen_candidate() -> None:
    """The best of 60 networks that are all right with probability 0.75, fine-tuned to 0.77, on 300 images: comparing
    the two figures as they are would keep the worse weights in most cases."""
    rng = np.random.default_rng(0)
    before = rng.binomial(300, 0.75, (2000, 60)).max(axis=1)
    after = rng.binomial(300, 0.77, 2000)
    pairs = [(Accuracy(int(b), 300), Accuracy(int(a), 300)) for b, a in zip(before, after, strict=True)]
    assert np.mean([a.value > b.value for b, a in pairs]) < 0.25
    assert np.mean([ships_tuned(b, a) for b, a in pairs]) > 0.6
    ruined = rng.binomial(300, 0.65, 2000)
    assert np.mean([ships_tuned(pair[0], Accuracy(int(a), 300)) for pair, a in zip(pairs, ruined, strict=True)]) < 0.02


def test_weights_that_are_worse_are_not_kept(here: Path, supernet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supernet's weights are exported, and it says so."""
    monkeypatch.setattr(nas.workflows.finetune, "ships_tuned", lambda before, after: False)
    result = invoke(*SHORT, "--epochs", "1", "--lr", "1e-12")
    assert result.code == 0, result.err
    assert "worse (search split); the supernet's weights are kept" in result.err
    assert "(supernet weights)" in result.out
    assert len(set(re.findall(r"search +(\S+)", result.out))) == 1  # before and after
    assert not list((here / "run" / "export").glob("*finetuned*"))  # which it is not
    (folder,) = (here / "run" / "export").glob("*-supernet-*")
    trained = open_trained(Run(here / "run"))
    _, candidate, _ = pick_candidate(trained, "smallest", None)
    exported = load_tensors(folder / "model.safetensors")[0]
    for name, tensor in ship(trained.net, trained.dataset, candidate).model.state_dict().items():
        assert torch.equal(exported[name], tensor), name
    assert "Finetuned" not in (folder / "README.md").read_text()


@pytest.mark.usefixtures("no_export")
@pytest.mark.parametrize("netaug", long_form([True], [False]))
def test_stopped_or_not_is_the_same(here: Path, supernet: Path, at_steps: Acts, netaug: bool) -> None:
    words = ("--epochs", "3", *(["--netaug"] if netaug else []))
    straight = tune(*words)
    sub = here / straight.json["folder"]
    weights = (sub / "supernet.safetensors").read_bytes()
    shutil.rmtree(sub)
    at_steps += [(2, interrupt), (4, interrupt)]
    for _ in range(2):
        result = invoke(*SHORT, *words)
        assert result.code == 130
        assert "To resume: nas finetune smallest" in result.err
        assert not (sub / "supernet.safetensors").exists()
    assert not at_steps
    assert tune(*words).json == straight.json
    assert (sub / "supernet.safetensors").read_bytes() == weights


@pytest.mark.usefixtures("no_export")
def test_a_quantized_candidate_is_trained_in_its_own_policy(here: Path, supernet: Path) -> None:
    """From a supernet that knows nothing of quantization; the run of another policy lies beside it."""
    found = [tune("--epochs", "1", flag).json for flag in ("--quantization-aware", "--no-quantization-aware")]
    assert [each["finetuned_from"]["quantization_aware"] for each in found] == [True, False]
    aware, plain = (Run(here / each["folder"]) for each in found)
    assert aware.path != plain.path
    config = aware.read().config
    assert (config["quantization_aware"], config["quantization_phase"]) == ("int8", 1.0)
    trained = open_trained(Run(here / "run"))
    _, candidate, _ = pick_candidate(trained, "smallest", None)
    assert candidate.precision == "int8"
    weights = [load_tensors(sub.supernet)[0] for sub in (aware, plain)]
    assert any(not torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    mixed = Candidate(candidate.architecture, "int8,blocks.1=fp32")
    settings = train_config(trained, FinetuneConfig(quantization_aware=True), [mixed.policy])
    assert settings.quantization_aware == "int8"
    with pytest.raises(UsageError, match="nothing is quantized"):
        train_config(trained, FinetuneConfig(quantization_aware=True), [parse_policy("fp32")])


def test_a_folder_of_a_members_name_hides_no_member(here: Path) -> None:
    trained = open_trained(Run(here / "run"))
    _, candidate, _ = pick_candidate(trained, "smallest", None)
    for name in ("smallest", candidate.id):
        (here / name).mkdir()
        assert pick_candidate(trained, name, None)[1] == candidate


@pytest.mark.usefixtures("no_export")
def test_the_same_command_again_trains_nothing(here: Path, supernet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tune("--epochs", "1").json

    def train_again(*_: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(nas.workflows.single, "train", train_again)
    assert tune("--epochs", "1").json == first


@pytest.mark.usefixtures("no_export")
@pytest.mark.parametrize("others", long_form([[("--seed", "7")]], [[("--netaug",), ("--lr", "0.03")]]))
def test_other_settings_have_a_place_of_their_own(here: Path, supernet: Path, others: list[tuple[str, ...]]) -> None:
    """Also another seed, which leaves the splits of the data set as they are."""
    words = [(), *others]
    found = [tune("--epochs", "0.5", *more).json for more in words]
    assert len({f["folder"] for f in found}) == len({f["path"] for f in found}) == len(words)
    assert {json.dumps(f["before"]) for f in found} == {json.dumps(found[0]["before"])}
    facts = [Run(here / f["folder"]).read().data for f in found]
    assert facts == [Run(here / "run").read().data] * len(words)


def test_a_dry_run_changes_nothing(here: Path) -> None:
    before = content(here)
    result = invoke(*SHORT, "--epochs", "4", "--netaug", "--dry-run")
    assert result.code == 0
    images = Run(here / "run").read().data.counts["train"]
    assert f"inside wider networks for {4 * (images // 16)} steps" in result.out
    assert content(here) == before


def test_settings_are_the_runs_own(here: Path) -> None:
    def config(**more: Any) -> TrainConfig:
        edit_json(here / "run" / "run.json", lambda c: c | {"lr": 0.5, "config": c["config"] | more})
        trained = open_trained(Run(here / "run"))
        return plan_training(trained, Candidate(TINY.smallest, "int8"), FinetuneConfig(epochs=5)).settings

    plain = config()
    assert (plain.lr, plain.epochs, plain.batch_size, plain.augment) == (0.01, 5, 16, "none")
    own = config(epochs=60, zero_gamma=True, mixup=0.2, amp="bf16", ema=0.9, optimizer="adamw", lr_auto=True)
    assert (own.lr, own.mixup, own.amp, own.ema, own.optimizer) == (0.05, 0.2, "bf16", 0.0, "adamw")
    assert not own.zero_gamma  # it would undo what was trained
    assert own.augment == "light"  # what "auto" was in a run that long, though the fine-tuning is short
    assert config(epochs=2, mixup=0.0, augment="strong", lr_auto=False, base_batch=32).lr == 0.005


ELSEWHERE = '{"space": "mbv3-small", "genes": {}}'


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("deadbeef",), 2, "not on the front"),
        (("missing.json",), 1, "missing.json does not exist"),
        ((ELSEWHERE,), 1, "is of space 'mbv3-small'"),
        (('{"space": "mbv3-tiny", "genes": {}}',), 1, "gene"),
        (("best", "--target", "nothing"), 2, "nothing"),
        (("best", "--target", "host"), 1, "no finished search"),
        (("best", "--epochs", "0"), 2, "--epochs"),
        (("best", "--lr", "0"), 2, "lr is 0"),
        (("best", "--lr", "nan"), 2, "--lr"),
        ((TINY.largest.to_json(), "--netaug"), 2, "has none that contain it"),
    ],
)
def test_bad_input(here: Path, words: tuple[str, ...], code: int, text: str) -> None:
    before = content(here)
    result = invoke("finetune", *words, "--run", "run")
    assert result.code == code
    assert text in result.message
    assert content(here) == before


def test_epochs_in_a_program(here: Path) -> None:
    with pytest.raises(UsageError, match="`epochs` is 0"):
        nas.workflows.finetune.finetune(
            Run(here / "run"), "best", None, FinetuneConfig(epochs=0), Resources(workers=0), lambda entry: None
        )


@pytest.mark.usefixtures("no_export")
def test_an_untrained_run_and_a_fine_tuned_one(here: Path) -> None:
    found = tune("--epochs", "0.5").json
    for words in (("search",), ("finetune", "best")):
        result = invoke(*words, "--run", found["folder"])
        assert result.code == 1
        assert "is a fine-tuning, not a supernet" in result.message
    unfinish(here / "run")
    result = invoke("finetune", "best", "--run", "run")
    assert result.code == 1
    assert "not trained to the end" in result.message


@pytest.mark.usefixtures("no_export")
def test_an_architecture_needs_no_search(here: Path, supernet: Path) -> None:
    path = here / "wanted.json"
    path.write_text(TINY.smallest.to_json())
    found = invoke("finetune", path, *SHORT[2:], "--epochs", "0.5", "--target", "host", "--json").json
    assert found["candidate"] == f"{TINY.smallest.id}-int8"
    assert found["target"] == "host"
