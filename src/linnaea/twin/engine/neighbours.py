"""Who is near: animals sorted into square cells by counting, rebuilt in each step.

Shape suffixes: n slots, m live animals, c cells, counted row by row from the south-west.

Within a cell animals stand in the order of their keys. A loop over neighbours therefore meets them in an order that
depends neither on slots nor on threads, and sums of floats come out the same. Cells of one row follow each other, so
that the neighbours of a place stand in a few runs of the list, one or two for each row of cells:

    window = cell_window(x, y, radius, grid)
    for run in range(count_runs(window, grid)):
        lo, hi = run_bounds(window, run, near.start, grid)
        for q in range(lo, hi):
            j = near.slots[q]                   # near.x[q], near.y[q] are its coordinates, contiguous in q
            dx, dy = offset(near.x[q] - x, grid.width, grid.torus), ...

A window holds all cells that the circle touches, each once, and some animals outside the circle: compare distances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np

from linnaea.twin.engine.agents import Agents
from linnaea.twin.engine.jit import kernel, scalar, serial

# Slots are counted in this many blocks at once; the number is fixed so that it cannot change a result.
BLOCKS = 16


@dataclass(frozen=True, kw_only=True)
class Space:
    """The world's ground: a rectangle from (0, 0), with walls that turn animals back, or a torus."""

    width_m: float
    "metres from west to east"
    height_m: float
    "metres from south to north"
    torus: bool = False
    "whether opposite borders are one"
    cell_m: float = 0.0
    "side of a cell of the neighbour search, metres; 0: the world's longer side divided by 64"

    def __post_init__(self) -> None:
        for name in ("width_m", "height_m"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name}: {value} is not a length; give metres above 0")
        if not (math.isfinite(self.cell_m) and self.cell_m >= 0):
            raise ValueError(f"cell_m: {self.cell_m} is not a length; give metres above 0, or 0 to choose")

    @property
    def n_columns(self) -> int:
        """Cells from west to east."""
        return self._count(self.width_m)

    @property
    def n_rows(self) -> int:
        """Cells from south to north."""
        return self._count(self.height_m)

    def _count(self, length_m: float) -> int:
        side = self.cell_m or max(self.width_m, self.height_m) / 64
        return max(1, int(length_m / side))

    @property
    def cell_width_m(self) -> float:
        """The real width of a cell: the width divided evenly, at least `cell_m`."""
        return self.width_m / self.n_columns

    @property
    def cell_height_m(self) -> float:
        """The real height of a cell, at least `cell_m`."""
        return self.height_m / self.n_rows


class Grid(NamedTuple):
    """The cells of the neighbour search and the ground under them, as kernels take them."""

    n_columns: int
    n_rows: int
    cell_w: float
    cell_h: float
    width: float
    height: float
    torus: bool


class CellList(NamedTuple):
    """Animals by cell: those of cell c stand from `start[c]` up to `start[c + 1]`."""

    start: np.ndarray
    "int64 [c + 1]"
    slots: np.ndarray
    "int64, by cell, then by key"
    x: np.ndarray
    "float32, metres east of each"
    y: np.ndarray
    "float32, metres north"


@scalar
def reach(radius, cell_m):
    """How many cells to each side a circle can touch: int ≥ 0 (0 only for radius 0)."""
    # On CUDA ceil gives a float.
    return int(math.ceil(radius / cell_m))  # noqa: RUF046


@scalar
def cell_range(middle, half, count, torus):
    """First and last index of the cells from `middle - half` to `middle + half`, each cell once; for `wrap`."""
    if torus:
        if 2 * half + 1 >= count:
            return 0, count - 1
        return middle - half, middle + half
    return max(0, middle - half), min(count - 1, middle + half)


@scalar
def wrap(index, count):
    """The index on a ring of `count`, for an index at most one turn away."""
    if index < 0:
        return index + count
    if index >= count:
        return index - count
    return index


@scalar
def offset(difference, length, torus):
    """The difference of two coordinates by the shorter way round."""
    if torus:
        if difference > 0.5 * length:
            return difference - length
        if difference < -0.5 * length:
            return difference + length
    return difference


