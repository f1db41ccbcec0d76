"""Many runs of one world that differ by chance alone, side by side, and what is left of them on disk.

A member's seed comes from the run's seed and the member's number, not from the scenario: so member 3 of a baseline and
member 3 of a what-if draw the same numbers, and their difference is the intervention's.

A run's folder: `plan.json` (what was asked), the scenario's file, `members/0000` … (artifacts, one a member that is
finished or failed), `checkpoints/0000` … (each member's last good state, from which it goes on) and `manifest.json`, written
last. `linnaea.twin.runs.results` reads it back, `linnaea.twin.reports.tables` adds tables and maps.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from linnaea.store import hash_bytes, read_manifest, write_artifact, write_json
from linnaea.twin.assembly.parameters import replace_values
from linnaea.twin.assembly.world_builder import build_world
from linnaea.twin.data.world_data import WorldData, map_scientific_names
from linnaea.twin.data.world_file import load_world
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.checkpoint import load_checkpoint, save_checkpoint
from linnaea.twin.engine.jit import forget_stale_code, mark_compiled, needs_compilation, source_hash
from linnaea.twin.engine.neighbours import CellIndex
from linnaea.twin.engine.step import check_finite, finite_until_h, step
from linnaea.twin.engine.workers import TimeLeft, find_lock_holder, hold_lock, run_in_processes
from linnaea.twin.engine.world import PHASES, World
from linnaea.twin.runs.recorder import Record, get_records
from linnaea.twin.scenarios.scenario_file import attach, format_duration, read_scenario

KIND, MEMBER_KIND = "twin-run", "twin-member"
PLAN = "plan.json"
RECORDS_A_RUN = 240
SAY_EVERY_S = 10.0
_TALLIES = ("grazed_kj", "killed", "born", "died", "respired_kj")


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What a run consists of; two runs with the same plan give the same results."""

    world: str
    "name of a bundled world, or path of a world's file"
    world_hash: str
    "of the world's data"
    hours: float
    "length of the run"
    seed: int = 0
    "of the whole run; each member has its own, made from it"
    members: int = 1
    "runs"
    scenario: str = ""
    "name of the scenario's file in the run's folder"
    scenario_hash: str = ""
    "of that file"
    every_h: float = 730.5
    "hours between two records"
    followed: int = 0
    "animals whose paths are kept"
    area_share: float = 1.0
    "area against that of the world's file"
    settings: tuple[tuple[str, float], ...] = ()
    "values of the world that are set otherwise, by name"
    code_hash: str = ""
    "of the rules' sources: runs of different programs are not to be compared or continued"


def derive_member_seed(seed: int, member: int) -> int:
    """The seed of a member: 64 bits of both numbers."""
    return int(np.random.SeedSequence([seed, member]).generate_state(1, np.uint64)[0])


def hash_world(data: WorldData) -> str:
    """A hash of all that a world's files say."""
    return hash_bytes(repr(data))


def hash_code() -> str:
    """A hash of the sources that a run's results depend on."""
    return source_hash(Path(inspect.getfile(build_world)))


def choose_record_interval(data: WorldData, hours: float) -> float:
    """Hours between records: a month, or less where steps are so short that a run is."""
    dt = data.ground.dt_h
    wanted = min(HOURS_A_YEAR / 12, max(hours / RECORDS_A_RUN, dt))
    # Round numbers, so that a run of another length has the same records where it can.
    usual = [dt, 1.0, 3.0, 6.0, 12.0, 24.0, 5 * 24.0, 10 * 24.0, HOURS_A_YEAR / 12]
    return max([one for one in usual if dt <= one <= wanted], default=dt)


def build_member(plan: RunPlan, folder: Path, member: int, threads: int = 0) -> tuple[World, Record]:
    """A member's world, ready to begin, with its scenario and its recorder."""
    data = replace_values(load_world(plan.world), plan.settings)
    world = build_world(data, seed=derive_member_seed(plan.seed, member), area_share=plan.area_share)
    world.threads = threads
    record = Record(every_h=plan.every_h, frames=member == 0, followed=plan.followed)
    if plan.scenario:
        attach(world, read_scenario(folder / plan.scenario), plan.hours, map_scientific_names(data))
    world.add_rule(record)
    return world, record


