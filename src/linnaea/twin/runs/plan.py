"""The plan of a run: world, length, seed, members, scenario, settings, and hashes of the data and of the code.

A member's seed comes from the run's seed and the member's number, not from the scenario. Member 3 of a baseline and
member 3 of a what-if therefore draw the same random numbers, and their difference is the effect of the intervention.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linnaea.store import hash_bytes
from linnaea.twin.assembly.parameters import replace_values
from linnaea.twin.assembly.world_builder import build_world
from linnaea.twin.data.world_data import WorldData
from linnaea.twin.data.world_file import load_world
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.jit import source_hash

RECORDS_A_RUN = 240


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What a run consists of; two runs with the same plan give the same results."""

    world: str
    "name of a bundled world, or path of a world's file"
    world_hash: str
    "hash of the world's data"
    hours: float
    "length of the run"
    seed: int = 0
    "seed of the whole run; each member's seed is derived from it"
    members: int = 1
    "number of members"
    scenario: str = ""
    "name of the scenario's file in the run's folder"
    scenario_hash: str = ""
    "hash of that file"
    every_h: float = 730.5
    "hours between two records"
    followed: int = 0
    "number of animals whose paths are kept"
    area_share: float = 1.0
    "area as a multiple of the area in the world's file"
    settings: tuple[tuple[str, float], ...] = ()
    "values of the world that are set otherwise, by name"
    code_hash: str = ""
    "hash of the rules' sources: runs of different versions must not be compared or continued"


def derive_member_seed(seed: int, member: int) -> int:
    """Derive the seed of a member: 64 bits from both numbers."""
    return int(np.random.SeedSequence([seed, member]).generate_state(1, np.uint64)[0])


def hash_world(data: WorldData) -> str:
    """Hash everything in a world's files."""
    return hash_bytes(repr(data))


def hash_code() -> str:
    """Hash the sources that a run's results depend on."""
    return source_hash(Path(inspect.getfile(build_world)))


def choose_record_interval(data: WorldData, hours: float) -> float:
    """Return the hours between two records: a month, or less for a short run."""
    dt = data.ground.dt_h
    wanted = min(HOURS_A_YEAR / 12, max(hours / RECORDS_A_RUN, dt))
    # Round numbers, so that runs of different lengths have the same records where possible.
    usual = [dt, 1.0, 3.0, 6.0, 12.0, 24.0, 5 * 24.0, 10 * 24.0, HOURS_A_YEAR / 12]
    return max([one for one in usual if dt <= one <= wanted], default=dt)


def count_steps(plan: RunPlan) -> int:
    """Return the number of steps of each member."""
    return round(plan.hours / replace_values(load_world(plan.world), plan.settings).ground.dt_h)
