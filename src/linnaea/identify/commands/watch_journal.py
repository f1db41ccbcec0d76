"""What a watch has named: one SQLite file beside the output, so that a kill at any moment loses nothing.

Nothing that grows with the number of photographs is kept in memory. `files` says in which state a photograph was named
and is small, since it is asked about every file at every look; `rows` holds what the output is written from. A key is a
path whose separators are zero bytes: in its order a folder's entries stand together, sorted by the bytes of their
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

# A state that no file has: what is recorded with it is looked at again.
NO_STATE = -1
TABLES = {
    "files": "(key BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER) WITHOUT ROWID",
    "rows": "(key BLOB PRIMARY KEY, facts TEXT, predictions TEXT) WITHOUT ROWID",
    "state": "(value TEXT)",
}


def get_watch_path(out: Path) -> Path:
    """Where the watch that writes `out` keeps its journal."""
    return out.with_name(out.name + ".watch")


class WatchJournal:
    """The photographs named so far; one process at a time has it open. `path` None keeps it in a file without a name.

    Raises FileExistsError where another process has it open, ValueError where the file is something else.
    """

    def __init__(self, path: Path | None):
        self.path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect("" if path is None else path, timeout=0, isolation_level=None)
        try:
            # Locked for good, the write-ahead log needs no shared memory, which network file systems lack.
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
            raise ValueError(f"{path} is no journal of a watch ({error}); choose another --out") from None

    def state(self) -> dict | None:
        """What the watch is about, or None for a new journal."""
        found = self._db.execute("SELECT value FROM state").fetchone()
        return None if found is None else json.loads(found[0])

    def begin(self, state: Mapping) -> None:
        """Empties the journal for a new watch."""
        self._db.execute("BEGIN")
        for name, columns in TABLES.items():
            self._db.execute(f"DROP TABLE {name}")
            self._db.execute(f"CREATE TABLE {name} {columns}")
        self._db.execute("INSERT INTO state VALUES (?)", (json.dumps(state, ensure_ascii=True),))
        self._db.execute("COMMIT")
        self.n = 0

    def holds(self, path: str, size: int, mtime_ns: int) -> bool:
        """Whether the photograph was named in this state."""
        found = self._db.execute("SELECT size, mtime_ns FROM files WHERE key = ?", (_key(path),)).fetchone()
        return found == (size, mtime_ns)

    def put(
        self, path: str, size: int, mtime_ns: int, predictions: Sequence[Prediction], facts: PhotoMetadata | None
    ) -> bool:
        """Records the rows of a photograph in the place of those it had; whether that changes anything in the output."""
        key = _key(path)
        rows = (
            json.dumps(asdict(facts)) if facts is not None else "",
            # Escaped, since names of files may hold what UTF-8 cannot.
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
        """All rows in the order of their photographs' paths, each with the path."""
        for key, packed in self._db.execute("SELECT key, predictions FROM rows ORDER BY key"):
            for prediction in json.loads(packed):
                yield _path(key), unpack(prediction)

    def facts(self, path: str) -> PhotoMetadata:
        """What the photograph at `path` said of itself when it was named."""
        found = self._db.execute("SELECT facts FROM rows WHERE key = ?", (_key(path),)).fetchone()
        return PhotoMetadata(**json.loads(found[0])) if found and found[0] else PhotoMetadata()

    def close(self) -> None:
        """Lets another process have it."""
        self._db.close()


def _key(path: str) -> bytes:
    return os.fsencode(path).replace(os.fsencode(os.sep), b"\0")


def _path(key: bytes) -> str:
    return os.fsdecode(key.replace(b"\0", os.fsencode(os.sep)))


def remove_unfinished(out: Path) -> None:
    """Removes what a watch that was killed while it wrote `out` left beside it; for who holds the journal alone."""
    name = re.escape(out.name)
    is_file = re.compile(rf"\.{name}\.[0-9a-f]{{8}}\.unfinished")
    is_folder = re.compile(rf"\.\.{name}\.[0-9a-f]{{8}}\.unfinished\..+|\.{name}\.[a-z0-9_]{{8}}(\.old)?")
    for left in out.parent.iterdir():
        if left.is_dir() and is_folder.fullmatch(left.name):
            shutil.rmtree(left, ignore_errors=True)
        elif left.is_file() and is_file.fullmatch(left.name):
            left.unlink(missing_ok=True)
