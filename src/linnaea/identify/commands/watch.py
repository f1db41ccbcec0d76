"""`linnaea identify --watch`: starts or resumes a watch over folders, and ends it in order."""

from __future__ import annotations

import dataclasses
import json
import logging
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from linnaea.embed.journal import RunOutput, check_same_run
from linnaea.identify.commands.config import IdentifyConfig
from linnaea.identify.commands.pipeline import load_model_if_named, name_batches, select_runtime_for_run
from linnaea.identify.commands.row_printer import RowPrinter
from linnaea.identify.commands.run_identity import (
    check_output_folder,
    choose_names_mode,
    list_differences,
    make_run_identity,
)
from linnaea.identify.commands.run_summary import (
    format_identified_by,
    format_utc_now,
    summarize_run,
    take_fast_scorer,
)
from linnaea.identify.commands.watch_journal import WatchJournal, get_watch_path, remove_unfinished
from linnaea.identify.commands.watch_loop import Pace, Watch
from linnaea.identify.commands.watch_output import WatchOutput
from linnaea.identify.naming.namer import Namer, describe_namer, format_calibration_warning, load_namer
from linnaea.model.core.contract import Model
from linnaea.model.runtimes.runtime_names import DEFAULT_RUNTIME
from linnaea.photos.photo_files import find_images
from linnaea.records import Prediction

logger = logging.getLogger(__name__)

PACE = Pace()


def run_watch(
    config: IdentifyConfig,
    *,
    namer: Namer | None = None,
    model: Model | None = None,
    stop: threading.Event | None = None,
    pace: Pace | None = None,
) -> int:
    """Watch the folders; return 0 after Ctrl-C, a signal to end, or when `stop` is set."""
    start_s = time.monotonic()
    pace = pace or PACE
    config.read_deployments()  # its errors, before anything is named
    journal = _open_journal(config)
    try:
        interrupted = journal.state() if config.resume else None
        model = model or load_model_if_named(config.model)
        if namer is None:
            mode = choose_names_mode(config.names, interrupted or {})
            namer = load_namer(dataclasses.replace(config, names=mode), model)
        files = find_images(config.paths, videos=True).files if config.runtime != DEFAULT_RUNTIME else ()
        check = select_runtime_for_run(config, model, namer, files, before=interrupted or {})
        identity = make_run_identity(config, model, namer) | {"runtime_check": check} | describe_namer(namer)
        state = _begin(config, journal, interrupted, identity)
        scorer = take_fast_scorer(config, namer)
        output = WatchOutput(config, journal, state, format_identified_by(model), namer, pace.write_every_s, scorer)
        name = partial(name_batches, config, model, namer)
        with _stopped_by_signals(stop or threading.Event()) as stopped:
            Watch(config, name, journal, output, stop=stopped, show=_make_shower(config), pace=pace).run()
        if output.is_stale or config.sort_into is not None or not config.writes_file:
            output.write(last=True)
    except sqlite3.Error as error:
        raise OSError(f"{journal.path or 'the journal'}: {error}; what was named before is kept") from error
    finally:
        journal.close()
    if warning := format_calibration_warning(namer, model):
        logger.warning(warning)
    logger.info(summarize_run(config, output.counts, start_s, len(output.left_out)))
    return 0


def _open_journal(config: IdentifyConfig) -> WatchJournal:
    """The journal beside the output.

    Raise FileExistsError if an earlier watch or run would be lost. Raise FileNotFoundError for a missing folder of a
    new watch, which is probably misspelt; a folder of a resumed watch may be away for a while.
    """
    path = get_watch_path(config.out) if config.writes_file else None
    journal = WatchJournal(path) if path is None or path.exists() else None
    try:
        # A watch that was stopped before it began has left an empty journal.
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
            raise FileNotFoundError(
                f"folder {folder} does not exist; --watch needs a folder that exists when it begins"
            )
    if not config.writes_file:
        return
    if is_new:
        _check_output_free(config)
    elif not (config.resume or config.overwrite):
        journal = get_watch_path(config.out)
        raise FileExistsError(
            f"{journal} belongs to an earlier watch; add --resume to continue it or --overwrite to start again"
        )


def _check_output_free(config: IdentifyConfig) -> None:
    """Raise FileExistsError if a new watch would replace an output or an interrupted run."""
    check_output_folder(config.out)
    output = RunOutput(config.out, resume=config.resume, overwrite=config.overwrite)
    if config.resume and not config.overwrite and (config.out.exists() or output.interrupted):
        raise FileExistsError(
            f"{config.out} exists already and was not written by a watch; choose another --out or --overwrite"
        )
    output.check_free()


def _begin(config: IdentifyConfig, journal: WatchJournal, interrupted: dict | None, identity: dict) -> dict:
    """The state of the watch: that of the watch to resume, or a new one."""
    if interrupted is not None:
        check_same_run(journal.path, interrupted, identity, list_differences(interrupted, identity))
    if config.writes_file:
        remove_unfinished(config.out)
    if interrupted is not None:
        return interrupted
    state = json.loads(json.dumps(identity, default=str)) | {"created": format_utc_now()}
    journal.begin(state)
    return state


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[threading.Event]:
    """Set `stop` at the first Ctrl-C, SIGTERM or SIGHUP; a second signal gets the previous handler."""
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
            # A signal that is ignored stays ignored: `nohup` ignores SIGHUP.
            if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, handle)
    try:
        yield stop
    finally:
        restore()


def _make_shower(config: IdentifyConfig) -> Callable[[list[Prediction]], None]:
    """A function that prints the rows of a photograph, or does nothing if rows go to a file only."""
    if config.writes_file and not config.table:
        return lambda predictions: None
    return RowPrinter(as_csv=config.out is not None and not config.writes_file).print_rows
