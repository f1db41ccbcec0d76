import os

import pytest

from linnaea.photos.decoding import PHOTO_SUFFIXES
from linnaea.photos.photo_files import find_images, format_path


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def names(found, root):
    return [os.path.relpath(file.path, root) for file in found.files]


def test_folders_are_walked_in_sorted_order_depth_first(tmp_path):
    for name in ("b.jpg", "a/2.png", "a/1.png", "a/deep/er/x.webp", "c/notes.txt", ".hidden/y.jpg", "._a.jpg", "Z.JPG"):
        touch(tmp_path / name)
    assert names(find_images([tmp_path]), tmp_path) == ["Z.JPG", "a/1.png", "a/2.png", "a/deep/er/x.webp", "b.jpg"]


def test_a_path_that_comes_twice_is_kept_once(tmp_path, monkeypatch):
    touch(tmp_path / "a" / "1.jpg")
    monkeypatch.chdir(tmp_path)
    found = find_images(["a/1.jpg", "a", "./a/../a/1.jpg", str(tmp_path / "a" / "1.jpg")])
    assert [file.path for file in found.files] == ["a/1.jpg"]
    assert found.n_duplicates == 3


def test_a_named_file_is_taken_whatever_its_suffix_and_a_missing_one_too(tmp_path):
    touch(tmp_path / "photo.dat")
    assert len(find_images([tmp_path / "photo.dat", tmp_path / "gone.jpg"]).files) == 2


def test_a_folder_that_cannot_be_listed_has_a_reason(tmp_path, monkeypatch):
    touch(tmp_path / "open" / "1.jpg")
    (tmp_path / "locked").mkdir()
    real = os.scandir

    def scandir(path):
        if os.path.basename(path) == "locked":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    locked, opened = find_images([tmp_path]).files
    assert "cannot be listed" in locked.reason
    assert not opened.reason


def test_a_folder_without_photographs_is_told(tmp_path):
    assert find_images([tmp_path]).empty_folders == (str(tmp_path),)


def test_a_link_that_goes_round_in_a_circle_is_not_followed(tmp_path):
    touch(tmp_path / "a" / "1.jpg")
    try:
        (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    except OSError:
        pytest.skip("no links on this system")
    assert names(find_images([tmp_path]), tmp_path) == ["a/1.jpg"]


def test_heic_and_raw_files_do_not_vanish_from_a_folder():
    assert {".heic", ".nef", ".jpg"} <= PHOTO_SUFFIXES


def test_bytes_that_are_no_utf8_are_written_so_that_every_table_can_hold_them():
    assert format_path(os.fsdecode(b"caf\xe9.jpg")) == "caf\\xe9.jpg"
    assert format_path("\ud800.jpg").encode()
    assert format_path("猫, cat\n.jpg") == "猫, cat\n.jpg"
