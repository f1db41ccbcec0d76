"""Work over processes: they end with the one that began it, and say how long the rest takes."""

import math
import subprocess
import sys
import time

import pytest

from linnaea.twin.engine.workers import TimeLeft, find_lock_holder, format_duration, hold_lock, run_in_processes

WORKER = """
import sys, time
from pathlib import Path
from linnaea.twin.engine.workers import hold_lock, run_in_processes

def work(lock):
    with hold_lock(Path(lock)):
        time.sleep(120)

if __name__ == "__main__":
    list(run_in_processes(work, [(sys.argv[1],)], 1, "nothing"))
"""


def until(condition, seconds=60.0) -> bool:
    """Whether a condition came true in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_a_worker_ends_and_its_lock_is_free_when_the_process_that_began_it_is_killed(tmp_path):
    script, lock = tmp_path / "job.py", tmp_path / "one.lock"
    script.write_text(WORKER)
    parent = subprocess.Popen([sys.executable, script, lock], stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: find_lock_holder(lock).isdigit())
        assert int(find_lock_holder(lock)) != parent.pid
    finally:
        parent.kill()
        parent.wait(timeout=60)
    assert until(lambda: not find_lock_holder(lock))


def test_every_job_comes_back_with_what_it_gave():
    assert dict(run_in_processes(math.sqrt, [(4,), (9,), (25,)], 2, "")) == {(4,): 2, (9,): 3, (25,): 5}


def test_a_lock_leaves_nothing_behind_after_its_work_and_is_free_after_an_error(tmp_path):
    lock = tmp_path / "a" / "one.lock"
    with hold_lock(lock):
        assert find_lock_holder(lock)
    assert list(lock.parent.iterdir()) == []
    with pytest.raises(RuntimeError), hold_lock(lock):
        raise RuntimeError
    assert find_lock_holder(lock) == ""


def test_the_time_left_is_that_of_the_rounds_still_to_come():
    now = [0.0]
    one, two = TimeLeft(4, clock=lambda: now[0]), TimeLeft(8, 2, clock=lambda: now[0])
    assert one.after(0) == two.after(0) == ""
    now[0] = 100.0
    # One of four took 100 s; one of eight, two at a time: one of four rounds.
    assert one.after(1) == two.after(1) == two.after(2) == ", about 5 minutes left"
    now[0] = 200.0
    assert two.after(3) == ", about 3 minutes left"
    assert one.after(4) == ""


def test_times_are_told_in_units_that_one_would_use():
    assert [format_duration(s) for s in (0.2, 40, 300, 9000)] == ["1 s", "40 s", "5 minutes", "2.5 hours"]
