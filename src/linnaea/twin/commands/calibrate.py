"""`linnaea twin calibrate WORLD OBSERVATIONS`: which values of a world agree with numbers that were counted.

Observations are a table with the columns year (of the run), species and count. The distance of a simulation from it is
the root mean square of the differences of log(1 + number). Every simulation has its own random numbers.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from linnaea.standards.table_reading import parse_decimal, read_table
from linnaea.standards.table_reading.column_names import match_columns
from linnaea.standards.table_reading.table import rename_row
from linnaea.twin.commands.study import Range, StudyConfig, prepare_study, read_ranges, vary_plan

if TYPE_CHECKING:
    import numpy as np

    from linnaea.twin.data.world_data import WorldData
    from linnaea.twin.inference.abc_smc import Posterior
    from linnaea.twin.runs.plan import RunPlan

logger = logging.getLogger(__name__)

SEED_SHIFT = 20
"""the seeds of two simulations differ by a multiple of 2^20, more than any ensemble has members"""
WIDE_SHARE = 0.8
"""share of the prior's width from which the observations hardly constrain a value"""


@dataclass(frozen=True, kw_only=True)
class CalibrateConfig(StudyConfig):
    """Fit values of a world to counts by approximate Bayesian computation; show how far the counts constrain them."""

    world: str = field(metadata={"positional": True, "metavar": "WORLD"})
    "a bundled world (linnaea twin worlds lists them), or the TOML file of your own"
    observations: Path = field(metadata={"positional": True, "metavar": "OBSERVATIONS"})
    "CSV table with the columns year (of the run), species, count"
    method: str = field(default="smc", metadata={"choices": ("smc", "rejection")})
    "rejection, or rounds that come nearer (sequential Monte Carlo)"
    particles: int = 40
    "number of parameter sets kept"
    rounds: int = 3
    "rounds of smc"
    out: Path = Path("build/calibration")
    "folder for posterior.csv, report.html and the runs, which are not done twice"

    def __post_init__(self) -> None:
        if not self.parameter:
            raise ValueError("nothing to fit; give --parameter NAME=LOW:HIGH, once for each parameter")
        if self.particles < 4 or self.rounds < 1:
            raise ValueError(f"--particles {self.particles} and --rounds {self.rounds}: give at least 4 and 1")


@dataclass(frozen=True, kw_only=True)
class ObservedCount:
    """One count."""

    year: float
    "year of the run"
    species: str
    "name in the world's table"
    count: float
    "animals"


