"""Wolves, sheep and grass, the predator-prey model of NetLogo ("Wolf Sheep Predation", Wilensky 1997).

Both orders of update exist (`reference_models.update_order`); a whole run is one compiled loop. The two orders are the
same process here: a move depends on nobody else, and of those that meet on a cell a random one comes first.

Shape suffixes: n agents, c cells of a square grid with borders, counted row by row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from linnaea.twin.engine.jit import scalar, serial
from linnaea.twin.engine.rng import FEEDING, HERDING, HUNTING, INITIAL, MOVEMENT, block, uniform2
from linnaea.twin.reference_models.update_order import ORDERS, check_order, draw_below

_TO_UNIT_32 = 1.0 / 4294967296.0


class SplitRates(NamedTuple):
    """What a species gains and how it reproduces."""

    gain: float
    "energy of a meal"
    chance: float
    "chance to split in a step"


class When(NamedTuple):
    """The names of a step's random numbers, and the order of update."""

    seed: np.uint64
    step: int
    synchronous: bool


class GrassCells(NamedTuple):
    """The grass, and who eats where in a synchronous step."""

    near: np.ndarray
    "the table of `_list_neighbours`"
    ready: np.ndarray
    "step from which a cell has grass [c]"
    regrowth: int
    "steps from a meal to the next grass"
    best: np.ndarray
    "sheep with the highest priority in a cell, -1 for none [c]"
    best_word: np.ndarray
    "its priority [c]"


class SheepLists(NamedTuple):
    """The sheep of each cell as linked lists."""

    head: np.ndarray
    "first sheep of a cell, -1 for none [c]"
    after: np.ndarray
    "next sheep in the cell of a sheep, -1 for none [n]"


@scalar
def choose_neighbour(near, cell, word):
    """Return a random one of the cells that share an edge with this one; `near` is of `_list_neighbours`."""
    return near[cell, 1 + draw_below(word, near[cell, 0])]


@serial
def _list_neighbours(side):
    """Return number and indices of the cells that share an edge with each cell of a grid with borders: int32 [c, 5]."""
    near = np.zeros((side * side, 5), np.int32)
    for cell in range(side * side):
        row, column = cell // side, cell % side
        for is_there, other in (
            (row > 0, cell - side),
            (column > 0, cell - 1),
            (column < side - 1, cell + 1),
            (row < side - 1, cell + side),
        ):
            if is_there:
                near[cell, 0] += 1
                near[cell, near[cell, 0]] = other
    return near


@scalar
def _keep_and_split(cell, energy, i, kept, births, born, splits):
    """Keep agent i at place `kept` unless its energy is below 0; if it splits, note a young with half of the energy.

    Return the new `kept` and `births`. What is written counts only afterwards: branches, which cannot be predicted,
    would cost more than the writing.
    """
    e = energy[i]
    alive = e >= 0.0
    bears = alive & splits
    e *= 0.5 if bears else 1.0
    born[births, 0] = cell[i]
    born[births, 1] = e
    cell[kept], energy[kept] = cell[i], e
    return kept + alive, births + bears


@scalar
def _append(cell, energy, kept, births, born):
    """Append the young to the agents that were kept; return the number of agents."""
    for b in range(births):
        cell[kept + b] = np.int32(born[b, 0])
        energy[kept + b] = born[b, 1]
    return kept + births


@scalar
def _swap(cell, energy, i, j):
    cell[i], cell[j] = cell[j], cell[i]
    energy[i], energy[j] = energy[j], energy[i]


@serial
def _step_sheep(cell, energy, n, grass, rates, when, born):
    """Move all sheep, let them graze, die or split; return their number."""
    near, ready, regrowth, best, best_word = grass
    seed, step, synchronous = when
    if synchronous:
        for i in range(n):
            w0, w1, _, _ = block(seed, step, MOVEMENT, i, 0)
            c = choose_neighbour(near, cell[i], w0)
            cell[i] = c
            if best[c] < 0 or w1 > best_word[c]:
                best[c] = i
                best_word[c] = w1
    kept, births = 0, 0
    for i in range(n):
        w0, w1, w2, _ = block(seed, step, FEEDING, i, 0)
        if not synchronous:
            _swap(cell, energy, i, i + draw_below(w0, n - i))
            cell[i] = choose_neighbour(near, cell[i], w1)
        c = cell[i]
        e = energy[i] - 1.0
        eats = (ready[c] <= step) & (not synchronous or best[c] == i)
        energy[i] = e + rates.gain if eats else e
        ready[c] = step + regrowth if eats else ready[c]
        if synchronous and best[c] == i:
            best[c] = -1
        kept, births = _keep_and_split(cell, energy, i, kept, births, born, w2 * _TO_UNIT_32 < rates.chance)
    return _append(cell, energy, kept, births, born)


@serial
def _step_wolves(cell, energy, n, sheep_cell, sheep_energy, n_sheep, near, rates, when, born, lists):
    """Move all wolves, let each eat a sheep of its cell, die or split; return the numbers of wolves and sheep."""
    seed, step, synchronous = when
    head, after = lists
    for i in range(n_sheep):
        after[i] = head[sheep_cell[i]]
        head[sheep_cell[i]] = i
    if synchronous:
        # A random order of arrival decides who eats first where sheep are few: the same as acting in that order.
        for i in range(n):
            w0, _, _, _ = block(seed, step, HERDING, i, 0)
            _swap(cell, energy, i, i + draw_below(w0, n - i))
    kept, births = 0, 0
    for i in range(n):
        w0, w1, w2, w3 = block(seed, step, HUNTING, i, 0)
        if not synchronous:
            _swap(cell, energy, i, i + draw_below(w0, n - i))
        c = choose_neighbour(near, cell[i], w1)
        cell[i] = c
        e = energy[i] - 1.0
        if head[c] >= 0:
            e += rates.gain
            _take(lists, sheep_energy, c, w3)
        energy[i] = e
        kept, births = _keep_and_split(cell, energy, i, kept, births, born, w2 * _TO_UNIT_32 < rates.chance)
    left = 0
    for i in range(n_sheep):
        head[sheep_cell[i]] = -1
        if sheep_energy[i] >= 0.0:
            sheep_cell[left], sheep_energy[left] = sheep_cell[i], sheep_energy[i]
            left += 1
    return _append(cell, energy, kept, births, born), left


