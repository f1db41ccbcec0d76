"""Rectangles from a detector: which parts of which photographs to name."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from linnaea.photos.decoding import Unreadable, decode_image, read_size
from linnaea.photos.photo_files import FoundFile, format_path
from linnaea.records import Box, ImageRecord
from linnaea.standards.tables import read_rows

BOX_CONFIDENCE = 0.2
CSV_COLUMNS = ("file", "left", "top", "right", "bottom")
# Detector classes of people and vehicles, with their outcome: such boxes are not named, and their row says why.
NOT_TO_NAME = {"person": "human", "human": "human", "people": "human", "vehicle": "vehicle"}
_WORDS = {"human": "a person", "vehicle": "a vehicle"}
NO_BOX = "the detector found nothing"

Detector = Callable[[object], Iterable[Box]]


@dataclass(frozen=True, kw_only=True)
class Job(ImageRecord):
    """An image to name. If `outcome` is set, its row is known already and the file is not opened."""

    outcome: str = ""
    reason: str = ""

    @property
    def file(self) -> str:
        """The column `file` of its row."""
        return format_path(self.path)


@dataclass(frozen=True, kw_only=True)
class BoxList:
    """Boxes by file as a detector wrote them; `relative` boxes are fractions of the image's width and height.

    `failures` holds the detector's reason for each file that it could not read.
    """

    path: Path
    boxes: dict[str, list[Box]]
    relative: bool = False
    failures: dict[str, str] = field(default_factory=dict)

    def find(self, path: str, roots: Sequence[str] = ()) -> list[Box] | None:
        """The boxes of a photograph, looked up as given and relative to `roots`; None if the list lacks it."""
        key = self._find_key(path, roots)
        return None if key is None else self.boxes[key]

    def find_failure(self, path: str, roots: Sequence[str] = ()) -> str:
        """Why the detector could not read a photograph, "" if it could."""
        return self.failures.get(self._find_key(path, roots) or "", "")

    def _find_key(self, path: str, roots: Sequence[str]) -> str | None:
        candidates = [path, os.path.abspath(path)]
        candidates += [os.path.relpath(candidates[1], os.path.abspath(root)) for root in (*roots, self.path.parent)]
        return next((key for key in map(_make_key, candidates) if key in self.boxes), None)


def _make_key(path: str) -> str:
    return os.path.normpath(path).replace("\\", "/")


def load_boxes(path: Path, least_confidence: float = BOX_CONFIDENCE) -> BoxList:
    """The boxes of at least `least_confidence` in MegaDetector's JSON or in a CSV with file,left,top,right,bottom.

    A CSV holds pixels of the upright image, MegaDetector's JSON fractions. Raise FileNotFoundError if there is no file,
    ValueError for another format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"file {path} does not exist; give MegaDetector's JSON or a CSV with {','.join(CSV_COLUMNS)}"
        )
    if path.suffix.lower() == ".json":
        return _load_megadetector(path, least_confidence)
    boxes: dict[str, list[Box]] = {}
    for line, row in enumerate(read_rows(path), start=2):
        if missing := [column for column in CSV_COLUMNS if column not in row]:
            raise ValueError(f"{path} has no column {missing[0]}; it needs {','.join(CSV_COLUMNS)}[,confidence,label]")
        kept = boxes.setdefault(_make_key(row["file"]), [])
        box = _parse_box(row, f"{path} line {line}")
        if box.confidence >= least_confidence:
            kept.append(box)
    return BoxList(path=path, boxes=boxes)


def _parse_box(row: dict[str, str], place: str) -> Box:
    """The box in a row of a CSV. `place` begins the error message."""
    try:
        sides = {column: float(row[column]) for column in CSV_COLUMNS[1:]}
        confidence = float(row.get("confidence") or 1)
        if not all(map(math.isfinite, (*sides.values(), confidence))):
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{place}: sides and confidence in {list(row.values())} must be numbers; give pixels"
        ) from None
    return Box(**sides, confidence=confidence, label=row.get("label", ""))


