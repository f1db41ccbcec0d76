"""Run twin experiments: a known world is counted with all errors of field work; how good is the assimilation?

    python benchmarks/validation/assimilation.py --work build/assimilation

A true run is drawn. Imperfect sensors count its animals. The ensemble gets the counts and nothing else, and its
intervals are compared with the truth. The same ensemble without counts is the free run. There are three kinds of truth:

- *map*: a run of the food web's map with its own start, parameters and noise, drawn like those of the members; counts
  are drawn with unknown detection, confusion among species, unidentified animals and clumping;
- *map, one parameter wrong*: in the truth one species loses twice as much as in the tables (e^0.7, 3.5 standard
  deviations of the prior), once so that the filter may learn it and once with the tables' value fixed in all members;
- *animals*: the world of single animals of `linnaea twin observe`, with camera traps, flights and collars, whose tables
  are written and read again. The map knows neither seasons nor places nor single animals, and the filter's values for
  each sensor's detection of each species have random errors: everything is slightly wrong.

With `--work`, finished experiments are stored there, and the same command continues after a stop. Other code or options
start again. The exit code is 1 if a measure is missed.
"""

from __future__ import annotations

import os

# Arrays are small: threads that wait for each other cost more than they help. Set this only if this file is the
# program, not in a test of it.
if __name__ == "__main__":
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "src")]

import assimilation_truths
from assimilation_truths import FILTER, NEVER_COUNTED, SPREAD, Score, animal_experiment, map_experiment

from hardware import describe_hardware, n_cores, show_command, write_result
from linnaea.store import atomic_path, hash_bytes
from linnaea.twin.inference.ensemble_members import NOISE_LEVELS

LEAST, MOST, GAIN = 0.80, 0.97, 0.30
HEADER = (
    "truth",
    "filter",
    "seeds",
    "held",
    "a month ahead",
    "free run",
    "CRPS",
    "free",
    "gain",
    "gain, logarithms",
    "seeds better",
    "surprise",
    "noise",
    "as expected",
)
WRONG_LOSSES = {"tutorial": "loss of red fox", "savanna": "loss of wildebeest", "island": "loss of grey wolf"}


@dataclass(frozen=True, kw_only=True)
class Job:
    """Experiments of one seed that share a truth."""

    truth: str
    "name on the page"
    seed: int
    "seed of truth and filter"
    animals: int = 0
    "number of animals in a world of single animals; 0: a truth of the map"
    case: Mapping = field(default_factory=dict)
    "arguments of `map_experiment`"

    def run(self, months: int, size: int) -> dict[str, Score]:
        """Return the scores, by the information that the filter had."""
        if self.animals:
            return animal_experiment(self.seed, months, size, self.animals)
        return map_experiment(self.seed, months, size, **self.case)


def all_jobs(options) -> list[Job]:
    """Return all experiments of the page."""
    cases: list[Mapping] = [{"world": world} for world in ("tutorial", "savanna", "island", "galapagos")]
    cases.append({"world": "savanna", "share": 1 / 3})
    for world, wrong in WRONG_LOSSES.items():
        cases += [{"world": world, "wrong": wrong, "known": known} for known in (False, True)]
    jobs = [
        Job(truth=f"map, {case['world']}", seed=options.first_seed + seed, case=case)
        for case in cases
        for seed in range(options.seeds)
    ]
    truth = f"{options.animals} animals, tutorial"
    return jobs + [
        Job(truth=truth, seed=options.first_seed + seed, animals=options.animals)
        for seed in range(options.animal_seeds)
    ]


def code_key() -> str:
    """Return an identity of the code behind the results: a hash of this script and of all project modules it uses."""
    modules = [str(getattr(one, "__file__", "")) for name, one in sys.modules.items() if name.startswith("linnaea")]
    paths = sorted({__file__, assimilation_truths.__file__, *(path for path in modules if path.endswith(".py"))})
    return hash_bytes(*[Path(path).read_text(encoding="utf-8") for path in paths])


def run_job(job: Job, months: int, size: int, work: Path | None, key: str) -> tuple[dict[str, Score], float]:
    """Return scores and seconds of processor time; read them from the work folder if they are there."""
    path = work / f"{hash_bytes(key, json.dumps([asdict(job), months, size], sort_keys=True))}.json" if work else None
    if path and path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {what: Score(**one) for what, one in kept["scores"].items()}, kept["seconds"]
    start = time.process_time()
    scores = job.run(months, size)
    seconds = time.process_time() - start
    if path:
        content = {
            "job": asdict(job),
            "seconds": seconds,
            "scores": {what: asdict(one) for what, one in scores.items()},
        }
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return scores, seconds


def run_all(jobs: Sequence[Job], options) -> list[tuple[dict[str, Score], float]]:
    """Return the result of each job, in order."""
    key = code_key()
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
    todo = [
        (job, options.animal_months if job.animals else options.months, options.ensemble, options.work, key)
        for job in jobs
    ]
    if options.processes == 1:
        done = []
        for number, one in enumerate(todo, 1):
            done.append(run_job(*one))
            say(number, len(todo))
        return done
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(run_job, *one) for one in todo]
        for number, _ in enumerate(as_completed(waiting), 1):
            say(number, len(todo))
        return [one.result() for one in waiting]


