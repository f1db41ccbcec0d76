"""Executors: jobs one after another in this process, in several processes, or over a Ray cluster, with progress."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from linnaea.terminal import Progress
from linnaea.twin.engine.workers import run_in_processes

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Executor:
    """Where jobs run, and how many at a time."""

    processes: int = 1
    "jobs at a time; 1 runs them in this process"
    over: str = "processes"
    "`processes` of this machine, or a `ray` cluster that shares the folder of the run"
    remedy: str = "--processes 1 needs less memory"
    "what a user can do if a process is killed"

    @property
    def sequential(self) -> bool:
        """Whether jobs run one after another in this process."""
        return self.over == "processes" and self.processes == 1

    def run(
        self, function: Callable, jobs: Sequence[tuple], *, steps: int, unit: str, label: str = ""
    ) -> Iterator[tuple[tuple, object]]:
        """Run all jobs; yield (job, result of `function(*job)`) as they end.

        A sequential job gets the keyword argument `progress` and advances it by its `steps`; otherwise progress counts
        jobs in `unit`. `label` begins the notices. Raise ChildProcessError if a process was killed.
        """
        quiet = not logger.isEnabledFor(logging.INFO)
        if self.sequential:
            progress = Progress(len(jobs) * steps, "steps", quiet=quiet)
        else:
            progress = Progress(len(jobs), unit, quiet=quiet)
        try:
            if self.sequential:
                for job in jobs:
                    yield job, function(*job, progress=progress)
            else:
                for ended in self._run_elsewhere(function, jobs):
                    progress.advance(1)
                    yield ended
        finally:
            progress.close()
        logger.info(f"{label}{len(jobs)} of {len(jobs)} {unit} done")

    def _run_elsewhere(self, function: Callable, jobs: Sequence[tuple]) -> Iterator[tuple[tuple, object]]:
        if self.over == "ray":
            return _run_over_ray(function, jobs)
        return run_in_processes(function, jobs, self.processes, self.remedy)


def count_processes(asked: int, n_jobs: int) -> int:
    """Return the number of processes for some jobs; `asked` is 0 for as many as there are cores."""
    return min(asked or os.cpu_count() or 1, max(n_jobs, 1))


def _run_over_ray(function: Callable, jobs: Sequence[tuple]) -> Iterator[tuple[tuple, object]]:
    """Run the jobs on a Ray cluster. Every machine of the cluster must see the folder of the run."""
    import ray

    ray.init(ignore_reinit_error=True, log_to_driver=False)
    remote = ray.remote(num_cpus=1)(function)
    waiting = {remote.remote(*job): job for job in jobs}
    while waiting:
        (done,), _ = ray.wait(list(waiting), num_returns=1)
        yield waiting.pop(done), ray.get(done)
