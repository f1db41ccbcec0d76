"""Raw camera files in miniature: a TIFF header with tags, a thumbnail, sensor data, a preview."""

import io

import numpy as np
from PIL import Image

DATE = "2024:05:01 10:00:00"


def make_jpeg(image, **options):
    stream = io.BytesIO()
    image.save(stream, "JPEG", **options)
    return stream.getvalue()


def make_raw(preview, orientation=1, start=b"II*\0"):
    """The tags as cameras write them, then a thumbnail, noise, the preview, and noise again."""
    exif = Image.Exif()
    exif.endian = "<"
    exif[0x010F], exif[0x0110], exif[0x0112], exif[0x9003] = "NIKON", "D5", orientation, DATE
    tags = exif.tobytes().removeprefix(b"Exif\0\0")
    noise = np.random.default_rng(5).integers(0, 255, 5000, np.uint8).tobytes()
    thumbnail = make_jpeg(preview.resize((160, 120)))
    # lossless JPEG, as sensor data often are: its frame is none that can be shown
    sensor = make_jpeg(preview.resize((640, 480))).replace(b"\xff\xc0", b"\xff\xc3", 1)
    return start + tags[4:] + thumbnail + noise + sensor + make_jpeg(preview, quality=95) + noise
