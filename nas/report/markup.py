"""HTML and SVG as trees of elements: whatever text or attribute goes in comes out escaped."""

from __future__ import annotations

import base64
import hashlib
import re
from xml.etree.ElementTree import Element, indent, tostring

SVG = "http://www.w3.org/2000/svg"

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def tag(name: str, /, *children: Element | str | None, **attributes: object) -> Element:
    """An element.

    Args:
        children: elements and texts in order; None is left out.
        attributes: an underscore is a hyphen, one at the end is dropped (``class_``); None is left out.
    """
    found = Element(name)
    for key, value in attributes.items():
        if value is not None:
            text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
            found.set(key.rstrip("_").replace("_", "-"), clean(text))
    last: Element | None = None
    for child in children:
        if isinstance(child, Element):
            found.append(child)
            last = child
        elif child is not None and last is None:
            found.text = (found.text or "") + clean(child)
        elif child is not None and last is not None:
            last.tail = (last.tail or "") + clean(child)
    return found


def clean(text: str) -> str:
    """Without what no XML or UTF-8 can hold: control characters and halves of surrogate pairs."""
    return _NO_XML.sub("\ufffd", text)


def table(head: list[str], rows: list[list[Element | str]]) -> Element:
    """A table that scrolls sideways where the screen is narrow; the first column names the row."""
    cells = [
        tag("tr", tag("th", row[0], scope="row"), *(tag("td", each) for each in row[1:])) for row in rows
    ]  # fmt: skip
    top = [tag("thead", tag("tr", *(tag("th", each, scope="col") for each in head)))] if head else []
    return tag("div", tag("table", *top, tag("tbody", *cells)), class_="wide", tabindex="0")


def html(title: str, style: str, script: str, body: list[Element]) -> bytes:
    """A page that may load nothing and run no other script than this one."""
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", style),
    )
    page = tag("html", head, tag("body", *body, tag("script", script)), lang="en")
    return b"<!doctype html>\n" + tostring(page, "unicode", "html").encode() + b"\n"


def svg_file(drawing: Element) -> bytes:
    """A drawing as a file of its own."""
    indent(drawing)
    return tostring(drawing, "unicode").encode() + b"\n"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
