"""The skeleton of a report: one HTML file that opens offline and loads nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from linnaea.pages.style import STYLE
from linnaea.store import atomic_path


def render_header(title: str, about: str) -> str:
    """The head of a report: its title and one paragraph about it."""
    return f"<header><h1>{escape(title)}</h1><p class=soft>{escape(about)}</p></header>"


def write_page(path: Path, title: str, header: str, parts: Iterable[str], *, layout: str = "sections") -> Path:
    """Write a report of `parts` below `header` and return its path.

    `header` and `parts` are HTML; `title` is plain text. Parts are written as they come, so that a long report does not
    need its size in memory. `layout` is the class of the main element: "sections" below each other, or "report" for the
    page of photographs, which brings its own style sheet.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(
            "<!doctype html><html lang=en><head><meta charset=utf-8>"
            '<meta name=viewport content="width=device-width,initial-scale=1">'
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{header}<main class={layout}>"
        )
        file.writelines(parts)
        file.write("</main></body></html>\n")
    return path
