"""Rectangles from a detector: which parts of which photographs to name."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from linnaea.photos.decoding import Unreadable, decode_image, read_size
from linnaea.photos.photo_files import FoundFile, printable_path
from linnaea.records import Box, ImageRecord
from linnaea.standards.tables import read_rows

BOX_CONFIDENCE = 0.2
CSV_COLUMNS = ("file", "left", "top", "right", "bottom")
# What detectors call people and vehicles; such boxes get a row that says so and are not named.
NOT_TO_NAME = {"person": "a person", "human": "a person", "people": "a person", "vehicle": "a vehicle"}
NO_BOX = "the detector found nothing"

Detector = Callable[[object], Iterable[Box]]


@dataclass(frozen=True, kw_only=True)
class Job(ImageRecord):
    """An image to name, or a row that is settled already: with `status` the file is not opened."""

    status: str = ""
    reason: str = ""

    @property
    def file(self) -> str:
        """What the table's column `file` says: the path, and for a box `#xywh=left,top,width,height` in pixels."""
        text = printable_path(self.path)
        if self.box is None:
            return text
        left, top = round(self.box.left), round(self.box.top)
        return f"{text}#xywh={left},{top},{round(self.box.right) - left},{round(self.box.bottom) - top}"


@dataclass(frozen=True, kw_only=True)
class BoxList:
    """Boxes by file as a detector wrote them; `relative` ones are fractions of the image's width and height.

    `failures` holds the detector's reason for each file that it could not look at.
    """

    path: Path
    boxes: dict[str, list[Box]]
    relative: bool = False
    failures: dict[str, str] = field(default_factory=dict)

    def find(self, path: str, roots: Sequence[str] = ()) -> list[Box] | None:
        """The boxes of a photograph, looked up as given and relative to `roots`; None where the list lacks it."""
        key = self._find_key(path, roots)
        return None if key is None else self.boxes[key]

    def find_failure(self, path: str, roots: Sequence[str] = ()) -> str:
        """Why the detector did not look at a photograph, "" where it did."""
        return self.failures.get(self._find_key(path, roots) or "", "")

    def _find_key(self, path: str, roots: Sequence[str]) -> str | None:
        tries = [path, os.path.abspath(path)]
        for root in (*roots, self.path.parent):
            relative = os.path.relpath(os.path.abspath(path), os.path.abspath(root))
            tries.append(relative)
        for text in tries:
            key = _key(text)
            if key in self.boxes:
                return key
        return None


def _key(path: str) -> str:
    return os.path.normpath(path).replace("\\", "/")


def load_boxes(path: Path, least_confidence: float = BOX_CONFIDENCE) -> BoxList:
    """The boxes of at least `least_confidence` in MegaDetector's JSON or in a CSV with file,left,top,right,bottom.

    A CSV counts pixels of the upright image, MegaDetector fractions. Raises FileNotFoundError, and ValueError for
    another form.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give MegaDetector's JSON or a CSV with {','.join(CSV_COLUMNS)}")
    if path.suffix.lower() == ".json":
        return _load_megadetector(path, least_confidence)
    boxes: dict[str, list[Box]] = {}
    for line, row in enumerate(read_rows(path), start=2):
        if missing := [column for column in CSV_COLUMNS if column not in row]:
            raise ValueError(f"{path} has no column {missing[0]}; it needs {','.join(CSV_COLUMNS)}[,confidence,label]")
        try:
            sides = {column: float(row[column]) for column in CSV_COLUMNS[1:]}
            confidence = float(row.get("confidence") or 1)
            if not all(map(math.isfinite, (*sides.values(), confidence))):
                raise ValueError
        except ValueError:
            raise ValueError(f"{path} line {line}: {list(row.values())} holds what is no number; give pixels") from None
        kept = boxes.setdefault(_key(row["file"]), [])
        if confidence >= least_confidence:
            kept.append(Box(**sides, confidence=confidence, label=row.get("label", "")))
    return BoxList(path=path, boxes=boxes)


def _load_megadetector(path: Path, least_confidence: float) -> BoxList:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        categories = content.get("detection_categories", {})
        boxes: dict[str, list[Box]] = {}
        failures: dict[str, str] = {}
        for image in content["images"]:
            found = boxes.setdefault(_key(image["file"]), [])
            if image.get("failure"):
                failures[_key(image["file"])] = str(image["failure"])
            for detection in image.get("detections") or ():
                left, top, width, height = detection["bbox"]
                if not all(map(math.isfinite, (left, top, width, height))):
                    raise ValueError(f"bbox {detection['bbox']} of {image['file']}")
                label = categories.get(str(detection["category"]), str(detection["category"]))
                box = Box(
                    left=left,
                    top=top,
                    right=left + width,
                    bottom=top + height,
                    confidence=detection["conf"],
                    label=label,
                )
                if box.confidence >= least_confidence:
                    found.append(box)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is not MegaDetector's batch output ({type(error).__name__}: {error})") from None
    return BoxList(path=path, boxes=boxes, relative=True, failures=failures)


def make_file_jobs(files: Iterable[FoundFile]) -> Iterator[Job]:
    """One job a file; folders that could not be listed are settled."""
    for file in files:
        yield Job(path=file.path, status="unreadable" if file.reason else "", reason=file.reason)


def make_box_jobs(files: Iterable[FoundFile], boxes: BoxList, roots: Sequence[str] = ()) -> Iterator[Job]:
    """One job a box; a file without any is settled as unidentified."""
    for file in files:
        found = [] if file.reason else boxes.find(file.path, roots)
        if file.reason:
            yield Job(path=file.path, status="unreadable", reason=file.reason)
            continue
        scale = (1.0, 1.0)
        if found and boxes.relative:
            size = read_size(file.path)
            if isinstance(size, Unreadable):
                yield Job(path=file.path, status="unreadable", reason=size.reason)
                continue
            scale = size
        none = f"no box for it in {boxes.path.name}" if found is None else NO_BOX
        if failure := boxes.find_failure(file.path, roots):
            none = f"the detector could not look at it: {failure}"
        yield from _jobs_in(file.path, found, scale, none)


def make_detector_jobs(files: Iterable[FoundFile], detector: Detector) -> Iterator[Job]:
    """One job for each box that `detector` gives for the upright image."""
    for file in files:
        image = Unreadable(file.reason) if file.reason else decode_image(file.path)
        if isinstance(image, Unreadable):
            yield Job(path=file.path, status="unreadable", reason=image.reason)
        else:
            yield from _jobs_in(file.path, list(detector(image)), (1.0, 1.0), NO_BOX)


def _jobs_in(path: str, boxes: list[Box] | None, scale: tuple[float, float], none: str) -> Iterator[Job]:
    if not boxes:
        yield Job(path=path, status="unidentified", reason=none)
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
        settled = NOT_TO_NAME.get(box.label.lower())
        reason = f"the detector sees {settled} (p={box.confidence:.2f})" if settled else ""
        yield Job(path=path, box=scaled, status="unidentified" if settled else "", reason=reason)
