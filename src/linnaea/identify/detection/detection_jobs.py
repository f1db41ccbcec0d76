"""Jobs: each photograph as a whole, or what is in its boxes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from linnaea.identify.detection.box_categories import find_outcome
from linnaea.identify.detection.box_collector import clip_box
from linnaea.identify.detection.box_list import BoxList
from linnaea.photos.decoding import Unreadable, decode_image, explain_error, read_size
from linnaea.photos.photo_files import FoundFile, format_path
from linnaea.photos.video import can_read_videos, is_video, plan_frames
from linnaea.records import Box, ImageRecord

logger = logging.getLogger(__name__)

_WORDS = {"human": "a person", "vehicle": "a vehicle"}
NO_BOX = "the detector found nothing"
VIDEO_BOXES = "a video; boxes of frames are not read, and without --boxes its frames are named as a whole"
OUTSIDE = "nothing of its boxes lies within the picture"
# Largest difference between the width-to-height ratios of an image and of that for which its boxes were made.
MOST_ASPECT_CHANGE = 0.02

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


def make_file_jobs(files: Iterable[FoundFile], frames: int = 1) -> Iterator[Job]:
    """Yield one job for each photograph, and at most `frames` for each video.

    A folder that could not be listed and a video that cannot be opened have their outcome already.
    """
    for file in files:
        if file.reason or not (is_video(file.path) and can_read_videos()):
            yield Job(path=file.path, outcome="unreadable" if file.reason else "", reason=file.reason)
            continue
        times = _plan_video(file.path, frames)
        if isinstance(times, Unreadable):
            yield Job(path=file.path, outcome="unreadable", reason=times.reason)
        else:
            yield from (Job(path=file.path, frame_time_s=time_s) for time_s in times)


def count_file_jobs(file: FoundFile, frames: int) -> int:
    """The number of jobs that `make_file_jobs` yields for a file."""
    if file.reason or not (is_video(file.path) and can_read_videos()):
        return 1
    times = _plan_video(file.path, frames)
    return 1 if isinstance(times, Unreadable) else len(times)


def _plan_video(path: str, frames: int) -> list[float] | Unreadable:
    try:
        return plan_frames(path, frames)
    except Exception as error:  # noqa: BLE001 (as for photographs, bad data is a row with its reason)
        return Unreadable(explain_error(error, path))


def make_box_jobs(files: Iterable[FoundFile], boxes: BoxList, roots: Sequence[str] = ()) -> Iterator[Job]:
    """Yield one job for each box; a file without boxes has its outcome already."""
    n_outside, first = 0, ""
    for file in files:
        if file.reason:
            yield Job(path=file.path, outcome="unreadable", reason=file.reason)
            continue
        if is_video(file.path) and can_read_videos():
            yield Job(path=file.path, outcome="not_in_boxes", reason=VIDEO_BOXES)
            continue
        key = boxes.find_key(file.path, roots)
        if key is None or not boxes.boxes[key]:
            yield _explain_no_box(file.path, boxes, key)
            continue
        kept = _place_boxes(file.path, boxes, key)
        if isinstance(kept, Job):
            yield kept
            continue
        if n_lost := len(boxes.boxes[key]) - len(kept):
            n_outside, first = n_outside + n_lost, first or file.path
        if not kept:
            yield Job(path=file.path, outcome="not_in_boxes", reason=OUTSIDE)
        yield from make_jobs_of_boxes(file.path, kept)
    if n_outside:
        logger.warning(
            f"{boxes.path}: boxes left out because they lie outside their picture: {n_outside:,} (the first in "
            f"{format_path(first)})"
        )


def _place_boxes(path: str, boxes: BoxList, key: str) -> list[Box] | Job:
    """The boxes of a photograph in its pixels, clipped to it; a job with the reason if they cannot be placed."""
    size = read_size(path)
    if isinstance(size, Unreadable):
        return Job(path=path, outcome="unreadable", reason=size.reason)
    stated = (1.0, 1.0) if boxes.relative else boxes.sizes.get(key, size)
    if not boxes.relative and abs(size[0] * stated[1] / (size[1] * stated[0]) - 1) > MOST_ASPECT_CHANGE:
        reason = f"its boxes are for a picture of {stated[0]:g} × {stated[1]:g} pixels, not {size[0]} × {size[1]}"
        return Job(path=path, outcome="not_in_boxes", reason=reason)
    scaled = [_scale(box, size[0] / stated[0], size[1] / stated[1]) for box in boxes.boxes[key]]
    return [clipped for box in scaled if (clipped := clip_box(box, *size)) is not None]


def _explain_no_box(path: str, boxes: BoxList, key: str | None) -> Job:
    """The job of a photograph without boxes: its row is known already."""
    if key is None:
        return Job(path=path, outcome="not_in_boxes", reason=f"no box for it in {boxes.path.name}")
    if failure := boxes.failures.get(key):
        return Job(path=path, outcome="not_in_boxes", reason=f"the detector could not look at it: {failure}")
    if key in boxes.outside:
        return Job(path=path, outcome="not_in_boxes", reason=OUTSIDE)
    return Job(path=path, outcome="no_detection", reason=NO_BOX)


def make_detector_jobs(files: Iterable[FoundFile], detector: Detector) -> Iterator[Job]:
    """Yield one job for each box that `detector` returns for the upright image."""
    for file in files:
        image = Unreadable(file.reason) if file.reason else decode_image(file.path)
        if isinstance(image, Unreadable):
            yield Job(path=file.path, outcome="unreadable", reason=image.reason)
        elif boxes := list(detector(image)):
            yield from make_jobs_of_boxes(file.path, boxes)
        else:
            yield Job(path=file.path, outcome="no_detection", reason=NO_BOX)


def _scale(box: Box, x: float, y: float) -> Box:
    return Box(
        left=box.left * x,
        top=box.top * y,
        right=box.right * x,
        bottom=box.bottom * y,
        confidence=box.confidence,
        label=box.label,
    )


def make_jobs_of_boxes(path: str, boxes: Iterable[Box]) -> Iterator[Job]:
    """Yield one job for each box in pixels; a box of a person or a vehicle has its outcome already."""
    for box in boxes:
        outcome = find_outcome(box.label)
        reason = f"the detector sees {_WORDS[outcome]} (p={box.confidence:.2f})" if outcome else ""
        yield Job(path=path, box=box, outcome=outcome, reason=reason)
