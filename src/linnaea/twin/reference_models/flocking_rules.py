"""Flocking rules for worlds: boids (Reynolds 1987) and aligned particles (Vicsek et al. 1995).

Shape suffixes: n slots, m live animals in the order of the cells; (x, y) positions, (u, v) unit headings.

All neighbours of an animal stand in a few contiguous runs of the cells' order, so that a sum over them is a straight
loop over float32 arrays that vector instructions can take.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numba
import numpy as np

from linnaea.twin.engine.agents import Wishes
from linnaea.twin.engine.jit import folding, kernel
from linnaea.twin.engine.neighbours import Grid, cell_range, reach
from linnaea.twin.engine.rng import HERDING, uniform
from linnaea.twin.engine.world import Rule, World, name_state

BOUNDLESS = 1e30


class Flyers(NamedTuple):
    """Positions and headings of the animals in the order of the cells, float32 [m]."""

    x: np.ndarray
    y: np.ndarray
    u: np.ndarray
    v: np.ndarray


class SightRange(NamedTuple):
    """What an animal sees, in float32."""

    width: np.float32
    "width of a torus, else `BOUNDLESS`, of which no difference exceeds the half"
    height: np.float32
    "height of a torus, else `BOUNDLESS`"
    radius2: np.float32
    "square of the distance at which others are seen"
    near2: np.float32
    "square of the distance below which another is too near"


def make_sight_range(grid: Grid, radius_m: float, near_m: float) -> SightRange:
    """Return what an animal sees on this ground."""
    width, height = (grid.width, grid.height) if grid.torus else (BOUNDLESS, BOUNDLESS)
    return SightRange(*map(np.float32, (width, height, radius_m * radius_m, near_m * near_m)))


class FlockWeights(NamedTuple):
    """Weights of the wishes of a boid; see `Flock`."""

    cohere: float
    separate: float
    match: float


@kernel
def gather(order, values, out):
    """Copy `values` [n] in the order of the cells: into `out` [m]."""
    for k in numba.prange(len(order)):
        out[k] = values[order[k]]


@folding
def _add_run(flyers, lo, hi, x, y, sight, sums):
    """Add to `sums` what an animal at (x, y) sees of one run: count, offsets, near offsets, headings."""
    xs, ys, us, vs = flyers
    width, height, radius2, near2 = sight
    half_w, half_h = np.float32(0.5) * width, np.float32(0.5) * height
    zero, one = np.float32(0), np.float32(1)
    n = cx = cy = sx = sy = mx = my = zero
    for k in range(lo, hi):
        dx, dy = xs[k] - x, ys[k] - y
        dx = dx - (width if dx > half_w else zero) + (width if dx < -half_w else zero)
        dy = dy - (height if dy > half_h else zero) + (height if dy < -half_h else zero)
        squared = dx * dx + dy * dy
        seen = one if squared <= radius2 else zero
        near = one if squared < near2 else zero
        n += seen
        cx += seen * dx
        cy += seen * dy
        sx += near * dx
        sy += near * dy
        mx += seen * us[k]
        my += seen * vs[k]
    sums[0] += n
    sums[1] += cx
    sums[2] += cy
    sums[3] += sx
    sums[4] += sy
    sums[5] += mx
    sums[6] += my


@kernel
def _sum_runs(order, cell_of, start, flyers, grid, radius, sight, sums):
    """Sum what every animal sees, itself included: float32 [m, 7], the columns of `sum_neighbours`."""
    n_columns, n_rows, torus = grid.n_columns, grid.n_rows, grid.torus
    half_x, half_y = reach(radius, grid.cell_w), reach(radius, grid.cell_h)
    for k in numba.prange(len(order)):
        c = np.int64(cell_of[order[k]])
        row, column = c // n_columns, c % n_columns
        y_lo, y_hi = cell_range(row, half_y, n_rows, torus)
        x_lo, x_hi = cell_range(column, half_x, n_columns, torus)
        x, y = flyers.x[k], flyers.y[k]
        sums[k, :] = 0
        for row_j in range(y_lo, y_hi + 1):
            base = (row_j % n_rows) * n_columns
            # A row's run is one stretch, or two where it crosses the border.
            lo, hi = start[base + max(x_lo, 0)], start[base + min(x_hi, n_columns - 1) + 1]
            _add_run(flyers, lo, hi, x, y, sight, sums[k])
            if x_lo < 0:
                lo, hi = start[base + x_lo + n_columns], start[base + n_columns]
                _add_run(flyers, lo, hi, x, y, sight, sums[k])
            if x_hi >= n_columns:
                lo, hi = start[base], start[base + x_hi - n_columns + 1]
                _add_run(flyers, lo, hi, x, y, sight, sums[k])


def sum_neighbours(world: World, radius_m: float, near_m: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sums over every animal's neighbours, float32 [m, 7], and the headings u [m] and v [m].

    All are in the order of the cells. The seven columns are the count within the radius (itself included), x and y of
    the offsets to them, x and y of the offsets to those nearer than `near_m`, x and y of the headings (its own
    included).
    """
    a, cells = world.agents, world.cells
    us, vs = np.empty((2, cells.m), np.float32)
    gather(cells.order, a.dir_x, us)
    gather(cells.order, a.dir_y, vs)
    sums = np.empty((cells.m, 7), np.float32)
    flyers, sight = Flyers(cells.x, cells.y, us, vs), make_sight_range(cells.grid, radius_m, near_m)
    _sum_runs(cells.order, cells.cell_of, cells.start, flyers, cells.grid, radius_m, sight, sums)
    return sums, us, vs