@scalar
def _take(lists, sheep_energy, c, word):
    """Remove a random sheep from the list of cell c and mark it as eaten."""
    head, after = lists
    count = 0
    i = head[c]
    while i >= 0:
        count += 1
        i = after[i]
    k = draw_below(word, count)
    before, i = -1, head[c]
    for _ in range(k):
        before, i = i, after[i]
    if before < 0:
        head[c] = after[i]
    else:
        after[before] = after[i]
    sheep_energy[i] = -1.0


@serial
def _place_founders(cell, energy, n, n_cells, most, seed, kind):
    """Place n founders at random, with energy uniform up to `most`."""
    for i in range(n):
        u, v = uniform2(seed, 0, INITIAL, i, kind)
        cell[i] = int(u * n_cells)
        energy[i] = v * most


@serial
def _run_wolf_sheep(seed, steps, side, n_sheep, n_wolves, sheep_rates, wolf_rates, regrowth, synchronous, room, counts):
    """Fill `counts` [steps + 1, 2] while there is room for all agents; return the number of steps done."""
    n_cells = side * side
    sheep_cell, wolf_cell = np.empty(room, np.int32), np.empty(room, np.int32)
    sheep_energy, wolf_energy = np.empty(room, np.float64), np.empty(room, np.float64)
    born = np.empty((room, 2), np.float64)
    ready = np.zeros(n_cells, np.int64)
    lists = SheepLists(np.full(n_cells, -1, np.int32), np.empty(room, np.int32))
    near = _list_neighbours(side)
    best, best_word = np.full(n_cells, -1, np.int64), np.zeros(n_cells, np.uint64)
    grass = GrassCells(near, ready, regrowth + 1, best, best_word)
    _place_founders(sheep_cell, sheep_energy, n_sheep, n_cells, 2.0 * sheep_rates.gain, seed, 0)
    _place_founders(wolf_cell, wolf_energy, n_wolves, n_cells, 2.0 * wolf_rates.gain, seed, 1)
    for c in range(n_cells):
        u, v = uniform2(seed, 0, INITIAL, c, 2)
        countdown = int(v * regrowth)
        ready[c] = 1 if u < 0.5 or countdown == 0 else countdown + 1
    counts[0, 0], counts[0, 1] = n_sheep, n_wolves
    for step in range(1, steps + 1):
        if 2 * n_sheep > room or 2 * n_wolves > room:
            return step - 1
        when = When(seed, step, synchronous)
        n_sheep = _step_sheep(sheep_cell, sheep_energy, n_sheep, grass, sheep_rates, when, born)
        wolves, sheep = (wolf_cell, wolf_energy, n_wolves), (sheep_cell, sheep_energy, n_sheep)
        n_wolves, n_sheep = _step_wolves(*wolves, *sheep, near, wolf_rates, when, born, lists)
        counts[step, 0], counts[step, 1] = n_sheep, n_wolves
    return steps


@dataclass(frozen=True, kw_only=True)
class WolfSheep:
    """Sheep graze, wolves eat sheep; both walk at random on a square grid with borders and split to reproduce.

    In each step first all sheep act, then all wolves. A move to one of the cells that share an edge costs 1 of energy.
    An animal dies below 0. Founders hold up to twice the energy of a meal. Grass that is eaten in a step is back
    `regrowth` + 1 steps later, as in implementations where regrowth is an event of its own at the end of a step.
    """

    side: int = 100
    "cells along each side"
    n_sheep: int = 1000
    "sheep at the start"
    n_wolves: int = 500
    "wolves at the start"
    sheep_reproduce: float = 0.4
    "chance of a sheep to split in a step"
    wolf_reproduce: float = 0.2
    "chance of a wolf to split in a step"
    sheep_gain: float = 5.0
    "energy of the grass of a cell"
    wolf_gain: float = 13.0
    "energy of a sheep"
    regrowth: int = 10
    "steps until grass returns, less one"
    order: str = field(default="sequential", metadata={"choices": ORDERS})
    "whether animals act one after another or all at once"
    seed: int = 0
    "seed of every random number"

    def run(self, steps: int) -> np.ndarray:
        """Return sheep and wolves before the first step and after each: int64 [steps + 1, 2]."""
        check_order(self.order)
        room = 4 * max(self.side * self.side, self.n_sheep, self.n_wolves)
        sheep_rates = SplitRates(self.sheep_gain, self.sheep_reproduce)
        wolf_rates = SplitRates(self.wolf_gain, self.wolf_reproduce)
        while True:
            counts = np.zeros((steps + 1, 2), np.int64)
            done = _run_wolf_sheep(
                *(np.uint64(self.seed), steps, self.side, self.n_sheep, self.n_wolves, sheep_rates, wolf_rates),
                *(self.regrowth, self.order == "synchronous", room, counts),
            )
            if done == steps:
                return counts
            room *= 2
