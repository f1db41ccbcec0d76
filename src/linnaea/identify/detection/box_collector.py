"""Collects what a reader finds in a file of boxes: numbers are checked, pixels told from fractions, boxes clipped."""

from __future__ import annotations

import logging
import math
from pathlib import Path

from linnaea.identify.detection.box_categories import is_blank
from linnaea.identify.detection.box_list import BoxList, make_box_key
from linnaea.records import Box
from linnaea.standards.table_reading.decimal_numbers import parse_decimal

logger = logging.getLogger(__name__)

UNITS = ("auto", "fractions", "pixels")
# Fractions may pass the edge of the picture a little, by rounding or by a detector that predicts the hidden part.
MOST_FRACTION = 1.1
# Below this, sides may be fractions that pass the edge, or pixels.
LEAST_PIXELS = 10.0


def parse_box_number(value: object, what: str, place: str) -> float:
    """The finite number in a value of a table or of JSON, text or not. Raise ValueError that begins with `place`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    number = float(value) if is_number else parse_decimal(value) if isinstance(value, str) else math.nan
    if not math.isfinite(number):
        raise ValueError(f"{place}: {what} {value!r} must be a finite number; correct or delete this box")
    return number


class BoxCollector:
    """The boxes of a file of boxes, while it is read.

    `stated` are the units that the format states ("fractions", "pixels" or ""); `units` are those that the user states.
    """

    def __init__(self, path: Path, least_confidence: float, *, units: str = "auto", stated: str = ""):
        self._path, self._least_confidence, self._units, self._stated = path, least_confidence, units, stated
        self._found: dict[str, list[tuple[Box, str]]] = {}
        self._failures: dict[str, str] = {}
        self._sizes: dict[str, tuple[float, float]] = {}
        self._videos: set[str] = set()

    def add_file(self, file: object, place: str, *, failure: object = "", size: tuple | None = None) -> str:
        """Note a file, which may have no box; returns its key. Raise ValueError if it has no name."""
        if not isinstance(file, str) or not file.strip():
            raise ValueError(f"{place} names no file; give the path of its photograph")
        key = make_box_key(file)
        self._found.setdefault(key, [])
        if failure:
            self._failures[key] = " ".join(str(failure).split())
        if size is not None:
            self._sizes[key] = size
        return key

    def add_video(self, key: str) -> None:
        """Note that a file is a video."""
        self._videos.add(key)

    def add_box(self, key: str, sides: tuple, place: str, *, confidence: object = 1.0, label: str = "") -> None:
        """Note a box of a file by its left, top, right and bottom side."""
        names = ("left", "top", "right", "bottom")
        numbers = [parse_box_number(side, name, place) for side, name in zip(sides, names, strict=True)]
        number = parse_box_number(confidence, "confidence", place)
        if not -1e-6 <= number <= 1 + 1e-6:
            raise ValueError(f"{place}: confidence {number:g} must be between 0 and 1")
        if is_blank(label):
            return
        left, top, right, bottom = numbers
        box = Box(left=left, top=top, right=right, bottom=bottom, confidence=number, label=label)
        self._found[key].append((box, place))

    def finish(self) -> BoxList:
        """The list of the boxes that are confident enough. Raise ValueError if their units cannot be told."""
        relative = self._choose_units() == "fractions"
        boxes: dict[str, list[Box]] = {}
        outside, n_dropped, n_repeated = set(), 0, 0
        for key, found in self._found.items():
            confident = [box for box, _place in found if box.confidence >= self._least_confidence]
            distinct = list(dict.fromkeys(confident))
            n_repeated += len(confident) - len(distinct)
            kept = [clipped for box in distinct if (clipped := _clip(box, relative)) is not None]
            n_dropped += len(distinct) - len(kept)
            boxes[key] = kept
            if distinct and not kept:
                outside.add(key)
        if n_dropped:
            logger.warning(
                f"{self._path}: boxes left out because nothing of them lies within their picture: {n_dropped:,}"
            )
        if n_repeated:
            logger.info(f"{self._path}: boxes that are in it more than once and count once: {n_repeated:,}")
        return BoxList(
            path=self._path,
            boxes=boxes,
            relative=relative,
            failures={key: reason for key, reason in self._failures.items() if not self._found[key]},
            sizes=self._sizes,
            videos=frozenset(self._videos),
            outside=frozenset(outside),
        )

    def _choose_units(self) -> str:
        """Fractions or pixels, as the user says or the format and the numbers say together."""
        if self._units != "auto":
            return self._units
        every = [pair for found in self._found.values() for pair in found]
        if not every:
            return self._stated or "pixels"
        box, place = max(every, key=lambda pair: _measure(pair[0]))
        most = _measure(box)
        if self._stated == "fractions":
            if most >= LEAST_PIXELS:
                raise ValueError(
                    f"{place}: a side of {most:g} in a format of fractions; if these are pixels, add --box-units pixels"
                )
            return "fractions"
        if most <= MOST_FRACTION:
            return "fractions"
        if most < LEAST_PIXELS:
            raise ValueError(
                f"{place}: sides up to {most:g} may be fractions or pixels; add --box-units fractions or "
                "--box-units pixels"
            )
        for box, place in every:
            if 0 < _measure(box) <= 1 and not float(box.right).is_integer():
                raise ValueError(
                    f"{place}: fractions ({box.right:g}) among boxes in pixels (up to {most:g}); "
                    "correct it, or add --box-units pixels"
                )
        return "pixels"


def _measure(box: Box) -> float:
    return max(abs(box.left), abs(box.top), abs(box.right), abs(box.bottom))


def _clip(box: Box, relative: bool) -> Box | None:
    return clip_box(box, *((1.0, 1.0) if relative else (math.inf, math.inf)))


def clip_box(box: Box, width: float, height: float) -> Box | None:
    """The part of a box within an image of this size; None if nothing is left."""
    left, top = max(0.0, box.left), max(0.0, box.top)
    right, bottom = min(float(width), box.right), min(float(height), box.bottom)
    if right <= left or bottom <= top:
        return None
    return Box(left=left, top=top, right=right, bottom=bottom, confidence=box.confidence, label=box.label)
