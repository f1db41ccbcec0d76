"""Files to upright RGB images, or to a reason why there is none.

Each reason is a short sentence that stays the same from run to run, because it becomes a cell of the user's table.
"""

from __future__ import annotations

import functools
import io
import logging
import math
import os
import re
import stat
import warnings
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from linnaea.photos.jpeg import PixelMemory, decode_cut_jpeg, decode_jpeg, lacks_end
from linnaea.photos.orientation import Sides, Size, Turn, compute_upright_size, map_box_to_stored
from linnaea.photos.raw_preview import LEAST_SIDE, read_preview
from linnaea.photos.sample_depth import brighten_dark_colours, find_rawmode, read_stated_scale, scale_to_bytes
from linnaea.photos.video import NOT_REGULAR, VideoError, can_read_videos, is_video, read_frame
from linnaea.records import Box

# Only formats whose decoders run inside Pillow: its EPS reader, for example, starts another program.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "TGA", "HEIF")
READABLE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".avif", ".jp2", ".j2k", ".ppm", ".pgm"}
)
HEIC_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
# The usual media types; none of them is registered.
RAW_MEDIA_TYPES = {
    ".arw": "image/x-sony-arw",
    ".cr2": "image/x-canon-cr2",
    ".cr3": "image/x-canon-cr3",
    ".dng": "image/x-adobe-dng",
    ".nef": "image/x-nikon-nef",
    ".orf": "image/x-olympus-orf",
    ".pef": "image/x-pentax-pef",
    ".raf": "image/x-fuji-raf",
    ".rw2": "image/x-panasonic-rw2",
    ".srw": "image/x-samsung-srw",
}
RAW_SUFFIXES = frozenset(RAW_MEDIA_TYPES)
# Photographs that a folder may hold; a file that cannot be read gets a row with the reason.
PHOTO_SUFFIXES = READABLE_SUFFIXES | HEIC_SUFFIXES | RAW_SUFFIXES

# Pillow's own default limit. Pillow keeps four bytes for each pixel: 716 MB at the limit.
MAX_PIXELS = 178_956_970
# JPEG files up to this size are read at once; Pillow reads larger files, which are not plain photographs, in pieces.
MAX_JPEG_BYTES = 1 << 28
# The largest memory for the two copies of a JPEG that lacks its end.
MAX_CUT_BYTES = 1 << 29
# What decoding a video holds beside the frame: the frames that others refer to.
VIDEO_BYTES = 100_000_000
# Bytes of pixels in memory at once, for any number of threads: four photographs of 24 megapixels, or one giant.
memory = PixelMemory(4 * 100_000_000)

T = TypeVar("T")

BOX_MARGIN = 0.05
ORIENTATION_TAG, KIND_OF_IMAGE_TAG = 0x0112, 254
# The key of an image's `info` that says what is noteworthy about it, although it could be read.
NOTE = "linnaea_note"
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
EMPTY = "the file is empty"
HEIC = "HEIC is read with the extra [heic] (pip install 'linnaea[heic]'); or save it as JPEG"
RAW = "a raw camera file without a preview that is large enough; export it as JPEG"
VIDEO = "a video is read with the extra [video]: pip install 'linnaea[video]'"
TEXT = "not an image: the content is text"
UNKNOWN = "not an image, or of a kind that cannot be read; save it as JPEG or PNG"
TRUNCATED = "truncated: the file ends before its image does"
DAMAGED = "damaged: the image data cannot be decoded"
FIRST_PAGE = "the first page of several"
CUT_END = "read, although its end is missing"
OUTSIDE = "the box lies outside the image"
NO_MEMORY = "too little memory to decode the image"

# Pillow warns of large and damaged files on stderr; here they have a limit and a reason.
warnings.filterwarnings("ignore", module=r"PIL\.")
# Without a handler, Python would print what Pillow logs of damaged files.
logging.getLogger("PIL").addHandler(logging.NullHandler())


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
    time_s: float | None = None,
) -> T | Unreadable:
    """The result of `use` for the image in a file (its first frame), or the reason why there is none.

    `use` is called with the image as stored, RGB or opaque RGBA, and the turn that makes it upright (None if it is). It
    must not keep the image, whose memory is reused. Bad data never raises; errors of `use` are passed on.

    `box` (pixels of the upright image) is cropped with a margin of `margin` times its longer side. With `least_side`,
    the image may be smaller than stored, but no side of the box is reduced below `least_side` pixels: JPEG files are
    shrunk while they are decoded (2, 4 or 8 times, by whole DCT blocks), other files afterwards. This saves most of the
    time and memory for photographs far larger than a model's input. Transparent pixels are put on white; more than 8
    bits a sample are scaled to 8 (see `linnaea.photos.sample_depth`); colour profiles are not applied. Of a raw camera
    file the image is its preview, of a video the frame at `time_s` (by default that in the middle). An image that lacks
    only its end has a note in its `info`, under `NOTE`.
    """
    with ExitStack() as held:
        try:
            found = _check_file(path) or _decode(held, path, box, least_side, margin, time_s)
        except Exception as error:  # noqa: BLE001 (Pillow's plugins raise nearly anything for damaged files)
            return Unreadable(explain_error(error, path))
        return found if isinstance(found, Unreadable) else use(*found)


