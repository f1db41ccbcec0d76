"""Tensors in a safetensors file, where they lie and as the numbers that they are."""

from __future__ import annotations

import hashlib
import json
import os

import numpy as np
import pytest

from linnaea.model.core.safetensors import hash_sha256, read_safetensors, write_safetensors

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "half": np.array([1.5, -2], np.float16),
    "scale": np.array(4.6, np.float32),
    "brain": np.array([0x3F80, 0xC000], np.uint16),  # 1 and -2 as bfloat16
    "empty": np.zeros((0, 3), np.float32),
}


@pytest.fixture
def path(tmp_path):
    write_safetensors(tmp_path / "x.safetensors", ARRAYS, frozenset({"brain"}))
    return tmp_path / "x.safetensors"


def test_what_is_written_is_read(path):
    tensors = read_safetensors(path)
    assert list(tensors) == list(ARRAYS)
    for name in ("a", "half", "scale", "empty"):
        found = tensors[name].array()
        assert found.dtype == np.float32
        assert found.shape == ARRAYS[name].shape
        np.testing.assert_array_equal(found, ARRAYS[name])
    np.testing.assert_array_equal(tensors["brain"].array(), np.array([1, -2], np.float32))


def test_a_tensor_says_where_its_bytes_lie(path):
    tensor = read_safetensors(path)["a"]
    content = path.read_bytes()
    assert np.frombuffer(content[tensor.offset : tensor.offset + tensor.n_bytes], "<f4").tolist() == [0, 1, 2, 3, 4, 5]


def test_the_format_is_that_of_the_library(path, tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    given = {name: ARRAYS[name] for name in ("a", "half")}
    library.save_file(given, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    for name, tensor in read_safetensors(tmp_path / "theirs.safetensors").items():
        np.testing.assert_array_equal(tensor.array(), given[name])
    write_safetensors(tmp_path / "ours.safetensors", given)
    assert {name: value.tolist() for name, value in library.load_file(tmp_path / "ours.safetensors").items()} == {
        name: value.tolist() for name, value in given.items()
    }


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}',
        b'{"a":{"dtype":"I4","shape":[1],"data_offsets":[0,1]}}',
        b"[1]",
        b"\xff",
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, header):
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ValueError, match="is not a complete safetensors file") as error:
        read_safetensors(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("second", [(4, 12), (6, 14), (10, 18)])
def test_tensors_that_overlap_or_leave_a_gap_are_refused(tmp_path, second):
    entries = {"a": (2, (0, 8)), "b": (2, second)}
    header = json.dumps(
        {name: {"dtype": "F32", "shape": [n], "data_offsets": at} for name, (n, at) in entries.items()}
    ).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(second[1]))
    with pytest.raises(ValueError, match="the tensor b does not start at the end of the one before it"):
        read_safetensors(tmp_path / "x.safetensors")


def test_bytes_that_belong_to_no_tensor_are_refused(path):
    with path.open("ab") as handle:
        handle.write(b"more")
    with pytest.raises(ValueError, match="tensors end at"):
        read_safetensors(path)


def test_a_hash_is_kept_until_the_file_changes(path, monkeypatch, tmp_path):
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))
    first = hash_sha256(path)
    assert first == hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert hash_sha256(path) == first
    monkeypatch.undo()
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))
    path.write_bytes(b"other")
    os.utime(path, ns=(1, 1))
    assert hash_sha256(path) == hashlib.sha256(b"other").hexdigest()
