"""The energy of a world in kilojoules: where it is, and in which ways it came in and went out.

What plants fix comes in; what animals and decomposers respire and what burns goes out. In between, energy only changes
hands, so that `total_kj(world) - balance_kj(world)` stays constant to rounding.
"""

from __future__ import annotations

import numpy as np

from linnaea.twin.data.allometry import TISSUE_J_PER_KG
from linnaea.twin.engine.world import CAUSE, World

TISSUE_KJ_PER_KG = TISSUE_J_PER_KG / 1000
PLANT_KJ_PER_KG = 17500.0
"energy of dry plant matter (unverified)"
FAT_KJ_PER_KG = 39000.0
"energy of body fat (unverified)"

ACCOUNTS = ("grown", "introduced", "respired", "decayed", "burned", "removed")
GROWN, INTRODUCED, RESPIRED, DECAYED, BURNED, REMOVED = range(len(ACCOUNTS))
_SIGN = np.array([1, 1, -1, -1, -1, -1.0])


def accounts(world: World) -> np.ndarray:
    """Kilojoules that came in or went out by each of `ACCOUNTS` since the start: float64 [6]; change it in place."""
    return world.add_tally("energy_kj", (len(ACCOUNTS),), np.float64)


def animal_kj(world: World, slots: np.ndarray) -> np.ndarray:
    """Energy of the bodies and stores of these animals, kJ: float64 [len(slots)]."""
    agents = world.agents
    return agents.mass[slots].astype(np.float64) * TISSUE_KJ_PER_KG + agents.energy[slots]


def total_kj(world: World) -> float:
    """All energy in plants, pools, dead matter and animals, kJ."""
    return float(world.arrays.food.sum() + animal_kj(world, world.agents.slots()).sum())


def balance_kj(world: World) -> float:
    """What came in minus what went out since the start, kJ."""
    return float((accounts(world) * _SIGN).sum())


def remove_animals(world: World, slots: np.ndarray, cause: str = "removal") -> None:
    """Takes these animals out of the world with all their energy; counts them by cause and books the energy."""
    slots = np.asarray(slots, np.int64)
    a = world.agents
    np.add.at(world.tallies.died, (a.species[slots], CAUSE[cause]), 1)
    if "energy_kj" in world.tallies:
        accounts(world)[REMOVED] += animal_kj(world, slots).sum()
    a.remove(slots)
