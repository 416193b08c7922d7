"""The report of a run: complete, safe, offline, and alive whatever is damaged."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from cli_runs import edit_json, half, invoke, unfinish

from nas.estimate import estimate
from nas.report import write_report
from nas.report.blocks import blocks_of
from nas.report.chart import x_scale, y_scale
from nas.report.markup import tag
from nas.run import Run
from search_spaces import get_space

SVG = "{http://www.w3.org/2000/svg}"
VOID = ("meta", "br")
BROWSER = shutil.which("chromium-headless-shell") or shutil.which("chromium") or shutil.which("google-chrome")


class Page(HTMLParser):
    """A page's elements with their attributes and its text; complains where they are not balanced."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.source = path.read_text()
        self.feed(self.source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += data

    @property
    def count(self) -> Counter[str]:
        return Counter(name for name, _ in self.elements)

    @property
    def tips(self) -> str:
        return "\n".join(attributes.get("data-tip") or "" for _, attributes in self.elements)


def make_front(result: dict[str, Any]) -> dict[str, Any]:
    """A front of known figures: the first member again and again."""
    first = result["front"][0]
    result["front"] = [
        first | {
            "id": f"{i}-int8", "latency_ms": latency, "size_bytes": 1000 * i,
            "accuracy": first["accuracy"] | {"value": value, "low": value - 0.1, "high": value + 0.05},
        }
        for i, (latency, value) in enumerate([(0.5, 0.5), (0.75, 0.7), (1.25, 0.6), (3.0, 0.9)])
    ]  # fmt: skip
    return result


def test_the_page_holds_what_was_found(here: Path) -> None:
    result = json.loads((here / "run" / "search-cortex-a72.json").read_text())
    done = invoke("report", "run")
    assert done.code == 0, done.err
    assert re.findall(r"wrote (.*)", done.out) == ["run/report.html", "run/report-cortex-a72.svg"]
    assert done.err.strip() == "next: nas export --run run"
    page = Page(here / "run" / "report.html")
    for member in result["front"]:
        assert member["id"] in page.text
        assert f"{100 * member['test']['value']:.2f} %" in page.text
        assert f"{member['id']} (int8)\nsearch {100 * member['accuracy']['value']:.2f} %" in page.tips
    for text in (f"{result['hypervolume']:.4f}", "random", result["target"]["latency"], result["weights"], "torch",
                 "apple, pear, plum", "left out one by one", "Where the time of", "Exported", "smallest, largest",
                 "calibration_images"):  # fmt: skip
        assert text in page.text, text
    drawings = 2 + 2 + 1 + len(result["front"])  # front, growth; loss, accuracy; operators; architectures
    assert page.count["svg"] == drawings


def test_the_page_needs_nothing_else_and_runs_nothing_else(here: Path) -> None:
    page = Page(Path(write_report(Run(here / "run"))["report"]))
    assert page.count["script"] == page.count["style"] == 1
    names = {name for _, attributes in page.elements for name in attributes}
    assert not {name for name in names if name.startswith("on")} | ({"src", "style", "srcset"} & names)
    assert all(a.get("href", "#").startswith("#") for _, a in page.elements)  # type: ignore[union-attr]
    assert set(re.findall(r"\w+://[^\"]+", page.source)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"url\(|@import|fetch\(|innerHTML", page.source)
    metas = [a for name, a in page.elements if name == "meta"]
    assert any((a.get("content") or "").startswith("default-src 'none';") for a in metas)
    assert any(a.get("content") == "width=device-width, initial-scale=1" for a in metas)


def test_what_files_say_is_never_markup(here: Path) -> None:
    nasty = "</script></style><script>alert(1)</script>\"' onload=x \x00\ud800&amp;"
    run, search = here / "run" / "run.json", here / "run" / "search-cortex-a72.json"
    edit_json(run, lambda c: c | {"config": c["config"] | {"source": nasty}})
    edit_json(run, lambda c: c | {"data": c["data"] | {"classes": [nasty, "b", "c"], "source": nasty}})
    edit_json(search, lambda r: r | {"stopped": nasty, "target": {"name": nasty, "latency": nasty}})
    edit_json(search, lambda r: r | {"front": [m | {"id": nasty} for m in r["front"]], "baselines": {
        nasty: {"measurements": 4, "hypervolume": 0.5}}})  # fmt: skip
    result = write_report(Run(here / "run"))
    assert result["notes"] == []
    page = Page(Path(result["report"]))
    assert page.count["script"] == page.count["style"] == 1
    assert not [a for _, a in page.elements if "onload" in a]
    shown = nasty.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    assert page.text.count(shown) > 5
    assert shown in page.tips
    for plot in result["plots"]:
        ElementTree.parse(plot)


def test_points_lie_where_their_figures_say(here: Path) -> None:
    search = here / "run" / "search-cortex-a72.json"
    edit_json(search, make_front)
    front = json.loads(search.read_text())["front"]
    (plot,) = write_report(Run(here / "run"), here / "other" / "page.html")["plots"]
    assert plot == str(here / "other" / "page-cortex-a72.svg")
    circles = ElementTree.parse(plot).findall(f".//{SVG}circle")
    places = np.array([(float(c.get("cx", "")), float(c.get("cy", ""))) for c in circles])
    figures = np.array([(m["latency_ms"], m["accuracy"]["value"]) for m in front])
    for axis, direction in ((0, 1), (1, -1)):  # y grows downwards
        slope, start = np.polyfit(figures[:, axis], places[:, axis], 1)
        assert slope * direction > 0
        np.testing.assert_allclose(start + slope * figures[:, axis], places[:, axis], atol=0.02)
    bars = [b for b in ElementTree.parse(plot).findall(f".//{SVG}line") if b.get("stroke-opacity")]
    spans = [float(b.get("y1", "")) - float(b.get("y2", "")) for b in bars]
    np.testing.assert_allclose(spans, abs(slope) * 0.15, atol=0.02)


@pytest.mark.parametrize(
    "damage",
    [
        half,
        lambda p: p.write_text("[]"),
        lambda p: edit_json(p, lambda r: {k: v for k, v in r.items() if k != "baselines"}),
        lambda p: edit_json(p, lambda r: r | {"front": []}),
        lambda p: edit_json(p, lambda r: r | {"front": [m | {"latency_ms": float("nan")} for m in r["front"]]}),
        lambda p: edit_json(p, lambda r: r | {"front": [m | {"test": "none"} for m in r["front"]]}),
        lambda p: edit_json(p, lambda r: r | {"hypervolumes": {"many": 1}}),
    ],
    ids=["cut", "no table", "earlier version", "empty front", "nan", "other types", "no number"],
)
def test_a_damaged_search_is_left_out_and_named(here: Path, damage: Any) -> None:
    damage(here / "run" / "search-cortex-a72.json")
    done = invoke("report", "run")
    assert done.code == 0, done.err
    assert "search-cortex-a72.json" in done.err
    page = Page(here / "run" / "report.html")
    assert "search-cortex-a72.json" in page.text
    assert "smallest, largest" in page.text  # the rest is there


def test_an_architecture_that_cannot_be_built_is_not_drawn(here: Path) -> None:
    search = here / "run" / "search-cortex-a72.json"
    edit_json(search, lambda r: r | {"config": r["config"] | {"target": "a-board-of-mine"}})
    page = Page(Path(write_report(Run(here / "run"))["report"]))
    assert "They cannot be drawn: unknown target 'a-board-of-mine'" in page.text
    assert "Measured front" in page.text


def test_other_weights_than_those_searched_are_named(here: Path) -> None:
    edit_json(here / "run" / "run.json", lambda c: c | {"weights": "0" * 16})
    assert "weights changed since this search" in Page(Path(write_report(Run(here / "run"))["report"])).text


def test_a_run_in_training_and_torn_metrics(here: Path) -> None:
    unfinish(here / "run")
    with open(here / "run" / "metrics.jsonl", "a") as file:
        file.write('{"step": 9, "st')
    done = invoke("report", "run", "--json")
    assert done.json["plots"] == []
    assert "1 lines are damaged" in done.json["notes"][0]
    page = Page(here / "run" / "report.html")
    assert "Training is not finished: step 4." in page.text
    assert "No search yet" in page.text


def test_the_same_run_gives_the_same_files(here: Path) -> None:
    files = [here / "run" / "report.html", here / "run" / "report-cortex-a72.svg"]
    write_report(Run(here / "run"))
    first = [file.read_bytes() for file in files]
    write_report(Run(here / "run"))
    assert [file.read_bytes() for file in files] == first


def test_bad_paths(here: Path) -> None:
    assert invoke("report", "nowhere").code == 1
    done = invoke("report", "run", "--out", ".")
    assert done.code == 2
    assert "is a directory" in done.message


@pytest.mark.parametrize("end", ["smallest", "largest"])
def test_blocks_are_those_of_the_genes(end: str) -> None:
    space = get_space("mbv3-tiny")
    architecture = getattr(space, end)
    genes = dict(architecture.genes)
    layers = estimate(architecture.to_json(), "cortex-a72", num_classes=10, in_chans=1, layers=True)["layers"]
    blocks = blocks_of(layers)
    assert sum(block.macs for block in blocks) == sum(row["macs"] for row in layers)
    assert sum(block.ms for block in blocks) == pytest.approx(sum(row["ms"] for row in layers))
    for stage in (1, 2, 3):
        own = [block for block in blocks if block.stage == f"blocks.{stage}"]
        assert len(own) == genes[f"s{stage}.depth"]
        assert {block.channels for block in own} == {genes[f"s{stage}.width"]}
        assert [block.kernel for block in own] == [genes[f"s{stage}.b{i}.kernel"] for i in range(len(own))]
    assert blocks[-1].channels == 10


@pytest.mark.parametrize(
    ("model", "stages"),
    [
        ("resnet18", {f"layer{i}": 2 for i in range(1, 5)}),
        ("convnext_atto", {f"stages.{i}.blocks": n for i, n in enumerate((2, 2, 6, 2))}),
        ("vit_tiny_patch16_224", {"blocks": 12}),
    ],
)
def test_blocks_of_other_families(model: str, stages: dict[str, int]) -> None:
    blocks = blocks_of(estimate(model, "cortex-a72", precision="fp32", layers=True)["layers"])
    assert {stage: n for stage, n in Counter(block.stage for block in blocks).items() if stage in stages} == stages


@pytest.mark.parametrize("values", [[0.0, 1.0], [3.0], [-5e-7, 2e-7], [1e9, 3e9], [0.0], [99.5, 99.6]])
def test_axes_have_room_and_round_ticks(values: list[float]) -> None:
    for scale in (x_scale(values), y_scale(values), x_scale(values, from_zero=True)):
        ends = sorted((scale.start, scale.stop))
        assert all(ends[0] <= scale(v) <= ends[1] for v in values)
        ticks = scale.ticks()
        assert 3 <= len(ticks) <= 10
        assert all(float(f"{t:.6g}") == pytest.approx(t, rel=1e-5, abs=1e-15) for t in ticks)
    with pytest.raises(ValueError, match="nothing"):
        x_scale([*values, float("inf")])


def test_markup_escapes() -> None:
    found = ElementTree.tostring(tag("p", "<b>", tag("i", "&"), "\x01", title='"<'), "unicode")
    assert found == '<p title="&quot;&lt;">&lt;b&gt;<i>&amp;</i>\ufffd</p>'


PROBE = """
const marks = [...document.querySelectorAll("circle[data-tip]")];
marks[0].dispatchEvent(new Event("pointerover", { bubbles: true }));
const root = document.documentElement;
root.dataset.told = tip.textContent;
root.dataset.shown = String(!tip.hidden && tip.getBoundingClientRect().width > 50);
root.dataset.wide = String(root.scrollWidth > root.clientWidth);
root.dataset.small = String([...document.querySelectorAll(".pair svg")].some((e) => e.clientWidth < 200));
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [360, 1200])
def test_in_a_browser(here: Path, width: int) -> None:
    """Nothing in the console, a tip for what is pointed at, and no scrolling sideways."""
    path = Path(write_report(Run(here / "run"))["report"])
    probed = path.with_name("probed.html")
    source = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", path.read_text())
    probed.write_text(source.replace("</script>", PROBE + "</script>"))
    said = {}
    for page in (path, probed):  # the page itself under its own policy; then with the probe
        done = subprocess.run(
            [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
             f"--window-size={width},800", "--dump-dom", page.as_uri()],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        said[page] = done.stdout
        assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    root = dict(re.findall(r'data-(told|shown|wide|small)="([^"]*)"', said[probed].partition("<head>")[0]))
    first = json.loads((here / "run" / "search-cortex-a72.json").read_text())["front"]
    assert root["told"].split()[0] in {member["id"] for member in first}
    assert (root["shown"], root["wide"], root["small"]) == ("true", "false", "false")
    assert 'id="tip" role="tooltip" hidden=""' in said[path]
