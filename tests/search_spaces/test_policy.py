"""Precision policies as text, and the space of architectures with policies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.candidates.candidate import Candidate, CandidateSpace
from predictors.targets.target import load_target, parse_target, to_toml
from search_spaces import get_space
from search_spaces.errors import UsageError, UserError
from search_spaces.policy import PRECISIONS, Policy, check_stages, make_policy, parse_menu, parse_policy, stages_of

SPACE = get_space("mbv3-tiny")
precisions = st.sampled_from(PRECISIONS)
paths = st.lists(st.sampled_from(["blocks", "stages", "0", "1", "2", "10", "conv"]), min_size=1, max_size=4).map(
    ".".join
)
policies = st.builds(make_policy, precisions, st.dictionaries(paths, precisions, max_size=5))


@given(policies)
def test_a_policy_survives_its_text(policy: Policy) -> None:
    assert parse_policy(str(policy)) == policy


@given(precisions, st.dictionaries(paths, precisions, max_size=5), paths)
def test_the_innermost_entry_counts(outer: str, entries: dict[str, str], path: str) -> None:
    parts = path.split(".")
    expected = outer
    for end in range(1, len(parts) + 1):  # from the outside in
        expected = entries.get(".".join(parts[:end]), expected)
    assert make_policy(outer, entries).of(path) == expected


@given(precisions, st.dictionaries(st.sampled_from(["blocks.1", "blocks.2", "blocks.10"]), precisions))
def test_equal_policies_have_one_form(outer: str, entries: dict[str, str]) -> None:
    spelt_out = {stage: entries.get(stage, outer) for stage in ("blocks.10", "blocks.2", "blocks.1")}
    policy = make_policy(outer, spelt_out)
    assert policy == make_policy(outer, entries)
    assert all(name != outer for _, name in policy.stages)
    assert [s for s, _ in policy.stages] == [
        s for s in ("blocks.1", "blocks.2", "blocks.10") if s in dict(policy.stages)
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("int9", "did you mean 'int8'"),
        ("int8,blocks.1", "'blocks.1' isn't stage=precision"),
        ("int8,blocks.1=w4a8,blocks.1=fp32", "'blocks.1=fp32' isn't stage=precision"),
        ("int8,=w4a8", "'=w4a8' isn't stage=precision"),
        ("int8,blocks.1=w5a8", "w5a8"),
        ("", "precision"),
    ],
)
def test_what_is_no_policy_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("?", ".")):
        parse_policy(text)


def test_a_stage_that_the_network_lacks_is_named() -> None:
    with pytest.raises(UsageError, match=r"mbv3-tiny has no stage 'blocks\.9'"):
        check_stages(parse_policy("int8,blocks.9=fp32"), (s.path for s in SPACE.segments), "mbv3-tiny")


def test_stages_of_the_families() -> None:
    assert stages_of(SPACE) == tuple(f"blocks.{i}" for i in range(5))
    assert stages_of(get_space("timm:resnet10t")) == tuple(f"layer{i}" for i in range(1, 5))
    assert stages_of(get_space("timm:convnext_atto")) == tuple(f"stages.{i}" for i in range(4))


def test_a_menu_is_ordered_and_has_each_once() -> None:
    assert parse_menu("w4a8, fp32") == ("fp32", "w4a8")
    with pytest.raises(UsageError, match="twice"):
        parse_menu("int8,int8")


def test_one_precision_adds_no_genes() -> None:
    assert CandidateSpace(SPACE, ("int8",)).space is SPACE


@pytest.mark.parametrize("menu", [("int8",), ("fp32", "int8"), ("fp32", "int8", "w4a8", "w2a8"), ("int8", "w4a8")])
def test_vectors_and_candidates_are_the_same_thing(menu: tuple[str, ...]) -> None:
    both = CandidateSpace(SPACE, menu)
    vectors = both.space.sample(np.random.default_rng(0), 50)
    candidates = both.candidates(vectors)
    assert (both.vectors(candidates) == vectors).all()
    assert all(c in both for c in candidates)
    parts, stages = both.parts(vectors), stages_of(SPACE)
    for candidate, numbers in zip(candidates, parts, strict=True):
        policy = candidate.policy
        assert [menu[i] for i in numbers] == [policy.outer, *map(policy.of, stages)]


def test_size_counts_architectures_times_policies() -> None:
    assert CandidateSpace(SPACE, ("int8", "w4a8")).space.size == SPACE.size * 2 ** (1 + len(stages_of(SPACE)))


def test_a_candidate_off_the_menu_is_not_held() -> None:
    both = CandidateSpace(SPACE, ("int8", "w4a8"))
    assert Candidate(SPACE.smallest, "int8,blocks.1=w4a8") in both
    assert Candidate(SPACE.smallest, "fp32") not in both
    assert Candidate(SPACE.smallest, "int8,blocks.1.0=w4a8") not in both  # finer than a stage


def test_the_start_is_the_smallest_network_in_int8() -> None:
    for menu, precision in ((("fp32", "int8", "w4a8"), "int8"), (("fp32", "w2a8"), "fp32")):
        both = CandidateSpace(SPACE, menu)
        assert both.candidates(both.start[None]) == [Candidate(SPACE.smallest, precision)]


def test_ids_tell_policies_apart() -> None:
    texts = ["int8", "w4a8", "int8,blocks.1=w4a8", "int8,blocks.2=w4a8"]
    ids = [Candidate(SPACE.smallest, text).id for text in texts]
    assert len(set(ids)) == 4
    assert ids[0] == f"{SPACE.smallest.id}-int8"
    assert ids[2].startswith(f"{SPACE.smallest.id}-mixed-")


def _with_bits(line: str) -> str:
    text = to_toml(replace(load_target("cortex-a72"), weight_bits=(8,)))
    assert "threads = 4\n" in text
    return text.replace("threads = 4\n", f"threads = 4\n{line}\n") if line else text


def test_a_target_says_which_weights_it_stores() -> None:
    plain, small = parse_target(_with_bits("")), parse_target(_with_bits("weight_bits = [8, 4]"))
    assert plain.precisions == ("fp32", "int8")
    assert small.precisions == small.menu("mixed") == ("fp32", "int8", "w4a8")
    assert small.runs_as("w4a8") == "int8"
    assert small.label("w4a8") == small.label("int8")
    assert parse_target(to_toml(small)) == small
    with pytest.raises(UsageError, match="w2a8"):
        small.policy("int8,blocks.1=w2a8")
    with pytest.raises(UsageError, match="w4a8"):
        plain.menu("int8,w4a8")


@pytest.mark.parametrize(
    "line", ["weight_bits = [4]", "weight_bits = [8, 3]", "weight_bits = 4", "weight_bits = [8.0]"]
)
def test_weight_bits_that_mean_nothing_are_refused(line: str) -> None:
    with pytest.raises(UserError, match="weight_bits"):
        parse_target(_with_bits(line))
