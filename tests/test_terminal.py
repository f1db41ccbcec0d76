import io
import logging

import pytest
from rich.console import Console

from linnaea import terminal
from linnaea.terminal import Progress, format_duration, format_table, show_log


@pytest.fixture
def console(monkeypatch):
    """Replaces the console on stderr by one that writes to memory; `True` makes it a terminal."""

    def make(is_terminal: bool) -> io.StringIO:
        stream = io.StringIO()
        made = Console(
            file=stream, force_terminal=is_terminal, soft_wrap=True, highlight=False, markup=False, width=100
        )
        monkeypatch.setattr(terminal, "error_console", lambda: made)
        return stream

    return make


@pytest.fixture
def log():
    """Shows Linnaea's log as the command line does, and puts the logger back afterwards."""
    package = logging.getLogger("linnaea")
    handlers, level = list(package.handlers), package.level
    yield show_log
    package.handlers[:], package.level = handlers, level


def test_the_line_says_how_far_how_fast_and_how_long_still():
    progress = Progress(1000, done=100)
    start_s = progress._marks[0][0]
    progress.done, progress.failed = 300, 2
    assert progress.line(start_s + 10) == "300 / 1,000 images, 20.0 images/s, 35 s left, 2 unreadable"


def test_what_advances_once_in_a_minute_has_a_rate(monkeypatch):
    progress = Progress(1000, quiet=True)
    start_s = progress._marks[0][0]
    monkeypatch.setattr("linnaea.terminal.time.monotonic", lambda: start_s + 60)
    progress.advance(120)
    assert progress.line(start_s + 60) == "120 / 1,000 images, 2.0 images/s, 7 min 20 s left"


def test_a_file_gets_plain_lines_at_intervals(console, log):
    stream = console(False)
    log()
    progress = Progress(2)
    progress.advance(1)
    assert stream.getvalue() == ""
    progress._logged_s -= terminal.LOG_INTERVAL_S
    progress.advance(1)
    assert stream.getvalue().startswith("2 / 2 images")
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_gets_a_bar_that_close_removes(console):
    stream = console(True)
    progress = Progress(2)
    progress.advance(1)
    progress.close()
    assert "1 / 2 images" in stream.getvalue()
    assert progress._bar is None
    assert "\x1b[2K" in stream.getvalue()


def test_quiet_shows_warnings_and_no_progress(console, log):
    stream = console(True)
    log(quiet=True)
    progress = Progress(2, quiet=True)
    progress.advance(2)
    progress.close()
    logging.getLogger("linnaea.somewhere").info("a notice")
    assert stream.getvalue() == ""
    logging.getLogger("linnaea.somewhere").warning("a loss")
    assert stream.getvalue() == "warning: a loss\n"


def test_a_log_line_is_not_wrapped_and_brackets_are_no_markup(console, log):
    stream = console(False)
    log()
    line = "[bold] " + "word " * 60
    logging.getLogger("linnaea.somewhere").info(line)
    assert stream.getvalue() == line + "\n"


def test_durations_read_well():
    assert [format_duration(s) for s in (0.4, 59, 200, 7500)] == ["0 s", "59 s", "3 min 20 s", "2 h 5 min"]


def test_a_table_aligns_wide_characters_and_is_never_wrapped():
    rows = [("猫", "1", "plain"), ("fox [red]", "1,000", "x" * 300)]
    lines = format_table(("", "start", "note"), rows, "lrl", indent=2)
    assert lines == [
        "             start  note",
        "  猫             1  plain",
        f"  fox [red]  1,000  {'x' * 300}",
    ]
    assert format_table((), [("a", "b")], "ll") == ["a  b"]
