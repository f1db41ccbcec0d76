"""A run read back from its folder: the records of its members, those that failed among them.

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
from linnaea.twin.runs.ensemble import RunPlan, find_unfinished, get_member_dir, hash_world, read_plan
from linnaea.twin.runs.recorder import SERIES
from linnaea.twin.scenarios.scenario_file import read_scenario


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run in memory. `records` are stacked over `members`, those that means are over: `counts` is [m, k, s].

    Those are the members that reached the end. Where none did, they are those failed ones, cut to one length, of which
    most years can be used; `hours` is how far that goes. `broken` has all that each failed member wrote down.
    """

    run_dir: Path
    plan: RunPlan
    data: WorldData
    species: tuple[str, ...]
    foods: tuple[str, ...]
    members: tuple[int, ...]
    failures: dict[int, str]
    records: dict[str, np.ndarray]
    frames: dict[str, np.ndarray]
    broken: dict[int, dict[str, np.ndarray]]
    hours: float

    @property
    def whole(self) -> bool:
        """Whether any member reached the end."""
        return not set(self.members) <= set(self.failures)

    @property
    def blocks(self) -> list[tuple[tuple[int, ...], dict[str, np.ndarray]]]:
        """Members and their whole records [m, k, …]: those that reached the end, then each that failed."""
        finished = [(self.members, self.records)] if self.whole else []
        return finished + [((member,), _stack_records([records])) for member, records in self.broken.items()]

    def lived_h(self, member: int) -> float:
        """Hours from the start to the last record of a member; nan where there is none."""
        if member not in self.failures:
            return self.plan.hours
        return float(self.broken[member]["time_h"][-1]) if member in self.broken else float("nan")

    @property
    def time_y(self) -> np.ndarray:
        """Years of the records [k]."""
        return self.records["time_h"][0] / HOURS_A_YEAR

    @property
    def title(self) -> str:
        """The world, and the scenario if there is one."""
        name = read_scenario(self.run_dir / self.plan.scenario).name if self.plan.scenario else "as it is"
        return f"{self.data.name}: {name}"


_ONE_MEMBER = ("frames", "frame_h", "food_frames", "paths_m", "followed")


def load_run(folder: Path | str) -> Run:
    """A run from its folder. FileNotFoundError or ValueError when it is none, is unfinished, or nothing was written down."""
    folder = Path(folder)
    plan = read_plan(folder)
    if plan is None:
        raise FileNotFoundError(f"{folder}: no run; give a folder that `linnaea twin run` wrote")
    if left := find_unfinished(folder, plan):
        raise ValueError(f"{folder}: {len(left)} of {plan.members} members are not finished; run again with --resume")
    failures, found = {}, {}
    for member in range(plan.members):
        if failure := read_manifest(get_member_dir(folder, member))["failure"]:
            failures[member] = failure
        with np.load(get_member_dir(folder, member) / "records.npz") as stored_arrays:
            arrays = {name: stored_arrays[name] for name in stored_arrays.files}
        if len(arrays.get("time_h", ())):
            found[member] = arrays
    if not found:
        raise ValueError(
            f"{folder}: no member wrote anything down; the first said: {next(iter(failures.values()), 'nothing')}"
        )
    data = replace_values(load_world(plan.world), plan.settings)
    if hash_world(data) != plan.world_hash:
        raise ValueError(
            f"{folder} was made with other data of world {plan.world!r}; run it again, or read it with the "
            "version that made it"
        )
    members, rows = _choose_members(found, failures)
    cut = [_cut_records(found[member], rows) for member in members]
    whole = members[0] not in failures
    return Run(
        run_dir=folder,
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


def _choose_members(found: dict[int, dict[str, np.ndarray]], failures: dict[int, str]) -> tuple[tuple[int, ...], int]:
    """The members that means are over, and of how many records: the finished ones, else those with most records in common."""
    if finished := tuple(member for member in found if member not in failures):
        return finished, len(found[finished[0]]["time_h"])
    lengths = {member: len(arrays["time_h"]) for member, arrays in found.items()}
    rows = max(lengths.values(), key=lambda rows: (rows * sum(one >= rows for one in lengths.values()), rows))
    return tuple(member for member, length in lengths.items() if length >= rows), rows


def _cut_records(arrays: dict[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """Records cut to their first rows."""
    return {name: array[:rows] if name in SERIES else array for name, array in arrays.items()}


def _leave_out(arrays: dict[str, np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays.items() if name not in names}


def _stack_records(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}
