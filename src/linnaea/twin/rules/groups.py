"""Herds, prides and territories: who stays with whom, where, and who founds a new group.

Every animal belongs to a herd, a solitary one to its own. A herd is a row of `World.arrays`: `herd_key` (name to the random
numbers, the key of one of its founders), `herd_species` (-1 free row), `herd_home` and `herd_goal` [h, 2] (metres),
`herd_size`, `herd_adults`, `herd_middle` [h, 2] and `herd_store` (mean filling of the stores; all counted anew in every step).

Shape suffixes: h herds, n slots, m live animals in the order of the cells, s species.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from linnaea.twin.engine.jit import serial
from linnaea.twin.engine.layers import fenced
from linnaea.twin.engine.rng import DISPERSAL, uniforms
from linnaea.twin.engine.world import Rule, World
from linnaea.twin.rules.weather import due

FREE = -1
# Places are added up in whole parts of the world's size, so that the sum does not depend on the order.
_PARTS = float(1 << 30)
_STATE = (
    ("herd_key", np.uint64, 0),
    ("herd_species", np.int16, 0),
    ("herd_home", np.float64, 2),
    ("herd_goal", np.float64, 2),
    ("herd_size", np.int64, 0),
    ("herd_adults", np.int64, 0),
    ("herd_middle", np.float64, 2),
    ("herd_store", np.float64, 0),
)


def add_herds(world: World, keys: np.ndarray, species: np.ndarray, home: np.ndarray) -> np.ndarray:
    """New herds with these keys [h], species [h] and homes [h, 2]: their rows [h], the lowest free ones."""
    arrays = world.arrays
    for name, dtype, width in _STATE:
        if name not in arrays:
            arrays[name] = np.full((64, width) if width else 64, FREE if name == "herd_species" else 0, dtype)
    free = np.flatnonzero(arrays["herd_species"] == FREE)
    if len(free) < len(keys):
        old = len(arrays["herd_species"])
        size = max(2 * old, old + len(keys))
        for name, _, _ in _STATE:
            grown = np.zeros((size, *arrays[name].shape[1:]), arrays[name].dtype)
            grown[:old] = arrays[name]
            arrays[name] = grown
        arrays["herd_species"][old:] = FREE
        free = np.flatnonzero(arrays["herd_species"] == FREE)
    rows = free[: len(keys)]
    arrays["herd_key"][rows] = keys
    arrays["herd_species"][rows] = species
    arrays["herd_home"][rows] = home
    arrays["herd_goal"][rows] = home
    arrays["herd_middle"][rows] = home
    arrays["herd_size"][rows] = 0
    arrays["herd_adults"][rows] = 0
    return rows


@serial
def _gather(
    order,
    herd,
    species,
    x,
    y,
    energy,
    mass,
    born_h,
    store,
    mature_h,
    now_h,
    width,
    height,
    sums,
    size,
    adults,
    middle,
    filled,
    herd_species,
):
    sums[:] = 0
    size[:] = 0
    adults[:] = 0
    for k in range(len(order)):
        i = order[k]
        h = herd[i]
        size[h] += 1
        if now_h - born_h[i] >= mature_h[species[i]]:
            adults[h] += 1
        sums[h, 0] += np.int64(x[i] / width * _PARTS)
        sums[h, 1] += np.int64(y[i] / height * _PARTS)
        sums[h, 2] += np.int64(energy[i] / (store[species[i]] * mass[i]) * _PARTS)
    for h in range(len(size)):
        if size[h] > 0:
            middle[h, 0] = np.float64(sums[h, 0]) / size[h] / _PARTS * width
            middle[h, 1] = np.float64(sums[h, 1]) / size[h] / _PARTS * height
            filled[h] = np.float64(sums[h, 2]) / size[h] / _PARTS
        else:
            herd_species[h] = FREE


@dataclass(frozen=True, kw_only=True)
class UpdateHerds(Rule):
    """Counts every herd, finds its middle and how well it is fed."""

    phase: ClassVar[str] = "index"
    stored_name: ClassVar[str] = "Gather"

    def apply(self, world: World) -> None:
        a, arrays, space = world.agents, world.arrays, world.space
        p = world.parameters
        sums = np.zeros((len(arrays["herd_size"]), 3), np.int64)
        _gather(
            world.cells.order,
            a.herd,
            a.species,
            a.x,
            a.y,
            a.energy,
            a.mass,
            a.born_h,
            p["store_kj_kg"],
            p["mature_h"],
            world.now_h,
            space.width_m,
            space.height_m,
            sums,
            arrays["herd_size"],
            arrays["herd_adults"],
            arrays["herd_middle"],
            arrays["herd_store"],
            arrays["herd_species"],
        )


def most_adults(herd_size: np.ndarray) -> np.ndarray:
    """Adults above which a group divides, and bears no young while it cannot if it holds a territory: as many as the usual
    group has in all, at least a pair.
    """
    return np.maximum(herd_size, 2.0)


def is_taken(world: World, kind: int, x: float, y: float) -> bool:
    """Whether a place (metres) lies nearer to the home of a territorial pair or group of this species than territories do.

    One that lives alone drives nobody away.
    """
    if not world.parameters["resident"][kind]:
        return False
    arrays = world.arrays
    homes = arrays["herd_home"][(arrays["herd_species"] == kind) & (arrays["herd_adults"] >= 2)]
    spacing = world.parameters["spacing_m"][kind]
    return bool((((homes - (x, y)) ** 2).sum(1) < spacing * spacing).any())


@serial
def _settle(homes, places, spacing, width, height, chosen):
    """For each new group the first of its places [g, tries, 2] that keeps its distance from all homes [h, 2] and from
    those settled before it: `chosen` [g], -1 for none. A grid of lists finds the neighbours.

    A territory lies within the ground: half of the distance, or a quarter of a small ground, parts its middle from the borders.
    """
    # No more cells than a thousand to a side, however small the territories.
    side = max(spacing, max(width, height) / 1000.0)
    n_columns, n_rows = int(width / side) + 1, int(height / side) + 1
    n, n_groups = len(homes), len(places)
    edge_x, edge_y = min(0.5 * spacing, 0.25 * width), min(0.5 * spacing, 0.25 * height)
    head = np.full(n_columns * n_rows, -1, np.int64)
    following = np.full(n + n_groups, -1, np.int64)
    x, y = np.empty(n + n_groups), np.empty(n + n_groups)
    for q in range(n + n_groups):
        if q < n:
            x[q], y[q] = homes[q, 0], homes[q, 1]
        else:
            g = q - n
            chosen[g] = -1
            for t in range(places.shape[1]):
                px, py = places[g, t, 0], places[g, t, 1]
                if px < edge_x or py < edge_y or px >= width - edge_x or py >= height - edge_y:
                    continue
                free = True
                row, column = int(py / side), int(px / side)
                for r in range(max(0, row - 1), min(n_rows, row + 2)):
                    for c in range(max(0, column - 1), min(n_columns, column + 2)):
                        j = head[r * n_columns + c]
                        while j >= 0 and free:
                            free = (x[j] - px) ** 2 + (y[j] - py) ** 2 >= spacing * spacing
                            j = following[j]
                if free:
                    chosen[g] = t
                    break
            if chosen[g] < 0:
                continue
            x[q], y[q] = places[g, chosen[g], 0], places[g, chosen[g], 1]
        cell = min(max(int(y[q] / side), 0), n_rows - 1) * n_columns + min(max(int(x[q] / side), 0), n_columns - 1)
        following[q] = head[cell]
        head[cell] = q


@dataclass(frozen=True, kw_only=True)
class MoveTerritory(Rule):
    """The territory of hunters moves after them when their goal lies beyond their range, unless it came too near to another."""

    phase: ClassVar[str] = "tidy"
    stored_name: ClassVar[str] = "Follow"
    every_h: float = 24.0
    "hours between two looks"

    def apply(self, world: World) -> None:
        if not due(world, self.every_h):
            return
        arrays, p = world.arrays, world.parameters
        home, species = arrays["herd_home"], arrays["herd_species"]
        kinds = np.maximum(species, 0)
        way = arrays["herd_goal"] - home
        far = np.sqrt((way**2).sum(1))
        gone = np.flatnonzero(
            (species != FREE) & p["resident"][kinds] & p["hunts"][kinds] & (far > p["range_m"][kinds])
        )
        for herd in gone[np.argsort(arrays["herd_key"][gone], kind="stable")]:
            kind = species[herd]
            place = home[herd] + way[herd] * (1 - p["range_m"][kind] / far[herd])
            others = home[(species == kind) & (arrays["herd_adults"] >= 2) & (np.arange(len(species)) != herd)]
            before, after = (((others - one) ** 2).sum(1) for one in (home[herd], place))
            if not (after < np.minimum(before, p["spacing_m"][kind] ** 2)).any():
                home[herd] = place


def _firsts(herd: np.ndarray) -> np.ndarray:
    """Of animals [n] that stand together by herd, whether each is the first of its herd."""
    first = np.ones(len(herd), bool)
    first[1:] = herd[1:] != herd[:-1]
    return first


@dataclass(frozen=True, kw_only=True)
class SplitHerd(Rule):
    """A herd with too many adults divides; a territorial one only when a vacant territory is found within reach.

    Each adult but the oldest leaves with an even chance; the leavers found a herd of their own.
    """

    phase: ClassVar[str] = "tidy"
    stored_name: ClassVar[str] = "Divide"
    every_h: float = 24.0
    "hours between two looks"
    patience: int = 5
    "looks until it is a crowded herd's turn"
    tries: int = 8
    "places that leavers look at"

    def apply(self, world: World) -> None:
        if not due(world, self.every_h):
            return
        a, arrays, p = world.agents, world.arrays, world.parameters
        species = arrays["herd_species"]
        limit = most_adults(p["herd_size"])
        crowded = (species != FREE) & (arrays["herd_adults"] > limit[np.maximum(species, 0)])
        # Who found no place looks again only after some days.
        round_now = np.uint64(round(world.now_h / self.every_h))
        crowded &= (arrays["herd_key"] + round_now) % np.uint64(self.patience) == 0
        if not crowded.any():
            return
        slots = a.slots()
        slots = slots[crowded[a.herd[slots]]]
        now = world.now_h + world.dt_h
        slots = slots[now - a.born_h[slots] >= p["mature_h"][a.species[slots]]]
        slots = slots[np.lexsort((a.key[slots], a.born_h[slots], arrays["herd_key"][a.herd[slots]]))]
        oldest = _firsts(a.herd[slots])
        leavers = slots[~oldest & (uniforms(world.seed, world.step, DISPERSAL, a.key[slots]) < 0.5)]
        if len(leavers):
            self._leave(world, leavers)

    def _leave(self, world: World, leavers: np.ndarray) -> None:
        """`leavers` stand together by herd, in the order of the herds' keys."""
        a, arrays, p = world.agents, world.arrays, world.parameters
        first = _firsts(a.herd[leavers])
        group, leaders = np.cumsum(first) - 1, leavers[first]
        old, kinds, keys = a.herd[leaders], a.species[leaders], a.key[leaders]
        new_home = arrays["herd_home"][old].copy()
        goes = np.ones(len(leaders), bool)
        for kind in np.unique(kinds[p["resident"][kinds]]):
            mine = np.flatnonzero(kinds == kind)
            homes = arrays["herd_home"][arrays["herd_species"] == kind]
            places = self._places(world, keys[mine], new_home[mine], p["dispersal_m"][kind])
            chosen = np.empty(len(mine), np.int64)
            space = world.space
            _settle(homes, places, p["spacing_m"][kind], space.width_m, space.height_m, chosen)
            goes[mine] = chosen >= 0
            new_home[mine] = places[np.arange(len(mine)), np.maximum(chosen, 0)]
        if not goes.any():
            return
        goals = np.where(p["resident"][kinds][:, None], new_home, arrays["herd_goal"][old])
        rows = np.full(len(leaders), FREE, np.int32)
        rows[goes] = add_herds(world, keys[goes], kinds[goes], new_home[goes])
        world.arrays["herd_goal"][rows[goes]] = goals[goes]
        moved = goes[group]
        a.herd[leavers[moved]] = rows[group[moved]]
        a.home_x[leavers[moved]], a.home_y[leavers[moved]] = new_home[group[moved]].T

    def _places(self, world: World, keys: np.ndarray, home: np.ndarray, reach_m: float) -> np.ndarray:
        draws = [uniforms(world.seed, world.step, DISPERSAL, keys, 1 + t) for t in range(2 * self.tries)]
        angle, distance = 2 * math.pi * np.stack(draws[::2], 1), reach_m * (0.3 + 0.7 * np.stack(draws[1::2], 1))
        return home[:, None, :] + np.stack([np.cos(angle) * distance, np.sin(angle) * distance], 2)