def say(number: int, n_jobs: int) -> None:
    """Report the progress now and then."""
    if number % max(1, n_jobs // 20) == 0 or number == n_jobs:
        print(f"{number} of {n_jobs} experiments", file=sys.stderr, flush=True)


def line(truth: str, what: str, scores: list[Score]) -> tuple[str, bool]:
    """Return a row of the table, and whether it meets its measures, if it has any."""
    mean = {key: float(np.mean([getattr(one, key) for one in scores])) for key in Score.__dataclass_fields__}
    error = (
        float(np.std([one.held for one in scores], ddof=1) / len(scores) ** 0.5) if len(scores) > 1 else float("nan")
    )
    gains = [1 - mean["crps"] / mean["free"], 1 - mean["crps_log"] / mean["free_log"]]
    better = sum(one.crps < one.free for one in scores)
    fine = LEAST <= mean["held"] <= MOST and min(gains) >= GAIN
    # Species that nobody counts cannot gain; the row shows this.
    measured = what != NEVER_COUNTED
    row = (
        f"| {truth} | {what} | {len(scores)} | {mean['held']:.1%} ± {error:.1%} | {mean['held_ahead']:.1%} | "
        f"{mean['held_free']:.1%} | {mean['crps']:.3f} | {mean['free']:.3f} | {gains[0]:.0%} | {gains[1]:.0%} | "
        f"{better} | {mean['surprise']:.2f} | {mean['noise']:.2f} | {('yes' if fine else 'NO') if measured else '–'} |"
    )
    return row, fine or not measured


def table(jobs: Sequence[Job], done) -> list[tuple[str, bool]]:
    """Return the rows of the page, in the order of the jobs."""
    by_row: dict[tuple[str, str], list[Score]] = {}
    for job, (scores, _) in zip(jobs, done, strict=True):
        for what, one in scores.items():
            by_row.setdefault((job.truth, what), []).append(one)
    return [line(*names, scores) for names, scores in by_row.items()]


def page(options, command: str, seconds: float, rows: list[tuple[str, bool]]) -> list[str]:
    """Return the lines of the page."""
    last = options.first_seed + max(options.seeds, options.animal_seeds) - 1
    return [
        "# Assimilation: twin experiments",
        "",
        f"- hardware: {describe_hardware()}; {seconds:.0f} s of one core, compiling included",
        f"- command: `{command}`",
        f"- {options.ensemble} members per level of noise, seeds {options.first_seed} to {last},",
        f"  counts of {options.months} months (of worlds of animals: {options.animal_months})",
        f"- spread before the first count: start {SPREAD.start}, parameters {SPREAD.parameter}, noise {SPREAD.noise},",
        f"  detection {FILTER.detection} (standard deviations of logarithms); the filter's members have noise that is",
        f"  {', '.join(f'{one:g}' for one in NOISE_LEVELS)} times as large, weighted by their forecasts; the truth and",
        "  the free run have it once as large; the same for every row",
        f"- expected: 90 % intervals contain the truth in {LEAST:.0%}–{MOST:.0%} of species and months",
        f"  (± standard error over seeds); CRPS at least {GAIN:.0%} below the free run's, for densities (as shares of",
        "  the usual ones) and for their logarithms",
        "- *a month ahead*: intervals of the forecast before that month's counts; *surprise*: mean squared difference",
        "  of counts and forecasts in units of the expected variance (of ensemble and counts), 1 if all is right;",
        "  *noise*: the mean multiple of the configured noise after the last counts",
        "",
        f"| {' | '.join(HEADER)} |",
        "|" + " --- |" * len(HEADER),
        *[row for row, _ in rows],
        "",
        "Limits of these figures: in the rows of the map the filter's model is the model of the truth, except for the",
        "named parameter. The rows of animals are the harder test, but they are simulated as well; no real population",
        "was forecast.",
    ]


def main(argv: list[str] | None = None) -> int:
    """Write the page; return 0, or 1 if a measure is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=24, help="truths of the map in each row")
    parser.add_argument("--first-seed", type=int, default=0, help="first of the consecutive seeds")
    parser.add_argument("--months", type=int, default=24, help="months of counts")
    parser.add_argument("--ensemble", type=int, default=200, help="members of each level of noise")
    parser.add_argument("--animal-seeds", type=int, default=24, help="worlds of single animals; 0 leaves them out")
    parser.add_argument("--animal-months", type=int, default=8, help="months of observation of these worlds")
    parser.add_argument("--animals", type=int, default=300, help="animals at the start")
    parser.add_argument("--processes", type=int, default=n_cores(), help="processes at a time")
    parser.add_argument("--work", type=Path, help="folder for finished experiments; the same command continues from it")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="folder for the result page")
    options = parser.parse_args(argv)
    jobs = all_jobs(options)
    done = run_all(jobs, options)
    rows = table(jobs, done)
    command = show_command("validation/assimilation", sys.argv[1:] if argv is None else argv)
    write_result(options.results, "assimilation", page(options, command, sum(seconds for _, seconds in done), rows))
    return 0 if all(fine for _, fine in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
