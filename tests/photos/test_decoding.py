import os
import socket
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from linnaea.photos import decoding as decode
from linnaea.photos.decoding import Unreadable, decode_image, read_size
from linnaea.records import Box
from linnaea.standards.exif import read_photo_metadata
from photos.heic_samples import HEIC
from photos.raw_samples import make_raw

SIXTEEN = np.linspace(0, 65535, 60 * 80).reshape(60, 80).astype(np.uint16)


@pytest.fixture
def picture():
    """80 x 60, red left of the middle, blue right of it, a green row on top."""
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[:, :40, 0] = 255
    pixels[:, 40:, 2] = 255
    pixels[:10] = (0, 255, 0)
    return Image.fromarray(pixels)


def close(image, x, y, colour, tolerance=40):
    return max(abs(a - b) for a, b in zip(image.getpixel((x, y)), colour, strict=True)) <= tolerance


def reason(path, box=None):
    result = decode_image(path, box)
    assert isinstance(result, Unreadable), result
    return result.reason


def png_header(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif", "ppm", "gif"])
def test_common_kinds_give_the_same_picture(tmp_path, picture, suffix):
    picture.save(tmp_path / f"a.{suffix}")
    image = decode_image(tmp_path / f"a.{suffix}")
    assert image.mode == "RGB"
    assert image.size == (80, 60)
    assert close(image, 20, 40, (255, 0, 0))
    assert close(image, 60, 40, (0, 0, 255))
    assert close(image, 40, 4, (0, 255, 0))


def test_cmyk_keeps_its_colours(tmp_path, picture):
    picture.convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    image = decode_image(tmp_path / "a.jpg")
    assert close(image, 20, 40, (255, 0, 0))
    assert close(image, 60, 40, (0, 0, 255))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path, name):
    Image.fromarray(SIXTEEN).save(tmp_path / name)
    grey = np.asarray(decode_image(tmp_path / name))[..., 0]
    np.testing.assert_array_equal(grey, SIXTEEN >> 8)


def test_thirty_two_bits_and_fractions_are_scaled(tmp_path):
    Image.fromarray(SIXTEEN.astype(np.int32)).save(tmp_path / "i.tif")
    Image.fromarray((SIXTEEN / 65535).astype(np.float32)).save(tmp_path / "f.tif")
    for name in ("i.tif", "f.tif"):
        grey = np.asarray(decode_image(tmp_path / name))[..., 0].astype(int)
        assert np.abs(grey - (SIXTEEN >> 8)).max() <= 1


# Where the pixel at row y, column x of the upright image (height h, width w) is stored, by EXIF orientation. From the
# standard's definition of tag 274 (the visual side of row 0, of column 0), not from the table under test: 2 is row 0 at
# the top, column 0 at the right; 4 is bottom, left; 6 is right, top; 8 is left, bottom.
STORED = {
    1: lambda y, x, h, w: (y, x),
    2: lambda y, x, h, w: (y, w - 1 - x),
    3: lambda y, x, h, w: (h - 1 - y, w - 1 - x),
    4: lambda y, x, h, w: (h - 1 - y, x),
    5: lambda y, x, h, w: (x, y),
    6: lambda y, x, h, w: (w - 1 - x, y),
    7: lambda y, x, h, w: (w - 1 - x, h - 1 - y),
    8: lambda y, x, h, w: (x, h - 1 - y),
}


def store_pixels(upright, orientation):
    """The array that a camera stores for an upright one, pixel by pixel."""
    h, w = upright.shape[:2]
    stored = np.zeros((w, h, 3) if orientation >= 5 else (h, w, 3), np.uint8)
    for y in range(h):
        for x in range(w):
            stored[STORED[orientation](y, x, h, w)] = upright[y, x]
    return stored


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_upright(tmp_path, suffix, orientation):
    # Four different quarters, so that no two of the eight transformations give the same picture.
    colours = np.array([[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 0)]], np.uint8)
    upright = np.repeat(np.repeat(colours, 30, axis=0), 40, axis=1)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(store_pixels(upright, orientation)).save(tmp_path / f"a.{suffix}", exif=exif)
    image = decode_image(tmp_path / f"a.{suffix}")
    assert image.size == (80, 60) == read_size(tmp_path / f"a.{suffix}")
    for x, y in ((20, 15), (60, 15), (20, 45), (60, 45)):
        assert close(image, x, y, tuple(map(int, upright[y, x]))), (x, y)


