"""What a watch has named: one SQLite file beside the output, so that a kill at any moment loses nothing.

Nothing that grows with the number of photographs is kept in memory. `files` holds the state in which each photograph
was named; it is small, since every look asks about every file. `rows` holds what the output is written from. A key is a
path whose separators are zero bytes: in key order the entries of a folder stand together, sorted by the bytes of their
names, as in a run over the whole folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from linnaea.identify.output.writers import pack, unpack
from linnaea.records import Prediction
from linnaea.standards.exif import PhotoMetadata

# A state that no file has: a photograph that is recorded with it is looked at again.
NO_STATE = -1
TABLES = {
    "files": "(key BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER) WITHOUT ROWID",
    "rows": "(key BLOB PRIMARY KEY, facts TEXT, predictions TEXT) WITHOUT ROWID",
    "state": "(value TEXT)",
}


def get_watch_path(out_path: Path) -> Path:
    """The path of the journal of the watch that writes `out_path`."""
    return out_path.with_name(out_path.name + ".watch")


class WatchJournal:
    """The photographs named so far. One process at a time has it open; with `path` None it is a file without a name.

    Raise FileExistsError if another process has it open, ValueError if the file is something else.
    """

    def __init__(self, path: Path | None):
        self.path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect("" if path is None else path, timeout=0, isolation_level=None)
        try:
            # With a permanent lock, the write-ahead log needs no shared memory, which network file systems lack.
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("BEGIN IMMEDIATE")
            for name, columns in TABLES.items():
                self._db.execute(f"CREATE TABLE IF NOT EXISTS {name} {columns}")
            self._db.execute("COMMIT")
            self.n = self._db.execute("SELECT count(*) FROM files").fetchone()[0]
        except sqlite3.DatabaseError as error:
            self._db.close()
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                raise FileExistsError(f"{path} is in use: another watch is running; choose another --out") from None
            raise ValueError(f"{path} is not the journal of a watch ({error}); choose another --out") from None

    def state(self) -> dict | None:
        """The identity of the watch, or None for a new journal."""
        found = self._db.execute("SELECT value FROM state").fetchone()
        return None if found is None else json.loads(found[0])

    def begin(self, state: Mapping) -> None:
        """Empty the journal for a new watch."""
        self._db.execute("BEGIN")
        for name, columns in TABLES.items():
            self._db.execute(f"DROP TABLE {name}")
            self._db.execute(f"CREATE TABLE {name} {columns}")
        self._db.execute("INSERT INTO state VALUES (?)", (json.dumps(state, ensure_ascii=True),))
        self._db.execute("COMMIT")
        self.n = 0

    def has(self, path: str, size: int, mtime_ns: int) -> bool:
        """Whether the photograph was named in this state."""
        found = self._db.execute("SELECT size, mtime_ns FROM files WHERE key = ?", (_make_key(path),)).fetchone()
        return found == (size, mtime_ns)

    def put(
        self, path: str, size: int, mtime_ns: int, predictions: Sequence[Prediction], metadata: PhotoMetadata | None
    ) -> bool:
        """Replace the rows of a photograph; return whether that changes anything in the output."""
        key = _make_key(path)
        rows = (
            json.dumps(asdict(metadata)) if metadata is not None else "",
            # Escaped, since file names may hold characters that UTF-8 cannot encode.
            json.dumps([pack(prediction) for prediction in predictions], ensure_ascii=True, separators=(",", ":")),
        )
        before = self._db.execute("SELECT facts, predictions FROM rows WHERE key = ?", (key,)).fetchone()
        self._db.execute("BEGIN")
        self._db.execute("REPLACE INTO files VALUES (?, ?, ?)", (key, size, mtime_ns))
        if before != rows:
            self._db.execute("REPLACE INTO rows VALUES (?, ?, ?)", (key, *rows))
        self._db.execute("COMMIT")
        self.n += before is None
        return before != rows

    def rows(self) -> Iterator[tuple[str, Prediction]]:
        """Yield all rows in the order of their photographs' paths, each with the path."""
        for key, packed in self._db.execute("SELECT key, predictions FROM rows ORDER BY key"):
            for prediction in json.loads(packed):
                yield _parse_key(key), unpack(prediction)

    def read_metadata(self, path: str) -> PhotoMetadata:
        """The metadata of the photograph at `path` when it was named."""
        found = self._db.execute("SELECT facts FROM rows WHERE key = ?", (_make_key(path),)).fetchone()
        return PhotoMetadata(**json.loads(found[0])) if found and found[0] else PhotoMetadata()

    def close(self) -> None:
        """Close the file, so that another process can open it."""
        self._db.close()


def _make_key(path: str) -> bytes:
    return os.fsencode(path).replace(os.fsencode(os.sep), b"\0")


def _parse_key(key: bytes) -> str:
    return os.fsdecode(key.replace(b"\0", os.fsencode(os.sep)))


def remove_unfinished(out_path: Path) -> None:
    """Remove what a watch that was killed while it wrote `out_path` left beside it; needs the journal's lock."""
    name = re.escape(out_path.name)
    is_file = re.compile(rf"\.{name}\.[0-9a-f]{{8}}\.unfinished")
    is_folder = re.compile(rf"\.\.{name}\.[0-9a-f]{{8}}\.unfinished\..+|\.{name}\.[a-z0-9_]{{8}}(\.old)?")
    for left in out_path.parent.iterdir():
        if left.is_dir() and is_folder.fullmatch(left.name):
            shutil.rmtree(left, ignore_errors=True)
        elif left.is_file() and is_file.fullmatch(left.name):
            left.unlink(missing_ok=True)
