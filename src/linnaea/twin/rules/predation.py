"""Hunting: hungry predators search, one prey falls to one of them, the group eats, the rest lies for the scavengers.

Shape suffixes: n slots, m live animals in the order of the cells, s species, k cells of the layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numba
import numpy as np

from linnaea.twin.engine.contention import resolve_claims
from linnaea.twin.engine.jit import kernel, scalar, serial
from linnaea.twin.engine.layers import layer_cell, layer_grid
from linnaea.twin.engine.neighbours import offset, wrap
from linnaea.twin.engine.rng import HUNTING, uniform2
from linnaea.twin.engine.world import CAUSE, Rule, World
from linnaea.twin.rules.energy_budget import DECAYED, TISSUE_KJ_PER_KG, accounts, animal_kj
from linnaea.twin.rules.foraging import quarter_power
from linnaea.twin.rules.ranging import box, pace_now
from linnaea.twin.rules.vegetation import food_index
from linnaea.twin.rules.vigilance import herd_notices

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

    With hill 1 the response of the population is Holling's second type (satiation and handling bend it), above 1 the third.
    """
    if density <= 0.0:
        return 0.0
    rate = attack * density
    if hill > 1.0:
        rate *= min((density / usual) ** (hill - 1.0), 3.0)
    return rate / (1.0 + interference * rivals)


@kernel
def _seek(
    order,
    species,
    key,
    x,
    y,
    mass,
    energy,
    born_h,
    herd,
    size,
    filled,
    until_h,
    now_h,
    pace,
    hunts,
    feeds_young,
    eats,
    prey_weight,
    radius,
    attack,
    usual,
    hill,
    interference,
    hunger,
    common,
    store,
    mature_h,
    life_h,
    prime,
    adult_kg,
    watches,
    care,
    start,
    xs,
    ys,
    grid,
    dt,
    seed,
    step,
    target,
):
    n_columns, n_rows, _, _, width, height, torus = grid
    for k in numba.prange(len(order)):
        i = order[k]
        s = species[i]
        if not hunts[s] or until_h[i] > now_h or pace[s] <= 0.0:
            continue
        young = mass[i] < 0.5 * adult_kg[s]
        # It hunts for itself and for the young and the others of its group.
        if (young and feeds_young[s]) or min(energy[i] / (store[s] * mass[i]), filled[herd[i]]) > hunger:
            continue
        r = radius[s]
        y_lo, y_hi, x_lo, x_hi = box(x[i], y[i], r, grid)
        total, choice, rivals, u_pick, chosen = 0.0, 0.0, 0.0, 0.0, -1
        for turn in range(2):
            passed = 0.0
            for row in range(y_lo, y_hi + 1):
                for column in range(x_lo, x_hi + 1):
                    c = wrap(row, n_rows) * n_columns + wrap(column, n_columns)
                    for q in range(start[c], start[c + 1]):
                        j = order[q]
                        sj = species[j]
                        rival = sj == s and herd[j] != herd[i]
                        if not (eats[s, sj] or (rival and turn == 0)):
                            continue
                        dx, dy = offset(x[i] - xs[q], width, torus), offset(y[i] - ys[q], height, torus)
                        if dx * dx + dy * dy > r * r:
                            continue
                        if rival and turn == 0:
                            rivals += 1.0
                        if not eats[s, sj] or j == i:
                            continue
                        condition = energy[j] / (store[sj] * mass[j] + 1e-12)
                        weight = prey_weight[s, sj] * mass[j] / adult_kg[sj]
                        weight *= vulnerability(now_h - born_h[j], mature_h[sj], life_h[sj], condition, prime[sj])
                        if watches[sj]:
                            weight *= 1.0 - care * herd_notices(np.float64(size[herd[j]]))
                        if young:
                            # What is larger than the young hunter is the harder to get.
                            weight *= min(1.0, mass[i] / mass[j])
                        if turn == 0:
                            total += weight
                            choice += weight * common[sj]
                        else:
                            passed += weight * common[sj]
                            chosen = j
                            if passed > u_pick:
                                break
                    if turn == 1 and passed > u_pick:
                        break
                if turn == 1 and passed > u_pick:
                    break
            if turn == 0:
                density = total / (math.pi * r * r / 1e6)
                rate = pace[s] * kill_rate(density, usual[s], hill[s], attack[s], rivals, interference)
                if young:
                    rate *= quarter_power(mass[i] / adult_kg[s])
                u, v = uniform2(seed, step, HUNTING, key[i], 0)
                if total <= 0.0 or u >= 1.0 - math.exp(-rate * dt):
                    break
                u_pick = v * choice
        target[i] = chosen


