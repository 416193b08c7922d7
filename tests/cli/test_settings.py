"""Flags made from the settings of a dataclass, and flags in place of settings in messages."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from nas.cli.messages import speak_of, with_flags
from nas.cli.settings import flags_from
from nas.store.hints import hint
from nas.store.settings import Setting
from nas.store.words import count_of


@dataclass(frozen=True)
class Bake:
    dish: str
    oven_heat: Annotated[float, Setting("Degrees; see `rise`.", at_least=50, at_most=250)] = 180.0
    rise: Annotated[bool, Setting("Let it rise.")] = False
    source: Annotated[str | None, Setting("Where the flour is from.")] = None
    salt: Annotated[float, Setting("Grams.", above=0)] = 2.0


def bake(*words: str) -> tuple[int, str]:
    baked: list[object] = []

    @flags_from(Bake, follow={"oven_heat": ("loaves",)})
    def command(settings: Bake, dish: str = "bread", loaves: int = 1, salt: str = "some") -> None:
        """Bake."""
        baked.append((settings, dish, loaves, salt))

    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    app.command()(command)
    result = CliRunner().invoke(app, words)
    return result.exit_code, result.output + "".join(map(str, baked))


def test_a_command_has_a_flag_per_setting_and_its_own_parameters() -> None:
    code, said = bake("--oven-heat", "200", "--rise", "--data", "mill", "--loaves", "3", "--salt", "none")
    assert code == 0, said
    assert said == f"({Bake('bread', 200.0, True, 'mill')!r}, 'bread', 3, 'none')"
    code, said = bake()
    assert said == f"({Bake('bread')!r}, 'bread', 1, 'some')"


def test_help_tells_range_and_text_and_the_order_is_as_declared() -> None:
    code, said = bake("--help")
    assert code == 0
    assert "Degrees; see --rise." in " ".join(said.split())
    assert "50<=x<=250" in " ".join(said.split()).replace(".0", "")
    places = [said.index(f"\n  {flag}") for flag in ("--oven-heat", "--loaves", "--rise", "--data", "--dish", "--salt")]
    assert places == sorted(places)
    assert "--no-rise" not in said


@pytest.mark.parametrize("words", [("--oven-heat", "20"), ("--oven-heat", "hot"), ("--data",)])
def test_a_value_outside_its_range_is_refused(words: tuple[str, ...]) -> None:
    assert bake(*words)[0] == 2


def test_messages_name_the_flags_of_the_running_command() -> None:
    app = typer.Typer()

    @app.command()
    def command(oven_heat: float = 1, files: Annotated[str, typer.Option("--import")] = "", time: float = 0) -> None:
        """Nothing."""

    assert inspect.signature(command).parameters
    speak_of(typer.main.get_command(app).params)
    said = with_flags("`oven_heat` is 3; give `files`, `seconds` or `other`; see `nas search`")
    assert said == "--oven-heat is 3; give --import, --time or `other`; see `nas search`"


@dataclass(frozen=True)
class Oven:
    fan: Annotated[bool, Setting("With the fan.")] = True
    grill: Annotated[bool, Setting("With the grill, without `fan`.")] = False


def test_what_is_on_has_a_flag_to_turn_it_off() -> None:
    app = typer.Typer()
    told: list[Oven] = []

    @app.command()
    @flags_from(Oven)
    def bake(settings: Oven) -> None:
        """Bake."""
        told.append(settings)

    for words in ([], ["--no-fan"], ["--fan", "--grill"]):
        assert CliRunner().invoke(app, words).exit_code == 0
    assert told == [Oven(), Oven(fan=False), Oven(grill=True)]
    assert CliRunner().invoke(app, ["--no-grill"]).exit_code == 2
    speak_of(typer.main.get_command(app).params)
    assert with_flags("`fan` is on: `no_fan`; `no_grill`") == "--fan is on: --no-fan; `no_grill`"


def test_hints_are_lines_to_type() -> None:
    assert str(hint("search", run="my runs/a", target=None, dry_run=True)) == "nas search --run 'my runs/a' --dry-run"
    assert str(hint("data check", "a b", data_root="/x")) == "nas data check 'a b' --data-root /x"
    assert [count_of(n, "step") for n in (0, 1, 2)] == ["0 steps", "1 step", "2 steps"]


def test_hints_name_code_that_was_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_ALLOWED_CODE", "tinynet.build")
    assert hint("search", run="runs/a") == "nas search --run runs/a --code tinynet.build"
    assert hint("train-supernet", config="a.json") == "nas train-supernet --config a.json --code tinynet.build"
    assert hint("train-supernet", space="code:tinynet.build") == "nas train-supernet --space code:tinynet.build"
    assert hint("doctor") == "nas doctor"
