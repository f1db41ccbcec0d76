import struct

import numpy as np
import pytest
from PIL import Image

from linnaea.photos.decoding import decode_image
from linnaea.photos.sample_depth import find_full_scale, scale_to_bytes


def write_tiff(path, samples, *, order="<", more=()):
    """A plain TIFF of uint16 samples [h, w, 3] or [h, w]; `more` are further tags (number, value)."""
    height, width = samples.shape[:2]
    n_bands = 1 if samples.ndim == 2 else 3
    entries = {
        256: (4, width),
        257: (4, height),
        259: (3, 1),
        262: (3, 1 if n_bands == 1 else 2),
        277: (3, n_bands),
        278: (4, height),
    }
    entries |= {number: (3, value) for number, value in more}
    n = len(entries) + 3
    bits_at = 8 + 2 + 12 * n + 4
    entries |= {258: (3, 16) if n_bands == 1 else (3, bits_at)}
    data_at = bits_at + 6
    entries |= {273: (4, data_at), 279: (4, samples.nbytes)}
    out = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, n)
    for number, (kind, value) in sorted(entries.items()):
        count = 3 if number == 258 and n_bands == 3 else 1
        short = kind == 3 and count == 1
        out += struct.pack(order + "HHI", number, kind, count)
        out += struct.pack(order + ("HH" if short else "I"), *((value, 0) if short else (value,)))
    out += struct.pack(order + "I3H", 0, 16, 16, 16)
    path.write_bytes(out + samples.astype(order + "u2").tobytes())


@pytest.fixture
def ramp():
    """0 to 1 from left to right."""
    return np.broadcast_to(np.linspace(0, 1, 80), (60, 80))


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("order", "<>")
def test_twelve_bits_in_sixteen_are_as_bright_as_eight(tmp_path, ramp, bits, order):
    grey = (ramp * (2**bits - 1)).astype(np.uint16)
    colour = np.stack([grey, grey // 2, grey // 3], axis=2)
    write_tiff(tmp_path / "grey.tif", grey, order=order)
    write_tiff(tmp_path / "colour.tif", colour, order=order)
    expected = np.round(ramp * 255)
    assert np.abs(np.asarray(decode_image(tmp_path / "grey.tif"))[..., 0] - expected).max() <= 1
    bands = np.asarray(decode_image(tmp_path / "colour.tif")).astype(float)
    for band, share in enumerate((1, 2, 3)):
        assert np.abs(bands[..., band] - expected / share).max() <= 2


def test_colours_in_a_png_are_scaled_too(tmp_path, ramp):
    import zlib

    samples = np.stack([ramp * 4095] * 3, axis=2).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 80, 60, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    (tmp_path / "a.png").write_bytes(data)
    assert np.abs(np.asarray(decode_image(tmp_path / "a.png"))[..., 0] - np.round(ramp * 255)).max() <= 1


def test_a_stated_scale_counts_unless_a_sample_exceeds_it(tmp_path, ramp):
    dark = (ramp * 900).astype(np.uint16)
    for name, stated in (("without", ()), ("stated", ((281, 4095),)), ("wrong", ((281, 500),))):
        write_tiff(tmp_path / f"{name}.tif", dark, more=stated)
    brightest = {
        name: int(np.asarray(decode_image(tmp_path / f"{name}.tif")).max()) for name in ("without", "stated", "wrong")
    }
    assert brightest == {"without": 224, "stated": 56, "wrong": 224}


def test_full_scale_is_the_least_usual_one_that_holds_all():
    assert find_full_scale(np.array([4095], np.uint16)) == 4095
    assert find_full_scale(np.array([4096], np.uint16)) == 16383
    assert find_full_scale(np.array([0.7], np.float32)) == 1
    assert find_full_scale(np.array([70_000], np.int32)) == 70_000
    assert find_full_scale(np.array([], np.uint16)) == 255
    assert scale_to_bytes(np.array([0, 4095], np.uint16)).tolist() == [0, 255]


def test_rgb_of_eight_bits_stays_as_it_is(tmp_path):
    dark = Image.new("RGB", (8, 8), (3, 2, 1))
    dark.save(tmp_path / "a.tif")
    assert decode_image(tmp_path / "a.tif").getpixel((0, 0)) == (3, 2, 1)
