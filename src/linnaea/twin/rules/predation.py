"""Predation: hungry hunters search, one prey falls to one of them, the group eats, the rest lies for the scavengers.

Shape suffixes: n slots, m live animals in the order of the cells, s species, k cells of the layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numba
import numpy as np

from linnaea.twin.engine.agents import Animals
from linnaea.twin.engine.contention import resolve_claims
from linnaea.twin.engine.jit import kernel, scalar, serial
from linnaea.twin.engine.layers import layer_cell, layer_grid
from linnaea.twin.engine.neighbours import cell_window, count_runs, offset, run_bounds
from linnaea.twin.engine.rng import HUNTING, uniform2
from linnaea.twin.engine.world import CAUSE, Rule, World, name_state
from linnaea.twin.rules.energy_budget import DECAYED, TISSUE_KJ_PER_KG, accounts, animal_kj
from linnaea.twin.rules.foraging import herd_notices, quarter_power
from linnaea.twin.rules.ranging import activity_now
from linnaea.twin.rules.vegetation import food_index

_PREDATION = CAUSE["predation"]


@scalar
def vulnerability(age_h, mature_h, life_h, condition, prime):
    """How easily a prey is taken: `prime` in its best years, 2.5 young, 2 old, starved up to ×2 more."""
    factor = prime
    if age_h < 0.5 * mature_h:
        factor = 2.5
    elif age_h > 0.75 * life_h:
        factor = 2.0
    return factor * (2.0 - min(1.0, max(0.0, condition) * 4.0))


@scalar
def kill_rate(density, usual, hill, attack, rivals, interference):
    """Kills per hour of one hungry predator at a weighted prey density: a D (D/D*)^(hill-1) / (1 + c rivals).

    With hill 1 the response of the population is Holling's second type (satiation and handling bend it), above 1 the
    third.
    """
    if density <= 0.0:
        return 0.0
    rate = attack * density
    if hill > 1.0:
        rate *= min((density / usual) ** (hill - 1.0), 3.0)
    return rate / (1.0 + interference * rivals)


class Appetite(NamedTuple):
    """What decides in this step whether and what hunters hunt; see `SearchPrey`."""

    activity: np.ndarray
    "of each species, against its mean over the day [s]"
    common: np.ndarray
    "how conspicuous each kind of prey is [s]"
    hunger: float
    interference: float
    care: float


@scalar
def is_near(x, y, near, q, radius, grid):
    """Whether the animal at place `q` of a cell list is within a radius of (x, y)."""
    dx, dy = offset(x - near.x[q], grid.width, grid.torus), offset(y - near.y[q], grid.height, grid.torus)
    return dx * dx + dy * dy <= radius * radius


@scalar
def weigh_prey(i, j, young, animals, herds, appetite, bodies, life, hunting, now_h):
    """Weight of prey `j` for hunter `i`, by preference, mass, age, condition and the vigilance of its herd."""
    s, sj = animals.species[i], animals.species[j]
    mass = animals.mass[j]
    condition = animals.energy[j] / (bodies.store_kj_kg[sj] * mass + 1e-12)
    weight = hunting.prey_weight[s, sj] * mass / bodies.adult_kg[sj]
    age_h = now_h - animals.born_h[j]
    weight *= vulnerability(age_h, life.mature_h[sj], life.life_h[sj], condition, hunting.prime[sj])
    if hunting.watches[sj]:
        weight *= 1.0 - appetite.care * herd_notices(np.float64(herds.size[animals.herd[j]]))
    if young:
        # What is larger than the young hunter is the harder to get.
        weight *= min(1.0, animals.mass[i] / mass)
    return weight


@scalar
def survey_prey(i, young, near, grid, animals, herds, appetite, bodies, life, hunting, now_h):
    """What hunter `i` finds in its search radius: sums of the weights and conspicuousness of prey, and rivals."""
    s, x, y = animals.species[i], animals.x[i], animals.y[i]
    radius = hunting.search_m[s]
    total, conspicuous, rivals = 0.0, 0.0, 0.0
    window = cell_window(x, y, radius, grid)
    for run in range(count_runs(window, grid)):
        lo, hi = run_bounds(window, run, near.start, grid)
        for q in range(lo, hi):
            j = near.slots[q]
            sj = animals.species[j]
            is_rival, is_prey = sj == s and animals.herd[j] != animals.herd[i], hunting.eats[s, sj]
            if not (is_rival or is_prey) or not is_near(x, y, near, q, radius, grid):
                continue
            if is_rival:
                rivals += 1.0
            if is_prey and j != i:
                weight = weigh_prey(i, j, young, animals, herds, appetite, bodies, life, hunting, now_h)
                total += weight
                conspicuous += weight * appetite.common[sj]
    return total, conspicuous, rivals


@scalar
def pick_prey(i, young, threshold, near, grid, animals, herds, appetite, bodies, life, hunting, now_h):
    """The prey of hunter `i` at which the conspicuousness added up in the order of the cells passes the threshold."""
    s, x, y = animals.species[i], animals.x[i], animals.y[i]
    radius = hunting.search_m[s]
    passed, chosen = 0.0, -1
    window = cell_window(x, y, radius, grid)
    for run in range(count_runs(window, grid)):
        lo, hi = run_bounds(window, run, near.start, grid)
        for q in range(lo, hi):
            j = near.slots[q]
            sj = animals.species[j]
            if j == i or not hunting.eats[s, sj] or not is_near(x, y, near, q, radius, grid):
                continue
            weight = weigh_prey(i, j, young, animals, herds, appetite, bodies, life, hunting, now_h)
            passed += weight * appetite.common[sj]
            chosen = j
            if passed > threshold:
                return chosen
    return chosen


@kernel
def _search(order, animals, until_h, herds, appetite, bodies, life, hunting, near, grid, clock, target):
    for k in numba.prange(len(order)):
        i = order[k]
        s = animals.species[i]
        if not hunting.hunts[s] or until_h[i] > clock.now_h or appetite.activity[s] <= 0.0:
            continue
        mass = animals.mass[i]
        young = mass < 0.5 * bodies.adult_kg[s]
        # It hunts for itself and for the young and the others of its group.
        own_fill = animals.energy[i] / (bodies.store_kj_kg[s] * mass)
        if (young and hunting.feeds_young[s]) or min(own_fill, herds.fill[animals.herd[i]]) > appetite.hunger:
            continue
        total, conspicuous, rivals = survey_prey(
            i, young, near, grid, animals, herds, appetite, bodies, life, hunting, clock.now_h
        )
        radius = hunting.search_m[s]
        density = total / (math.pi * radius * radius / 1e6)
        rate = appetite.activity[s] * kill_rate(
            density, hunting.usual_prey_km2[s], hunting.hill[s], hunting.attack_km2_h[s], rivals, appetite.interference
        )
        if young:
            rate *= quarter_power(mass / bodies.adult_kg[s])
        u, v = uniform2(clock.seed, clock.step, HUNTING, animals.key[i], 0)
        if total > 0.0 and u < 1.0 - math.exp(-rate * clock.dt_h):
            target[i] = pick_prey(
                i, young, v * conspicuous, near, grid, animals, herds, appetite, bodies, life, hunting, clock.now_h
            )
        else:
            target[i] = -1


@dataclass(frozen=True, kw_only=True)
class SearchPrey(Rule):
    """A hungry, idle predator searches the ground around it and, at a rate set by the prey there, picks one to kill.

    Preference, body mass, age, condition and the vigilance of its herd decide how easily each prey is taken. Which one
    the predator picks also depends on how common each kind is: hunters switch to what they meet often. Rivals of other
    groups of the same species nearby cost time. The young are fed by their group; the young of cold-blooded species
    that live alone hunt for themselves, at a rate in proportion to what they need.
    """

    phase: ClassVar[str] = "decide"
    stored_name: ClassVar[str] = "Seek"
    reads: ClassVar[frozenset[str]] = name_state(
        agents="species key x y mass energy born_h herd until_h", herds="size fill", arrays="census"
    )
    writes: ClassVar[frozenset[str]] = name_state(agents="target")
    leaves_out: ClassVar[tuple[str, ...]] = (
        "A hunt costs nothing and never hurts the hunter; prey do not defend themselves or their young.",
        "An animal kills at most one prey in a step.",
    )
    hunger: float = 0.6
    "filling of its own store, or of its group's on average, below which a predator hunts"
    interference: float = 0.1
    "time lost to each rival nearby, as a share of the time searching"
    care: float = 0.5
    "how far a herd that surely notices a predator lowers its success, 0 to 1"
    switching: float = 1.0
    "power of a kind's number, against its usual one, with which hunters prefer it among what they meet; 0 no switching"

    def apply(self, world: World) -> None:
        """Sets the target of every predator that takes one."""
        a, p, cells = world.agents, world.parameters, world.cells
        if not p.hunting.hunts.any():
            return
        common = np.ones(len(world.species))
        if self.switching:
            # No kind is ever more than three times as conspicuous as usual, and none is overlooked altogether.
            share = world.arrays.census.sum(1) / p.life.usual_number
            common = np.clip(share, 0.01, 3.0) ** self.switching
        appetite = Appetite(activity_now(world), common, self.hunger, self.interference, self.care)
        _search(
            cells.order,
            a.view(Animals),
            a.until_h,
            world.herds.arrays,
            appetite,
            p.bodies,
            p.life,
            p.hunting,
            cells.animals,
            cells.grid,
            world.clock,
            a.target,
        )


@serial
def _list_members(order, herd, wanted, members):
    """The live slots whose herd is wanted [h], in the cells' order; returns their number."""
    n = 0
    for k in range(len(order)):
        i = order[k]
        if wanted[herd[i]]:
            members[n] = i
            n += 1
    return n