@serial
def _parted(x, y, to_x, to_y, fences, chance):
    """Whether a fence parts each place from the other [n]; see `fenced`."""
    found = np.zeros(len(x), np.bool_)
    for k in range(len(x)):
        found[k] = fenced(x[k], y[k], to_x[k], to_y[k], fences, chance[k])
    return found


@dataclass(frozen=True, kw_only=True)
class SplitByFence(Rule):
    """Those whom a fence parts from the middle of their herd are a herd of their own, the likelier the fewer pass the fence."""

    phase: ClassVar[str] = "tidy"
    stored_name: ClassVar[str] = "Part"
    every_h: float = 24.0
    "hours between two looks"

    def apply(self, world: World) -> None:
        fences = world.arrays["fences"]
        if not len(fences) or not due(world, self.every_h):
            return
        a, arrays, p = world.agents, world.arrays, world.parameters
        slots = a.slots()
        slots = slots[arrays["herd_size"][a.herd[slots]] > 1]
        middle = arrays["herd_middle"][a.herd[slots]]
        chance = uniforms(world.seed, world.step, DISPERSAL, arrays["herd_key"][a.herd[slots]], 1000)
        x, y = a.x[slots].astype(np.float64), a.y[slots].astype(np.float64)
        slots = slots[_parted(x, y, middle[:, 0].copy(), middle[:, 1].copy(), fences, chance)]
        if not len(slots):
            return
        slots = slots[np.lexsort((a.key[slots], a.born_h[slots], arrays["herd_key"][a.herd[slots]]))]
        first = _firsts(a.herd[slots])
        group, leaders = np.cumsum(first) - 1, slots[first]
        place = np.stack([a.x[leaders], a.y[leaders]], 1).astype(np.float64)
        kinds, old = a.species[leaders], a.herd[leaders]
        home = np.where(p["resident"][kinds][:, None], place, arrays["herd_home"][old])
        keys = a.key[leaders].copy()
        # the one that the old herd is named for may be among those that leave it
        keys[keys == arrays["herd_key"][old]] ^= np.uint64(1 << 63)
        rows = add_herds(world, keys, kinds, home).astype(np.int32)
        world.arrays["herd_goal"][rows] = world.arrays["herd_middle"][rows] = place
        a.herd[slots] = rows[group]
        a.home_x[slots], a.home_y[slots] = home[group].T


