"""JPEG data straight from memory into pixels, and the memory that the pixels of all decoding threads share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image


def decode_jpeg(data: bytes, size: tuple[int, int], buffer: np.ndarray) -> Image.Image | None:
    """An RGBA image, opaque everywhere, of JPEG data whose pixels lie in `buffer`; None where Pillow should decide.

    The same libjpeg-turbo as Pillow's and the same pixels to the last bit, in two thirds of the time: no suspended
    reading, no copy of each row. `size` is the stored width and height, or those divided by 2, 4 or 8 and rounded up.
    None comes of whatever is odd in the data, warnings included.
    """
    import simplejpeg

    width, height = size
    try:
        pixels_hwc = simplejpeg.decode_jpeg(data, "RGBA", min_height=height, min_width=width, buffer=buffer)
    except (ValueError, RuntimeError, KeyError):  # the last is a colour space without a name
        return None
    if pixels_hwc.shape != (height, width, 4):
        return None
    return Image.frombuffer("RGBA", size, pixels_hwc, "raw", "RGBA", 0, 1)


class PixelMemory:
    """Room for the pixels of several images: one waits while `limit` bytes are taken; one larger than that goes alone."""

    def __init__(self, limit: int):
        self._limit = limit
        self._taken = 0
        self._spare: list[np.ndarray] = []
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, n_bytes: int) -> Iterator[None]:
        """Waits until there is room for so many bytes, and holds it."""
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
        """At least so many bytes, uint8, that hold what another image left in them.

        Fresh memory for 24 megapixels takes as long to be mapped in as half of their decoding.
        """
        with self._changed:
            fitting = [i for i, spare in enumerate(self._spare) if len(spare) >= n_bytes]
            if fitting:
                found = self._spare.pop(min(fitting, key=lambda i: len(self._spare[i])))
            else:
                found = None
                del self._spare[-1:]  # too small, and the new one takes its place
        found = np.empty(n_bytes, np.uint8) if found is None else found
        try:
            yield found
        finally:
            with self._changed:
                if len(found) <= self._limit // 4:
                    self._spare.append(found)

    def release(self) -> None:
        """Gives back what no image uses now."""
        with self._changed:
            self._spare.clear()
