"""Many short strings in one block of bytes: a million names take 30 MB and can be memory-mapped.

Shape suffixes: m strings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

FNV_OFFSET = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)


class Strings:
    """A read-only sequence of strings over `blob` (uint8, UTF-8) and `offset` (uint32 [m + 1])."""

    def __init__(self, blob: np.ndarray, offset: np.ndarray):
        self.blob = blob
        self.offset = offset

    @classmethod
    def from_list(cls, values: Sequence[str]) -> Strings:
        """The strings of a list."""
        joined = "".join(values)
        blob = np.frombuffer(joined.encode(), np.uint8)
        if len(joined) == len(blob):
            sizes = np.fromiter(map(len, values), np.int64, len(values))
        else:
            sizes = np.fromiter((len(value.encode()) for value in values), np.int64, len(values))
        return cls(blob, _offsets(sizes))

    @classmethod
    def from_series(cls, series) -> Strings:
        """The strings of a polars series without nulls. Makes no Python object per string."""
        if not len(series):
            return cls.from_list([])
        blob = np.frombuffer(series.str.join("").item().encode(), np.uint8)
        return cls(blob, _offsets(series.str.len_bytes().to_numpy().astype(np.int64)))

    def __len__(self) -> int:
        return len(self.offset) - 1

    def __getitem__(self, index: int) -> str:
        return self.blob[int(self.offset[index]) : int(self.offset[index + 1])].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        return iter(self.slice(0, len(self)))

    def slice(self, first: int, last: int) -> list[str]:
        """Strings `first` to `last` - 1 as a list, faster than one by one."""
        offset = self.offset[first : last + 1].astype(np.int64)
        start = int(offset[0])
        data = self.blob[start : int(offset[-1])].tobytes()
        bounds = (offset - start).tolist()
        if data.isascii():
            text = data.decode("ascii")
            return [text[a:b] for a, b in pairwise(bounds)]
        return [data[a:b].decode() for a, b in pairwise(bounds)]

    def take(self, indices: Iterable[int]) -> list[str]:
        """The strings at `indices`."""
        return [self[int(index)] for index in indices]

    def byte_lengths(self) -> np.ndarray:
        """int64 [m] lengths in bytes."""
        return np.diff(self.offset.astype(np.int64))

    def hashes(self) -> np.ndarray:
        """uint64 [m] 64-bit FNV-1a hashes of the bytes, the same on every machine and version."""
        size_m = self.byte_lengths()
        longest_first = np.argsort(-size_m, kind="stable")
        size_s, position_s = size_m[longest_first], self.offset[:-1].astype(np.int64)[longest_first]
        hash_s = np.full(len(size_m), FNV_OFFSET)
        for i in range(int(size_s[0]) if len(size_s) else 0):
            n = int(np.searchsorted(-size_s, -i, side="left"))
            hash_s[:n] = (hash_s[:n] ^ self.blob[position_s[:n] + i]) * FNV_PRIME
        hash_m = np.empty_like(hash_s)
        hash_m[longest_first] = hash_s
        return hash_m

    def save(self, out_dir: Path, name: str) -> None:
        """Write `<name>.npy` and `<name>_offset.npy`."""
        np.save(out_dir / f"{name}.npy", self.blob)
        np.save(out_dir / f"{name}_offset.npy", self.offset)

    @classmethod
    def load(cls, in_dir: Path, name: str) -> Strings:
        """Read what `save` wrote, memory-mapped."""
        return cls(load_array(in_dir / f"{name}.npy"), load_array(in_dir / f"{name}_offset.npy"))


def load_array(path: Path) -> np.ndarray:
    """An array file, memory-mapped as a plain ndarray (np.memmap is slower at every slice)."""
    return np.asarray(np.load(path, mmap_mode="r"))


def _offsets(sizes: np.ndarray) -> np.ndarray:
    offset = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=offset[1:])
    assert offset[-1] < 2**32, "the names take more than 4 GiB"
    return offset.astype(np.uint32)
