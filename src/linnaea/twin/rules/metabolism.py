"""Energy of a body: what it costs to live and to walk, what is stored, how the young grow, and when a store is empty.

Shape suffixes: n slots, m live animals in the order of the cells, s species, k cells of the layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numba
import numpy as np

from linnaea.twin.engine.agents import Column
from linnaea.twin.engine.jit import kernel, scalar, serial
from linnaea.twin.engine.layers import layer_cell, layer_grid
from linnaea.twin.engine.rng import DEATH, uniform
from linnaea.twin.engine.world import CAUSE, Rule, World
from linnaea.twin.rules.energy_budget import RESPIRED, TISSUE_KJ_PER_KG, accounts
from linnaea.twin.rules.foraging import quarter_power
from linnaea.twin.rules.vegetation import warmth

_STARVATION = CAUSE["starvation"]


LEAN = 0.3
"filling of a store below which hunger kills (unverified)"
STARVING = 1.4
"deaths of those whose store is all but empty, in the time in which rest empties a full one (unverified)"
SAVING = 0.3
"share of its need that a starving body saves (unverified)"
SAVING_FROM = 0.6
"filling of a store below which a body begins to save (unverified)"


@scalar
def starving_share(share, stores):
    """Chance to die of hunger with a store filled to this share, while rest would empty so many full stores.

    It rises from 0 at LEAN, so that the worst fed go first and leave their food to the others, long before all stores are empty.
    """
    if share >= LEAN:
        return 0.0
    lack = 1.0 - share / LEAN
    return 1.0 - math.exp(-STARVING * lack * lack * stores)


@kernel
def _metabolise(
    order,
    species,
    key,
    x,
    y,
    mass,
    energy,
    moved_m,
    maintain,
    walk,
    store,
    adult_kg,
    growth_h,
    cold,
    warm,
    to_water,
    drinks,
    grid,
    dt,
    seed,
    step,
    spent,
    dying,
):
    n_columns, n_rows, cell_w, cell_h = grid
    for k in numba.prange(len(order)):
        i = order[k]
        s = species[i]
        kg = np.float64(mass[i])
        c = layer_cell(x[i], y[i], cell_w, cell_h, n_columns, n_rows)
        power = quarter_power(kg)
        full = store[s] * kg
        share = energy[i] / full
        rate = maintain[s] * power
        if cold[s]:
            rate *= warm[c]
        elif share < SAVING_FROM:
            rate *= 1.0 - SAVING * (1.0 - max(share, 0.0) / SAVING_FROM)
        way = np.float64(moved_m[i])
        if drinks[s] > 0.0:
            way += 2000.0 * min(to_water[c], 30.0) * dt / drinks[s]
        cost = min(rate * dt + walk[s] * power * way, max(energy[i], 0.0))
        energy[i] -= cost
        spent[i] = cost
        if kg < adult_kg[s] and energy[i] > 0.3 * full:
            wish = min(growth_h[s] * (1.02 * adult_kg[s] - kg) * dt, adult_kg[s] - kg)
            wish = min(wish, (energy[i] - 0.3 * full) / TISSUE_KJ_PER_KG)
            new = np.float32(kg + wish)
            # The store pays what the rounded mass gained, to the last bit.
            energy[i] -= (np.float64(new) - kg) * TISSUE_KJ_PER_KG
            mass[i] = new
        risk = 1.0 if energy[i] <= 0.0 else starving_share(energy[i] / full, rate * dt / full)
        if risk > 0.0 and dying[i] == 0 and uniform(seed, step, DEATH, key[i], 1) < risk:
            dying[i] = _STARVATION


@serial
def _sum_by_species(order, species, values, out):
    for k in range(len(order)):
        out[species[order[k]]] += values[order[k]]


@dataclass(frozen=True, kw_only=True)
class Metabolise(Rule):
    """Every body respires by its mass to the power .75 and by its way, the young turn store into body, the empty starve.

    The cold-blooded run faster in warmth; the warm-blooded save, the emptier their store. Those that must drink walk to the nearest water and back.
    """

    phase: ClassVar[str] = "live"
    leaves_out: ClassVar[tuple[str, ...]] = (
        "Nobody dies of thirst: far from water the way to it costs energy, for up to 30 km.",
        "Heat and cold cost the warm-blooded nothing.",
    )

    def prepare(self, world: World) -> None:
        world.agents.add_column(
            Column(name="spent", dtype=np.float64, help="energy respired in the step, kJ", proposal=True)
        )
        world.add_tally("respired_kj", (len(world.species),), np.float64)

    def apply(self, world: World) -> None:
        a, p = world.agents, world.parameters
        warm = (warmth(world.fields["temperature_c"]) / warmth(p["usual_temperature_c"][0])).ravel()
        _metabolise(
            world.cells.order,
            a.species,
            a.key,
            a.x,
            a.y,
            a.mass,
            a.energy,
            a.moved_m,
            p["maintain_kj_h"],
            p["walk_kj_m"],
            p["store_kj_kg"],
            p["adult_kg"],
            p["growth_h"],
            p["cold_blooded"],
            warm,
            world.fields["to_water_km"].ravel(),
            p["drink_every_h"],
            layer_grid(world),
            world.dt_h,
            world.seed64,
            world.step,
            a.spent,
            a.dying,
        )
        by_species = np.zeros(len(world.species))
        _sum_by_species(world.cells.order, a.species, a.spent, by_species)
        world.tallies["respired_kj"] += by_species
        accounts(world)[RESPIRED] += by_species.sum()