def read_observations(
    path: Path, species: tuple[str, ...], scientific: Mapping[str, str] | None = None
) -> tuple[list[ObservedCount], list[str]]:
    """Read a table of counts; return the counts and the reasons of the rows that cannot be used.

    `scientific` maps scientific names to the names in the world's table; rows may have either. Raise ValueError if a
    column is missing or no row can be used.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no observations; give a CSV file with the columns year, species, count")
    table = read_table(path)
    names = match_columns(table.columns, ("year", "species", "count"))
    lacking = [name for name in ("year", "species", "count") if name not in names.values()]
    if lacking:
        raise ValueError(f"{path.name}: column {lacking[0]!r} is missing; it needs year, species, count")
    found, rejected = [], []
    for row in table.rows():
        try:
            found.append(_parse_count(rename_row(row, names).cells, species, scientific or {}))
        except ValueError as error:
            rejected.append(f"row {row.line}: {error}")
    if not found:
        raise ValueError(
            f"{path.name}: no row can be used; the first: {rejected[0] if rejected else 'the table is empty'}"
        )
    return found, rejected


def _parse_count(row: Mapping[str, str], species: tuple[str, ...], scientific: Mapping[str, str]) -> ObservedCount:
    """Return the count of a row. Raise ValueError for a row that cannot be used."""
    year, count = parse_decimal(row["year"]), parse_decimal(row["count"])
    if math.isnan(year) or math.isnan(count):
        raise ValueError(f"{row['year']!r} and {row['count']!r} must be numbers")
    given = (row["species"] or "").strip()
    name = scientific.get(given, given)
    if name not in species:
        raise ValueError(f"species {name!r} is not in the world")
    if not (math.isfinite(year) and year >= 0 and math.isfinite(count) and count >= 0):
        raise ValueError(f"year {year:g} and count {count:g} must be 0 or more")
    return ObservedCount(year=year, species=name, count=count)


def compute_distance(
    years_k: np.ndarray, counts_ks: np.ndarray, species: tuple[str, ...], observed: Sequence[ObservedCount]
) -> float:
    """Return the root mean square of the differences of log(1 + number) between a run and the observations."""
    import numpy as np

    total = 0.0
    for one in observed:
        value = np.interp(one.year, years_k, counts_ks[:, species.index(one.species)])
        total += (math.log1p(value) - math.log1p(one.count)) ** 2
    return math.sqrt(total / len(observed))


class Simulator:
    """Runs the simulations that `infer_posterior` asks for, batch by batch, and measures their distances."""

    def __init__(
        self,
        config: CalibrateConfig,
        plan: RunPlan,
        ranges: Sequence[Range],
        species: tuple[str, ...],
        observed: Sequence[ObservedCount],
    ):
        self.config, self.plan, self.names = config, plan, [name for name, _, _ in ranges]
        self.species, self.observed = species, observed
        self.n_done, self.round, self.batch = 0, 1, 0

    def measure(self, values_np: np.ndarray) -> np.ndarray:
        """Return the distance of a simulation for each set of values [n]; inf for a simulation that failed."""
        import numpy as np

        from linnaea.twin.runs.design_points import run_points

        self.batch += 1
        plans = []
        for values_p in values_np:
            seed = self.config.seed + (self.n_done << SEED_SHIFT)
            plans.append(replace(vary_plan(self.plan, self.names, values_p), seed=seed))
            self.n_done += 1
        label = f"round {self.round}, batch {self.batch}: "
        points = run_points(plans, self.config.out, self.config.processes, label)
        return np.array(
            [
                compute_distance(one.years, one.counts[0], self.species, self.observed) if len(one.counts) else np.inf
                for one in points
            ]
        )

    def end_round(self) -> None:
        """Count the next round."""
        self.round, self.batch = self.round + 1, 0


def main(config: CalibrateConfig) -> int:
    """Fit the values, print prior and posterior of each parameter and write the particles; return 0."""
    import numpy as np

    from linnaea.twin.data.world_data import map_scientific_names, select_animals
    from linnaea.twin.data.world_file import load_world
    from linnaea.twin.engine.agents import HOURS_A_YEAR
    from linnaea.twin.inference.abc_smc import infer_posterior
    from linnaea.twin.reports.study_reports import write_calibration

    data = load_world(config.world)
    species = tuple(select_animals(data))
    observed, rejected = read_observations(config.observations, species, map_scientific_names(data))
    ranges = read_ranges(data, config.parameter)
    for reason in rejected:
        logger.warning(f"{config.observations.name}: {reason}; left out")
    years = max(max(one.year for one in observed), (config.step_h or data.ground.dt_h) / HOURS_A_YEAR)
    plan = prepare_study(config, config.world, config.out, years=years)
    simulator = Simulator(config, plan, ranges, species, observed)
    low_p, high_p = (np.array([one[end] for one in ranges]) for end in (1, 2))
    posterior = infer_posterior(
        simulator.measure,
        low_p,
        high_p,
        particles=config.particles,
        rounds=1 if config.method == "rejection" else config.rounds,
        seed=config.seed,
        end_round=simulator.end_round,
    )
    _write_particles(config.out / "posterior.csv", ranges, posterior)
    write_calibration(config.out, data, ranges, posterior, config.observations.name)
    _show_posterior(config, data, ranges, posterior)
    return 0


def _write_particles(path: Path, ranges: Sequence[Range], posterior: Posterior) -> None:
    import polars as pl

    from linnaea.store import atomic_path

    columns = {"weight": posterior.weights_n, "distance": posterior.distances_n}
    columns |= {name: posterior.values_np[:, index] for index, (name, _, _) in enumerate(ranges)}
    with atomic_path(path) as temporary:
        pl.DataFrame(columns).write_csv(temporary)


def _show_posterior(config: CalibrateConfig, data: WorldData, ranges: Sequence[Range], posterior: Posterior) -> None:
    """Print prior and posterior of each parameter."""
    low_p, mean_p, high_p = posterior.quantile(0.05), posterior.mean, posterior.quantile(0.95)
    print(
        f"{posterior.simulated} simulations, {len(posterior.weights_n)} particles, distances up to "
        f"{posterior.tolerances[-1]:.3g}"
    )
    for index, (name, low, high) in enumerate(ranges):
        share = (high_p[index] - low_p[index]) / (0.9 * (high - low))
        remark = "" if share < WIDE_SHARE else "   the observations hardly constrain it"
        print(
            f"  {name:<44} {low:g} … {high:g}  →  {mean_p[index]:.4g} [{low_p[index]:.4g}, {high_p[index]:.4g}]{remark}"
        )
    print(
        f"written to {config.out}: posterior.csv, report.html; values fitted to {config.observations.name} are not "
        f"validated by it, and {len(data.unmeasured())} values of this world remain unverified"
    )
