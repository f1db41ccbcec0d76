"""Matplotlib's SVG made small enough, and themed, to stand inside a page.

Matplotlib repeats its metadata, gives every group an id and writes six decimals. A report holds dozens of charts: here
they lose all that (about three quarters of their size), and their colours become the page's CSS variables, so that one
drawing serves light screens, dark screens and print. Without ids, no two charts of a page can clash; clipping needs ids
and goes with them, as all that a chart draws lies within it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree

from linnaea.pages.style import COLOURS

_VARIABLES = {light: f"var(--{name})" for name, (light, _) in COLOURS.items()}
_NUMBER = re.compile(r"-?\d+\.\d+")
_PATH_SPACE = re.compile(r"\s*([A-Za-z])\s*")
_NO_ROTATION = re.compile(r"rotate\(-?0(\.0*)? ")
_DROPPED_STYLES = ("stroke-linejoin", "stroke-linecap", "stroke-miterlimit", "font-family")
_UNUSED = ("metadata", "defs")
HALO = "halo"
"Id (`gid`) of texts that get an outline in the colour of the card."
KEPT_ATTRIBUTES = ("d", "x", "y", "width", "height", "transform", "style", "href", "points", "class")


def to_inline_svg(source: str, label: str, tooltips: Mapping[str, str]) -> str:
    """The SVG text `source` as an element for a page.

    `label` stands for the picture in screen readers. `tooltips` are texts by the id (`gid`) of what they explain.
    """
    root = ElementTree.fromstring(source)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for name in list(element.attrib):
            element.attrib[name.rpartition("}")[2]] = element.attrib.pop(name)
    markers = {element.get("id"): element for defs in root.iter("defs") for element in defs if element.get("id")}
    _rewrite(root, markers, tooltips)
    view_box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib |= {"viewBox": view_box, "role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def _rewrite(
    element: ElementTree.Element, markers: Mapping[str | None, ElementTree.Element], tooltips: Mapping[str, str]
) -> None:
    """Rewrite an element and all below it in place."""
    children: list[ElementTree.Element] = []
    for child in element:
        if child.tag in _UNUSED:
            continue
        if child.tag == "use":
            child = _expand_marker(child, markers)
        tooltip = tooltips.get(child.get("id", ""))
        if child.get("id") == HALO:
            child.set("class", HALO)
        _rewrite(child, markers, tooltips)
        _clean_attributes(child)
        if tooltip is not None:
            title = ElementTree.Element("title")
            title.text = tooltip
            child.insert(0, title)
        # A group that says nothing is only indentation.
        children += list(child) if child.tag == "g" and not child.attrib and tooltip is None else [child]
    element[:] = children
    element.tail = None
    if element.tag not in ("text", "tspan", "title"):
        element.text = None


def _expand_marker(use: ElementTree.Element, markers: Mapping[str | None, ElementTree.Element]) -> ElementTree.Element:
    """The shape that a `use` element repeats, moved to its place."""
    marker = markers[use.get("href", "").removeprefix("#")]
    x, y = (float(use.get(name, 0)) for name in ("x", "y"))
    style = use.get("style") or marker.get("style") or ""
    return ElementTree.Element("path", {"d": marker.get("d", ""), "transform": f"translate({x} {y})", "style": style})


def _clean_attributes(element: ElementTree.Element) -> None:
    for name in list(element.attrib):
        value = element.attrib[name]
        if name not in KEPT_ATTRIBUTES or (name == "transform" and _NO_ROTATION.match(value)):
            del element.attrib[name]
        elif name == "style":
            if style := _clean_style(value):
                element.set(name, style)
            else:
                del element.attrib[name]
        elif name == "d":
            element.set(name, _PATH_SPACE.sub(r"\1", _round_numbers(value)).strip())
        elif name != "href":
            element.set(name, _round_numbers(value, 2))


def _clean_style(style: str) -> str:
    kept = []
    for part in filter(None, (part.strip() for part in style.split(";"))):
        name, _, value = (text.strip() for text in part.partition(":"))
        if name in _DROPPED_STYLES or (name, value) == ("stroke", "none"):
            continue
        if name == "font":
            # "600 12px 'DejaVu Sans', …": the family is the page's.
            name, value = "font", f"{value.split('px')[0]}px system-ui,sans-serif"
        kept.append(f"{name}:{_VARIABLES.get(value.lower(), _round_numbers(value, 2))}")
    return ";".join(kept)


def _round_numbers(text: str, digits: int = 1) -> str:
    return _NUMBER.sub(lambda found: f"{float(found.group()):.{digits}f}".rstrip("0").rstrip("."), text)
