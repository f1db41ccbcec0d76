"""Layers of the ground: the cell under a place, distances over the cells, fences.

Layers are arrays [rows, columns] from the south-western corner. All layers of a world lie on one grid over the whole
ground.

Shape suffixes: r rows, c columns, k cells counted row by row, f fences.

Scenarios change some of the layers between steps: `rain_factor` and `growth_factor` (1 as usual), `fire_factor` (1 as
usual, 0 no fire), `poaching` (where, 0 to 1), `water` (1 permanent water); and the arrays `warming_c` [1] and `fences`
[f, 5] (two ends in metres, share of the crossings that succeed).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from linnaea.twin.engine.jit import scalar, serial
from linnaea.twin.engine.neighbours import cell_index
from linnaea.twin.engine.world import World

FAR_KM = 1000.0
NO_FENCE = np.zeros((0, 5))


class LayerGrid(NamedTuple):
    """The cells of the layers, as kernels take them."""

    n_columns: int
    n_rows: int
    cell_w: float
    cell_h: float


@scalar
def layer_cell(x, y, grid):
    """Return the cell of the layers under a position: int in [0, k)."""
    row, column = cell_index(y, grid.cell_h, grid.n_rows), cell_index(x, grid.cell_w, grid.n_columns)
    return row * grid.n_columns + column


def layer_grid(world: World) -> LayerGrid:
    """Return the grid of a world's layers, in metres."""
    n_rows, n_columns = world.fields.elevation_m.shape
    return LayerGrid(n_columns, n_rows, world.space.width_m / n_columns, world.space.height_m / n_rows)


@scalar
def _shortest_from(distance, r, c, side, side_w, side_h, diagonal):
    """Return the shortest distance by way of the neighbours on one side; `side` is -1 or 1 in both axes."""
    n_rows, n_columns = distance.shape
    best, row, column = distance[r, c], r + side, c + side
    if 0 <= column < n_columns:
        best = min(best, distance[r, column] + side_w)
    if 0 <= row < n_rows:
        best = min(best, distance[row, c] + side_h)
        if c > 0:
            best = min(best, distance[row, c - 1] + diagonal)
        if c < n_columns - 1:
            best = min(best, distance[row, c + 1] + diagonal)
    return best


@serial
def _spread_distance(distance, side_w, side_h):
    """Lower the distances [r, c] until no neighbour offers a shorter way (two sweeps of a chamfer)."""
    n_rows, n_columns = distance.shape
    diagonal = math.sqrt(side_w * side_w + side_h * side_h)
    for r in range(n_rows):
        for c in range(n_columns):
            distance[r, c] = _shortest_from(distance, r, c, -1, side_w, side_h, diagonal)
    for r in range(n_rows - 1, -1, -1):
        for c in range(n_columns - 1, -1, -1):
            distance[r, c] = _shortest_from(distance, r, c, 1, side_w, side_h, diagonal)


def distance_to(wet: np.ndarray, side_w_km: float, side_h_km: float) -> np.ndarray:
    """Return the kilometres [r, c] from each cell to the nearest wet cell, `FAR_KM` if there is none.

    In square cells the distance is at most a tenth too long.
    """
    distance = np.where(wet, 0.0, FAR_KM)
    _spread_distance(distance, side_w_km, side_h_km)
    return np.minimum(distance, FAR_KM)


@scalar
def crosses(x0, y0, x1, y1, ax, ay, bx, by):
    """Return whether the way from (x0, y0) to (x1, y1) meets the line from a to b."""
    d1 = (bx - ax) * (y0 - ay) - (by - ay) * (x0 - ax)
    d2 = (bx - ax) * (y1 - ay) - (by - ay) * (x1 - ax)
    d3 = (x1 - x0) * (ay - y0) - (y1 - y0) * (ax - x0)
    d4 = (x1 - x0) * (by - y0) - (y1 - y0) * (bx - x0)
    return d1 * d2 < 0.0 and d3 * d4 < 0.0


@scalar
def fenced(x0, y0, x1, y1, fences, chance):
    """Return whether a fence [f, 5] that lets less than `chance` (0..1) of the crossings succeed is in the way."""
    for f in range(len(fences)):
        if fences[f, 4] < chance and crosses(x0, y0, x1, y1, fences[f, 0], fences[f, 1], fences[f, 2], fences[f, 3]):
            return True
    return False