@scalar
def cell_index(position, cell_m, count):
    """The row or column of a coordinate, held inside the world: int in [0, count)."""
    return min(max(int(position / cell_m), 0), count - 1)


@scalar
def cell_window(x, y, radius, grid):
    """First and last row and column of the cells that a circle can touch; on a torus they may lie outside."""
    if grid.torus:
        first_row, last_row = cell_range(
            cell_index(y, grid.cell_h, grid.n_rows), reach(radius, grid.cell_h), grid.n_rows, grid.torus
        )
        first_column, last_column = cell_range(
            cell_index(x, grid.cell_w, grid.n_columns), reach(radius, grid.cell_w), grid.n_columns, grid.torus
        )
        return first_row, last_row, first_column, last_column
    # The circle's own box: mostly one or two cells where the circle is small against them.
    first_row = cell_index(y - radius, grid.cell_h, grid.n_rows)
    last_row = cell_index(y + radius, grid.cell_h, grid.n_rows)
    first_column = cell_index(x - radius, grid.cell_w, grid.n_columns)
    return first_row, last_row, first_column, cell_index(x + radius, grid.cell_w, grid.n_columns)


@scalar
def count_runs(window, grid):
    """Number of runs of a `CellList` that hold the animals of a window: one a row, two where a row crosses a border."""
    first_row, last_row, first_column, last_column = window
    rows = last_row - first_row + 1
    return 2 * rows if first_column < 0 or last_column >= grid.n_columns else rows


