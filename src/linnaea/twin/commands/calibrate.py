"""`linnaea twin calibrate WORLD OBSERVATIONS`: which values of a world agree with numbers that were counted.

Observations are a table with the columns year (of the run), species and count. A simulation's distance from it is the
root mean square of the differences of log(1 + number); every simulation has its own random numbers.
"""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class CalibrateConfig:
    """Fit values of a world to counts by approximate Bayesian computation; what the counts do not tell is said."""

    world: str = field(metadata={"positional": True, "metavar": "WORLD"})
    "a bundled world or the TOML file of your own"
    observations: Path = field(metadata={"positional": True, "metavar": "OBSERVATIONS"})
    "CSV table with the columns year (of the run), species, count"
    parameter: tuple[str, ...] = field(default=(), metadata={"metavar": "NAME=LOW:HIGH"})
    "a value to fit and the range in which it may lie"
    method: str = field(default="smc", metadata={"choices": ("smc", "rejection")})
    "rejection, or rounds that come nearer (sequential Monte Carlo)"
    particles: int = 40
    "values kept"
    rounds: int = 3
    "of smc"
    scenario: Path | None = None
    "what happened meanwhile"
    seed: int = 0
    "of all draws and runs"
    area: float = 1.0
    "area of the world as a multiple of its file's"
    step_h: float | None = None
    "hours of a step, by default those of the world's file; 24 is many times as fast, and loses the rhythm of the day and trips to water"
    processes: int = 0
    "runs at the same time, 0 as many as there are cores"
    out: Path = Path("build/calibration")
    "folder for posterior.csv and for the runs, which are not done twice"

    def __post_init__(self) -> None:
        if not self.parameter:
            raise ValueError("nothing to fit; give --parameter NAME=LOW:HIGH, several times for several")
        if self.particles < 4 or self.rounds < 1:
            raise ValueError(f"--particles {self.particles} and --rounds {self.rounds}: give at least 4 and 1")


@dataclass(frozen=True, kw_only=True)
class ObservedCount:
    """One count."""

    year: float
    species: str
    count: float


