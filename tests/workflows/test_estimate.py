"""Estimates against the cost tables of a search, the plain model, and their own layers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nas.search.costs import CandidateCosts
from nas.store.records import DataInfo, RunRecord
from nas.store.run import Run
from nas.workflows.estimate import estimate_model
from predictors.costs.tables import CostTables
from predictors.targets.target import load_target
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.builders.timm_compat import timm
from tests.support.cli_runs import invoke

SPACE = get_space("mbv3-tiny")
COSTS = ("macs", "params", "size_bytes", "peak_activation_bytes")


def front(target: str, precision: str, n: int = 3) -> list[dict[str, Any]]:
    """Members as a search writes them, from the cost tables."""
    costs = CandidateCosts(SPACE, CostTables(SPACE, Interface(1, 7)), load_target(target), precision)
    members = []
    for i, vector in enumerate(SPACE.sample(np.random.default_rng(5), n)):
        architecture = SPACE.decode(vector)
        exact = costs.exact(vector)
        right = 50 + 10 * i
        accuracy = {"value": right / 100, "low": 0.0, "high": 1.0, "correct": right, "images": 100}
        members.append(
            {
                "id": f"{architecture.id}-{precision}", "architecture": architecture.to_dict(), "precision": precision,
                "accuracy": accuracy, "test": accuracy, "latency_ms": float(costs.of(vector[None])[0, 0]),
                **{key: getattr(exact, key) for key in COSTS},
            }
        )  # fmt: skip
    return members


@pytest.fixture
def run(empty: Path) -> Path:
    """A run with a search for ``host`` in fp32, which is the default of neither."""
    path = empty / "run"
    path.mkdir()
    data = {
        "source": "embedded", "classes": [str(i) for i in range(7)], "in_chans": 1, "mean": [0.5], "std": [0.5],
        "native_size": 28, "counts": {"train": 100, "search": 100, "test": 100}, "crop_pct": 1.0,
        "interpolation": "bilinear", "fingerprint": "0" * 8,
    }  # fmt: skip
    Run(path).write(RunRecord(config={}, data=DataInfo.from_json(data), complete=True))
    unranked, unforeseen = {"tau": None, "tau_best": None}, {"candidates": 0, "pairs": []}
    result = {
        "config": {"target": "host"}, "complete": True, "target": {"name": "host", "latency": ""}, "others": {},
        "objectives": ["accuracy", "latency"], "front": front("host", "fp32"),
        "measurements": {"new": 3, "prior": 0}, "reference": {}, "hypervolume": 0.0, "baselines": {}, "extremes": {},
        "stopped": "", "hypervolumes": {}, "gain_over_random": None, "weights": "0" * 8,
        "predictor": {
            "choice": "", "candidates": 3, "leave_one_out": unranked, "log_macs": unranked,
            "beforehand": unforeseen, "front_beforehand": unforeseen,
        },
    }  # fmt: skip
    Run(path).search("host").write_text(json.dumps(result))
    return path


def test_a_candidate_has_the_numbers_of_its_search(run: Path) -> None:
    members = json.loads(Run(run).search("host").read_text())["front"]
    for member in members:
        for name in (member["id"], member["id"][:6]):
            facts = invoke("estimate", name, "--run", run, "--json").json
            assert {k: facts[k] for k in COSTS} == {k: member[k] for k in COSTS}
            assert facts["latency_ms"] == pytest.approx(member["latency_ms"], rel=1e-12)
            assert (facts["model"], facts["target"], facts["precision"]) == (member["id"], "host", "fp32")
            assert facts["resolution"] == member["architecture"]["genes"]["resolution"]
    chosen = {name: invoke("estimate", name, "--run", run, "--json").json for name in ("best", "fastest", "smallest")}
    assert chosen["best"]["model"] == members[-1]["id"]
    assert chosen["fastest"]["latency_ms"] == pytest.approx(min(m["latency_ms"] for m in members))
    assert chosen["smallest"]["size_bytes"] == min(m["size_bytes"] for m in members)
    other = invoke("estimate", "best", "--run", run, "--json", "--target", "cortex-a72", "--precision", "int8").json
    assert other["size_bytes"] < chosen["best"]["size_bytes"]
    assert other["target"] == "cortex-a72"


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_an_architecture_as_text_file_or_export(empty: Path, precision: str) -> None:
    (member,) = front("cortex-a72", precision, 1)
    architecture = member["architecture"]
    (empty / "mine.json").write_text(json.dumps(architecture))
    (empty / "export").mkdir()
    space_architecture = SPACE.decode(SPACE.sample(np.random.default_rng(5), 1)[0])
    side = space_architecture.resolution
    facts = {
        "candidate": member["id"], "precision": precision, "architecture": architecture,
        "timm": SPACE.family.describe(space_architecture, Interface(1, 7)), "input": {"input_size": [1, side, side]},
        "target": {"name": "cortex-a72"},
    }  # fmt: skip
    (empty / "export" / "architecture.json").write_text(json.dumps(facts))
    own = {"precision": precision}
    found = [
        estimate_model(json.dumps(architecture), num_classes=7, in_chans=1, **own),
        estimate_model("mine.json", num_classes=7, in_chans=1, **own),
        estimate_model("export"),
        estimate_model("export/architecture.json"),
        estimate_model("export/model.safetensors"),
    ]
    for one in found:
        assert {k: getattr(one, k) for k in COSTS} == {k: member[k] for k in COSTS}
        assert one.latency_ms == pytest.approx(member["latency_ms"], rel=1e-12)
        assert (one.precision, one.resolution) == (precision, side)


@pytest.mark.parametrize(
    ("name", "resolution"),
    [
        ("resnet18", None),
        ("resnet18.a1_in1k", 96),
        ("convnext_atto", 64),
        ("vit_tiny_patch16_224", 160),
        ("swin_tiny_patch4_window7_224", 256),
        ("mixer_s16_224", 128),
    ],
)
def test_any_timm_model_at_its_own_size_or_another(name: str, resolution: int | None) -> None:
    facts = estimate_model(name, "cortex-a72", resolution, num_classes=10)
    side = resolution or 224
    more = {"img_size": side} if name.startswith(("vit", "swin", "mixer")) else {}
    model = timm.create_model(name, num_classes=10, device="meta", **more).eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, side, side, device="meta"))
    assert 2 * facts.macs == counter.get_total_flops()
    assert facts.params == sum(p.numel() for p in model.parameters())
    assert (facts.resolution, facts.precision) == (side, "int8")
    assert facts.latency_source.startswith("uncalibrated: outside what was measured (")  # by size or by operators


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_layers_add_up(precision: str) -> None:
    facts = estimate_model("efficientnet_b0", "cortex-a72", 96, precision, layers=True)
    layers = facts.layers
    assert len(layers) == facts.operators
    assert sum(row.ms for row in layers) + facts.fixed_ms == pytest.approx(facts.latency_ms, rel=1e-12)
    assert all(row.ms > 0 for row in layers)
    assert sum(row.macs for row in layers) == facts.macs
    stem = layers[0]
    assert (stem.path, stem.kind, stem.out_shape) == ("conv_stem", "conv", (32, 48, 48))
    width = {"int8": 1, "fp32": 4}[precision]
    assert stem.bytes == width * (3 * 96 * 96 + 32 * 48 * 48 + 32 * 27)


def test_it_prints_a_table_and_the_layers(empty: Path) -> None:
    shown = invoke("estimate", "resnet18", "--resolution", "64", "--layers")
    assert shown.code == 0, shown.err
    for word in ("resnet18, 64 px, int8, on cortex-a72", "pointwise", "parameters", "latency: uncalibrated: outside"):
        assert word in shown.out
    assert shown.err.strip().startswith("next: nas ")


def test_other_channels_and_classes() -> None:
    three, one = (estimate_model("resnet18", resolution=64, in_chans=c, num_classes=5) for c in (3, 1))
    assert three.params - one.params == 2 * 64 * 49
    assert estimate_model("resnet18", resolution=64, num_classes=6).params - three.params == 513


# bad input: one or two lines, and the right exit code


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("resnet5O",), 2, "did you mean 'resnet50'"),
        (("resnet50.a1_in2k",), 2, "did you mean 'a1_in1k'"),
        (("no/such/folder",), 1, "no/such/folder does not exist"),
        (("missing.json",), 1, "missing.json does not exist"),
        (("here/model.safetensors",), 1, "architecture.json does not exist"),
        (("{}",), 1, "is not an architecture"),
        (('{"space": "mbv3-tiny", "genes": {}}',), 1, "is missing or not active"),
        (("resnet18", "--target", "cortx-a72"), 2, "did you mean 'cortex-a72'"),
        (("resnet18", "--precision", "int4"), 2, "did you mean 'int8'"),
        (("resnet18", "--resolution", "0"), 2, "resolution 0"),
        (("resnet18", "--resolution", "-3"), 2, "resolution -3"),
        (("vgg11", "--resolution", "16"), 2, "cannot take images of 16 x 16 px"),
        (("vit_tiny_patch16_224", "--resolution", "7"), 2, "a 16x16 convolution does not fit on 7x7"),
        (("maxvit_tiny_tf_224", "--resolution", "100"), 2, "cannot take images of 100 x 100 px"),
        (("best",), 1, "start one: nas train-supernet"),
        (("best", "--run", "nowhere"), 1, "nowhere is not a run directory"),
    ],
)
def test_bad_input(empty: Path, words: tuple[str, ...], code: int, text: str) -> None:
    result = invoke("estimate", *words)
    assert text in " ".join(result.message.split())
    assert result.code == code


def test_a_run_without_a_search_and_an_unknown_candidate(run: Path) -> None:
    result = invoke("estimate", "00000000-int8", "--run", run)
    assert result.code == 2
    assert "is not on the front" in result.message
    Run(run).search("host").unlink()
    result = invoke("estimate", "best", "--run", run)
    assert result.code == 1
    assert "has no finished search" in result.message


@pytest.mark.parametrize(
    "damage",
    [lambda c: c | {"timm": 3}, lambda c: {k: v for k, v in c.items() if k != "input"}, lambda c: c | {"input": {}}],
)
def test_a_damaged_export(empty: Path, damage: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    content = {
        "timm": SPACE.family.describe(SPACE.smallest, Interface(1, 7)), "input": {"input_size": [1, 24, 24]},
        "candidate": "a", "precision": "int8", "target": {"name": "host"},
    }  # fmt: skip
    (empty / "architecture.json").write_text(json.dumps(content))
    assert invoke("estimate", ".", "--json").json["target"] == "host"
    (empty / "architecture.json").write_text(json.dumps(damage(content)))
    assert "architecture.json is damaged" in invoke("estimate", ".").message


def test_a_space_stands_for_its_largest_network(empty: Path) -> None:
    plain = estimate_model("test_resnet", target="cortex-a72", resolution=32)
    around = estimate_model("timm:test_resnet:resolution=32", target="cortex-a72")
    assert around.model == "timm:test_resnet:resolution=32"
    assert [getattr(around, cost) for cost in COSTS] == [getattr(plain, cost) for cost in COSTS]
    assert around.latency_ms == pytest.approx(plain.latency_ms)
    shown = invoke("estimate", "mbv3-tiny", "--target", "cortex-a72")
    assert "mbv3-tiny, 28 px, int8, on cortex-a72" in shown.out
    assert shown.err.strip() == "next: nas train-supernet --space mbv3-tiny"
