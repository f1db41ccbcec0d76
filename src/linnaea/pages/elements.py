"""Building blocks of reports as HTML text: sections, figures, tables, legends, images, scale bars."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from html import escape

ROUND_FACTORS = (1.0, 2.0, 5.0)
MAX_SCALE_SHARE = 1 / 3
"Greatest part of a map's width that a scale bar takes."


def render_section(title: str, body: str, note: str = "") -> str:
    """A section with a heading and a note below it; "" if there is no body."""
    if not body:
        return ""
    return f"<section><h2>{title}</h2>{f'<p class=soft>{note}</p>' if note else ''}{body}</section>"


def render_figures(pictures: Iterable[str], captions: Iterable[str] | None = None, *, wide: bool = False) -> str:
    """Pictures side by side, with captions; "" without pictures. `wide` pictures get wider columns."""
    pictures = list(pictures)
    if not pictures:
        return ""
    captions = list(captions) if captions else [""] * len(pictures)
    notes = [f"<figcaption>{caption}</figcaption>" if caption else "" for caption in captions]
    cells = "".join(f"<figure>{picture}{note}</figure>" for picture, note in zip(pictures, notes, strict=True))
    return f"<div class='grid{' wide' if wide else ''}'>{cells}</div>"


def render_wide_figure(picture: str) -> str:
    """A picture over the whole width; on a narrow screen it scrolls sideways and keeps its text readable."""
    return f"<figure><div class=scroll>{picture}</div></figure>" if picture else ""


def render_table(
    head: Iterable[str],
    rows: Iterable[Iterable[str]],
    classes: Iterable[str] | None = None,
    *,
    text_columns: Collection[int] = (),
) -> str:
    """A table of plain texts, the first column to the left, the others to the right as numbers need.

    `classes` are the CSS classes of its rows; `text_columns` are further columns that stand to the left.
    """
    rows = list(rows)
    marks = list(classes) if classes else [""] * len(rows)
    left = {column: " class=left" for column in text_columns}
    body = "".join(
        f"<tr class='{mark}'>"
        + "".join(f"<td{left.get(column, '')}>{escape(cell)}</td>" for column, cell in enumerate(row))
        + "</tr>"
        for row, mark in zip(rows, marks, strict=True)
    )
    cells = "".join(f"<th scope=col{left.get(column, '')}>{escape(cell)}</th>" for column, cell in enumerate(head))
    return f"<div class=scroll><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"


def render_answer(head: str, sentences: Iterable[str]) -> str:
    """The main result in a box: a line of context, then one paragraph for each sentence."""
    paragraphs = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    return f"<div class=answer><p class=soft>{escape(head)}</p>{paragraphs}</div>"


def render_legend(entries: Iterable[tuple[str, str, str]], note: str = "") -> str:
    """A legend of lines, each (name, colour of `style.COLOURS`, line style "solid", "dashed" or "dotted")."""
    parts = [
        f'<span class=key style="border-top:3px {line_style} var(--{colour})"></span>{escape(name)}'
        for name, colour, line_style in entries
    ]
    return f"<p>{''.join(parts)}{'. ' if note else ''}{note}</p>"


def render_image(source: str, description: str) -> str:
    """An image with the text that screen readers read. `source` is a data URI."""
    return f'<img alt="{escape(description, quote=True)}" src="{source}">'


def format_length(km: float) -> str:
    """A length as text, in metres below one kilometre: "250 m", "6.2 km"."""
    return f"{km:.3g} km" if km >= 1 else f"{1000 * km:.3g} m"


def choose_scale_km(width_km: float) -> float:
    """The greatest length of 1, 2 or 5 × 10ⁿ km that is at most a third of a map's width."""
    limit_km = width_km * MAX_SCALE_SHARE
    power = 10.0 ** math.floor(math.log10(limit_km))
    return max(power * factor for factor in ROUND_FACTORS if power * factor <= limit_km * 1.0001)


def render_scale_bar(width_km: float) -> str:
    """A scale bar to stand below a map that is `width_km` wide."""
    length_km = choose_scale_km(width_km)
    share = 100 * length_km / width_km
    text = format_length(length_km)
    return f'<div class=scale style="width:{share:.2f}%"></div><div class=ends><span>{text}</span></div>'
