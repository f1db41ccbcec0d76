"""A run read back from its folder: the records of its members, including those that failed.

Shape suffixes: m members, k records, s species.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linnaea.store import read_manifest
from linnaea.twin.assembly.parameters import replace_values
from linnaea.twin.data.world_data import WorldData, select_animals, select_foods
from linnaea.twin.data.world_file import load_world
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.runs.plan import RunPlan, hash_world
from linnaea.twin.runs.recorder import SERIES
from linnaea.twin.runs.run_folder import find_unfinished, get_member_dir, read_plan
from linnaea.twin.scenarios.scenario_file import read_scenario


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run in memory.

    `records` are stacked over `members`: `counts` is [m, k, s]. These are the members that reached the end. If none
    did, they are the failed members, cut to one length, that together give the most usable years.
    """

    run_dir: Path
    "folder of the run"
    plan: RunPlan
    "what was asked"
    data: WorldData
    "the world's data"
    species: tuple[str, ...]
    "animals [s]"
    foods: tuple[str, ...]
    "foods, in the order of the records"
    members: tuple[int, ...]
    "members that means are taken over [m]"
    failures: dict[int, str]
    "reasons of the members that failed"
    records: dict[str, np.ndarray]
    "records of `members`, by name"
    frames: dict[str, np.ndarray]
    "maps through time and paths, which only the first of `members` has"
    broken: dict[int, dict[str, np.ndarray]]
    "everything that each failed member recorded"
    hours: float
    "how far the records go"

    @property
    def whole(self) -> bool:
        """Whether any member reached the end."""
        return not set(self.members) <= set(self.failures)

    @property
    def blocks(self) -> list[tuple[tuple[int, ...], dict[str, np.ndarray]]]:
        """Members with their complete records [m, k, …]: first those that reached the end, then each that failed."""
        finished = [(self.members, self.records)] if self.whole else []
        return finished + [((member,), _stack_records([records])) for member, records in self.broken.items()]

    def lived_h(self, member: int) -> float:
        """Return the hours from the start to the last record of a member; nan if there is none."""
        if member not in self.failures:
            return self.plan.hours
        return float(self.broken[member]["time_h"][-1]) if member in self.broken else float("nan")

    @property
    def time_y(self) -> np.ndarray:
        """Times of the records in years [k]."""
        return self.records["time_h"][0] / HOURS_A_YEAR

    @property
    def title(self) -> str:
        """The name of the world and of the scenario."""
        name = read_scenario(self.run_dir / self.plan.scenario).name if self.plan.scenario else "as it is"
        return f"{self.data.name}: {name}"


_ONE_MEMBER = ("frames", "frame_h", "food_frames", "paths_m", "followed")


def load_run(run_dir: Path | str) -> Run:
    """Load a run from its folder.

    Raise FileNotFoundError if there is no run, and ValueError if it is unfinished, if no member recorded anything, or
    if the world's data have changed since.
    """
    run_dir = Path(run_dir)
    plan = read_plan(run_dir)
    if plan is None:
        raise FileNotFoundError(f"{run_dir}: no run; give a folder that `linnaea twin run` wrote")
    if left := find_unfinished(run_dir, plan):
        raise ValueError(f"{run_dir}: {len(left)} of {plan.members} members are not finished; run again with --resume")
    found, failures = _read_members(run_dir, plan)
    if not found:
        reason = next(iter(failures.values()), "nothing")
        raise ValueError(f"{run_dir}: no member recorded anything; reason of the first: {reason}")
    data = replace_values(load_world(plan.world), plan.settings)
    if hash_world(data) != plan.world_hash:
        raise ValueError(
            f"{run_dir} was made with other data of world {plan.world!r}; run it again, or read it with the "
            "version that made it"
        )
    members, rows = _choose_members(found, failures)
    cut = [_cut_records(found[member], rows) for member in members]
    whole = members[0] not in failures
    return Run(
        run_dir=run_dir,
        plan=plan,
        data=data,
        species=tuple(select_animals(data)),
        foods=tuple(select_foods(data)),
        members=members,
        failures=failures,
        records=_stack_records([_leave_out(one, _ONE_MEMBER) for one in cut]),
        frames={name: cut[0][name] for name in _ONE_MEMBER if name in cut[0]},
        broken={member: _leave_out(found[member], _ONE_MEMBER) for member in failures if member in found},
        hours=plan.hours if whole else float(cut[0]["time_h"][-1]),
    )


def _read_members(run_dir: Path, plan: RunPlan) -> tuple[dict[int, dict[str, np.ndarray]], dict[int, str]]:
    """Return the records of all members that have some, and the reasons of all that failed."""
    found, failures = {}, {}
    for member in range(plan.members):
        member_dir = get_member_dir(run_dir, member)
        if failure := read_manifest(member_dir)["failure"]:
            failures[member] = failure
        with np.load(member_dir / "records.npz") as stored_arrays:
            arrays = {name: stored_arrays[name] for name in stored_arrays.files}
        if len(arrays.get("time_h", ())):
            found[member] = arrays
    return found, failures


def _choose_members(found: dict[int, dict[str, np.ndarray]], failures: dict[int, str]) -> tuple[tuple[int, ...], int]:
    """Return the members that means are taken over, and their number of records.

    These are the finished members, otherwise those with the most records in common.
    """
    if finished := tuple(member for member in found if member not in failures):
        return finished, len(found[finished[0]]["time_h"])
    lengths = {member: len(arrays["time_h"]) for member, arrays in found.items()}
    rows = max(lengths.values(), key=lambda rows: (rows * sum(one >= rows for one in lengths.values()), rows))
    return tuple(member for member, length in lengths.items() if length >= rows), rows


def _cut_records(arrays: dict[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """Return the records cut to their first rows."""
    return {name: array[:rows] if name in SERIES else array for name, array in arrays.items()}


def _leave_out(arrays: dict[str, np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays.items() if name not in names}


def _stack_records(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}
