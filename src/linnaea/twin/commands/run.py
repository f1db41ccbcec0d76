"""`linnaea twin run WORLD`: lets a world go on, once or many times, and writes down what happened."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class TwinRunConfig:
    """Let a world live for some years, once or as an ensemble, as it is or under a scenario; tables, maps and a report."""

    world: str = field(metadata={"positional": True, "metavar": "WORLD"})
    "a bundled world (linnaea twin worlds lists them), or the TOML file of your own"
    scenario: Path | None = None
    "a what-if: TOML or JSON file, see docs/twin.md"
    years: float | None = None
    "years to run, fractions allowed; 5 where nothing is said, with --resume as long as the run there"
    days: float | None = None
    "days to run, in the place of --years"
    seed: int = 0
    "of every random number; the same seed gives the same run"
    ensemble: int = 1
    "runs that differ by chance alone"
    out: Path = Path("build/twin")
    "folder for what is written"
    resume: bool = False
    "go on with an unfinished run, or add members or years to a finished one"
    replace: bool = False
    "delete the run that is in the folder"
    area: float = 1.0
    "area of the world as a multiple of its file's, at the same densities"
    step_h: float | None = None
    "hours of a step, by default those of the world's file; 24 is many times as fast, and loses the rhythm of the day and trips to water"
    set: tuple[str, ...] = field(default=(), metadata={"metavar": "NAME=NUMBER"})
    "a value of the world to set otherwise, by its dotted name"
    follow: int = 0
    "animals whose paths are written down"
    every_days: float | None = None
    "days between two records; by default a month, or less in a short run"
    tables: str = field(default="csv", metadata={"choices": ("csv", "parquet")})
    "form of the tables"
    processes: int = 0
    "members that run at the same time, 0 as many as there are cores"
    over: str = field(default="processes", metadata={"choices": ("processes", "ray")})
    "what to spread the members over: this machine's processes, or a Ray cluster that shares the folder"
    checkpoint_s: float = 60.0
    "seconds between two checkpoints of a member, so much is lost at most"
    report: bool = True
    "write report.html"

    def __post_init__(self) -> None:
        check_positive(self, "years", "days", "area", "step_h", "every_days", "checkpoint_s")
        if self.years is not None and self.days is not None:
            raise ValueError("--years and --days are both given; keep one of them")
        if self.resume and self.replace:
            raise ValueError("--resume goes on with what is there, --replace deletes it; give one of them")
        if self.ensemble < 1:
            raise ValueError(f"--ensemble {self.ensemble}: give at least 1")
        if self.seed < 0 or self.follow < 0 or self.processes < 0:
            raise ValueError("--seed, --follow and --processes are 0 or more")


def check_positive(config: object, *names: str) -> None:
    """Nothing; ValueError for an option that is given and not a number above 0."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"--{name.replace('_', '-')} {value:g}: give a number above 0")


def say(line: str) -> None:
    """One line of progress, on the error stream."""
    print(line, file=sys.stderr, flush=True)


def make_plan(config: TwinRunConfig):
    """The Plan of what was asked, checked against the world; with --resume what was not asked is that of the run there."""
    from linnaea.store import hash_files
    from linnaea.twin.assembly.parameters import read_setting, replace_values, resolve_parameter
    from linnaea.twin.assembly.world_builder import check_size
    from linnaea.twin.data.world_file import load_world
    from linnaea.twin.engine.agents import HOURS_A_YEAR
    from linnaea.twin.runs.ensemble import RunPlan, choose_record_interval, hash_code, hash_world, read_plan
    from linnaea.twin.scenarios.scenario_file import format_duration, read_scenario

    data = load_world(config.world)
    settings = tuple((resolve_parameter(data, name), value) for name, value in map(read_setting, config.set))
    if config.step_h is not None:
        settings = (*[one for one in settings if one[0] != "ground.dt_h"], ("ground.dt_h", config.step_h))
    data = replace_values(data, settings)
    kept = read_plan(config.out) if config.resume else None
    hours = 24 * config.days if config.days is not None else HOURS_A_YEAR * (config.years or 5.0)
    if kept and config.days is None and config.years is None:
        hours = kept.hours
    if hours < data.ground.dt_h:
        raise ValueError(
            f"{hours:g} hours are less than a step of {config.world!r}, {data.ground.dt_h:g} h; run longer"
        )
    every_h = (
        24 * config.every_days if config.every_days else kept.every_h if kept else choose_record_interval(data, hours)
    )
    if every_h < data.ground.dt_h:
        raise ValueError(f"--every-days {every_h / 24:g} is less than a step, {format_duration(data.ground.dt_h)}")
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


