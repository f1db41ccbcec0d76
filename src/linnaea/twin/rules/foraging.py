"""Grazing, browsing, seed eating and scavenging: animals eat from the layers of food under them, and watch meanwhile.

The two ends of the curve of vigilance are those of Grevy's zebra in 82 drone mini-scenes (kabr-tools' time budgets:
mean share with the head up 0.473 in 23 scenes of small herds, 0.154 in 59 of large ones); how fast it falls between
them is unverified.

Shape suffixes: n slots, m live animals in the order of the cells, s species, l foods, k cells of the layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numba
import numpy as np

from linnaea.twin.engine.agents import Column
from linnaea.twin.engine.contention import share_supply
from linnaea.twin.engine.jit import kernel, scalar, serial
from linnaea.twin.engine.layers import layer_cell, layer_grid
from linnaea.twin.engine.rng import FEEDING, takes_turn, uniform
from linnaea.twin.engine.world import Rule, World, name_state
from linnaea.twin.rules.energy_budget import DECAYED, accounts
from linnaea.twin.rules.ranging import activity_now
from linnaea.twin.rules.vegetation import food_index

NO_BITE = -1
ALONE = 0.5
"share of the time that a lone animal has its head up"
CROWDED = 0.14
"the same in a very large herd"
FALL = 8.0
"others in the herd over which the difference falls to 0.37 (unverified)"


@scalar
def quarter_power(mass):
    """mass^0.75 without the cost of a general power."""
    root = math.sqrt(mass)
    return root * math.sqrt(root)


@scalar
def intake(there, half, hill):
    """Share of the greatest intake at this much food: 0 to 1, of Holling's second (hill 1) or third type (above 1)."""
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


@scalar
def head_up_share(herd_size):
    """Share of the time that an animal in a herd of this size (itself included) has its head up, 0 to 1."""
    return CROWDED + (ALONE - CROWDED) * math.exp(-(herd_size - 1.0) / FALL)


@scalar
def herd_notices(herd_size):
    """Chance that at least one head is up at any moment, among at most 30 that stand near enough: 0 to 1."""
    near = min(herd_size, 30.0)
    return 1.0 - (1.0 - head_up_share(herd_size)) ** near


class Grazers(NamedTuple):
    """The columns of animals that grazing reads."""

    species: np.ndarray
    key: np.ndarray
    x: np.ndarray
    y: np.ndarray
    mass: np.ndarray
    energy: np.ndarray
    herd: np.ndarray
    traits: np.ndarray


class Bites(NamedTuple):
    """The columns in which grazers claim a bite."""

    head_up: np.ndarray
    bite: np.ndarray
    demand: np.ndarray


class Forage(NamedTuple):
    """The foods under the animals and what a step of grazing depends on."""

    food: np.ndarray
    "kilojoules of each food in each cell [l · k]"
    efficiency: np.ndarray
    "share of the energy of each food that is digested [l]"
    herd_size: np.ndarray
    "animals of each herd [h]"
    activity: np.ndarray
    "of each species, against its mean over the day [s]"
    trait_column: int
    "heritable trait that decides which foods suit, -1 for none"
    bout: int
    "steps between two bites"


@scalar
def value_of(s, f, c, trait, n_cells, food, diet):
    """Value of the f-th food of a species in a cell for an animal with a trait: preference times amount times fit."""
    amount = diet.weight[s, f] * food[diet.foods[s, f] * n_cells + c]
    return amount * trait_fit(trait, diet.best_trait[s, f], diet.trait_width[s, f])


@scalar
def choose_food(s, c, trait, n_cells, there, food, diet, seed, step, key):
    """The row of one food, drawn in proportion to its value; `there` is the sum of the values."""
    n = diet.n_foods[s]
    chosen = diet.foods[s, 0]
    if n > 1:
        left = uniform(seed, step, FEEDING, key, 0) * there
        for f in range(n):
            chosen = diet.foods[s, f]
            left -= value_of(s, f, c, trait, n_cells, food, diet)
            if left < 0.0:
                break
    return chosen


@kernel
def _graze(order, grazers, forage, diet, bodies, watches, grid, clock, bites):
    species, key, x, y, mass, energy, herd, traits = grazers
    food, efficiency, herd_size, activity, trait_column, bout = forage
    head_up, bite, demand = bites.head_up, bites.bite, bites.demand
    n_cells = grid.n_columns * grid.n_rows
    for k in numba.prange(len(order)):
        i = order[k]
        s = species[i]
        if watches[s]:
            head_up[i] = head_up_share(np.float64(herd_size[herd[i]]))
        if diet.n_foods[s] == 0 or not takes_turn(key[i], clock.step, bout):
            continue
        space_left = bodies.store_kj_kg[s] * mass[i] - energy[i]
        if space_left <= 0.0:
            continue
        c = layer_cell(x[i], y[i], grid)
        trait = np.float64(traits[i, trait_column]) if trait_column >= 0 else 0.0
        there = 0.0
        for f in range(diet.n_foods[s]):
            there += value_of(s, f, c, trait, n_cells, food, diet)
        if there <= 0.0:
            continue
        chosen = choose_food(s, c, trait, n_cells, there, food, diet, clock.seed, clock.step, key[i])
        rate = bodies.most_kj_h[s] * quarter_power(np.float64(mass[i])) * intake(there, diet.half_kj[s], diet.hill[s])
        rate *= vigour(clock.seed, key[i])
        wanted = rate * (1.0 - head_up[i]) / diet.usual_feeding[s] * activity[s] * clock.dt_h * bout
        wanted /= efficiency[chosen]
        bite[i] = chosen * n_cells + c
        demand[i] = min(wanted, space_left / efficiency[chosen])


