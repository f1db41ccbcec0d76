"""`linnaea identify --watch`: folders under a watch; what comes into them is named as it comes.

The folders are looked at every two seconds (`Pace`), since network shares and cards tell nobody what happens on them. At each look:

1. A photograph that was named in its present state (size and time of last change) is done; the journal knows.
2. Any other must have stood still since an earlier look, so that nobody is writing it now.
3. It is named. If its state changed meanwhile, it goes back to 2.
4. One that cannot be read may be half written by someone who pauses: it is tried again when it stood still for a minute,
   and only then becomes a row with the reason.
5. Its rows replace those it had. One that vanished keeps its rows: cards are taken out.

The output is written whole from the journal, so seldom that it costs a twentieth of the time at most.

Of a photograph the watch keeps in memory only what it waits for: nothing for one that is named.
"""

from __future__ import annotations

import dataclasses
import io
import json
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby
from operator import itemgetter

from linnaea.embed.journal import get_journal_dir, read_state
from linnaea.identify.commands.config import IdentifyConfig
from linnaea.identify.commands.identify import (
    MANIFEST_KEYS,
    count,
    fast_scorer,
    identified_by,
    load_model_if_named,
    make_jobs,
    name_batches,
    name_progress,
    now,
    say_for,
    select_runtime_for_run,
    summary,
)
from linnaea.identify.commands.run_identity import check_free, difference, make_run_identity
from linnaea.identify.commands.watch_folders import Folders, state_of
from linnaea.identify.commands.watch_journal import NO_STATE, WatchJournal, get_watch_path, remove_unfinished
from linnaea.identify.naming.detections import Job, load_boxes
from linnaea.identify.naming.namer import Namer, describe_namer, format_calibration_warning, load_namer
from linnaea.identify.output.terminal_table import TerminalTable
from linnaea.identify.output.writers import write_output
from linnaea.model.core.contract import Model
from linnaea.model.runtimes.runtime_names import DEFAULT_RUNTIME
from linnaea.photos.decoding import HEIC, NO_MEMORY, NO_PERMISSION, NOT_REGULAR, OUTSIDE, RAW
from linnaea.photos.photo_files import FoundFile, find_images
from linnaea.records import PREDICTION_COLUMNS, Prediction, make_prediction_row
from linnaea.search.scorer import Scorer
from linnaea.standards.exif import PhotoMetadata, read_photo_metadata
from linnaea.standards.tables import write_csv_rows
from linnaea.store import get_manifest_path, write_json
from linnaea.terminal import LOG_INTERVAL_S, Progress