class CompilationTrace(list):
    """A trace that says which rule is being compiled, and keeps nothing."""

    def __init__(self, world: World, report: Callable[[str], None]):
        super().__init__()
        self.report, self.done = report, 0
        self.total = sum(len(world.by_phase[phase]) for phase in PHASES)
        self.names = {type(rule).__name__ for rule in world.rules}

    def append(self, line: str) -> None:
        """Says the line of a rule; those of the loop itself take no time."""
        if line.split(": ")[-1] in self.names:
            self.done += 1
            self.report(f"compiling {self.done} of {self.total}: {line.split(' ', 1)[1]}")


def _code_files(world: World) -> set[str]:
    return {inspect.getfile(part) for part in (CellIndex, *map(type, world.rules))}


def must_compile(world: World) -> bool:
    """Whether a rule of the world was never run by this version."""
    return needs_compilation(_code_files(world))


def take_first_step(world: World, report: Callable[[str], None]) -> None:
    """One step on, with a line for each rule when the program's code has yet to be compiled."""
    if must_compile(world):
        report("first run of this version: the rules are compiled now, once, within a minute")
        started = time.monotonic()
        world.trace = CompilationTrace(world, report)
        step(world)
        world.trace = None
        mark_compiled(_code_files(world))
        forget_stale_code()
        report(f"compiled in {time.monotonic() - started:.0f} s; later runs start at once")
    else:
        step(world)


def run_member(
    plan: RunPlan,
    folder: Path,
    member: int,
    threads: int = 1,
    checkpoint_s: float = 60.0,
    report: Callable[[str], None] | None = None,
) -> str:
    """Runs a member to its end, from its checkpoint if there is one: "" or the reason of its failure.

    Where another process computes it, this one waits, and computes only what is left.
    """
    with hold_lock(get_lock_path(folder, member)):
        if not is_finished(folder, plan, member):
            _run_member(plan, folder, member, threads, checkpoint_s, report or (lambda line: None))
        return read_manifest(get_member_dir(folder, member))["failure"]


def _run_member(plan: RunPlan, folder: Path, member: int, threads: int, checkpoint_s: float, say: Callable) -> None:
    started = time.monotonic()
    checkpoint = _get_checkpoint_dir(folder, member)
    manifest = {
        "kind": MEMBER_KIND,
        "member": member,
        "seed": derive_member_seed(plan.seed, member),
        "hours": plan.hours,
        "failure": "",
    }
    arrays: dict[str, np.ndarray] = {}
    world = None
    try:
        world, record = build_member(plan, folder, member, threads)
        if read_manifest(checkpoint) is not None:
            load_checkpoint(world, checkpoint)
            say(f"member {member + 1}: goes on from {format_duration(world.now_h)}")
        else:
            record.write_down(world, 0.0)
            take_first_step(world, say)
        _advance(world, round(plan.hours / world.dt_h), checkpoint, checkpoint_s, say, member)
        # The last state stays: with it the run can be prolonged.
        _save_good_state(world, checkpoint, compress=True)
        arrays = get_records(world) | {
            f"tally_{name}": world.tallies[name] for name in _TALLIES if name in world.tallies
        }
    except (ValueError, FloatingPointError, MemoryError) as error:
        manifest["failure"] = " ".join(str(error).split()) or type(error).__name__
        # The last checkpoint stays, and so does what was written down; tallies may have counted what went wrong.
        if world is not None:
            arrays = get_records(world, finite_until_h(world))
    manifest["wall_s"] = round(time.monotonic() - started, 1)
    with write_artifact(get_member_dir(folder, member), manifest) as target:
        np.savez_compressed(target / "records.npz", **arrays)


