"""The report in a real browser, without network: quiet, complete, and readable by mouse, finger and keyboard."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.report import write_report
from nas.report.draw.palette import COLOURS, DARK
from nas.store.run import Run
from search_spaces.errors import install_hint
from tests.support.cli_runs import edit_json
from tests.support.report_fronts import make_front

webdriver = pytest.importorskip("selenium.webdriver", reason=f"no selenium; {install_hint('.[dev]')}")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next((path for path in map(shutil.which, NAMES) if path), None)
DRIVER = shutil.which("chromedriver")
MISSING = "no Chromium or Chrome here" if BROWSER is None else "no chromedriver here (Debian: chromium-driver)"
pytestmark = [
    pytest.mark.skipif(BROWSER is None or DRIVER is None, reason=MISSING),
    pytest.mark.xdist_group("browser"),  # it is opened once, by one process
]

PHONE, DESKTOP = 390, 1280
FRONT = 'svg[data-file="cortex-a72-latency"]'


@pytest.fixture(scope="module")
def run(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two searches and fronts of four; one of several precisions."""
    folder = tmp_path_factory.mktemp("browser") / "run"
    shutil.copytree(finished / "run", folder)
    search = folder / "search-cortex-a72.json"
    edit_json(search, make_front)
    other = json.loads(search.read_text())
    edit_json(search, lambda r: r | {"front": [m | {"precision": "int8,blocks.2=w4a8"} for m in r["front"]]})
    other |= {"target": other["target"] | {"name": "cortex-a53"}, "config": other["config"] | {"target": "cortex-a53"}}
    (folder / "search-cortex-a53.json").write_text(json.dumps(other))
    assert write_report(Run(folder)).notes == ()
    return folder


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, Service(DRIVER))
    yield browser
    browser.quit()


def opened(driver: Any, run: Path, width: int, **features: str) -> Any:
    """The report on a screen of a width, with no network and what a reader prefers."""
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    media = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    driver.execute_cdp_cmd("Network.enable", {})
    nothing = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", nothing)
    driver.get_log("browser")
    driver.get((run / "report.html").as_uri())
    return driver


def fronts(run: Path) -> dict[str, list[dict[str, Any]]]:
    found = {p.stem.removeprefix("search-"): json.loads(p.read_text()) for p in run.glob("search-*.json")}
    return {name: sorted(r["front"], key=lambda m: m["latency_ms"]) for name, r in found.items()}


def test_nothing_is_loaded_and_nothing_complains(driver: Any, run: Path) -> None:
    page = opened(driver, run, DESKTOP)
    assert page.title == "nas: run"
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert page.get_log("browser") == []
    page.execute_script("console.error('seen'); document.body.append(Object.assign(new Image(), {src: 'no.png'}))")
    assert "seen" in str(page.get_log("browser"))  # what the line above would have told of


def test_every_member_of_every_front_is_drawn(driver: Any, run: Path) -> None:
    page = opened(driver, run, DESKTOP)
    for name, members in fronts(run).items():
        for cost in ("latency", "size"):
            inside = page.execute_script(
                """const svg = document.querySelector(arguments[0]), frame = svg.getBoundingClientRect();
                return [...svg.querySelectorAll("g[data-id] > circle")].filter((c) => {
                  const box = c.getBoundingClientRect();
                  return box.width > 4 && box.left >= frame.left && box.right <= frame.right && box.top >= frame.top
                    && box.bottom <= frame.bottom; }).map((c) => c.parentNode.dataset.id)""",
                f"svg[data-file='{name}-{cost}']",
            )
            assert sorted(inside) == sorted(member["id"] for member in members)
        for member in members:
            drawn = page.execute_script(
                "return document.getElementById(arguments[0]).querySelectorAll('.wide > svg rect[data-tip]').length",
                f"{name}.{member['id']}",
            )
            assert drawn >= 2 + sum(v for g, v in member["architecture"]["genes"].items() if g.endswith(".depth"))
    assert page.execute_script(
        "return [...document.querySelectorAll('main > div figure svg')].every((e) => e.clientWidth > 300)"
    )


TWO_FRAMES = "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"


