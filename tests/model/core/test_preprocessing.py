import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from linnaea.model.core import preprocessing as preprocess_module
from linnaea.model.core.contract import Preprocess
from linnaea.model.core.preprocessing import compute_upright_size, map_box_to_stored, preprocess_image

TURNS = [None, *Image.Transpose]


def noise(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def scene(width, height, seed=0):
    """Edges between saturated colours, with some noise."""
    colours = np.random.default_rng(seed).integers(0, 2, (6, 8, 3), dtype=np.uint8) * 255
    blocks = Image.fromarray(colours).resize((width, height), Image.Resampling.NEAREST)
    return Image.blend(blocks, noise(width, height, seed), 0.15)


def slow(image, preprocess):
    """The same by Pillow alone: the whole image resized, then cut or padded."""
    size, (width, height), resample = preprocess.size, image.size, preprocess_module.FILTERS[preprocess.interpolation]
    if preprocess.resize == "squash":
        return np.asarray(image.resize((size, size), resample))
    if preprocess.resize == "shortest":
        short = min(width, height)
        resized = [size if side == short else int(size * side / short) for side in (width, height)]
        left, top = (round((side - size) / 2) for side in resized)
        return np.asarray(image.resize(tuple(resized), resample).crop((left, top, left + size, top + size)))
    scale = size / max(width, height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = Image.new("RGB", (size, size))
    canvas.paste(image.resize(inner, resample), ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return np.asarray(canvas)


def difference(first, second):
    return np.abs(first.astype(int) - second.astype(int)).max()


def is_comparable(width, height):
    """Whether this Pillow's order of passes is the one kept here: since 13 it begins with what is much too tall."""
    return int(PIL.__version__.split(".")[0]) >= 13 or height <= width


@pytest.mark.parametrize("resize", ["squash", "shortest", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(640, 480), (480, 640), (1001, 333), (333, 1001), (64, 64), (40, 31), (224, 224)])
def test_every_mode_is_pillows_antialiased_resize_to_one_level(resize, interpolation, size):
    preprocess = Preprocess(size=64, resize=resize, interpolation=interpolation)
    image = scene(*size)
    if is_comparable(*size):
        assert difference(preprocess_image(image, preprocess), slow(image, preprocess)) <= 1


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(["squash", "shortest", "longest"]), st.booleans())
def test_any_shape_of_noise_is_resized_as_the_whole_image_and_then_cropped(width, height, resize, linear):
    preprocess = Preprocess(size=16, resize=resize, interpolation="bilinear" if linear else "bicubic")
    image = noise(width, height)
    if is_comparable(width, height):
        # The extreme: in noise, a level that is lost between the passes can rarely make two.
        assert difference(preprocess_image(image, preprocess), slow(image, preprocess)) <= 2


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("resize", ["squash", "shortest", "longest"])
@pytest.mark.parametrize("size", [(95, 60), (60, 95), (40, 200)])
def test_a_turn_left_for_later_gives_what_turning_first_gives(turn, resize, size):
    preprocess, image = Preprocess(size=33, resize=resize), scene(*size)
    upright = image if turn is None else image.transpose(turn)
    assert difference(preprocess_image(image, preprocess, turn), preprocess_image(upright, preprocess)) <= 1
    assert compute_upright_size(image.size, turn) == upright.size


@pytest.mark.parametrize("turn", TURNS)
def test_a_box_of_the_upright_image_is_found_in_the_stored_one(turn):
    image, box = noise(20, 13), (2, 3, 9, 11)
    upright = image if turn is None else image.transpose(turn)
    stored = image.crop(map_box_to_stored(box, image.size, turn))
    assert (stored if turn is None else stored.transpose(turn)).tobytes() == upright.crop(box).tobytes()


def test_opaque_rgba_gives_what_rgb_gives():
    image = scene(120, 90)
    for resize in ("squash", "shortest", "longest"):
        preprocess = Preprocess(size=32, resize=resize)
        expected = preprocess_image(image, preprocess)
        np.testing.assert_array_equal(preprocess_image(image.convert("RGBA"), preprocess), expected)


@pytest.mark.parametrize("resize", ["squash", "shortest", "longest"])
@pytest.mark.parametrize("turn", [None, Image.Transpose.ROTATE_90])
def test_a_pillow_that_is_not_known_resizes_by_itself(monkeypatch, resize, turn):
    preprocess, image = Preprocess(size=32, resize=resize), scene(120, 90)
    fast = preprocess_image(image, preprocess, turn)
    monkeypatch.setattr(PIL, "__version__", "99.0")
    monkeypatch.setattr(preprocess_module, "_fast_pass", None)
    assert difference(preprocess_image(image.convert("RGBA"), preprocess, turn), fast) <= 1


def test_the_first_pass_of_an_image_that_shrinks_little_is_pillows_own():
    # Only the first pass has anything to do here, as all rows are equal; the fast resize is now and then one level off.
    for seed in range(20):
        row = np.random.default_rng(seed).integers(0, 256, (1, 340, 3), np.uint8)
        image = Image.fromarray(np.broadcast_to(row, (340, 340, 3)).copy())
        expected = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(preprocess_image(image, Preprocess(size=224, resize="squash")), expected)


def test_shortest_of_a_very_long_image_stays_small(monkeypatch):
    sides = []
    resize = Image.Image.resize

    def watched(self, size, *arguments, **options):
        sides.extend(size)
        return resize(self, size, *arguments, **options)

    monkeypatch.setattr(Image.Image, "resize", watched)
    image = Image.new("RGB", (60_000, 1), (9, 90, 200))
    out = preprocess_image(image, Preprocess(size=32, resize="shortest"))
    assert out.shape == (32, 32, 3)
    # 32 x 1,920,000 pixels of the whole image would be made otherwise
    assert max(sides, default=0) <= 128
    assert (out == (9, 90, 200)).all()


def test_longest_pads_with_black_around_the_whole_image():
    out = preprocess_image(Image.new("RGB", (40, 20), "white"), Preprocess(size=8, resize="longest"))
    assert (out[2:6] == 255).all()
    assert not out[:2].any()
    assert not out[6:].any()


@pytest.mark.parametrize("resize", ["squash", "shortest", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_every_mode_gives_bytes_of_the_right_shape_and_keeps_a_flat_colour(resize, interpolation):
    flat = Image.new("RGB", (33, 33), (10, 200, 30))
    out = preprocess_image(flat, Preprocess(size=7, resize=resize, interpolation=interpolation))
    assert out.shape == (7, 7, 3)
    assert out.dtype == np.uint8
    assert (out == (10, 200, 30)).all()


def test_a_fine_pattern_becomes_its_mean_and_no_moire():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    out = preprocess_image(Image.fromarray(stripes), Preprocess(size=16)).astype(int)
    assert np.abs(out - 127.5).max() < 6