def read_size(path: str | os.PathLike) -> tuple[int, int] | Unreadable:
    """Width and height in pixels of the upright image, from the header alone."""
    try:
        if refused := _check_file(path):
            return refused
        with ExitStack() as held:
            image, _handle = open_image(held, path)
            width, height = image.size
            # Pillow's TIFF reader turns the image itself and already reports the upright size.
            turned = image.format != "TIFF" and _read_orientation(image) >= 5
            return (height, width) if turned else (width, height)
    except Exception as error:  # noqa: BLE001 (as in use_image)
        return Unreadable(explain_error(error, path))


def explain_size(n_pixels: int) -> str:
    """The reason for an image over the limit."""
    return f"too large: {n_pixels:,} pixels, over the limit of {MAX_PIXELS:,}"


@functools.cache
def list_readable_formats() -> tuple[str, ...]:
    """The FORMATS that this build of Pillow can read, with all its plugins loaded, and HEIF with the extra [heic]."""
    Image.init()
    with suppress(ImportError):
        import pi_heif

        # libheif would start a thread for each core, and the files are decoded in threads already.
        pi_heif.options.DECODE_THREADS = 1
        pi_heif.register_heif_opener(thumbnails=False)
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_file(path: str | os.PathLike) -> Unreadable | None:
    mode = os.stat(path)
    if stat.S_ISDIR(mode.st_mode):
        return Unreadable(FOLDER)
    if not stat.S_ISREG(mode.st_mode):
        return Unreadable(NOT_REGULAR)
    if mode.st_size == 0:
        return Unreadable(EMPTY)
    return None