def _save_good_state(world: World, checkpoint: Path, compress: bool = False) -> None:
    """Saves a checkpoint; FloatingPointError, and the former one stays, when the state holds what is no number."""
    check_finite(world)
    save_checkpoint(world, checkpoint, compress=compress)


def _advance(world: World, steps: int, checkpoint: Path, checkpoint_s: float, say: Callable, member: int) -> None:
    saved = said = time.monotonic()
    first, left = world.step, TimeLeft(steps - world.step)
    while world.step < steps:
        step(world)
        now = time.monotonic()
        if now - saved >= checkpoint_s:
            _save_good_state(world, checkpoint)
            saved = time.monotonic()
        if now - said >= SAY_EVERY_S:
            said = now
            say(
                f"member {member + 1}: {100 * world.step / steps:.0f} %, year {world.now_h / HOURS_A_YEAR:.2f}, "
                f"{len(world.agents):,} animals{left.after(world.step - first)} of this member"
            )


def get_member_dir(folder: Path, member: int) -> Path:
    """The folder of a finished member."""
    return folder / "members" / f"{member:04d}"


def _get_checkpoint_dir(folder: Path, member: int) -> Path:
    return folder / "checkpoints" / f"{member:04d}"


def get_lock_path(folder: Path, member: int) -> Path:
    """The lock that the process holds which computes a member."""
    return folder / "checkpoints" / f"{member:04d}.lock"


def is_finished(folder: Path, plan: RunPlan, member: int) -> bool:
    """Whether a member has lived as long as the plan says, or failed."""
    manifest = read_manifest(get_member_dir(folder, member))
    return manifest is not None and manifest.get("hours", plan.hours) >= plan.hours


def read_plan(folder: Path) -> RunPlan | None:
    """The plan of the run in a folder, None where there is none."""
    if not (folder / PLAN).is_file():
        return None
    stored = json.loads((folder / PLAN).read_text("utf-8"))
    return RunPlan(**{**stored, "settings": tuple((name, value) for name, value in stored["settings"])})


def prepare_folder(folder: Path, plan: RunPlan, scenario: Path | None, resume: bool, replace: bool = False) -> None:
    """Makes the folder ready for a plan.

    A run that is there goes on with `resume` and is deleted with `replace`; without either the same plan, finished, is
    kept, and what else there is stays untouched: ValueError.
    """
    if folder.is_file():
        raise ValueError(f"{folder} is a file, not a folder; choose another --out")
    kept = read_plan(folder)
    if kept is not None:
        for lock in sorted((folder / "checkpoints").glob("*.lock")):
            if process := find_lock_holder(lock):
                raise ValueError(
                    f"{folder} is being computed by process {process}; wait for it, end it, or choose another --out"
                )
        if replace:
            for name in ("members", "checkpoints"):
                shutil.rmtree(folder / name, ignore_errors=True)
        elif resume:
            _check_same(kept, plan, folder)
            for member in range(plan.members):
                if (read_manifest(get_member_dir(folder, member)) or {}).get("failure"):
                    shutil.rmtree(get_member_dir(folder, member))
        elif read_manifest(folder) is None:
            raise ValueError(
                f"{folder} holds an unfinished run; --resume goes on with it, --replace deletes it, or choose another --out"
            )
        elif kept != plan:
            raise ValueError(
                f"{folder} holds a finished run ({Path(kept.world).stem}, seed {kept.seed}, {kept.members} members of "
                f"{format_duration(kept.hours)}); --resume adds members or years to it, --replace deletes it, or choose another --out"
            )
        (folder / "manifest.json").unlink(missing_ok=True)
    elif folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds something else (no {PLAN}); choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    if scenario is not None:
        (folder / plan.scenario).write_bytes(scenario.read_bytes())
    write_json(folder / PLAN, asdict(plan))


