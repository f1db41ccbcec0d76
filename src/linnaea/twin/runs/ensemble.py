"""All members of a run: they differ by chance alone, run side by side, and are kept on disk as they end."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np

from linnaea.store import read_manifest, write_artifact
from linnaea.terminal import Progress
from linnaea.twin.engine.workers import hold_lock
from linnaea.twin.runs.executors import Executor, count_processes
from linnaea.twin.runs.member import CheckpointPlan, compile_rules, simulate_member
from linnaea.twin.runs.plan import RunPlan, count_steps, derive_member_seed
from linnaea.twin.runs.run_folder import (
    MEMBER_KIND,
    find_unfinished,
    get_checkpoint_dir,
    get_lock_path,
    get_member_dir,
    is_finished,
)
from linnaea.twin.scenarios.scenario_file import format_duration

logger = logging.getLogger(__name__)


def run_member(
    plan: RunPlan,
    run_dir: Path,
    member: int,
    threads: int = 1,
    checkpoint_s: float = 60.0,
    progress: Progress | None = None,
) -> str:
    """Run a member to its end, from its checkpoint if there is one, and keep it; return "" or why it failed.

    While another process computes the member, wait, and then compute only what is left.
    """
    with hold_lock(get_lock_path(run_dir, member)):
        if not is_finished(run_dir, plan, member):
            _compute_member(plan, run_dir, member, threads, checkpoint_s, progress)
        return read_manifest(get_member_dir(run_dir, member))["failure"]


def _compute_member(
    plan: RunPlan, run_dir: Path, member: int, threads: int, checkpoint_s: float, progress: Progress | None
) -> None:
    started = time.monotonic()
    checkpoints = CheckpointPlan(checkpoint_dir=get_checkpoint_dir(run_dir, member), every_s=checkpoint_s)
    result = simulate_member(plan, run_dir, member, threads=threads, checkpoints=checkpoints, progress=progress)
    manifest = {
        "kind": MEMBER_KIND,
        "member": member,
        "seed": derive_member_seed(plan.seed, member),
        "hours": plan.hours,
        "failure": result.failure,
        "wall_s": round(time.monotonic() - started, 1),
    }
    with write_artifact(get_member_dir(run_dir, member), manifest) as target_dir:
        np.savez_compressed(target_dir / "records.npz", **result.arrays)


def run_members(
    plan: RunPlan, run_dir: Path, *, processes: int = 0, over: str = "processes", checkpoint_s: float = 60.0
) -> dict[int, str]:
    """Run all members that are not finished; return the reasons of those that failed, by member.

    `processes` is 0 for as many as there are cores. Raise ChildProcessError if a process was killed; finished members
    and the checkpoints of the others stay.
    """
    todo = find_unfinished(run_dir, plan)
    if not todo:
        return {}
    executor = Executor(
        processes=count_processes(processes, len(todo)),
        over=over,
        remedy="--resume goes on from the checkpoints, --processes 1 needs less",
    )
    if over == "processes" and not executor.sequential:
        compile_rules(plan, run_dir, todo[0])
        logger.info(f"{len(todo)} members of {format_duration(plan.hours)}, {executor.processes} at a time")
    # One member at a time may use all threads.
    threads = 0 if executor.sequential else 1
    jobs = [(plan, run_dir.resolve(), member, threads, checkpoint_s) for member in todo]
    failures: dict[int, str] = {}
    for job, failure in executor.run(run_member, jobs, steps=count_steps(plan), unit="members"):
        if failure:
            failures[job[2]] = failure
            logger.warning(f"member {job[2] + 1} failed: {failure}")
    return failures
