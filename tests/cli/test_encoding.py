"""Output in any encoding never ends a command, and a reader that goes away ends one quietly."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

import cli
from nas.cli.encoding import LIKENESSES, escape

ENCODINGS = ["ascii", "cp1252", "cp437", "cp932", "gb2312", "koi8_r", "latin_1", "shift_jis", "utf-16", "utf-8"]


def run(encoding: str, *words: object) -> tuple[int, str, str]:
    """Run a command in this process whose output has an encoding: exit code, stdout and stderr."""
    raw = io.BytesIO(), io.BytesIO()
    out, err = (io.TextIOWrapper(each, encoding=encoding, write_through=True) for each in raw)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["nas", *map(str, words)])
        with pytest.raises(SystemExit) as ending:
            cli.main()
    return int(ending.value.code or 0), raw[0].getvalue().decode(encoding), raw[1].getvalue().decode(encoding)


def make_photos(folder: Path, names: tuple[str, ...]) -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        for k in range(8):
            Image.fromarray(rng.integers(0, 255, (32, 32, 3)).astype(np.uint8)).save(folder / name / f"{k}.png")
    return folder


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_names_of_classes_in_any_encoding(encoding: str, tmp_path: Path) -> None:
    names = ("りんご", "grün ± 1", "🍐")
    code, out, err = run(encoding, "data", "check", make_photos(tmp_path / "梨 🍐", names))
    assert (code, "Traceback" in err) == (0, False), err
    if encoding.startswith("utf"):
        assert "梨 🍐" in out
    else:
        assert "\\U0001f350" in out


CHARACTERS = st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp", "Zs"), exclude_characters="/\\.`\x00")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(ENCODINGS), st.text(CHARACTERS, min_size=1, max_size=12))
@example("cp1252", "りんご")
@example("ascii", "±─\N{PEAR}")
def test_any_name_in_any_encoding(encoding: str, name: str) -> None:
    """In an error, and in TOML, which is read back to the same name; but for characters that the codec itself turns
    into others, as cp932 does with the sign for not."""
    assume(all(c.encode(encoding, "ignore").decode(encoding) in ("", c) for c in name))
    code, _, err = run(encoding, "runs", f"nowhere-{name}")
    assert code == 1
    assert "is not a folder; give the one that holds runs" in err
    code, out, err = run(encoding, "search", "--run", f"run {name}", "--print-config")
    assert (code, err) == (0, "")
    assert tomllib.loads(out)["run"] == f"run {name}"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_tables_and_json_in_any_encoding(encoding: str) -> None:
    code, out, _ = run(encoding, "spaces")
    assert code == 0
    assert "mbv3-tiny" in out
    assert ("─" in out) == encoding.startswith("utf")
    code, out, _ = run(encoding, "targets", "--json")
    assert code == 0
    assert json.loads(out)


@given(st.sampled_from(ENCODINGS), st.text(st.characters(exclude_categories=())))
@example("cp932", "\N{CENT SIGN}")
def test_whatever_cannot_be_written_is_written_in_ascii(encoding: str, text: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="nas.readable", newline="")
    stream.write(text)
    stream.flush()
    written = stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    for character in set(text):
        try:
            character.encode(encoding)  # cp932 writes a cent as a wide one, for instance: that is its own likeness
        except UnicodeEncodeError:
            assert (LIKENESSES.get(character) or escape(character)) in written


def test_the_handler_is_for_writing_alone() -> None:
    run("ascii", "--version")
    with pytest.raises(UnicodeDecodeError):
        codecs.decode(b"\xff", "ascii", "nas.readable")


NAS = (sys.executable, "-m", "cli")


@pytest.mark.parametrize("words", [("spaces",), ("targets", "--json"), ("--help",)])
def test_a_reader_that_has_gone_ends_a_command_quietly(words: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run([*NAS, *words], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (process.returncode, process.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_a_full_disk_behind_the_output_is_said() -> None:
    with open("/dev/full", "w") as full:
        process = subprocess.run([*NAS, "spaces"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert process.returncode == 1
    assert process.stderr.startswith("error: the disk is full")


def test_without_any_output() -> None:
    process = subprocess.run(["bash", "-c", f"{sys.executable} -m cli spaces >&- 2>&-"], check=False)
    assert process.returncode == 0
