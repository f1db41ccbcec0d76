"""JPEG data to pixels in memory, and the memory that the pixels of all decoding threads share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image


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
