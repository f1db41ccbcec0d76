"""Resizes and crops RGB images to the square input of a model.

An image may come as stored, with the turn that makes it upright. Turning the small result costs nothing; turning a
whole photograph costs a third of its decoding time. Boxes are (left, top, right, bottom) in pixels. Shape suffixes: h w
pixels, c channels.
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
# Radius of each filter in pixels, for an image that does not shrink.
REACH = {"bicubic": 2, "bilinear": 1}
# The fast resize has 16-bit weights and sometimes differs from Pillow by one level. Such an error in the first of two
# passes can grow to two levels after the second, above all in images that hardly shrink. Pillow therefore makes the
# first pass for shrink factors below LEAST_FOR_BOTH, and both passes below LEAST_FOR_SECOND. Such images are small.
LEAST_FOR_SECOND, LEAST_FOR_BOTH = 1.2, 2.0
# Pillow resizes the whole image, not only the part that is kept, if its sides are at most this many times those of the
# part: an image of 1 x 50,000 pixels must not grow to 224 x 11 million.
LONGEST = 4
# Releases of Pillow whose images the fast resize can read: it depends on their memory layout, which may change.
READABLE_PILLOW = ("12", "13")


def preprocess_image(image: Image.Image, preprocess: Preprocess, turn: Turn | None = None) -> np.ndarray:
    """The model's input as uint8 [size, size, 3], not yet normalised. `turn` makes the image upright (None: it is).

    The image must be RGB, or RGBA without transparency. `shortest` scales the short side to the size and keeps the
    centre, `squash` scales both sides, `longest` scales the long side and pads with black (open_clip's conventions).
    The filter is antialiased with 8-bit results, as in Pillow; photographs differ from Pillow's result by at most 1.
    """
    size, interpolation = preprocess.size, preprocess.interpolation
    sides = compute_upright_size(image.size, turn)
    if preprocess.resize == "squash":
        return resize_part(image, (size, size), (0, 0, size, size), interpolation, turn)
    if preprocess.resize == "shortest":
        # Round as torchvision does.
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
    """The box `part` of the upright image resized to `resized`, uint8 [h, w, 3].

    Computes only the pixels of the part, in two passes, across and down, with 8 bits between them. The order of the
    passes changes the result, because values outside 0..255 are clipped after the first. It is Pillow 13's order.
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
        first, last = _find_range(left, right, n_across, image.width, interpolation)
        image = first_pass(image, (last - first, n_down), (first, top, last, bottom), interpolation)
        box = (left - first, 0, right - first, n_down)
    else:
        first, last = _find_range(top, bottom, n_down, image.height, interpolation)
        image = first_pass(image, (n_across, last - first), (left, first, right, last), interpolation)
        box = (0, top - first, n_across, bottom - first)
    image = second_pass(image, (n_across, n_down), box, interpolation)
    return np.asarray(image if turn is None else image.transpose(turn))[..., :3]


def _find_range(start: float, end: float, n_out: int, n_in: int, interpolation: str) -> tuple[int, int]:
    """The range (first, last + 1) of pixels that resizing `start` to `end` reads; the other pass skips the rest."""
    around = REACH[interpolation] * max(1.0, (end - start) / n_out) + 1
    return max(0, math.floor(start - around)), min(n_in, math.ceil(end + around))


def _fast_pass(image: Image.Image, size: Size, box: Sides, interpolation: str) -> Image.Image:
    """The part `box` of an image, resized in one direction only."""
    from cykooz_resizer import CropBox, ResizeOptions
    from cykooz_resizer.rust_lib import PilImageWrapper, RustResizer

    left, top, right, bottom = box
    crop = CropBox(left, top, right - left, bottom - top)
    options = ResizeOptions(resize_alg=_make_algorithm(interpolation), crop_box=crop, use_alpha=False)
    out = Image.new(image.mode, size, None)
    RustResizer().resize_pil(PilImageWrapper(image), PilImageWrapper(out), options.rust_options)
    return out


def _slow_pass(image: Image.Image, size: Size, box: Sides, interpolation: str) -> Image.Image:
    image = image.convert("RGB") if image.mode == "RGBA" else image  # Pillow would weight pixels by alpha
    return image.resize(size, FILTERS[interpolation], box)


@functools.cache
def _make_algorithm(interpolation: str):
    from cykooz_resizer import FilterType, ResizeAlg

    # Pillow's bicubic filter is the cubic with a = -0.5, also called Catmull-Rom.
    return ResizeAlg.convolution({"bicubic": FilterType.catmull_rom, "bilinear": FilterType.bilinear}[interpolation])


def _can_resize_fast() -> bool:
    """Whether the fast resize is installed and can read the images of this Pillow; else Pillow resizes."""
    return PIL.__version__.split(".")[0] in READABLE_PILLOW and _is_installed("cykooz_resizer")


@functools.cache
def _is_installed(package: str) -> bool:
    return find_spec(package) is not None
