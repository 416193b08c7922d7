"""HTML and SVG as trees of elements, in which all text and attributes are escaped."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from copy import deepcopy
from xml.etree.ElementTree import Element, indent, tostring

from search_spaces.schema import Json

SVG = "http://www.w3.org/2000/svg"

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def tag(name: str, /, *children: Element | str | None, **attributes: object) -> Element:
    """An element with elements and texts in order, and with attributes; None is left out.

    In names of attributes an underscore stands for a hyphen, and one at the end is dropped (``class_``).
    """
    element = Element(name)
    for key, value in attributes.items():
        if value is not None:
            text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
            element.set(key.rstrip("_").replace("_", "-"), clean(text))
    last: Element | None = None
    for child in children:
        if isinstance(child, Element):
            element.append(child)
            last = child
        elif child is not None and last is None:
            element.text = (element.text or "") + clean(child)
        elif child is not None and last is not None:
            last.tail = (last.tail or "") + clean(child)
    return element


def clean(text: str) -> str:
    """A text without characters that XML or UTF-8 cannot hold: control characters and halves of surrogate pairs."""
    return _NO_XML.sub("\ufffd", text)


def table(
    name: str, head: list[str], rows: list[list[Element | str]], tips: list[tuple[str, str]] | None = None
) -> Element:  # fmt: skip
    """A table that scrolls sideways where the screen is narrow; the first column names the row and stays in view.

    Args:
        name: what a screen reader calls it.
        head: heads of the columns; empty: none.
        tips: id of each row, and the text that charts show for their marks of that id.
    """
    labels: list[tuple[str | None, str | None]] = [*tips] if tips else [(None, None)] * len(rows)
    cells = [
        tag("tr", tag("th", row[0], scope="row"), *(tag("td", each) for each in row[1:]), data_id=key, data_tip=tip)
        for row, (key, tip) in zip(rows, labels, strict=True)
    ]
    top = [tag("thead", tag("tr", *(tag("th", each, scope="col") for each in head)))] if head else []
    return wide(name, tag("table", *top, tag("tbody", *cells)))


def wide(name: str, *content: Element) -> Element:
    """Content that scrolls sideways on a narrow screen, with the keyboard too."""
    return tag("div", *content, class_="wide", tabindex="0", role="region", aria_label=name)


def pairs(name: str, facts: Mapping[str, Json]) -> Element:
    """A table of two columns: names and facts."""
    element = table(name, [], [[str(key), str(value)] for key, value in facts.items()])
    element.set("class", "wide words")
    return element


def figure(picture: Element, caption: str) -> Element:
    """A drawing with a caption below."""
    return tag("figure", picture, tag("figcaption", caption))


def note(text: str) -> Element:
    """A text that a reader shouldn't miss."""
    return tag("p", text, class_="note")


def html(title: str, style: str, script: str, body: list[Element]) -> bytes:
    """A page that cannot load anything or run another script than this one."""
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    head = tag(
        "head", tag("meta", charset="utf-8"), tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"), tag("title", title),
        tag("style", style),
    )  # fmt: skip
    page = tag("html", head, tag("body", *body, tag("script", script)), lang="en")
    return b"<!doctype html>\n" + tostring(page, "unicode", "html").encode() + b"\n"


def svg_file(drawing: Element) -> bytes:
    """A drawing as a file of its own, without what only the page's script uses."""
    copy = deepcopy(drawing)
    for element in copy.iter():
        for name in ("data-tip", "data-id", "data-file", "tabindex", "role", "aria-label"):
            element.attrib.pop(name, None)
    copy.set("role", "img")
    copy.insert(0, tag("title", drawing.get("aria-label", "")))
    indent(copy)
    return tostring(copy, "unicode").encode() + b"\n"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
