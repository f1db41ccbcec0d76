"""Death by age, accident, illness and poaching. Hunger, predators and diseases kill in their own rules.

Shape suffixes: m live animals in the order of the cells, s species, k cells of the layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numba
import numpy as np

from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.jit import kernel, scalar
from linnaea.twin.engine.layers import layer_cell, layer_grid
from linnaea.twin.engine.rng import DEATH, takes_turn, uniform2
from linnaea.twin.engine.world import CAUSE, Rule, World, name_state

_AGE, _BACKGROUND, _POACHING = CAUSE["age"], CAUSE["background"], CAUSE["poaching"]


@scalar
def death_rate(age_h, year_h, life_h, young, adult):
    """Deaths per hour of other causes than hunger and predators: of the young, of adults, and rising in old age."""
    rate = young if age_h < year_h else adult
    old = age_h / life_h
    if old > 0.5:
        # About nine in ten that come so far are gone at the table's life span.
        rate += 20.0 / life_h * old**12
    return rate


class Mortals(NamedTuple):
    """The columns of animals that background mortality reads and changes."""

    species: np.ndarray
    key: np.ndarray
    x: np.ndarray
    y: np.ndarray
    born_h: np.ndarray
    dying: np.ndarray


@kernel
def _die(order, mortals, life, poached, where, grid, clock, every):
    species, key, x, y, born_h, _ = mortals
    dying = mortals.dying
    day_h = every * clock.dt_h
    for k in numba.prange(len(order)):
        i = order[k]
        if not takes_turn(key[i], clock.step, every) or dying[i] != 0:
            continue
        s = species[i]
        age = clock.now_h - born_h[i]
        natural = death_rate(age, HOURS_A_YEAR, life.life_h[s], life.young_death_h[s], life.adult_death_h[s])
        hunted = 0.0
        if poached[s] > 0.0:
            hunted = poached[s] * where[layer_cell(x[i], y[i], grid)]
        u, v = uniform2(clock.seed, clock.step, DEATH, key[i], 0)
        if u < 1.0 - math.exp(-(natural + hunted) * day_h):
            if v * (natural + hunted) < hunted:
                dying[i] = _POACHING
            elif age > 0.75 * life.life_h[s]:
                dying[i] = _AGE
            else:
                dying[i] = _BACKGROUND


@dataclass(frozen=True, kw_only=True)
class BackgroundMortality(Rule):
    """Animals die of accident, illness and age at the rates of their species, and where people hunt them, by poachers.

    Hook of scenarios: `world.arrays.poaching_per_h` [s], times the layer `poaching`.
    """

    phase: ClassVar[str] = "live"
    stored_name: ClassVar[str] = "Age"
    reads: ClassVar[frozenset[str]] = name_state(
        agents="species key x y born_h dying", fields="poaching", arrays="poaching_per_h"
    )
    writes: ClassVar[frozenset[str]] = name_state(agents="dying")
    every_h: float = 24.0
    "hours between two chances to die"

    def prepare(self, world: World) -> None:
        """Adds the rates of poaching."""
        world.add_array("poaching_per_h", np.zeros(len(world.species)))

    def apply(self, world: World) -> None:
        """Marks the dying among the animals whose turn it is."""
        _die(
            world.cells.order,
            world.agents.view(Mortals),
            world.parameters.life,
            world.arrays.poaching_per_h,
            world.fields.poaching.ravel(),
            layer_grid(world),
            world.clock,
            world.steps_of(self.every_h),
        )
