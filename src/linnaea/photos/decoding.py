"""Files to upright RGB images, or to a reason why there is none.

Each reason is a short sentence that stays the same from run to run, because it becomes a cell of the user's table.
"""

from __future__ import annotations

import functools
import math
import os
import re
import stat
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from linnaea.photos.jpeg import PixelMemory, decode_jpeg
from linnaea.photos.orientation import Sides, Size, Turn, compute_upright_size, map_box_to_stored
from linnaea.records import Box

# Only formats whose decoders run inside Pillow: its EPS reader, for example, starts another program.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "TGA")
READABLE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".avif", ".jp2", ".j2k", ".ppm", ".pgm"}
)
HEIC_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
RAW_SUFFIXES = frozenset({".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw"})
# Photographs that a folder may hold; a file that cannot be read gets a row with the reason.
PHOTO_SUFFIXES = READABLE_SUFFIXES | HEIC_SUFFIXES | RAW_SUFFIXES

# Pillow's own default limit. Pillow keeps four bytes for each pixel: 716 MB at the limit.
MAX_PIXELS = 178_956_970
# JPEG files up to this size are read at once; Pillow reads larger files, which are not plain photographs, in pieces.
MAX_JPEG_BYTES = 1 << 28
# Bytes of pixels in memory at once, for any number of threads: four photographs of 24 megapixels, or one giant.
memory = PixelMemory(4 * 100_000_000)

T = TypeVar("T")

BOX_MARGIN = 0.05
ORIENTATION_TAG = 0x0112
TRANSPOSITIONS = {
    2: Turn.FLIP_LEFT_RIGHT,
    3: Turn.ROTATE_180,
    4: Turn.FLIP_TOP_BOTTOM,
    5: Turn.TRANSPOSE,
    6: Turn.ROTATE_270,
    7: Turn.TRANSVERSE,
    8: Turn.ROTATE_90,
}

MISSING = "the file does not exist"
NO_PERMISSION = "no permission to read it"
FOLDER = "a folder, not an image"
NOT_REGULAR = "not a regular file (a pipe, socket or device)"
EMPTY = "the file is empty"
HEIC = "HEIC cannot be read; save it as JPEG"
RAW = "a raw camera file cannot be read; export it as JPEG"
TEXT = "not an image: the content is text"
UNKNOWN = "not an image, or of a kind that cannot be read; save it as JPEG or PNG"
TRUNCATED = "truncated: the file ends before its image does"
DAMAGED = "damaged: the image data cannot be decoded"
OUTSIDE = "the box lies outside the image"
NO_MEMORY = "too little memory to decode the image"

# Pillow warns of large and damaged files on stderr; here they have a limit and a reason.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True)
class Unreadable:
    """Why a file gives no image."""

    reason: str


def decode_image(
    path: str | os.PathLike, box: Box | None = None, *, least_side: int = 0, margin: float = BOX_MARGIN
) -> Image.Image | Unreadable:
    """The upright RGB image in a file (its first frame), or the reason why there is none. Bad data never raises.

    `box`, `least_side` and `margin` are as in `use_image`.
    """
    return use_image(path, _make_upright, box, least_side=least_side, margin=margin)


def use_image(
    path: str | os.PathLike,
    use: Callable[[Image.Image, Turn | None], T],
    box: Box | None = None,
    *,
    least_side: int = 0,
    margin: float = BOX_MARGIN,
) -> T | Unreadable:
    """The result of `use` for the image in a file (its first frame), or the reason why there is none.

    `use` is called with the image as stored, RGB or opaque RGBA, and the turn that makes it upright (None if it is). It
    must not keep the image, whose memory is reused. Bad data never raises; errors of `use` are passed on.

    `box` (pixels of the upright image) is cropped with a margin of `margin` times its longer side. With `least_side`,
    the image may be smaller than stored, but no side of the box is reduced below `least_side` pixels: JPEG files are
    shrunk while they are decoded (2, 4 or 8 times, by whole DCT blocks), other files afterwards. This saves most of the
    time and memory for photographs far larger than a model's input. Transparent pixels are put on white; 16 bits are
    scaled to 8; colour profiles are not applied.
    """
    with ExitStack() as held:
        try:
            found = _check_file(path) or _decode(held, path, box, least_side, margin)
        except Exception as error:  # noqa: BLE001 (Pillow's plugins raise nearly anything for damaged files)
            return Unreadable(_explain_error(error, path))
        return found if isinstance(found, Unreadable) else use(*found)


