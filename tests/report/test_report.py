"""The report of a run: complete, safe, offline, and alive whatever is damaged."""

from __future__ import annotations

import json
import platform
import re
from collections import Counter
from html.parser import HTMLParser
from importlib import metadata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import ImageColor

from nas.report import write_report
from nas.report.draw.blocks import find_blocks
from nas.report.draw.chart import x_scale, y_scale
from nas.report.draw.markup import tag
from nas.report.draw.palette import COLOURS, DARK, GREY, INK, KERNELS, ON_DEEP, ON_PALE, PAPER
from nas.report.draw.plots import average_points
from nas.report.words import describe_genes, describe_precision
from nas.store.run import Run
from nas.workflows.estimate import estimate_model
from search_spaces import get_space
from tests.support.cli_runs import edit_json, half, invoke, unfinish
from tests.support.report_fronts import make_front

SVG = "{http://www.w3.org/2000/svg}"
RANDOM = COLOURS[2]
VOID = ("meta", "br")


class Page(HTMLParser):
    """A page's elements with their attributes and its text; complains where they are not balanced."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.cells: list[list[str]] = []
        self.open: list[str] = []
        self.source = path.read_text()
        self.feed(self.source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])
        elif tag in ("th", "td"):
            self.cells[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += data
        if {"th", "td"} & set(self.open):
            self.cells[-1][-1] += data

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Of the tables with two columns."""
        return [(row[0], row[1]) for row in self.cells if len(row) == 2]

    @property
    def count(self) -> Counter[str]:
        return Counter(name for name, _ in self.elements)

    @property
    def tips(self) -> str:
        return "\n".join(attributes.get("data-tip") or "" for _, attributes in self.elements)


def test_the_page_holds_what_was_found(here: Path) -> None:
    result = json.loads((here / "run" / "search-cortex-a72.json").read_text())
    done = invoke("report", "run")
    assert done.code == 0, done.err
    plots = ["cortex-a72-latency", "cortex-a72-size", "cortex-a72-hypervolume", "training-accuracy", "training-loss"]
    written = [f"{plot}.svg" for plot in plots]
    assert sorted(p.name for p in (here / "run" / "report-plots").iterdir()) == sorted(written)
    assert re.findall(r"wrote (.*)", done.out) == ["run/report.html", "run/report-plots: 5 plots (SVG)"]
    assert done.err.strip() == "next: nas finetune --run run"
    page = Page(here / "run" / "report.html")
    for member in result["front"]:
        assert member["id"] in page.text
        assert f"{100 * member['test']['value']:.2f} %" in page.text
        assert f"{member['id']}\nint8 everywhere\nsearch {100 * member['accuracy']['value']:.2f} %" in page.tips
    for text in (f"{result['hypervolume']:.4f}", "random", result["target"]["latency"], result["weights"], "torch",
                 "apple, pear, plum", "left out one by one", "Where its", "Exported", "smallest, random, largest",
                 "calibration_images"):  # fmt: skip
        assert text in page.text, text
    assert page.count["svg"] == len(plots) + 2 * len(result["front"])  # an architecture and its operators each


def test_the_protocol_says_what_a_search_rests_on(here: Path) -> None:
    """Each figure computed from the files anew."""
    run = here / "run"
    edit_json(run / "search-cortex-a72.json", make_front)
    result = json.loads((run / "search-cortex-a72.json").read_text())
    facts = dict(Page(write_report(Run(run)).report).rows)
    gaps = np.array([m["test"]["correct"] / m["test"]["images"] - m["accuracy"]["value"] for m in result["front"]])
    gap = facts["test split against search split"]
    assert gap.startswith(f"{100 * gaps.mean():+.2f} points, mean over the front ({100 * gaps.min():+.2f} to")
    records = [json.loads(line).get("user_attrs", {}) for line in (run / "journal.log").read_text().splitlines()]
    spent = sum(each.get("seconds", 0) for each in records)
    said = sum(float(facts[f"seconds of measuring, {split} split"].split(" s ")[0]) for split in ("search", "test"))
    assert said == pytest.approx(spent, abs=1)
    assert facts["random, with as many measurements"].startswith(
        f"hypervolume {result['baselines']['random']['hypervolume']:.4f}"
    )
    assert facts["uniform, with as many measurements"] == "not measured; nas search --compare random,uniform"
    assert facts["spread over seeds"].endswith("one seed, 0")
    assert "latency 0.9" in facts["the largest network"] or " ms" in facts["the largest network"]
    assert facts["its reference"].startswith("error 0.")
    made_by = f"nas {metadata.version('nas-supernet')}, python {platform.python_version()}, torch {torch.__version__}"
    for place in ("versions", "training", "search for cortex-a72"):  # torch's version may have a local part
        assert facts[place].startswith(made_by.partition("+")[0])
    for path in (run / "run.json", run / "search-cortex-a72.json"):  # as earlier versions wrote them
        edit_json(path, lambda content: {key: value for key, value in content.items() if key != "versions"})
    facts = dict(Page(write_report(Run(run)).report).rows)
    assert facts["versions"] == facts["training"] == facts["search for cortex-a72"] == "not recorded"


