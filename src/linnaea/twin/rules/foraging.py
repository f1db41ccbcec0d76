"""Grazing, browsing, seed eating and scavenging: animals eat from the layers of food under them.

Shape suffixes: n slots, m live animals in the order of the cells, s species, l foods, k cells of the layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numba
import numpy as np

from linnaea.twin.engine.agents import Column
from linnaea.twin.engine.contention import share_supply
from linnaea.twin.engine.jit import kernel, scalar, serial
from linnaea.twin.engine.layers import layer_cell, layer_grid
from linnaea.twin.engine.rng import FEEDING, uniform
from linnaea.twin.engine.world import Rule, World
from linnaea.twin.rules.energy_budget import DECAYED, accounts
from linnaea.twin.rules.ranging import pace_now
from linnaea.twin.rules.vegetation import food_index
from linnaea.twin.rules.vigilance import head_up_share

NO_BITE = -1


@scalar
def quarter_power(mass):
    """mass^0.75 without the cost of a general power."""
    root = math.sqrt(mass)
    return root * math.sqrt(root)


@scalar
def intake(there, half, hill):
    """Share of the most that is eaten at this much food: 0 to 1, of Holling's second (hill 1) or third type (above 1)."""
    if there <= 0.0:
        return 0.0
    if hill == 1.0:
        return there / (there + half)
    part = (there / half) ** hill
    return part / (1.0 + part)


@scalar
def trait_fit(value, best, width):
    """How well a trait suits a food: 1 at the best value, falling off like a bell; 1 where width is 0."""
    if width == 0.0:
        return 1.0
    z = (value - best) / width
    return math.exp(-0.5 * z * z)


VIGOUR = 0.2
"how much more or less than the mean the best and the worst grazer of a kind takes (unverified)"


@scalar
def vigour(seed, key):
    """What an animal takes, all its life, against the mean of its kind: its teeth, its rank, its skill."""
    return 1.0 + VIGOUR * (2.0 * uniform(seed, 0, FEEDING, key, 1) - 1.0)


@kernel
def _graze(
    order,
    species,
    key,
    x,
    y,
    mass,
    energy,
    traits,
    herd,
    size,
    pace,
    food,
    foods,
    n_foods,
    weight,
    half,
    hill,
    most,
    efficiency,
    store,
    best_trait,
    trait_width,
    trait_column,
    watches,
    feeding,
    grid,
    bout,
    dt,
    seed,
    step,
    head_up,
    bite,
    demand,
):
    n_columns, n_rows, cell_w, cell_h = grid
    n_cells = n_columns * n_rows
    for k in numba.prange(len(order)):
        i = order[k]
        s = species[i]
        n = n_foods[s]
        if watches[s]:
            head_up[i] = head_up_share(np.float64(size[herd[i]]))
        # Each feeds in bouts that begin at its own hour.
        if n == 0 or (np.int64(key[i] % np.uint64(1 << 20)) + step) % bout != 0:
            continue
        space_left = store[s] * mass[i] - energy[i]
        if space_left <= 0.0:
            continue
        c = layer_cell(x[i], y[i], cell_w, cell_h, n_columns, n_rows)
        value = np.float64(traits[i, trait_column]) if trait_column >= 0 else 0.0
        there = 0.0
        for f in range(n):
            there += (
                weight[s, f] * food[foods[s, f] * n_cells + c] * trait_fit(value, best_trait[s, f], trait_width[s, f])
            )
        if there <= 0.0:
            continue
        chosen = foods[s, 0]
        if n > 1:
            left = uniform(seed, step, FEEDING, key[i], 0) * there
            for f in range(n):
                chosen = foods[s, f]
                left -= (
                    weight[s, f] * food[chosen * n_cells + c] * trait_fit(value, best_trait[s, f], trait_width[s, f])
                )
                if left < 0.0:
                    break
        rate = most[s] * quarter_power(np.float64(mass[i])) * intake(there, half[s], hill[s])
        rate *= vigour(seed, key[i])
        wanted = rate * (1.0 - head_up[i]) / feeding[s] * pace[s] * dt * bout / efficiency[chosen]
        bite[i] = chosen * n_cells + c
        demand[i] = min(wanted, space_left / efficiency[chosen])


