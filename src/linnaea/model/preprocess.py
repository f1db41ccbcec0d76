"""Upright RGB images become the square of pixels that a model sees.

Shape suffixes: h w pixels, c channels.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from linnaea.model.contract import Preprocess

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
        # Only the part that stays is resampled: a panorama of 1 x 50,000 pixels must not grow to 224 x 11 million.
        return np.asarray(image.resize((size, size), resample, box=_centre_box(width, height, size)))
    scale = size / max(width, height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    out = np.zeros((size, size, 3), np.uint8)
    left, top = (size - inner[0]) // 2, (size - inner[1]) // 2
    out[top : top + inner[1], left : left + inner[0]] = np.asarray(image.resize(inner, resample))
    return out


def _centre_box(width: int, height: int, size: int) -> tuple[float, float, float, float]:
    """The source rectangle that a resize of the short side to `size` and a centre crop keep, torchvision's rounding."""
    short = min(width, height)
    resized = [size if side == short else int(size * side / short) for side in (width, height)]
    lefts = [round((r - size) / 2) for r in resized]
    scales = [side / r for side, r in zip((width, height), resized, strict=True)]
    box = [lefts[0] * scales[0], lefts[1] * scales[1], (lefts[0] + size) * scales[0], (lefts[1] + size) * scales[1]]
    return box[0], box[1], min(box[2], width), min(box[3], height)
