"""Settings that are declared once: what is refused, and how it is said."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field
from typing import Annotated, Any

import pytest

from nas.store.settings import Setting, check_settings, declared_settings
from search_spaces.errors import UsageError


@dataclass(frozen=True)
class Inner:
    limit: Annotated[float | None, Setting(above=0, unit="ms")] = None


@dataclass(frozen=True)
class Config:
    name: Annotated[str, Setting("Which one.", choices=("cosine", "poly"))]
    lazy: Annotated[str, Setting(choices=lambda: ["off", "bf16"])] = "off"
    share: Annotated[float, Setting("A share.", at_least=0, below=1)] = 0.1
    count: Annotated[int, Setting(at_least=1, at_most=4, unit="images")] = 1
    fast: Annotated[bool, Setting()] = False
    free: int = -5
    inner: Inner = field(default_factory=Inner)


def test_what_is_within_its_range_passes() -> None:
    check_settings(Config("poly", share=0, count=4, inner=Inner(0.5)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"share": 1.0}, "`share` is 1; it must be at least 0 and below 1"),
        ({"share": -0.5}, "`share` is -0.5; it must be at least 0 and below 1"),
        ({"share": math.nan}, "`share` is nan; it must be a finite number"),
        ({"share": "much"}, "`share` is 'much'; it must be a number"),
        ({"share": None}, "`share` is None; it must be a number"),
        ({"count": 5}, "`count` is 5; it must be from 1 to 4 images"),
        ({"count": True}, "`count` is True; it must be a whole number"),
        ({"count": 2.0}, "`count` is 2.0; it must be a whole number"),
        ({"fast": 1}, "`fast` is 1; it must be true or false"),
        ({"name": "cosin"}, "unknown `name` 'cosin'; did you mean 'cosine'?"),
        ({"lazy": "fp8"}, "unknown `lazy` 'fp8'; "),
        ({"inner": Inner(0.0)}, "`limit` is 0; it must be above 0 ms"),
    ],
)
def test_what_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        check_settings(Config(**({"name": "cosine"} | wrong)))
    assert str(error.value).startswith(message)


def test_what_is_declared_is_what_flags_are_made_from() -> None:
    settings = declared_settings(Config)
    assert list(settings) == ["name", "lazy", "share", "count", "fast"]
    assert (settings["name"].default, settings["share"].default) == (MISSING, 0.1)
    assert settings["share"].setting.help == "A share."
    limit = declared_settings(Inner)["limit"]
    assert (limit.type, limit.optional) == (float, True)
