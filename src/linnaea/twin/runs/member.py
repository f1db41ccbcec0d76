"""One member of a run: its world, its first step, which may compile the rules, and its run to the end."""

from __future__ import annotations

import inspect
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linnaea.store import read_manifest
from linnaea.terminal import Progress
from linnaea.twin.assembly.parameters import replace_values
from linnaea.twin.assembly.world_builder import build_world
from linnaea.twin.data.world_data import map_scientific_names
from linnaea.twin.data.world_file import load_world
from linnaea.twin.engine.checkpoint import load_checkpoint, save_checkpoint
from linnaea.twin.engine.jit import forget_stale_code, mark_compiled, needs_compilation
from linnaea.twin.engine.neighbours import CellIndex
from linnaea.twin.engine.step import check_finite, finite_until_h, step
from linnaea.twin.engine.world import PHASES, World
from linnaea.twin.runs.plan import RunPlan, derive_member_seed
from linnaea.twin.runs.recorder import Record, get_records
from linnaea.twin.scenarios.scenario_file import attach, format_duration, read_scenario

logger = logging.getLogger(__name__)

PROGRESS_EVERY_S = 0.5
_TALLIES = ("grazed_kj", "killed", "born", "died", "respired_kj")


def build_member(plan: RunPlan, run_dir: Path, member: int, threads: int = 0) -> tuple[World, Record]:
    """Build a member's world at its start, with its scenario and its recorder.

    `run_dir` holds the scenario's file.
    """
    data = replace_values(load_world(plan.world), plan.settings)
    world = build_world(data, seed=derive_member_seed(plan.seed, member), area_share=plan.area_share)
    world.threads = threads
    record = Record(every_h=plan.every_h, frames=member == 0, followed=plan.followed)
    if plan.scenario:
        attach(world, read_scenario(run_dir / plan.scenario), plan.hours, map_scientific_names(data))
    world.add_rule(record)
    return world, record


class CompilationTrace(list):
    """A trace that logs which rule is being compiled, and keeps nothing."""

    def __init__(self, world: World):
        super().__init__()
        self.done = 0
        self.total = sum(len(world.by_phase[phase]) for phase in PHASES)
        self.names = {type(rule).__name__ for rule in world.rules}

    def append(self, line: str) -> None:
        """Log the line of a rule; lines of the step itself, which compiles nothing, are dropped."""
        if line.split(": ")[-1] in self.names:
            self.done += 1
            logger.info(f"compiling {self.done} of {self.total}: {line.split(' ', 1)[1]}")


def _list_code_files(world: World) -> set[str]:
    return {inspect.getfile(part) for part in (CellIndex, *map(type, world.rules))}


def take_first_step(world: World) -> None:
    """Take one step. If rules have yet to be compiled, log a line for each of them."""
    files = _list_code_files(world)
    if not needs_compilation(files):
        step(world)
        return
    logger.info("first run of this version: the rules are compiled now, once, within a minute")
    started = time.monotonic()
    world.trace = CompilationTrace(world)
    step(world)
    world.trace = None
    mark_compiled(files)
    forget_stale_code()
    logger.info(f"compiled in {time.monotonic() - started:.0f} s; later runs start at once")


def compile_rules(plan: RunPlan, run_dir: Path, member: int) -> None:
    """Compile the rules of a member's world if necessary: once here, instead of in each of several processes."""
    world, _ = build_member(plan, run_dir, member, threads=1)
    if needs_compilation(_list_code_files(world)):
        take_first_step(world)


@dataclass(frozen=True, kw_only=True)
class CheckpointPlan:
    """Where and how often a member saves its state."""

    checkpoint_dir: Path
    every_s: float = 60.0

    def save(self, world: World, *, compress: bool = False) -> None:
        """Save the state. Raise FloatingPointError, and keep the former checkpoint, if the state is not finite."""
        check_finite(world)
        save_checkpoint(world, self.checkpoint_dir, compress=compress)


@dataclass(frozen=True, kw_only=True)
class MemberResult:
    """What became of a member."""

    failure: str
    "reason of its failure; empty if it reached its end"
    arrays: dict[str, np.ndarray]
    "its records, by name; of a failed member those written while its state was finite"


def simulate_member(
    plan: RunPlan,
    run_dir: Path,
    member: int,
    *,
    threads: int = 1,
    checkpoints: CheckpointPlan | None = None,
    progress: Progress | None = None,
) -> MemberResult:
    """Run a member to its end, from its checkpoint if there is one. A failure of the model becomes a reason."""
    world = None
    try:
        world, record = build_member(plan, run_dir, member, threads)
        if checkpoints and read_manifest(checkpoints.checkpoint_dir) is not None:
            load_checkpoint(world, checkpoints.checkpoint_dir)
            logger.info(f"member {member + 1}: goes on from {format_duration(world.now_h)}")
        else:
            record.write_down(world, 0.0)
            take_first_step(world)
        _advance(world, round(plan.hours / world.dt_h), checkpoints, progress)
        if checkpoints:
            # The last state stays, so that the run can be prolonged.
            checkpoints.save(world, compress=True)
        tallies = {f"tally_{name}": world.tallies[name] for name in _TALLIES if name in world.tallies}
        return MemberResult(failure="", arrays=get_records(world) | tallies)
    except (ValueError, FloatingPointError, MemoryError) as error:
        failure = " ".join(str(error).split()) or type(error).__name__
        # The last checkpoint and the records stay; tallies may include what went wrong.
        arrays = {} if world is None else get_records(world, finite_until_h(world))
        return MemberResult(failure=failure, arrays=arrays)


def _advance(world: World, steps: int, checkpoints: CheckpointPlan | None, progress: Progress | None) -> None:
    """Go on to step `steps`, with checkpoints and progress."""
    saved_s = shown_s = time.monotonic()
    shown = 0
    while world.step < steps:
        step(world)
        now_s = time.monotonic()
        if checkpoints and now_s - saved_s >= checkpoints.every_s:
            checkpoints.save(world)
            saved_s = time.monotonic()
        if progress and now_s - shown_s >= PROGRESS_EVERY_S:
            progress.advance(world.step - shown)
            shown, shown_s = world.step, now_s
    if progress:
        progress.advance(world.step - shown)
