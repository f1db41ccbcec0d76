"""Animals that come into the world: founders, those brought in by a scenario, and immigrants from beyond the borders.

Shape suffixes: n animals, h herds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.parameters import LifeHistory
from linnaea.twin.engine.rng import FOUNDING, MATING, MIGRATION, PLACING, SEX, normals, uniforms
from linnaea.twin.engine.world import Rule, World, name_state
from linnaea.twin.rules.energy_budget import INTRODUCED, accounts, animal_kj
from linnaea.twin.rules.groups import is_taken
from linnaea.twin.rules.mortality import death_rate
from linnaea.twin.rules.reproduction import FEMALE, find_subordinates


def introduce(
    world: World,
    name: str,
    count: int,
    *,
    x: float | np.ndarray | None = None,
    y: float | np.ndarray | None = None,
    radius_m: float = 0.0,
    herd_size: int = 0,
) -> np.ndarray:
    """Brings `count` animals of a species into the world, in herds of its size or of `herd_size`: their slots.

    They stand around (x, y), each herd around its own place where these are arrays [h], or all over the ground. Raise
    ValueError for an unknown species or a place outside the world.
    """
    if name not in world.species:
        raise ValueError(f"species {name!r} is not in the world; it has {', '.join(world.species)}")
    if count < 1:
        return np.zeros(0, np.int64)
    _check_inside(world, x, y)
    kind = world.species.index(name)
    slots = world.agents.add(count, species=kind)
    _found_herds(world, slots, kind, x, y, radius_m, herd_size)
    _found_bodies(world, slots, kind)
    _found_pregnancies(world, slots, kind)
    _found_traits(world, slots, kind)
    accounts(world)[INTRODUCED] += animal_kj(world, slots).sum()
    world.add_tally("introduced", (len(world.species),))[kind] += count
    return slots


def _check_inside(world: World, x: float | np.ndarray | None, y: float | np.ndarray | None) -> None:
    space = world.space
    if any(
        at is not None and not np.all((np.asarray(at) >= 0) & (np.asarray(at) <= length))
        for at, length in ((x, space.width_m), (y, space.height_m))
    ):
        raise ValueError(f"({x}, {y}) lies outside the ground of {space.width_m:g} by {space.height_m:g} metres")


def _found_herds(world: World, slots: np.ndarray, kind: int, x, y, radius_m: float, herd_size: int) -> None:
    """Puts new animals into herds, at places around the centres of these, with random headings."""
    a, groups, space = world.agents, world.parameters.groups, world.space
    keys, seed, when = a.key[slots], world.seed, world.step
    group = np.arange(len(slots)) // (herd_size or max(1, round(groups.herd_size[kind])))
    leaders = keys[np.unique(group, return_index=True)[1]]
    centre = _draw_centres(world, leaders, x, y, radius_m, kind)
    herds = world.herds.add(leaders, np.full(len(leaders), kind), centre)
    a.herd[slots] = herds[group]
    spread = groups.herd_spacing_m[kind] * math.sqrt(groups.herd_size[kind])
    for axis, column, length in ((0, a.x, space.width_m), (1, a.y, space.height_m)):
        at = centre[group, axis] + spread * (uniforms(seed, when, PLACING, keys, 2 + axis) - 0.5)
        column[slots] = np.clip(at, 0, length * (1 - 1e-6))
    a.home_x[slots], a.home_y[slots] = centre[group, 0], centre[group, 1]
    angle = 2 * math.pi * uniforms(seed, when, FOUNDING, keys, 0)
    a.dir_x[slots], a.dir_y[slots] = np.cos(angle), np.sin(angle)


def _found_bodies(world: World, slots: np.ndarray, kind: int) -> None:
    """Gives new animals sex, age, mass and a store that is half full or more."""
    a, p, seed, when = world.agents, world.parameters, world.seed, world.step
    bodies, keys = p.bodies, a.key[slots]
    a.sex[slots] = uniforms(seed, when, SEX, keys) < 0.5
    age_h = draw_ages(uniforms(seed, when, FOUNDING, keys, 1), p.life, kind)
    if p.hunting.hunts[kind]:
        # Cubs that nobody feeds would starve: founders can hunt.
        age_h = np.maximum(age_h, 0.8 / bodies.growth_h[kind])
    a.born_h[slots] = world.now_h - age_h
    share = bodies.young_kg[kind] / bodies.adult_kg[kind]
    grown = 1 - (1 - share) * np.exp(-bodies.growth_h[kind] * age_h)
    a.mass[slots] = bodies.adult_kg[kind] * grown
    fill = 0.5 + 0.4 * uniforms(seed, when, FOUNDING, keys, 2)
    a.energy[slots] = fill * bodies.store_kj_kg[kind] * a.mass[slots]


def _found_traits(world: World, slots: np.ndarray, kind: int) -> None:
    """Draws the heritable traits of new animals: pairs of columns, phenotype and breeding value."""
    a, traits, seed, when = world.agents, world.parameters.traits, world.seed, world.step
    keys = a.key[slots]
    for trait in range(0, len(world.traits), 2):
        value = normals(seed, when, FOUNDING, keys, 3 + trait) * traits.additive_sd[kind, trait // 2]
        a.traits[slots, trait + 1] = traits.mean[kind, trait // 2] + value
        environment = normals(seed, when, FOUNDING, keys, 4 + trait) * traits.rest_sd[kind, trait // 2]
        a.traits[slots, trait] = a.traits[slots, trait + 1] + environment


def _draw_centres(world: World, keys: np.ndarray, x, y, radius_m: float, kind: int) -> np.ndarray:
    """Centres of new herds [h, 2]: around a place, or over the whole ground, one to a square, so that all have room."""
    space = world.space
    u, v, order = (uniforms(world.seed, world.step, PLACING, keys, draw) for draw in (10, 11, 12))
    if x is not None and y is not None:
        angle, far = 2 * math.pi * u, radius_m * np.sqrt(v)
        places = np.stack([x + far * np.cos(angle), y + far * np.sin(angle)], 1)
        return np.clip(places, 0, (space.width_m * (1 - 1e-6), space.height_m * (1 - 1e-6)))
    movement, count = world.parameters.movement, len(keys)
    # Herds that drink choose among three times the squares that they need.
    wanted = count * (3 if world.parameters.bodies.drink_every_h[kind] else 1)
    n_columns = max(1, math.ceil(math.sqrt(wanted * space.width_m / space.height_m)))
    n_rows = math.ceil(wanted / n_columns)
    # Not every square is needed: a random choice of them, in random order.
    squares = uniforms(world.seed, world.step, PLACING, np.arange(n_rows * n_columns, dtype=np.uint64), 13 + kind)
    drink_km = movement.drink_km[kind]
    if drink_km:
        squares *= np.exp(-_to_water(world, n_rows, n_columns) / drink_km * 3)
        # The best come first.
        squares = -squares
    square = np.argsort(squares, kind="stable")[:count][np.argsort(np.argsort(order, kind="stable"), kind="stable")]
    row, column = np.divmod(square, n_columns)
    return np.stack(
        [(column + 0.2 + 0.6 * u) / n_columns * space.width_m, (row + 0.2 + 0.6 * v) / n_rows * space.height_m], 1
    )


def _found_pregnancies(world: World, slots: np.ndarray, kind: int) -> None:
    """Makes grown females among new animals pregnant, as many as would be, due in the months of birth."""
    a, life = world.agents, world.parameters.life
    months = np.flatnonzero(life.birth_season[kind])
    u, v, w = (uniforms(world.seed, world.step, MATING, a.key[slots], draw) for draw in (1, 2, 3))
    month = months[(v * len(months)).astype(np.int64)]
    due_h = ((month + w) / 12 * HOURS_A_YEAR - world.now_h) % HOURS_A_YEAR + world.now_h
    grown = (a.sex[slots] == FEMALE) & (world.now_h - a.born_h[slots] >= life.mature_h[kind])
    carries = grown & (u < life.births_per_y[kind]) & (due_h < world.now_h + life.gestation_h[kind])
    a.due_h[slots[carries]] = due_h[carries]
    a.due_h[find_subordinates(world, slots)] = 0.0


def _to_water(world: World, n_rows: int, n_columns: int) -> np.ndarray:
    """Kilometres to water [n_rows · n_columns] from the centres of an even grid of squares."""
    far = world.fields.to_water_km
    row = ((np.arange(n_rows) + 0.5) / n_rows * far.shape[0]).astype(np.int64)
    column = ((np.arange(n_columns) + 0.5) / n_columns * far.shape[1]).astype(np.int64)
    return far[np.ix_(row, column)].ravel()


def draw_ages(u: np.ndarray, life: LifeHistory, kind: int) -> np.ndarray:
    """Ages in hours [n] for uniform numbers, as of a population that neither grows nor shrinks."""
    life_h = life.life_h[kind]
    ages = np.linspace(0, 1.1 * life_h, 400)
    rate = [
        death_rate.py_func(age, HOURS_A_YEAR, life_h, life.young_death_h[kind], life.adult_death_h[kind])
        for age in ages
    ]
    alive = np.exp(-np.concatenate([[0], np.cumsum(rate[1:]) * (ages[1] - ages[0])]))
    share = np.cumsum(alive) / alive.sum()
    return np.interp(u, share, ages)


@dataclass(frozen=True, kw_only=True)
class Immigrate(Rule):
    """Groups come from beyond the borders where a species has become rare: the world is a part of a larger one.

    Into a world with room for half a group they come half as often. They turn away from a territory that is taken.

    Hook of scenarios: `world.arrays.arrivals_per_y` [s]; 0 closes the border to a species.
    """

    phase: ClassVar[str] = "birth"
    stored_name: ClassVar[str] = "Arrive"
    reads: ClassVar[frozenset[str]] = name_state(
        agents="*", herds="*", fields="to_water_km", arrays="arrivals_per_y", tallies="energy_kj introduced"
    )
    writes: ClassVar[frozenset[str]] = name_state(agents="*", herds="*", tallies="energy_kj introduced")
    every_h: float = 240.0
    "hours between two chances of an arrival"

    def prepare(self, world: World) -> None:
        """Adds the rates of arrival."""
        world.add_array("arrivals_per_y", world.parameters.life.arrivals_per_y.copy())

    def apply(self, world: World) -> None:
        """Brings in the groups that arrive, when it is due."""
        elapsed = world.due(self.every_h)
        if not elapsed or not world.step:
            return
        rate, usual = world.arrays.arrivals_per_y, world.parameters.life.usual_number
        herd_size, counts = world.parameters.groups.herd_size, world.counts()
        for kind in np.flatnonzero(rate > 0):
            rare = max(0.0, 1 - counts[kind] / usual[kind]) * min(1.0, usual[kind] / herd_size[kind])
            u, v, w = (
                uniforms(world.seed, world.step, MIGRATION, np.array([kind], np.uint64), 100 + q)[0] for q in range(3)
            )
            if u >= -math.expm1(-rate[kind] * rare * elapsed / HOURS_A_YEAR):
                continue
            space, side = world.space, int(v * 4)
            x = w * space.width_m if side < 2 else (0.0 if side == 2 else space.width_m)
            y = w * space.height_m if side >= 2 else (0.0 if side == 0 else space.height_m)
            if not is_taken(world, kind, x, y):
                size = max(2, round(herd_size[kind]))
                introduce(world, world.species[kind], size, x=x, y=y, herd_size=size)
