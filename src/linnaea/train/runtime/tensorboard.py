"""TensorBoard's event files, written in the process's own thread.

tensorboardX's SummaryWriter writes from a thread that a full disk ends: its queue then fills, and the next figure waits for
ever. The few hundred bytes of a step need no thread, and an error of writing is met where it can be answered: these files
are a convenience, the figures are in the CSV files, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# Seconds from one flush to the next, so that a viewer is never far behind.
FLUSH_S = 10.0
FILE_VERSION = "brain.Event:2"


class EventWriter:
    """Figures as TensorBoard's events in `directory`, those of steps past `done` anew.

    No OSError leaves it: the first is reported in one line that names the folder, and nothing is written from then on.
    """

    def __init__(self, directory: Path, done: int, report: Callable[[str], None]):
        from tensorboardX.event_file_writer import EventsWriter

        self._directory, self._report = directory, report
        self._writer, self._flushed = None, time.monotonic()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(directory / "events"))
        except OSError as error:
            self._give_up(error)
        if done:
            self._purge(done + 1)

    def _purge(self, step: int) -> None:
        """The viewer drops what an earlier process wrote of steps that are taken again."""
        from tensorboardX.proto.event_pb2 import SessionLog

        self._write(step=step, file_version=FILE_VERSION)
        self._write(step=step, session_log=SessionLog(status=SessionLog.START))

    def add(self, name: str, value: float, step: int) -> None:
        """A figure of a step."""
        from tensorboardX.proto.summary_pb2 import Summary

        self._write(step=step, summary=Summary(value=[Summary.Value(tag=name, simple_value=value)]))

    def _write(self, **content) -> None:
        from tensorboardX.proto.event_pb2 import Event

        if self._writer is None:
            return
        try:
            self._writer.write_event(Event(wall_time=time.time(), **content))
            if time.monotonic() - self._flushed > FLUSH_S:
                self._writer.flush()
                self._flushed = time.monotonic()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(OSError):
                writer.close()
            # tensorboardX flushes before it closes, so a full disk would leave the file open.
            with suppress(OSError):
                writer._py_recordio_writer.close()
        self._report(
            f"{self._directory}: TensorBoard's files cannot be written any more ({error.strerror or error}); the run goes on, "
            "its figures are in the CSV files; make room there, and a run that is resumed writes them again"
        )

    def close(self) -> None:
        """Writes out what is waiting."""
        if self._writer is not None:
            try:
                self._writer.close()
                self._writer = None
            except OSError as error:
                self._give_up(error)