def test_transparency_lies_on_white_in_every_mode_that_has_it(tmp_path, picture):
    clear = np.zeros((8, 8, 4), np.uint8)
    Image.fromarray(clear).save(tmp_path / "rgba.png")
    Image.fromarray(clear[..., [0, 3]]).save(tmp_path / "la.png")
    picture.quantize(8).save(tmp_path / "p.png", transparency=bytes([0] * 256))
    picture.save(tmp_path / "trns.png", transparency=(255, 0, 0))
    for name in ("rgba.png", "la.png", "p.png"):
        assert (np.asarray(decode_image(tmp_path / name)) == 255).all(), name
    keyed = decode_image(tmp_path / "trns.png")
    assert keyed.getpixel((20, 40)) == (255, 255, 255)
    assert keyed.getpixel((60, 40)) == (0, 0, 255)


def test_of_an_animation_the_first_frame_counts(tmp_path, picture):
    other = Image.new("RGB", picture.size, "black")
    for name in ("a.gif", "a.webp", "a.png", "a.tif"):
        picture.save(tmp_path / name, save_all=True, append_images=[other])
        image = decode_image(tmp_path / name)
        assert close(image, 20, 40, (255, 0, 0)), name
        assert image.info.get(decode.NOTE, "") == ("the first page of several" if name == "a.tif" else "")


def test_each_kind_of_bad_file_has_its_reason(tmp_path, picture):
    picture.save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "head.jpg").write_bytes(data[:30])
    (tmp_path / "zero.jpg").touch()
    (tmp_path / "text.jpg").write_text("Grüße, this is no photograph\n" * 20, encoding="utf-8")
    (tmp_path / "noise.jpg").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "raw.nef").write_bytes(b"II*\0" + b"\0" * 99)
    (tmp_path / "zero.cr2").touch()
    (tmp_path / "folder.jpg").mkdir()
    assert reason(tmp_path / "half.jpg") == decode.TRUNCATED == reason(tmp_path / "head.jpg")
    assert reason(tmp_path / "zero.jpg") == decode.EMPTY
    assert reason(tmp_path / "text.jpg") == decode.TEXT
    assert reason(tmp_path / "noise.jpg") == decode.UNKNOWN
    assert reason(tmp_path / "raw.nef") == decode.RAW
    assert reason(tmp_path / "zero.cr2") == decode.EMPTY
    assert reason(tmp_path / "folder.jpg") == decode.FOLDER
    assert reason(tmp_path / "missing.jpg") == decode.MISSING


def test_heic_comes_upright_whatever_its_name_and_without_the_extra_the_extra_is_named(tmp_path, monkeypatch):
    pytest.importorskip("pi_heif")
    for name in ("phone.heic", "PHONE.HEIC", "phone.jpg"):
        (tmp_path / name).write_bytes(HEIC)
        image = decode_image(tmp_path / name)
        assert image.size == (64, 48) == read_size(tmp_path / name)
        for x, y, colour in ((9, 9, (255, 0, 0)), (55, 9, (0, 255, 0)), (9, 40, (0, 0, 255)), (55, 40, (255, 255, 0))):
            assert close(image, x, y, colour)
    assert read_photo_metadata(tmp_path / "phone.heic").event_date == "2024-05-01T10:00:00"
    (tmp_path / "cut.heic").write_bytes(HEIC[:-200])
    assert reason(tmp_path / "cut.heic") in (decode.DAMAGED, decode.TRUNCATED)
    plain = tuple(name for name in decode.list_readable_formats() if name != "HEIF")
    monkeypatch.setattr(decode, "list_readable_formats", lambda: plain)
    assert reason(tmp_path / "phone.jpg") == decode.HEIC
    assert "linnaea[heic]" in decode.HEIC


def test_a_jpeg_without_its_end_is_read_and_noted(tmp_path, picture):
    for progressive in (False, True):
        picture.resize((320, 240)).save(tmp_path / "whole.jpg", quality=90, progressive=progressive)
        data = (tmp_path / "whole.jpg").read_bytes()
        whole = np.asarray(decode_image(tmp_path / "whole.jpg"))
        for cut in (data[:-2], data[:-1], data[:-2] + bytes(40)):
            (tmp_path / "cut.jpg").write_bytes(cut)
            image = decode_image(tmp_path / "cut.jpg")
            assert image.info[decode.NOTE] == "read, although its end is missing"
            np.testing.assert_array_equal(np.asarray(image), whole)
        assert decode_image(tmp_path / "cut.jpg", least_side=60).size == (80, 60)
        assert decode.NOTE not in decode_image(tmp_path / "whole.jpg").info


