"""When and where a photograph was taken, from its EXIF block."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime

from PIL import Image

from linnaea.photos.decoding import ORIENTATION_TAG, list_readable_formats

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
DATE_TIME_ORIGINAL, OFFSET_TIME_ORIGINAL = 0x9003, 0x9011
MODEL, MAKE = 0x0110, 0x010F
EARLIEST_YEAR = 1980  # cameras without a set clock write 1970 or earlier


@dataclass(frozen=True, kw_only=True)
class PhotoMetadata:
    """What the header of a photograph and its file say about it.

    `event_date` is ISO 8601, with the offset from UTC if the camera recorded it; coordinates are WGS 84 degrees.
    `modified_s` is the file's own time in seconds since 1970, 0 if there is no file.
    """

    event_date: str = ""
    latitude: float | None = None
    longitude: float | None = None
    camera: str = ""
    width: int = 0
    height: int = 0
    media_type: str = ""
    modified_s: int = 0


def read_photo_metadata(path: str | os.PathLike) -> PhotoMetadata:
    """The metadata in the header; fields stay empty if the header lacks them or cannot be read."""
    modified_s = 0
    try:
        modified_s = int(os.stat(path).st_mtime)
        with open(path, "rb") as handle, Image.open(handle, formats=list_readable_formats()) as image:
            exif = image.getexif()
            width, height = image.size
            if image.format != "TIFF" and exif.get(ORIENTATION_TAG, 1) in (5, 6, 7, 8):
                width, height = height, width
            details, gps = exif.get_ifd(EXIF_IFD), exif.get_ifd(GPS_IFD)
            camera = " ".join(str(exif.get(tag, "")).strip("\0 ") for tag in (MAKE, MODEL)).strip()
            return PhotoMetadata(
                event_date=_parse_event_date(details),
                latitude=_parse_degrees(gps.get(2), gps.get(1), 90),
                longitude=_parse_degrees(gps.get(4), gps.get(3), 180),
                camera=camera,
                width=width,
                height=height,
                media_type=Image.MIME.get(image.format, ""),
                modified_s=modified_s,
            )
    except Exception:  # noqa: BLE001 (a damaged header must not end the run, as in linnaea.photos.decoding)
        return PhotoMetadata(modified_s=modified_s)


def _parse_event_date(details: dict) -> str:
    text = str(details.get(DATE_TIME_ORIGINAL, "")).strip("\0 ")
    try:
        when = datetime.strptime(text, "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return ""
    if when.year < EARLIEST_YEAR:
        return ""
    offset = str(details.get(OFFSET_TIME_ORIGINAL, "")).strip("\0 ")
    try:
        return datetime.fromisoformat(when.isoformat() + offset).isoformat()
    except ValueError:
        return when.isoformat()


def _parse_degrees(parts, reference, limit: int) -> float | None:
    try:
        degrees, minutes, seconds = (float(part) for part in parts)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    value = degrees + minutes / 60 + seconds / 3600
    if not 0 <= value <= limit or not reference:
        return None
    return round(-value if str(reference).strip("\0 ").upper() in ("S", "W") else value, 6)