@dataclass(frozen=True, kw_only=True)
class ResolveKills(Rule):
    """Of those who chose one prey one kills it; its group near by eats its fill and stays, the rest is left to all."""

    phase: ClassVar[str] = "resolve"
    stored_name: ClassVar[str] = "Seize"
    reads: ClassVar[frozenset[str]] = name_state(
        agents="species key x y mass energy herd until_h target dying", tallies="killed energy_kj"
    )
    writes: ClassVar[frozenset[str]] = name_state(
        agents="mass energy until_h won dying", herds="goal", tallies="killed energy_kj"
    )
    leaves_out: ClassVar[tuple[str, ...]] = (
        "No kill is taken away by stronger hunters of another kind; they come for the leavings.",
    )
    edible: float = 0.7
    "share of a body's energy that hunters can eat; the rest is left as carcass"
    hunger: float = 0.6
    "filling of its own store, or of its group's on average, below which a predator hunts"
    meal: float = 0.5
    "most that an animal eats of a kill while it stays there, as a share of its own mass"
    handling_h: float = 2.0
    "hours of eating and rest after a kill, for prey of the predator's mass; in proportion for others, to two days"
    share_ranges: float = 1.0
    "distance within which members of the group come to the kill, as a share of the range that they know"

    def prepare(self, world: World) -> None:
        """Adds the tally of kills [s, s], hunters first."""
        world.add_tally("killed", (len(world.species), len(world.species)))

    def apply(self, world: World) -> None:
        """Settles all claims of the step."""
        a = world.agents
        if not (a.target[: a.n] >= 0).any():
            return
        best = resolve_claims(world, a.target[: a.n], a.n)
        prey = np.flatnonzero(best >= 0)
        prey = prey[np.argsort(a.key[prey], kind="stable")]
        wanted = np.zeros(len(world.herds), bool)
        wanted[a.herd[best[prey]]] = True
        members = np.empty(world.cells.m, np.int64)
        members = members[: _list_members(world.cells.order, a.herd, wanted, members)]
        members = members[np.argsort(a.key[members], kind="stable")]
        fed: set[int] = set()
        for victim in prey:
            killer = int(best[victim])
            # A larger predator may have killed this one in the same step, and a group that has eaten hunts no more.
            if (
                a.dying[victim] == 0
                and a.dying[killer] == 0
                and not (a.herd[killer] in fed and self._is_full(world, killer))
            ):
                self._feast(world, killer, int(victim), members)
                fed.add(int(a.herd[killer]))

    def _is_full(self, world: World, killer: int) -> bool:
        a, store = world.agents, world.parameters.bodies.store_kj_kg
        return a.energy[killer] > self.hunger * store[a.species[killer]] * float(a.mass[killer])

    def _feast(self, world: World, killer: int, victim: int, members: np.ndarray) -> None:
        a = world.agents
        kind = int(a.species[killer])
        body = float(animal_kj(world, np.array([victim]))[0])
        group = members[(a.herd[members] == a.herd[killer]) & (a.dying[members] == 0) & (members != victim)]
        near = (a.x[group] - a.x[killer]) ** 2 + (a.y[group] - a.y[killer]) ** 2
        group = group[near <= (self.share_ranges * world.parameters.movement.range_m[kind]) ** 2]
        eaten = self._share_meal(world, kind, group, body)
        size = float(a.mass[victim] / a.mass[killer])
        # The kill falls in the middle of the step, on average.
        busy = world.now_h + 0.5 * world.dt_h + min(self.handling_h * max(size, 0.02), 48.0)
        a.until_h[group] = np.maximum(a.until_h[group], busy)
        # The group stays there while there is something to eat.
        world.herds.goal[a.herd[killer]] = a.x[victim], a.y[victim]
        a.won[killer] = 1.0
        a.dying[victim] = _PREDATION
        # The rest of the body is booked as the victim's store, for `DepositCarcass` to lay down.
        a.mass[victim] = 0.0
        a.energy[victim] = body - eaten
        world.tallies.killed[kind, a.species[victim]] += 1

    def _share_meal(self, world: World, kind: int, group: np.ndarray, body_kj: float) -> float:
        """Feeds a group of hunters of one species from a body; returns the kilojoules that they eat."""
        a, store, efficiency = world.agents, world.parameters.bodies.store_kj_kg, world.parameters.flesh_efficiency
        room = np.maximum(store[kind] * a.mass[group].astype(np.float64) - a.energy[group], 0.0) / efficiency
        room = np.minimum(room, self.meal * a.mass[group] * TISSUE_KJ_PER_KG)
        wanted = float(room.sum())
        eaten = min(self.edible * body_kj, wanted)
        if wanted > 0:
            a.energy[group] += room * (eaten / wanted) * efficiency
        # Undigested flesh is soon gone.
        accounts(world)[DECAYED] += eaten * (1 - efficiency)
        return eaten