# Looking at the folders takes at most a fifth of the time, writing the output a twenty-first.
LOOK_SHARE = 4
WRITE_SHARE = 20
# Reasons that more of the file would not change.
FINAL = (RAW, HEIC, NOT_REGULAR, OUTSIDE)
# Reasons that may go without the file changing, so that it is tried again and again.
PASSING = (NO_PERMISSION, NO_MEMORY, "the file cannot be read")


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often the folders are looked at, how long what cannot be read is waited for, and how often output is written,
    all in seconds and at least."""

    interval_s: float = 2.0
    grace_s: float = 60.0
    write_every_s: float = 5.0


PACE = Pace()


@dataclass(frozen=True, slots=True)
class Seen:
    """A photograph as a look found it. It has stood still since `since_s` (monotonic); `tried`: but could not be read."""

    path: str
    size: int
    mtime_ns: int
    since_s: float
    tried: bool = False

    def is_in(self, size: int, mtime_ns: int) -> bool:
        """Whether that is its state."""
        return (self.size, self.mtime_ns) == (size, mtime_ns)


class Output:
    """The table or package that a watch writes from its journal; `is_due` says whether it is time for that again."""

    def __init__(
        self,
        config: IdentifyConfig,
        journal: WatchJournal,
        state: dict,
        by: str,
        every_s: float,
        scorer: Scorer | None = None,
    ):
        self._config, self._journal, self._state, self._by, self._every_s = config, journal, state, by, every_s
        self._scorer, self._since = scorer, now()
        self._say = say_for(config)
        self._next_s = time.monotonic() + every_s
        self._said = ""
        self._said_s, self._said_n = time.monotonic(), journal.n
        self.stale = True
        self.counts: Counter = Counter()

    def is_due(self) -> bool:
        """Whether there is something new to write, and the time for it."""
        return self.stale and time.monotonic() >= self._next_s

    def write(self, *, last: bool = False) -> None:
        """Writes the output whole. Where that fails (it is open in a program, say) it is said, and tried again later."""
        start = time.monotonic()
        try:
            self._write()
        except OSError as error:
            if last:
                raise
            if str(error) != self._said:
                self._said = str(error)
                self._say(f"{self._config.out} cannot be written now ({error}); the watch goes on and tries again")
        else:
            self.stale, self._said = False, ""
        end = time.monotonic()
        self._next_s = end + max(self._every_s, WRITE_SHARE * (end - start))
        if not last and not self.stale and end - self._said_s >= LOG_INTERVAL_S and self._journal.n > self._said_n:
            self._say(f"{self._journal.n:,} photographs in {self._config.out} (+{self._journal.n - self._said_n:,})")
            self._said_s, self._said_n = end, self._journal.n

    def _write(self) -> None:
        counts: Counter = Counter()

        def rows() -> Iterator[tuple[str, Prediction]]:
            counts.clear()
            for path, prediction in self._journal.rows():
                counts.update(count([prediction]))
                yield path, prediction

        config, state = self._config, self._state
        if config.writes_file:
            write_output(
                config.out,
                config.as_,
                rows,
                identified_by=self._by,
                created=state["created"],
                near=config.near,
                read_facts=self._journal.facts,
            )
            facts = {key: state[key] for key in MANIFEST_KEYS if key in state}
            # a photograph that is rewritten is named again: of the fast way this process's own work is told
            fast = {"scoring": self._scorer.summary() | {"since": self._since}} if self._scorer else {}
            write_json(get_manifest_path(config.out), facts | {"counts": dict(counts)} | fast)
        else:
            deque(rows(), maxlen=0)
        self.counts = counts


class Watch:
    """The loop. `name` turns jobs into batches of rows, each with its path, in the same order; `show` gets the rows of
    each photograph as they come; `stop` ends it."""

    def __init__(
        self,
        config: IdentifyConfig,
        name: Callable[[Iterator[Job]], Iterator[list[tuple[str, Prediction]]]],
        journal: WatchJournal,
        output: Output,
        *,
        stop: threading.Event,
        show: Callable[[list[Prediction]], None],
        pace: Pace,
    ):
        self._config, self._name, self._journal, self._output = config, name, journal, output
        self._stop, self._show, self._pace = stop, show, pace
        self._boxes = load_boxes(config.boxes, config.box_confidence) if config.boxes else None
        self._folders = Folders(config.paths, say_for(config))
        self._waiting: dict[str, Seen] = {}
        self._look_s = 0.0
        self._is_first = True
        self._progress: Progress | None = None

    def run(self) -> None:
        """Names what is there, then what comes, until it is stopped."""
        total = sum(1 for _ in self._folders.look(self._journal.holds))
        self._progress = Progress(total, quiet=self._config.quiet or not total)
        self.look()
        self._progress.close()
        self._is_first, self._progress = False, None
        if self._config.writes_file and not self._stop.is_set():
            self._output.write()
        if not self._stop.is_set():
            say_for(self._config)(f"watching {', '.join(map(str, self._config.paths))} … (Ctrl-C ends)")
        while not self._stop.wait(max(self._pace.interval_s, LOOK_SHARE * self._look_s)):
            self.look()
            self._write_if_due()

    def look(self) -> None:
        """Looks at the folders once and names what is ready."""
        before, self._waiting, self._look_s = self._waiting, {}, 0.0
        taken: deque[tuple[Seen, PhotoMetadata | None]] = deque()
        with closing(self._name(self._jobs(before, taken))) as batches:
            for _path, rows in groupby(chain.from_iterable(batches), key=itemgetter(0)):
                predictions = [prediction for _path, prediction in rows]
                self._settle(*taken.popleft(), predictions)
                if self._progress is not None:
                    self._progress.advance(1, predictions[0].status == "unreadable")
                self._write_if_due()
                if self._stop.is_set():
                    return

    def _jobs(self, before: dict[str, Seen], taken: deque[tuple[Seen, PhotoMetadata | None]]) -> Iterator[Job]:
        """What is ready to be named; each photograph goes to the end of `taken`, or into `self._waiting`."""
        start = time.monotonic()
        for path, size, mtime_ns in self._folders.look(self._journal.holds):
            now = time.monotonic()
            seen = before.get(path)
            stood = seen is not None and seen.is_in(size, mtime_ns)
            if not stood:
                # What was there before the watch need not be watched standing still: its own time says so.
                age_s = max(0.0, time.time() - mtime_ns / 1e9) if self._is_first else 0.0
                seen, stood = Seen(path, size, mtime_ns, now - age_s), age_s > self._pace.interval_s
            if not stood or (seen.tried and now - seen.since_s < self._pace.grace_s):
                self._waiting[path] = seen
                continue
            taken.append((seen, read_photo_metadata(path) if self._config.as_ != "table" else None))
            self._look_s += now - start
            yield from make_jobs(self._config, [FoundFile(path)], self._boxes)
            start = time.monotonic()
        self._look_s += time.monotonic() - start

    def _settle(self, seen: Seen, facts: PhotoMetadata | None, predictions: list[Prediction]) -> None:
        """Records what was found, unless the photograph changed meanwhile, or is gone unread, or may be half written."""
        now = time.monotonic()
        try:
            state = state_of(seen.path)
        except OSError:
            state = None
        reasons = [prediction.reason for prediction in predictions if prediction.status == "unreadable"]
        if state is not None and not seen.is_in(*state):
            self._waiting[seen.path] = Seen(seen.path, *state, now)
            return
        if reasons and state is None:
            return
        may_change = any(reason not in FINAL for reason in reasons)
        if may_change and now - seen.since_s < self._pace.grace_s:
            self._waiting[seen.path] = dataclasses.replace(seen, tried=True)
            return
        mtime_ns = NO_STATE if any(reason.startswith(PASSING) for reason in reasons) else seen.mtime_ns
        # The best of each rank is for reports only, and most of the bytes.
        rows = [dataclasses.replace(prediction, path_confidence=()) for prediction in predictions]
        if self._journal.put(seen.path, seen.size, mtime_ns, rows, facts):
            self._output.stale = True
            if self._progress is not None:
                self._progress.close()
            self._show(rows)

    def _write_if_due(self) -> None:
        if self._config.writes_file and self._output.is_due():
            self._output.write()


# --- The command


def watch(
    config: IdentifyConfig,
    *,
    namer: Namer | None = None,
    model: Model | None = None,
    stop: threading.Event | None = None,
    pace: Pace | None = None,
) -> int:
    """0 when the watch was ended by Ctrl-C, by a signal that asks for it, or by `stop`."""
    start = time.monotonic()
    pace = pace or PACE
    journal = _open_journal(config)
    try:
        waiting = journal.state() if config.resume else None
        model = model or load_model_if_named(config.model)
        if namer is None:
            # One kind of table for the whole watch, so that its first answers are made as its last.
            mode = "full" if config.names == "auto" else config.names
            options = dataclasses.replace(config.make_namer_config(), names=mode)
            namer = load_namer(options, model, say=say_for(config), report=name_progress(config))
        files = find_images(config.paths).files if config.runtime != DEFAULT_RUNTIME else ()
        check = select_runtime_for_run(config, model, namer, files, before=waiting or {})
        identity = make_run_identity(config, model, namer) | {"runtime_check": check} | describe_namer(namer)
        state = _begin(config, journal, waiting, identity)
        output = Output(config, journal, state, identified_by(model), pace.write_every_s, fast_scorer(config, namer))
        name = partial(name_batches, config, model, namer)
        with _stopped_by_signals(stop or threading.Event()) as stopped:
            Watch(config, name, journal, output, stop=stopped, show=_shower(config), pace=pace).run()
        if output.stale or not config.writes_file:
            output.write(last=True)
    except sqlite3.Error as error:
        raise OSError(f"{journal.path or 'the journal'}: {error}; what was named before is kept") from error
    finally:
        journal.close()
    if not config.quiet:
        if warning := format_calibration_warning(namer, model):
            print(warning, file=sys.stderr)
        print(
            summary(output.counts, time.monotonic() - start, config.out if config.writes_file else None),
            file=sys.stderr,
        )
    return 0


def _open_journal(config: IdentifyConfig) -> WatchJournal:
    """The journal beside the output. Raises FileExistsError where a watch or a run would be lost, and FileNotFoundError
    for a missing folder: one of a watch that goes on may be away for a while, one of a new watch is misspelt."""
    path = get_watch_path(config.out) if config.writes_file else None
    journal = WatchJournal(path) if path is None or path.exists() else None
    try:
        # What was stopped before it began has left an empty one.
        _check_start(config, is_new=journal is None or journal.state() is None)
    except (ValueError, OSError):
        if journal is not None:
            journal.close()
        raise
    return journal or WatchJournal(path)


def _check_start(config: IdentifyConfig, *, is_new: bool) -> None:
    for folder in config.paths:
        if folder.is_file():
            raise ValueError(f"{folder} is a file and --watch watches folders; give its folder")
        if not folder.is_dir() and (is_new or not config.resume):
            raise FileNotFoundError(f"{folder} is no folder; --watch needs one that is there when it begins")
    if not config.writes_file:
        return
    if is_new:
        check_free(config)
        if config.resume and not config.overwrite and (config.out.exists() or read_state(get_journal_dir(config.out))):
            raise FileExistsError(
                f"{config.out} is there already and not of a watch; choose another --out or --overwrite"
            )
    elif not (config.resume or config.overwrite):
        journal = get_watch_path(config.out)
        raise FileExistsError(f"{journal} is of an earlier watch; add --resume to go on or --overwrite to start again")


def _begin(config: IdentifyConfig, journal: WatchJournal, waiting: dict | None, identity: dict) -> dict:
    """What the watch is about: that of the one that goes on, or a new one."""
    if waiting is not None and waiting["hash"] != identity["hash"]:
        raise ValueError(difference(journal.path, waiting, identity))
    if config.writes_file:
        remove_unfinished(config.out)
    if waiting is not None:
        return waiting
    state = json.loads(json.dumps(identity, default=str)) | {"created": now()}
    journal.begin(state)
    return state


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[threading.Event]:
    """Sets `stop` at the first Ctrl-C, SIGTERM or SIGHUP; the second one acts as ever."""
    before = {}

    def handle(number, frame):
        stop.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            # Ignored, it is to stay so: `nohup` does that.
            if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, handle)
    try:
        yield stop
    finally:
        restore()


def _shower(config: IdentifyConfig) -> Callable[[list[Prediction]], None]:
    """What prints the rows of a photograph as they come, where that is wanted."""
    if config.writes_file and not config.table:
        return lambda predictions: None
    as_csv = config.out is not None and not config.writes_file
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal or a locale without UTF-8 must not end the watch
        sys.stdout.reconfigure(**({"encoding": "utf-8"} if as_csv else {"errors": "replace"}))
    printer = TerminalTable()
    begun = False

    def show(predictions: list[Prediction]) -> None:
        nonlocal begun
        if as_csv:
            write_csv_rows(sys.stdout, PREDICTION_COLUMNS, map(make_prediction_row, predictions), header=not begun)
        else:
            print("\n".join(([] if begun else [printer.format_header()]) + printer.format_rows(predictions)))
        sys.stdout.flush()
        begun = True

    return show