def read_size(path: str | os.PathLike) -> tuple[int, int] | Unreadable:
    """Width and height in pixels of the upright image, from the header alone."""
    try:
        if refused := _check_file(path):
            return refused
        with open(path, "rb") as handle, Image.open(handle, formats=list_readable_formats()) as image:
            width, height = image.size
            # Pillow's TIFF reader turns the image itself and already reports the upright size.
            turned = image.format != "TIFF" and _read_orientation(image) >= 5
            return (height, width) if turned else (width, height)
    except Exception as error:  # noqa: BLE001 (as in use_image)
        return Unreadable(_explain_error(error, path))


def explain_size(n_pixels: int) -> str:
    """The reason for an image over the limit."""
    return f"too large: {n_pixels:,} pixels, over the limit of {MAX_PIXELS:,}"


@functools.cache
def list_readable_formats() -> tuple[str, ...]:
    """The FORMATS that this build of Pillow can read, with all its plugins loaded."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_file(path: str | os.PathLike) -> Unreadable | None:
    mode = os.stat(path)
    if stat.S_ISDIR(mode.st_mode):
        return Unreadable(FOLDER)
    if not stat.S_ISREG(mode.st_mode):
        return Unreadable(NOT_REGULAR)
    if mode.st_size == 0:
        return Unreadable(EMPTY)
    suffix = Path(path).suffix.lower()
    if suffix in RAW_SUFFIXES:  # many are TIFF files whose first image is a thumbnail
        return Unreadable(RAW)
    return None


def _make_upright(image: Image.Image, turn: Turn | None) -> Image.Image:
    image = image.convert("RGB") if image.mode == "RGBA" else image  # this copies it out of the shared buffer
    return image if turn is None else image.transpose(turn)


def _decode(
    held: ExitStack, path: str | os.PathLike, box: Box | None, least_side: int, margin: float
) -> tuple[Image.Image, Turn | None] | Unreadable:
    """The image as stored, cropped, and its turn; `held` keeps the files and memory that it needs."""
    handle = held.enter_context(open(path, "rb"))  # noqa: SIM115 (`held` closes it)
    image = held.enter_context(Image.open(handle, formats=list_readable_formats()))
    width, height = image.size
    if width * height > MAX_PIXELS:
        return Unreadable(explain_size(width * height))
    side = min(width, height) if box is None else min(abs(box.right - box.left), abs(box.bottom - box.top))
    shrink = side / least_side if least_side and side > least_side else 1.0
    if shrink >= 2:
        image.draft(None, (math.ceil(width / shrink), math.ceil(height / shrink)))
    n_bytes = 4 * image.width * image.height
    held.enter_context(memory.reserve(n_bytes))
    rgb = None
    is_plain = image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L")
    if is_plain and os.fstat(handle.fileno()).st_size <= MAX_JPEG_BYTES:
        handle.seek(0)
        rgb = decode_jpeg(handle.read(), image.size, held.enter_context(memory.buffer(n_bytes)))
    reduce_by = int(shrink * image.width / width)
    if rgb is None:
        rgb = _load_rgb(image, reduce_by)
    elif reduce_by >= 2:
        rgb = rgb.reduce(reduce_by)
    turn = TRANSPOSITIONS.get(_read_orientation(image))  # None for the orientation 1
    if box is None:
        return rgb, turn
    # The turn may swap the sides; the areas tell how much the image shrank.
    scale = math.sqrt(rgb.width * rgb.height / (width * height))
    sides = _find_sides(box, compute_upright_size(rgb.size, turn), scale, margin)
    return sides if isinstance(sides, Unreadable) else (rgb.crop(map_box_to_stored(sides, rgb.size, turn)), turn)


def _load_rgb(image: Image.Image, reduce_by: int) -> Image.Image:
    """The RGB image of a file just opened, reduced by a whole factor before a conversion doubles its memory."""
    image.load()
    if image.mode.startswith("I;16"):
        # The high byte, as Pillow does for 16-bit colour; a plain conversion would clip at 255.
        eight = np.right_shift(np.asarray(image), 8).astype(np.uint8)
        image = Image.fromarray(eight)
    elif image.mode in ("I", "F"):
        image = Image.fromarray(_scale_to_bytes(np.asarray(image)))
    transparent = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    if image.mode in ("P", "PA", "1"):
        image = image.convert("RGBA" if transparent else "RGB")
    if reduce_by >= 2 and image.mode in ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr"):
        transparency = image.info.get("transparency")
        image = image.reduce(reduce_by)
        if transparency is not None:
            image.info["transparency"] = transparency
    if transparent:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(canvas, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _scale_to_bytes(values_hw: np.ndarray) -> np.ndarray:
    """uint8 of 32-bit integers or floats: full scale is 1 (floats), 255 or 65535, else the largest value present."""
    finite = np.nan_to_num(values_hw.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    largest = float(finite.max(initial=0.0))
    scales = (1.0, 255.0, 65535.0) if values_hw.dtype.kind == "f" else (255.0, 65535.0)
    full = next((scale for scale in scales if largest <= scale), largest)
    return np.clip(finite * (255.0 / full) + 0.5, 0, 255).astype(np.uint8)


def _find_sides(box: Box, size: Size, scale: float, margin: float) -> Sides | Unreadable:
    """A box with its margin in whole pixels of an upright image of `size`, `scale` times as large as the stored one."""
    sides = (box.left, box.top, box.right, box.bottom)
    if not all(math.isfinite(side) for side in sides):
        return Unreadable(OUTSIDE)
    width, height = size
    around = margin * max(box.right - box.left, box.bottom - box.top)
    left, top = (max(0, math.floor((side - around) * scale)) for side in sides[:2])
    right = min(width, math.ceil((box.right + around) * scale))
    bottom = min(height, math.ceil((box.bottom + around) * scale))
    meets = box.left * scale < width and box.top * scale < height and box.right > 0 and box.bottom > 0
    if box.right <= box.left or box.bottom <= box.top or not meets:
        return Unreadable(OUTSIDE)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _read_orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 where the tag is missing or the EXIF block is damaged."""
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 (a damaged EXIF block must not cost the image)
        return 1


def _explain_error(error: Exception, path: str | os.PathLike) -> str:
    match error:
        case UnidentifiedImageError():
            return _explain_content(path)
        case Image.DecompressionBombError():
            found = re.search(r"\d+", str(error))
            return explain_size(int(found[0]) if found else MAX_PIXELS + 1)
        case FileNotFoundError():
            return MISSING
        case PermissionError():
            return NO_PERMISSION
        case MemoryError():
            return NO_MEMORY
        case EOFError():
            return TRUNCATED
        case OSError() if error.errno is not None:
            return f"the file cannot be read: {os.strerror(error.errno).lower()}"
    lowered = str(error).lower()
    return TRUNCATED if "truncated" in lowered or "unexpected end" in lowered else DAMAGED


def _explain_content(path: str | os.PathLike) -> str:
    """The reason for a file in which Pillow finds no image, from its first bytes."""
    with open(path, "rb") as handle:
        head = handle.read(4096)
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        return HEIC
    if head.startswith((b"\xff\xd8", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*")) or head[8:12] == b"WEBP":
        return DAMAGED
    text = head.decode("utf-8", "ignore")
    if len(text.encode()) >= len(head) - 3 and all(c.isprintable() or c.isspace() for c in text):
        return TEXT
    return UNKNOWN
