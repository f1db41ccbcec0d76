"""Where herds want to go: what hunters know of their land, and the choice of a goal.

Shape suffixes: m live animals in the order of the cells, h herds, s species, l foods, k cells of the layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numba
import numpy as np

from linnaea.twin.engine.jit import kernel, scalar, serial
from linnaea.twin.engine.layers import fenced, layer_cell, layer_grid
from linnaea.twin.engine.rng import MIGRATION, takes_turn, uniform, uniform2
from linnaea.twin.engine.world import Rule, World, name_state
from linnaea.twin.rules.motion import arrive

CANDIDATES = 8
"places that a herd looks at when it chooses a goal"
GREEN_HALF_MM = 40.0
"moisture at which a place is half as green as it can be, millimetres of rain a month (unverified)"


class Places(NamedTuple):
    """Where the animals of each species stand."""

    species: np.ndarray
    x: np.ndarray
    y: np.ndarray


@serial
def _count_by_cell(order, animals, grid, counts):
    counts[:] = 0.0
    for k in range(len(order)):
        i = order[k]
        counts[animals.species[i], layer_cell(animals.x[i], animals.y[i], grid)] += 1.0


@dataclass(frozen=True, kw_only=True)
class Census(Rule):
    """What hunters know of their land: how many animals of each species are in each cell of the layers, once a day."""

    phase: ClassVar[str] = "index"
    reads: ClassVar[frozenset[str]] = name_state(agents="species x y")
    writes: ClassVar[frozenset[str]] = name_state(arrays="census")
    every_h: float = 24.0
    "hours between two counts"

    def prepare(self, world: World) -> None:
        """Adds the counts [s, k]."""
        world.add_array("census", np.zeros((len(world.species), world.fields.elevation_m.size)))

    def apply(self, world: World) -> None:
        """Counts, when a count is due."""
        if world.due(self.every_h):
            _count_by_cell(world.cells.order, world.agents.view(Places), layer_grid(world), world.arrays.census)


class Attractions(NamedTuple):
    """What makes a cell of the layers attractive."""

    food: np.ndarray
    "kilojoules [l, k]"
    moisture: np.ndarray
    "millimetres of rain a month [k]"
    census: np.ndarray
    "animals [s, k]"
    to_water: np.ndarray
    "kilometres [k]"


@scalar
def rate_cell(s, c, for_prey, layers, diet, movement, hunting):
    """How good a cell is for a species, 0 to 2: food as its intake sees it, greenness, prey, and water within reach."""
    there = 0.0
    for f in range(diet.n_foods[s]):
        there += diet.weight[s, f] * layers.food[diet.foods[s, f], c]
    score = 0.0
    if diet.n_foods[s] > 0:
        moisture, green = layers.moisture[c], movement.green[s]
        score = there / (there + diet.half_kj[s]) * (1.0 - green + green * moisture / (moisture + GREEN_HALF_MM))
    if for_prey and hunting.usual_prey[s] > 0.0:
        prey = 0.0
        for p in range(len(layers.census)):
            if hunting.prey_weight[s, p] > 0.0:
                prey += hunting.prey_weight[s, p] * layers.census[p, c]
        score += prey / (prey + hunting.usual_prey[s])
    return score * math.exp(-layers.to_water[c] / movement.drink_km[s]) if movement.drink_km[s] > 0.0 else score


@kernel
def _choose_goals(herds, layers, layer_cells, diet, movement, hunting, resident, fences, hunger, beyond, ground, clock):
    goal = herds.goal
    for h in numba.prange(len(herds.species)):
        s = herds.species[h]
        if s < 0 or herds.size[h] == 0 or not takes_turn(herds.key[h], clock.step, movement.plan_steps[s]):
            continue
        at_x, at_y = herds.centre[h, 0], herds.centre[h, 1]
        base_x, base_y = at_x, at_y
        if resident[s]:
            base_x, base_y = herds.home[h, 0], herds.home[h, 1]
        best_x, best_y, far, for_prey = goal[h, 0], goal[h, 1], movement.range_m[s], True
        if hunting.hunts[s] and herds.fill[h] < hunger:
            far *= beyond
            # At its goal and still hungry: what holds it there is food that lies there, not prey that it did not get.
            for_prey = math.hypot(best_x - at_x, best_y - at_y) > movement.goal_m[s] + hunting.search_m[s]
        c = layer_cell(best_x, best_y, layer_cells)
        # The present goal counts a tenth more, so that herds do not dither.
        best = 1.1 * rate_cell(s, c, for_prey, layers, diet, movement, hunting)
        # A herd knows the fences of its land: the fewer animals pass one, the less often it plans across it.
        venture = 0.0 if len(fences) == 0 else uniform(clock.seed, clock.step, MIGRATION, herds.key[h], CANDIDATES + 1)
        if fenced(at_x, at_y, best_x, best_y, fences, venture):
            best_x, best_y, best = at_x, at_y, 0.0
        for t in range(CANDIDATES):
            u, v = uniform2(clock.seed, clock.step, MIGRATION, herds.key[h], t)
            angle, distance = 2.0 * math.pi * u, far * math.sqrt(v)
            x, _ = arrive(base_x + distance * math.cos(angle), 0.0, ground.width, ground.torus)
            y, _ = arrive(base_y + distance * math.sin(angle), 0.0, ground.height, ground.torus)
            if fenced(at_x, at_y, x, y, fences, venture):
                continue
            score = rate_cell(s, layer_cell(x, y, layer_cells), True, layers, diet, movement, hunting)
            if score > best:
                best_x, best_y, best = x, y, score
        goal[h, 0], goal[h, 1] = best_x, best_y


@dataclass(frozen=True, kw_only=True)
class ChooseGoals(Rule):
    """Now and then a herd looks at places within its range and makes the best one its goal.

    Residents look around their home, free-ranging herds around where they stand. Free-ranging herds therefore follow
    the rain: migratory species weigh greenness more than the mass of old grass. Hungry hunters look farther, and do
    not stay where they hunted in vain. No herd plans a way that a fence bars, and it gives up a goal behind a new
    fence.
    """

    phase: ClassVar[str] = "index"
    stored_name: ClassVar[str] = "Plan"
    reads: ClassVar[frozenset[str]] = name_state(
        herds="key species home goal size centre fill",
        fields="moisture_mm to_water_km",
        arrays="food census fences",
    )
    writes: ClassVar[frozenset[str]] = name_state(herds="goal")
    leaves_out: ClassVar[tuple[str, ...]] = (
        "Herds look for a straight way only: they come around the end of a fence only if they come near it by chance.",
    )
    hunger: float = 0.6
    "filling of a group's stores, on average, below which hunters are hungry"
    beyond: float = 2.0
    "how far hungry hunters look, as a multiple of their range"

    def apply(self, world: World) -> None:
        """Chooses the goals of the herds whose turn it is."""
        arrays, fields, p = world.arrays, world.fields, world.parameters
        layers = Attractions(
            arrays.food.reshape(-1, fields.elevation_m.size),
            fields.moisture_mm.ravel(),
            arrays.census,
            fields.to_water_km.ravel(),
        )
        _choose_goals(
            world.herds.arrays,
            layers,
            layer_grid(world),
            p.diet,
            p.movement,
            p.hunting,
            p.groups.resident,
            arrays.fences,
            self.hunger,
            self.beyond,
            world.cells.grid,
            world.clock,
        )
