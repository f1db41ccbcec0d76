"""The files that users of comparable tools could not read; they lie outside the repository."""

from pathlib import Path

import numpy as np
import pytest

from linnaea.photos import decoding, photo_files
from linnaea.photos.decoding import Unreadable, decode_image
from linnaea.photos.photo_files import find_images

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "naming" / "formats"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not here")
HEIC = {"iphone.heic", "iphone_upper.HEIC", "heic_named.jpg"}
# The same picture in colours, whatever holds it.
COLOURED = {
    *("a.avif", "a.bmp", "a.dng", "a.gif", "a.jp2", "a.webp", "base.jpg", "cmyk.jpg", "fuji3d.mpo", "multipage.tif"),
    *("noext", "pal.png", "phone_mpo_named.jpg", "prog.jpg", "rgb16.tif", "rgb16_12bit_range.tif"),
    *("rgb16_planar_lzw.tif", "trailing_garbage.jpg", "trunc_last2.jpg", "webp_named.jpg", *HEIC),
}
GREY = {"float.tif", "gray16.tif", "gray16_12bit.tif"}
REFUSED = {
    "DSC_0001.NEF": decoding.RAW,
    "IMG_0001.CR2": decoding.RAW,
    "empty.jpg": decoding.EMPTY,
    "html_as.jpg": decoding.TEXT,
    "trunc_half.jpg": decoding.TRUNCATED,
    "trunc_zero_tail.jpg": decoding.TRUNCATED,
}


@pytest.mark.parametrize("name", sorted(COLOURED))
def test_the_picture_is_the_same_in_every_format(name):
    if name in HEIC:
        pytest.importorskip("pi_heif")
    difference = np.asarray(decode_image(CASES / name), float) - np.asarray(decode_image(CASES / "base.jpg"), float)
    assert np.abs(difference).mean() < 20


@pytest.mark.parametrize("name", sorted(GREY))
def test_deep_grey_pictures_have_one_brightness(name):
    assert abs(np.asarray(decode_image(CASES / name)).mean() - 152) < 3


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_read_has_its_reason(name):
    assert decode_image(CASES / name) == Unreadable(REFUSED[name])


def test_every_file_of_the_folder_is_taken_or_left_out_by_name(monkeypatch):
    monkeypatch.setattr(photo_files, "can_read_videos", lambda: False)
    found = find_images([CASES], videos=True)
    assert len(found.files) + len(found.left_out) == sum(1 for _ in CASES.iterdir())
    assert {Path(other.path).name for other in found.left_out} == {
        *("._IMG_0001.JPG", "RCNX0001.MP4", "RCNX0002.AVI", "Thumbs.db", "noext", "notes.txt")
    }
