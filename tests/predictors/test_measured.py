"""Labels hold for networks like those that were measured, and say so where a network is unlike them."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictors.costs.network import architecture_features, op_features
from predictors.latency.extent import extents_of, range_of
from predictors.latency.measured import MARGIN, Extent, MeasuredRange
from predictors.policy_costs import network_costs
from predictors.targets.card import shipped_card
from predictors.targets.target import Target, available_targets, load_target, parse_target, to_toml
from search_spaces import get_space
from search_spaces.architecture import Interface
from search_spaces.builders.timm_compat import timm
from search_spaces.errors import UserError
from search_spaces.operators.operator import KINDS
from search_spaces.operators.trace import trace
from search_spaces.policy import parse_policy
from tests.support.shared_data import shared_file

FIGURES = ("ms", "mmacs", "px", "operators")
positive = st.floats(1e-3, 1e6)
extents = st.builds(
    Extent, positive, positive, st.integers(1, 500), st.integers(1, 500), st.frozensets(st.sampled_from(KINDS))
)
RANGE = MeasuredRange((2.7, 85.0), (20.0, 570.0), (96.0, 224.0), (40.0, 110.0), ("conv", "pointwise"))
SMALL = Interface(3, 10)
INSIDE = Extent(10.0, 100.0, 160.0, 60.0, frozenset({"pointwise"}))


@settings(max_examples=50, deadline=None)
@given(st.lists(extents, min_size=1, max_size=8))
def test_networks_are_within_their_own_range(networks: list[Extent]) -> None:
    measured = range_of(networks)
    assert all(measured.left_out(network) == () for network in networks)


@settings(max_examples=50, deadline=None)
@given(extents, st.sampled_from(FIGURES), st.sampled_from([0.9 / MARGIN, 1.1 * MARGIN]))
def test_one_figure_beyond_the_range_is_named(network: Extent, figure: str, factor: float) -> None:
    measured = range_of([network])
    far = replace(network, **{figure: factor * getattr(network, figure)})
    assert measured.left_out(far) == (measured.words(figure),)
    near = replace(network, **{figure: (1 + (factor > 1) * 0.05 - (factor < 1) * 0.05) * getattr(network, figure)})
    assert measured.left_out(near) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ms": 0.57}, ("2.7 to 85 ms",)),
        ({"ms": 0.57, "mmacs": 0.2, "px": 24}, ("2.7 to 85 ms", "96 to 224 px")),
        ({"mmacs": 900.0}, ("20 to 570 MMACs",)),
        ({"kinds": frozenset({"conv", "depthwise"})}, ("no depthwise convolutions",)),
        ({"kinds": frozenset({"matmul"})}, ("no products of activations",)),
        ({"ms": 93.0}, ()),
    ],
)  # fmt: skip
def test_reasons_in_words(change: dict[str, object], words: tuple[str, ...]) -> None:
    assert RANGE.left_out(replace(INSIDE, **change)) == words  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_100", "vit_tiny_patch16_224"])
def test_extents_are_counts_of_the_traced_operators(name: str) -> None:
    model = timm.create_model(name, pretrained=False, device="meta").eval()
    ops = trace(model, 3, 224)
    (extent,) = extents_of(op_features(ops, 0)[None], np.array([7.0]), [224])
    counts = Counter(op.kind for op in ops)
    assert extent.operators == sum(counts.values())
    assert extent.mmacs == pytest.approx(sum(op.macs for op in ops) / 1e6)
    stems = 1 if counts["conv"] == 1 else 0
    assert extent.kinds == frozenset(counts) - (frozenset({"conv"}) if stems else frozenset())


def target_with(measured: MeasuredRange | None) -> Target:
    shipped = load_target("cortex-a72")
    return replace(shipped, measured={"int8": measured} if measured else {})


@settings(max_examples=50, deadline=None)
@given(st.lists(extents, min_size=1, max_size=4))
def test_the_range_is_kept_in_a_target_file(networks: list[Extent]) -> None:
    target = target_with(range_of(networks))
    assert parse_target(to_toml(target)).measured == target.measured


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("ms = [2.7, 85.0]", "ms = [85.0, 2.7]", "give the least first"),
        ("ms = [2.7, 85.0]", "ms = [2.7]", "latency.int8.measured.ms"),
        ("ms = [2.7, 85.0]\n", "", "measured.ms is missing"),
        ('"pointwise"', '"dense"', "'dense' is unknown; kinds of operators are"),
    ],
)
def test_mistakes_in_a_range_are_named(old: str, new: str, said: str) -> None:
    text = to_toml(target_with(RANGE))
    assert old in text
    with pytest.raises(UserError, match=said):
        parse_target(text.replace(old, new))


def test_a_file_without_a_range_keeps_its_label() -> None:
    target = target_with(None)
    far = replace(INSIDE, ms=0.01, px=8)
    assert target.label_for(["int8"], far) == target.label("int8")
    assert target.label_of_all(["int8"], [far]) == target.label("int8")


def test_labels_of_a_front_count_who_is_outside() -> None:
    target, far = target_with(RANGE), replace(INSIDE, ms=0.5)
    label = target.label("int8")
    assert target.label_of_all(["int8"], [INSIDE, INSIDE]) == label
    assert target.label_of_all(["int8"], []) == label
    outside = "outside what was measured (2.7 to 85 ms)"
    assert target.label_of_all(["int8"], [INSIDE, far, far]) == f"{label}; 2 of 3 networks are {outside}"
    assert target.label_of_all(["int8"], [INSIDE, far]) == f"{label}; 1 of 2 networks is {outside}"
    assert target.label_of_all(["int8"], [far, far]) == f"uncalibrated: {outside}"
    assert target.label_for(["w4a8"], far) == f"uncalibrated: {outside}"  # runs as int8
    assert target.label_for(["fp32"], far) == target.label("fp32")  # nothing is known of its networks


# the shipped targets


def label_of(target: Target, preset: str, end: str, precision: str, interface: Interface = SMALL) -> str:
    """The label of an end of a space, or of a random network of it, from its own traced operators."""
    space = get_space(preset)
    drawn = space.decode(space.sample(np.random.default_rng(0), 1)[0])
    architecture = {"smallest": space.smallest, "largest": space.largest, "random": drawn}[end]
    model = space.build(architecture, interface, "meta").eval()
    ops = trace(model, interface.in_chans, architecture.resolution)
    ms = network_costs(ops, 0, parse_policy(precision), target).latency_ms
    row = architecture_features(space, architecture, interface)[None]
    (extent,) = extents_of(row, np.array([ms]), [architecture.resolution])
    return target.label_for([precision], extent)


@pytest.mark.parametrize("name", available_targets())
def test_calibrated_labels_have_a_range_and_are_not_worn_by_tiny_networks(name: str) -> None:
    target = load_target(name)
    for precision in target.latency.precisions:
        if target.label(precision).startswith("calibrated"):
            assert precision in target.measured
            for end in ("smallest", "largest"):
                tiny = label_of(target, "mbv3-tiny", end, precision)
                assert tiny.startswith("uncalibrated: outside what was measured ("), tiny
    assert shipped_card(name).measured == target.measured


def test_networks_like_those_measured_keep_the_label() -> None:
    pi = load_target("cortex-a72")
    for precision in ("int8", "fp32"):
        assert label_of(pi, "mbv3-large", "smallest", precision, Interface(3, 1000)) == pi.label(precision)
    assert "29 to 120 operators" in label_of(pi, "mbv3-large", "largest", "int8", Interface(3, 1000))
    desktop = load_target("x86-64")
    assert label_of(desktop, "ofa-mbv3-w1.0", "random", "fp32", Interface(3, 1000)) == desktop.label("fp32")
    assert "128 to 224 px" in label_of(desktop, "mbv3-small", "largest", "fp32")
    board = load_target("cortex-a76-tflite")
    assert "no depthwise convolutions" in label_of(board, "mbv3-small", "smallest", "fp32")


def test_the_range_of_a_raspberry_pi_is_that_of_the_published_table() -> None:
    path = shared_file("latency/mlperf_rpi4.csv")
    if not path.exists():
        pytest.skip("the measurements are not here")
    with open(path, newline="") as file:
        table = list(csv.DictReader(line for line in file if not line.startswith("#")))
    for precision in ("int8", "fp32"):
        rows = [
            row for row in table
            if (row["round"], row["system"], row["precision"]) == ("v2.1", "rpi4-tflite-v2.7.1-ruy", precision)
        ]  # fmt: skip
        ms, px = [float(row["p50_ms"]) for row in rows], [int(row["resolution"]) for row in rows]
        measured = load_target("cortex-a72").measured[precision]
        assert measured.ms == pytest.approx((min(ms), max(ms)), rel=1e-3)
        assert measured.px == (min(px), max(px))
