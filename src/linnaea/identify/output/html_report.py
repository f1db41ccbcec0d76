"""The report of a run as one HTML file: thumbnails, lineage, confidence at each rank, alternatives, reasons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from itertools import groupby, islice
from pathlib import Path

from linnaea.pages.images import encode_jpeg
from linnaea.pages.page import write_page
from linnaea.photos.decoding import Unreadable, decode_image
from linnaea.records import RANKS, Prediction

# A card weighs about 15 kB, nearly all of it the thumbnail.
MAX_CARDS = 500
THUMBNAIL_PX = 320
STATUS_WORDS = {"identified": "identified", "unidentified": "not identified", "unreadable": "unreadable"}
# In print, names of genera and species are italic, names of higher ranks are not.
ITALIC_RANKS = ("genus", "species")


def write_report(
    path: Path,
    rows: Iterable[tuple[str, Prediction]],
    counts: Mapping[str, int],
    identified_by: str = "",
    warning: str = "",
) -> None:
    """Write the report of `rows`, (path of the photograph, prediction); it shows at most MAX_CARDS photographs.

    `counts` are those of the whole run: `identified`, `unidentified`, `unreadable` and `rank:<rank>`. `warning` is what
    readers must know about the confidences.
    """
    total = sum(counts.get(status, 0) for status in STATUS_WORDS)
    header = _render_header(counts, total, identified_by, warning)
    write_page(path, f"Linnaea: {total:,} photographs", header, _render_cards(rows, total), layout="cards")


def encode_thumbnail(path: str, prediction: Prediction) -> str:
    """A JPEG of at most THUMBNAIL_PX a side as a data URI; "" if the photograph cannot be read."""
    image = decode_image(path, prediction.box, least_side=THUMBNAIL_PX)
    return "" if isinstance(image, Unreadable) else encode_jpeg(image, THUMBNAIL_PX)


def _render_cards(rows: Iterable[tuple[str, Prediction]], total: int) -> Iterator[str]:
    """A card for each photograph, then how many are left out."""
    n_cards = 0
    for _file, group in islice(groupby(rows, key=lambda row: (row[1].file, row[1].box)), MAX_CARDS):
        alternatives = list(group)
        yield _render_card(alternatives[0][0], [prediction for _path, prediction in alternatives])
        n_cards += 1
    if total > n_cards:
        yield f"<p>{total - n_cards:,} more are in the table.</p>"


def _render_header(counts: Mapping[str, int], total: int, identified_by: str, warning: str) -> str:
    """The head of the report: how many photographs, by status and by rank."""
    tiles = "".join(
        f"<li class={status}><b>{counts.get(status, 0):,}</b> {word}</li>" for status, word in STATUS_WORDS.items()
    )
    by = f"<p class=by>{escape(identified_by)}</p>" + (f"<p class=by><b>{escape(warning)}</b></p>" if warning else "")
    title = "What is in this photograph" if total == 1 else f"What is in these {total:,} photographs"
    left = f"<div><h1>{title}</h1>{by}<ul class=tiles>{tiles}</ul></div>"
    return f"<header class=cards-head>{left}{_render_ranks(counts)}</header>"


def _render_ranks(counts: Mapping[str, int]) -> str:
    """Bars of how many photographs were identified at each rank."""
    shares = []
    for rank in reversed(RANKS):
        if n := counts.get(f"rank:{rank}", 0):
            share = 100 * n / max(counts.get("identified", 0), 1)
            shares.append(
                f'<li><span>{rank}</span><span class=track><i style="width:{share:.1f}%"></i></span><b>{n:,}</b></li>'
            )
    return f"<ul class=ranks aria-label='identified at each rank'>{''.join(shares)}</ul>" if shares else ""


def _render_card(path: str, predictions: list[Prediction]) -> str:
    """One photograph with its best name and the alternatives."""
    first = predictions[0]
    body = _render_name(first) if first.status == "identified" else _render_reason(first)
    body += _render_path(first) + _render_alternatives(predictions[1:])
    return (
        f"<article class={first.status}>{_render_photo(path, first)}<div class=body>{body}"
        f"<p class=file title='{escape(first.file)}'><bdi>{escape(first.file)}</bdi></p></div></article>\n"
    )


def _render_photo(path: str, prediction: Prediction) -> str:
    source = encode_thumbnail(path, prediction)
    if not source:
        return '<div class="photo none" aria-hidden=true>no picture</div>'
    return f'<div class=photo><img loading=lazy alt="" src="{source}"></div>'


def _render_scientific(name: str, rank: str) -> str:
    return f"<i>{escape(name)}</i>" if rank in ITALIC_RANKS else escape(name)


def _render_name(prediction: Prediction) -> str:
    """Common and scientific name, rank, confidence and the lineage above."""
    common, scientific = prediction.common_name, _render_scientific(prediction.name, prediction.rank)
    title = escape(common[:1].upper() + common[1:]) if common else scientific
    under = f"<p class=scientific>{scientific}</p>" if common and common != prediction.name else ""
    rank = f"<span class=chip>{escape(prediction.rank)}</span>" if prediction.rank else ""
    above = [
        _render_scientific(name, rank)
        for rank, name in zip(RANKS, prediction.lineage, strict=True)
        if name and name != prediction.name
    ]
    crumbs = f"<nav aria-label=lineage>{'<span aria-hidden=true> › </span>'.join(above)}</nav>" if above else ""
    similarity = ""
    if prediction.similarity is not None:
        similarity = f"<span class=similarity>similarity {prediction.similarity:.2f}</span>"
    verdict = f"<p class=verdict>{rank}<b>{prediction.confidence or 0.0:.0%}</b> confident{similarity}</p>"
    return f"<h2>{title}</h2>{under}{verdict}{crumbs}"


def _render_reason(prediction: Prediction) -> str:
    reason = prediction.reason[:1].upper() + prediction.reason[1:]
    return f"<h2>{STATUS_WORDS[prediction.status].capitalize()}</h2><p class=reason>{escape(reason)}</p>"


def _render_path(prediction: Prediction) -> str:
    """The best taxon of each rank with its confidence; ranks below the answer are muted."""
    if not prediction.path_confidence:
        return ""
    given = RANKS.index(prediction.rank) if prediction.rank in RANKS else -1
    rows = []
    for best in prediction.path_confidence:
        muted = " class=muted" if RANKS.index(best.rank) > given else ""
        name = _render_scientific(best.name, best.rank)
        rows.append(
            f"<tr{muted}><th scope=row>{best.rank}</th><td>{name}</td><td class=track>"
            f'<i style="width:{100 * best.confidence:.1f}%"></i></td><td class=number>{best.confidence:.0%}</td></tr>'
        )
    return f"<table aria-label='confidence at each rank'>{''.join(rows)}</table>"


def _render_alternatives(predictions: list[Prediction]) -> str:
    """The other candidates, folded away."""
    if not predictions:
        return ""
    items = []
    for prediction in predictions:
        common = f" · {escape(prediction.common_name)}" if prediction.common_name else ""
        name = _render_scientific(prediction.name, prediction.rank)
        items.append(f"<li>{name}{common} <b>{prediction.confidence or 0:.0%}</b></li>")
    heading = f"{len(items)} alternative{'s' if len(items) > 1 else ''}"
    return f"<details><summary>{heading}</summary><ol start=2>{''.join(items)}</ol></details>"
