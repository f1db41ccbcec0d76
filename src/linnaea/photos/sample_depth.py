"""Pictures of more than 8 bits a sample as 8 bits.

Many cameras and microscopes write 10, 12 or 14 bits into 16 and do not say so. Full scale is then the least usual one
that no sample exceeds.
"""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from PIL import Image

WHOLE_SCALES = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)
FRACTION_SCALES = (1.0, *WHOLE_SCALES)
BITS_PER_SAMPLE, MAX_SAMPLE_VALUE = 258, 281
# The high bytes of colours with at most 14 bits.
DARK = 64


def scale_to_bytes(values: np.ndarray, full: float | None = None) -> np.ndarray:
    """uint8 of integers or floats. `full` is white; by default the least usual full scale that holds all values."""
    is_short = values.dtype.kind == "u" and values.dtype.itemsize == 2
    if is_short and (full or find_full_scale(values)) == WHOLE_SCALES[-1]:
        return np.right_shift(values, 8).astype(np.uint8)  # as Pillow does for colours
    finite = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    full = full or find_full_scale(finite if values.dtype.kind == "f" else values)
    return np.clip(finite * (255.0 / full) + 0.5, 0, 255).astype(np.uint8)


def find_full_scale(values: np.ndarray) -> float:
    """The least usual full scale that holds all values, else the largest value."""
    largest = float(values.max(initial=0))
    scales = FRACTION_SCALES if values.dtype.kind == "f" else WHOLE_SCALES
    return next((scale for scale in scales if largest <= scale), largest)


def read_stated_scale(image: Image.Image, largest: float) -> float | None:
    """The full scale that the tags of a TIFF state; None if they state none, or one that `largest` exceeds."""
    tags = getattr(image, "tag_v2", None) or {}
    try:
        bits = int(tags.get(BITS_PER_SAMPLE, (16,))[0])
        stated = tags.get(MAX_SAMPLE_VALUE, 0)
        full = float(stated[0] if isinstance(stated, tuple) else stated) or (2.0**bits - 1 if 8 < bits < 16 else 0.0)
    except (TypeError, ValueError, IndexError):
        return None
    return full if 255 <= full <= WHOLE_SCALES[-1] and largest <= full else None


def brighten_dark_colours(image: Image.Image, rawmode: str, handle: BinaryIO, formats: tuple[str, ...]) -> Image.Image:
    """The picture of 16-bit colours, scaled to its range if that is 14 bits or fewer.

    `image` has the high bytes, as Pillow loads them through `rawmode`; the low ones are read from `handle`.
    """
    high = np.asarray(image)
    if int(high.max(initial=0)) >= DARK:
        return image
    with Image.open(handle, formats=formats) as other:
        full = read_stated_scale(other, 256.0 * float(high.max(initial=0)))
        swapped = {"L": "B", "B": "L", "N": "B" if np.little_endian else "L"}[rawmode[-1]]
        other.tile = [_use_rawmode(tile, rawmode[:-1] + swapped) for tile in other.tile]
        other.load()
        values = (high.astype(np.uint16) << 8) | np.asarray(other)
    return Image.fromarray(scale_to_bytes(values, full))


def find_rawmode(image: Image.Image) -> str:
    """How Pillow unpacks 16-bit colours of a file that is not loaded yet; "" for other pictures."""
    if image.mode != "RGB" or not getattr(image, "tile", None):
        return ""
    args = image.tile[0][3]
    rawmode = args if isinstance(args, str) else args[0] if isinstance(args, tuple) and args else ""
    return rawmode if isinstance(rawmode, str) and ";16" in rawmode and rawmode[-1] in "LBN" else ""


def _use_rawmode(tile: tuple, rawmode: str) -> tuple:
    args = rawmode if isinstance(tile[3], str) else (rawmode, *tile[3][1:])
    return type(tile)(*tile[:3], args) if hasattr(tile, "_fields") else (*tile[:3], args)
