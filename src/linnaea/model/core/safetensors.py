"""Tensors of a safetensors file: memory-mapped when read, and referred to by ONNX graphs without a copy.

The format is an 8-byte little-endian length, a JSON header of that length, then the bytes of the tensors
(https://huggingface.co/docs/safetensors). This module parses it because ONNX graphs need the offset of each tensor.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linnaea.store import default_cache_dir, hash_bytes, write_json

# Code -> name and bytes per element of the supported types. `bfloat16` is the upper half of a float32; NumPy lacks it.
DTYPES = {
    "F32": ("float32", 4),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "F64": ("float64", 8),
    "I64": ("int64", 8),
}
LONGEST_HEADER = 100_000_000


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """A tensor in a file: `n_bytes` from `offset`, row-major."""

    path: Path
    offset: int
    n_bytes: int
    dtype: str
    shape: tuple[int, ...]

    def array(self) -> np.ndarray:
        """The tensor as float32, or int64 for integers. Memory-mapped if it is stored in that type."""
        stored = np.uint16 if self.dtype == "bfloat16" else np.dtype(self.dtype)
        if not self.n_bytes:
            return np.zeros(self.shape, np.float32)
        mapped = np.memmap(self.path, stored, "r", offset=self.offset, shape=self.shape or (1,)).reshape(self.shape)
        if self.dtype == "bfloat16":
            return (mapped.astype(np.uint32) << 16).view(np.float32)
        return mapped if self.dtype in ("float32", "int64") else mapped.astype(np.float32)


Weights = Mapping[str, "np.ndarray | StoredTensor"]


def as_array(value: np.ndarray | StoredTensor) -> np.ndarray:
    """The values of a weight, in memory or on disk."""
    return value.array() if isinstance(value, StoredTensor) else value


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file by name. Raises ValueError for a file that is damaged, cut short or in another format."""
    path = Path(path).resolve()  # runtimes refuse weights behind a symbolic link
    size = path.stat().st_size
    try:
        with path.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if not 2 <= length <= min(size - 8, LONGEST_HEADER):
                raise ValueError(f"its header claims {length:,} bytes")
            header = json.loads(handle.read(length))
        tensors = {
            name: _read_entry(path, 8 + length, size, entry) for name, entry in header.items() if name != "__metadata__"
        }
        end = 8 + length
        for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].offset, item[1].n_bytes)):
            if tensor.offset != end:
                raise ValueError(f"the tensor {name} does not start at the end of the one before it")
            end += tensor.n_bytes
        if end != size:
            raise ValueError(f"it has {size:,} bytes, but its tensors end at {end:,}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a complete safetensors file ({error}); download it again") from None
    return tensors


def _read_entry(path: Path, start: int, size: int, entry: dict) -> StoredTensor:
    first, last = entry["data_offsets"]
    shape = tuple(int(side) for side in entry["shape"])
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"type {entry['dtype']} is not supported, floats of 16 or 32 bits are")
    dtype, width = DTYPES[entry["dtype"]]
    if not 0 <= first <= last <= size - start or last - first != width * math.prod(shape):
        raise ValueError("a tensor extends beyond the file")
    return StoredTensor(path=path, offset=start + first, n_bytes=last - first, dtype=dtype, shape=shape)


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray], bfloat16: frozenset[str] = frozenset()) -> None:
    """Write tensors one after another. Tensors named in `bfloat16` must be given as uint16 bit patterns."""
    names = {np.dtype(dtype): code for code, (dtype, _) in DTYPES.items() if dtype != "bfloat16"}
    header, offset = {}, 0
    for name, value in tensors.items():
        code = "BF16" if name in bfloat16 else names[value.dtype]
        header[name] = {"dtype": code, "shape": list(value.shape), "data_offsets": [offset, offset + value.nbytes]}
        offset += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as handle:
        handle.write(len(text).to_bytes(8, "little") + text)
        for value in tensors.values():
            handle.write(np.ascontiguousarray(value).data)
        handle.flush()
        os.fsync(handle.fileno())


def hash_sha256(path: Path) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits.

    Hashing gigabytes takes seconds, so the result is cached until the size or the time of the file changes.
    """
    path = Path(path).resolve()
    state = path.stat()
    key = [str(path), state.st_size, state.st_mtime_ns]
    kept = default_cache_dir() / "hashes" / f"{hash_bytes(str(path))}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(kept.read_text(encoding="utf-8"))
        if found["key"] == key:
            return found["sha256"]
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    with suppress(OSError):  # without a writable cache, the next run hashes again
        write_json(kept, {"key": key, "sha256": digest})
    return digest
