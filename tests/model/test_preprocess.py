import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from linnaea.model.contract import Preprocess
from linnaea.model.preprocess import preprocess_image

BICUBIC = Image.Resampling.BICUBIC


def noise(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_squash_is_pillows_antialiased_resize():
    image = noise(50, 31)
    expected = np.asarray(image.resize((16, 16), BICUBIC))
    np.testing.assert_array_equal(preprocess_image(image, Preprocess(size=16, resize="squash")), expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90))
def test_shortest_equals_resizing_the_whole_image_and_cropping_its_centre(width, height):
    size, image = 16, noise(width, height)
    short = min(width, height)
    resized = [size if side == short else int(size * side / short) for side in (width, height)]
    left, top = (round((side - size) / 2) for side in resized)
    slow = image.resize(tuple(resized), BICUBIC).crop((left, top, left + size, top + size))
    fast = preprocess_image(image, Preprocess(size=size, resize="shortest"))
    difference = np.abs(fast.astype(int) - np.asarray(slow).astype(int))
    # Longer than four to one, the passes come in another order, and 8 bits round and clip between them.
    assert difference.max() == 0 if max(width, height) <= 4 * short else difference.mean() < 3


def test_shortest_of_a_very_long_image_stays_small():
    image = Image.new("RGB", (60_000, 1), (9, 90, 200))
    out = preprocess_image(image, Preprocess(size=32, resize="shortest"))
    assert out.shape == (32, 32, 3)
    assert (out == (9, 90, 200)).all()


def test_longest_pads_with_black_around_the_whole_image():
    out = preprocess_image(Image.new("RGB", (40, 20), "white"), Preprocess(size=8, resize="longest"))
    assert (out[2:6] == 255).all()
    assert not out[:2].any() and not out[6:].any()


@pytest.mark.parametrize("resize", ["squash", "shortest", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_every_mode_gives_bytes_of_the_right_shape_and_keeps_a_flat_colour(resize, interpolation):
    flat = Image.new("RGB", (33, 33), (10, 200, 30))
    out = preprocess_image(flat, Preprocess(size=7, resize=resize, interpolation=interpolation))
    assert out.shape == (7, 7, 3) and out.dtype == np.uint8
    assert (out == (10, 200, 30)).all()


def test_a_fine_pattern_becomes_its_mean_and_no_moire():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    out = preprocess_image(Image.fromarray(stripes), Preprocess(size=16)).astype(int)
    assert np.abs(out - 127.5).max() < 6
