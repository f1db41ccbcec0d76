"""Reproduction: mating, birth, inheritance, and the feeding of the young.

Shape suffixes: n slots, m live animals in the order of the cells, s species, t heritable traits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numba
import numpy as np

from linnaea.twin.engine.agents import HOURS_A_YEAR, Animals, Column
from linnaea.twin.engine.jit import kernel
from linnaea.twin.engine.rng import BIRTH, INHERITANCE, MATING, SEX, normals, takes_turn, uniform, uniforms
from linnaea.twin.engine.world import Rule, World, name_state
from linnaea.twin.rules.energy_budget import TISSUE_KJ_PER_KG, animal_kj
from linnaea.twin.rules.groups import most_adults

FEMALE, MALE = 0, 1
NEWBORN_STORE = 0.5
"share of a full store that a young begins with"


class Mothers(NamedTuple):
    """The columns of animals that birth reads and changes."""

    due_h: np.ndarray
    litter: np.ndarray
    dying: np.ndarray


class Territories(NamedTuple):
    """What decides whether a female in a territory may breed."""

    adults: np.ndarray
    "mature animals of each herd [h]"
    limit: np.ndarray
    "adults above which a territory is full [s]"
    resident: np.ndarray
    "whether a species keeps territories [s]"


@kernel
def _conceive(order, animals, sex, due_h, territories, has_male, life, store_kj_kg, clock, every):
    species, key, _, _, mass, energy, born_h, herd = animals
    now_h, day_h = clock.now_h, every * clock.dt_h
    for k in numba.prange(len(order)):
        i = order[k]
        if sex[i] != FEMALE or due_h[i] > 0.0 or not takes_turn(key[i], clock.step, every):
            continue
        s = species[i]
        if now_h - born_h[i] < life.mature_h[s] or not has_male[s] or energy[i] < 0.4 * store_kj_kg[s] * mass[i]:
            continue
        month = np.int64((now_h + life.gestation_h[s]) / HOURS_A_YEAR * 12.0) % 12
        is_full = territories.resident[s] and territories.adults[herd[i]] > territories.limit[s]
        if not life.birth_season[s, month] or is_full:
            continue
        if uniform(clock.seed, clock.step, MATING, key[i], 0) < 1.0 - math.exp(-life.conceive_per_h[s] * day_h):
            due_h[i] = now_h + life.gestation_h[s]


def find_subordinates(world: World, slots: np.ndarray) -> np.ndarray:
    """Grown females among animals [n] that bear no young: all but the oldest of a group in which only one breeds."""
    a, life = world.agents, world.parameters.life
    mine = slots[life.one_breeds[a.species[slots]] & (a.sex[slots] == FEMALE)]
    mine = mine[world.now_h - a.born_h[mine] >= life.mature_h[a.species[mine]]]
    mine = mine[np.lexsort((a.key[mine], a.born_h[mine], a.herd[mine]))]
    return mine[1:][a.herd[mine[1:]] == a.herd[mine[:-1]]]


@kernel
def _come_to_term(order, animals, mothers, litter_size, bodies, clock):
    species, key, _, _, mass, energy, _, _ = animals
    due_h, litter, dying = mothers.due_h, mothers.litter, mothers.dying
    until = clock.now_h + clock.dt_h
    for k in numba.prange(len(order)):
        i = order[k]
        if due_h[i] == 0.0 or due_h[i] > until:
            continue
        due_h[i] = 0.0
        if dying[i] != 0:
            continue
        s = species[i]
        number = int(litter_size[s])
        if uniform(clock.seed, clock.step, BIRTH, key[i], 0) < litter_size[s] - number:
            number += 1
        # A mother gives no more than what leaves her a twentieth of her store.
        store = bodies.store_kj_kg[s]
        cost = bodies.young_kg[s] * (TISSUE_KJ_PER_KG + NEWBORN_STORE * store)
        litter[i] = min(number, max(0, int((energy[i] - 0.05 * store * mass[i]) / cost)))


@dataclass(frozen=True, kw_only=True)
class Mate(Rule):
    """Mature females in condition conceive so that the young come in the months of birth, and give birth when due.

    Any living male of the species will do. In a full territory nobody conceives; in some species only the oldest
    female of a group does.
    """

    phase: ClassVar[str] = "live"
    reads: ClassVar[frozenset[str]] = name_state(
        agents="species key mass energy born_h herd sex due_h dying", herds="adults", arrays="has_male"
    )
    writes: ClassVar[frozenset[str]] = name_state(agents="due_h litter", arrays="has_male")
    leaves_out: ClassVar[tuple[str, ...]] = (
        "Any grown male of the species mates, wherever he is: none searches for a mate, fights for one or avoids kin.",
    )
    every_h: float = 24.0
    "hours between two chances to conceive"

    def prepare(self, world: World) -> None:
        """Adds the hour of the next birth, and whether a species has a grown male [s]."""
        world.agents.add_column(Column(name="due_h", dtype=np.float64, help="hour of the next birth, 0 without"))
        world.add_array("has_male", np.zeros(len(world.species), bool))

    def apply(self, world: World) -> None:
        """Lets females conceive, and notes the litters that are due."""
        a, p, order = world.agents, world.parameters, world.cells.order
        life = p.life
        if world.due(self.every_h):
            males = order[a.sex[order] == MALE]
            grown = males[world.now_h - a.born_h[males] >= life.mature_h[a.species[males]]]
            world.arrays.has_male[:] = np.bincount(a.species[grown], minlength=len(world.species)) > 0
        sex = a.sex
        if life.one_breeds.any():
            sex = sex.copy()
            sex[find_subordinates(world, order)] = MALE
        _conceive(
            order,
            a.view(Animals),
            sex,
            a.due_h,
            Territories(world.herds.adults, most_adults(p.groups.herd_size), p.groups.resident),
            world.arrays.has_male,
            life,
            p.bodies.store_kj_kg,
            world.clock,
            world.steps_of(self.every_h),
        )
        _come_to_term(order, a.view(Animals), a.view(Mothers), life.litter_size, p.bodies, world.clock)


@dataclass(frozen=True, kw_only=True)
class FeedYoung(Rule):
    """Hunters feed the young of their group, which cannot hunt yet, from their own stores, once a day.

    Cold-blooded hunters that live alone do not.
    """

    phase: ClassVar[str] = "live"
    stored_name: ClassVar[str] = "Provision"
    reads: ClassVar[frozenset[str]] = name_state(agents="species key mass energy herd")
    writes: ClassVar[frozenset[str]] = name_state(agents="energy")
    every_h: float = 24.0
    "hours between two feedings"
    filled: float = 0.6
    "filling of its store up to which a young is fed"
    kept: float = 0.25
    "filling of its own store below which an adult gives nothing"

    def apply(self, world: World) -> None:
        """Shares the energy that adults can spare among the young of their herd, when it is due."""
        if not world.due(self.every_h):
            return
        a, p, order = world.agents, world.parameters, world.cells.order
        mine = order[p.hunting.feeds_young[a.species[order]]]
        mine = mine[np.lexsort((a.key[mine], a.herd[mine]))]
        kinds, mass = a.species[mine], a.mass[mine].astype(np.float64)
        full = p.bodies.store_kj_kg[kinds] * mass
        young = mass < 0.5 * p.bodies.adult_kg[kinds]
        if not young.any():
            return
        wish = np.where(young, np.maximum(self.filled * full - a.energy[mine], 0.0), 0.0)
        spare = np.where(young, 0.0, np.maximum(a.energy[mine] - self.kept * full, 0.0))
        n_herds = len(world.herds)
        wanted, there = (np.bincount(a.herd[mine], values, n_herds) for values in (wish, spare))
        given = np.minimum(wanted, there)
        get = np.divide(given, wanted, out=np.zeros(n_herds), where=wanted > 0)
        lose = np.divide(given, there, out=np.zeros(n_herds), where=there > 0)
        a.energy[mine] += wish * get[a.herd[mine]] - spare * lose[a.herd[mine]]


@dataclass(frozen=True, kw_only=True)
class GiveBirth(Rule):
    """Litters are born weaned: the mother pays body and first store of each young; traits come from both parents.

    A breeding value is the mean of the parents' plus a chance deviation by segregation; the phenotype adds the
    environment's part.
    """

    phase: ClassVar[str] = "birth"
    stored_name: ClassVar[str] = "Bear"
    reads: ClassVar[frozenset[str]] = name_state(agents="*", tallies="born")
    writes: ClassVar[frozenset[str]] = name_state(agents="*", tallies="born")
    leaves_out: ClassVar[tuple[str, ...]] = (
        "The young are born weaned: there is no milk, and no young dies because its mother does.",
        "The father of each young is drawn from all grown males, whoever is near.",
    )

    def apply(self, world: World) -> None:
        """Adds all young of the step."""
        a, bodies = world.agents, world.parameters.bodies
        parents = np.flatnonzero(a.live[: a.n] & (a.litter[: a.n] > 0))
        if not len(parents):
            return
        slots, mothers = world.give_birth(parents, a.litter[parents])
        kinds = a.species[slots]
        a.mass[slots] = bodies.young_kg[kinds]
        a.energy[slots] = NEWBORN_STORE * bodies.store_kj_kg[kinds] * a.mass[slots].astype(np.float64)
        np.subtract.at(a.energy, mothers, animal_kj(world, slots))
        a.sex[slots] = uniforms(world.seed, world.step, SEX, a.key[slots]) < 0.5
        a.due_h[slots] = 0
        if world.traits:
            inherit_traits(world, slots, mothers)


def inherit_traits(world: World, slots: np.ndarray, mothers: np.ndarray) -> None:
    """Fills the traits of the young: pairs of columns, phenotype and breeding value, in the infinitesimal model.

    Breeding value = mean of the parents' + N(0, V_A / 2); phenotype = breeding value + N(0, V_E). The father is any
    grown male of the species, drawn by the young's key.
    """
    a, p = world.agents, world.parameters
    live = a.slots()
    now = world.now_h + world.dt_h
    for kind in np.unique(a.species[slots]):
        young = slots[a.species[slots] == kind]
        mother = mothers[a.species[slots] == kind]
        is_grown = now - a.born_h[live] >= p.life.mature_h[kind]
        grown = live[(a.species[live] == kind) & (a.sex[live] == MALE) & is_grown]
        grown = grown[np.argsort(a.key[grown], kind="stable")]
        pick = uniforms(world.seed, world.step, INHERITANCE, a.key[young], 0)
        father = grown[(pick * len(grown)).astype(np.int64)] if len(grown) else mother
        for trait in range(0, len(world.traits), 2):
            additive_sd, rest_sd = p.traits.additive_sd[kind, trait // 2], p.traits.rest_sd[kind, trait // 2]
            middle = (a.traits[mother, trait + 1] + a.traits[father, trait + 1]) / 2
            segregation = normals(world.seed, world.step, INHERITANCE, a.key[young], 1 + trait)
            value = middle + additive_sd / math.sqrt(2) * segregation
            a.traits[young, trait + 1] = value
            environment = normals(world.seed, world.step, INHERITANCE, a.key[young], 2 + trait)
            a.traits[young, trait] = value + rest_sd * environment
