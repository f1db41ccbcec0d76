"""`linnaea twin sensitivity WORLD`: which values move the outcome, by SALib's Morris screening, Sobol or PAWN indices.

All points share their random numbers member by member, so that they differ by the parameters.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

# What each method says of a parameter: how much it matters, and beside it the 95 % interval, or what chance alone brings.
FIGURES = {
    "morris": ("mu_star", "mu_star_conf", "mu", "sigma"),
    "sobol": ("ST", "ST_conf", "S1", "S1_conf"),
    "pawn": ("median", "chance", "mean", "maximum"),
}
MEANINGS = {
    "morris": "mu_star: animals, mean absolute effect over the range, ± 95 %",
    "sobol": "ST: share of the variance, interactions included, ± 95 %",
    "pawn": "median: distance of the distributions with the value in a tenth of its range and at large, beside what chance "
    "brings in 95 % of cases",
}
# Parts of a range that PAWN compares, points in each, or nearly so, at least, and shufflings that tell what chance brings.
SLIDES, LEAST_IN_SLIDE, SHUFFLES = 10, 5, 200


@dataclass(frozen=True, kw_only=True)
class SensitivityConfig:
    """Find out which values of a world move the numbers of its animals, and by how much."""

    world: str = field(metadata={"positional": True, "metavar": "WORLD"})
    "a bundled world or the TOML file of your own"
    parameter: tuple[str, ...] = field(default=(), metadata={"metavar": "NAME=LOW:HIGH"})
    "a value to vary and its range; linnaea twin worlds WORLD --parameters lists the names"
    method: str = field(default="morris", metadata={"choices": tuple(FIGURES)})
    "morris screens with few runs, sobol shares the variance out and needs many, pawn compares whole distributions"
    samples: int = 8
    "trajectories (morris: samples × (parameters + 1) runs) or base samples (sobol: a power of 2, × (parameters + 2)) or runs (pawn: 50 or more)"
    scenario: Path | None = None
    "a what-if that holds in all runs"
    years: float = 3.0
    "length of each run"
    last_years: float = 1.0
    "years at the end whose mean numbers are the outcome"
    ensemble: int = 1
    "runs at each point, averaged"
    seed: int = 0
    "of the samples and of the runs"
    area: float = 1.0
    "area of the world as a multiple of its file's"
    step_h: float | None = None
    "hours of a step, by default those of the world's file; 24 is many times as fast, and loses the rhythm of the day and trips to water"
    processes: int = 0
    "runs at the same time, 0 as many as there are cores"
    out: Path = Path("build/sensitivity")
    "folder for the table and for the runs, which are not done twice"

    def __post_init__(self) -> None:
        if not self.parameter:
            raise ValueError("nothing to vary; give --parameter NAME=LOW:HIGH, several times for several")
        if self.samples < 2 or self.ensemble < 1:
            raise ValueError(f"--samples {self.samples} and --ensemble {self.ensemble}: give at least 2 and 1")
        if self.method == "sobol" and self.samples & (self.samples - 1):
            raise ValueError(f"--samples {self.samples} is no power of 2, which sobol needs; give 8, 16, 32 …")
        if self.method == "pawn" and self.samples < SLIDES * LEAST_IN_SLIDE:
            raise ValueError(f"--samples {self.samples} are too few for pawn; give {SLIDES * LEAST_IN_SLIDE} or more")
        if not (self.years > 0 and self.last_years > 0):
            raise ValueError("--years and --last-years are above 0")


def analyse(method: str, problem: dict, points_np, outcome_n, seed: int) -> dict:
    """SALib's indices of one outcome [n] at the points [n, p], as plain lists by name, p long each.

    Morris: mu_star (mean absolute effect over the range) with its interval, mu, sigma (interactions and curvature). Sobol:
    S1 and ST (share of the variance, alone and with interactions), each with its interval. PAWN: median, mean and maximum over
    SLIDES parts of the range of the Kolmogorov-Smirnov distance between the outcome there and at large, 0 to 1; `chance` is the
    median that 95 % of shuffled outcomes stay below.
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
        found = pawn_indices(problem, points_np, outcome_n, seed)
    return {name: [float(v) for v in found[name]] for name in FIGURES[method]}


