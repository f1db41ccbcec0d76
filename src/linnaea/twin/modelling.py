"""Running and comparing worlds from Python: the commands `linnaea twin run` and `linnaea twin compare` as functions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linnaea.twin.runs.paired_differences import Difference
    from linnaea.twin.runs.results import Run


def run(
    world: str,
    *,
    years: float | None = None,
    ensemble: int = 1,
    out_dir: str | os.PathLike = "build/twin",
    scenario_path: str | os.PathLike | None = None,
    seed: int = 0,
    **options: Any,
) -> Run:
    """Run a world, write tables, maps and a report into `out_dir`, and return the run.

    Args:
        world: Name of a bundled world, or path of a world's TOML file.
        years: Length of the run; 5 by default, or as long as the existing run with `resume=True`.
        ensemble: Number of members, which differ by chance alone.
        out_dir: Folder for the results. A finished run of the same plan in it is not computed again.
        scenario_path: A what-if, as a TOML or JSON file.
        seed: Seed of all random numbers; the same seed gives the same results.
        options: Other options of `linnaea twin run`, with underscores: `days`, `area`, `resume`, `replace`,
            `processes`, `set=("animals.rabbit.count=400",)`, … (fields of `TwinRunConfig`).

    Returns:
        The run with the records of its members. Members that failed are in `Run.failures`.

    Raises:
        ValueError: If an option or the scenario does not fit the world, or if `out_dir` holds something else.
    """
    from linnaea.twin.commands.run import TwinRunConfig, run_config

    config = TwinRunConfig(
        world=os.fspath(world),
        years=years,
        ensemble=ensemble,
        out=Path(out_dir),
        scenario=None if scenario_path is None else Path(scenario_path),
        seed=seed,
        **options,
    )
    return run_config(config)


def compare(
    base: Run | str | os.PathLike,
    whatif: Run | str | os.PathLike,
    *,
    last_years: float = 1.0,
    level: float = 0.9,
    out_dir: str | os.PathLike | None = None,
) -> dict[str, Difference]:
    """Compare a what-if with its baseline, member by member; return the difference of each species.

    Args:
        base: The run without the intervention, or its folder.
        whatif: The run with it, or its folder.
        last_years: Years at the end over which numbers are averaged.
        level: Confidence level of the intervals, between 0 and 1.
        out_dir: Folder for comparison.csv, differences.csv and report.html; None writes no files.

    Raises:
        ValueError: If the runs differ in more than their scenario, or have no member in common.
    """
    from linnaea.twin.commands.compare import check_settings, write_comparison_files
    from linnaea.twin.runs.paired_differences import compare_runs
    from linnaea.twin.runs.results import Run, load_run

    check_settings(last_years, level)
    runs = [one if isinstance(one, Run) else load_run(os.fspath(one)) for one in (base, whatif)]
    found = compare_runs(*runs, last_years, level)
    if out_dir is not None:
        write_comparison_files(*runs, found, Path(out_dir), last_years=last_years, level=level)
    return found
