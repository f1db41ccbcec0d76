"""Finished batches of a long run, on disk as they come, so that a killed run goes on where it was.

`OUT.part/` holds `state.json` (the run's options and inputs, written first) and `batches.jsonl`, one line a batch: a
CRC-32 and a JSON value. A kill leaves at worst a torn last line, which the next run cuts off.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from linnaea.store import atomic_path

STATE = "state.json"
BATCHES = "batches.jsonl"


def get_journal_dir(out: Path) -> Path:
    """The journal's folder beside the output."""
    return out.with_name(out.name + ".part")


class Journal:
    """An append-only list of batches. `n_batches` counts those that are safe on disk."""

    def __init__(self, directory: Path, n_batches: int, n_bytes: int):
        self.directory, self.n_batches = directory, n_batches
        self._path = directory / BATCHES
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o666)
        os.ftruncate(self._file, n_bytes)
        os.lseek(self._file, n_bytes, os.SEEK_SET)

    @classmethod
    def create(cls, directory: Path, state: Mapping) -> Journal:
        """An empty journal; whatever stood in the folder goes."""
        _remove(directory)
        directory.mkdir(parents=True)
        with atomic_path(directory / STATE) as temporary:
            # Escaped, since names of files may hold what UTF-8 cannot.
            temporary.write_text(json.dumps(state, ensure_ascii=True), encoding="utf-8")
        return cls(directory, 0, 0)

    @classmethod
    def reopen(cls, directory: Path) -> Journal:
        """The journal of a broken run, its torn end cut off."""
        n_batches = n_bytes = 0
        for _value, end in _read_lines(directory / BATCHES):
            n_batches, n_bytes = n_batches + 1, end
        return cls(directory, n_batches, n_bytes)

    def append(self, value: object) -> None:
        """One more batch. A kill in the middle leaves a line that `reopen` does not count."""
        body = json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()
        data = memoryview(b"%08x " % zlib.crc32(body) + body + b"\n")
        while data:
            data = data[os.write(self._file, data) :]
        self.n_batches += 1

    def read(self) -> Iterator:
        """The batches in order, one in memory at a time."""
        for value, _n_bytes in _read_lines(self._path):
            yield value

    def close(self) -> None:
        os.close(self._file)

    def remove(self) -> None:
        """Closes and deletes."""
        self.close()
        _remove(self.directory)


def _remove(directory: Path) -> None:
    """Deletes a journal, its state first: what a kill leaves of it is then no run that could go on."""
    (directory / STATE).unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)


def read_state(directory: Path) -> dict | None:
    """What the broken run was about, or None where no run is waiting."""
    try:
        return json.loads((directory / STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def _read_lines(path: Path) -> Iterator[tuple[object, int]]:
    """Each whole line's value and the number of bytes up to its end; stops at the first that is torn."""
    n_bytes = 0
    if not path.exists():
        return
    with path.open("rb") as handle:
        for line in handle:
            body = line[9:-1]
            if not line.endswith(b"\n") or line[:9] != b"%08x " % zlib.crc32(body):
                return
            n_bytes += len(line)
            yield json.loads(body), n_bytes
