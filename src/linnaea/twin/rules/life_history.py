"""Life histories: ageing, death, mating, birth, inheritance, and newcomers from beyond the borders.

Shape suffixes: n slots, m live animals in the order of the cells, s species, t heritable traits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numba
import numpy as np

from linnaea.twin.engine.agents import HOURS_A_YEAR, Column
from linnaea.twin.engine.jit import kernel, scalar
from linnaea.twin.engine.layers import layer_cell, layer_grid
from linnaea.twin.engine.rng import (
    BIRTH,
    DEATH,
    FOUNDING,
    INHERITANCE,
    MATING,
    MIGRATION,
    PLACING,
    SEX,
    normals,
    uniform,
    uniform2,
    uniforms,
)
from linnaea.twin.engine.world import CAUSE, Rule, World
from linnaea.twin.rules.energy_budget import INTRODUCED, REMOVED, TISSUE_KJ_PER_KG, accounts, animal_kj
from linnaea.twin.rules.groups import add_herds, is_taken, most_adults
from linnaea.twin.rules.weather import due

_AGE, _BACKGROUND, _POACHING = CAUSE["age"], CAUSE["background"], CAUSE["poaching"]
FEMALE, MALE = 0, 1
NEWBORN_STORE = 0.5
"share of a full store that a young begins with"


@scalar
def death_rate(age_h, year_h, life_h, young, adult):
    """Deaths per hour of other causes than hunger and predators: of the first year, of adults, and rising in old age."""
    rate = young if age_h < year_h else adult
    old = age_h / life_h
    if old > 0.5:
        # About nine in ten that come so far are gone at the table's life span.
        rate += 20.0 / life_h * old**12
    return rate


@kernel
def _age(
    order,
    species,
    key,
    x,
    y,
    born_h,
    now_h,
    every,
    day_h,
    young,
    adult,
    life_h,
    poached,
    where,
    grid,
    seed,
    step,
    dying,
):
    n_columns, n_rows, cell_w, cell_h = grid
    for k in numba.prange(len(order)):
        i = order[k]
        # Each animal's day begins at its own hour.
        if (np.int64(key[i] % np.uint64(1 << 20)) + step) % every != 0 or dying[i] != 0:
            continue
        s = species[i]
        age = now_h - born_h[i]
        natural = death_rate(age, HOURS_A_YEAR, life_h[s], young[s], adult[s])
        hunted = 0.0
        if poached[s] > 0.0:
            hunted = poached[s] * where[layer_cell(x[i], y[i], cell_w, cell_h, n_columns, n_rows)]
        u, v = uniform2(seed, step, DEATH, key[i], 0)
        if u < 1.0 - math.exp(-(natural + hunted) * day_h):
            if v * (natural + hunted) < hunted:
                dying[i] = _POACHING
            elif age > 0.75 * life_h[s]:
                dying[i] = _AGE
            else:
                dying[i] = _BACKGROUND


@dataclass(frozen=True, kw_only=True)
class BackgroundMortality(Rule):
    """Animals die of accident, illness and age at the rates of their species, and where people hunt them, by poachers.

    Hook of scenarios: `World.arrays["poaching_per_h"]` [s], times the layer `poaching`.
    """

    phase: ClassVar[str] = "live"
    stored_name: ClassVar[str] = "Age"
    every_h: float = 24.0
    "hours between two throws of the dice for an animal"

    def prepare(self, world: World) -> None:
        world.add_array("poaching_per_h", np.zeros(len(world.species)))

    def apply(self, world: World) -> None:
        a, p = world.agents, world.parameters
        every = max(1, round(self.every_h / world.dt_h))
        _age(
            world.cells.order,
            a.species,
            a.key,
            a.x,
            a.y,
            a.born_h,
            world.now_h,
            every,
            every * world.dt_h,
            p["young_death_h"],
            p["adult_death_h"],
            p["life_h"],
            world.arrays["poaching_per_h"],
            world.fields["poaching"].ravel(),
            layer_grid(world),
            world.seed64,
            world.step,
            a.dying,
        )


@kernel
def _mate(
    order,
    species,
    key,
    sex,
    mass,
    energy,
    born_h,
    due_h,
    herd,
    adults,
    limit,
    resident,
    has_male,
    mature_h,
    conceive_h,
    gestation_h,
    season,
    store,
    now_h,
    every,
    day_h,
    seed,
    step,
):
    for k in numba.prange(len(order)):
        i = order[k]
        if sex[i] != FEMALE or due_h[i] > 0.0 or (np.int64(key[i] % np.uint64(1 << 20)) + step) % every != 0:
            continue
        s = species[i]
        if now_h - born_h[i] < mature_h[s] or not has_male[s] or energy[i] < 0.4 * store[s] * mass[i]:
            continue
        month = np.int64((now_h + gestation_h[s]) / HOURS_A_YEAR * 12.0) % 12
        if not season[s, month] or (resident[s] and adults[herd[i]] > limit[s]):
            continue
        if uniform(seed, step, MATING, key[i], 0) < 1.0 - math.exp(-conceive_h[s] * day_h):
            due_h[i] = now_h + gestation_h[s]


def subordinates(world: World, slots: np.ndarray) -> np.ndarray:
    """Of these animals [n] the grown females that bear no young: where one female of a group breeds, all but its oldest."""
    a, p = world.agents, world.parameters
    mine = slots[p["one_breeds"][a.species[slots]] & (a.sex[slots] == FEMALE)]
    mine = mine[world.now_h - a.born_h[mine] >= p["mature_h"][a.species[mine]]]
    mine = mine[np.lexsort((a.key[mine], a.born_h[mine], a.herd[mine]))]
    return mine[1:][a.herd[mine[1:]] == a.herd[mine[:-1]]]


@kernel
def _drop(order, species, key, mass, energy, due_h, until, litter_size, young_kg, store, seed, step, litter, dying):
    for k in numba.prange(len(order)):
        i = order[k]
        if due_h[i] == 0.0 or due_h[i] > until:
            continue
        due_h[i] = 0.0
        if dying[i] != 0:
            continue
        s = species[i]
        number = int(litter_size[s])
        if uniform(seed, step, BIRTH, key[i], 0) < litter_size[s] - number:
            number += 1
        # A mother gives no more than what leaves her a twentieth of her store.
        cost = young_kg[s] * (TISSUE_KJ_PER_KG + NEWBORN_STORE * store[s])
        litter[i] = min(number, max(0, int((energy[i] - 0.05 * store[s] * mass[i]) / cost)))


@dataclass(frozen=True, kw_only=True)
class Mate(Rule):
    """Mature females in condition conceive so that the young come in the months of birth, and bear when their time comes.

    Any living male of the species will do. In a full territory nobody conceives; of some species only the oldest female of a group.
    """

    phase: ClassVar[str] = "live"
    leaves_out: ClassVar[tuple[str, ...]] = (
        "Any grown male of the species mates, wherever he is: nobody searches for a mate, fights for one or avoids kin.",
    )
    every_h: float = 24.0
    "hours between two chances to conceive"

    def prepare(self, world: World) -> None:
        world.agents.add_column(Column(name="due_h", dtype=np.float64, help="hour of the next birth, 0 without"))
        world.add_array("has_male", np.zeros(len(world.species), bool))

    def apply(self, world: World) -> None:
        a, p, order = world.agents, world.parameters, world.cells.order
        if due(world, self.every_h):
            males = order[a.sex[order] == MALE]
            grown = males[world.now_h - a.born_h[males] >= p["mature_h"][a.species[males]]]
            world.arrays["has_male"][:] = np.bincount(a.species[grown], minlength=len(world.species)) > 0
        every = max(1, round(self.every_h / world.dt_h))
        sex = a.sex
        if p["one_breeds"].any():
            sex = sex.copy()
            sex[subordinates(world, order)] = MALE
        _mate(
            order,
            a.species,
            a.key,
            sex,
            a.mass,
            a.energy,
            a.born_h,
            a.due_h,
            a.herd,
            world.arrays["herd_adults"],
            most_adults(p["herd_size"]),
            p["resident"],
            world.arrays["has_male"],
            p["mature_h"],
            p["conceive_per_h"],
            p["gestation_h"],
            p["birth_season"],
            p["store_kj_kg"],
            world.now_h,
            every,
            every * world.dt_h,
            world.seed64,
            world.step,
        )
        _drop(
            order,
            a.species,
            a.key,
            a.mass,
            a.energy,
            a.due_h,
            world.now_h + world.dt_h,
            p["litter_size"],
            p["young_kg"],
            p["store_kj_kg"],
            world.seed64,
            world.step,
            a.litter,
            a.dying,
        )


@dataclass(frozen=True, kw_only=True)
class FeedYoung(Rule):
    """Hunters feed the young of their group, which cannot hunt yet, from their own stores, once a day; the lone cold-blooded do not."""

    phase: ClassVar[str] = "live"
    stored_name: ClassVar[str] = "Provision"
    every_h: float = 24.0
    "hours between two feedings"
    filled: float = 0.6
    "filling of its store up to which a young is fed"
    kept: float = 0.25
    "filling of its own store below which an adult gives nothing"

    def apply(self, world: World) -> None:
        if not due(world, self.every_h):
            return
        a, p, order = world.agents, world.parameters, world.cells.order
        mine = order[p["feeds_young"][a.species[order]]]
        mine = mine[np.lexsort((a.key[mine], a.herd[mine]))]
        kinds, mass = a.species[mine], a.mass[mine].astype(np.float64)
        full = p["store_kj_kg"][kinds] * mass
        young = mass < 0.5 * p["adult_kg"][kinds]
        if not young.any():
            return
        wish = np.where(young, np.maximum(self.filled * full - a.energy[mine], 0.0), 0.0)
        spare = np.where(young, 0.0, np.maximum(a.energy[mine] - self.kept * full, 0.0))
        n_herds = len(world.arrays["herd_size"])
        wanted, there = (np.bincount(a.herd[mine], values, n_herds) for values in (wish, spare))
        given = np.minimum(wanted, there)
        get = np.divide(given, wanted, out=np.zeros(n_herds), where=wanted > 0)
        lose = np.divide(given, there, out=np.zeros(n_herds), where=there > 0)
        a.energy[mine] += wish * get[a.herd[mine]] - spare * lose[a.herd[mine]]


@dataclass(frozen=True, kw_only=True)
class GiveBirth(Rule):
    """Litters are born weaned: the mother pays body and first store of each young; traits come from both parents.

    A trait is the parents' mean plus the chance of segregation, the breeding value beside the environment's part.
    """

    phase: ClassVar[str] = "birth"
    stored_name: ClassVar[str] = "Bear"
    leaves_out: ClassVar[tuple[str, ...]] = (
        "The young are born weaned: there is no milk, and no young dies because its mother does.",
        "The father of each young is drawn from all grown males, whoever is near.",
    )

    def apply(self, world: World) -> None:
        a, p = world.agents, world.parameters
        parents = np.flatnonzero(a.live[: a.n] & (a.litter[: a.n] > 0))
        if not len(parents):
            return
        slots, mothers = world.give_birth(parents, a.litter[parents])
        kinds = a.species[slots]
        a.mass[slots] = p["young_kg"][kinds]
        a.energy[slots] = NEWBORN_STORE * p["store_kj_kg"][kinds] * a.mass[slots].astype(np.float64)
        np.subtract.at(a.energy, mothers, animal_kj(world, slots))
        a.sex[slots] = uniforms(world.seed, world.step, SEX, a.key[slots]) < 0.5
        a.due_h[slots] = 0
        if world.traits:
            inherit(world, slots, mothers)


def inherit(world: World, slots: np.ndarray, mothers: np.ndarray) -> None:
    """Fills the traits of the young: pairs of columns, phenotype and breeding value, in the infinitesimal model.

    Breeding value = mean of the parents' + N(0, V_A / 2); phenotype = breeding value + N(0, V_E). The father is any grown
    male of the species, drawn by the young's key.
    """
    a, p = world.agents, world.parameters
    live = a.slots()
    now = world.now_h + world.dt_h
    for kind in np.unique(a.species[slots]):
        young = slots[a.species[slots] == kind]
        mother = mothers[a.species[slots] == kind]
        grown = live[(a.species[live] == kind) & (a.sex[live] == MALE) & (now - a.born_h[live] >= p["mature_h"][kind])]
        grown = grown[np.argsort(a.key[grown], kind="stable")]
        pick = uniforms(world.seed, world.step, INHERITANCE, a.key[young], 0)
        father = grown[(pick * len(grown)).astype(np.int64)] if len(grown) else mother
        for trait in range(0, len(world.traits), 2):
            additive, rest = p["trait_additive_sd"][kind, trait // 2], p["trait_rest_sd"][kind, trait // 2]
            middle = (a.traits[mother, trait + 1] + a.traits[father, trait + 1]) / 2
            chance = normals(world.seed, world.step, INHERITANCE, a.key[young], 1 + trait)
            value = middle + additive / math.sqrt(2) * chance
            a.traits[young, trait + 1] = value
            luck = normals(world.seed, world.step, INHERITANCE, a.key[young], 2 + trait)
            a.traits[young, trait] = value + rest * luck


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

    They stand around (x, y), each herd around its own where these are arrays [h], or all over the ground. ValueError for
    an unknown species or a place outside the world.
    """
    if name not in world.species:
        raise ValueError(f"species {name!r} is not in the world; it has {', '.join(world.species)}")
    if count < 1:
        return np.zeros(0, np.int64)
    space = world.space
    if any(
        at is not None and not np.all((np.asarray(at) >= 0) & (np.asarray(at) <= length))
        for at, length in ((x, space.width_m), (y, space.height_m))
    ):
        raise ValueError(f"({x}, {y}) lies outside the ground of {space.width_m:g} by {space.height_m:g} metres")
    a, p, kind = world.agents, world.parameters, world.species.index(name)
    slots = a.add(count, species=kind)
    keys, seed, when = a.key[slots], world.seed, world.step
    group = np.arange(count) // (herd_size or max(1, round(p["herd_size"][kind])))
    leaders = keys[np.unique(group, return_index=True)[1]]
    middle = _places(world, leaders, x, y, radius_m, kind)
    herds = add_herds(world, leaders, np.full(len(leaders), kind), middle)
    a.herd[slots] = herds[group]
    spread = p["herd_spacing_m"][kind] * math.sqrt(p["herd_size"][kind])
    for axis, column, length in ((0, a.x, space.width_m), (1, a.y, space.height_m)):
        at = middle[group, axis] + spread * (uniforms(seed, when, PLACING, keys, 2 + axis) - 0.5)
        column[slots] = np.clip(at, 0, length * (1 - 1e-6))
    a.home_x[slots], a.home_y[slots] = middle[group, 0], middle[group, 1]
    angle = 2 * math.pi * uniforms(seed, when, FOUNDING, keys, 0)
    a.dir_x[slots], a.dir_y[slots] = np.cos(angle), np.sin(angle)
    a.sex[slots] = uniforms(seed, when, SEX, keys) < 0.5
    age_h = founder_ages(uniforms(seed, when, FOUNDING, keys, 1), p, kind)
    if p["hunts"][kind]:
        # Cubs that nobody feeds would starve: founders can hunt.
        age_h = np.maximum(age_h, 0.8 / p["growth_h"][kind])
    a.born_h[slots] = world.now_h - age_h
    share = p["young_kg"][kind] / p["adult_kg"][kind]
    grown = 1 - (1 - share) * np.exp(-p["growth_h"][kind] * age_h)
    a.mass[slots] = p["adult_kg"][kind] * grown
    a.energy[slots] = (0.5 + 0.4 * uniforms(seed, when, FOUNDING, keys, 2)) * p["store_kj_kg"][kind] * a.mass[slots]
    _conceived(world, slots, kind)
    for trait in range(0, len(world.traits), 2):
        value = normals(seed, when, FOUNDING, keys, 3 + trait) * p["trait_additive_sd"][kind, trait // 2]
        a.traits[slots, trait + 1] = p["trait_mean"][kind, trait // 2] + value
        luck = normals(seed, when, FOUNDING, keys, 4 + trait) * p["trait_rest_sd"][kind, trait // 2]
        a.traits[slots, trait] = a.traits[slots, trait + 1] + luck
    accounts(world)[INTRODUCED] += animal_kj(world, slots).sum()
    world.add_tally("introduced", (len(world.species),))[kind] += count
    return slots


def _places(world: World, keys: np.ndarray, x, y, radius_m: float, kind: int) -> np.ndarray:
    """Middles of new herds [h, 2]: around a place, or spread over the ground, one to a square, so that all have room."""
    space, count = world.space, len(keys)
    u, v, order = (uniforms(world.seed, world.step, PLACING, keys, draw) for draw in (10, 11, 12))
    if x is None or y is None:
        # Those that drink choose among three times the squares that they need.
        wanted = count * (3 if world.parameters["drink_every_h"][kind] else 1)
        n_columns = max(1, math.ceil(math.sqrt(wanted * space.width_m / space.height_m)))
        n_rows = math.ceil(wanted / n_columns)
        # Not every square is needed: a random choice of them, in random order.
        squares = uniforms(world.seed, world.step, PLACING, np.arange(n_rows * n_columns, dtype=np.uint64), 13 + kind)
        drink_km = world.parameters["drink_km"][kind]
        if drink_km:
            squares *= np.exp(-_to_water(world, n_rows, n_columns) / drink_km * 3)
            # The best come first.
            squares = -squares
        square = np.argsort(squares, kind="stable")[:count][np.argsort(np.argsort(order, kind="stable"), kind="stable")]
        row, column = np.divmod(square, n_columns)
        return np.stack(
            [(column + 0.2 + 0.6 * u) / n_columns * space.width_m, (row + 0.2 + 0.6 * v) / n_rows * space.height_m], 1
        )
    angle, far = 2 * math.pi * u, radius_m * np.sqrt(v)
    places = np.stack([x + far * np.cos(angle), y + far * np.sin(angle)], 1)
    return np.clip(places, 0, (space.width_m * (1 - 1e-6), space.height_m * (1 - 1e-6)))


def _conceived(world: World, slots: np.ndarray, kind: int) -> None:
    """Grown females among founders are with young, as many as would be, due in the months of birth."""
    a, p = world.agents, world.parameters
    months = np.flatnonzero(p["birth_season"][kind])
    u, v, w = (uniforms(world.seed, world.step, MATING, a.key[slots], draw) for draw in (1, 2, 3))
    month = months[(v * len(months)).astype(np.int64)]
    due_h = ((month + w) / 12 * HOURS_A_YEAR - world.now_h) % HOURS_A_YEAR + world.now_h
    grown = (a.sex[slots] == FEMALE) & (world.now_h - a.born_h[slots] >= p["mature_h"][kind])
    carries = grown & (u < p["births_per_y"][kind]) & (due_h < world.now_h + p["gestation_h"][kind])
    a.due_h[slots[carries]] = due_h[carries]
    a.due_h[subordinates(world, slots)] = 0.0


def _to_water(world: World, n_rows: int, n_columns: int) -> np.ndarray:
    """Kilometres to water [n_rows · n_columns] from the middles of an even grid of squares."""
    far = world.fields["to_water_km"]
    row = ((np.arange(n_rows) + 0.5) / n_rows * far.shape[0]).astype(np.int64)
    column = ((np.arange(n_columns) + 0.5) / n_columns * far.shape[1]).astype(np.int64)
    return far[np.ix_(row, column)].ravel()


def founder_ages(u: np.ndarray, parameters, kind: int) -> np.ndarray:
    """Ages in hours [n] for uniform numbers, as of a population that neither grows nor shrinks."""
    life = parameters["life_h"][kind]
    ages = np.linspace(0, 1.1 * life, 400)
    rate = [
        death_rate.py_func(
            age, HOURS_A_YEAR, life, parameters["young_death_h"][kind], parameters["adult_death_h"][kind]
        )
        for age in ages
    ]
    alive = np.exp(-np.concatenate([[0], np.cumsum(rate[1:]) * (ages[1] - ages[0])]))
    share = np.cumsum(alive) / alive.sum()
    return np.interp(u, share, ages)


def remove(world: World, slots: np.ndarray) -> None:
    """Takes these animals out of the world at once, body and all, as catchers do; counted as `removal`."""
    slots = np.asarray(slots, np.int64)
    a = world.agents
    accounts(world)[REMOVED] += animal_kj(world, slots).sum()
    np.add.at(world.tallies["died"], (a.species[slots], CAUSE["removal"]), 1)
    a.remove(slots)


@dataclass(frozen=True, kw_only=True)
class Immigrate(Rule):
    """Groups come from beyond the borders where a species has become rare: the world is a part of a larger one.

    Into a world with room for half a group they come half as often; from a territory that is taken they turn away.

    Hook of scenarios: `World.arrays["arrivals_per_y"]` [s]; 0 closes the border to a species.
    """

    phase: ClassVar[str] = "birth"
    stored_name: ClassVar[str] = "Arrive"
    every_h: float = 240.0
    "hours between two looks"

    def prepare(self, world: World) -> None:
        world.add_array("arrivals_per_y", world.parameters["arrivals_per_y"].copy())

    def apply(self, world: World) -> None:
        elapsed = due(world, self.every_h)
        if not elapsed or not world.step:
            return
        p, rate = world.parameters, world.arrays["arrivals_per_y"]
        counts = world.counts()
        for kind in np.flatnonzero(rate > 0):
            rare = max(0.0, 1 - counts[kind] / p["usual_number"][kind]) * min(
                1.0, p["usual_number"][kind] / p["herd_size"][kind]
            )
            u, v, w = (
                uniforms(world.seed, world.step, MIGRATION, np.array([kind], np.uint64), 100 + q)[0] for q in range(3)
            )
            if u >= -math.expm1(-rate[kind] * rare * elapsed / HOURS_A_YEAR):
                continue
            space, side = world.space, int(v * 4)
            x = w * space.width_m if side < 2 else (0.0 if side == 2 else space.width_m)
            y = w * space.height_m if side >= 2 else (0.0 if side == 0 else space.height_m)
            if not is_taken(world, kind, x, y):
                size = max(2, round(p["herd_size"][kind]))
                introduce(world, world.species[kind], size, x=x, y=y, herd_size=size)
