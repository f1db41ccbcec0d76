"""Many runs that differ in parameters, for sensitivity and calibration: each kept on disk, none done twice.

Shape suffixes: m members, k records, s species.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from linnaea.store import atomic_path, hash_bytes
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.step import step
from linnaea.twin.engine.workers import TimeLeft, hold_lock, run_in_processes
from linnaea.twin.runs.ensemble import SAY_EVERY_S, RunPlan, build_member, must_compile, take_first_step
from linnaea.twin.runs.recorder import get_records
from linnaea.twin.scenarios.scenario_file import format_duration


@dataclass(frozen=True, kw_only=True)
class DesignPoint:
    """What became of a plan: years [k], numbers [m, k, s], and why members failed."""

    years: np.ndarray
    counts: np.ndarray
    failures: tuple[str, ...] = ()

    def last(self, years: float) -> np.ndarray:
        """Mean numbers over the last years and the members: float64 [s]; nan when no member lived to the end."""
        if not len(self.counts):
            return np.full(self.counts.shape[2], np.nan)
        return self.counts[:, self.years > self.years[-1] - years + 1e-9].mean((0, 1))


def _get_point_path(folder: Path, plan: RunPlan, member: int) -> Path:
    known = {key: value for key, value in asdict(plan).items() if key != "members"}
    return folder / "points" / f"{hash_bytes(json.dumps(known, sort_keys=True), str(member))}.npz"


def run_point(plan: RunPlan, folder: Path, member: int) -> str:
    """Runs one member of a plan and keeps its numbers; "" or the reason of a failure.

    What another process computes meanwhile is waited for and not done again.
    """
    path = _get_point_path(folder, plan, member)
    with hold_lock(path.with_suffix(".lock")):
        if not path.is_file():
            _run_point(plan, folder, member, path)
        with np.load(path) as stored:
            return str(stored["failure"])


def _run_point(plan: RunPlan, folder: Path, member: int, path: Path) -> None:
    failure, arrays = "", {}
    try:
        world, record = build_member(plan, folder, member, threads=1)
        record.write_down(world, 0.0)
        for _ in range(round(plan.hours / world.dt_h)):
            step(world)
        found = get_records(world)
        arrays = {"years": found["time_h"] / HOURS_A_YEAR, "counts": found["counts"]}
    except (ValueError, FloatingPointError, MemoryError) as error:
        failure = " ".join(str(error).split()) or type(error).__name__
    with atomic_path(path) as temporary, open(temporary, "wb") as handle:
        np.savez_compressed(handle, failure=np.array(failure), **arrays)


def run_points(
    plans: Sequence[RunPlan], folder: Path, processes: int = 0, report: Callable[[str], None] = print, of_what: str = ""
) -> list[DesignPoint]:
    """The plans' points, in order; those that are on disk are not run again. The scenario's file lies in `folder`.

    `of_what` begins the lines of progress, as in "round 2, batch 1: 3 of 8 runs done".
    """
    todo = [
        (plan, member)
        for plan in plans
        for member in range(plan.members)
        if not _get_point_path(folder, plan, member).is_file()
    ]
    processes = min(processes or os.cpu_count() or 1, max(len(todo), 1))
    if todo:
        world, _ = build_member(todo[0][0], folder, 0, threads=1)
        if must_compile(world):
            take_first_step(world, report)
        report(f"{of_what}{len(todo)} runs of {format_duration(todo[0][0].hours)}, {processes} at a time")
        _run_all(todo, folder, processes, report, of_what)
    return [_load(plan, folder) for plan in plans]


def _run_all(
    todo: list[tuple[RunPlan, int]], folder: Path, processes: int, report: Callable[[str], None], of_what: str
) -> None:
    jobs = [(plan, folder, member) for plan, member in todo]
    if processes == 1:
        ended = (run_point(*job) for job in jobs)
    else:
        ended = run_in_processes(run_point, jobs, processes, "the same command goes on, --processes 1 needs less")
    left, said = TimeLeft(len(todo), processes), time.monotonic()
    for number, _ in enumerate(ended, 1):
        if number in (processes, len(todo)) or time.monotonic() - said >= SAY_EVERY_S:
            said = time.monotonic()
            report(f"{of_what}{number} of {len(todo)} runs done{left.after(number)}")


def _load(plan: RunPlan, folder: Path) -> DesignPoint:
    years, counts, failures = np.zeros(0), [], []
    for member in range(plan.members):
        with np.load(_get_point_path(folder, plan, member)) as stored:
            if failure := str(stored["failure"]):
                failures.append(failure)
                continue
            years = stored["years"]
            counts.append(stored["counts"])
    shape = (0, 0, 0) if not counts else (len(counts), *counts[0].shape)
    return DesignPoint(years=years, counts=np.array(counts).reshape(shape), failures=tuple(failures))
