"""Upright RGB images become the square of pixels that a model sees.

Shape suffixes: h w pixels, c channels.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from linnaea.model.contract import Preprocess

LONGEST = 4
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def preprocess_image(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    """A uint8 array [size, size, 3], not yet normalised, of an upright RGB image.

    `shortest` brings the short side to the size and keeps the centre, `squash` both sides, `longest` the long side and
    pads with black (the conventions of open_clip). The filter is antialiased and works on 8 bits, as Pillow's does.
    """
    size, resample = preprocess.size, FILTERS[preprocess.interpolation]
    width, height = image.size
    if preprocess.resize == "squash":
        return np.asarray(image.resize((size, size), resample))
    if preprocess.resize == "shortest":
        return np.asarray(_resize_and_crop(image, size, resample))
    scale = size / max(width, height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    out = np.zeros((size, size, 3), np.uint8)
    left, top = (size - inner[0]) // 2, (size - inner[1]) // 2
    out[top : top + inner[1], left : left + inner[0]] = np.asarray(image.resize(inner, resample))
    return out


def _resize_and_crop(image: Image.Image, size: int, resample: Image.Resampling) -> Image.Image:
    """The short side brought to `size` and the centre kept, with torchvision's rounding."""
    short = min(image.size)
    width, height = (size if side == short else int(size * side / short) for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    if max(width, height) <= LONGEST * size:
        return image.resize((width, height), resample).crop((left, top, left + size, top + size))
    # Of a long panorama only the part that stays is resampled: 1 x 50,000 pixels must not grow to 224 x 11 million.
    x, y = image.width / width, image.height / height
    right, bottom = min((left + size) * x, image.width), min((top + size) * y, image.height)
    return image.resize((size, size), resample, box=(left * x, top * y, right, bottom))
