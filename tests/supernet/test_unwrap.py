"""Weights of others in any wrapping: what a framework writes around a network is found by the network's own names."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nas.supernet.first_weights import load_weights
from nas.supernet.foreign.unwrap import unwrap
from nas.supernet.supernet import Supernet
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.builders.timm_compat import timm
from search_spaces.errors import UserError

NAME = "mobilenetv2_035"
SPACE = f"timm:{NAME}:resolution=32"
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(3)
    model: nn.Module = timm.create_model(NAME, num_classes=3)
    return model


def load(content: object, tmp_path: Path) -> tuple[State, tuple[str, ...]]:
    """What a supernet holds after a start from a file, and what was said."""
    torch.save(content, tmp_path / "weights.pth")
    net = Supernet(get_space(SPACE), Interface(3, 3))
    notes = load_weights(net, tmp_path / "weights.pth").notes
    return net.model.state_dict(), notes


def assert_holds(found: State, expected: State, tolerance: float = 0.0) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=tolerance, atol=0, check_dtype=False)


class Module(nn.Module):
    """A module around a network, as training frameworks have it."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


WRAPPED: dict[str, Callable[[nn.Module], Any]] = {
    "bare": lambda m: m.state_dict(),
    "without counts": lambda m: {n: t for n, t in m.state_dict().items() if "num_batches" not in n},
    "lightning": lambda m: {
        "state_dict": Module(model=m).state_dict(), "epoch": 3, "hyper_parameters": {"lr": 0.1}, "loops": {},
        "callbacks": {"best": torch.tensor(0.5)}, "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}}],
    },
    "model_state_dict": lambda m: {"model_state_dict": m.state_dict(), "optimizer_state_dict": {}, "epoch": 1},
    "net": lambda m: {"net": m.state_dict(), "acc": 93.1},
    "data parallel": lambda m: nn.DataParallel(m).state_dict(),
    "compiled": lambda m: torch.compile(m).state_dict(),
    "compiled inside": lambda m: Module(net=nn.DataParallel(torch.compile(m))).state_dict(),
    "timm": lambda m: {"arch": "x", "state_dict": m.state_dict(), "args": argparse.Namespace(lr=1), "version": 2},
    "deep": lambda m: {"trainer": {"task": {"backbone": OrderedDict(Module(backbone=m).state_dict())}}, "step": 7},
    "list": lambda m: {"models": [m.state_dict()], "step": 7},
    "classifier outside": lambda m: {
        n if n.startswith("classifier") else f"backbone.{n}": t for n, t in m.state_dict().items()
    },
    "checkpointed blocks": lambda m: {
        n.replace("blocks.", "blocks._fsdp_wrapped_module.").replace(".conv", "._checkpoint_wrapped_module.conv"): t
        for n, t in m.state_dict().items()
    },
    "parameters of an optimizer beside": lambda m: {
        "model": m.state_dict(), "optimizer": {"state": {n: {"exp_avg": t} for n, t in m.state_dict().items()}}
    },
}  # fmt: skip


@pytest.mark.parametrize("wrapping", WRAPPED)
def test_common_wrappings(wrapping: str, network: nn.Module, tmp_path: Path) -> None:
    found, notes = load(WRAPPED[wrapping](network), tmp_path)
    assert_holds(found, network.state_dict())
    assert notes == ()


PARTS = st.text("abcxyz_019-/ é", min_size=1, max_size=8)
BESIDE = st.dictionaries(PARTS, st.integers() | st.text(), max_size=3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(PARTS, max_size=3),
    st.lists(PARTS, max_size=3),
    st.dictionaries(PARTS, st.integers() | st.text(), max_size=3),
)
@example(["state_dict"], ["model"], {"epoch": 3})
@example([], ["blocks", "conv_stem"], {})
def test_any_wrapping(network: nn.Module, tables: list[str], begin: list[str], beside: dict[str, Any]) -> None:
    """Tables within tables, and any beginning of names, words of the network's own names included."""
    expected = network.state_dict()
    content: Any = {".".join([*begin, name]): tensor for name, tensor in expected.items()}
    for table in reversed(tables):
        content = {**beside, table: content}
    shapes = {name: tensor.shape for name, tensor in expected.items()}
    found = unwrap(content, (), shapes, "file")
    assert {n: id(t) for n, t in found.tensors.items()} == {n: id(t) for n, t in expected.items()}
    assert found.place == ": ".join(part for part in (".".join(tables), "".join(f"{b}." for b in begin)) if part)
    assert found.notes == ()


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        ("state_dict", "state_dict_ema", 1), ("ema", "model", 0), ("model", "model_ema", 1), ("net", "swa_model", 1),
        ("student", "teacher", 0),
    ],
)  # fmt: skip
def test_weights_twice_in_a_file(first: str, second: str, taken: int, network: nn.Module, tmp_path: Path) -> None:
    """An average of the weights is better than the last ones; of two others the first is taken. Either is said."""
    states = [network.state_dict(), {n: t + 1 for n, t in network.state_dict().items()}]
    found, (note,) = load({first: states[0], second: states[1]}, tmp_path)
    assert_holds(found, states[taken])
    names = [first, second]
    assert f"holds such weights 2 times: '{names[taken]}' is taken, not '{names[1 - taken]}'" in note


