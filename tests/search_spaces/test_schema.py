"""The validator of files: what it accepts, what it refuses, and how it says so."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from search_spaces.architecture import Architecture
from search_spaces.errors import UserError
from search_spaces.schema import (
    Amount,
    Check,
    Count,
    Made,
    Range,
    SchemaError,
    Share,
    convert,
    problem,
    problems,
    read_content,
)


@dataclass(frozen=True)
class Part:
    name: str
    share: Share = 0.5
    pair: tuple[int, str] | None = None


@dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...]
    counts: dict[str, Count] = field(default_factory=dict)
    rate: Annotated[float, Range(above=0)] = 1.0
    clock: Literal["wall", "thread"] = "wall"
    even: Annotated[int, Check(lambda v: "odd" if v % 2 else "")] = 0
    design: Annotated[Architecture | None, Made(Architecture.from_dict)] = None
    raw: Any = None
    done: bool = False
    limit: Amount | None = None

    def __post_init__(self) -> None:
        if len(self.parts) > 3:
            raise ValueError("more than three parts")


def test_a_record_is_built_with_the_numbers_of_the_file() -> None:
    content = {
        "parts": [{"name": "a"}, {"name": "b", "share": 1, "pair": [3, "x"]}], "counts": {"train": 3}, "rate": 2,
        "design": {"space": "s", "genes": {"resolution": 32}}, "raw": {"any": [1, None]}, "unknown": "ignored",
    }  # fmt: skip
    made = convert(json.loads(json.dumps(content)), Whole)
    assert made.parts == (Part("a"), Part("b", 1, (3, "x")))
    assert type(made.rate) is int  # a file that is written again has the same bytes
    assert made.design == Architecture("s", (("resolution", 32),))
    assert made.raw == {"any": [1, None]}
    assert made.limit is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parts": 3}, "parts is 3, not a list"),
        ({"parts": [{}]}, "parts[0].name is missing"),
        ({"parts": [{"name": 1}]}, "parts[0].name is 1, not a text"),
        ({"parts": [{"name": "a", "share": 1.5}]}, "parts[0].share: 1.5 is not a number from 0 to 1"),
        ({"parts": [{"name": "a", "share": math.nan}]}, "parts[0].share: NaN is not a number from 0 to 1"),
        ({"parts": [{"name": "a", "pair": [1]}]}, "parts[0].pair has 1 entries, not 2"),
        ({"parts": [{"name": "a"}] * 4}, "more than three parts"),
        ({"counts": {"train": -1}}, "counts.train: -1 is not a whole number of at least 0"),
        ({"counts": {"train": True}}, "counts.train: true is not a whole number of at least 0"),
        ({"counts": {"train": 2**53 + 1}}, "counts.train: 9007199254740993 is not a whole number"),
        ({"counts": {"train": 1.0}}, "counts.train: 1.0 is not a whole number"),
        ({"counts": []}, "counts is [], not a table"),
        ({"rate": 0}, "rate: 0 is not a number above 0"),
        ({"rate": math.inf}, "rate: Infinity is not a number above 0"),
        ({"rate": 10**400}, "rate: 1"),
        ({"clock": "cpu"}, 'clock is "cpu", not "wall" or "thread"'),
        ({"even": 3}, "even: odd"),
        ({"even": "3"}, 'even is "3", not a whole number'),
        ({"design": {"space": "s"}}, "design: an architecture has the keys"),
        ({"done": 0}, "done is 0, not true or false"),
        ({"limit": "1"}, 'limit: "1" is not a number of at least 0'),
        ({"raw": "\x1b" * 100, "done": "\x1b[2J" + "a" * 100}, 'done is "\\u001b[2Jaaa'),
    ],
)
def test_what_is_refused_and_how(change: dict[str, Any], message: str) -> None:
    wrong = problem({"parts": [{"name": "a"}], **change}, Whole)
    assert wrong.startswith(message)
    assert len(wrong) < 200
    with pytest.raises(SchemaError):
        convert({"parts": [{"name": "a"}], **change}, Whole)


def test_every_problem_of_a_closed_record_is_listed() -> None:
    content = {"parts": [{"nam": "a"}], "rat": 3, "clock": 1}
    assert list(problems(content, Whole, closed=True)) == [
        "unknown key 'rat', did you mean 'rate'?",
        "unknown key 'parts[0].nam', did you mean 'name'?",
        "parts[0].name is missing",
        'clock is 1, not "wall" or "thread"',
    ]


def test_a_message_names_the_file_and_what_to_do() -> None:
    with pytest.raises(UserError, match=r"^run\.json is damaged: it is \[\], not a table; restore or remove it$"):
        read_content([], Whole, Path("run.json"))
