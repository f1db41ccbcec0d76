"""Images as data URIs, so that a report holds them in its own file."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

JPEG_QUALITY = 72


def encode_jpeg_bytes(image: Image.Image, max_side_px: int) -> bytes:
    """The bytes of the image as a JPEG, at most `max_side_px` wide and high. Shrinks `image` in place."""
    from PIL import Image

    image.thumbnail((max_side_px, max_side_px), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return buffer.getvalue()


def encode_indexed_png(index_rc: np.ndarray, palette: np.ndarray) -> str:
    """A PNG data URI of colour numbers [R, C], uint8, and their colours [256, 3], uint8."""
    from PIL import Image

    image = Image.fromarray(index_rc)
    image.putpalette(palette.ravel().tolist())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return _to_data_uri(buffer, "image/png")


def _to_data_uri(buffer: io.BytesIO, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(buffer.getvalue()).decode()}"
