"""JPEG data to pixels in memory, and the memory that the pixels of all decoding threads share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image

START_OF_SCAN, END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"
# Two completions of data that end too early: different codes, whatever the tables.
FILLERS = (b"", bytes(range(1, 250, 7)) * 64)
# Share of the pixels that may be missing.
MOST_MISSING = 0.01


def decode_jpeg(data: bytes, size: tuple[int, int], buffer: np.ndarray) -> Image.Image | None:
    """An opaque RGBA image of JPEG data, with its pixels in `buffer`; None if Pillow should decode it.

    It uses the same libjpeg-turbo as Pillow and gives the same pixels to the last bit, in two thirds of the time: no
    suspended reading, no copy of each row. `size` is the stored width and height, or those divided by 2, 4 or 8 and
    rounded up. The result is None for any irregularity in the data, warnings included.
    """
    import simplejpeg

    width, height = size
    try:
        pixels_hwc = simplejpeg.decode_jpeg(data, "RGBA", min_height=height, min_width=width, buffer=buffer)
    except (ValueError, RuntimeError, KeyError):  # KeyError: a colour space without a name
        return None
    if pixels_hwc.shape != (height, width, 4):
        return None
    return Image.frombuffer("RGBA", size, pixels_hwc, "raw", "RGBA", 0, 1)


def lacks_end(data: bytes) -> bool:
    """Whether no end follows the last scan of JPEG data."""
    return data.rfind(END_OF_IMAGE) < data.rfind(START_OF_SCAN)


def decode_cut_jpeg(data: bytes, size: tuple[int, int]) -> Image.Image | None:
    """The image of JPEG data that ends a little too early; None if more than a hundredth of its pixels is missing.

    `size` is as in `decode_jpeg`. The data are completed in two ways; pixels that depend on the completion are missing.
    A progressive JPEG must have all its scans, since each adds to all pixels.
    """
    import simplejpeg

    data = data.rstrip(b"\0")  # what a card that fails writes
    if not _has_all_scans(data):
        return None
    width, height = size
    copies = []
    for filler in FILLERS:
        try:
            copy_hwc = simplejpeg.decode_jpeg(
                data + filler + END_OF_IMAGE, "RGB", min_height=height, min_width=width, strict=False
            )
        except (ValueError, RuntimeError, KeyError):
            return None
        if copy_hwc.shape != (height, width, 3):
            return None
        copies.append(copy_hwc)
    is_missing_hw = (copies[0] != copies[1]).any(axis=2)
    if is_missing_hw.mean() > MOST_MISSING:
        return None
    return Image.fromarray(copies[0])


def _has_all_scans(data: bytes) -> bool:
    """Whether the scans that begin in a JPEG hold every bit of every coefficient of every component."""
    # For each component and coefficient, the number of low bits that no scan has held yet.
    waiting: dict[int, list[int]] = {}
    for marker, body in _read_segments(data):
        if marker in (0xC0, 0xC1, 0xC2) and len(body) >= 6:
            waiting = {one: [16] * 64 for one in body[6 : 6 + 3 * body[5] : 3]}
        elif marker == START_OF_SCAN[1] and body and len(body) >= 4 + 2 * body[0]:
            first, last, low = body[-3], body[-2], body[-1] & 15
            for component in body[1 : 1 + 2 * body[0] : 2]:
                waiting.setdefault(component, [16] * 64)[first : last + 1] = [low] * (last + 1 - first)
    return bool(waiting) and not any(low for lows in waiting.values() for low in lows)


def _read_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of the segments of a JPEG, those between its scans too."""
    at = 2
    while 0 <= at <= len(data) - 4:
        marker = data[at + 1]
        if data[at] != 0xFF or marker in (0, 0xFF) or 0xD0 <= marker <= 0xD7:
            at = data.find(b"\xff", at + 1)  # within a scan: to the next byte that may begin a marker
            continue
        length = int.from_bytes(data[at + 2 : at + 4])
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + max(length, 2)


class PixelMemory:
    """Memory for the pixels of several images at once.

    An image waits while `limit` bytes are taken; an image larger than that is alone in memory.
    """

    def __init__(self, limit: int):
        self._limit = limit
        self._taken = 0
        self._spare: list[np.ndarray] = []
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, n_bytes: int) -> Iterator[None]:
        """Wait until `n_bytes` are free, and hold them for the block."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + n_bytes <= self._limit)
            self._taken += n_bytes
        try:
            yield
        finally:
            with self._changed:
                self._taken -= n_bytes
                self._changed.notify_all()

    @contextmanager
    def buffer(self, n_bytes: int) -> Iterator[np.ndarray]:
        """At least `n_bytes` of uint8 with arbitrary content, reused between images.

        To map new memory for 24 megapixels takes half as long as to decode them.
        """
        with self._changed:
            fitting = [i for i, spare in enumerate(self._spare) if len(spare) >= n_bytes]
            if fitting:
                found = self._spare.pop(min(fitting, key=lambda i: len(self._spare[i])))
            else:
                found = None
                del self._spare[-1:]  # too small: the new buffer replaces it
        found = np.empty(n_bytes, np.uint8) if found is None else found
        try:
            yield found
        finally:
            with self._changed:
                if len(found) <= self._limit // 4:
                    self._spare.append(found)

    def release(self) -> None:
        """Free the buffers that no image uses now."""
        with self._changed:
            self._spare.clear()
