"""What training could not use (or used though it is odd), by name and reason, counted and kept in a file."""

from __future__ import annotations

import csv
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from linnaea.datasets.samples import Reject
from linnaea.datasets.write_errors import writing

COLUMNS = ("part", "key", "reason")
JOURNAL = "what could not be used"


class RejectJournal:
    """Rejects, each counted once however often it is met. With a path each is a line of a CSV file as soon as it is
    known.

    A journal that exists goes on: a run that is resumed counts nothing twice. Each rank needs a file of its own.
    """

    def __init__(self, path: Path | None = None):
        self.path, self._lock = path, threading.Lock()
        self._seen: set[Reject] = set()
        self.counts: Counter[str] = Counter()
        if path is not None and path.exists():
            text = path.read_text(encoding="utf-8")
            # A kill can tear the last line.
            whole = text[: text.rfind("\n") + 1]
            if whole != text:
                with writing(path, JOURNAL):
                    path.write_text(whole, encoding="utf-8")
            rows = csv.DictReader(whole.splitlines())
            self._note(Reject(**{name: row[name] or "" for name in COLUMNS}) for row in rows)
        elif path is not None:
            with writing(path, JOURNAL):
                path.parent.mkdir(parents=True, exist_ok=True)
            self._write([COLUMNS])

    def _note(self, rejects: Iterable[Reject]) -> list[Reject]:
        new = [reject for reject in dict.fromkeys(rejects) if reject not in self._seen]
        self._seen.update(new)
        self.counts.update(reject.reason for reject in new)
        return new

    def _write(self, rows: Iterable) -> None:
        if self.path is not None:
            with writing(self.path, JOURNAL), self.path.open("a", encoding="utf-8", newline="") as handle:
                csv.writer(handle, lineterminator="\n").writerows(rows)

    def add(self, rejects: Iterable[Reject]) -> None:
        """Counts and writes those that are new."""
        with self._lock:
            new = self._note(rejects)
            if new:
                one_line = ((" ".join(part.split()) for part in (r.part, r.key, r.reason)) for r in new)
                self._write(one_line)

    @property
    def rows(self) -> list[Reject]:
        """All rejects, sorted."""
        with self._lock:
            return sorted(self._seen, key=lambda reject: (reject.part, reject.key, reject.reason))

    def summary(self) -> str:
        """One line: how many for each reason, the most frequent first; "" if there is none."""
        with self._lock:
            return "; ".join(f"{n:,} x {reason}" for reason, n in self.counts.most_common())
