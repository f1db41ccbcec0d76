"""Work in processes that end with the one that began it, locks that end with their holder, and the time left."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, parent_process
from pathlib import Path

LOCK_WAIT_S = 0.2


def end_with_parent() -> None:
    """Ends this process as soon as the one that started it is gone, however that ended."""
    parent = parent_process()

    def watch() -> None:
        connection.wait([parent.sentinel])
        # Not sys.exit: that would end this thread alone, and wait for the work of the others.
        os._exit(1)

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()


def run_in_processes(
    function: Callable, jobs: Sequence[tuple], processes: int, remedy: str
) -> Iterator[tuple[tuple, object]]:
    """Yields (job, what `function(*job)` returned) for every job, in the order in which they end.

    Raise ChildProcessError, with the `remedy`, if a process was killed.
    """
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool

    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
        try:
            waiting = {pool.submit(function, *job): job for job in jobs}
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        except BrokenProcessPool:
            raise ChildProcessError(f"a process was killed, perhaps for lack of memory; {remedy}") from None
        except (KeyboardInterrupt, GeneratorExit):
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _lock(handle) -> None:
    """Locks an open file until it is closed or this process ends. Raise OSError if another process has it."""
    try:
        import fcntl
    except ModuleNotFoundError:
        import msvcrt

        handle.seek(0)
        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def find_lock_holder(path: Path) -> str:
    """The number of the living process that holds this lock; "" if none does, whatever a dead one left."""
    try:
        with open(path, "r+") as handle:
            try:
                _lock(handle)
            except OSError:
                return path.with_suffix(".pid").read_text("utf-8") if path.with_suffix(".pid").is_file() else "another"
    except FileNotFoundError:
        pass
    return ""


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Waits for a lock and holds it while the block runs; its files are removed when the block ends without an error.

    The system frees the lock of a dead process. After waiting, check whether the work is still to be done.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as handle:
        while True:
            try:
                _lock(handle)
                break
            except OSError:
                time.sleep(LOCK_WAIT_S)
        # Beside the lock: where locks are those of Windows, a locked file cannot be read.
        path.with_suffix(".pid").write_text(str(os.getpid()), "utf-8")
        yield
        for left in (path.with_suffix(".pid"), path):
            with suppress(OSError):
                left.unlink(missing_ok=True)


class TimeLeft:
    """Estimates how long the rest of some equal jobs will take, from those that are done."""

    def __init__(self, total: int, at_once: int = 1, clock: Callable[[], float] = time.monotonic):
        self.total, self.at_once, self.clock, self.started = total, at_once, clock, clock()

    def after(self, done: float) -> str:
        """Text such as ", about 5 minutes left"; "" before anything is done and when all is."""
        if not 0 < done < self.total:
            return ""
        elapsed = self.clock() - self.started
        # Jobs at once end about together: what counts are the rounds.
        rounds, all_rounds = (
            n / self.at_once if self.at_once == 1 else math.ceil(n / self.at_once) for n in (done, self.total)
        )
        return f", about {format_duration(max(elapsed * (all_rounds / rounds - 1), 0.0))} left"


def format_duration(seconds: float) -> str:
    """A length of time in words: "40 s", "5 minutes", "3.2 hours"."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
