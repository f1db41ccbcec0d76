"""TensorBoard event files, written in the calling thread.

The SummaryWriter of tensorboardX writes from a thread of its own. A full disk ends that thread, its queue fills, and
the next value then waits forever. The few hundred bytes of a step need no thread. A write error is handled here: these
files are a convenience, because the CSV files hold the same values.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

# Seconds between two flushes, so that a viewer is never far behind.
FLUSH_S = 10.0
FILE_VERSION = "brain.Event:2"


class EventWriter:
    """Writes values as TensorBoard events in `events_dir`; events of steps after `done` replace older ones.

    It never raises OSError: the first one is logged as one warning that names the folder, and nothing is written after
    it.
    """

    def __init__(self, events_dir: Path, done: int):
        from tensorboardX.event_file_writer import EventsWriter

        self._events_dir = events_dir
        self._writer, self._flushed = None, time.monotonic()
        try:
            events_dir.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(events_dir / "events"))
        except OSError as error:
            self._give_up(error)
        if done:
            self._purge(done + 1)

    def _purge(self, step: int) -> None:
        """Tell the viewer to drop the events of an earlier process from this step on."""
        from tensorboardX.proto.event_pb2 import SessionLog

        self._write(step=step, file_version=FILE_VERSION)
        self._write(step=step, session_log=SessionLog(status=SessionLog.START))

    def add(self, name: str, value: float, step: int) -> None:
        """Write one value of a step."""
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
            # tensorboardX flushes before it closes, so that a full disk would leave the file open.
            with suppress(OSError):
                writer._py_recordio_writer.close()
        logger.warning(
            "%s: TensorBoard's files cannot be written any more (%s); the run goes on, and the CSV files have its "
            "figures; make room there, and a resumed run writes them again",
            self._events_dir,
            error.strerror or error,
        )

    def close(self) -> None:
        """Flush and close the file."""
        if self._writer is not None:
            try:
                self._writer.close()
                self._writer = None
            except OSError as error:
                self._give_up(error)
