"""What a command shows on the terminal: notices, progress and tables.

Modules write notices with `logging.getLogger(__name__)`. Only the command line attaches the handler below; a program
that imports Linnaea decides what it shows. Both use rich, which is imported for the first line.
"""

from __future__ import annotations

import functools
import io
import logging
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress

logger = logging.getLogger(__name__)

# Without a terminal, a line of progress is logged at this interval.
LOG_INTERVAL_S = 30.0
# The rate is that of the last half minute, so a slow start (loading a model) does not distort the estimate.
RATE_WINDOW_S = 30.0
UNLIMITED_WIDTH = 100_000
JUSTIFY = {"l": "left", "r": "right", "c": "center"}


@functools.cache
def error_console() -> Console:
    """The one console on stderr. Log lines that go through it do not break a progress bar."""
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)


class TerminalHandler(logging.Handler):
    """Writes each record as one line to stderr; warnings and errors begin with their level."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message above the progress bar, if there is one."""
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        try:
            error_console().print(level + self.format(record))
        except Exception:  # noqa: BLE001 (a log line must never end the program)
            self.handleError(record)


def show_log(*, quiet: bool = False) -> None:
    """Show Linnaea's log on stderr: notices and warnings, or with `quiet` only warnings."""
    package = logging.getLogger("linnaea")
    if not any(isinstance(handler, TerminalHandler) for handler in package.handlers):
        package.addHandler(TerminalHandler())
    package.setLevel(logging.WARNING if quiet else logging.INFO)


class Progress:
    """Shows how many of `total` items are done, the rate and the time left.

    On a terminal this is a bar that `close` removes; elsewhere it is a log line every half minute. `quiet` shows
    neither.
    """

    def __init__(self, total: int, unit: str = "images", *, done: int = 0, quiet: bool = False):
        self.total, self.unit, self.done, self.failed = total, unit, done, 0
        self._quiet = quiet
        self._bar: RichProgress | None = None
        self._logged_s = time.monotonic()
        self._marks: list[tuple[float, int]] = [(self._logged_s, done)]

    def advance(self, n: int, failed: int = 0) -> None:
        """Count `n` more items as done, `failed` of them without a result."""
        self.done += n
        self.failed += failed
        now_s = time.monotonic()
        if now_s - self._marks[-1][0] >= 1:
            # Keep at least one mark, so that steps of a minute have a rate.
            recent = [mark for mark in self._marks if now_s - mark[0] < RATE_WINDOW_S]
            self._marks = (recent or self._marks[-1:]) + [(now_s, self.done)]
        if self._quiet:
            return
        if error_console().is_terminal:
            self._draw(now_s)
        elif now_s - self._logged_s >= LOG_INTERVAL_S:
            self._logged_s = now_s
            logger.info(self.line(now_s))

    def line(self, now_s: float) -> str:
        """The state as text at `now_s` (seconds of the monotonic clock)."""
        since_s, count = self._marks[0]
        rate = (self.done - count) / max(now_s - since_s, 1e-9)
        parts = [f"{self.done:,} / {self.total:,} {self.unit}"]
        if self.done > count:
            parts.append(f"{rate:,.1f} {self.unit}/s")
            parts.append(f"{format_duration((self.total - self.done) / rate)} left")
        if self.failed:
            parts.append(f"{self.failed:,} unreadable")
        return ", ".join(parts)

    def close(self) -> None:
        """Remove the bar. The next `advance` draws it again."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _draw(self, now_s: float) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        if self._bar is None:
            # Text on stdout may go into a file, so it must not pass through this console.
            self._bar = RichProgress(
                BarColumn(),
                TextColumn("{task.description}"),
                console=error_console(),
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
                refresh_per_second=5,
            )
            self._bar.start()
            self._bar.add_task(self.line(now_s), total=self.total)
        self._bar.update(self._bar.task_ids[0], completed=self.done, description=self.line(now_s))


def format_duration(duration_s: float) -> str:
    """`45 s`, `3 min 20 s` or `2 h 5 min`."""
    seconds = max(0, round(duration_s))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def format_table(head: Sequence[str], rows: Iterable[Sequence[str]], justify: str, *, indent: int = 0) -> list[str]:
    """A table as plain lines, columns two spaces apart, never wrapped; wide characters count as two columns.

    `justify` has a letter for each column: l, r or c. An empty `head` leaves the line of headings out.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=bool(head), pad_edge=False, padding=(0, 2, 0, 0))
    for number, letter in enumerate(justify):
        table.add_column(Text(head[number] if head else ""), justify=JUSTIFY[letter], no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(file=io.StringIO(), width=UNLIMITED_WIDTH, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return [(" " * indent + line).rstrip() for line in capture.get().splitlines()]
