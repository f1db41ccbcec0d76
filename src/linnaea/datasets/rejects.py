"""Journal of the samples that training could not use, or used although something is odd: name, reason and counts."""

from __future__ import annotations

import csv
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from linnaea.datasets.samples import Reject
from linnaea.datasets.write_errors import explain_write_errors
from linnaea.store import atomic_path

COLUMNS = ("part", "key", "reason")
JOURNAL = "the list of rejected samples"


class RejectJournal:
    """Rejects, each counted once. With a path, each is also appended to a CSV file as soon as it is known.

    An existing file is continued, so a resumed run counts nothing twice. Each rank needs its own file.
    """

    def __init__(self, path: Path | None = None):
        self.path, self._lock = path, threading.Lock()
        self._seen: set[Reject] = set()
        self.counts: Counter[str] = Counter()
        if path is not None and path.exists():
            self._continue_file(path)
        elif path is not None:
            with explain_write_errors(path, JOURNAL):
                path.parent.mkdir(parents=True, exist_ok=True)
            self._append([COLUMNS])

    def _continue_file(self, path: Path) -> None:
        """Read the rows of an existing file and drop a last line that a kill has cut off."""
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            with explain_write_errors(path, JOURNAL), atomic_path(path) as temporary:
                temporary.write_text(whole, encoding="utf-8")
        rows = csv.DictReader(whole.splitlines())
        self._count(Reject(**{name: row[name] or "" for name in COLUMNS}) for row in rows)

    def _count(self, rejects: Iterable[Reject]) -> list[Reject]:
        """Count the rejects that are new, and return them."""
        new = [reject for reject in dict.fromkeys(rejects) if reject not in self._seen]
        self._seen.update(new)
        self.counts.update(reject.reason for reject in new)
        return new

    def _append(self, rows: Iterable) -> None:
        if self.path is not None:
            with explain_write_errors(self.path, JOURNAL), self.path.open("a", encoding="utf-8", newline="") as handle:
                csv.writer(handle, lineterminator="\n").writerows(rows)

    def add(self, rejects: Iterable[Reject]) -> None:
        """Count and write the rejects that are new."""
        with self._lock:
            new = self._count(rejects)
            if new:
                one_line = ((" ".join(part.split()) for part in (r.part, r.key, r.reason)) for r in new)
                self._append(one_line)

    @property
    def rows(self) -> list[Reject]:
        """All rejects, sorted by part, key and reason."""
        with self._lock:
            return sorted(self._seen, key=lambda reject: (reject.part, reject.key, reject.reason))

    def summary(self) -> str:
        """One line with the count of each reason, the most frequent first; "" without rejects."""
        with self._lock:
            return "; ".join(f"{n:,} x {reason}" for reason, n in self.counts.most_common())