def open_image(held: ExitStack, path: str | os.PathLike, time_s: float | None = None) -> tuple[Image.Image, BinaryIO]:
    """The image in a file, whose pixels are not decoded yet, and its bytes; `held` closes both.

    Of a raw camera file it is the preview, with the EXIF block of the file; of a video it is the frame at `time_s`.
    Raise what Pillow raises for bad files, `NotRegularError` for what is no file, `NoPreviewError` for a raw file that
    has no preview, and `VideoError`.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise NotRegularError(NOT_REGULAR)  # to open a pipe would wait for a writer
    if is_video(path) and can_read_videos():
        with memory.reserve(VIDEO_BYTES):
            return held.enter_context(read_frame(path, time_s, MAX_PIXELS)), io.BytesIO()
    handle = held.enter_context(open(path, "rb"))  # noqa: SIM115 (`held` closes it)
    if Path(path).suffix.lower() not in RAW_SUFFIXES:
        return held.enter_context(Image.open(handle, formats=list_readable_formats())), handle
    preview, tags = read_preview(handle)
    if not preview:
        return _open_plain_tiff(held, handle), handle
    stream = io.BytesIO(preview)
    image = held.enter_context(Image.open(stream, formats=("JPEG",)))
    if tags and _read_orientation_of(tags):
        image.info["exif"] = tags
    return image, stream


class NotRegularError(ValueError):
    """A path is that of a folder, a pipe, a socket or a device."""


class NoPreviewError(UnidentifiedImageError):
    """A raw camera file has no preview that is large enough."""


def _open_plain_tiff(held: ExitStack, handle: BinaryIO) -> Image.Image:
    """The image of a raw file that is a plain TIFF. Raise NoPreviewError if its first image is a thumbnail."""
    try:
        image = held.enter_context(Image.open(handle, formats=("TIFF",)))
    except UnidentifiedImageError:
        raise NoPreviewError(RAW) from None
    # Bit 0 of the kind of image marks a reduced copy of another one.
    if image.mode != "RGB" or min(image.size) < LEAST_SIDE or image.tag_v2.get(KIND_OF_IMAGE_TAG, 0) & 1:
        raise NoPreviewError(RAW)
    return image


def _read_orientation_of(tags: bytes) -> int:
    """The orientation in an EXIF block, 0 if it has none or cannot be read."""
    try:
        exif = Image.Exif()
        exif.load(tags)
        return int(exif.get(ORIENTATION_TAG, 0))
    except Exception:  # noqa: BLE001 (as in _read_orientation)
        return 0


def _make_upright(image: Image.Image, turn: Turn | None) -> Image.Image:
    image = image.convert("RGB") if image.mode == "RGBA" else image  # this copies it out of the shared buffer
    return image if turn is None else image.transpose(turn)


def _decode(
    held: ExitStack, path: str | os.PathLike, box: Box | None, least_side: int, margin: float, time_s: float | None
) -> tuple[Image.Image, Turn | None] | Unreadable:
    """The image as stored, cropped, and its turn; `held` keeps the files and memory that it needs."""
    image, handle = open_image(held, path, time_s)
    width, height = image.size
    if width * height > MAX_PIXELS:
        return Unreadable(explain_size(width * height))
    side = min(width, height) if box is None else min(abs(box.right - box.left), abs(box.bottom - box.top))
    shrink = side / least_side if least_side and side > least_side else 1.0
    if shrink >= 2:
        image.draft(None, (math.ceil(width / shrink), math.ceil(height / shrink)))
    held.enter_context(memory.reserve(4 * image.width * image.height))
    rgb = _load_shrunk(held, image, handle, shrink * image.width / width)
    if isinstance(rgb, Unreadable):
        return rgb
    if image.format == "TIFF" and image.is_animated:
        rgb.info[NOTE] = FIRST_PAGE
    turn = TRANSPOSITIONS.get(_read_orientation(image))  # None for the orientation 1
    if box is None:
        return rgb, turn
    # The turn may swap the sides; the areas tell how much the image shrank.
    scale = math.sqrt(rgb.width * rgb.height / (width * height))
    sides = _find_sides(box, compute_upright_size(rgb.size, turn), scale, margin)
    return sides if isinstance(sides, Unreadable) else (rgb.crop(map_box_to_stored(sides, rgb.size, turn)), turn)


def _load_shrunk(held: ExitStack, image: Image.Image, handle: BinaryIO, shrink: float) -> Image.Image | Unreadable:
    """The RGB image, or opaque RGBA in memory that `held` keeps, of a file just opened, `shrink` times smaller."""
    rgb, data = None, b""
    is_plain = image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L")
    if is_plain and handle.seek(0, os.SEEK_END) <= MAX_JPEG_BYTES:
        handle.seek(0)
        data = handle.read()
        buffer = held.enter_context(memory.buffer(4 * image.width * image.height))
        rgb = decode_jpeg(data, image.size, buffer)
    reduce_by = int(shrink)
    if rgb is not None:
        return rgb.reduce(reduce_by) if reduce_by >= 2 else rgb
    if data and lacks_end(data):
        return _load_cut(data, image.size, reduce_by)
    return _load_rgb(image, handle, reduce_by)


def _load_cut(data: bytes, size: Size, reduce_by: int) -> Image.Image | Unreadable:
    """The RGB image, with a note, of JPEG data without an end."""
    # Two decoded copies are compared.
    cut = decode_cut_jpeg(data, size) if 8 * size[0] * size[1] <= MAX_CUT_BYTES else None
    if cut is None:
        return Unreadable(TRUNCATED)
    cut = cut.reduce(reduce_by) if reduce_by >= 2 else cut
    cut.info[NOTE] = CUT_END
    return cut


def _load_rgb(image: Image.Image, handle: BinaryIO, reduce_by: int) -> Image.Image:
    """The RGB image of a file just opened, reduced by a whole factor before a conversion doubles its memory."""
    rawmode, info = find_rawmode(image), image.info
    image.load()
    if image.mode.startswith("I;16"):
        values_hw = np.asarray(image)
        full = read_stated_scale(image, float(values_hw.max(initial=0)))
        image = Image.fromarray(scale_to_bytes(values_hw, full))
    elif image.mode in ("I", "F"):
        image = Image.fromarray(scale_to_bytes(np.asarray(image)))
    elif rawmode:
        handle.seek(0)
        image = brighten_dark_colours(image, rawmode, handle, (image.format,))
        image.info = info
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


def explain_error(error: Exception, path: str | os.PathLike) -> str:
    """The reason why the file at `path`, which raised `error`, gives no image."""
    match error:
        case VideoError() | UnidentifiedImageError():
            return str(error) if isinstance(error, VideoError | NoPreviewError) else _explain_content(path)
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
    if is_video(path):
        return VIDEO
    with open(path, "rb") as handle:
        head = handle.read(4096)
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        return DAMAGED if "HEIF" in list_readable_formats() else HEIC
    if head.startswith((b"\xff\xd8", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*")) or head[8:12] == b"WEBP":
        return DAMAGED
    text = head.decode("utf-8", "ignore")
    if len(text.encode()) >= len(head) - 3 and all(c.isprintable() or c.isspace() for c in text):
        return TEXT
    return UNKNOWN
