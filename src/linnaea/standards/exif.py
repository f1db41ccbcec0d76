"""When and where a photograph was taken, from its EXIF block or XMP packet. What cannot be right is kept apart."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from PIL import Image

from linnaea.photos.decoding import ORIENTATION_TAG, RAW_MEDIA_TYPES, open_image
from linnaea.photos.video import MEDIA_TYPES, can_read_videos, is_video, read_video_tags
from linnaea.standards.capture.clocks import clean_text, format_time, is_plausible, parse_clock
from linnaea.standards.capture.places import is_null_island, parse_coordinate

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
MODEL, MAKE = 0x0110, 0x010F
# Date fields with the field of their offset from UTC and that of their fraction of a second.
ORIGINAL = (0x9003, 0x9011, 0x9291)
DIGITIZED = (0x9004, 0x9012, 0x9292)
CHANGED = (0x0132, 0x9010, 0x9290)
GPS_TIME, GPS_DATE = 7, 29
XMP_DATES = ("exif:DateTimeOriginal", "photoshop:DateCreated", "xmp:CreateDate")


@dataclass(frozen=True, kw_only=True)
class PhotoMetadata:
    """What the header of a photograph says about it.

    `event_date` is ISO 8601, with the offset from UTC if the camera recorded it; coordinates are WGS 84 degrees. What
    cannot be right stands apart: `rejected_date` is the date of an implausible clock (ISO 8601, or the text of a date
    that does not exist), `rejected_place` says which coordinates are no place.
    """

    event_date: str = ""
    rejected_date: str = ""
    latitude: float | None = None
    longitude: float | None = None
    rejected_place: str = ""
    camera: str = ""
    width: int = 0
    height: int = 0
    media_type: str = ""


def read_photo_metadata(path: str | os.PathLike, now: datetime | None = None) -> PhotoMetadata:
    """The metadata in the header; fields stay empty if the header lacks them or cannot be read.

    Clocks later than a day after `now` (with zone; default: the present) are implausible. The time of the file is not
    read: copies and downloads change it.
    """
    try:
        if is_video(path):
            return _read_video_metadata(path, now) if can_read_videos() else PhotoMetadata()
        with ExitStack() as held:
            image, _handle = open_image(held, path)
            exif = image.getexif()
            width, height = image.size
            if image.format != "TIFF" and exif.get(ORIENTATION_TAG, 1) in (5, 6, 7, 8):
                width, height = height, width
            details, gps = exif.get_ifd(EXIF_IFD), exif.get_ifd(GPS_IFD)
            camera = " ".join(clean_text(exif.get(tag)) for tag in (MAKE, MODEL)).strip()
            date = _find_date({**exif, **details}, gps, image.info.get("xmp") or exif.get(700) or b"", now)
            return PhotoMetadata(
                **date,
                **_find_place(gps),
                camera=camera,
                width=width,
                height=height,
                media_type=RAW_MEDIA_TYPES.get(Path(path).suffix.lower()) or Image.MIME.get(image.format, ""),
            )
    except Exception:  # noqa: BLE001 (a damaged header must not end the run, as in linnaea.photos.decoding)
        return PhotoMetadata()


def _read_video_metadata(path: str | os.PathLike, now: datetime | None) -> PhotoMetadata:
    tags = read_video_tags(path)
    place = {}
    # ISO 6709: latitude, longitude, and perhaps a height.
    if found := re.match(r"([+-]\d+\.\d+)([+-]\d+\.\d+)", tags["place"]):
        latitude, longitude = float(found[1]), float(found[2])
        is_place = abs(latitude) <= 90 and abs(longitude) <= 180 and not is_null_island(latitude, longitude)
        place = (
            {"latitude": latitude, "longitude": longitude}
            if is_place
            else {"rejected_place": f"{latitude:g},{longitude:g}"}
        )
    return PhotoMetadata(
        **_choose_date([(tags["date"], "", "")], now),
        **place,
        width=int(tags["width"]),
        height=int(tags["height"]),
        media_type=MEDIA_TYPES[Path(path).suffix.lower()],
    )


def _find_date(exif: dict, gps: dict, xmp: bytes | str, now: datetime | None) -> dict[str, str]:
    """The fields of PhotoMetadata about the date, from the first date field that is set."""
    return _choose_date(_list_dates(exif, gps, xmp), now)


def _choose_date(dates: Iterable[tuple[object, object, object]], now: datetime | None) -> dict[str, str]:
    for text, offset, fraction in dates:
        try:
            when = parse_clock(text, offset, fraction)
        except ValueError:
            return {"rejected_date": clean_text(text)}
        if when is not None:
            field = "event_date" if is_plausible(when, now) else "rejected_date"
            return {field: format_time(when)}
    return {}


def _list_dates(exif: dict, gps: dict, xmp: bytes | str) -> Iterator[tuple[object, object, object]]:
    """Yield the date fields, each with its offset and its fraction; those that editing programs change come last."""
    for date, offset, fraction in (ORIGINAL, DIGITIZED):
        yield exif.get(date), exif.get(offset) or exif.get(CHANGED[1]), exif.get(fraction)
    text = xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else str(xmp)
    for name in XMP_DATES:
        # A day without a time of day gives no capture time.
        if found := re.search(rf"{name}\s*(?:=\s*[\"']|>)\s*(\d{{4}}[^\"'<]*T[^\"'<]*)", text):
            yield found[1], "", ""
    if gps_time := _format_gps_time(gps):
        yield gps_time, "Z", ""
    date, offset, fraction = CHANGED
    yield exif.get(date), exif.get(offset), exif.get(fraction)


def _format_gps_time(gps: dict) -> str:
    """The time of the receiver in UTC, "" without a date or a readable time."""
    try:
        hours, minutes, seconds = (int(part) for part in gps[GPS_TIME])
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        return ""
    date = clean_text(gps.get(GPS_DATE))
    return f"{date} {hours:02}:{minutes:02}:{seconds:02}" if date else ""


def _find_place(gps: dict) -> dict:
    """The fields of PhotoMetadata about the place."""
    if gps.get(2) is None and gps.get(4) is None:
        return {}
    try:
        latitude = parse_coordinate(gps.get(2), gps.get(1), 90)
        longitude = parse_coordinate(gps.get(4), gps.get(3), 180)
    except ValueError as problem:
        return {"rejected_place": str(problem)}
    if is_null_island(latitude, longitude):
        return {"rejected_place": f"{latitude:g},{longitude:g}"}
    return {"latitude": latitude, "longitude": longitude}