def test_the_page_needs_nothing_else_and_runs_nothing_else(here: Path) -> None:
    page = Page(write_report(Run(here / "run")).report)
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
    assert result.notes == ()
    page = Page(result.report)
    assert page.count["script"] == page.count["style"] == 1
    assert not [a for _, a in page.elements if "onload" in a]
    shown = nasty.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    assert page.text.count(shown) > 5
    assert shown in page.tips
    for plot in result.plots:
        ElementTree.parse(plot)


def test_no_plot_is_written_elsewhere(here: Path) -> None:
    """Names of devices in a search's file lead no plot out of its folder."""
    search = here / "run" / "search-cortex-a72.json"
    device = "../../../escaped"

    def hostile(result: dict[str, Any]) -> dict[str, Any]:
        front = [m | {"latency_elsewhere_ms": {device: 1.0 + i}} for i, m in enumerate(result["front"])]
        changed = {"objectives": ["accuracy", f"latency:{device}"], "others": {device: "uncalibrated"}, "front": front}
        return result | changed | {"target": result["target"] | {"name": device}, "measured": [], "extremes": {}}

    edit_json(search, hostile)
    before = {p for p in here.rglob("*") if p.is_file()}
    result = write_report(Run(here / "run"))
    assert result.notes == ()
    new = {p for p in here.rglob("*") if p.is_file()} - before
    assert {p.parent for p in new} == {here / "run", here / "run" / "report-plots"}
    assert len(new) == 1 + len(result.plots)


@pytest.mark.parametrize(("cost", "key", "factor"), [("latency", "latency_ms", 1), ("size", "size_bytes", 1e-3)])
def test_points_lie_where_their_figures_say(here: Path, cost: str, key: str, factor: float) -> None:
    search = here / "run" / "search-cortex-a72.json"
    edit_json(search, make_front)
    result = json.loads(search.read_text())
    plots = write_report(Run(here / "run"), here / "other" / "page.html").plots
    plot = here / "other" / "page-plots" / f"cortex-a72-{cost}.svg"
    assert plot in plots
    drawing = ElementTree.parse(plot)
    groups = drawing.findall(f"{SVG}g")
    circles = [g.find(f"{SVG}circle") for g in groups]
    places = np.array([(float(c.get("cx", "")), float(c.get("cy", ""))) for c in circles if c is not None])
    figures = np.array([(factor * m[key], 100 * m["accuracy"]["value"]) for m in result["front"]])
    assert len(places) == len(figures)
    lines = []
    for axis, direction in ((0, 1), (1, -1)):  # y grows downwards
        slope, start = np.polyfit(figures[:, axis], places[:, axis], 1)
        assert slope * direction > 0
        np.testing.assert_allclose(start + slope * figures[:, axis], places[:, axis], atol=0.02)
        lines.append((slope, start))
    bars = [b for b in drawing.findall(f"{SVG}line") if b.get("stroke-opacity")]
    spans = [float(b.get("y1", "")) - float(b.get("y2", "")) for b in bars]
    np.testing.assert_allclose(spans, abs(slope) * 15, atol=0.02)
    for axis, name in ((0, "x"), (1, "y")):  # the labels of the axes agree with the points
        slope, start = lines[axis]
        labels = [t for t in drawing.findall(f"{SVG}text") if t.get("text-anchor") == ("middle", "end")[axis]]
        known = [t for t in labels if re.fullmatch(r"-?[\d.]+k?", t.text or "")]
        assert len(known) >= 3
        for label in known:
            value = float((label.text or "").replace("k", "e3"))
            assert float(label.get(name, "")) == pytest.approx(start + slope * value, abs=5.1)
    clouds = {
        p.get("stroke"): len(re.findall("M", p.get("d", ""))) for p in drawing.findall(f"{SVG}path") if p.get("d")
    }
    low, high = (100 * f(m["accuracy"][e] for m in result["front"]) for f, e in ((min, "low"), (max, "high")))
    random = [100 * row[0] for row in result["baselines"]["random"]["measured"]]
    assert clouds[RANDOM] >= sum(low <= a <= high for a in random)