@kernel
def _flock(order, sums, us, vs, weights, speed, wishes):
    """Add each animal's heading, turned by what it sees, to its pull and set its speed."""
    pull_x, pull_y, speed_m_h = wishes.pull_x, wishes.pull_y, wishes.speed_m_h
    cohere, separate, match = weights
    for k in numba.prange(len(order)):
        i = order[k]
        n = np.float64(sums[k, 0]) - 1.0
        x, y = np.float64(us[k]), np.float64(vs[k])
        if n > 0.0:
            # The sums hold the animal's own heading.
            x += (cohere * sums[k, 1] - separate * sums[k, 3] + match * (np.float64(sums[k, 5]) - us[k])) / n
            y += (cohere * sums[k, 2] - separate * sums[k, 4] + match * (np.float64(sums[k, 6]) - vs[k])) / n
        pull_x[i] += x
        pull_y[i] += y
        speed_m_h[i] = speed


@dataclass(frozen=True, kw_only=True)
class Flock(Rule):
    """Boids: each keeps its heading, turned towards its neighbours, away from near ones, and along with them."""

    phase: ClassVar[str] = "decide"
    source: ClassVar[str] = "boids: cohesion, separation, alignment (textbook form)"
    reads: ClassVar[frozenset[str]] = name_state(agents="x y dir_x dir_y pull_x pull_y")
    writes: ClassVar[frozenset[str]] = name_state(agents="pull_x pull_y speed_m_h")
    radius_m: float
    "distance at which others are seen, metres"
    speed_m_h: float
    "speed, metres an hour"
    cohere: float = 0.03
    "weight of the mean offset to those seen, per metre"
    separate: float = 0.015
    "weight of the offsets to those too near, per metre"
    match: float = 0.05
    "weight of the mean heading of those seen"
    separation_m: float = 1.0
    "distance below which another is too near, metres"

    def prepare(self, world: World) -> None:
        """Raise ValueError for an impossible length."""
        for name in ("radius_m", "speed_m_h", "separation_m"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name}: {getattr(self, name)} must be a length ≥ 0")

    def apply(self, world: World) -> None:
        """Turn the animals by what they see."""
        sums, us, vs = sum_neighbours(world, self.radius_m, self.separation_m)
        weights = FlockWeights(self.cohere, self.separate, self.match)
        _flock(world.cells.order, sums, us, vs, weights, self.speed_m_h, world.agents.view(Wishes))


@kernel
def _align(order, sums, key, noise, speed, clock, wishes):
    """Add the mean heading around each animal, with noise, to its pull and set its speed."""
    pull_x, pull_y, speed_m_h = wishes.pull_x, wishes.pull_y, wishes.speed_m_h
    for k in numba.prange(len(order)):
        i = order[k]
        angle = math.atan2(np.float64(sums[k, 6]), np.float64(sums[k, 5]))
        angle += noise * (uniform(clock.seed, clock.step, HERDING, key[i], 0) - 0.5)
        pull_x[i] += math.cos(angle)
        pull_y[i] += math.sin(angle)
        speed_m_h[i] = speed


@dataclass(frozen=True, kw_only=True)
class Align(Rule):
    """Each animal takes the mean heading of all within the radius, itself included, turned by a uniform angle."""

    phase: ClassVar[str] = "decide"
    source: ClassVar[str] = "the Vicsek model (textbook form, checked against its order parameter)"
    reads: ClassVar[frozenset[str]] = name_state(agents="x y dir_x dir_y key pull_x pull_y")
    writes: ClassVar[frozenset[str]] = name_state(agents="pull_x pull_y speed_m_h")
    radius_m: float
    "distance at which others are seen, metres"
    speed_m_h: float
    "speed, metres an hour"
    noise_rad: float
    "total width of the uniform turn, radians"

    def apply(self, world: World) -> None:
        """Align the animals."""
        a = world.agents
        sums, _, _ = sum_neighbours(world, self.radius_m, 0.0)
        _align(world.cells.order, sums, a.key, self.noise_rad, self.speed_m_h, world.clock, a.view(Wishes))


def compute_order_parameter(world: World) -> float:
    """Return how aligned the headings are: the length of their mean, 0 to 1."""
    live = world.agents.slots()
    return float(
        np.hypot(world.agents.dir_x[live].mean(dtype=np.float64), world.agents.dir_y[live].mean(dtype=np.float64))
    )
