"""`linnaea twin run WORLD`: run a world, once or as an ensemble, and write tables, maps and a report."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from linnaea.twin.commands.run_options import RunOptionsConfig, check_positive

if TYPE_CHECKING:
    from linnaea.twin.data.world_data import WorldData
    from linnaea.twin.runs.plan import RunPlan
    from linnaea.twin.runs.results import Run

logger = logging.getLogger(__name__)

USUAL_YEARS = 5.0


@dataclass(frozen=True, kw_only=True)
class TwinRunConfig(RunOptionsConfig):
    """Run a world for some years, alone or as an ensemble, with or without a scenario; write tables, maps, a report."""

    world: str = field(metadata={"positional": True, "metavar": "WORLD"})
    "a bundled world (linnaea twin worlds lists them), or the TOML file of your own"
    years: float | None = None
    "years to run, fractions allowed; by default 5, with --resume as long as the existing run"
    days: float | None = None
    "days to run, instead of --years"
    ensemble: int = 1
    "number of members, which differ by chance alone"
    out: Path = Path("build/twin")
    "folder for the results"
    resume: bool = False
    "go on with an unfinished run, or add members or years to a finished one"
    replace: bool = False
    "delete the run that is in the folder"
    set: tuple[str, ...] = field(default=(), metadata={"metavar": "NAME=NUMBER"})
    "set a value of the world, by its dotted name"
    follow: int = 0
    "number of animals whose paths are recorded"
    every_days: float | None = None
    "days between two records; by default a month, or less for a short run"
    tables: str = field(default="csv", metadata={"choices": ("csv", "parquet")})
    "format of the tables"
    over: str = field(default="processes", metadata={"choices": ("processes", "ray")})
    "where the members run: in processes of this machine, or on a Ray cluster that shares the folder"
    checkpoint_s: float = 60.0
    "seconds between two checkpoints of a member; a stop loses at most this much work"
    report: bool = True
    "write report.html"

    def __post_init__(self) -> None:
        check_positive(self, "years", "days", "area", "step_h", "every_days", "checkpoint_s")
        if self.years is not None and self.days is not None:
            raise ValueError("--years and --days are both given; keep one of them")
        if self.resume and self.replace:
            raise ValueError("--resume goes on with the existing run, --replace deletes it; give one of them")
        if self.ensemble < 1:
            raise ValueError(f"--ensemble {self.ensemble}: give at least 1")
        if self.seed < 0 or self.follow < 0 or self.processes < 0:
            raise ValueError("--seed, --follow and --processes must be 0 or more")


def main(config: TwinRunConfig) -> int:
    """Run the world and print how numbers changed; return 0, or 1 if a member failed."""
    run = run_config(config)
    show_run(run, config)
    return 1 if run.failures else 0


def run_config(config: TwinRunConfig) -> Run:
    """Run all members that are not finished, write all results into the folder, and return the run.

    Raise ValueError, before anything is written, for options or a scenario that do not fit the world.
    """
    from linnaea.twin.runs.ensemble import run_members
    from linnaea.twin.runs.member import build_member
    from linnaea.twin.runs.results import load_run
    from linnaea.twin.runs.run_folder import find_unfinished, prepare_run_dir
    from linnaea.twin.scenarios.no_effect import interventions_without_effect

    plan = make_plan(config)
    # Mistakes in the scenario show here, before anything is written.
    world, _ = build_member(plan, config.scenario.parent if config.scenario else config.out, 0)
    without_effect = interventions_without_effect(world, plan.hours)
    prepare_run_dir(config.out, plan, config.scenario, config.resume, config.replace)
    log_small_groups(config.world, config.area)
    for line in without_effect:
        logger.info(f"{plan.scenario}: {line}")
    if find_unfinished(config.out, plan):
        run_members(plan, config.out, processes=config.processes, over=config.over, checkpoint_s=config.checkpoint_s)
    else:
        logger.info(f"{config.out} holds this run already, finished; its tables and its report are written again")
    run = load_run(config.out)
    write_results(run, config, without_effect)
    return run


def make_plan(config: TwinRunConfig) -> RunPlan:
    """Make the plan of a run, checked against the world; with --resume, options not given are those of the old run."""
    from linnaea.store import hash_files
    from linnaea.twin.assembly.world_builder import check_size
    from linnaea.twin.runs.plan import RunPlan, hash_code, hash_world
    from linnaea.twin.runs.run_folder import read_plan
    from linnaea.twin.scenarios.scenario_file import read_scenario

    data, settings = _load_with_settings(config)
    kept = read_plan(config.out) if config.resume else None
    hours = _choose_hours(config, kept, data)
    every_h = _choose_record_interval(config, kept, data, hours)
    check_size(data, config.area, hours, every_h)
    if config.scenario:
        read_scenario(config.scenario)
    path = Path(config.world)
    return RunPlan(
        world=str(path.resolve()) if path.suffix == ".toml" or path.is_dir() else config.world,
        world_hash=hash_world(data),
        hours=hours,
        seed=config.seed,
        members=max(config.ensemble, kept.members if kept else 1),
        scenario=config.scenario.name if config.scenario else "",
        scenario_hash=hash_files(config.scenario) if config.scenario else "",
        every_h=every_h,
        followed=config.follow,
        area_share=config.area,
        settings=settings,
        code_hash=hash_code(),
    )


def _load_with_settings(config: TwinRunConfig) -> tuple[WorldData, tuple[tuple[str, float], ...]]:
    """Return the world's data with --set and --step-h applied, and these settings by their full names."""
    from linnaea.twin.assembly.parameters import read_setting, replace_values, resolve_parameter
    from linnaea.twin.data.world_file import load_world

    data = load_world(config.world)
    settings = tuple((resolve_parameter(data, name), value) for name, value in map(read_setting, config.set))
    if config.step_h is not None:
        settings = (*[one for one in settings if one[0] != "ground.dt_h"], ("ground.dt_h", config.step_h))
    return replace_values(data, settings), settings


