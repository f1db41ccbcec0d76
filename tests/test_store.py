import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaea import store

pieces = st.lists(st.one_of(st.text(max_size=5), st.binary(max_size=5)), max_size=4)


def as_bytes(parts):
    return [part.encode() if isinstance(part, str) else part for part in parts]


@given(pieces, pieces)
def test_hashes_agree_exactly_when_the_parts_do(left, right):
    assert (store.hash_bytes(*left) == store.hash_bytes(*right)) == (as_bytes(left) == as_bytes(right))


def test_a_hash_knows_where_one_part_ends_and_the_next_begins():
    assert store.hash_bytes("ab", "c") != store.hash_bytes("a", "bc")
    assert len(store.hash_bytes()) == 16


def test_files_hash_by_content_in_the_order_given(tmp_path):
    one, two, three = tmp_path / "1", tmp_path / "2", tmp_path / "3"
    one.write_bytes(b"x")
    two.write_bytes(b"y")
    three.write_bytes(b"x")
    assert store.hash_files(one, two) == store.hash_files(three, two)
    assert store.hash_files(one, two) != store.hash_files(two, one)


def test_an_atomic_file_appears_whole_with_ordinary_permissions(tmp_path):
    path = tmp_path / "new" / "table.csv"
    with store.atomic_path(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def write() -> None:
        with store.atomic_path(path) as temporary:
            temporary.write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_keeps_letters_of_every_script(tmp_path):
    value = {"名前": "ネコ", "a": [1, None, "Løve"]}
    store.write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert "ネコ" in text
    assert json.loads(text) == value


def test_an_artifact_appears_with_its_manifest_or_not_at_all(tmp_path):
    target = tmp_path / "deep" / "artifact"
    with store.write_artifact(target, {"kind": "test"}) as folder:
        (folder / "data").write_text("1")
        assert not target.exists()
    assert (target / "data").read_text() == "1"
    assert store.read_manifest(target) == {"kind": "test"}
    assert list(target.parent.iterdir()) == [target]


def test_a_failed_artifact_leaves_the_finished_one_and_nothing_else(tmp_path):
    target = tmp_path / "artifact"
    with store.write_artifact(target, {"kind": "test", "version": 1}) as folder:
        (folder / "data").write_text("1")

    def write() -> None:
        with store.write_artifact(target, {"kind": "test", "version": 2}) as folder:
            (folder / "data").write_text("2")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert store.read_manifest(target) == {"kind": "test", "version": 1}
    assert (target / "data").read_text() == "1"
    assert list(tmp_path.iterdir()) == [target]


def test_an_artifact_takes_the_place_of_a_finished_one_whole(tmp_path):
    target = tmp_path / "artifact"
    with store.write_artifact(target, {"kind": "test", "version": 1}) as folder:
        (folder / "stale").write_text("1")
    with store.write_artifact(target, {"kind": "test", "version": 2}) as folder:
        (folder / "data").write_text("2")
    assert sorted(path.name for path in target.iterdir()) == ["data", store.MANIFEST]
    assert store.read_manifest(target) == {"kind": "test", "version": 2}
    assert list(tmp_path.iterdir()) == [target]


def test_an_artifact_may_fill_an_empty_folder(tmp_path):
    (tmp_path / "artifact").mkdir()
    with store.write_artifact(tmp_path / "artifact", {"kind": "test", "version": 1}):
        pass
    assert store.read_manifest(tmp_path / "artifact") == {"kind": "test", "version": 1}


def test_a_writer_killed_midway_leaves_no_manifest(tmp_path, root):
    script = (
        "import os, pathlib, signal\n"
        "from linnaea import store\n"
        f"with store.write_artifact(pathlib.Path({str(tmp_path / 'artifact')!r}), {{'kind': 'test'}}) as folder:\n"
        "    (folder / 'data').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=root / "src", check=False, timeout=300)
    assert done.returncode == -signal.SIGKILL
    assert store.read_manifest(tmp_path / "artifact") is None
    assert not (tmp_path / "artifact").exists()
    assert [path.suffix for path in tmp_path.iterdir()] == [store.UNFINISHED]


@pytest.mark.parametrize(
    "left",
    [
        {"photo.jpg": "x"},
        {"deep/photo.jpg": "x"},
        {store.MANIFEST: '{"name": "a web page"}'},
        {store.MANIFEST: "no JSON"},
        {store.MANIFEST: "[]"},
    ],
)
def test_a_folder_of_the_users_is_refused_before_any_work_and_kept(tmp_path, left):
    target = tmp_path / "mine"
    for name, text in left.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(text)
    complaint = pytest.raises(ValueError, match=r"mine has other content.*choose another --out")
    with complaint, store.write_artifact(target, {"kind": "test"}):
        raise AssertionError("the block must not run")
    assert {str(path.relative_to(target)): path.read_text() for path in target.rglob("*.*")} == left
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_fills_during_the_work_is_kept(tmp_path):
    target = tmp_path / "mine"

    def write() -> None:
        with store.write_artifact(target, {"kind": "test"}):
            target.mkdir()
            (target / "photo.jpg").touch()

    with pytest.raises(ValueError, match="choose another"):
        write()
    assert [path.name for path in target.iterdir()] == ["photo.jpg"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_in_the_place_is_kept(tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(ValueError, match="mine is a file"), store.write_artifact(tmp_path / "mine", {"kind": "test"}):
        pass
    assert (tmp_path / "mine").read_text() == "x"


def test_an_artifact_of_another_kind_is_kept(tmp_path):
    with store.write_artifact(tmp_path / "a", {"kind": "vectors"}):
        pass
    with pytest.raises(ValueError, match="a has vectors, not test; choose another --out"):
        store.check_replaceable(tmp_path / "a", "test")
    with pytest.raises(ValueError, match="vectors"), store.write_artifact(tmp_path / "a", {"kind": "test"}):
        pass
    assert store.read_manifest(tmp_path / "a") == {"kind": "vectors"}


def test_in_a_folder_of_ours_a_remainder_is_replaced(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "names.npy").write_text("its manifest was cleared away")
    with store.write_artifact(tmp_path / "a", {"kind": "test"}, owned=True):
        pass
    assert [path.name for path in (tmp_path / "a").iterdir()] == [store.MANIFEST]
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_an_artifact_has_the_permissions_of_any_folder(tmp_path):
    old = os.umask(0o027)
    try:
        with store.write_artifact(tmp_path / "a", {"kind": "test"}) as folder:
            (folder / "data").touch()
        (tmp_path / "plain").mkdir()
        (tmp_path / "plain" / "data").touch()
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode
    modes = {path.stat().st_mode for path in (tmp_path / "a").iterdir()}
    assert modes == {(tmp_path / "plain" / "data").stat().st_mode}


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_an_artifact_follows_a_link_and_leaves_it(tmp_path):
    (tmp_path / "disk" / "v").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "v")
    for version in (1, 2):
        with store.write_artifact(tmp_path / "link", {"kind": "test", "version": version}):
            pass
    assert (tmp_path / "link").is_symlink()
    assert store.read_manifest(tmp_path / "disk" / "v") == {"kind": "test", "version": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "link"]


def test_what_a_killed_writer_left_goes_after_a_day_and_nothing_else_does(tmp_path):
    def leave(name, age_h):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data").touch()
        for path in (tmp_path / name / "data", tmp_path / name):
            os.utime(path, (time.time() - 3600 * age_h,) * 2)
        return name

    gone = {leave(".a.0123abcd.unfinished", 25), leave(".a.89abcdef.replaced", 25)}
    kept = {
        leave(name, 1000) for name in (".a.backup", ".a.0123abcd", ".b.0123abcd.unfinished", "a.0123abcd.unfinished")
    }
    kept.add(leave(".a.11111111.unfinished", 23))
    at_work = tmp_path / leave(".a.22222222.unfinished", 48)
    (at_work / "data").write_text("still growing")
    os.utime(at_work, (0, 0))
    with store.write_artifact(tmp_path / "a", {"kind": "test"}):
        pass
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*kept, at_work.name, "a"}
    assert not left & gone


def test_writers_at_the_same_time_leave_one_whole_artifact(tmp_path):
    def write(version):
        with store.write_artifact(tmp_path / "a", {"kind": "test", "version": version}) as folder:
            (folder / "data").write_text(str(version))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(40)))
    assert (tmp_path / "a" / "data").read_text() == str(store.read_manifest(tmp_path / "a")["version"])
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_the_manifest_of_nothing_is_none(tmp_path):
    assert store.read_manifest(tmp_path) is None
    assert store.read_manifest(tmp_path / "absent") is None


