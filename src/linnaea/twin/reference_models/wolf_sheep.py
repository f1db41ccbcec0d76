"""Wolves, sheep and grass, in both orders of update (`linnaea.twin.reference_models.update_order`); a whole run is one compiled loop.

The two orders are the same process here: a move depends on nobody, and of those that meet on a cell a random one comes
first.

Shape suffixes: n agents, c cells of a square grid with borders, counted row by row.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from linnaea.twin.engine.jit import scalar, serial
from linnaea.twin.engine.rng import FEEDING, HERDING, HUNTING, INITIAL, MOVEMENT, block, uniform2
from linnaea.twin.reference_models.update_order import ORDERS, check_order, draw_below

_TO_UNIT_32 = 1.0 / 4294967296.0


@scalar
def choose_neighbour(near, cell, word):
    """A random cell of the two to four that share an edge with this one, from the table of `_list_neighbours`."""
    return near[cell, 1 + draw_below(word, near[cell, 0])]


@serial
def _list_neighbours(side):
    """How many cells share an edge with each on a grid with borders, and which: int32 [c, 5]."""
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
def _bear_and_keep(cell, energy, i, kept, births, born, reproduces):
    """Keeps agent i, if its energy is not below 0, at place `kept`; if it `reproduces` a young is noted with half of that: (kept, births).

    What is noted counts only afterwards: the branches, which nothing foretells, would cost more than the writing.
    """
    e = energy[i]
    alive = e >= 0.0
    bears = alive & reproduces
    e *= 0.5 if bears else 1.0
    born[births, 0] = cell[i]
    born[births, 1] = e
    cell[kept], energy[kept] = cell[i], e
    return kept + alive, births + bears


@scalar
def _append(cell, energy, kept, births, born):
    for b in range(births):
        cell[kept + b] = np.int32(born[b, 0])
        energy[kept + b] = born[b, 1]
    return kept + births


@scalar
def _swap(cell, energy, i, j):
    cell[i], cell[j] = cell[j], cell[i]
    energy[i], energy[j] = energy[j], energy[i]


@serial
def _step_sheep(cell, energy, n, near, ready, regrowth, gain, chance, seed, step, synchronous, born, best, best_word):
    """All sheep move, graze, and die or bear; returns their number."""
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
        energy[i] = e + gain if eats else e
        ready[c] = step + regrowth if eats else ready[c]
        if synchronous and best[c] == i:
            best[c] = -1
        kept, births = _bear_and_keep(cell, energy, i, kept, births, born, w2 * _TO_UNIT_32 < chance)
    return _append(cell, energy, kept, births, born)


@serial
def _step_wolves(
    cell, energy, n, sheep_cell, sheep_energy, n_sheep, near, gain, chance, seed, step, synchronous, born, head, after
):
    """All wolves move, eat a sheep of their cell each, and die or bear; returns the numbers of wolves and sheep."""
    for i in range(n_sheep):
        after[i] = head[sheep_cell[i]]
        head[sheep_cell[i]] = i
    if synchronous:
        # A random order of arrival settles who eats first where sheep are few: the same as acting in that order.
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
            e += gain
            _take(head, after, sheep_energy, c, w3)
        energy[i] = e
        kept, births = _bear_and_keep(cell, energy, i, kept, births, born, w2 * _TO_UNIT_32 < chance)
    left = 0
    for i in range(n_sheep):
        head[sheep_cell[i]] = -1
        if sheep_energy[i] >= 0.0:
            sheep_cell[left], sheep_energy[left] = sheep_cell[i], sheep_energy[i]
            left += 1
    return _append(cell, energy, kept, births, born), left


@scalar
def _take(head, after, sheep_energy, c, word):
    """Unlinks a random sheep from the list of cell c and marks it eaten."""
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
def _found(cell, energy, n, n_cells, most, seed, kind):
    for i in range(n):
        u, v = uniform2(seed, 0, INITIAL, i, kind)
        cell[i] = int(u * n_cells)
        energy[i] = v * most


@serial
def _run_wolf_sheep(seed, steps, side, n_sheep, n_wolves, sheep_rates, wolf_rates, regrowth, synchronous, room, counts):
    """Fills `counts` [steps + 1, 2] while there is room: the steps done. Rates: what a meal gives, chance to split."""
    n_cells = side * side
    sheep_cell, wolf_cell = np.empty(room, np.int32), np.empty(room, np.int32)
    sheep_energy, wolf_energy = np.empty(room, np.float64), np.empty(room, np.float64)
    born = np.empty((room, 2), np.float64)
    ready = np.zeros(n_cells, np.int64)
    head, after = np.full(n_cells, -1, np.int32), np.empty(room, np.int32)
    near = _list_neighbours(side)
    best, best_word = np.full(n_cells, -1, np.int64), np.zeros(n_cells, np.uint64)
    _found(sheep_cell, sheep_energy, n_sheep, n_cells, 2.0 * sheep_rates[0], seed, 0)
    _found(wolf_cell, wolf_energy, n_wolves, n_cells, 2.0 * wolf_rates[0], seed, 1)
    for c in range(n_cells):
        u, v = uniform2(seed, 0, INITIAL, c, 2)
        countdown = int(v * regrowth)
        ready[c] = 1 if u < 0.5 or countdown == 0 else countdown + 1
    counts[0, 0], counts[0, 1] = n_sheep, n_wolves
    for step in range(1, steps + 1):
        if 2 * n_sheep > room or 2 * n_wolves > room:
            return step - 1
        sheep, wolves = (sheep_cell, sheep_energy, n_sheep), (wolf_cell, wolf_energy, n_wolves)
        when = (seed, step, synchronous)
        n_sheep = _step_sheep(*sheep, near, ready, regrowth + 1, *sheep_rates, *when, born, best, best_word)
        sheep = (sheep_cell, sheep_energy, n_sheep)
        n_wolves, n_sheep = _step_wolves(*wolves, *sheep, near, *wolf_rates, *when, born, head, after)
        counts[step, 0], counts[step, 1] = n_sheep, n_wolves
    return steps


@dataclass(frozen=True, kw_only=True)
class WolfSheep:
    """Sheep graze, wolves eat sheep, both walk at random on a square grid with borders and split to reproduce.

    Each step first all sheep act, then all wolves. A move to one of the cells that share an edge costs 1 of energy;
    below 0 an animal dies; founders hold up to twice what a meal gives. Grass eaten in a step is back `regrowth` + 1
    steps later, as it is where the regrowth is an event of its own at the end of a step.
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
    "energy of a cell's grass"
    wolf_gain: float = 13.0
    "energy of a sheep"
    regrowth: int = 10
    "steps until grass returns, less one"
    order: str = field(default="sequential", metadata={"choices": ORDERS})
    "whether animals act one after another or all at once"
    seed: int = 0
    "of every random number"

    def run(self, steps: int) -> np.ndarray:
        """Sheep and wolves before the first step and after each: int64 [steps + 1, 2]."""
        check_order(self.order)
        room = 4 * max(self.side * self.side, self.n_sheep, self.n_wolves)
        sheep_rates, wolf_rates = (self.sheep_gain, self.sheep_reproduce), (self.wolf_gain, self.wolf_reproduce)
        while True:
            counts = np.zeros((steps + 1, 2), np.int64)
            done = _run_wolf_sheep(
                *(np.uint64(self.seed), steps, self.side, self.n_sheep, self.n_wolves, sheep_rates, wolf_rates),
                *(self.regrowth, self.order == "synchronous", room, counts),
            )
            if done == steps:
                return counts
            room *= 2