def _choose_hours(config: TwinRunConfig, kept: RunPlan | None, data: WorldData) -> float:
    """Return the length of the run. Raise ValueError if it is shorter than a step."""
    from linnaea.twin.engine.agents import HOURS_A_YEAR

    if config.days is not None:
        hours = 24 * config.days
    elif config.years is None and kept:
        hours = kept.hours
    else:
        hours = HOURS_A_YEAR * (config.years or USUAL_YEARS)
    if hours < data.ground.dt_h:
        raise ValueError(
            f"{hours:g} hours are less than a step of {config.world!r}, {data.ground.dt_h:g} h; run longer"
        )
    return hours


def _choose_record_interval(config: TwinRunConfig, kept: RunPlan | None, data: WorldData, hours: float) -> float:
    """Return the hours between two records. Raise ValueError if they are shorter than a step."""
    from linnaea.twin.runs.plan import choose_record_interval
    from linnaea.twin.scenarios.scenario_file import format_duration

    if config.every_days:
        every_h = 24 * config.every_days
    else:
        every_h = kept.every_h if kept else choose_record_interval(data, hours)
    if every_h < data.ground.dt_h:
        raise ValueError(f"--every-days {every_h / 24:g} is less than a step, {format_duration(data.ground.dt_h)}")
    return every_h


def log_small_groups(world: str, area: float) -> None:
    """Log the species that start with less than one group on this area."""
    from linnaea.twin.data.world_data import find_small_groups, select_animals
    from linnaea.twin.data.world_file import load_world

    data = load_world(world)
    if found := find_small_groups(data, area):
        groups = {name: round(one.herd_size) for name, one in select_animals(data).items()}
        listed = ", ".join(f"{name} {count} of {groups[name]}" for name, count in found.items())
        logger.info(f"at --area {area:g} {len(found)} species start with fewer animals than one group has: {listed}")


def write_results(run: Run, config: TwinRunConfig, without_effect: list[str]) -> None:
    """Write tables, maps, the ODD description, the report and the crate of a run, and its manifest last.

    `without_effect` are the sentences on interventions that cannot act.
    """
    from linnaea.store import write_json
    from linnaea.twin.reports.odd import write_odd
    from linnaea.twin.reports.ro_crate import write_crate
    from linnaea.twin.reports.run_files import write_outputs
    from linnaea.twin.reports.run_report import write_report
    from linnaea.twin.runs.run_folder import KIND

    written = write_outputs(run, config.tables)
    written.append(write_odd(run))
    if config.report:
        written.append(write_report(run, without_effect))
    written.append(write_crate(run, written))
    manifest = {
        "kind": KIND,
        "plan": asdict(run.plan),
        "files": sorted(path.name for path in written),
        "failures": {str(member + 1): reason for member, reason in run.failures.items()},
        "hours": run.hours,
        "unverified": len(run.data.unmeasured()),
        "without_effect": without_effect,
    }
    write_json(run.run_dir / "manifest.json", manifest)
    logger.info(f"written to {run.run_dir}: {', '.join(path.name for path in written)}")


def show_run(run: Run, config: TwinRunConfig) -> None:
    """Print the numbers of each species at the start and at the end, and log the members that failed."""
    import numpy as np

    from linnaea.twin.scenarios.scenario_file import format_duration

    counts = run.records["counts"]
    print(f"{run.title}, {format_duration(run.hours)}, {len(run.members)} members (5 % … median … 95 % at the end)")
    width = max(map(len, run.species))
    for index, name in enumerate(run.species):
        low, middle, high = np.quantile(counts[:, -1, index], (0.05, 0.5, 0.95))
        print(f"  {name:<{width}}  {counts[:, 0, index].mean():>9,.0f} → {low:,.0f} … {middle:,.0f} … {high:,.0f}")
    print(
        f"{len(run.data.unmeasured())} values of this world were never checked against a source: see "
        f"unverified.{config.tables}"
    )
    for member, reason in run.failures.items():
        until = f"after {format_duration(run.lived_h(member))}" if member in run.broken else "at once"
        logger.warning(f"member {member + 1} failed {until}: {reason}")
    if run.failures:
        reached = "" if run.whole else f"; no member reached its end, means go to {format_duration(run.hours)}"
        logger.warning(
            f"{len(run.failures)} of {run.plan.members} members failed{reached}; --resume goes on from the last good "
            "checkpoints, or from the start"
        )