def log_small_groups(config) -> None:
    """Says which species the area of a run leaves less than one group of."""
    from linnaea.twin.data.world_data import find_small_groups, select_animals
    from linnaea.twin.data.world_file import load_world

    data = load_world(config.world)
    if found := find_small_groups(data, config.area):
        groups = {name: round(one.herd_size) for name, one in select_animals(data).items()}
        told = ", ".join(f"{name} {count} of {groups[name]}" for name, count in found.items())
        say(f"at --area {config.area:g} {len(found)} species start with fewer animals than one group has: {told}")


def main(config: TwinRunConfig) -> int:
    """Runs what was asked; exit code 0, or 1 when a member failed: what it wrote down by then is kept."""
    from linnaea.twin.runs.ensemble import build_member, find_unfinished, prepare_folder, run_members
    from linnaea.twin.runs.results import load_run
    from linnaea.twin.scenarios.no_effect import interventions_without_effect

    plan = make_plan(config)
    # What is wrong with the scenario in this world shows here, before anything is written.
    world, _ = build_member(plan, config.scenario.parent if config.scenario else config.out, 0)
    without_effect = interventions_without_effect(world, plan.hours)
    prepare_folder(config.out, plan, config.scenario, config.resume, config.replace)
    log_small_groups(config)
    for line in without_effect:
        say(f"{plan.scenario}: {line}")
    if find_unfinished(config.out, plan):
        run_members(
            plan, config.out, processes=config.processes, over=config.over, checkpoint_s=config.checkpoint_s, report=say
        )
    else:
        say(f"{config.out} holds this run already, finished; its tables and its report are written again")
    run = load_run(config.out)
    return write_results(run, config, without_effect)


def write_results(run, config: TwinRunConfig, without_effect: list[str]) -> int:
    """Writes everything that is made of a run's records, the manifest last, and shows what became of whom.

    `without_effect` are the lines of `interventions_without_effect` about its scenario.
    """
    from dataclasses import asdict

    import numpy as np

    from linnaea.store import write_json
    from linnaea.twin.reports.odd import write_odd
    from linnaea.twin.reports.ro_crate import write_crate
    from linnaea.twin.reports.run_files import write_outputs
    from linnaea.twin.runs.ensemble import KIND
    from linnaea.twin.scenarios.scenario_file import format_duration

    written = write_outputs(run, config.tables)
    written.append(write_odd(run))
    if config.report:
        from linnaea.twin.reports.run_report import write_report

        written.append(write_report(run, without_effect))
    written.append(write_crate(run, written))
    counts = run.records["counts"]
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
    print(f"{run.title}, {format_duration(run.hours)}, {len(run.members)} members (5 % … median … 95 % at the end)")
    width = max(map(len, run.species))
    for index, name in enumerate(run.species):
        low, middle, high = np.quantile(counts[:, -1, index], (0.05, 0.5, 0.95))
        print(f"  {name:<{width}}  {counts[:, 0, index].mean():>9,.0f} → {low:,.0f} … {middle:,.0f} … {high:,.0f}")
    print(
        f"{len(run.data.unmeasured())} values of this world were never checked against a source: see unverified.{config.tables}"
    )
    for member, reason in run.failures.items():
        until = f"after {format_duration(run.lived_h(member))}" if member in run.broken else "at once"
        say(f"member {member + 1} failed {until}: {reason}")
    say(f"written to {run.run_dir}: {', '.join(path.name for path in written)}")
    if run.failures:
        reached = "" if run.whole else f"; no member reached its end, means go to {format_duration(run.hours)}"
        say(
            f"{len(run.failures)} of {run.plan.members} members failed{reached}; --resume goes on from the last good checkpoints, or the start"
        )
    return 1 if run.failures else 0
