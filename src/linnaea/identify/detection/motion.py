"""Boxes where something moved within a burst: photographs against the median of their burst.

For camera traps without a detector. The camera must stand still; a burst needs three photographs. The background is the
median of the burst, pixel by pixel, after each photograph is brought to the same brightness and contrast. What differs
from it by more than the noise becomes a box. An animal that sits still in most photographs of a burst is part of the
background: photographs without a box are therefore named as a whole.

Shape suffixes: f photographs of a burst, h w pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from PIL import Image, ImageFilter

from linnaea.identify.detection.detection_jobs import Job, make_file_jobs, make_jobs_of_boxes
from linnaea.photos.decoding import Unreadable, decode_image, read_size
from linnaea.photos.photo_files import FoundFile
from linnaea.photos.video import is_video
from linnaea.records import Box
from linnaea.standards.events import group_events, parse_seconds

LEAST_BURST = 3
# The side of the small pictures in which motion is sought, in pixels.
SIDE = 320
# A difference counts if it is at least this many times the noise, and at least this many of 255 levels.
TIMES_NOISE, LEAST_DIFFERENCE = 6.0, 16.0
# Shares of the picture: a smaller patch is noise or a leaf; more change than this is the camera or the light.
LEAST_AREA, MOST_CHANGE = 0.003, 0.4
# Patches nearer to each other than this, in pixels of the small picture, are one animal.
CLOSING = 9
# Width of the surroundings of a pixel that count as its background.
TOLERANCE = 5
CELL = 4
# Margin around a patch, as a share of its longer side.
MARGIN = 0.1
MOST_BOXES = 4


def find_motion(grey_fhw: np.ndarray) -> list[list[tuple[float, float, float, float, float]]]:
    """For each photograph: (left, top, right, bottom, confidence) of what moved, sides as fractions, the largest first.

    `grey_fhw` are at least three photographs of one place, levels of 0 to 255.
    """
    even_fhw = np.stack([_even_out(grey_hw) for grey_hw in grey_fhw.astype(np.float32)])
    background = Image.fromarray(np.clip(np.median(even_fhw, axis=0), 0, 255).astype(np.uint8))
    # Wind and a loose camera move edges by a pixel or two: only what is lighter or darker than all of the background
    # around it counts.
    lowest_hw = np.asarray(background.filter(ImageFilter.MinFilter(TOLERANCE)), np.float32)
    highest_hw = np.asarray(background.filter(ImageFilter.MaxFilter(TOLERANCE)), np.float32)
    return [
        _find_patches(np.maximum(0, np.maximum(even_hw - highest_hw, lowest_hw - even_hw)))
        for even_hw in np.clip(even_fhw, 0, 255)
    ]


def _even_out(grey_hw: np.ndarray) -> np.ndarray:
    """The photograph with a fixed median and a fixed spread, so that exposure does not count as motion."""
    low, middle, high = np.percentile(grey_hw, (20, 50, 80))
    return (grey_hw - middle) * np.float32(60.0 / max(high - low, 10.0)) + np.float32(128)


def _find_patches(difference_hw: np.ndarray) -> list[tuple[float, float, float, float, float]]:
    height, width = difference_hw.shape
    levels = Image.fromarray(np.clip(difference_hw, 0, 255).astype(np.uint8)).filter(ImageFilter.BoxBlur(1.5))
    smooth_hw = np.asarray(levels, np.float32)
    threshold = max(LEAST_DIFFERENCE, TIMES_NOISE * float(smooth_hw.mean()))
    moved = Image.fromarray(np.where(smooth_hw > threshold, 255, 0).astype(np.uint8))
    closed = moved.filter(ImageFilter.MaxFilter(CLOSING)).filter(ImageFilter.MinFilter(CLOSING))
    closed_hw = np.asarray(closed) > 0
    if closed_hw.mean() > MOST_CHANGE:
        return []
    found = []
    for label, (top, left, bottom, right) in _list_patches(closed_hw):
        area = int(label.sum())
        if area < LEAST_AREA * width * height:
            continue
        contrast = float(smooth_hw[top:bottom, left:right][label].mean()) / threshold
        around = MARGIN * max(bottom - top, right - left)
        sides = ((left - around) / width, (top - around) / height, (right + around) / width, (bottom + around) / height)
        found.append((area, *(min(max(side, 0.0), 1.0) for side in sides), round(1 - 0.5 / max(contrast, 0.5), 3)))
    return [patch[1:] for patch in sorted(found, reverse=True)[:MOST_BOXES]]


def _list_patches(mask_hw: np.ndarray) -> Iterator[tuple[np.ndarray, tuple[int, int, int, int]]]:
    """Each connected patch: its mask within its bounds, and the bounds (top, left, bottom, right).

    Patches are connected through cells of CELL pixels a side, so that a search in plain Python is quick.
    """
    height, width = mask_hw.shape
    rows, columns = -(-height // CELL), -(-width // CELL)
    padded = np.zeros((rows * CELL, columns * CELL), bool)
    padded[:height, :width] = mask_hw
    waiting = set(map(tuple, np.argwhere(padded.reshape(rows, CELL, columns, CELL).any(axis=(1, 3))).tolist()))
    while waiting:
        cells, reached = [], [min(waiting)]
        waiting.discard(reached[0])
        while reached:
            row, column = reached.pop()
            cells.append((row, column))
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & waiting
            waiting -= near
            reached += sorted(near)
        inside_hw = np.zeros((rows, columns), bool)
        inside_hw[tuple(np.transpose(cells))] = True
        patch_hw = inside_hw.repeat(CELL, 0).repeat(CELL, 1)[:height, :width] & mask_hw
        down, across = np.flatnonzero(patch_hw.any(axis=1)), np.flatnonzero(patch_hw.any(axis=0))
        top, bottom, left, right = int(down[0]), int(down[-1]) + 1, int(across[0]), int(across[-1]) + 1
        yield patch_hw[top:bottom, left:right], (top, left, bottom, right)


def make_motion_jobs(
    files: Sequence[FoundFile], captures: Iterable[tuple[str, str]], gap_s: float, frames: int
) -> Iterator[Job]:
    """Yield one job for each box of motion, and one for each photograph without such a box, as a whole.

    `captures` holds deployment and capture time (ISO 8601 or "") of each file; photographs of one deployment at most
    `gap_s` apart are a burst.
    """
    numbers: dict[str, int] = {}
    deployments, times = [], []
    for deployment, captured_at in captures:
        deployments.append(numbers.setdefault(deployment, len(numbers)))
        times.append(parse_seconds(captured_at))
    event_n, _order = group_events(deployments, times, gap_s)
    bursts: dict[int, list[int]] = {}
    for i, event in enumerate(event_n.tolist()):
        bursts.setdefault(event, []).append(i)
    found: dict[int, list[Box]] = {}
    for i, file in enumerate(files):
        burst = bursts.pop(int(event_n[i]), None)  # at its first photograph, for all of its photographs
        if burst is not None and len(burst) >= LEAST_BURST:
            found |= _find_in_burst(burst, files)
        boxes = found.pop(i, [])
        yield from make_jobs_of_boxes(file.path, boxes) if boxes else make_file_jobs([file], frames)


def _find_in_burst(burst: list[int], files: Sequence[FoundFile]) -> dict[int, list[Box]]:
    """Number of a file -> its boxes, for photographs of the commonest size in the burst; empty for too few of them."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for i in burst:
        size = None if files[i].reason or is_video(files[i].path) else read_size(files[i].path)
        if isinstance(size, tuple):
            by_size.setdefault(size, []).append(i)
    if not by_size:
        return {}
    size, members = max(by_size.items(), key=lambda item: len(item[1]))
    small = [(i, grey_hw) for i in members if (grey_hw := _read_grey(files[i].path)) is not None]
    if len(small) < LEAST_BURST:
        return {}
    patches = find_motion(np.stack([grey_hw for _i, grey_hw in small]))
    width, height = size
    return {
        i: [
            Box(left=a * width, top=b * height, right=c * width, bottom=d * height, confidence=p, label="animal")
            for a, b, c, d, p in boxes
        ]
        for (i, _grey), boxes in zip(small, patches, strict=True)
        if boxes
    }


def _read_grey(path: str) -> np.ndarray | None:
    """The photograph in levels of grey, its longer side SIDE pixels; None if it cannot be read."""
    image = decode_image(path, least_side=SIDE)
    if isinstance(image, Unreadable):
        return None
    scale = SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return np.asarray(image.convert("L").resize(size, Image.Resampling.BOX))
