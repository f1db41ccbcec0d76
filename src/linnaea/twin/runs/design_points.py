"""Design points: many runs that differ in parameters, for sensitivity analysis and calibration.

Each run is kept on disk, and none is done twice.

Shape suffixes: m members, k records, s species.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from linnaea.store import atomic_path, hash_bytes
from linnaea.terminal import Progress
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.workers import hold_lock
from linnaea.twin.runs.executors import Executor, count_processes
from linnaea.twin.runs.member import compile_rules, simulate_member
from linnaea.twin.runs.plan import RunPlan, count_steps
from linnaea.twin.scenarios.scenario_file import format_duration

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DesignPoint:
    """Numbers of animals of the members of one plan."""

    years: np.ndarray
    "times of the records [k]"
    counts: np.ndarray
    "animals [m, k, s]"
    failures: tuple[str, ...] = ()
    "reasons of the members that failed"

    def compute_final_mean(self, years: float) -> np.ndarray:
        """Return the mean numbers over the last years and the members: float64 [s]; nan if all members failed."""
        if not len(self.counts):
            return np.full(self.counts.shape[2], np.nan)
        return self.counts[:, self.years > self.years[-1] - years + 1e-9].mean((0, 1))


def _get_point_path(points_dir: Path, plan: RunPlan, member: int) -> Path:
    known = {key: value for key, value in asdict(plan).items() if key != "members"}
    return points_dir / "points" / f"{hash_bytes(json.dumps(known, sort_keys=True), str(member))}.npz"


def run_point(plan: RunPlan, points_dir: Path, member: int, progress: Progress | None = None) -> str:
    """Run one member of a plan and keep its numbers; return "" or the reason of its failure.

    While another process computes the member, wait for it instead.
    """
    path = _get_point_path(points_dir, plan, member)
    with hold_lock(path.with_suffix(".lock")):
        if not path.is_file():
            _compute_point(plan, points_dir, member, path, progress)
        with np.load(path) as stored:
            return str(stored["failure"])


def _compute_point(plan: RunPlan, points_dir: Path, member: int, path: Path, progress: Progress | None) -> None:
    result = simulate_member(plan, points_dir, member, progress=progress)
    arrays = {}
    if not result.failure:
        arrays = {"years": result.arrays["time_h"] / HOURS_A_YEAR, "counts": result.arrays["counts"]}
    with atomic_path(path) as temporary, open(temporary, "wb") as handle:
        np.savez_compressed(handle, failure=np.array(result.failure), **arrays)


def run_points(plans: Sequence[RunPlan], points_dir: Path, processes: int = 0, label: str = "") -> list[DesignPoint]:
    """Run the members of all plans that are not on disk; return one design point for each plan, in order.

    `points_dir` holds the scenario's file. `label` begins the notices, as in "round 2, batch 1: 8 of 8 runs done".
    """
    jobs = [
        (plan, points_dir, member)
        for plan in plans
        for member in range(plan.members)
        if not _get_point_path(points_dir, plan, member).is_file()
    ]
    if jobs:
        plan, _, member = jobs[0]
        executor = Executor(
            processes=count_processes(processes, len(jobs)),
            remedy="the same command goes on, --processes 1 needs less",
        )
        compile_rules(plan, points_dir, member)
        logger.info(f"{label}{len(jobs)} runs of {format_duration(plan.hours)}, {executor.processes} at a time")
        for _ in executor.run(run_point, jobs, steps=count_steps(plan), unit="runs", label=label):
            pass
    return [_load_point(plan, points_dir) for plan in plans]


def _load_point(plan: RunPlan, points_dir: Path) -> DesignPoint:
    years, counts, failures = np.zeros(0), [], []
    for member in range(plan.members):
        with np.load(_get_point_path(points_dir, plan, member)) as stored:
            if failure := str(stored["failure"]):
                failures.append(failure)
                continue
            years = stored["years"]
            counts.append(stored["counts"])
    shape = (0, 0, 0) if not counts else (len(counts), *counts[0].shape)
    return DesignPoint(years=years, counts=np.array(counts).reshape(shape), failures=tuple(failures))
