"""Training crops: a random crop of an image, resized to a square and sometimes mirrored.

Shape suffixes: h w pixels, c channels.
"""

from __future__ import annotations

import io
import math
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from linnaea.model.core.preprocessing import FILTERS
from linnaea.photos.decoding import (
    DAMAGED,
    EMPTY,
    MAX_PIXELS,
    ORIENTATION_TAG,
    TRANSPOSITIONS,
    TRUNCATED,
    UNKNOWN,
    Unreadable,
    explain_size,
    list_readable_formats,
)
from linnaea.train.runtime.range_checks import NO_END, check_bounds

TRIES = 10
BOUNDS = {"size": (1, NO_END), "ratio": (1, NO_END), "mirror": (0, 1)}


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How a training crop is drawn; the defaults are open_clip's."""

    size: int = 224
    "side of the square in pixels"
    least_area: float = 0.9
    "smallest crop as a share of the image's area, 0..1"
    ratio: float = 4 / 3
    "largest ratio of a crop's sides before it is resized to a square; 1 keeps shapes"
    mirror: float = 0.0
    "probability of a mirror image, 0..1"
    interpolation: str = "bicubic"
    "`bicubic` or `bilinear`, antialiased"

    def __post_init__(self):
        if not 0 < self.least_area <= 1:
            raise ValueError(f"least_area {self.least_area} must be above 0 and at most 1; 0.9 is usual")
        check_bounds(self, BOUNDS)
        if self.interpolation not in FILTERS:
            raise ValueError(f"unknown interpolation {self.interpolation!r}; choose one of {', '.join(FILTERS)}")


def decode_bytes(data: bytes) -> Image.Image | Unreadable:
    """Decode the bytes of a file to an upright RGB image, or return the reason why that fails. It never raises."""
    if not data:
        return Unreadable(EMPTY)
    try:
        with Image.open(io.BytesIO(data), formats=list_readable_formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                return Unreadable(explain_size(image.width * image.height))
            turn = TRANSPOSITIONS.get(image.getexif().get(ORIENTATION_TAG, 1))
            rgb = _remove_alpha(image)
        return rgb if turn is None else rgb.transpose(turn)
    except UnidentifiedImageError:
        return Unreadable(UNKNOWN)
    except Exception as error:  # noqa: BLE001 (Pillow plugins raise almost any type for damaged data)
        return Unreadable(TRUNCATED if "truncated" in str(error).lower() else DAMAGED)


def _remove_alpha(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def draw_crop(width: int, height: int, config: AugmentConfig, rng: random.Random) -> tuple[int, int, int, int]:
    """Draw left, top, right and bottom of a crop, as RandomResizedCrop of torchvision does.

    If no draw fits, the result is the largest centred crop within the ratio.
    """
    area, log_ratio = width * height, math.log(config.ratio)
    for _ in range(TRIES):
        wanted = area * rng.uniform(config.least_area, 1.0)
        ratio = math.exp(rng.uniform(-log_ratio, log_ratio))
        w, h = round(math.sqrt(wanted * ratio)), round(math.sqrt(wanted / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = rng.randint(0, width - w), rng.randint(0, height - h)
            return left, top, left + w, top + h
    w = min(width, max(1, round(height * config.ratio)))
    h = min(height, max(1, round(width * config.ratio)))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def augment(image: Image.Image, config: AugmentConfig, rng: random.Random) -> np.ndarray:
    """Return a crop as uint8 [size, size, 3], a pure function of the image and the state of the generator."""
    crop = draw_crop(*image.size, config, rng)
    resized = image.crop(crop).resize((config.size, config.size), FILTERS[config.interpolation])
    if rng.random() < config.mirror:
        resized = resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(resized)
