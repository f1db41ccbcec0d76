"""One line on stderr: how far, how fast, how long still."""

from __future__ import annotations

import sys
import time
from typing import TextIO

REDRAW_S = 0.2
LOG_S = 30.0


class Progress:
    """Rate and time left of a run over `total` things; on a terminal a line that redraws itself, else one at times.

    The rate is that of the last half minute or so, so that a slow start (a model that loads) does not spoil the guess.
    """

    def __init__(
        self, total: int, unit: str = "images", *, done: int = 0, stream: TextIO | None = None, quiet: bool = False
    ):
        self.total, self.unit, self.done, self.failed = total, unit, done, 0
        self._stream = sys.stderr if stream is None else stream
        self._tty = not quiet and self._stream.isatty()
        self._quiet = quiet
        self._drawn = self._start = time.monotonic()
        self._marks: list[tuple[float, int]] = [(self._start, done)]

    def advance(self, n: int, failed: int = 0) -> None:
        """`n` more are done, `failed` of them without a result."""
        self.done += n
        self.failed += failed
        now = time.monotonic()
        if now - self._marks[-1][0] >= 1:
            # what comes once in a minute has a rate, too
            recent = [mark for mark in self._marks if now - mark[0] < 30]
            self._marks = (recent or self._marks[-1:]) + [(now, self.done)]
        if not self._quiet and now - self._drawn >= (REDRAW_S if self._tty else LOG_S):
            self._drawn = now
            self._write(self.line(now), end="" if self._tty else "\n")

    def line(self, now: float) -> str:
        """The line that stands at time `now` (seconds of the monotonic clock)."""
        since, count = self._marks[0]
        rate = (self.done - count) / max(now - since, 1e-9)
        parts = [f"{self.done:,} / {self.total:,} {self.unit}"]
        if self.done > count:
            parts.append(f"{rate:,.1f} {self.unit}/s")
            parts.append(f"{format_duration((self.total - self.done) / rate)} left")
        if self.failed:
            parts.append(f"{self.failed:,} unreadable")
        return ", ".join(parts)

    def close(self) -> None:
        """Clears the line on a terminal."""
        if self._tty:
            self._write("", end="")

    def _write(self, text: str, end: str) -> None:
        lead = "\r\x1b[K" if self._tty else ""
        self._stream.write(f"{lead}{text}{end}")
        self._stream.flush()


def format_duration(duration_s: float) -> str:
    """`45 s`, `3 min 20 s` or `2 h 5 min`."""
    seconds = max(0, round(duration_s))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
