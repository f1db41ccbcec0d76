"""RGB images become the square of pixels that a model sees.

An image may come as it is stored, with the turn that would make it upright: turning the small result costs nothing,
turning a photograph as much as decoding a third of it. Boxes are (left, top, right, bottom) in pixels.
Shape suffixes: h w pixels, c channels.
"""

from __future__ import annotations

import functools
import math
from importlib.util import find_spec

import numpy as np
import PIL
from PIL import Image

from linnaea.model.core.contract import Preprocess
from linnaea.photos.orientation import TURNS, Sides, Size, Turn, compute_upright_size, map_box_to_stored

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
# Pixels on either side that a filter looks at, where it does not shrink.
REACH = {"bicubic": 2, "bilinear": 1}
# The fast resize has weights of 16 bits and now and then misses Pillow's level by one. Made in the first pass of two, in
# many rows alike, such misses can come to two after the second, the more so the less it shrinks. Images that shrink less
# than this are small: there Pillow takes the first pass, and both of those that hardly shrink at all.
LEAST_FOR_SECOND, LEAST_FOR_BOTH = 1.2, 2.0
# Pillow resizes the whole image, and not only the part that stays, up to this shape: 1 x 50,000 pixels must not grow to
# 224 x 11 million.
LONGEST = 4
# Pillow's releases whose images the fast resize can read: it goes by their layout in memory, which is no promise.
READABLE_PILLOW = ("12", "13")


def preprocess_image(image: Image.Image, preprocess: Preprocess, turn: Turn | None = None) -> np.ndarray:
    """A uint8 array [size, size, 3], not yet normalised, of an image that `turn` makes upright (None: it is).

    The image is RGB, or RGBA that is opaque everywhere. `shortest` brings the short side to the size and keeps the
    centre, `squash` both sides, `longest` the long side and pads with black (the conventions of open_clip). The filter
    is antialiased and works on 8 bits, as Pillow's does, from whose result photographs differ by 1 at most.
    """
    size, interpolation = preprocess.size, preprocess.interpolation
    sides = compute_upright_size(image.size, turn)
    if preprocess.resize == "squash":
        return resize_part(image, (size, size), (0, 0, size, size), interpolation, turn)
    if preprocess.resize == "shortest":
        # With torchvision's rounding.
        width, height = (size if side == min(sides) else int(size * side / min(sides)) for side in sides)
        left, top = round((width - size) / 2), round((height - size) / 2)
        return resize_part(image, (width, height), (left, top, left + size, top + size), interpolation, turn)
    width, height = (max(1, round(side * (size / max(sides)))) for side in sides)
    left, top = (size - width) // 2, (size - height) // 2
    out = np.zeros((size, size, 3), np.uint8)
    inner = resize_part(image, (width, height), (0, 0, width, height), interpolation, turn)
    out[top : top + height, left : left + width] = inner
    return out


def resize_part(
    image: Image.Image, resized: Size, part: Sides, interpolation: str, turn: Turn | None = None
) -> np.ndarray:
    """What the box `part` shows of the upright image once that has the size `resized`: uint8 [h, w, 3].

    Only what ends in the part is computed. Two passes, across and down, with 8 bits between them. Their order is part
    of the result, since what overshoots 0 or 255 in the first is cut off; it is that of Pillow 13, upright.
    """
    width, height = compute_upright_size(image.size, turn)
    x, y = width / resized[0], height / resized[1]
    n_across, n_down = part[2] - part[0], part[3] - part[1]
    first_pass = _fast_pass if min(x, y) >= LEAST_FOR_BOTH else _slow_pass
    second_pass = _fast_pass
    if min(x, y) < LEAST_FOR_SECOND or not _can_resize_fast():
        image = (image if turn is None else image.transpose(turn)).convert("RGB")
        turn, first_pass, second_pass = None, _slow_pass, _slow_pass
        if max(resized) <= LONGEST * max(n_across, n_down):
            return np.asarray(image.resize(resized, FILTERS[interpolation]).crop(part))
    whole = (part[0] * x, part[1] * y, min(part[2] * x, width), min(part[3] * y, height))
    left, top, right, bottom = map_box_to_stored(whole, image.size, turn)
    down_first = height > resized[1] and height - resized[1] > 2 * (width - resized[0])
    if turn is not None and TURNS[turn][0]:
        n_across, n_down, down_first = n_down, n_across, not down_first
    if down_first:
        first, last = _reached(left, right, n_across, image.width, interpolation)
        image = first_pass(image, (last - first, n_down), (first, top, last, bottom), interpolation)
        box = (left - first, 0, right - first, n_down)
    else:
        first, last = _reached(top, bottom, n_down, image.height, interpolation)
        image = first_pass(image, (n_across, last - first), (left, first, right, last), interpolation)
        box = (0, top - first, n_across, bottom - first)
    image = second_pass(image, (n_across, n_down), box, interpolation)
    return np.asarray(image if turn is None else image.transpose(turn))[..., :3]


def _reached(start: float, end: float, n_out: int, n_in: int, interpolation: str) -> tuple[int, int]:
    """First and one past the last pixel that resizing `start` to `end` looks at: the other pass can leave the rest out."""
    around = REACH[interpolation] * max(1.0, (end - start) / n_out) + 1
    return max(0, math.floor(start - around)), min(n_in, math.ceil(end + around))


def _fast_pass(image: Image.Image, size: Size, box: Sides, interpolation: str) -> Image.Image:
    """The part `box` of an image at another size, from which it differs in one direction only."""
    from cykooz_resizer import CropBox, ResizeOptions
    from cykooz_resizer.rust_lib import PilImageWrapper, RustResizer

    left, top, right, bottom = box
    crop = CropBox(left, top, right - left, bottom - top)
    options = ResizeOptions(resize_alg=_algorithm(interpolation), crop_box=crop, use_alpha=False)
    out = Image.new(image.mode, size, None)
    RustResizer().resize_pil(PilImageWrapper(image), PilImageWrapper(out), options.rust_options)
    return out


def _slow_pass(image: Image.Image, size: Size, box: Sides, interpolation: str) -> Image.Image:
    image = image.convert("RGB") if image.mode == "RGBA" else image  # Pillow would weigh with the alpha
    return image.resize(size, FILTERS[interpolation], box)


@functools.cache
def _algorithm(interpolation: str):
    from cykooz_resizer import FilterType, ResizeAlg

    # Catmull and Rom's filter is the cubic with a = -0.5, which Pillow calls bicubic.
    return ResizeAlg.convolution({"bicubic": FilterType.catmull_rom, "bilinear": FilterType.bilinear}[interpolation])


def _can_resize_fast() -> bool:
    """Whether the fast resize is installed, as on most machines, and knows this Pillow's images; else Pillow resizes."""
    return PIL.__version__.split(".")[0] in READABLE_PILLOW and _is_installed("cykooz_resizer")


@functools.cache
def _is_installed(package: str) -> bool:
    return find_spec(package) is not None
