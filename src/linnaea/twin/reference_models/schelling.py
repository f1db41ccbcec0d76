"""Schelling's model (1971, "Dynamic models of segregation"): households move if few neighbours are alike.

Both orders of update exist (`reference_models.update_order`); a run is one compiled loop.

Shape suffixes: n households, c cells of a square grid with borders, counted row by row. Kinds are 1 and 2; an empty
cell is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from linnaea.twin.engine.jit import scalar, serial
from linnaea.twin.engine.rng import INITIAL, MOVEMENT, PRIORITY, block
from linnaea.twin.reference_models.update_order import ORDERS, check_order, draw_below


@scalar
def _count_alike(kind, cell, side, radius):
    """Return the neighbours of the same kind and all neighbours of the household in a cell, within this radius."""
    row, column, own = cell // side, cell % side, kind[cell]
    same, total = -1, -1
    for q in range(max(row - radius, 0), min(row + radius + 1, side)):
        for p in range(max(column - radius, 0), min(column + radius + 1, side)):
            there = kind[q * side + p]
            same += there == own
            total += there > 0
    return same, total


@serial
def _observe(kind, home, side, radius, need, out):
    """Fill `out` [2]: share of households that are content, mean share of neighbours of the own kind."""
    content, like, met = 0, 0.0, 0
    for i in range(len(home)):
        same, total = _count_alike(kind, home[i], side, radius)
        content += same >= need
        if total > 0:
            like += same / total
            met += 1
    out[0], out[1] = content / len(home), like / max(met, 1)


@serial
def _move(kind, home, empty, i, k):
    """Move household i to the k-th empty cell; its own cell takes that place among the empty ones."""
    old, new = home[i], empty[k]
    kind[new], kind[old] = kind[old], 0
    home[i], empty[k] = new, old


@serial
def _run_town(kind, home, empty, steps, side, radius, need, seed, synchronous, series):
    """Run the town and fill `series` [steps + 1, 2]."""
    n = len(home)
    turn, unhappy = np.arange(n), np.empty(n, np.int64)
    _observe(kind, home, side, radius, need, series[0])
    for step in range(steps):
        left, leaving = len(empty), 0
        for k in range(n):
            order, where, _, _ = block(seed, step, PRIORITY, k, 0)
            j = k + draw_below(order, n - k)
            i, turn[j] = turn[j], turn[k]
            turn[k] = i
            if _count_alike(kind, home[i], side, radius)[0] >= need:
                continue
            if synchronous:
                unhappy[leaving] = i
                leaving += 1
            else:
                _move(kind, home, empty, i, draw_below(where, len(empty)))
        # Those who leave at once choose, in that random order, among cells empty before and not yet taken.
        for k in range(min(leaving, left)):
            where, _, _, _ = block(seed, step, MOVEMENT, k, 0)
            chosen, left = draw_below(where, left), left - 1
            empty[chosen], empty[left] = empty[left], empty[chosen]
            _move(kind, home, empty, unhappy[k], left)
        _observe(kind, home, side, radius, need, series[step + 1])


@dataclass(frozen=True, kw_only=True)
class Segregation:
    """Households of two kinds on a grid; one with too few neighbours of its own kind moves to a random empty cell."""

    side: int = 100
    "cells along each side"
    n_households: int = 8000
    "number of households, half of each kind"
    radius: int = 2
    "cells in each direction, diagonals included, in which others are neighbours"
    need: int = 8
    "neighbours of its own kind with which a household is content"
    order: str = field(default="sequential", metadata={"choices": ORDERS})
    "whether households move one after another or all at once"
    seed: int = 0
    "seed of every random number"

    def found(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return random kinds of the cells int8 [c], cells of the households int64 [n], empty cells int64 [c - n]."""
        n_cells = self.side * self.side
        if not 0 < self.n_households < n_cells:
            raise ValueError(
                f"n_households {self.n_households} must be between 1 and {n_cells - 1}, the number of cells less one"
            )
        place = np.random.default_rng([self.seed, INITIAL]).permutation(n_cells)
        home, empty = place[: self.n_households], place[self.n_households :]
        kind = np.zeros(n_cells, np.int8)
        kind[home] = 1 + np.arange(self.n_households) % 2
        return kind, home.copy(), empty.copy()

    def run(self, steps: int) -> np.ndarray:
        """Return share content and mean share of like neighbours at the start and after each step: [steps + 1, 2]."""
        check_order(self.order)
        series = np.zeros((steps + 1, 2))
        synchronous = self.order == "synchronous"
        _run_town(*self.found(), steps, self.side, self.radius, self.need, np.uint64(self.seed), synchronous, series)
        return series
