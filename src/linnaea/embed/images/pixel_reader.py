"""The pixels of a photograph as a model sees them.

Shape suffixes: h w pixels, c channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from linnaea.model.core.contract import Preprocess
from linnaea.model.core.preprocessing import preprocess_image
from linnaea.photos.decoding import NOTE, Unreadable, use_image
from linnaea.photos.orientation import Turn
from linnaea.records import ImageRecord

# `scaled` decoding keeps at least this multiple of the model's input side: at twice the input the antialiased resize
# that follows still has nearly all the detail that it needs.
OVERSAMPLING = 2


@dataclass(frozen=True)
class NotedPixels:
    """Pixels with what is noteworthy about their photograph."""

    pixels_hwc: np.ndarray
    note: str


Decode = Callable[[ImageRecord], "np.ndarray | NotedPixels | Unreadable"]


def read_pixels(
    record: ImageRecord, preprocess: Preprocess, decoding: str = "exact"
) -> np.ndarray | NotedPixels | Unreadable:
    """The pixels of a record as the model sees them, uint8 [size, size, 3], or the reason why there are none.

    With `decoding` `scaled`, large photographs are shrunk by whole factors while they are decoded; `exact` takes every
    pixel.
    """
    least_side = OVERSAMPLING * preprocess.size if decoding == "scaled" else 0

    def see(image: Image.Image, turn: Turn | None) -> np.ndarray | NotedPixels:
        pixels_hwc = preprocess_image(image, preprocess, turn)
        note = image.info.get(NOTE, "")
        return NotedPixels(pixels_hwc, note) if note else pixels_hwc

    return use_image(record.path, see, record.box, least_side=least_side, time_s=record.frame_time_s)
