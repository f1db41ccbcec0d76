"""Stations: the folder of a photograph, without the folders that cameras make on their cards."""

from __future__ import annotations

import os
import re
import unicodedata

from linnaea.photos.photo_files import format_path

# Folders of cameras (JEITA CP-3461, "DCF"): DCIM, and in it three digits from 100 to 999 and five characters.
CARD_FOLDER = "dcim"
ROLL_OVER = re.compile(r"[1-9]\d\d[0-9A-Za-z_]{5}")
# Well-known ones, which are also recognised on a card that was copied without its folder DCIM.
KNOWN_ROLL_OVER = re.compile(
    r"[1-9]\d\d(RECNX|MEDIA|_BTCF|EK113|CANON|NIKON|OLYMP|_PANA|MSDCF|APPLE|IMAGE|DSCIM|CUDDY|STLTH)"
)


def find_station(path: str) -> str:
    """The station of the photograph at a path: its folder without DCIM and without the roll-over folders of cameras.

    "site 3/DCIM/100RECNX/a.jpg" and "site 3/DCIM/101RECNX/a.jpg" are of the station "site 3". "." is the station of
    photographs in the working directory.
    """
    folder = format_path(os.path.dirname(path)).replace(os.sep, "/")
    if not folder:
        return "."
    parts = folder.split("/")
    for at, part in enumerate(parts):
        if part.casefold() == CARD_FOLDER and all(map(ROLL_OVER.fullmatch, parts[at + 1 :])):
            parts = parts[:at]
            break
    while parts and KNOWN_ROLL_OVER.fullmatch(parts[-1].upper()):
        parts.pop()
    if parts == [""]:
        return "/"
    return "/".join(parts) or "."


def split_station(station: str) -> tuple[str, ...]:
    """The folders of a station, in one case and one Unicode form, to compare them."""
    folded = unicodedata.normalize("NFC", station).casefold().replace("\\", "/")
    return tuple(part.strip() for part in folded.split("/") if part.strip() not in ("", "."))
