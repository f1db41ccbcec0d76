"""Plants grow, wither and burn; dead matter decays; termites, dung beetles and similar animals live as pools.

All are layers of one stack, `world.arrays.food` [l, r, c] in kilojoules a cell: l foods, r rows, c columns. The names
of the foods are `world.parameters.foods.names`, and every layer is also `world.fields[name]` (the same memory).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from linnaea.twin.data.landscape import get_month
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.jit import scalar, serial
from linnaea.twin.engine.layers import layer_grid
from linnaea.twin.engine.rng import FIRE, uniform
from linnaea.twin.engine.world import Rule, World, name_state
from linnaea.twin.rules.energy_budget import BURNED, DECAYED, GROWN, RESPIRED, accounts

GRASS, WOODY, SEED, DEAD, POOL = range(5)
KINDS = ("grass", "woody", "seed", "dead", "animal")
BOLTZMANN_EV = 8.617e-5
USUAL_K = 293.15
ENZYME_EV = 0.65
"activation energy of metabolism in metabolic theory, electronvolts (unverified)"
PRODUCTION_SHARE = 0.1
"share of a pool's food that becomes its body (unverified)"
RESPIRED_SHARE = 0.35
"share of a pool's food that it respires while it eats; the rest goes to decay (unverified)"
FUEL_POWER = 4.0
"how sharply more fuel carries a fire on (unverified)"


def warmth(temperature_c):
    """Rate of cold-blooded life against that at 20 °C: exp(E/k (1/293 − 1/T)), after metabolic theory."""
    return np.exp(ENZYME_EV / BOLTZMANN_EV * (1 / USUAL_K - 1 / (np.asarray(temperature_c) + 273.15)))


def food_index(world: World, name: str) -> int:
    """Row of a food in the stack, -1 where the world has none of that name."""
    names = world.parameters.foods.names.tolist()
    return names.index(name) if name in names else -1


def food_kg_km2(world: World, name: str) -> np.ndarray:
    """Biomass of a food, kg/km2 [r, c]. Raise ValueError for an unknown name."""
    index, foods = food_index(world, name), world.parameters.foods
    if index < 0:
        raise ValueError(f"food {name!r} is not in the world; it has {', '.join(foods.names)}")
    grid = layer_grid(world)
    return world.arrays.food[index] / foods.kj_kg[index] / (grid.cell_w * grid.cell_h / 1e6)


def logistic(biomass, capacity, growth):
    """Biomass after logistic growth with rate times time `growth`, exactly: K B e^g / (K + B (e^g − 1))."""
    factor = np.exp(growth)
    return capacity * biomass * factor / (capacity + biomass * (factor - 1))


@dataclass(frozen=True, kw_only=True)
class Grow(Rule):
    """Plants grow logistically, held back by drought, cold and season; they return from a reserve in roots and seeds.

    Seeds fall from plants that nothing here eats, so their number depends on rain and season, not on how many lie
    there; the ground holds no more than its capacity. What withers becomes litter; withered seeds decay, and so does
    all that withers in a world without litter.
    """

    phase: ClassVar[str] = "environment"
    reads: ClassVar[frozenset[str]] = name_state(
        fields="moisture_mm growth_factor", arrays="food capacity warming_c", tallies="energy_kj"
    )
    writes: ClassVar[frozenset[str]] = name_state(arrays="food", tallies="energy_kj")
    leaves_out: ClassVar[tuple[str, ...]] = (
        "The plants that bear seeds are not simulated: a drought ends with its last dry day.",
        "Grass and trees do not compete: neither light nor water that one takes is missing to the other.",
    )
    every_h: float = 24.0
    "hours between two times of growing"
    season: tuple[float, ...] = (1.0,) * 12
    "share of the greatest growth that light and warmth allow in each month"
    thirst_per_c: float = 0.05
    "more rain that plants need for each degree of warming, as a share"

    def apply(self, world: World) -> None:
        """Lets all plants grow and wither when it is due."""
        elapsed = world.due(self.every_h)
        if not elapsed:
            return
        foods, food = world.parameters.foods, world.arrays.food
        books, litter = accounts(world), food_index(world, "litter")
        moisture = world.fields.moisture_mm
        drier = 1 + self.thirst_per_c * world.arrays.warming_c[0]
        light = self.season[get_month(world.now_h)] * world.fields.growth_factor
        for index in np.flatnonzero(foods.kind <= SEED):
            capacity, stock = world.arrays.capacity[index], food[index]
            half = foods.moist_half_mm[index] * drier
            wet = moisture / (moisture + half) if half > 0 else 1.0
            growth = foods.growth_h[index] * wet * light * elapsed
            if foods.kind[index] == SEED:
                grown = (capacity - stock) * -np.expm1(-growth)
            else:
                start = np.maximum(stock, foods.reserve[index] * capacity)
                grown = logistic(start, np.maximum(capacity, 1e-12), growth) - start
            # Above the capacity (after it fell) nothing grows; withering brings it down.
            grown = np.maximum(grown, 0.0)
            withered = stock * -math.expm1(-foods.wither_h[index] * elapsed)
            stock += grown - withered
            books[GROWN] += grown.sum()
            if litter >= 0 and foods.kind[index] != SEED:
                food[litter] += withered
            else:
                books[DECAYED] += withered.sum()


@dataclass(frozen=True, kw_only=True)
class Decay(Rule):
    """Dung, litter and carcasses decay, faster where it is wet; some dead matter comes in from outside."""

    phase: ClassVar[str] = "environment"
    reads: ClassVar[frozenset[str]] = name_state(fields="moisture_mm", arrays="food capacity", tallies="energy_kj")
    writes: ClassVar[frozenset[str]] = name_state(arrays="food", tallies="energy_kj")
    every_h: float = 24.0
    "hours between two times of decay"
    dry_share: float = 0.3
    "speed of decay in perfect drought, as a share of that when wet"
    half_mm: float = 40.0
    "rain of a month at the middle between the two"

    def apply(self, world: World) -> None:
        """Lets all dead matter decay when it is due."""
        elapsed = world.due(self.every_h)
        if not elapsed:
            return
        foods, food, moisture = world.parameters.foods, world.arrays.food, world.fields.moisture_mm
        speed = self.dry_share + (1 - self.dry_share) * moisture / (moisture + self.half_mm)
        for index in np.flatnonzero(foods.kind == DEAD):
            lost = food[index] * -np.expm1(-foods.growth_h[index] * speed * elapsed)
            came = foods.inflow_h[index] * elapsed * world.arrays.capacity[index]
            food[index] += came - lost
            accounts(world)[DECAYED] += lost.sum()
            accounts(world)[GROWN] += came.sum()


@dataclass(frozen=True, kw_only=True)
class BiomassPools(Rule):
    """Animals too numerous to count, as biomass in each cell, eat dead matter or plants, respire and multiply.

    With food R and biomass B a pool takes in proportion to R / (R + R0 B/B0), so that at its usual food R0 and
    biomass B0 it neither grows nor shrinks; where it is gone, a little comes in from outside.
    """

    phase: ClassVar[str] = "environment"
    stored_name: ClassVar[str] = "Pools"
    reads: ClassVar[frozenset[str]] = name_state(fields="temperature_c", arrays="food capacity", tallies="energy_kj")
    writes: ClassVar[frozenset[str]] = name_state(arrays="food", tallies="energy_kj")
    every_h: float = 24.0
    "hours between two meals"
    refuge: float = 0.01
    "share of the usual biomass below which a pool loses nothing"

    def apply(self, world: World) -> None:
        """Feeds all pools and lets them respire when it is due."""
        elapsed = world.due(self.every_h)
        if not elapsed:
            return
        p, food = world.parameters, world.arrays.food
        foods, books = p.foods, accounts(world)
        speed = warmth(world.fields.temperature_c) / warmth(p.usual_temperature_c)
        for index in np.flatnonzero(foods.kind == POOL):
            stock, usual = food[index], world.arrays.capacity[index]
            weights = foods.pool_diet[index]
            rate = foods.growth_h[index] * speed * elapsed
            eaten_rows = np.flatnonzero(weights > 0)
            there = np.tensordot(weights[eaten_rows], food[eaten_rows], 1)
            enough = foods.pool_usual_food_kj_km2[index] * p.cell_km2
            share = there / (there + enough * stock / usual + 1e-30)
            want = 2 * rate / PRODUCTION_SHARE * share * stock
            # Never more than a tenth of what lies there in one go.
            want = np.minimum(want, 0.1 * there)
            for row in eaten_rows:
                part = want * weights[row] * food[row] / np.maximum(there, 1e-30)
                part = np.minimum(part, food[row])
                food[row] -= part
                stock += PRODUCTION_SHARE * part
                books[RESPIRED] += RESPIRED_SHARE * part.sum()
                books[DECAYED] += ((1 - PRODUCTION_SHARE - RESPIRED_SHARE) * part).sum()
            lost = np.clip(stock - self.refuge * usual, 0.0, None) * -np.expm1(-rate)
            stock -= lost
            books[RESPIRED] += lost.sum()


@scalar
def ease_of_fire(fuel, half):
    """How readily fire lives on fuel, 0 to 1: 0.5 at the amount `half`, 0.06 at half of that, 0.94 at twice as much."""
    share = (fuel / half) ** FUEL_POWER
    return share / (1.0 + share)


@scalar
def neighbour_of(row, column, side):
    """The cell on one side of another: 0 north, 1 south, 2 east, 3 west; it may lie outside the layer."""
    if side < 2:
        return row + 1 - 2 * side, column
    return row, column + 5 - 2 * side


@scalar
def can_burn(row, column, dry, burning):
    """Whether a cell lies within the layer, is dry and does not burn yet."""
    n_rows, n_columns = dry.shape
    inside = 0 <= row < n_rows and 0 <= column < n_columns
    return inside and dry[row, column] and not burning[row, column]


@serial
def _burn(fuel, dry, factor, ignition, half, spread, seed, step, burning, queue):
    """Marks the cells [r, c] that burn today: lightning and people light them, fire spreads to neighbours with fuel."""
    n_rows, n_columns = fuel.shape
    n = 0
    for c in range(n_rows * n_columns):
        r, q = c // n_columns, c % n_columns
        if not dry[r, q]:
            continue
        lit = ignition * factor[r, q] * ease_of_fire(fuel[r, q], half)
        if uniform(seed, step, FIRE, c, 0) < lit:
            burning[r, q] = True
            queue[n] = c
            n += 1
    done = 0
    while done < n:
        c = queue[done]
        done += 1
        for side in range(4):
            r, q = neighbour_of(c // n_columns, c % n_columns, side)
            if not can_burn(r, q, dry, burning):
                continue
            chance = spread * factor[r, q] * ease_of_fire(fuel[r, q], half)
            if uniform(seed, step, FIRE, c, 1 + side) < chance:
                burning[r, q] = True
                queue[n] = r * n_columns + q
                n += 1
    return n


@dataclass(frozen=True, kw_only=True)
class Burn(Rule):
    """In the dry season grass burns where it stands thick, the fire spreads, and takes a part of the woody plants.

    Fire goes from a cell to its neighbours by chance, more readily the more fuel stands there. Grazers that take the
    fuel therefore break fires up: below a threshold of connections fires stay small (percolation).
    """

    phase: ClassVar[str] = "environment"
    reads: ClassVar[frozenset[str]] = name_state(
        fields="moisture_mm temperature_c fire_factor burned_times", arrays="food", tallies="energy_kj"
    )
    writes: ClassVar[frozenset[str]] = name_state(fields="burned_times", arrays="food", tallies="energy_kj")
    leaves_out: ClassVar[tuple[str, ...]] = (
        "Fires kill no animals, and animals do not flee from them; they lose the food that burnt.",
        "Wind, slope and the hour do nothing to a fire; it burns out within a step.",
    )
    every_h: float = 24.0
    "hours between two chances of fire"
    ignition_per_km2_y: float = 0.02
    "fires lit a year on a square kilometre of dry ground with plenty of fuel"
    dry_mm_per_c: float = 2.0
    "moisture below which it burns, millimetres of rain a month for each degree, as in climate diagrams (unverified)"
    fuel_kg_km2: float = 200_000.0
    "dry mass of fuel at which fire is lit and spreads half as readily as on plenty (unverified)"
    spread: float = 0.9
    "chance that a fire goes to the next cell where there is plenty of fuel (unverified)"

    def prepare(self, world: World) -> None:
        """Adds the layer of fires since the start, and checks the parameters."""
        if not self.ignition_per_km2_y >= 0:
            raise ValueError(f"ignition_per_km2_y: {self.ignition_per_km2_y} must be 0 (no fire) or a number above")
        if not self.fuel_kg_km2 > 0:
            raise ValueError(f"fuel_kg_km2: {self.fuel_kg_km2} must be above 0 kilograms on a square kilometre")
        world.add_field("burned_times", np.zeros(world.fields.elevation_m.shape))

    def apply(self, world: World) -> None:
        """Lights fires when it is due, and takes what they burn."""
        elapsed = world.due(self.every_h)
        if not elapsed or self.ignition_per_km2_y == 0:
            return
        foods, food, fields = world.parameters.foods, world.arrays.food, world.fields
        area = world.parameters.cell_km2
        fuel = sum(food[i] / foods.kj_kg[i] for i in np.flatnonzero(foods.is_fuel)) / area
        if np.isscalar(fuel):
            return
        dry = fields.moisture_mm < self.dry_mm_per_c * fields.temperature_c
        burning = np.zeros(dry.shape, bool)
        chance = self.ignition_per_km2_y * area * elapsed / HOURS_A_YEAR
        queue = np.zeros(dry.size, np.int64)
        n_burning = _burn(
            fuel,
            dry,
            fields.fire_factor,
            chance,
            self.fuel_kg_km2,
            self.spread,
            world.seed64,
            world.step,
            burning,
            queue,
        )
        if not n_burning:
            return
        fields.burned_times += burning
        for index in np.flatnonzero(foods.burns > 0):
            lost = food[index] * foods.burns[index] * burning
            food[index] -= lost
            accounts(world)[BURNED] += lost.sum()
