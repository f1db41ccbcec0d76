"""The loop of `linnaea identify --watch`: look at the folders, name what is ready, record it.

The folders are looked at every two seconds (`Pace`), since network shares and memory cards send no reliable events. At
each look:

1. A photograph that was named in its present state (size and time of last change) is done; the journal knows it.
2. Any other photograph must be unchanged since an earlier look, so that nobody is writing it now.
3. It is named. If its state changed meanwhile, it returns to step 2.
4. A photograph that cannot be read may be half written by a writer that pauses: it is tried again when it has been
   unchanged for a minute, and only then gets a row with the reason.
5. Its rows replace those that it had. A photograph that vanished keeps its rows: cards are taken out.

The output is written as a whole from the journal, rarely enough to cost at most a twentieth of the time.

Only photographs that the watch waits for are kept in memory, not those that are named.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter

from linnaea.embed.left_out import drop_own_files, log_left_out
from linnaea.identify.commands.config import IdentifyConfig
from linnaea.identify.commands.pipeline import load_boxes_if_given, make_jobs
from linnaea.identify.commands.watch_folders import WatchedFolders, read_file_state
from linnaea.identify.commands.watch_journal import NO_STATE, WatchJournal
from linnaea.identify.commands.watch_output import WatchOutput
from linnaea.identify.detection.detection_jobs import Job
from linnaea.photos.decoding import HEIC, NO_MEMORY, NO_PERMISSION, NOT_REGULAR, OUTSIDE
from linnaea.photos.photo_files import FoundFile
from linnaea.records import Prediction
from linnaea.standards.exif import PhotoMetadata, read_photo_metadata
from linnaea.terminal import Progress

logger = logging.getLogger(__name__)

# The pause between two looks is at least this multiple of the time that a look took.
LOOK_SHARE = 4
# Reasons that more bytes of the file would not change.
FINAL = (HEIC, NOT_REGULAR, OUTSIDE)
# Reasons that may go without a change of the file, so that it is tried again and again.
PASSING = (NO_PERMISSION, NO_MEMORY, "the file cannot be read")

NameJobs = Callable[[Iterator[Job]], Iterator[list[tuple[str, Prediction]]]]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The least times of a watch in seconds.

    `interval_s`: between two looks. `grace_s`: from the last change of an unreadable file to its row. `write_every_s`:
    between two outputs.
    """

    interval_s: float = 2.0
    grace_s: float = 60.0
    write_every_s: float = 5.0


@dataclass(frozen=True, slots=True)
class SeenPhoto:
    """A photograph as a look found it, unchanged since `since_s` (monotonic clock).

    `tried` says that it was tried once and could not be read.
    """

    path: str
    size: int
    mtime_ns: int
    since_s: float
    tried: bool = False

    def is_in(self, size: int, mtime_ns: int) -> bool:
        """Whether the photograph had this size and time of last change."""
        return (self.size, self.mtime_ns) == (size, mtime_ns)