@dataclass(frozen=True, kw_only=True)
class SearchPrey(Rule):
    """A hungry, idle predator searches the ground around it and, at a rate set by the prey there, picks one to kill.

    Preference, body mass, age, condition and the eyes of its herd weigh for and against each prey. Which of them it picks
    depends on how common each kind is, too: hunters switch to what they meet often. Rivals of other groups of the same
    species near by cost time. The young are fed by their group; of the cold-blooded that live alone they hunt for themselves, at a
    rate in proportion to what they need.
    """

    phase: ClassVar[str] = "decide"
    stored_name: ClassVar[str] = "Seek"
    leaves_out: ClassVar[tuple[str, ...]] = (
        "A hunt costs nothing and never hurts the hunter; prey do not defend themselves or their young.",
        "An animal kills at most one prey in a step.",
    )
    hunger: float = 0.6
    "filling of its own store, or of its group's on average, below which a predator hunts"
    interference: float = 0.1
    "time lost to each rival near by, as a share of the time searching"
    care: float = 0.5
    "how far a herd that surely notices a predator lowers its success, 0 to 1"
    switching: float = 1.0
    "power of a kind's number, against its usual one, with which hunters prefer it among what they meet; 0 no switching"

    def apply(self, world: World) -> None:
        a, p, cells = world.agents, world.parameters, world.cells
        if not p["hunts"].any():
            return
        common = np.ones(len(world.species))
        if self.switching:
            # No kind is ever more than three times as conspicuous as usual, and none is overlooked altogether.
            common = np.clip(world.arrays["census"].sum(1) / p["usual_number"], 0.01, 3.0) ** self.switching
        _seek(
            cells.order,
            a.species,
            a.key,
            a.x,
            a.y,
            a.mass,
            a.energy,
            a.born_h,
            a.herd,
            world.arrays["herd_size"],
            world.arrays["herd_store"],
            a.until_h,
            world.now_h,
            pace_now(world),
            p["hunts"],
            p["feeds_young"],
            p["eats"],
            p["prey_weight"],
            p["search_m"],
            p["attack_km2_h"],
            p["usual_prey_km2"],
            p["prey_hill"],
            self.interference,
            self.hunger,
            common,
            p["store_kj_kg"],
            p["mature_h"],
            p["life_h"],
            p["prime"],
            p["adult_kg"],
            p["watches"],
            self.care,
            cells.start,
            cells.x,
            cells.y,
            cells.grid(),
            world.dt_h,
            world.seed64,
            world.step,
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
    "hours after a kill in which a predator eats and rests, for prey of its own mass; in proportion for others, to two days"
    share_ranges: float = 1.0
    "distance within which members of the group come to the kill, as a share of the range that they know"

    def prepare(self, world: World) -> None:
        world.add_tally("killed", (len(world.species), len(world.species)))

    def apply(self, world: World) -> None:
        a, arrays = world.agents, world.arrays
        if not (a.target[: a.n] >= 0).any():
            return
        best = resolve_claims(world, a.target[: a.n], a.n)
        prey = np.flatnonzero(best >= 0)
        prey = prey[np.argsort(a.key[prey], kind="stable")]
        wanted = np.zeros(len(arrays["herd_size"]), bool)
        wanted[a.herd[best[prey]]] = True
        members = np.empty(world.cells.m, np.int64)
        members = members[: _list_members(world.cells.order, a.herd, wanted, members)]
        members = members[np.argsort(a.key[members], kind="stable")]
        fed: set[int] = set()
        for victim in prey:
            killer = int(best[victim])
            # A predator may itself have been killed in this step by a larger one, and a group that has eaten hunts no more.
            if (
                a.dying[victim] == 0
                and a.dying[killer] == 0
                and not (a.herd[killer] in fed and self._is_full(world, killer))
            ):
                self._feast(world, killer, int(victim), members)
                fed.add(int(a.herd[killer]))

    def _is_full(self, world: World, killer: int) -> bool:
        a = world.agents
        return a.energy[killer] > self.hunger * world.parameters["store_kj_kg"][a.species[killer]] * float(
            a.mass[killer]
        )

    def _feast(self, world: World, killer: int, victim: int, members: np.ndarray) -> None:
        a, p = world.agents, world.parameters
        kind = int(a.species[killer])
        body = float(animal_kj(world, np.array([victim]))[0])
        group = members[(a.herd[members] == a.herd[killer]) & (a.dying[members] == 0) & (members != victim)]
        near = (a.x[group] - a.x[killer]) ** 2 + (a.y[group] - a.y[killer]) ** 2
        group = group[near <= (self.share_ranges * p["range_m"][kind]) ** 2]
        efficiency = p["flesh_efficiency"][0]
        room = np.maximum(p["store_kj_kg"][kind] * a.mass[group].astype(np.float64) - a.energy[group], 0.0) / efficiency
        room = np.minimum(room, self.meal * a.mass[group] * TISSUE_KJ_PER_KG)
        wanted = float(room.sum())
        eaten = min(self.edible * body, wanted)
        if wanted > 0:
            a.energy[group] += room * (eaten / wanted) * efficiency
        # Undigested flesh is soon gone.
        accounts(world)[DECAYED] += eaten * (1 - efficiency)
        size = float(a.mass[victim] / a.mass[killer])
        # The kill falls in the middle of the step, on average.
        busy = world.now_h + 0.5 * world.dt_h + min(self.handling_h * max(size, 0.02), 48.0)
        a.until_h[group] = np.maximum(a.until_h[group], busy)
        # There they stay while there is something to eat.
        world.arrays["herd_goal"][a.herd[killer]] = a.x[victim], a.y[victim]
        a.won[killer] = 1.0
        a.dying[victim] = _PREDATION
        # What is left of the body is left in the books as store, for `DepositCarcass` to lay down.
        a.mass[victim] = 0.0
        a.energy[victim] = body - eaten
        world.tallies["killed"][kind, a.species[victim]] += 1


@serial
def _lay_down(dead, x, y, left, grid, carcass):
    n_columns, n_rows, cell_w, cell_h = grid
    for q in range(len(dead)):
        i = dead[q]
        carcass[layer_cell(x[i], y[i], cell_w, cell_h, n_columns, n_rows)] += left[q]


@dataclass(frozen=True, kw_only=True)
class DepositCarcass(Rule):
    """The bodies of the dead become carcasses where they lie; without such a layer they decay at once."""

    phase: ClassVar[str] = "die"
    stored_name: ClassVar[str] = "Bequeath"

    def apply(self, world: World) -> None:
        a, food = world.agents, world.arrays["food"]
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