@dataclass(frozen=True, kw_only=True)
class Graze(Rule):
    """An animal claims a bite of one food under it, chosen by preference and amount; what it can take follows Holling.

    Time with the head up is lost to feeding, against that in a herd of usual size; an animal whose store is full eats
    nothing. Of the same food some animals take more and some less, all their lives, so that in bad times not all
    starve at once. A heritable trait (a beak) may decide how well a food can be opened.
    """

    phase: ClassVar[str] = "decide"
    reads: ClassVar[frozenset[str]] = name_state(
        agents="species key x y mass energy herd traits head_up", herds="size", arrays="food"
    )
    writes: ClassVar[frozenset[str]] = name_state(agents="head_up bite demand")
    bout_h: float = 2.0
    "hours between two bites, which are the larger for it"
    trait: str = ""
    "heritable trait that decides which foods suit an animal, empty for none"

    def prepare(self, world: World) -> None:
        """Adds the bite and the time with the head up, and checks the trait."""
        if self.trait and self.trait not in world.traits:
            raise ValueError(f"trait {self.trait!r} is not among the world's traits; name it there")
        for column in (
            Column(name="bite", dtype=np.int64, help="claimed food and cell, -1 none", proposal=True, blank=NO_BITE),
            Column(name="head_up", dtype=np.float32, help="share of the step with the head up", proposal=True),
        ):
            world.agents.add_column(column)

    def apply(self, world: World) -> None:
        """Claims the bites of the animals whose turn it is."""
        a, p = world.agents, world.parameters
        forage = Forage(
            food=world.arrays.food.ravel(),
            efficiency=p.foods.efficiency,
            herd_size=world.herds.size,
            activity=activity_now(world),
            trait_column=world.traits.index(self.trait) if self.trait else -1,
            bout=world.steps_of(self.bout_h),
        )
        _graze(
            world.cells.order,
            a.view(Grazers),
            forage,
            p.diet,
            p.bodies,
            p.hunting.watches,
            layer_grid(world),
            world.clock,
            a.view(Bites),
        )


class Eaters(NamedTuple):
    """The columns of animals that eating reads and changes."""

    species: np.ndarray
    bite: np.ndarray
    energy: np.ndarray


@serial
def _swallow(order, eaters, granted, efficiency, n_cells, dung, is_dung_left, eaten):
    """Turns what was granted into stores and dung; returns the kilojoules that neither holds."""
    species, bite, energy = eaters
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
        if is_dung_left[f]:
            dung[c] += waste
        else:
            lost += waste
    return lost


@dataclass(frozen=True, kw_only=True)
class Eat(Rule):
    """Animals that claim the same food in the same cell share it in proportion to claims; the rest becomes dung."""

    phase: ClassVar[str] = "resolve"
    reads: ClassVar[frozenset[str]] = name_state(
        agents="species energy bite demand", arrays="food", tallies="grazed_kj energy_kj"
    )
    writes: ClassVar[frozenset[str]] = name_state(agents="energy won", arrays="food", tallies="grazed_kj energy_kj")

    def prepare(self, world: World) -> None:
        """Adds the tally of what was eaten [s, l]."""
        world.add_tally("grazed_kj", (len(world.species), len(world.parameters.foods.names)), np.float64)

    def apply(self, world: World) -> None:
        """Shares out the food and feeds the animals."""
        a, p, food = world.agents, world.parameters, world.arrays.food
        flat, scale = food.reshape(-1), p.bite_parts
        # `share_supply` counts in parts of a millionth: small animals' bites are counted in smaller units.
        granted = np.zeros(a.n)
        asked = a.demand[: a.n] * scale if scale != 1 else a.demand[: a.n]
        supply = np.maximum(flat, 0.0) * scale if scale != 1 else np.maximum(flat, 0.0)
        taken = share_supply(world, a.bite[: a.n], asked, supply, granted)
        if scale != 1:
            taken, granted = taken / scale, granted / scale
        flat -= taken
        # Rounding may leave a trace below zero.
        np.maximum(flat, 0.0, out=flat)
        dung = food_index(world, "dung")
        lost = _swallow(
            world.cells.order,
            a.view(Eaters),
            granted,
            p.foods.efficiency,
            food[0].size,
            food[max(dung, 0)].reshape(-1),
            p.foods.is_plant & (dung >= 0),
            world.tallies.grazed_kj,
        )
        a.won[: a.n] = granted
        accounts(world)[DECAYED] += lost