@scalar
def run_bounds(window, run, start, grid):
    """Where a run of a window begins and ends in a `CellList` with these starts."""
    first_row, _, first_column, last_column = window
    n_columns = grid.n_columns
    if first_column >= 0 and last_column < n_columns:
        base = wrap(first_row + run, grid.n_rows) * n_columns
        return start[base + first_column], start[base + last_column + 1]
    base = wrap(first_row + run // 2, grid.n_rows) * n_columns
    if run % 2 == 0:
        return start[base + wrap(first_column, n_columns)], start[base + n_columns]
    return start[base], start[base + wrap(last_column, n_columns) + 1]


@kernel
def _count_cells(live, x, y, n, grid, cell_of, counts):
    n_columns, n_rows, cell_w, cell_h = grid.n_columns, grid.n_rows, grid.cell_w, grid.cell_h
    blocks = counts.shape[0]
    for b in numba.prange(blocks):
        row = counts[b]
        row[:] = 0
        for i in range(b * n // blocks, (b + 1) * n // blocks):
            if live[i]:
                c = cell_index(y[i], cell_h, n_rows) * n_columns + cell_index(x[i], cell_w, n_columns)
                cell_of[i] = c
                row[c] += 1
            else:
                cell_of[i] = -1


@serial
def _start_cells(counts, start):
    """Turns counts [blocks, c] into the place of each block's first animal in each cell, and fills `start` [c + 1]."""
    blocks, n_cells = counts.shape
    total = 0
    for c in range(n_cells):
        start[c] = total
        for b in range(blocks):
            held = counts[b, c]
            counts[b, c] = total
            total += held
    start[n_cells] = total


@kernel
def _fill_cells(cell_of, n, counts, order):
    blocks = counts.shape[0]
    for b in numba.prange(blocks):
        row = counts[b]
        for i in range(b * n // blocks, (b + 1) * n // blocks):
            c = cell_of[i]
            if c >= 0:
                order[row[c]] = i
                row[c] += 1


@scalar
def _insert(slots, key, gap, patience):
    """Sorts each `gap`-th slot by key, by insertion; gives up after `patience` moves and returns False."""
    moves = 0
    for k in range(gap, len(slots)):
        slot = slots[k]
        own = key[slot]
        j = k
        while j >= gap and key[slots[j - gap]] > own:
            slots[j] = slots[j - gap]
            j -= gap
            moves += 1
        slots[j] = slot
        if moves > patience:
            return False
    return True


@scalar
def _sort_by_key(slots, key):
    """Sorts slots by key: by insertion, as cells are small and mostly in order; by Shell's method where slow."""
    n = len(slots)
    if _insert(slots, key, 1, 16 * n + 256):
        return
    gap = 1
    while 3 * gap + 1 < n:
        gap = 3 * gap + 1
    while gap > 0:
        _insert(slots, key, gap, n * n)
        gap //= 3


@kernel
def _order_cells(start, order, key, x, y, xs, ys):
    """Sorts each cell by key and copies the coordinates."""
    n_cells = len(start) - 1
    for c in numba.prange(n_cells):
        lo, hi = start[c], start[c + 1]
        _sort_by_key(order[lo:hi], key)
        for k in range(lo, hi):
            xs[k] = x[order[k]]
            ys[k] = y[order[k]]


@serial
def _select(animals, codes, wanted, start, slots, x, y):
    """Copies the animals with a wanted code to `slots`, `x` and `y`, fills `start`; returns their number."""
    n = 0
    for c in range(len(start) - 1):
        start[c] = n
        for k in range(animals.start[c], animals.start[c + 1]):
            i = animals.slots[k]
            if wanted[codes[i]]:
                slots[n], x[n], y[n] = i, animals.x[k], animals.y[k]
                n += 1
    start[len(start) - 1] = n
    return n


class CellIndex:
    """The animals by cell, as they stood when `build` was called.

    `start` int64 [c + 1]: where each cell begins in `order`. `order` int64 [m]: live slots by cell, then by key.
    `cell_of` int32 [n]: each slot's cell, -1 for free slots. `x`, `y` float32 [m]: coordinates in the order of `order`.
    """

    def __init__(self, space: Space):
        self.space = space
        self.n_columns, self.n_rows = space.n_columns, space.n_rows
        self.n_cells = self.n_columns * self.n_rows
        self.start = np.zeros(self.n_cells + 1, np.int64)
        # With more cells than fit the fastest memory, more blocks would cost more than they save.
        self._counts = np.zeros((BLOCKS if self.n_cells <= 1 << 16 else 4, self.n_cells), np.int64)
        self._order = np.zeros(0, np.int64)
        self._cell_of = np.zeros(0, np.int32)
        self._x = self._y = np.zeros(0, np.float32)
        self.n = self.m = 0
        self.grid = Grid(
            self.n_columns,
            self.n_rows,
            space.cell_width_m,
            space.cell_height_m,
            float(space.width_m),
            float(space.height_m),
            space.torus,
        )

    def build(self, agents: Agents) -> None:
        """Sorts the live animals into cells by their present places."""
        self.n, self.m = agents.n, len(agents)
        if len(self._cell_of) < self.n:
            self._order = np.zeros(agents.capacity, np.int64)
            self._cell_of = np.zeros(agents.capacity, np.int32)
            self._x, self._y = np.zeros((2, agents.capacity), np.float32)
        _count_cells(agents.live, agents.x, agents.y, self.n, self.grid, self._cell_of, self._counts)
        _start_cells(self._counts, self.start)
        _fill_cells(self._cell_of, self.n, self._counts, self._order)
        _order_cells(self.start, self._order, agents.key, agents.x, agents.y, self._x, self._y)

    @property
    def order(self) -> np.ndarray:
        """Live slots by cell, then by key: int64 [m]."""
        return self._order[: self.m]

    @property
    def cell_of(self) -> np.ndarray:
        """The cell of each slot, -1 for free ones: int32 [n]."""
        return self._cell_of[: self.n]

    @property
    def x(self) -> np.ndarray:
        """Metres east in the order of `order`: float32 [m]."""
        return self._x[: self.m]

    @property
    def y(self) -> np.ndarray:
        """Metres north in the order of `order`: float32 [m]."""
        return self._y[: self.m]

    @property
    def animals(self) -> CellList:
        """All live animals by cell."""
        return CellList(self.start, self.order, self.x, self.y)

    def select(self, codes_n: np.ndarray, wanted: np.ndarray) -> CellList:
        """The animals by cell whose code in a column [n], their species or their health, is wanted (bool, by code)."""
        start, slots = np.empty(self.n_cells + 1, np.int64), np.empty(self.m, np.int64)
        x, y = np.empty((2, self.m), np.float32)
        n = _select(self.animals, codes_n, wanted, start, slots, x, y)
        return CellList(start, slots[:n], x[:n], y[:n])