def test_a_jpeg_that_lacks_more_than_its_end_is_refused(tmp_path):
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 255, (240, 320, 3), np.uint8))
    for progressive in (False, True):
        noise.save(tmp_path / "whole.jpg", quality=90, progressive=progressive)
        data = (tmp_path / "whole.jpg").read_bytes()
        for cut in (
            data[: len(data) // 2],
            data[: len(data) * 9 // 10],
            data[: len(data) // 2] + bytes(len(data) // 2),
        ):
            (tmp_path / "cut.jpg").write_bytes(cut)
            assert reason(tmp_path / "cut.jpg") == decode.TRUNCATED
    # without its last scan a progressive picture is whole to the eye, but not what was photographed
    last = data.rindex(b"\xff\xda")
    (tmp_path / "cut.jpg").write_bytes(data[:last])
    assert isinstance(decode_image(tmp_path / "cut.jpg"), Unreadable)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_pipes_and_sockets_are_refused_without_waiting(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.jpg")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        assert reason("pipe.jpg") == decode.NOT_REGULAR == reason("socket.jpg")


def test_a_file_without_permission_says_so(tmp_path, picture, monkeypatch):
    picture.save(tmp_path / "a.png")

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert reason(tmp_path / "a.png") == decode.NO_PERMISSION


def test_a_decompression_bomb_names_its_size_and_the_limit(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_header(30_000, 30_000))
    assert reason(tmp_path / "bomb.png") == "too large: 900,000,000 pixels, over the limit of 178,956,970"
    assert read_size(tmp_path / "bomb.png") == Unreadable(reason(tmp_path / "bomb.png"))


def test_a_hundred_megapixels_are_read_and_a_jpeg_shrinks_while_it_is_decoded(tmp_path):
    rows = np.broadcast_to((np.arange(10_000) // 40).astype(np.uint8)[:, None], (10_000, 10_000))
    Image.fromarray(np.ascontiguousarray(rows)).save(tmp_path / "big.jpg", quality=60)
    image = decode_image(tmp_path / "big.jpg", least_side=448)
    assert 448 <= image.width <= 900
    assert image.width == image.height
    assert abs(image.getpixel((5, image.height // 2))[0] - 125) <= 2


def test_shrinking_never_goes_below_the_side_asked_for_nor_enlarges(tmp_path, picture):
    for width, height in ((1000, 700), (449, 5000), (300, 200)):
        picture.resize((width, height)).save(tmp_path / "a.jpg")
        picture.resize((width, height)).save(tmp_path / "a.png")
        for name in ("a.jpg", "a.png"):
            image = decode_image(tmp_path / name, least_side=224)
            assert min(image.size) >= min(224, width, height), (name, image.size)
            assert image.width <= width


def test_a_box_is_cropped_from_the_upright_image_with_a_margin(tmp_path, picture):
    exif = Image.Exif()
    exif[decode.ORIENTATION_TAG] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.png", exif=exif)
    box = Box(left=40, top=10, right=80, bottom=60)
    exact = decode_image(tmp_path / "a.png", box, margin=0)
    assert exact.size == (40, 50)
    assert exact.getpixel((0, 0)) == (0, 0, 255)
    assert decode_image(tmp_path / "a.png", box, margin=0.1).size == (45, 55)


def test_a_box_keeps_its_place_when_the_image_is_shrunk(tmp_path, picture):
    picture.resize((1600, 1200), Image.Resampling.NEAREST).save(tmp_path / "a.jpg", quality=95)
    box = Box(left=800, top=200, right=1600, bottom=1200)
    image = decode_image(tmp_path / "a.jpg", box, least_side=100, margin=0)
    assert 100 <= image.width < 400
    assert all(close(image, x, y, (0, 0, 255)) for x in (3, image.width - 3) for y in (3, image.height - 3))


@pytest.mark.parametrize(
    "sides", [(90, 0, 99, 9), (-9, -9, -1, -1), (10, 10, 10, 20), (float("nan"), 0, 5, 5), (0, 0, float("inf"), 5)]
)
def test_boxes_without_a_pixel_have_a_reason(tmp_path, picture, sides):
    picture.save(tmp_path / "a.png")
    left, top, right, bottom = sides
    assert reason(tmp_path / "a.png", Box(left=left, top=top, right=right, bottom=bottom)) == decode.OUTSIDE


def save_as(path, picture):
    """Write the picture, also as what Pillow does not write."""
    if path.suffix == ".heic":
        path.write_bytes(HEIC)
    elif path.suffix == ".nef":
        path.write_bytes(make_raw(picture.resize((320, 240))))
    else:
        picture.save(path)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["jpg", "png", "webp", "gif", "tif", "bmp", "avif", "jp2", "heic", "nef"]), st.data())
def test_damage_never_raises(tmp_path, picture, suffix, data):
    whole = tmp_path / f"whole.{suffix}"
    if not whole.exists():
        save_as(whole, picture)
    content = bytearray(whole.read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=12)):
        content[position] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(1, len(content))) :]
    damaged = tmp_path / f"damaged.{suffix}"
    damaged.write_bytes(content)
    result = decode_image(damaged, least_side=data.draw(st.sampled_from([0, 8])))
    assert isinstance(result, Unreadable) or result.mode == "RGB"