@dataclass(frozen=True, kw_only=True)
class Graze(Rule):
    """An animal claims a bite of one food under it, chosen by preference and amount; what it can take follows Holling.

    Time with the head up is lost to feeding, against that in a herd of usual size; one whose store is full eats nothing. Of the same food
    some take more and some less, all their lives, so that in bad times not all starve at once. A heritable trait (a beak) may decide how
    well a food can be opened.
    """

    phase: ClassVar[str] = "decide"
    bout_h: float = 2.0
    "hours between two bites, which are the larger for it"
    trait: str = ""
    "heritable trait that decides which foods suit an animal, empty for none"

    def prepare(self, world: World) -> None:
        if self.trait and self.trait not in world.traits:
            raise ValueError(f"trait {self.trait!r} is not among the world's traits; name it there")
        for column in (
            Column(name="bite", dtype=np.int64, help="claimed food and cell, -1 none", proposal=True, blank=NO_BITE),
            Column(name="head_up", dtype=np.float32, help="share of the step with the head up", proposal=True),
        ):
            world.agents.add_column(column)

    def apply(self, world: World) -> None:
        a, p, arrays = world.agents, world.parameters, world.arrays
        trait_column = world.traits.index(self.trait) if self.trait else -1
        _graze(
            world.cells.order,
            a.species,
            a.key,
            a.x,
            a.y,
            a.mass,
            a.energy,
            a.traits,
            a.herd,
            arrays["herd_size"],
            pace_now(world),
            arrays["food"].ravel(),
            p["graze_foods"],
            p["graze_n"],
            p["graze_weight"],
            p["graze_half_kj"],
            p["graze_hill"],
            p["most_kj_h"],
            p["food_efficiency"],
            p["store_kj_kg"],
            p["best_trait"],
            p["trait_width"],
            trait_column,
            p["watches"],
            p["usual_feeding"],
            layer_grid(world),
            max(1, round(self.bout_h / world.dt_h)),
            world.dt_h,
            world.seed64,
            world.step,
            a.head_up,
            a.bite,
            a.demand,
        )


@serial
def _swallow(order, species, bite, granted, efficiency, n_cells, energy, dung, has_dung, plant, eaten):
    """Turns what was granted into stores and dung; returns the kilojoules that neither holds."""
    lost = 0.0
    for k in range(len(order)):
        i = order[k]
        if bite[i] < 0 or granted[i] <= 0.0:
            continue
        f, c = bite[i] // n_cells, bite[i] % n_cells
        gain = granted[i] * efficiency[f]
        energy[i] += gain
        waste = granted[i] - gain
        eaten[species[i], f] += granted[i]
        if has_dung and plant[f]:
            dung[c] += waste
        else:
            lost += waste
    return lost


@dataclass(frozen=True, kw_only=True)
class Eat(Rule):
    """Those who want the same food in the same cell share it in proportion to what they asked; the rest becomes dung."""

    phase: ClassVar[str] = "resolve"

    def prepare(self, world: World) -> None:
        world.add_tally("grazed_kj", (len(world.species), len(world.parameters["food_names"])), np.float64)

    def apply(self, world: World) -> None:
        a, p, food = world.agents, world.parameters, world.arrays["food"]
        flat, scale = food.reshape(-1), p["bite_parts"][0]
        # `share_supply` counts in parts of a millionth: small animals' bites are counted in smaller units.
        granted = np.zeros(a.n)
        asked = a.demand[: a.n] * scale if scale != 1 else a.demand[: a.n]
        supply = np.maximum(flat, 0.0) * scale if scale != 1 else np.maximum(flat, 0.0)
        taken = share_supply(world, a.bite[: a.n], asked, supply, granted)
        if scale != 1:
            taken, granted = taken / scale, granted / scale
        flat -= taken
        # Rounding may leave a trace below nothing.
        np.maximum(flat, 0.0, out=flat)
        dung = food_index(world, "dung")
        lost = _swallow(
            world.cells.order,
            a.species,
            a.bite,
            granted,
            p["food_efficiency"],
            food[0].size,
            a.energy,
            food[max(dung, 0)].reshape(-1),
            dung >= 0,
            p["food_is_plant"],
            world.tallies["grazed_kj"],
        )
        a.won[: a.n] = granted
        accounts(world)[DECAYED] += lost
