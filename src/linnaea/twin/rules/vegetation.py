"""Plants grow, wither and burn; dead matter decays; termites, dung beetles and their like live as pools.

All are layers of one stack, `World.arrays["food"]` [l, r, c] in kilojoules a cell: l foods, r rows, c columns. The names
of the foods stand in `World.parameters["food_names"]`, and every layer is also `World.fields[name]` (the same memory).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from linnaea.twin.data.landscape import month_of
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.jit import serial
from linnaea.twin.engine.layers import layer_grid
from linnaea.twin.engine.rng import FIRE, uniform
from linnaea.twin.engine.world import Rule, World
from linnaea.twin.rules.energy_budget import BURNED, DECAYED, GROWN, RESPIRED, accounts
from linnaea.twin.rules.weather import due

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
    """How much faster cold-blooded life runs than at 20 °C: exp(E/k (1/293 − 1/T)), 1 at 20 °C, after metabolic theory."""
    return np.exp(ENZYME_EV / BOLTZMANN_EV * (1 / USUAL_K - 1 / (np.asarray(temperature_c) + 273.15)))


def food_index(world: World, name: str) -> int:
    """Row of a food in the stack, -1 where the world has none of that name."""
    names = world.parameters["food_names"].tolist()
    return names.index(name) if name in names else -1


def food_kg_km2(world: World, name: str) -> np.ndarray:
    """Biomass of a food, kg/km2 [r, c]; ValueError for an unknown name."""
    index = food_index(world, name)
    if index < 0:
        raise ValueError(f"food {name!r} is not in the world; it has {', '.join(world.parameters['food_names'])}")
    _, _, side_w, side_h = layer_grid(world)
    return world.arrays["food"][index] / world.parameters["food_kj_kg"][index] / (side_w * side_h / 1e6)


def logistic(biomass, capacity, growth):
    """Biomass after logistic growth with rate times time `growth`, exactly: K B e^g / (K + B (e^g − 1))."""
    factor = np.exp(growth)
    return capacity * biomass * factor / (capacity + biomass * (factor - 1))


@dataclass(frozen=True, kw_only=True)
class Grow(Rule):
    """Plants grow logistically, held back by drought, cold and season; a reserve in roots and seeds lets them come back.

    Seeds fall from plants that nothing here eats, so how many fall hangs on rain and season, not on how many lie there;
    the ground holds no more than its capacity. What withers becomes litter (of seeds, and where the world has no litter,
    it decays).
    """

    phase: ClassVar[str] = "environment"
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
        elapsed = due(world, self.every_h)
        if not elapsed:
            return
        p, food, fields = world.parameters, world.arrays["food"], world.fields
        books, litter = accounts(world), food_index(world, "litter")
        moisture = fields["moisture_mm"]
        drier = 1 + self.thirst_per_c * world.arrays["warming_c"][0]
        light = self.season[month_of(world.now_h)] * fields["growth_factor"]
        for index in np.flatnonzero(p["food_kind"] <= SEED):
            capacity, stock = world.arrays["capacity"][index], food[index]
            half = p["food_moist_half_mm"][index] * drier
            wet = moisture / (moisture + half) if half > 0 else 1.0
            growth = p["food_growth_h"][index] * wet * light * elapsed
            if p["food_kind"][index] == SEED:
                grown = (capacity - stock) * -np.expm1(-growth)
            else:
                start = np.maximum(stock, p["food_reserve"][index] * capacity)
                grown = logistic(start, np.maximum(capacity, 1e-12), growth) - start
            # Above the capacity (after it fell) nothing grows; withering brings it down.
            grown = np.maximum(grown, 0.0)
            withered = stock * -math.expm1(-p["food_wither_h"][index] * elapsed)
            stock += grown - withered
            books[GROWN] += grown.sum()
            if litter >= 0 and p["food_kind"][index] != SEED:
                food[litter] += withered
            else:
                books[DECAYED] += withered.sum()


@dataclass(frozen=True, kw_only=True)
class Decay(Rule):
    """Dung, litter and carcasses decay, faster where it is wet; some dead matter comes in from outside."""

    phase: ClassVar[str] = "environment"
    every_h: float = 24.0
    "hours between two times of decay"
    dry_share: float = 0.3
    "speed of decay in perfect drought, as a share of that when wet"
    half_mm: float = 40.0
    "rain of a month at the middle between the two"

    def apply(self, world: World) -> None:
        elapsed = due(world, self.every_h)
        if not elapsed:
            return
        p, food, moisture = world.parameters, world.arrays["food"], world.fields["moisture_mm"]
        speed = self.dry_share + (1 - self.dry_share) * moisture / (moisture + self.half_mm)
        for index in np.flatnonzero(p["food_kind"] == DEAD):
            lost = food[index] * -np.expm1(-p["food_growth_h"][index] * speed * elapsed)
            came = p["food_inflow_h"][index] * elapsed * world.arrays["capacity"][index]
            food[index] += came - lost
            accounts(world)[DECAYED] += lost.sum()
            accounts(world)[GROWN] += came.sum()


@dataclass(frozen=True, kw_only=True)
class BiomassPools(Rule):
    """Animals too many to count, as biomass in each cell, eat dead matter or plants, respire and multiply.

    With food R and biomass B a pool takes in proportion to R / (R + R0 B/B0), so that at its usual food R0 and biomass B0 it
    neither grows nor shrinks; a little comes in from outside where it is gone.
    """

    phase: ClassVar[str] = "environment"
    stored_name: ClassVar[str] = "Pools"
    every_h: float = 24.0
    "hours between two meals"
    refuge: float = 0.01
    "share of the usual biomass below which a pool loses nothing"

    def apply(self, world: World) -> None:
        elapsed = due(world, self.every_h)
        if not elapsed:
            return
        p, food, books = world.parameters, world.arrays["food"], accounts(world)
        speed = warmth(world.fields["temperature_c"]) / warmth(p["usual_temperature_c"][0])
        for index in np.flatnonzero(p["food_kind"] == POOL):
            stock, usual = food[index], world.arrays["capacity"][index]
            weights = p["pool_diet"][index]
            rate = p["food_growth_h"][index] * speed * elapsed
            eaten_rows = np.flatnonzero(weights > 0)
            there = np.tensordot(weights[eaten_rows], food[eaten_rows], 1)
            enough = p["pool_usual_food_kj_km2"][index] * world.parameters["cell_km2"][0]
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


@serial
def _carried(fuel, half):
    """How readily fire lives on so much fuel, 0 to 1: a half at `half`, .06 at half of that, .94 at twice as much."""
    share = (fuel / half) ** FUEL_POWER
    return share / (1.0 + share)


@serial
def _burn(fuel, dry, factor, ignition, half, spread, seed, step, burning, queue):
    """Marks the cells [k] that burn today: lightning and people light them, fire goes to neighbours with enough fuel."""
    n_rows, n_columns = fuel.shape
    n = 0
    for c in range(n_rows * n_columns):
        r, q = c // n_columns, c % n_columns
        if not dry[r, q]:
            continue
        lit = ignition * factor[r, q] * _carried(fuel[r, q], half)
        if uniform(seed, step, FIRE, c, 0) < lit:
            burning[r, q] = True
            queue[n] = c
            n += 1
    done = 0
    while done < n:
        c = queue[done]
        done += 1
        r, q = c // n_columns, c % n_columns
        for side in range(4):
            r2 = r + (1 if side == 0 else -1 if side == 1 else 0)
            q2 = q + (1 if side == 2 else -1 if side == 3 else 0)
            if r2 < 0 or q2 < 0 or r2 >= n_rows or q2 >= n_columns or burning[r2, q2] or not dry[r2, q2]:
                continue
            chance = spread * factor[r2, q2] * _carried(fuel[r2, q2], half)
            if uniform(seed, step, FIRE, c, 1 + side) < chance:
                burning[r2, q2] = True
                queue[n] = r2 * n_columns + q2
                n += 1
    return n


@dataclass(frozen=True, kw_only=True)
class Burn(Rule):
    """In the dry season grass burns where it stands thick, the fire spreads, and takes a part of the woody plants.

    Fire goes from a cell to its neighbours by chance, more readily the more fuel stands there, so that grazers that take
    the fuel break fires up: below a threshold of connections they stay small (percolation).
    """

    phase: ClassVar[str] = "environment"
    leaves_out: ClassVar[tuple[str, ...]] = (
        "Fires kill no animals, and animals do not flee from them; they lose the food that burnt.",
        "Wind, slope and the hour do nothing to a fire; it burns out within a step.",
    )
    every_h: float = 24.0
    "hours between two looks for fire"
    ignition_per_km2_y: float = 0.02
    "fires lit a year on a square kilometre of dry ground with plenty of fuel"
    dry_mm_per_c: float = 2.0
    "moisture below which it burns, millimetres of rain a month for each degree, as climate diagrams count dry months (unverified)"
    fuel_kg_km2: float = 200_000.0
    "dry mass of what carries fire at which it is lit and spreads half as readily as on plenty (unverified)"
    spread: float = 0.9
    "chance that a fire goes to the next cell where there is plenty of fuel (unverified)"

    def prepare(self, world: World) -> None:
        if not self.ignition_per_km2_y >= 0:
            raise ValueError(
                f"ignition_per_km2_y: {self.ignition_per_km2_y} is below 0; give 0 for no fire or a number above"
            )
        if not self.fuel_kg_km2 > 0:
            raise ValueError(
                f"fuel_kg_km2: {self.fuel_kg_km2} is no mass of fuel; give kilograms on a square kilometre above 0"
            )
        world.add_field("burned_times", np.zeros(world.fields["elevation_m"].shape))

    def apply(self, world: World) -> None:
        elapsed = due(world, self.every_h)
        if not elapsed or self.ignition_per_km2_y == 0:
            return
        p, food, fields = world.parameters, world.arrays["food"], world.fields
        area = p["cell_km2"][0]
        fuel = sum(food[i] / p["food_kj_kg"][i] for i in np.flatnonzero(p["food_is_fuel"])) / area
        if np.isscalar(fuel):
            return
        dry = fields["moisture_mm"] < self.dry_mm_per_c * fields["temperature_c"]
        burning = np.zeros(dry.shape, bool)
        chance = self.ignition_per_km2_y * area * elapsed / HOURS_A_YEAR
        queue = np.zeros(dry.size, np.int64)
        if not _burn(
            fuel,
            dry,
            fields["fire_factor"],
            chance,
            self.fuel_kg_km2,
            self.spread,
            world.seed64,
            world.step,
            burning,
            queue,
        ):
            return
        fields["burned_times"] += burning
        for index in np.flatnonzero(p["food_burns"] > 0):
            lost = food[index] * p["food_burns"][index] * burning
            food[index] -= lost
            accounts(world)[BURNED] += lost.sum()