def test_colours_are_told_apart_by_colour_blind_people() -> None:
    """Any two of the colours of series differ in Lab by 15 or more as Machado et al. (2009) simulate full
    protanopia, deuteranopia and tritanopia; on paper and on a dark screen; all are seen against it (3 to 1)."""
    for colours, paper in (([*COLOURS, GREY], PAPER), ([DARK[c] for c in (*COLOURS, GREY)], DARK[PAPER])):
        for blind in (np.eye(3), *BLIND):
            seen = [lab(np.clip(blind @ linear(c), 0, 1)) for c in colours]
            for i, a in enumerate(seen):
                for j, b in enumerate(seen[:i]):
                    assert np.linalg.norm(a - b) > 15, (colours[i], colours[j], blind)
        for colour in colours:
            ratio = (luminance(paper) + 0.05) / (luminance(colour) + 0.05)
            assert max(ratio, 1 / ratio) >= 3, colour
    for light, dark in ((KERNELS[3], ON_PALE), (KERNELS[5], ON_DEEP), (KERNELS[7], ON_DEEP), (PAPER, INK)):
        for box, ink in ((light, dark), (DARK[light], DARK[dark])):
            ratio = (luminance(box) + 0.05) / (luminance(ink) + 0.05)
            assert max(ratio, 1 / ratio) >= 4.5, (box, ink)


BLIND = [  # Machado, Oliveira, Fernandes (2009), severity 1.0, for linear RGB
    np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
]


def linear(colour: str) -> Any:
    """Linear RGB of an sRGB colour."""
    values = np.array(ImageColor.getrgb(colour)) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def luminance(colour: str) -> float:
    """As WCAG 2 defines it."""
    return float(linear(colour) @ np.array([0.2126, 0.7152, 0.0722]))


def lab(values: Any) -> Any:
    """CIE L*a*b* (D65) of linear RGB."""
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = (matrix @ values) / np.array([0.9505, 1.0, 1.089])
    f = [v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z)]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


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
    assert "smallest, random, largest" in page.text  # the rest is there


def test_an_architecture_that_cannot_be_built_is_not_drawn(here: Path) -> None:
    search = here / "run" / "search-cortex-a72.json"
    edit_json(search, lambda r: r | {"config": r["config"] | {"target": "a-board-of-mine"}})
    page = Page(write_report(Run(here / "run")).report)
    assert "They cannot be drawn: unknown target 'a-board-of-mine'" in page.text
    assert "Measured front" in page.text


def test_other_weights_than_those_searched_are_named(here: Path) -> None:
    edit_json(here / "run" / "run.json", lambda c: c | {"weights": "0" * 16})
    assert "weights changed since this search" in Page(write_report(Run(here / "run")).report).text


def test_a_run_in_training_and_torn_metrics(here: Path) -> None:
    unfinish(here / "run")
    with open(here / "run" / "metrics.jsonl", "a") as file:
        file.write('{"step": 9, "st')
    done = invoke("report", "run", "--json")
    assert {Path(plot).stem for plot in done.json["plots"]} == {"training-accuracy", "training-loss"}
    assert done.json["searches"] == []
    assert "damaged lines were left out, 1 in all" in done.json["notes"][0]
    page = Page(here / "run" / "report.html")
    assert "Training is not finished: step 4." in page.text
    assert "No search yet" in page.text