class Watch:
    """The loop of a watch.

    `name` turns jobs into batches of rows in the same order, each row with the path of its photograph. `show` is called
    with the rows of each photograph. The loop ends when `stop` is set.
    """

    def __init__(
        self,
        config: IdentifyConfig,
        name: NameJobs,
        journal: WatchJournal,
        output: WatchOutput,
        *,
        stop: threading.Event,
        show: Callable[[list[Prediction]], None],
        pace: Pace,
    ):
        self._config, self._name, self._journal, self._output = config, name, journal, output
        self._stop, self._show, self._pace = stop, show, pace
        self._boxes = load_boxes_if_given(config)
        self._folders = WatchedFolders(config.paths)
        self._waiting: dict[str, SeenPhoto] = {}
        self._look_s = 0.0
        self._is_first = True
        self._progress: Progress | None = None

    def run(self) -> None:
        """Name the photographs that exist, then those that arrive, until the watch is stopped."""
        total = sum(1 for _ in self._folders.look(self._journal.has))
        self._progress = Progress(total, quiet=self._config.quiet or not total)
        self.look()
        self._progress.close()
        self._is_first, self._progress = False, None
        if self._config.writes_file and not self._stop.is_set():
            self._output.write()
        reported = self._output.left_out
        log_left_out(reported, self._journal.n)
        if not self._stop.is_set():
            logger.info(f"watching {', '.join(map(str, self._config.paths))} … (Ctrl-C ends)")
        while not self._stop.wait(max(self._pace.interval_s, LOOK_SHARE * self._look_s)):
            self.look()
            self._write_if_due()
        if self._output.left_out != reported:
            log_left_out(self._output.left_out, self._journal.n)

    def look(self) -> None:
        """Look at the folders once and name what is ready."""
        before, self._waiting, self._look_s = self._waiting, {}, 0.0
        taken: deque[tuple[SeenPhoto, PhotoMetadata | None]] = deque()
        with closing(self._name(self._make_jobs(before, taken))) as batches:
            for _path, rows in groupby(chain.from_iterable(batches), key=itemgetter(0)):
                predictions = [prediction for _path, prediction in rows]
                self._record(*taken.popleft(), predictions)
                if self._progress is not None:
                    self._progress.advance(1, predictions[0].status == "unreadable")
                self._write_if_due()
                if self._stop.is_set():
                    return
        left_out = self._folders.left_out
        left_out = drop_own_files(left_out, self._config.out) if self._config.writes_file else left_out
        if left_out != self._output.left_out:
            self._output.left_out, self._output.is_stale = left_out, True

    def _make_jobs(
        self, before: dict[str, SeenPhoto], taken: deque[tuple[SeenPhoto, PhotoMetadata | None]]
    ) -> Iterator[Job]:
        """Yield jobs for what is ready; each photograph is appended to `taken` or put into `self._waiting`."""
        start_s = time.monotonic()
        for path, size, mtime_ns in self._folders.look(self._journal.has):
            seen, is_ready = self._judge(path, size, mtime_ns, before.get(path))
            if not is_ready:
                self._waiting[path] = seen
                continue
            taken.append((seen, read_photo_metadata(path)))
            self._look_s += time.monotonic() - start_s
            yield from make_jobs(self._config, [FoundFile(path)], self._boxes)
            start_s = time.monotonic()
        self._look_s += time.monotonic() - start_s

    def _judge(self, path: str, size: int, mtime_ns: int, before: SeenPhoto | None) -> tuple[SeenPhoto, bool]:
        """The photograph in its present state, and whether it is ready to be named."""
        now_s = time.monotonic()
        if before is not None and before.is_in(size, mtime_ns):
            return before, not before.tried or now_s - before.since_s >= self._pace.grace_s
        # A file from before the watch need not be observed for an interval: its own time says how old it is.
        age_s = max(0.0, time.time() - mtime_ns / 1e9) if self._is_first else 0.0
        return SeenPhoto(path, size, mtime_ns, now_s - age_s), age_s > self._pace.interval_s

    def _record(self, seen: SeenPhoto, metadata: PhotoMetadata | None, predictions: list[Prediction]) -> None:
        """Record the rows, unless the photograph changed meanwhile, vanished unread, or may be half written."""
        reasons = [prediction.reason for prediction in predictions if prediction.status == "unreadable"]
        if self._is_postponed(seen, reasons):
            return
        mtime_ns = NO_STATE if any(reason.startswith(PASSING) for reason in reasons) else seen.mtime_ns
        if self._journal.put(seen.path, seen.size, mtime_ns, predictions, metadata):
            self._output.is_stale = True
            if self._progress is not None:
                self._progress.close()
            self._show(predictions)

    def _is_postponed(self, seen: SeenPhoto, reasons: Sequence[str]) -> bool:
        """Whether a photograph is not recorded now. It waits if it changed meanwhile or may be half written."""
        now_s = time.monotonic()
        try:
            state = read_file_state(seen.path)
        except OSError:
            state = None
        if state is not None and not seen.is_in(*state):
            self._waiting[seen.path] = SeenPhoto(seen.path, *state, now_s)
            return True
        if reasons and state is None:
            return True
        may_change = any(reason not in FINAL for reason in reasons)
        if may_change and now_s - seen.since_s < self._pace.grace_s:
            self._waiting[seen.path] = dataclasses.replace(seen, tried=True)
            return True
        return False

    def _write_if_due(self) -> None:
        if self._config.writes_file and self._output.is_due():
            self._output.write()