_SAID = {
    "world": "of the world {}",
    "seed": "with --seed {}",
    "every_h": "with {} h between records",
    "followed": "with --follow {}",
    "area_share": "with --area {}",
    "settings": "with the settings {}",
    "scenario": "with the scenario {}",
}
_OTHER = {
    "world_hash": "with other data of its world",
    "scenario_hash": "with another content of its scenario",
    "code_hash": "by another version of the rules",
}


def _check_same(kept: RunPlan, plan: RunPlan, folder: Path) -> None:
    """ValueError unless the plan on disk is this one, but for more members and years."""
    remedy = "go on with the same, or choose another --out"
    for key, wanted in asdict(plan).items():
        found = getattr(kept, key)
        if found == wanted or key in ("members", "hours"):
            continue
        if key in _OTHER:
            raise ValueError(
                f"{folder} was begun {_OTHER[key]}; --replace deletes it and begins again, or choose another --out"
            )
        shown = [
            ", ".join(f"{n}={v:g}" for n, v in value) if key == "settings" else str(value) for value in (found, wanted)
        ]
        raise ValueError(
            f"{folder} was begun {_SAID[key].format(shown[0] or 'none')}, not {shown[1] or 'none'}; {remedy}"
        )
    if plan.hours < kept.hours:
        raise ValueError(
            f"{folder} is to live {format_duration(kept.hours)}, more than {format_duration(plan.hours)}; "
            "a run can be prolonged, not shortened; choose another --out"
        )


def find_unfinished(folder: Path, plan: RunPlan) -> list[int]:
    """The members that are still to be run."""
    return [member for member in range(plan.members) if not is_finished(folder, plan, member)]


def run_members(
    plan: RunPlan,
    folder: Path,
    *,
    processes: int = 0,
    over: str = "processes",
    checkpoint_s: float = 60.0,
    report: Callable[[str], None] = print,
) -> dict[int, str]:
    """Runs all members that are not finished: the reasons of those that failed, by member.

    ChildProcessError when a process was killed; what was finished, and the checkpoints of the others, stay.
    """
    todo = find_unfinished(folder, plan)
    if over == "ray":
        return _run_over_ray(plan, folder, todo, checkpoint_s, report)
    processes = min(processes or os.cpu_count() or 1, max(len(todo), 1))
    failures: dict[int, str] = {}
    done = 0

    def ended(member: int, failure: str) -> None:
        nonlocal done
        done += 1
        if failure:
            failures[member] = failure
        told = f"; member {member + 1} failed: {failure}" if failure else ""
        report(f"{done} of {len(todo)} members done{left.after(done)}{told}")

    if processes == 1:
        left = TimeLeft(len(todo))
        for member in todo:
            ended(member, run_member(plan, folder, member, 0, checkpoint_s, report))
        return failures
    world, _ = build_member(plan, folder, todo[0], 1)
    if must_compile(world):
        # Once, here, lest every process compile the same.
        take_first_step(world, report)
    report(f"{len(todo)} members of {format_duration(plan.hours)}, {processes} at a time")
    left = TimeLeft(len(todo), processes)
    jobs = [(plan, folder, member, 1, checkpoint_s) for member in todo]
    remedy = "--resume goes on from the checkpoints, --processes 1 needs less"
    for job, failure in run_in_processes(run_member, jobs, processes, remedy):
        ended(job[2], failure)
    return failures


def _run_over_ray(plan, folder, todo, checkpoint_s, report) -> dict[int, str]:
    """As over processes; every machine of the cluster must see the run's folder."""
    import ray

    ray.init(ignore_reinit_error=True, log_to_driver=False)
    remote = ray.remote(num_cpus=1)(run_member)
    waiting = {remote.remote(plan, folder.resolve(), m, 1, checkpoint_s): m for m in todo}
    failures: dict[int, str] = {}
    while waiting:
        (done,), _ = ray.wait(list(waiting), num_returns=1)
        member = waiting.pop(done)
        if failure := ray.get(done):
            failures[member] = failure
        report(f"{len(todo) - len(waiting)} of {len(todo)} members done")
    return failures
