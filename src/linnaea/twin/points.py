"""Many runs that differ in parameters, for sensitivity and calibration: each kept on disk, none done twice.

Legend: m members, k records, s species.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from linnaea.store import atomic_path, hash_bytes
from linnaea.twin.agents import HOURS_A_YEAR
from linnaea.twin.ensemble import Plan, build_member, first_step, needs_compiling
from linnaea.twin.loop import step
from linnaea.twin.recording import recorded


@dataclass(frozen=True, kw_only=True)
class Point:
    """What became of a plan: years [k], numbers [m, k, s], and why members failed."""

    years: np.ndarray
    counts: np.ndarray
    failures: tuple[str, ...] = ()

    def last(self, years: float) -> np.ndarray:
        """Mean numbers over the last years and the members: float64 [s]; nan when no member lived to the end."""
        if not len(self.counts):
            return np.full(self.counts.shape[2], np.nan)
        return self.counts[:, self.years > self.years[-1] - years + 1e-9].mean((0, 1))


def _file(folder: Path, plan: Plan, member: int) -> Path:
    known = {key: value for key, value in asdict(plan).items() if key != "members"}
    return folder / "points" / f"{hash_bytes(json.dumps(known, sort_keys=True), str(member))}.npz"


def run_point(plan: Plan, folder: Path, member: int) -> str:
    """Runs one member of a plan and keeps its numbers; "" or the reason of a failure."""
    failure, arrays = "", {}
    try:
        world, record = build_member(plan, folder, member, threads=1)
        record.write_down(world, 0.0)
        for _ in range(round(plan.hours / world.dt_h)):
            step(world)
        found = recorded(world)
        arrays = {"years": found["time_h"] / HOURS_A_YEAR, "counts": found["counts"]}
    except (ValueError, FloatingPointError, MemoryError) as error:
        failure = " ".join(str(error).split()) or type(error).__name__
    path = _file(folder, plan, member)
    with atomic_path(path) as temporary, open(temporary, "wb") as handle:
        np.savez_compressed(handle, failure=np.array(failure), **arrays)
    return failure


def run_points(
    plans: Sequence[Plan], folder: Path, processes: int = 0, report: Callable[[str], None] = print
) -> list[Point]:
    """The plans' points, in order; those that are on disk are not run again. The scenario's file lies in `folder`."""
    todo = [(plan, member) for plan in plans for member in range(plan.members) if not _file(folder, plan, member).is_file()]
    processes = min(processes or os.cpu_count() or 1, max(len(todo), 1))
    if todo:
        world, _ = build_member(todo[0][0], folder, 0, threads=1)
        if needs_compiling(world):
            first_step(world, report)
        _run_all(todo, folder, processes, report)
    return [_load(plan, folder) for plan in plans]


def _run_all(todo: list[tuple[Plan, int]], folder: Path, processes: int, report: Callable[[str], None]) -> None:
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    def told(number: int) -> None:
        if number % max(1, len(todo) // 20) == 0 or number == len(todo):
            report(f"{number} of {len(todo)} runs done")

    if processes == 1:
        for number, (plan, member) in enumerate(todo, 1):
            run_point(plan, folder, member)
            told(number)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        try:
            waiting = [pool.submit(run_point, plan, folder, member) for plan, member in todo]
            for number, done in enumerate(as_completed(waiting), 1):
                done.result()
                told(number)
        except BrokenProcessPool:
            raise ChildProcessError(
                "a process was killed, perhaps for want of memory; the same command goes on, --processes 1 needs less"
            ) from None
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _load(plan: Plan, folder: Path) -> Point:
    years, counts, failures = np.zeros(0), [], []
    for member in range(plan.members):
        with np.load(_file(folder, plan, member)) as stored:
            if failure := str(stored["failure"]):
                failures.append(failure)
                continue
            years = stored["years"]
            counts.append(stored["counts"])
    shape = (0, 0, 0) if not counts else (len(counts), *counts[0].shape)
    return Point(years=years, counts=np.array(counts).reshape(shape), failures=tuple(failures))
