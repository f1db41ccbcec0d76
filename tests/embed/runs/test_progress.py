import io

from linnaea.embed.runs.progress import Progress, format_duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_line_says_how_far_how_fast_and_how_long_still():
    progress = Progress(1000, done=100, stream=io.StringIO())
    start = progress._start
    progress.done, progress.failed = 300, 2
    assert progress.line(start + 10) == "300 / 1,000 images, 20.0 images/s, 35 s left, 2 unreadable"


def test_what_advances_once_in_a_minute_has_a_rate(monkeypatch):
    progress = Progress(1000, stream=io.StringIO())
    start = progress._start
    monkeypatch.setattr("linnaea.embed.runs.progress.time.monotonic", lambda: start + 60)
    progress.advance(120)
    assert progress.line(start + 60) == "120 / 1,000 images, 2.0 images/s, 7 min 20 s left"


def test_a_file_gets_no_control_characters_and_a_terminal_a_clean_line():
    log, terminal = io.StringIO(), Terminal()
    for stream in (log, terminal):
        progress = Progress(2, stream=stream)
        progress._drawn -= 100
        progress.advance(1)
        progress.close()
    assert "\x1b" not in log.getvalue() and "\r" not in log.getvalue() and "1 / 2" in log.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_quiet_writes_nothing():
    stream = Terminal()
    progress = Progress(2, stream=stream, quiet=True)
    progress._drawn -= 100
    progress.advance(2)
    progress.close()
    assert stream.getvalue() == ""


def test_durations_read_well():
    assert [format_duration(s) for s in (0.4, 59, 200, 7500)] == ["0 s", "59 s", "3 min 20 s", "2 h 5 min"]
