import io
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from linnaea.photos import decoding as decode
from linnaea.photos.decoding import Unreadable, decode_image, use_image
from linnaea.photos.jpeg import PixelMemory, decode_jpeg


def scene(width, height, seed=0):
    """Coarse and fine noise, coloured, with a saturated corner."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    fine = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
    image = Image.blend(coarse, fine, 0.2)
    image.paste((255, 255, 0), (0, 0, width // 3, height // 3))
    return image


def jpeg(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def fast(data, size):
    return decode_jpeg(data, size, np.empty(4 * size[0] * size[1], np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (160, 121), (121, 160)])
@pytest.mark.parametrize(
    "options",
    [{"subsampling": s} for s in (0, 1, 2)]
    + [{"quality": 5}, {"quality": 98}, {"progressive": True}, {"keep_rgb": True}, {"restart_marker_blocks": 3}],
    ids=str,
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pixels_are_pillows_to_the_last_bit(size, options, mode):
    data = jpeg(scene(*size).convert(mode), **(options if mode == "RGB" else {}))
    image = fast(data, size)
    assert image.mode == "RGBA"
    assert image.size == size
    pixels = np.asarray(image)
    np.testing.assert_array_equal(pixels[..., :3], np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    assert (pixels[..., 3] == 255).all()


@pytest.mark.parametrize("divisor", [1, 2, 4, 8])
def test_scaling_divides_and_rounds_up(divisor):
    data = jpeg(Image.new("RGB", (161, 99), (200, 40, 90)), quality=95)
    size = (-(-161 // divisor), -(-99 // divisor))
    pixels = np.asarray(fast(data, size))[..., :3].astype(int)
    assert pixels.shape == (size[1], size[0], 3)
    assert np.abs(pixels - (200, 40, 90)).max() <= 3


def test_odd_data_is_left_to_pillow():
    size = (40, 30)
    whole = jpeg(scene(*size))
    assert fast(whole[: len(whole) // 2], size) is None
    assert fast(whole[:100], size) is None
    assert fast(b"no JPEG", size) is None
    assert fast(whole, (40, 31)) is None
    assert fast(whole + b"what cameras append", size) is not None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_is_judged_as_pillow_judges_it(tmp_path, data):
    mode = data.draw(st.sampled_from(["RGB", "L", "CMYK"]))
    content = bytearray(jpeg(scene(50, 41).convert(mode), progressive=data.draw(st.booleans())))
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[position] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(len(content) // 2, len(content))) :]
    path = tmp_path / "damaged.jpg"
    path.write_bytes(content)
    found = []
    with pytest.MonkeyPatch.context() as patch:
        found.append(decode_image(path))
        patch.setattr(decode, "decode_jpeg", lambda *_: None)
        found.append(decode_image(path))
    if isinstance(found[0], Unreadable):
        assert found[0] == found[1]
    else:
        np.testing.assert_array_equal(*map(np.asarray, found))


def test_a_jpeg_with_very_much_behind_it_is_not_read_at_once(tmp_path, monkeypatch):
    scene(40, 30).save(tmp_path / "a.jpg")
    expected = np.asarray(decode_image(tmp_path / "a.jpg"))
    monkeypatch.setattr(decode, "MAX_JPEG_BYTES", 100)
    monkeypatch.setattr(decode, "decode_jpeg", None)
    np.testing.assert_array_equal(np.asarray(decode_image(tmp_path / "a.jpg")), expected)


def test_photographs_after_one_another_keep_apart(tmp_path):
    decode.memory.release()
    for i, size in enumerate([(64, 48), (30, 20), (64, 48), (100, 80)]):
        scene(*size, seed=i).save(tmp_path / f"{i}.jpg")
        expected = np.asarray(Image.open(tmp_path / f"{i}.jpg"))
        pixels = use_image(tmp_path / f"{i}.jpg", lambda image, turn: np.asarray(image)[..., :3].copy())
        np.testing.assert_array_equal(pixels, expected)
        kept = decode_image(tmp_path / f"{i}.jpg")
        use_image(tmp_path / "0.jpg", lambda image, turn: None)
        np.testing.assert_array_equal(np.asarray(kept), expected)


def test_what_the_use_of_an_image_raises_is_no_bad_file(tmp_path):
    scene(9, 9).save(tmp_path / "a.jpg")

    def use(image, turn):
        raise RuntimeError("our own mistake")

    with pytest.raises(RuntimeError, match="our own"):
        use_image(tmp_path / "a.jpg", use)
    with decode.memory.reserve(1 << 40):  # all of it is free again
        pass


def test_a_buffer_is_used_again_and_a_small_one_gives_way():
    memory = PixelMemory(1000)
    with memory.buffer(100) as first:
        pass
    with memory.buffer(60) as second, memory.buffer(60) as third:
        assert second is first
        assert third is not first
    with memory.buffer(200) as larger:
        pass
    with memory.buffer(150) as again:
        assert again is larger
    with memory.buffer(900) as giant:
        pass
    with memory.buffer(900) as other:
        assert other is not giant  # more than a quarter of the limit is not kept
    memory.release()
    with memory.buffer(150) as fresh:
        assert fresh is not larger


def test_images_wait_for_room_and_a_giant_goes_alone():
    memory, order, inside = PixelMemory(100), [], threading.Event()

    def giant():
        inside.set()
        with memory.reserve(500):
            order.append("giant")

    with memory.reserve(60):
        with memory.reserve(40):
            order.append("both")
        thread = threading.Thread(target=giant)
        thread.start()
        inside.wait(5)
        thread.join(0.05)
        order.append("first is done")
    thread.join(5)
    assert order == ["both", "first is done", "giant"]