def test_of_two_networks_the_one_that_fits_is_taken(network: nn.Module, tmp_path: Path) -> None:
    """The teacher has the same names and other shapes."""
    teacher = timm.create_model("mobilenetv2_050", num_classes=3)
    found, notes = load({"teacher": teacher.state_dict(), "student": network.state_dict()}, tmp_path)
    assert_holds(found, network.state_dict())
    assert notes == ()


def test_what_lies_beside_the_network_is_said(network: nn.Module, tmp_path: Path) -> None:
    state = Module(model=network, loss=nn.Linear(2, 2), metric=nn.Linear(1, 1)).state_dict()
    found, (note,) = load({"state_dict": state}, tmp_path)
    assert_holds(found, network.state_dict())
    assert "4 tensors beside those of the network are left out: loss.weight, loss.bias, metric.weight ..." in note


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_numbers_of_other_widths(dtype: torch.dtype, network: nn.Module, tmp_path: Path) -> None:
    state = {n: t.to(dtype) if t.is_floating_point() else t for n, t in network.state_dict().items()}
    found, _ = load({"module": state}, tmp_path)
    assert_holds(found, {n: t.float() if t.is_floating_point() else t for n, t in state.items()})


CODES = [torch.int8, torch.uint8, torch.int32, torch.int64, torch.bool]


@pytest.mark.parametrize("dtype", CODES, ids=str)
def test_codes_without_a_scale_are_refused(dtype: torch.dtype, network: nn.Module, tmp_path: Path) -> None:
    name = "blocks.0.0.conv_dw.weight"
    state = network.state_dict()
    content = {"model": state | {name: (state[name] * 100).round().to(dtype)}}
    kind = str(dtype).removeprefix("torch.")
    with pytest.raises(UserError, match=rf"{name} holds codes \({kind}\), which mean nothing without a scale"):
        load(content, tmp_path)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantized_tensors_are_refused(network: nn.Module, tmp_path: Path) -> None:
    state = network.state_dict()
    codes = torch.quantize_per_tensor(state["conv_stem.weight"], 0.1, 0, torch.qint8)
    with pytest.raises(UserError, match=r"conv_stem.weight holds codes \(qint8\)|cannot be read"):
        load(state | {"conv_stem.weight": codes}, tmp_path)


DIFFERENT: dict[str, tuple[Callable[[State], Any], str]] = {
    "wider": (
        lambda s: {f"encoder.{n}": t for n, t in timm.create_model("mobilenetv2_140").state_dict().items()},
        "(below 'encoder.') does not hold weights of this space's largest network: "
        "conv_stem.weight is (48, 3, 3, 3) there, (16, 3, 3, 3) here",
    ),
    "other network": (
        lambda s: {"state_dict": timm.create_model("resnet18").state_dict()},
        "its names are another network's, 'conv1.weight' and",
    ),
    "incomplete": (
        lambda s: {"m": {n: t for n, t in s.items() if "conv_head" not in n}},
        "(below 'm') does not hold weights of this space's largest network: conv_head.weight is missing",
    ),
    "not finite": (lambda s: s | {"bn1.weight": s["bn1.weight"] / 0}, "bn1.weight holds infinities or NaN"),
    "sparse": (
        lambda s: s | {"bn1.weight": s["bn1.weight"].to_sparse()},
        "tensors that aren't plain numbers: bn1.weight",
    ),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_the_first_difference_that_tells_is_said(case: str, network: nn.Module, tmp_path: Path) -> None:
    change, said = DIFFERENT[case]
    with pytest.raises(UserError) as caught:
        load(change(network.state_dict()), tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_layouts_of_other_projects_are_found_in_any_wrapping(tmp_path: Path) -> None:
    import torchvision

    theirs = torchvision.models.mobilenet_v2(width_mult=0.35, num_classes=3)
    bare, _ = load(theirs.state_dict(), tmp_path)
    wrapped, notes = load({"state_dict": Module(model=nn.DataParallel(theirs)).state_dict(), "epoch": 3}, tmp_path)
    assert_holds(wrapped, bare)
    assert torch.equal(wrapped["conv_stem.weight"], theirs.state_dict()["features.0.0.weight"])
    assert notes == ()
