"""The report of a run as an HTML page: whole photographs, names with counts, search, map, time line, events.

Up to `EMBEDDED_PHOTOS` photographs, the page is one file that one can send. With more, their thumbnails lie in a folder
beside it, since no browser opens a page of hundreds of megabytes. The page loads nothing from elsewhere.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from html import escape
from importlib.resources import files
from itertools import islice
from pathlib import Path

from linnaea.identify.output.report.photo_cards import PhotoContext, group_by_photo, make_card, make_thumbnail
from linnaea.pages.page import write_page
from linnaea.pages.world_outline import read_world_land
from linnaea.records import RANKS, Prediction
from linnaea.store import write_artifact

logger = logging.getLogger(__name__)

# A thumbnail weighs about 15 kB: 500 give a page of 8 MB, which still goes by e-mail.
EMBEDDED_PHOTOS = 500
# Photographs that a page shows at most; their records take about 1 kB each.
MAX_PHOTOS = 20_000
PHOTOS_A_PART = 64
STATUS_WORDS = {"identified": "identified", "unidentified": "not identified", "unreadable": "unreadable"}
# Kept in the folder of thumbnails, which a later report may then replace.
THUMBNAIL_MANIFEST = {"kind": "thumbnails"}

Describe = Callable[[str], PhotoContext]


def write_report(
    path: Path,
    rows: Iterable[tuple[str, Prediction]],
    counts: Mapping[str, int],
    identified_by: str = "",
    warning: str = "",
    *,
    describe: Describe = lambda path: PhotoContext(),
    events: Mapping[str, Mapping] | None = None,
) -> None:
    """Write the report of `rows`, (path of the photograph, prediction); those of one photograph are consecutive.

    `counts` are those of the whole run: `identified`, `unidentified`, `unreadable` and `rank:<rank>`. `warning` is what
    readers must know about the confidences. `describe` returns the time, the place and the event of a photograph.
    `events` holds, for each event, `names`: a list of {name, rank, common, confidence, count}. Raise ValueError if the
    folder for the thumbnails holds something else.
    """
    cards = group_by_photo(rows)
    first = list(islice(cards, EMBEDDED_PHOTOS + 1))
    folder_dir = path.with_name(f"{path.stem}_files")
    is_embedded = len(first) <= EMBEDDED_PHOTOS
    with nullcontext() if is_embedded else write_artifact(folder_dir, THUMBNAIL_MANIFEST) as thumbnails_dir:
        parts = _Parts(path.parent, thumbnails_dir, f"{folder_dir.name}/", describe)
        n_photos = sum(counts.get(status, 0) for status in STATUS_WORDS)
        header = _render_header(counts, identified_by, warning)
        script = _render_scripts(parts, parts.render(first, cards), events or {})
        write_page(path, f"Linnaea: {n_photos:,} photographs", header, script, layout="report")
    if parts.n_left_out:
        logger.warning(
            f"{path} shows the first {parts.n_photos:,} photographs; {parts.n_left_out:,} more are in the table only"
        )


class _Parts:
    """Renders the records of the photographs part by part; counts the photographs that it wrote and left out."""

    def __init__(self, report_dir: Path, thumbnails_dir: Path | None, prefix: str, describe: Describe):
        self._report_dir, self._thumbnails_dir = report_dir, thumbnails_dir
        self._prefix, self._describe = prefix, describe
        self.n_photos, self.n_left_out = 0, 0
        self.has_places = False

    def render(
        self, first: list[tuple[str, list[Prediction]]], rest: Iterator[tuple[str, list[Prediction]]]
    ) -> Iterator[str]:
        """Yield scripts with the records of at most MAX_PHOTOS photographs; those of `first` come before `rest`."""
        waiting = (photo for photos in (first, rest) for photo in photos)
        shown = islice(waiting, MAX_PHOTOS)
        with ThreadPoolExecutor() as pool:
            while chunk := list(islice(shown, PHOTOS_A_PART)):
                thumbnails = pool.map(make_thumbnail, [path for path, _predictions in chunk])
                cards = [self._make_card(*photo, data) for photo, data in zip(chunk, thumbnails, strict=True)]
                yield f"<script>report.add({_encode_script(cards)})</script>\n"
        self.n_left_out = sum(1 for _photo in waiting)

    def _make_card(self, path: str, predictions: list[Prediction], thumbnail: bytes) -> dict:
        card = make_card(path, predictions, self._describe(path), self._report_dir)
        self.has_places |= card["place"] is not None
        self.n_photos += 1
        return card | {"thumb": self._keep(thumbnail) if thumbnail else ""}

    def _keep(self, thumbnail: bytes) -> str:
        """The address of a thumbnail: a data URI, or a file in the folder beside the page."""
        if self._thumbnails_dir is None:
            return f"data:image/jpeg;base64,{base64.b64encode(thumbnail).decode()}"
        name = f"{self.n_photos:06}.jpg"
        (self._thumbnails_dir / name).write_bytes(thumbnail)
        return self._prefix + name


def _encode_script(value: object) -> str:
    """JSON that may stand in a script element: nothing in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # Lone surrogates come from file names; they cannot be written as UTF-8.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _render_scripts(parts: _Parts, cards: Iterator[str], events: Mapping[str, Mapping]) -> Iterator[str]:
    """The places that the script fills, the script, and its data."""
    here = files("linnaea.identify.output.report")
    yield f"<style>{here.joinpath('report.css').read_text(encoding='utf-8')}</style>"
    yield (
        "<div class=panel><section id=species></section><section id=places></section><section id=times></section></div>"
        "<div><div id=tools></div><div id=chosen></div><p id=count role=status></p><div class=pager></div>"
        "<div id=cards></div><div class=pager></div></div><dialog id=large aria-label='enlarged photograph'></dialog>"
        "<noscript>This page needs JavaScript to show the photographs. The table of the run holds the same names."
        "</noscript>"
    )
    yield f"<script>{here.joinpath('report.js').read_text(encoding='utf-8')}</script>\n"
    yield from cards
    yield f"<script>report.events={_encode_script(events)}</script>\n"
    if parts.has_places:
        yield f"<script>report.land={read_world_land()}</script>\n"


def _render_header(counts: Mapping[str, int], identified_by: str, warning: str) -> str:
    """The head of the report: how many photographs, by status and by rank."""
    total = sum(counts.get(status, 0) for status in STATUS_WORDS)
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