def _load_megadetector(path: Path, least_confidence: float) -> BoxList:
    boxes: dict[str, list[Box]] = {}
    failures: dict[str, str] = {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        categories = content.get("detection_categories", {})
        for image in content["images"]:
            found = boxes.setdefault(_make_key(image["file"]), [])
            if image.get("failure"):
                failures[_make_key(image["file"])] = str(image["failure"])
            for detection in image.get("detections") or ():
                box = _parse_detection(detection, categories, image["file"])
                if box.confidence >= least_confidence:
                    found.append(box)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is not MegaDetector's batch output ({type(error).__name__}: {error})") from None
    return BoxList(path=path, boxes=boxes, relative=True, failures=failures)


def _parse_detection(detection: dict, categories: dict[str, str], file: str) -> Box:
    """A detection of MegaDetector as a box of fractions. Raise ValueError if a side is not finite."""
    left, top, width, height = detection["bbox"]
    if not all(map(math.isfinite, (left, top, width, height))):
        raise ValueError(f"bbox {detection['bbox']} of {file}")
    category = str(detection["category"])
    return Box(
        left=left,
        top=top,
        right=left + width,
        bottom=top + height,
        confidence=detection["conf"],
        label=categories.get(category, category),
    )


def make_file_jobs(files: Iterable[FoundFile]) -> Iterator[Job]:
    """Yield one job for each file; a folder that could not be listed has its outcome already."""
    for file in files:
        yield Job(path=file.path, outcome="unreadable" if file.reason else "", reason=file.reason)


def make_box_jobs(files: Iterable[FoundFile], boxes: BoxList, roots: Sequence[str] = ()) -> Iterator[Job]:
    """Yield one job for each box; a file without boxes has its outcome already."""
    for file in files:
        if file.reason:
            yield Job(path=file.path, outcome="unreadable", reason=file.reason)
            continue
        found, scale = boxes.find(file.path, roots), (1.0, 1.0)
        if found and boxes.relative:
            size = read_size(file.path)
            if isinstance(size, Unreadable):
                yield Job(path=file.path, outcome="unreadable", reason=size.reason)
                continue
            scale = size
        without = Job(path=file.path, outcome="no_detection", reason=NO_BOX)
        if found is None:
            without = Job(path=file.path, outcome="not_in_boxes", reason=f"no box for it in {boxes.path.name}")
        if failure := boxes.find_failure(file.path, roots):
            reason = f"the detector could not look at it: {failure}"
            without = Job(path=file.path, outcome="not_in_boxes", reason=reason)
        yield from _make_scaled_jobs(file.path, found, scale, without)


def make_detector_jobs(files: Iterable[FoundFile], detector: Detector) -> Iterator[Job]:
    """Yield one job for each box that `detector` returns for the upright image."""
    for file in files:
        image = Unreadable(file.reason) if file.reason else decode_image(file.path)
        if isinstance(image, Unreadable):
            yield Job(path=file.path, outcome="unreadable", reason=image.reason)
        else:
            without = Job(path=file.path, outcome="no_detection", reason=NO_BOX)
            yield from _make_scaled_jobs(file.path, list(detector(image)), (1.0, 1.0), without)


def _make_scaled_jobs(path: str, boxes: list[Box] | None, scale: tuple[float, float], without: Job) -> Iterator[Job]:
    """Yield one job for each box times `scale` (x, y), or the job `without` if there is no box."""
    if not boxes:
        yield without
        return
    for box in boxes:
        scaled = Box(
            left=box.left * scale[0],
            top=box.top * scale[1],
            right=box.right * scale[0],
            bottom=box.bottom * scale[1],
            confidence=box.confidence,
            label=box.label,
        )
        outcome = NOT_TO_NAME.get(box.label.lower(), "")
        reason = f"the detector sees {_WORDS[outcome]} (p={box.confidence:.2f})" if outcome else ""
        yield Job(path=path, box=scaled, outcome=outcome, reason=reason)
