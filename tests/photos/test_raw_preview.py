import io

import numpy as np
import pytest
from PIL import Image

from linnaea.photos import decoding
from linnaea.photos.decoding import Unreadable, decode_image, read_size
from linnaea.standards.exif import read_photo_metadata
from photos.raw_samples import make_jpeg, make_raw


@pytest.fixture
def preview():
    """320 x 240, red above blue."""
    pixels = np.zeros((240, 320, 3), np.uint8)
    pixels[:120, :, 0] = pixels[120:, :, 2] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("suffix", "start"), [("NEF", b"II*\0"), ("cr2", b"II*\0"), ("orf", b"IIRO"), ("rw2", b"IIU\0")]
)
def test_the_largest_jpeg_that_can_be_shown_is_the_picture(tmp_path, preview, suffix, start):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(make_raw(preview, start=start))
    image = decode_image(path)
    assert image.size == (320, 240) == read_size(path)
    assert image.getpixel((5, 5))[0] > 240
    assert image.getpixel((5, 235))[2] > 240
    metadata = read_photo_metadata(path)
    assert metadata.event_date == "2024-05-01T10:00:00"
    assert metadata.camera == "NIKON D5"
    assert metadata.media_type == decoding.RAW_MEDIA_TYPES[path.suffix.lower()]


def test_the_preview_is_turned_as_the_raw_file_says(tmp_path, preview):
    (tmp_path / "a.nef").write_bytes(make_raw(preview, orientation=6))
    image = decode_image(tmp_path / "a.nef")
    assert image.size == (240, 320) == read_size(tmp_path / "a.nef")
    assert image.getpixel((235, 5))[0] > 240
    assert image.getpixel((5, 5))[2] > 240


def test_a_container_without_tags_has_those_of_its_preview(tmp_path, preview):
    exif = Image.Exif()
    exif[0x0112] = 3
    (tmp_path / "a.raf").write_bytes(b"FUJIFILMCCD-RAW " + bytes(90) + make_jpeg(preview, exif=exif))
    assert decode_image(tmp_path / "a.raf").getpixel((5, 5))[2] > 240


def test_a_raw_file_with_a_thumbnail_only_says_so(tmp_path, preview):
    preview.resize((160, 120)).save(tmp_path / "a.tif")
    (tmp_path / "a.tif").rename(tmp_path / "a.nef")
    (tmp_path / "b.cr2").write_bytes(b"II*\0" + make_jpeg(preview.resize((160, 120))) + bytes(99))
    for name in ("a.nef", "b.cr2"):
        assert decode_image(tmp_path / name) == Unreadable(decoding.RAW) == read_size(tmp_path / name)


def test_a_plain_tiff_with_a_raw_suffix_is_read(tmp_path, preview):
    stream = io.BytesIO()
    preview.save(stream, "TIFF")
    (tmp_path / "a.dng").write_bytes(stream.getvalue())
    assert decode_image(tmp_path / "a.dng").size == (320, 240)


def test_a_file_full_of_beginnings_ends_soon(tmp_path):
    (tmp_path / "a.nef").write_bytes(b"\xff\xd8\xff\xe0\0\4ab" * 200_000)
    assert decode_image(tmp_path / "a.nef") == Unreadable(decoding.RAW)
