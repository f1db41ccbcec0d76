"""Photographs with their rows, as the records that the script of the report shows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from linnaea.pages.images import encode_jpeg_bytes
from linnaea.photos.decoding import Unreadable, decode_image, read_size
from linnaea.records import Prediction

THUMBNAIL_PX = 320


@dataclass(frozen=True, kw_only=True)
class PhotoContext:
    """When and where a photograph was taken, and the event that it belongs to; unknown facts stay empty.

    `captured_at` is ISO 8601, coordinates are WGS 84 degrees, `event` is a key of the events of the report.
    """

    captured_at: str = ""
    latitude: float | None = None
    longitude: float | None = None
    station: str = ""
    event: str = ""


def group_by_photo(rows: Iterable[tuple[str, Prediction]]) -> Iterator[tuple[str, list[Prediction]]]:
    """Yield each photograph's path with all of its rows: every box, every alternative."""
    for path, group in groupby(rows, key=lambda row: row[0]):
        yield path, [prediction for _path, prediction in group]


def make_card(path: str, predictions: list[Prediction], context: PhotoContext, report_dir: Path) -> dict:
    """The record of a photograph without its thumbnail. `report_dir` is the folder of the report, for the link."""
    size = read_size(path)
    size = None if isinstance(size, Unreadable) else size
    place = None if None in (context.latitude, context.longitude) else [context.latitude, context.longitude]
    images = [list(group) for _place, group in groupby(predictions, key=lambda one: (one.box, one.frame_time_s))]
    return {
        "file": predictions[0].file,
        "url": make_link(path, report_dir),
        "size": size,
        "time": context.captured_at,
        "place": place,
        "station": context.station,
        "event": context.event,
        "images": [_make_image(rows, size) for rows in images],
    }


def make_thumbnail(path: str) -> bytes:
    """A JPEG of the whole photograph, at most THUMBNAIL_PX a side; empty if it cannot be read."""
    image = decode_image(path, least_side=THUMBNAIL_PX)
    return b"" if isinstance(image, Unreadable) else encode_jpeg_bytes(image, THUMBNAIL_PX)


def make_link(path: str, report_dir: Path) -> str:
    """The address of a photograph from the report: relative, or absolute if it lies on another drive."""
    full = os.path.abspath(path)
    try:
        relative = os.path.relpath(full, report_dir.resolve())
    except ValueError:  # another drive
        return "file:///" + _quote(full).lstrip("/")
    return _quote(relative)


def _quote(path: str) -> str:
    # Names that are not valid UTF-8 keep their bytes.
    return quote(os.fsencode(path.replace(os.sep, "/")), safe="/")


def _make_image(rows: list[Prediction], size: tuple[int, int] | None) -> dict:
    """The record of an image (a photograph or a box): its best row, and the alternatives."""
    first, box = rows[0], None
    if first.box is not None and size is not None:
        (width, height), edges = size, first.box
        box = [edges.left / width, edges.top / height]
        box += [(edges.right - edges.left) / width, (edges.bottom - edges.top) / height]
        box = [round(side, 4) for side in box]
    guess = [first.guess_rank, first.guess_name, first.guess_confidence] if first.guess_name else None
    return {
        "box": box,
        "note": _describe_note(first),
        "outcome": first.outcome,
        "reason": first.reason,
        "rank": first.rank,
        "name": first.name,
        "common": first.common_name,
        "confidence": first.confidence,
        "lineage": first.lineage if first.name else [],
        "guess": guess,
        "path": [[best.rank, best.name, best.confidence] for best in first.path_confidence],
        "others": [_make_alternative(row) for row in rows[1:]],
    }


def _describe_note(row: Prediction) -> str:
    """The time of a frame in its video, and what is noteworthy about a photograph that got a name."""
    frame = "" if row.frame_time_s is None else f"{row.frame_time_s:g} s from the start"
    return "; ".join(filter(None, (frame, row.reason if row.outcome == "named" else "")))


def _make_alternative(row: Prediction) -> list:
    """Name, rank, common name and confidence of an alternative, or of a candidate of an image without a name."""
    if row.name:
        return [row.name, row.rank, row.common_name, row.confidence]
    return [row.guess_name, row.guess_rank, row.common_name, row.guess_confidence]