def test_the_same_run_gives_the_same_files(here: Path) -> None:
    write_report(Run(here / "run"))
    files = [here / "run" / "report.html", *sorted((here / "run" / "report-plots").iterdir())]
    first = [file.read_bytes() for file in files]
    write_report(Run(here / "run"))
    assert [file.read_bytes() for file in files] == first


def test_the_run_that_is_typed_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert "other and --run both name the run" in invoke("report", "other", "--run", "run").message
    monkeypatch.setenv("NAS_REPORT_RUN", "run")
    assert "other is not a run directory" in invoke("report", "other").message
    assert "run is not a run directory" in invoke("report").message
    monkeypatch.delenv("NAS_REPORT_RUN")
    monkeypatch.setenv("NAS_REPORT_DIRECTORY", "run")
    assert "other is not a run directory" in invoke("report", "--run", "other").message


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
    layers = estimate_model(architecture.to_json(), "cortex-a72", num_classes=10, in_chans=1, layers=True).layers
    blocks = find_blocks(layers)
    assert sum(block.macs for block in blocks) == sum(row.macs for row in layers)
    assert sum(block.ms for block in blocks) == pytest.approx(sum(row.ms for row in layers))
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
    blocks = find_blocks(estimate_model(model, "cortex-a72", precision="fp32", layers=True).layers)
    assert {stage: n for stage, n in Counter(block.stage for block in blocks).items() if stage in stages} == stages


@pytest.mark.parametrize("values", [[0.0, 1.0], [3.0], [-5e-7, 2e-7], [1e9, 3e9], [0.0], [99.5, 99.6]])
def test_axes_have_room_and_round_ticks(values: list[float]) -> None:
    for scale in (x_scale(values), y_scale(values), x_scale(values, from_zero=True)):
        ends = sorted((scale.start, scale.stop))
        assert all(ends[0] <= scale(v) <= ends[1] for v in values)
        ticks = scale.ticks()
        assert 3 <= len(ticks) <= 10
        assert all(float(f"{t:.6g}") == pytest.approx(t, rel=1e-5, abs=1e-15) for t in ticks)
    with pytest.raises(ValueError, match="finite"):
        x_scale([*values, float("inf")])


def test_markup_escapes() -> None:
    found = ElementTree.tostring(tag("p", "<b>", tag("i", "&"), "\x01", title='"<'), "unicode")
    assert found == '<p title="&quot;&lt;">&lt;b&gt;<i>&amp;</i>\ufffd</p>'


def test_long_curves_are_average_points() -> None:
    points = [(float(i), float(i % 7)) for i in range(1, 1001)]
    thin = average_points(points)
    assert len(thin) <= 120
    assert thin[-1][0] == 1000
    size = 9  # the fewest that give at most 120
    assert thin[0] == (size, np.mean([v for _, v in points[:size]]))
    assert average_points(points[:50]) == points[:50]


def test_words_for_policies_and_genes() -> None:
    assert describe_precision("int8") == "int8 everywhere"
    assert describe_precision("int8,blocks.1=w4a8,blocks.2=w4a8") == "int8, but w4a8 in blocks.1, blocks.2"
    genes = {"resolution": 24, "s1.width": 16, "s1.b0.kernel": 3, "s1.b1.kernel": 5}
    assert describe_genes(genes) == "resolution 24\ns1: width 16; kernel 3, 5"


def test_a_large_front_stays_small(here: Path) -> None:
    """A thousand candidates on the front, a thousand measured and a thousand of the random baseline: below 2 MB."""

    def many(result: dict[str, Any]) -> dict[str, Any]:
        first = result["front"][0]
        rows = [[0.5 + i / 2500, 1 + i / 500, 1e5 + 100 * i] for i in range(1000)]
        baselines = {"random": result["baselines"]["random"] | {"measured": rows}}
        front = [
            first | {"id": f"{i:08x}-int8", "latency_ms": row[1], "size_bytes": row[2]} for i, row in enumerate(rows)
        ]  # fmt: skip
        return result | {"front": front, "measured": rows, "baselines": baselines}

    edit_json(here / "run" / "search-cortex-a72.json", many)
    result = write_report(Run(here / "run"))
    assert result.notes == ()
    page = result.report
    assert page.stat().st_size < 2e6
    assert page.read_text().count("<g data-id=") == 2000  # against latency and against size
