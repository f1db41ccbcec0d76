"""`linnaea twin sensitivity WORLD`: which values move the outcome, by SALib's Morris screening, Sobol or PAWN indices.

All points share their random numbers member by member, so that they differ by the parameters alone.

Shape suffixes: n points, p parameters, s species.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from linnaea.twin.commands.study import Range, StudyConfig, prepare_study, read_ranges, vary_plan

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from linnaea.twin.data.world_data import WorldData

FIGURES = {
    "morris": ("mu_star", "mu_star_conf", "mu", "sigma"),
    "sobol": ("ST", "ST_conf", "S1", "S1_conf"),
    "pawn": ("median", "chance", "mean", "maximum"),
}
"""columns of each method: size of the effect, its 95 % interval or what chance alone brings, and two more"""
MEANINGS = {
    "morris": "mu_star: animals, mean absolute effect over the range, ± 95 %",
    "sobol": "ST: share of the variance, interactions included, ± 95 %",
    "pawn": "median: distance of the distributions with the value in a tenth of its range and at large, beside what "
    "chance brings in 95 % of cases",
}
SLIDES, LEAST_IN_SLIDE, SHUFFLES = 10, 5, 200
"""PAWN: parts of a range that are compared, least points in each part, and shuffles that show what chance brings"""


@dataclass(frozen=True, kw_only=True)
class SensitivityConfig(StudyConfig):
    """Find out which values of a world move the numbers of its animals, and by how much."""

    world: str = field(metadata={"positional": True, "metavar": "WORLD"})
    "a bundled world (linnaea twin worlds lists them), or the TOML file of your own"
    method: str = field(default="morris", metadata={"choices": tuple(FIGURES)})
    """morris screens with few runs, sobol shares out the variance and needs many runs, pawn compares whole
    distributions"""
    samples: int = 8
    """morris: trajectories, of parameters + 1 runs each; sobol: base samples, a power of 2, of parameters + 2 runs
    each; pawn: runs, at least 50"""
    years: float = 3.0
    "length of each run"
    last_years: float = 1.0
    "years at the end whose mean numbers are the outcome"
    ensemble: int = 1
    "runs at each point, averaged"
    out: Path = Path("build/sensitivity")
    "folder for sensitivity.csv, report.html and the runs, which are not done twice"

    def __post_init__(self) -> None:
        if not self.parameter:
            raise ValueError("nothing to vary; give --parameter NAME=LOW:HIGH, once for each parameter")
        if self.samples < 2 or self.ensemble < 1:
            raise ValueError(f"--samples {self.samples} and --ensemble {self.ensemble}: give at least 2 and 1")
        if self.method == "sobol" and self.samples & (self.samples - 1):
            raise ValueError(f"--samples {self.samples} must be a power of 2 for sobol, such as 8, 16, 32")
        if self.method == "pawn" and self.samples < SLIDES * LEAST_IN_SLIDE:
            raise ValueError(f"--samples {self.samples} are too few for pawn; give {SLIDES * LEAST_IN_SLIDE} or more")
        if not (self.years > 0 and self.last_years > 0):
            raise ValueError("--years and --last-years must be above 0")


def analyse(
    method: str, problem: dict, points_np: np.ndarray, outcome_n: np.ndarray, seed: int
) -> dict[str, list[float]]:
    """Return SALib's indices of one outcome [n] at the points [n, p], as plain lists by name, each with p entries.

    Morris: mu_star (mean absolute effect over the range) with its interval, mu, sigma (interactions and curvature).
    Sobol: S1 and ST (share of the variance, alone and with interactions), each with its interval. PAWN: median, mean
    and maximum over SLIDES parts of the range of the Kolmogorov-Smirnov distance between the outcome there and at
    large, 0 to 1; `chance` is the median that 95 % of shuffled outcomes stay below.
    """
    import numpy as np

    if np.ptp(outcome_n) == 0:
        return dict.fromkeys(FIGURES[method], [0.0] * problem["num_vars"])
    if method == "morris":
        from SALib.analyze import morris

        found = morris.analyze(problem, points_np, outcome_n, num_levels=4, seed=seed)
    elif method == "sobol":
        from SALib.analyze import sobol

        found = sobol.analyze(problem, outcome_n, calc_second_order=False, seed=seed)
    else:
        found = compute_pawn(problem, points_np, outcome_n, seed)
    return {name: [float(v) for v in found[name]] for name in FIGURES[method]}


def compute_pawn(problem: dict, points_np: np.ndarray, outcome_n: np.ndarray, seed: int) -> dict:
    """Return PAWN's indices by name, each with p entries, and what chance brings."""
    import numpy as np
    from SALib.analyze import pawn

    rng = np.random.default_rng(seed)
    found = pawn.analyze(problem, points_np, outcome_n, S=SLIDES)
    shuffled = [
        pawn.analyze(problem, points_np, rng.permutation(outcome_n), S=SLIDES)["median"] for _ in range(SHUFFLES)
    ]
    return {**found, "chance": np.quantile(shuffled, 0.95, axis=0)}