@dataclass(frozen=True, kw_only=True)
class MergeHerds(Rule):
    """What is left of a social herd joins the nearest herd of its species within its range that no fence parts from it."""

    phase: ClassVar[str] = "tidy"
    stored_name: ClassVar[str] = "Join"
    every_h: float = 24.0
    "hours between two looks"
    small: float = 0.4
    "share of the usual size below which a herd joins another"

    def apply(self, world: World) -> None:
        if not due(world, self.every_h):
            return
        arrays, p = world.arrays, world.parameters
        species = arrays["herd_species"]
        usual = p["herd_size"][np.maximum(species, 0)]
        small = np.flatnonzero(
            (species != FREE) & (arrays["herd_size"] > 0) & (usual >= 2) & (arrays["herd_size"] < self.small * usual)
        )
        if not len(small):
            return
        small = small[np.argsort(arrays["herd_key"][small], kind="stable")]
        into = np.arange(len(species), dtype=np.int32)
        for herd in small:
            kind = species[herd]
            others = np.flatnonzero((species == kind) & (arrays["herd_size"] > 0))
            others = others[(others != herd) & (into[others] == others)]
            if len(arrays["fences"]):
                others = others[~self._parted(world, herd, others)]
            if not len(others):
                continue
            apart = ((arrays["herd_middle"][others] - arrays["herd_middle"][herd]) ** 2).sum(1)
            nearest = np.lexsort((arrays["herd_key"][others], apart))[0]
            if apart[nearest] > (2 * p["range_m"][kind]) ** 2:
                continue
            into[herd] = others[nearest]
        self._move(world, into)

    @staticmethod
    def _parted(world: World, herd: int, others: np.ndarray) -> np.ndarray:
        arrays, n = world.arrays, len(others)
        (x, y), middle = arrays["herd_middle"][herd], arrays["herd_middle"][others]
        # a herd that half of the crossings lead to is in reach
        return _parted(
            np.full(n, x), np.full(n, y), middle[:, 0].copy(), middle[:, 1].copy(), arrays["fences"], np.full(n, 0.5)
        )

    @staticmethod
    def _move(world: World, into: np.ndarray) -> None:
        a, arrays = world.agents, world.arrays
        # Two that chose each other in turn end in the one that stays.
        for _ in range(3):
            into = into[into]
        slots = a.slots()
        moved = slots[into[a.herd[slots]] != a.herd[slots]]
        a.herd[moved] = into[a.herd[moved]]
        a.home_x[moved] = arrays["herd_home"][a.herd[moved], 0]
        a.home_y[moved] = arrays["herd_home"][a.herd[moved], 1]
