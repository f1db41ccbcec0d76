"""The pixels of a photograph as a model sees them.

Shape suffixes: h w pixels, c channels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from linnaea.model.core.contract import Preprocess
from linnaea.model.core.preprocessing import preprocess_image
from linnaea.photos.decoding import Unreadable, use_image
from linnaea.records import ImageRecord

# `scaled` decoding keeps at least this multiple of the model's input side: at twice the input the antialiased resize
# that follows still has nearly all the detail that it needs.
OVERSAMPLING = 2

Decode = Callable[[ImageRecord], "np.ndarray | Unreadable"]


def read_pixels(record: ImageRecord, preprocess: Preprocess, decoding: str = "exact") -> np.ndarray | Unreadable:
    """The pixels of a record as the model sees them, uint8 [size, size, 3], or the reason why there are none.

    With `decoding` `scaled`, large photographs are shrunk by whole factors while they are decoded; `exact` takes every
    pixel.
    """
    least_side = OVERSAMPLING * preprocess.size if decoding == "scaled" else 0
    return use_image(
        record.path, lambda image, turn: preprocess_image(image, preprocess, turn), record.box, least_side=least_side
    )
