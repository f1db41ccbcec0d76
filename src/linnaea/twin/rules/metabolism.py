"""Energy of a body: the cost of living and walking, the store, growth of the young, and starvation.

Shape suffixes: n slots, m live animals in the order of the cells, s species, k cells of the layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numba
import numpy as np

from linnaea.twin.engine.agents import Column
from linnaea.twin.engine.jit import kernel, scalar, serial
from linnaea.twin.engine.layers import layer_cell, layer_grid
from linnaea.twin.engine.rng import DEATH, uniform
from linnaea.twin.engine.world import CAUSE, Rule, World, name_state
from linnaea.twin.rules.energy_budget import RESPIRED, TISSUE_KJ_PER_KG, accounts
from linnaea.twin.rules.foraging import quarter_power
from linnaea.twin.rules.vegetation import warmth

_STARVATION = CAUSE["starvation"]


LEAN = 0.3
"filling of a store below which hunger kills (unverified)"
STARVING = 1.4
"rate of death with an all but empty store, in the time in which rest empties a full one (unverified)"
SAVING = 0.3
"share of its need that a starving body saves (unverified)"
SAVING_FROM = 0.6
"filling of a store below which a body begins to save (unverified)"


@scalar
def starving_share(share, stores):
    """Chance to die of hunger with a store filled to this share, in a time in which rest empties `stores` full stores.

    It rises from 0 at LEAN, so that the worst fed die first and leave their food to the others, long before all
    stores are empty.
    """
    if share >= LEAN:
        return 0.0
    lack = 1.0 - share / LEAN
    return 1.0 - math.exp(-STARVING * lack * lack * stores)


class Metabolisers(NamedTuple):
    """The columns of animals that metabolism reads and changes."""

    species: np.ndarray
    key: np.ndarray
    x: np.ndarray
    y: np.ndarray
    mass: np.ndarray
    energy: np.ndarray
    moved_m: np.ndarray
    spent: np.ndarray
    dying: np.ndarray


@scalar
def resting_rate(s, power, share, warm, bodies):
    """Resting metabolism of an animal in kJ per hour; `share` is the filling of its store, `power` its mass^0.75."""
    rate = bodies.maintain_kj_h[s] * power
    if bodies.cold_blooded[s]:
        rate *= warm
    elif share < SAVING_FROM:
        rate *= 1.0 - SAVING * (1.0 - max(share, 0.0) / SAVING_FROM)
    return rate


@scalar
def wished_growth(s, kg, energy, full, dt_h, bodies):
    """Kilograms that a young animal grows in a step, as far as its store allows."""
    adult = bodies.adult_kg[s]
    wish = min(bodies.growth_h[s] * (1.02 * adult - kg) * dt_h, adult - kg)
    return min(wish, (energy - 0.3 * full) / TISSUE_KJ_PER_KG)


@kernel
def _metabolise(order, metabolisers, bodies, warm, to_water, grid, clock):
    species, key, x, y, _, _, moved_m, _, _ = metabolisers
    mass, energy, spent, dying = metabolisers.mass, metabolisers.energy, metabolisers.spent, metabolisers.dying
    dt = clock.dt_h
    for k in numba.prange(len(order)):
        i = order[k]
        s = species[i]
        kg = np.float64(mass[i])
        c = layer_cell(x[i], y[i], grid)
        power, full = quarter_power(kg), bodies.store_kj_kg[s] * kg
        rate = resting_rate(s, power, energy[i] / full, warm[c], bodies)
        way = np.float64(moved_m[i])
        if bodies.drink_every_h[s] > 0.0:
            way += 2000.0 * min(to_water[c], 30.0) * dt / bodies.drink_every_h[s]
        cost = min(rate * dt + bodies.walk_kj_m[s] * power * way, max(energy[i], 0.0))
        energy[i] -= cost
        spent[i] = cost
        if kg < bodies.adult_kg[s] and energy[i] > 0.3 * full:
            new = np.float32(kg + wished_growth(s, kg, energy[i], full, dt, bodies))
            # The store pays what the rounded mass gained, to the last bit.
            energy[i] -= (np.float64(new) - kg) * TISSUE_KJ_PER_KG
            mass[i] = new
        risk = 1.0 if energy[i] <= 0.0 else starving_share(energy[i] / full, rate * dt / full)
        if risk > 0.0 and dying[i] == 0 and uniform(clock.seed, clock.step, DEATH, key[i], 1) < risk:
            dying[i] = _STARVATION


@serial
def _sum_by_species(order, species, values, out):
    for k in range(len(order)):
        out[species[order[k]]] += values[order[k]]


@dataclass(frozen=True, kw_only=True)
class Metabolise(Rule):
    """Every body respires by its mass to the power 0.75 and its way; the young turn store into body, the empty starve.

    The cold-blooded run faster in warmth; the warm-blooded save more, the emptier their store. Animals that must
    drink walk to the nearest water and back.
    """

    phase: ClassVar[str] = "live"
    reads: ClassVar[frozenset[str]] = name_state(
        agents="species key x y mass energy moved_m spent dying",
        fields="temperature_c to_water_km",
        tallies="respired_kj energy_kj",
    )
    writes: ClassVar[frozenset[str]] = name_state(agents="mass energy spent dying", tallies="respired_kj energy_kj")
    leaves_out: ClassVar[tuple[str, ...]] = (
        "Nobody dies of thirst: far from water the way to it costs energy, for up to 30 km.",
        "Heat and cold cost the warm-blooded nothing.",
    )

    def prepare(self, world: World) -> None:
        """Adds the energy spent in a step and the tally of respiration [s]."""
        world.agents.add_column(
            Column(name="spent", dtype=np.float64, help="energy respired in the step, kJ", proposal=True)
        )
        world.add_tally("respired_kj", (len(world.species),), np.float64)

    def apply(self, world: World) -> None:
        """Takes the cost of the step from all stores."""
        a, p = world.agents, world.parameters
        warm = (warmth(world.fields.temperature_c) / warmth(p.usual_temperature_c)).ravel()
        _metabolise(
            world.cells.order,
            a.view(Metabolisers),
            p.bodies,
            warm,
            world.fields.to_water_km.ravel(),
            layer_grid(world),
            world.clock,
        )
        by_species = np.zeros(len(world.species))
        _sum_by_species(world.cells.order, a.species, a.spent, by_species)
        world.tallies.respired_kj += by_species
        accounts(world)[RESPIRED] += by_species.sum()