def sample_points(method: str, problem: dict, samples: int, seed: int) -> np.ndarray:
    """Return SALib's points [n, p]."""
    if method == "morris":
        from SALib.sample import morris

        return morris.sample(problem, samples, num_levels=4, seed=seed)
    if method == "sobol":
        from SALib.sample import sobol

        return sobol.sample(problem, samples, calc_second_order=False, seed=seed)
    from SALib.sample import latin

    return latin.sample(problem, samples, seed=seed)


def main(config: SensitivityConfig) -> int:
    """Run all points and print the parameters of each species, the strongest first; return 0."""
    from linnaea.store import atomic_path
    from linnaea.twin.data.world_file import load_world
    from linnaea.twin.reports.study_reports import EffectColumns, write_sensitivity

    data = load_world(config.world)
    ranges = read_ranges(data, config.parameter)
    problem = {"num_vars": len(ranges), "names": [r[0] for r in ranges], "bounds": [list(r[1:]) for r in ranges]}
    points_np = sample_points(config.method, problem, config.samples, config.seed)
    outcome_ns = _simulate(config, problem["names"], points_np)
    frame = _make_effects(config, data, ranges, problem, points_np, outcome_ns)
    with atomic_path(config.out / "sensitivity.csv") as temporary:
        frame.write_csv(temporary)
    size, beside = FIGURES[config.method][:2]
    about = (
        f"{len(points_np)} points of {config.ensemble} runs, means of the last {config.last_years:g} of "
        f"{config.years:g} years."
    )
    columns = EffectColumns(method=config.method, meaning=MEANINGS[config.method], size=size, beside=beside)
    write_sensitivity(config.out, data, columns, frame.to_dicts(), about)
    _show_effects(config, data, frame, len(points_np))
    return 0


def _simulate(config: SensitivityConfig, names: Sequence[str], points_np: np.ndarray) -> np.ndarray:
    """Run all points; return the mean final numbers [n, s]. Raise ValueError if a point failed."""
    import numpy as np

    from linnaea.twin.runs.design_points import run_points

    base = prepare_study(config, config.world, config.out, years=config.years, ensemble=config.ensemble)
    points = run_points([vary_plan(base, names, values_p) for values_p in points_np], config.out, config.processes)
    failed = [point.failures[0] for point in points if point.failures]
    if failed:
        raise ValueError(f"{len(failed)} of {len(points)} points failed, the first: {failed[0]}; narrow the ranges")
    return np.array([point.compute_final_mean(config.last_years) for point in points])


def _make_effects(
    config: SensitivityConfig,
    data: WorldData,
    ranges: Sequence[Range],
    problem: dict,
    points_np: np.ndarray,
    outcome_ns: np.ndarray,
) -> pl.DataFrame:
    """Return a row for each species and parameter, the strongest parameters of a species first."""
    import polars as pl

    from linnaea.twin.assembly.parameters import get_grade
    from linnaea.twin.data.world_data import select_animals

    rows = []
    for index, species in enumerate(select_animals(data)):
        indices = analyse(config.method, problem, points_np, outcome_ns[:, index], config.seed)
        for number, (name, low, high) in enumerate(ranges):
            row = {"species": species, "parameter": name, "low": low, "high": high}
            row |= {key: values[number] for key, values in indices.items()}
            rows.append(row | {"grade": get_grade(data, name)})
    size = FIGURES[config.method][0]
    return pl.DataFrame(rows).sort(["species", size], descending=[False, True], maintain_order=True)


def _show_effects(config: SensitivityConfig, data: WorldData, frame: pl.DataFrame, n_points: int) -> None:
    """Print the effect of each parameter on each species."""
    from linnaea.terminal import format_table

    size, beside = FIGURES[config.method][:2]
    print(f"{n_points} points; {MEANINGS[config.method]}")
    sign = "±" if beside.endswith("_conf") else "beside"
    table = [
        (row["species"], row["parameter"], f"{row[size]:.3g}", f"{sign} {row[beside]:.2g}", row["grade"])
        for row in frame.iter_rows(named=True)
    ]
    print("\n".join(format_table(("species", "parameter", size, "", "grade"), table, "llrll", indent=2)))
    print(
        f"written to {config.out}: sensitivity.csv, report.html; {len(data.unmeasured())} values of "
        "this world remain unverified"
    )
