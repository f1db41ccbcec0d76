"""Fission and fusion: herds that split, by number or by a fence, and small herds that merge.

Shape suffixes: h herds, n slots, g new groups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from linnaea.twin.engine.herds import FREE
from linnaea.twin.engine.jit import scalar, serial
from linnaea.twin.engine.layers import fenced
from linnaea.twin.engine.rng import DISPERSAL, uniforms
from linnaea.twin.engine.world import Rule, World, name_state
from linnaea.twin.rules.groups import mark_first, most_adults

MERGE_RANGES = 2.0
"distance to the herd that a small one joins, at most, as a multiple of the species' range"


@scalar
def is_vacant(px, py, x, y, spacing, side, n_columns, n_rows, head, following):
    """Whether a place keeps its distance from all homes (x, y), listed by square cells in `head` and `following`."""
    row, column = int(py / side), int(px / side)
    for r in range(max(0, row - 1), min(n_rows, row + 2)):
        for c in range(max(0, column - 1), min(n_columns, column + 2)):
            j = head[r * n_columns + c]
            while j >= 0:
                if (x[j] - px) ** 2 + (y[j] - py) ** 2 < spacing * spacing:
                    return False
                j = following[j]
    return True


@scalar
def is_inside(px, py, edge_x, edge_y, width, height):
    """Whether a place keeps a distance from the borders."""
    return edge_x <= px < width - edge_x and edge_y <= py < height - edge_y


@serial
def _settle(homes, places, spacing, width, height, chosen):
    """Chooses a territory for each new group: `chosen` [g], the number of its place or -1 for none.

    A group takes the first of its places [g, tries, 2] that keeps its distance from all homes [h, 2] and from the
    groups settled before it. A grid of lists finds the neighbours. A territory lies within the ground: half of the
    distance, or a quarter of a small ground, separates its centre from the borders.
    """
    # At most a thousand cells to a side, however small the territories.
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
                if is_inside(px, py, edge_x, edge_y, width, height) and is_vacant(
                    px, py, x, y, spacing, side, n_columns, n_rows, head, following
                ):
                    chosen[g] = t
                    break
            if chosen[g] < 0:
                continue
            x[q], y[q] = places[g, chosen[g], 0], places[g, chosen[g], 1]
        cell = min(max(int(y[q] / side), 0), n_rows - 1) * n_columns + min(max(int(x[q] / side), 0), n_columns - 1)
        following[q] = head[cell]
        head[cell] = q


@dataclass(frozen=True, kw_only=True)
class SplitHerd(Rule):
    """A herd with too many adults divides; a territorial one only when a vacant territory is found within reach.

    Each adult but the oldest leaves with an even chance; the leavers found a herd of their own.
    """

    phase: ClassVar[str] = "tidy"
    stored_name: ClassVar[str] = "Divide"
    reads: ClassVar[frozenset[str]] = name_state(agents="species key born_h herd", herds="*")
    writes: ClassVar[frozenset[str]] = name_state(agents="herd home_x home_y", herds="*")
    every_h: float = 24.0
    "hours between two chances to divide"
    patience: int = 5
    "chances until it is a crowded herd's turn"
    tries: int = 8
    "places that leavers look at"

    def apply(self, world: World) -> None:
        """Divides the crowded herds whose turn it is."""
        if not world.due(self.every_h):
            return
        a, herds, p = world.agents, world.herds, world.parameters
        limit = most_adults(p.groups.herd_size)
        crowded = (herds.species != FREE) & (herds.adults > limit[np.maximum(herds.species, 0)])
        # A herd that found no place looks again only after some days.
        round_now = np.uint64(round(world.now_h / self.every_h))
        crowded &= (herds.key + round_now) % np.uint64(self.patience) == 0
        if not crowded.any():
            return
        slots = a.slots()
        slots = slots[crowded[a.herd[slots]]]
        now = world.now_h + world.dt_h
        slots = slots[now - a.born_h[slots] >= p.life.mature_h[a.species[slots]]]
        slots = slots[np.lexsort((a.key[slots], a.born_h[slots], herds.key[a.herd[slots]]))]
        oldest = mark_first(a.herd[slots])
        leavers = slots[~oldest & (uniforms(world.seed, world.step, DISPERSAL, a.key[slots]) < 0.5)]
        if len(leavers):
            self._leave(world, leavers)

    def _leave(self, world: World, leavers: np.ndarray) -> None:
        """Founds a herd for the leavers of each herd; they stand together by herd, in the order of the herds' keys."""
        a, herds, resident = world.agents, world.herds, world.parameters.groups.resident
        first = mark_first(a.herd[leavers])
        group, leaders = np.cumsum(first) - 1, leavers[first]
        old, kinds, keys = a.herd[leaders], a.species[leaders], a.key[leaders]
        new_home, goes = self._find_homes(world, kinds, keys, herds.home[old].copy())
        if not goes.any():
            return
        goals = np.where(resident[kinds][:, None], new_home, herds.goal[old])
        rows = np.full(len(leaders), FREE, np.int32)
        rows[goes] = herds.add(keys[goes], kinds[goes], new_home[goes])
        herds.goal[rows[goes]] = goals[goes]
        moved = goes[group]
        a.herd[leavers[moved]] = rows[group[moved]]
        a.home_x[leavers[moved]], a.home_y[leavers[moved]] = new_home[group[moved]].T

    def _find_homes(
        self, world: World, kinds: np.ndarray, keys: np.ndarray, home: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Homes of new groups [g, 2] from those that they leave, and whether each group goes [g]."""
        herds, groups, space = world.herds, world.parameters.groups, world.space
        goes = np.ones(len(kinds), bool)
        for kind in np.unique(kinds[groups.resident[kinds]]):
            mine = np.flatnonzero(kinds == kind)
            places = self._draw_places(world, keys[mine], home[mine], groups.dispersal_m[kind])
            chosen = np.empty(len(mine), np.int64)
            homes = herds.home[herds.species == kind]
            _settle(homes, places, groups.spacing_m[kind], space.width_m, space.height_m, chosen)
            goes[mine] = chosen >= 0
            home[mine] = places[np.arange(len(mine)), np.maximum(chosen, 0)]
        return home, goes

    def _draw_places(self, world: World, keys: np.ndarray, home: np.ndarray, reach_m: float) -> np.ndarray:
        draws = [uniforms(world.seed, world.step, DISPERSAL, keys, 1 + t) for t in range(2 * self.tries)]
        angle, distance = 2 * math.pi * np.stack(draws[::2], 1), reach_m * (0.3 + 0.7 * np.stack(draws[1::2], 1))
        return home[:, None, :] + np.stack([np.cos(angle) * distance, np.sin(angle) * distance], 2)


@serial
def _mark_fenced(x, y, to_x, to_y, fences, chance):
    """Whether a fence lies between each place and the other [n]; see `fenced`."""
    found = np.zeros(len(x), np.bool_)
    for k in range(len(x)):
        found[k] = fenced(x[k], y[k], to_x[k], to_y[k], fences, chance[k])
    return found


@dataclass(frozen=True, kw_only=True)
class SplitByFence(Rule):
    """Animals that a fence separates from the centre of their herd become a herd of their own.

    The fewer animals pass the fence, the more likely it is.
    """

    phase: ClassVar[str] = "tidy"
    stored_name: ClassVar[str] = "Part"
    reads: ClassVar[frozenset[str]] = name_state(agents="species key x y born_h herd", herds="*", arrays="fences")
    writes: ClassVar[frozenset[str]] = name_state(agents="herd home_x home_y", herds="*")
    every_h: float = 24.0
    "hours between two splits"

    def apply(self, world: World) -> None:
        """Splits all herds with animals on both sides of a fence, when it is due."""
        fences = world.arrays.fences
        if not len(fences) or not world.due(self.every_h):
            return
        a, herds = world.agents, world.herds
        slots = a.slots()
        slots = slots[herds.size[a.herd[slots]] > 1]
        centre = herds.centre[a.herd[slots]]
        chance = uniforms(world.seed, world.step, DISPERSAL, herds.key[a.herd[slots]], 1000)
        x, y = a.x[slots].astype(np.float64), a.y[slots].astype(np.float64)
        slots = slots[_mark_fenced(x, y, centre[:, 0].copy(), centre[:, 1].copy(), fences, chance)]
        if not len(slots):
            return
        slots = slots[np.lexsort((a.key[slots], a.born_h[slots], herds.key[a.herd[slots]]))]
        first = mark_first(a.herd[slots])
        group, leaders = np.cumsum(first) - 1, slots[first]
        place = np.stack([a.x[leaders], a.y[leaders]], 1).astype(np.float64)
        kinds, old = a.species[leaders], a.herd[leaders]
        home = np.where(world.parameters.groups.resident[kinds][:, None], place, herds.home[old])
        keys = a.key[leaders].copy()
        # The animal whose key names the old herd may be among those that leave it.
        keys[keys == herds.key[old]] ^= np.uint64(1 << 63)
        rows = herds.add(keys, kinds, home).astype(np.int32)
        herds.goal[rows] = herds.centre[rows] = place
        a.herd[slots] = rows[group]
        a.home_x[slots], a.home_y[slots] = home[group].T


@dataclass(frozen=True, kw_only=True)
class MergeHerds(Rule):
    """What is left of a social herd joins the nearest herd of its species that no fence separates from it.

    It joins none whose centre is farther away than twice the species' range.
    """

    phase: ClassVar[str] = "tidy"
    stored_name: ClassVar[str] = "Join"
    reads: ClassVar[frozenset[str]] = name_state(agents="herd", herds="key species home size centre", arrays="fences")
    writes: ClassVar[frozenset[str]] = name_state(agents="herd home_x home_y")
    every_h: float = 24.0
    "hours between two mergers"
    small: float = 0.4
    "share of the usual size below which a herd joins another"

    def apply(self, world: World) -> None:
        """Merges small herds when it is due."""
        if not world.due(self.every_h):
            return
        herds, p = world.herds, world.parameters
        usual = p.groups.herd_size[np.maximum(herds.species, 0)]
        small = np.flatnonzero(
            (herds.species != FREE) & (herds.size > 0) & (usual >= 2) & (herds.size < self.small * usual)
        )
        if not len(small):
            return
        into = np.arange(len(herds), dtype=np.int32)
        for herd in small[np.argsort(herds.key[small], kind="stable")]:
            into[herd] = self._find_partner(world, herd, into)
        self._move(world, into)

    def _find_partner(self, world: World, herd: int, into: np.ndarray) -> int:
        """The herd that a small one joins, itself if there is none; `into` [h] is what the herds before it chose."""
        herds, kind = world.herds, world.herds.species[herd]
        others = np.flatnonzero((herds.species == kind) & (herds.size > 0))
        others = others[(others != herd) & (into[others] == others)]
        if len(world.arrays.fences):
            others = others[~self._mark_separated(world, herd, others)]
        if not len(others):
            return herd
        apart = ((herds.centre[others] - herds.centre[herd]) ** 2).sum(1)
        nearest = np.lexsort((herds.key[others], apart))[0]
        if apart[nearest] > (MERGE_RANGES * world.parameters.movement.range_m[kind]) ** 2:
            return herd
        return others[nearest]

    @staticmethod
    def _mark_separated(world: World, herd: int, others: np.ndarray) -> np.ndarray:
        (x, y), centre, n = world.herds.centre[herd], world.herds.centre[others], len(others)
        # A herd that half of the crossings lead to is in reach.
        return _mark_fenced(
            np.full(n, x),
            np.full(n, y),
            centre[:, 0].copy(),
            centre[:, 1].copy(),
            world.arrays.fences,
            np.full(n, 0.5),
        )

    @staticmethod
    def _move(world: World, into: np.ndarray) -> None:
        a, home = world.agents, world.herds.home
        # Two that chose each other in turn end in the one that stays.
        for _ in range(3):
            into = into[into]
        slots = a.slots()
        moved = slots[into[a.herd[slots]] != a.herd[slots]]
        a.herd[moved] = into[a.herd[moved]]
        a.home_x[moved] = home[a.herd[moved], 0]
        a.home_y[moved] = home[a.herd[moved], 1]