@serial
def _lay_down(dead, x, y, left, grid, carcass):
    for q in range(len(dead)):
        i = dead[q]
        carcass[layer_cell(x[i], y[i], grid)] += left[q]


@dataclass(frozen=True, kw_only=True)
class DepositCarcass(Rule):
    """The bodies of the dead become carcasses where they lie; without such a layer they decay at once."""

    phase: ClassVar[str] = "die"
    stored_name: ClassVar[str] = "Bequeath"
    reads: ClassVar[frozenset[str]] = name_state(agents="key x y mass energy dying", arrays="food", tallies="energy_kj")
    writes: ClassVar[frozenset[str]] = name_state(arrays="food", tallies="energy_kj")

    def apply(self, world: World) -> None:
        """Lays down the bodies of those that die in this step."""
        a, food = world.agents, world.arrays.food
        dead = np.flatnonzero(a.live[: a.n] & (a.dying[: a.n] > 0))
        if not len(dead):
            return
        dead = dead[np.argsort(a.key[dead], kind="stable")]
        left = animal_kj(world, dead)
        carcass = food_index(world, "carcass")
        if carcass >= 0:
            _lay_down(dead, a.x, a.y, left, layer_grid(world), food[carcass].reshape(-1))
        else:
            accounts(world)[DECAYED] += left.sum()