def read_observations(
    path: Path, species: tuple[str, ...], scientific: Mapping[str, str] | None = None
) -> tuple[list[ObservedCount], list[str]]:
    """(counts, reasons of the rows left out). ValueError when a column is missing or no row can be used.

    `scientific` are the names in the world's table by scientific name; rows may have either.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no observations; give a CSV file with the columns year, species, count")
    with open(path, encoding="utf-8-sig", newline="") as handle:
        rows = csv.DictReader(line for line in handle if not line.startswith("#"))
        lacking = [name for name in ("year", "species", "count") if name not in (rows.fieldnames or ())]
        if lacking:
            raise ValueError(f"{path.name}: column {lacking[0]!r} is missing; it needs year, species, count")
        found, left_out = [], []
        for number, row in enumerate(rows, 2):
            try:
                name = (row["species"] or "").strip()
                one = ObservedCount(
                    year=float(row["year"]), species=(scientific or {}).get(name, name), count=float(row["count"])
                )
            except (TypeError, ValueError):
                left_out.append(f"row {number}: {row['year']!r}, {row['count']!r} are not numbers")
                continue
            if one.species not in species:
                left_out.append(f"row {number}: species {one.species!r} is not in the world")
            elif not (math.isfinite(one.year) and one.year >= 0 and math.isfinite(one.count) and one.count >= 0):
                left_out.append(f"row {number}: year {one.year:g} or count {one.count:g} is impossible")
            else:
                found.append(one)
    if not found:
        raise ValueError(
            f"{path.name}: no row can be used; the first: {left_out[0] if left_out else 'the table is empty'}"
        )
    return found, left_out


def compute_distance(years_k, counts_ks, species: tuple[str, ...], observed: list[ObservedCount]) -> float:
    """Root mean square of the differences of log(1 + number) between a run and the observations."""
    import numpy as np

    total = 0.0
    for one in observed:
        value = np.interp(one.year, years_k, counts_ks[:, species.index(one.species)])
        total += (math.log1p(value) - math.log1p(one.count)) ** 2
    return math.sqrt(total / len(observed))


def main(config: CalibrateConfig) -> int:
    """Fits, prints prior and posterior of each parameter, writes the particles; exit code 0."""
    import numpy as np

    from linnaea.twin.assembly.parameters import describe_out_of_range, read_range, resolve_parameter
    from linnaea.twin.commands.run import TwinRunConfig, log_small_groups, make_plan, say
    from linnaea.twin.data.world_data import map_scientific_names, select_animals
    from linnaea.twin.data.world_file import load_world
    from linnaea.twin.engine.agents import HOURS_A_YEAR
    from linnaea.twin.inference.abc_smc import infer_posterior
    from linnaea.twin.reports.study_reports import write_calibration
    from linnaea.twin.runs.design_points import run_points

    data = load_world(config.world)
    species = tuple(select_animals(data))
    ranges = [(resolve_parameter(data, name), low, high) for name, low, high in map(read_range, config.parameter)]
    observed, left_out = read_observations(config.observations, species, map_scientific_names(data))
    for line in describe_out_of_range(data, ranges):
        say(line)
    for reason in left_out:
        say(f"{config.observations.name}: {reason}; left out")
    length = max(max(one.year for one in observed), (config.step_h or data.ground.dt_h) / HOURS_A_YEAR)
    base = make_plan(
        TwinRunConfig(
            world=config.world,
            scenario=config.scenario,
            years=length,
            seed=config.seed,
            area=config.area,
            step_h=config.step_h,
        )
    )
    log_small_groups(config)
    config.out.mkdir(parents=True, exist_ok=True)
    if config.scenario:
        shutil.copyfile(config.scenario, config.out / base.scenario)
    done, number, batches = 0, 1, 0

    def round_ended(line: str) -> None:
        nonlocal number, batches
        number, batches = number + 1, 0
        say(line)

    def distance(values_np: np.ndarray) -> np.ndarray:
        nonlocal done, batches
        batches += 1
        plans = []
        for row in values_np:
            settings = tuple((name, float(v)) for (name, _, _), v in zip(ranges, row, strict=True))
            plans.append(replace(base, settings=base.settings + settings, seed=config.seed + (done << 20)))
            done += 1
        points = run_points(plans, config.out, config.processes, say, f"round {number}, batch {batches}: ")
        return np.array(
            [compute_distance(p.years, p.counts[0], species, observed) if len(p.counts) else np.inf for p in points]
        )

    low_p, high_p = (np.array([one[end] for one in ranges]) for end in (1, 2))
    posterior = infer_posterior(
        distance,
        low_p,
        high_p,
        particles=config.particles,
        rounds=1 if config.method == "rejection" else config.rounds,
        seed=config.seed,
        report=round_ended,
    )
    write_calibration(config.out, data, ranges, posterior, config.observations.name)
    return _show_posterior(config, data, ranges, posterior)


def _show_posterior(config: CalibrateConfig, data, ranges, posterior) -> int:
    import polars as pl

    from linnaea.store import atomic_path

    columns = {"weight": posterior.weights_n, "distance": posterior.distances_n}
    columns |= {name: posterior.values_np[:, index] for index, (name, _, _) in enumerate(ranges)}
    with atomic_path(config.out / "posterior.csv") as temporary:
        pl.DataFrame(columns).write_csv(temporary)
    low_p, mean_p, high_p = posterior.quantile(0.05), posterior.mean, posterior.quantile(0.95)
    print(
        f"{posterior.simulated} simulations, {len(posterior.weights_n)} particles, distances up to {posterior.tolerances[-1]:.3g}"
    )
    for index, (name, low, high) in enumerate(ranges):
        share = (high_p[index] - low_p[index]) / (0.9 * (high - low))
        told = "" if share < 0.8 else "   the observations hardly tell it"
        print(
            f"  {name:<44} {low:g} … {high:g}  →  {mean_p[index]:.4g} [{low_p[index]:.4g}, {high_p[index]:.4g}]{told}"
        )
    print(
        f"written to {config.out}: posterior.csv, report.html; fitted to {config.observations.name} is not validated, and what was not fitted "
        f"keeps its {len(data.unmeasured())} unverified values"
    )
    return 0
