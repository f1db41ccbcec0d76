"""The energy of a world in kilojoules: where it is, and through which doors it came in and went out.

What plants fix comes in; what animals and decomposers respire and what burns goes out. Between, energy only changes
hands, so that `total_kj(world) - balance_kj(world)` stays the same to rounding.
"""

from __future__ import annotations

import numpy as np

from linnaea.twin.data.allometry import TISSUE_J_PER_KG
from linnaea.twin.engine.world import World

TISSUE_KJ_PER_KG = TISSUE_J_PER_KG / 1000
PLANT_KJ_PER_KG = 17500.0
"energy of dry plant matter (unverified)"
FAT_KJ_PER_KG = 39000.0
"energy of body fat (unverified)"

ACCOUNTS = ("grown", "introduced", "respired", "decayed", "burned", "removed")
GROWN, INTRODUCED, RESPIRED, DECAYED, BURNED, REMOVED = range(len(ACCOUNTS))
_SIGN = np.array([1, 1, -1, -1, -1, -1.0])


def accounts(world: World) -> np.ndarray:
    """Kilojoules that passed each door of `ACCOUNTS` since the start: float64 [6], to be changed in place."""
    return world.add_tally("energy_kj", (len(ACCOUNTS),), np.float64)


def animal_kj(world: World, slots: np.ndarray) -> np.ndarray:
    """Energy of the bodies and stores of these animals, kJ: float64 [len(slots)]."""
    agents = world.agents
    return agents.mass[slots].astype(np.float64) * TISSUE_KJ_PER_KG + agents.energy[slots]


def total_kj(world: World) -> float:
    """All energy in plants, pools, dead matter and animals, kJ."""
    return float(world.arrays["food"].sum() + animal_kj(world, world.agents.slots()).sum())


def balance_kj(world: World) -> float:
    """What came in less what went out since the start, kJ."""
    return float((accounts(world) * _SIGN).sum())