def test_vectors_come_back_as_they_went_in(tmp_path):
    vectors_nd = np.eye(3, 4, dtype=np.float32)
    rows = pl.DataFrame({"file": ["a", "b,ä", "猫"]})
    store.save_vectors(tmp_path / "v", store.Vectors(vectors_nd=vectors_nd, rows=rows, manifest={"model": "m"}))
    loaded = store.load_vectors(tmp_path / "v")
    assert loaded.vectors_nd.dtype == np.float16
    assert isinstance(loaded.vectors_nd, np.memmap)
    np.testing.assert_array_equal(loaded.vectors_nd, vectors_nd)
    assert loaded.rows.equals(rows)
    assert loaded.manifest == {"kind": "vectors", "unit": True, "model": "m", "n": 3, "d": 4}


def test_vectors_and_rows_must_agree(tmp_path):
    vectors = store.Vectors(vectors_nd=np.zeros((2, 4)), rows=pl.DataFrame({"file": ["a"]}))
    with pytest.raises(ValueError, match="2 vectors but 1 rows"):
        store.save_vectors(tmp_path / "v", vectors)
    assert not (tmp_path / "v").exists()


def test_unfinished_vectors_are_refused_with_the_remedy(tmp_path):
    np.save(tmp_path / store.VECTORS, np.zeros((1, 2)))
    with pytest.raises(FileNotFoundError, match="linnaea embed"):
        store.load_vectors(tmp_path)


def test_the_cache_folder_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path))
    assert store.default_cache_dir() == tmp_path
    monkeypatch.delenv("LINNAEA_CACHE")
    assert store.default_cache_dir().name == "linnaea"
    if os.name == "posix" and sys.platform != "darwin":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert store.default_cache_dir() == tmp_path / "linnaea"