def pawn_indices(problem: dict, points_np, outcome_n, seed: int) -> dict:
    """PAWN's indices by name, p long each, and what chance brings."""
    import numpy as np
    from SALib.analyze import pawn

    rng = np.random.default_rng(seed)
    found = pawn.analyze(problem, points_np, outcome_n, S=SLIDES)
    shuffled = [
        pawn.analyze(problem, points_np, rng.permutation(outcome_n), S=SLIDES)["median"] for _ in range(SHUFFLES)
    ]
    return {**found, "chance": np.quantile(shuffled, 0.95, axis=0)}


def sample_points(method: str, problem: dict, samples: int, seed: int):
    """SALib's points [n, p]."""
    if method == "morris":
        from SALib.sample import morris

        return morris.sample(problem, samples, num_levels=4, seed=seed)
    if method == "sobol":
        from SALib.sample import sobol

        return sobol.sample(problem, samples, calc_second_order=False, seed=seed)
    from SALib.sample import latin

    return latin.sample(problem, samples, seed=seed)


def main(config: SensitivityConfig) -> int:
    """Runs all points and prints the parameters of each species, the strongest first; exit code 0."""
    import numpy as np
    import polars as pl

    from linnaea.store import atomic_path
    from linnaea.terminal import format_table
    from linnaea.twin.assembly.parameters import describe_out_of_range, get_grade, read_range, resolve_parameter
    from linnaea.twin.commands.run import TwinRunConfig, log_small_groups, make_plan, say
    from linnaea.twin.data.world_data import select_animals
    from linnaea.twin.data.world_file import load_world
    from linnaea.twin.reports.study_reports import EffectColumns, write_sensitivity
    from linnaea.twin.runs.design_points import run_points

    data = load_world(config.world)
    ranges = [(resolve_parameter(data, name), low, high) for name, low, high in map(read_range, config.parameter)]
    for line in describe_out_of_range(data, ranges):
        say(line)
    problem = {"num_vars": len(ranges), "names": [r[0] for r in ranges], "bounds": [list(r[1:]) for r in ranges]}
    points_np = sample_points(config.method, problem, config.samples, config.seed)
    base = make_plan(
        TwinRunConfig(
            world=config.world,
            scenario=config.scenario,
            years=config.years,
            seed=config.seed,
            ensemble=config.ensemble,
            area=config.area,
            step_h=config.step_h,
        )
    )
    log_small_groups(config)
    config.out.mkdir(parents=True, exist_ok=True)
    if config.scenario:
        shutil.copyfile(config.scenario, config.out / base.scenario)
    plans = [
        replace(base, settings=base.settings + tuple(zip(problem["names"], map(float, row), strict=True)))
        for row in points_np
    ]
    points = run_points(plans, config.out, config.processes, say)
    failed = [point.failures[0] for point in points if point.failures]
    if failed:
        raise ValueError(f"{len(failed)} of {len(points)} points failed, the first: {failed[0]}; narrow the ranges")
    outcome_ns = np.array([point.last(config.last_years) for point in points])
    rows = []
    for index, species in enumerate(select_animals(data)):
        indices = analyse(config.method, problem, points_np, outcome_ns[:, index], config.seed)
        for number, name in enumerate(problem["names"]):
            row = {"species": species, "parameter": name, "low": ranges[number][1], "high": ranges[number][2]}
            rows.append(
                row | {key: values[number] for key, values in indices.items()} | {"grade": get_grade(data, name)}
            )
    key, beside = FIGURES[config.method][:2]
    frame = pl.DataFrame(rows).sort(["species", key], descending=[False, True], maintain_order=True)
    with atomic_path(config.out / "sensitivity.csv") as temporary:
        frame.write_csv(temporary)
    about = f"{len(points)} points of {config.ensemble} runs, means of the last {config.last_years:g} of {config.years:g} years."
    columns = EffectColumns(method=config.method, meaning=MEANINGS[config.method], size=key, beside=beside)
    write_sensitivity(config.out, data, columns, frame.to_dicts(), about)
    print(f"{len(points)} points; {MEANINGS[config.method]}")
    sign = "±" if beside.endswith("_conf") else "beside"
    table = [
        (row["species"], row["parameter"], f"{row[key]:.3g}", f"{sign} {row[beside]:.2g}", row["grade"])
        for row in frame.iter_rows(named=True)
    ]
    print("\n".join(format_table(("species", "parameter", key, "", "grade"), table, "llrll", indent=2)))
    print(
        f"written to {config.out}: sensitivity.csv, report.html; what was not varied keeps its {len(data.unmeasured())} unverified values"
    )
    return 0
