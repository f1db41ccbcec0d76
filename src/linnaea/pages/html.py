"""What the twin's pages are made of: one HTML file without links, its sections, figures, tables, maps and scales."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from pathlib import Path

from linnaea.pages.style import STYLE
from linnaea.store import atomic_path

ROUND = (1.0, 2.0, 5.0)


def write_page(path: Path, title: str, about: str, parts: Iterable[str]) -> Path:
    """Writes a page of parts under a title: its path."""
    page = (
        '<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width,'
        f'initial-scale=1"><title>{escape(title)}</title><style>{STYLE}</style></head><body><header><h1>{escape(title)}</h1>'
        f"<p class=soft>{escape(about)}</p></header><main>{''.join(parts)}</main></body></html>\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def render_section(title: str, body: str, note: str = "") -> str:
    """A part with a heading; "" without a body."""
    if not body:
        return ""
    return f"<section><h2>{title}</h2>{f'<p class=soft>{note}</p>' if note else ''}{body}</section>"


def render_figures(pictures: Iterable[str], captions: Iterable[str] | None = None, wide: bool = False) -> str:
    """Pictures side by side, as many as fit, fewer where they are `wide`, with their captions."""
    pictures = list(pictures)
    captions = list(captions) if captions else [""] * len(pictures)
    notes = [f"<figcaption>{caption}</figcaption>" if caption else "" for caption in captions]
    shown = "".join(f"<figure>{picture}{note}</figure>" for picture, note in zip(pictures, notes, strict=True))
    return f"<div class={'grid2' if wide else 'grid4'}>{shown}</div>" if pictures else ""


def render_table(head: Iterable[str], rows: Iterable[Iterable[str]], classes: Iterable[str] | None = None) -> str:
    """A table of texts; `classes` are those of its rows."""
    rows = list(rows)
    marks = list(classes) if classes else [""] * len(rows)
    body = "".join(
        f"<tr class='{mark}'>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row, mark in zip(rows, marks, strict=True)
    )
    cells = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in head)
    return f"<div class=scroll><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"


def render_answer(head: str, told: Iterable[str]) -> str:
    """What a page answers, in a box of its own: a line above, then a paragraph a sentence."""
    return f"<div class=answer><p class=soft>{head}</p>" + "".join(f"<p>{escape(text)}</p>" for text in told) + "</div>"


def render_legend(entries: Iterable[tuple[str, str, str]], note: str = "") -> str:
    """What lines mean: of each its name, colour and dashes."""
    parts = []
    for name, colour, dashes in entries:
        style = "dotted" if dashes.startswith("2") else "dashed" if dashes else "solid"
        parts.append(f'<span class=key style="border-color:{colour};border-top-style:{style}"></span>{escape(name)}')
    return f"<p>{''.join(parts)}{'. ' if note else ''}{note}</p>"


def render_image(source: str, text: str) -> str:
    """A picture with the text that stands for it."""
    return f'<img class=map alt="{escape(text, quote=True)}" src="{source}">'


def format_length(km: float) -> str:
    """A length as text, in metres below a kilometre: "250 m", "6.2 km"."""
    return f"{km:.3g} km" if km >= 1 else f"{1000 * km:.3g} m"


def render_scale_bar(width_km: float) -> str:
    """A bar of a round length, a tenth to a third of a map's width, to stand below it."""
    power = 10.0 ** math.floor(math.log10(width_km / 3))
    length = max(power * one for one in ROUND if power * one <= width_km / 3 * 1.0001)
    share = 100 * length / width_km
    return (
        f'<div class=scale style="width:{share:.2f}%"></div><div class=ends><span>{format_length(length)}</span></div>'
    )


def render_unverified(names: Iterable[str]) -> str:
    """The part that says which values stand on no source."""
    names = list(names)
    listed = ", ".join(escape(name) for name in names)
    return (
        "<section><h2>What was never checked</h2>"
        f"<p>{len(names):,} values of this world stand on no source that was read: general knowledge, or computed from body "
        "mass. An interval says how far chance moves the model's answer, and nothing of these.</p>"
        f"<details><summary>list them</summary><p class=soft>{listed}</p></details></section>"
    )
