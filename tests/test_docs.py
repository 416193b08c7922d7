"""The documents: their links lead somewhere, the reference is what the code says, and how-tos work when followed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.few_images import write_few

ROOT = Path(__file__).parents[1]
FOREIGN = ("Bus error", "RuntimeError: operator torchvision::nms does not exist")  # not our messages
FIGURES = [*sorted((ROOT / "benchmarks").rglob("*.md")), ROOT / "tests" / "robustness" / "README.md"]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *FIGURES]
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What headings are called in links, as code hosting sites make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        assert ROOT in target.parents, f"{link} leads out of the repository"
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = set(re.findall(r"^([\w-]+)$", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE))
    assert listed == {page.stem for page in PAGES if page.parent.name == "docs"} - {"index"}


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    words = ["--fail-on-warning", "--keep-going", "--nitpicky", "--quiet", "-c", "docs", ".", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", "sphinx", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "docs" / "index.html").is_file()


def test_messages_under_troubleshooting_are_the_codes() -> None:
    """Without what changes from time to time: names in quotes, paths, numbers."""
    files = [file for room in ("nas", "predictors", "search_spaces") for file in (ROOT / room).rglob("*.py")]
    code = re.sub(r'"\s*\n\s*f?"', "", "".join(file.read_text() for file in files))
    table = re.findall(r"^\| (.*?) \| ", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    messages = [message for cell in table for message in re.findall(r"`([^`]+)`", cell) if " " in message]
    pieces = [piece for message in messages for piece in re.split(r"\.\.\.|'[^']*'|runs/\S+|\b\d[\d.]*|: nan", message)]
    known = [piece.strip(" ;:,()").removesuffix(" there").removesuffix(" here") for piece in pieces]
    assert len(messages) > 12
    assert [piece for piece in known if len(piece) > 6 and piece not in code and piece not in FOREIGN] == []


def test_the_reference_is_what_the_commands_take() -> None:
    """The page against typer's own parsers, not against the script that writes it."""
    from typer.main import get_command

    from nas.cli.main import make_app

    def flags(command: object, name: str) -> dict[str, set[str]]:
        if inner := getattr(command, "commands", None):
            return {key: each for word, part in inner.items() for key, each in flags(part, f"{name} {word}").items()}
        options = [p for p in command.params if p.opts[0].startswith("--") and not p.hidden]  # type: ignore[attr-defined]
        return {name: {word for p in options for word in (*p.opts, *p.secondary_opts)} - {"--help"}}

    page = (ROOT / "docs" / "commands.md").read_text()
    written = {}
    for section in page.split("\n## ")[1:]:
        names = re.findall(r"^\| (`--[^|]+) \|", section, re.MULTILINE)
        written[section.partition("\n")[0]] = {word for cell in names for word in re.findall(r"`([^`]+)`", cell)}
    assert written == flags(get_command(make_app()), "nas")


def test_the_reference_is_current() -> None:
    script = ROOT / "docs" / "make_commands.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source, with few images in place of the embedded data set."""
    copy = tmp_path_factory.mktemp("workshop")
    for name in ("nas", "predictors", "search_spaces", "tests", "docs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("*.npz"))
    for name in ("cli.py", "pyproject.toml"):
        shutil.copy2(ROOT / name, copy)
    write_few(copy / "nas" / "data" / "embedded" / "fashion_mnist.npz")
    return copy


def followed(workshop: Path, pages: list[str], kits: str) -> str:
    """What following pages said, one after the other in one process."""
    words = [sys.executable, "-m", "tests.support.following", *(f"docs/adding-a-{what}.md" for what in pages)]
    environment = os.environ | {"PYTHONPATH": str(workshop), "NO_COLOR": "1", "KITS": kits}
    done = subprocess.run(words, cwd=workshop, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_how_tos_work_when_followed(workshop: Path) -> None:
    """A device, a strategy, a runtime for its subnets, a family, a source, and a task, which passes its kit."""
    out = followed(workshop, ["device", "strategy", "runtime", "family", "source", "task"], "tests/tasks/")
    assert re.search(r"^1 passed", out, re.MULTILINE)
    assert "int8 (default): calibrated (MAPE" in out
    said = {what: set(re.findall(rf"{what} +test +([\d.]+)", out)) for what in ("simulator .search.", "model.int8.ort")}
    assert len(said["simulator .search."]) == 1
    assert said["simulator .search."] == said["model.int8.ort"]
    assert "fits: 492 kB of RAM" in out


@pytest.mark.long
def test_what_the_page_of_predictors_adds_passes_the_kit(workshop: Path) -> None:
    assert re.search(r"^\d+ passed", followed(workshop, ["predictor"], "tests/"), re.MULTILINE)