def told(page: Any) -> str:
    """What the tip says; empty where it is hidden or outside of the window."""
    text: str = page.execute_script(
        """if (tip.hidden) return ""; const box = tip.getBoundingClientRect();
        const seen = box.left >= 0 && box.right <= innerWidth && box.top >= 0 && box.bottom <= innerHeight;
        return seen && box.width > 50 ? tip.innerText : "";"""
    )
    return text


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_what_is_pointed_at_is_told(driver: Any, run: Path, width: int) -> None:
    page = opened(driver, run, width)
    for name, members in fronts(run).items():
        for member in members:
            circle = page.find_element(
                "css selector", f"svg[data-file='{name}-latency'] g[data-id='{member['id']}'] circle"
            )
            page.execute_script("arguments[0].scrollIntoView({block: 'center'})", circle)
            page.execute_async_script(TWO_FRAMES)  # scrolling hides the tip, and is told with the next frame
            webdriver.ActionChains(page).move_to_element(circle).perform()
            text = told(page)
            assert text.startswith(member["id"])
            mixed = "int8, but w4a8 in blocks.2" if "=" in member["precision"] else "int8 everywhere"
            for part in (mixed, f"search {100 * member['accuracy']['value']:.2f} %",
                         f"test {100 * member['test']['value']:.2f} %",
                         f"predicted {100 * member['predicted_accuracy']['mean']:.2f} ± ",
                         f"{member['latency_ms']:.3f} ms", "s1: width"):  # fmt: skip
                assert part in text
            lit = page.execute_script("return [...document.querySelectorAll('tr.on')].map((e) => e.dataset.id)")
            assert lit == [member["id"]]
    webdriver.ActionChains(page).move_to_element(page.find_element("css selector", "h1")).perform()
    assert told(page) == ""


def test_the_keyboard_reaches_every_point(driver: Any, run: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    def press(key: str) -> None:
        webdriver.ActionChains(page).send_keys(key).perform()

    page = opened(driver, run, DESKTOP)
    total = page.execute_script(f"return document.querySelectorAll('{FRONT} [data-tip], {FRONT} [data-id]').length")
    for _ in range(40):
        press(Keys.TAB)
        if page.execute_script(f"return document.activeElement.closest('{FRONT}') !== null"):
            break
    texts = [told(page)]
    for _ in range(total - 1):
        press(Keys.ARROW_RIGHT)
        texts.append(told(page))
    assert {text.split("\n")[0] for text in texts} >= {member["id"] for member in fronts(run)["cortex-a72"]}
    assert len(texts) == total
    assert page.execute_script("return document.activeElement.getAttribute('aria-label')") == page.execute_script(
        "return tip.textContent"
    )
    press(Keys.HOME)
    assert told(page) == texts[0]
    press(Keys.ESCAPE)
    assert told(page) == ""
    press(Keys.TAB)  # one stop for the whole plot
    assert page.execute_script(f"return document.activeElement.closest('{FRONT}') === null")


TEXT_SIZES = """
const sizes = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const element = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || element.closest("script, style, #tip")) continue;
  const scale = element.getScreenCTM ? element.getScreenCTM().a : 1;
  sizes.push([scale * parseFloat(getComputedStyle(element).fontSize), walk.currentNode.data]);
}
return sizes.sort((a, b) => a[0] - b[0]).slice(0, 5);
"""


@pytest.mark.parametrize("width", [360, PHONE, DESKTOP])
def test_it_is_readable(driver: Any, run: Path, width: int) -> None:
    """No scrolling sideways, closed or with all details open, and no word below 11 pixels."""
    page = opened(driver, run, width)
    for opening in (False, True):
        page.execute_script("for (const d of document.querySelectorAll('details')) d.open = arguments[0]", opening)
        wide = page.execute_script("return [document.scrollingElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1]
    sizes = page.execute_script(TEXT_SIZES)
    assert len(sizes) == 5
    assert sizes[0][0] >= 11, sizes
    clipped = page.execute_script(
        """return [...document.querySelectorAll("figure > svg text")].filter((t) => {
          const box = t.getBBox(), view = t.ownerSVGElement.viewBox.baseVal;
          return box.x < 0 || box.x + box.width > view.width || box.y < 0 || box.y + box.height > view.height;
        }).map((t) => t.textContent)"""
    )
    assert clipped == []


def test_on_a_dark_screen_charts_change_too(driver: Any, run: Path) -> None:
    def colour(page: Any, selector: str, what: str) -> str:
        return str(page.execute_script(
            "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]", selector, what
        ))  # fmt: skip

    found = {
        mode: [colour(page, "body", "backgroundColor"), colour(page, f"{FRONT} g circle", "fill"),
               colour(page, f"{FRONT} > rect", "fill")]
        for mode in ("light", "dark")
        for page in [opened(driver, run, DESKTOP, prefers_color_scheme=mode)]
    }  # fmt: skip
    assert found["light"] == ["rgb(255, 255, 255)", rgb(COLOURS[0]), "rgb(255, 255, 255)"]
    assert found["dark"] == [rgb(DARK["#ffffff"]), rgb(DARK[COLOURS[0]]), rgb(DARK["#ffffff"])]


def rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))})"


def test_in_print_everything_is_open(driver: Any, run: Path) -> None:
    page = opened(driver, run, DESKTOP)
    assert page.execute_script("return [...document.querySelectorAll('details')].some((d) => d.open)") is False
    paper = page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert len(paper["data"]) > 10000
    assert page.execute_script("return [...document.querySelectorAll('details')].every((d) => d.open)") is True
