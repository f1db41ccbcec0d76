"""A run as one HTML file that needs nothing else: thumbnails, lineage, confidence at each rank, reasons."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape
from itertools import groupby
from pathlib import Path

from PIL import Image

from linnaea.identify.output.style import STYLE
from linnaea.photos.decoding import Unreadable, decode_image
from linnaea.records import RANKS, Prediction
from linnaea.store import atomic_path

# A card weighs about 15 kB, nearly all of it the thumbnail.
MAX_CARDS = 500
THUMBNAIL_PX = 320
QUALITY = 72
STATUS_WORDS = {"identified": "identified", "unidentified": "not identified", "unreadable": "unreadable"}
# Above genus, names stand upright in print.
ITALIC_RANKS = ("genus", "species")


def write_report(
    path: Path,
    rows: Iterable[tuple[str, Prediction]],
    counts: dict[str, int],
    identified_by: str = "",
    warning: str = "",
) -> None:
    """Writes the report of rows that come with the paths of their photographs; at most MAX_CARDS are shown.

    `counts` are those of the whole run: `identified`, `unidentified`, `unreadable` and `rank:<rank>`.
    `warning` is what a reader must know of the confidences.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    cards = 0
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        handle.write(_head(counts, identified_by, warning))
        for _file, group in groupby(rows, key=lambda row: row[1].file):
            alternatives = list(group)
            handle.write(_card(alternatives[0][0], [prediction for _path, prediction in alternatives]))
            cards += 1
            if cards == MAX_CARDS:
                break
        total = _total(counts)
        more = f"<p class=more>{total - cards:,} more are in the table.</p>" if total > cards else ""
        handle.write(f"</main>{more}</body></html>\n")


def _total(counts: dict[str, int]) -> int:
    return sum(counts.get(status, 0) for status in STATUS_WORDS)


def _head(counts: dict[str, int], identified_by: str, warning: str) -> str:
    total = _total(counts)
    tiles = "".join(
        f"<li class={status}><b>{counts.get(status, 0):,}</b> {word}</li>" for status, word in STATUS_WORDS.items()
    )
    shares = []
    identified = counts.get("identified", 0)
    for rank in reversed(RANKS):
        if n := counts.get(f"rank:{rank}", 0):
            share = 100 * n / max(identified, 1)
            shares.append(
                f'<li><span>{rank}</span><span class=track><i style="width:{share:.1f}%"></i></span><b>{n:,}</b></li>'
            )
    by = f"<p class=by>{escape(identified_by)}</p>" + (f"<p class=by><b>{escape(warning)}</b></p>" if warning else "")
    by_rank = f"<ul class=ranks aria-label='identified at each rank'>{''.join(shares)}</ul>" if shares else ""
    return (
        '<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width,'
        f'initial-scale=1"><title>Linnaea: {total:,} photographs</title><style>{STYLE}</style></head><body>'
        f"<header><div><h1>What is in {'this photograph' if total == 1 else f'these {total:,} photographs'}</h1>"
        f"{by}<ul class=tiles>{tiles}</ul></div>{by_rank}</header><main>"
    )


def _card(path: str, predictions: list[Prediction]) -> str:
    first = predictions[0]
    body = _named(first) if first.status == "identified" else _refused(first)
    body += _path_bars(first) + _alternatives(predictions[1:])
    return (
        f"<article class={first.status}>{_figure(path, first)}<div class=body>{body}"
        f"<p class=file title='{escape(first.file)}'><bdi>{escape(first.file)}</bdi></p></div></article>\n"
    )


def _figure(path: str, prediction: Prediction) -> str:
    uri = thumbnail_uri(path, prediction)
    if not uri:
        return '<div class="photo none" aria-hidden=true>no picture</div>'
    return f'<div class=photo><img loading=lazy alt="" src="{uri}"></div>'


def thumbnail_uri(path: str, prediction: Prediction) -> str:
    """A JPEG of at most THUMBNAIL_PX a side as a data URI; "" where the photograph cannot be read."""
    image = decode_image(path, prediction.box, least_side=THUMBNAIL_PX)
    if isinstance(image, Unreadable):
        return ""
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _scientific(name: str, rank: str) -> str:
    return f"<i>{escape(name)}</i>" if rank in ITALIC_RANKS else escape(name)


def _named(prediction: Prediction) -> str:
    common, scientific = prediction.common_name, _scientific(prediction.name, prediction.rank)
    title = escape(common[:1].upper() + common[1:]) if common else scientific
    under = f"<p class=scientific>{scientific}</p>" if common and common != prediction.name else ""
    confidence = prediction.confidence or 0.0
    rank = f"<span class=chip>{escape(prediction.rank)}</span>" if prediction.rank else ""
    above = [
        _scientific(name, rank)
        for rank, name in zip(RANKS, prediction.lineage, strict=True)
        if name and name != prediction.name
    ]
    crumbs = f"<nav aria-label=lineage>{'<span aria-hidden=true> › </span>'.join(above)}</nav>" if above else ""
    similarity = (
        "" if prediction.similarity is None else f"<span class=similarity>similarity {prediction.similarity:.2f}"
    )
    similarity += "</span>" if similarity else ""
    return f"<h2>{title}</h2>{under}<p class=verdict>{rank}<b>{confidence:.0%}</b> confident{similarity}</p>{crumbs}"


def _refused(prediction: Prediction) -> str:
    reason = prediction.reason[:1].upper() + prediction.reason[1:]
    return f"<h2>{STATUS_WORDS[prediction.status].capitalize()}</h2><p class=reason>{escape(reason)}</p>"


def _path_bars(prediction: Prediction) -> str:
    """The best taxon of each rank with its confidence, those below the answer muted."""
    if not prediction.path_confidence:
        return ""
    given = RANKS.index(prediction.rank) if prediction.rank in RANKS else -1
    lines = []
    for best in prediction.path_confidence:
        percent = f"{best.confidence:.0%}"
        muted = " class=muted" if RANKS.index(best.rank) > given else ""
        lines.append(
            f"<tr{muted}><th scope=row>{best.rank}</th><td>{_scientific(best.name, best.rank)}</td><td class=track>"
            f'<i style="width:{100 * best.confidence:.1f}%"></i></td><td class=number>{percent}</td></tr>'
        )
    return f"<table aria-label='confidence at each rank'>{''.join(lines)}</table>"


def _alternatives(predictions: list[Prediction]) -> str:
    if not predictions:
        return ""
    lines = []
    for prediction in predictions:
        common = f" · {escape(prediction.common_name)}" if prediction.common_name else ""
        name = _scientific(prediction.name, prediction.rank)
        lines.append(f"<li>{name}{common} <b>{prediction.confidence or 0:.0%}</b></li>")
    heading = f"{len(lines)} alternative{'s' if len(lines) > 1 else ''}"
    return f"<details><summary>{heading}</summary><ol start=2>{''.join(lines)}</ol></details>"
