import os

import pytest

from linnaea.photos import photo_files
from linnaea.photos.decoding import PHOTO_SUFFIXES
from linnaea.photos.photo_files import LeftOut, find_images, format_path


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
    assert [other.reason for other in found.left_out] == [photo_files.TWICE] * 3


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
    assert find_images([tmp_path]).left_out == (LeftOut(str(tmp_path), photo_files.EMPTY_FOLDER),)


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


def test_what_is_given_is_photographs_and_what_is_left_out_by_name(tmp_path):
    for name in ("a.jpg", "clip.MP4", "notes.txt", "noext", "Thumbs.db", "._a.jpg", ".cache/b.jpg", "deep/c.avi"):
        touch(tmp_path / name)
    found = find_images([tmp_path])
    assert names(found, tmp_path) == ["a.jpg"]
    reasons = {os.path.relpath(other.path, tmp_path): other.reason for other in found.left_out}
    assert reasons == {
        "clip.MP4": photo_files.VIDEO,
        "deep/c.avi".replace("/", os.sep): photo_files.VIDEO,
        "notes.txt": ".txt is not the suffix of a photograph",
        "Thumbs.db": ".db is not the suffix of a photograph",
        "noext": photo_files.NO_SUFFIX,
        "._a.jpg": photo_files.HIDDEN,
        ".cache": photo_files.HIDDEN_FOLDER,
    }


def test_a_file_that_is_given_by_itself_is_read_and_not_left_out_with_its_folder(tmp_path):
    touch(tmp_path / "noext")
    found = find_images([tmp_path, tmp_path / "noext"])
    assert names(found, tmp_path) == ["noext"]
    assert not found.left_out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_links_and_pipes_are_left_out_by_name_and_those_named_like_photographs_have_a_row(tmp_path):
    touch(tmp_path / "a" / "1.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a" / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "a" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "a" / "pipe")
    os.mkfifo(tmp_path / "a" / "pipe.jpg")
    found = find_images([tmp_path])
    assert names(found, tmp_path) == ["a/1.jpg", "a/gone.jpg", "a/pipe.jpg"]
    reasons = {os.path.basename(other.path): other.reason for other in found.left_out}
    assert reasons == {
        "loop": photo_files.LINKED_FOLDER,
        "gone": "a link: the file does not exist",
        "pipe": "not a regular file (a pipe, socket or device)",
    }
