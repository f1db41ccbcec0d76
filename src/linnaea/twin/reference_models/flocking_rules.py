"""Flocks and herds: boids and aligned (Vicsek) particles.

Shape suffixes: m live animals in the order of the cells; (x, y) places, (u, v) unit headings.

All neighbours of an animal stand in a few contiguous runs of the cells' order, so that a sum over them is a straight
loop over float32 arrays that vector instructions can take.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numba
import numpy as np

from linnaea.twin.engine.jit import folding, kernel
from linnaea.twin.engine.neighbours import cell_range, reach
from linnaea.twin.engine.rng import HERDING, uniform
from linnaea.twin.engine.world import Rule, World

BOUNDLESS = 1e30


@kernel
def gather(order, values, out):
    """`values` [n] in the order of the cells: out [m]."""
    for k in numba.prange(len(order)):
        out[k] = values[order[k]]


@folding
def _add_run(xs, ys, us, vs, run, x, y, width, height, radius2, near2, sums):
    """Adds to `sums` what an animal at (x, y) sees in one run (first, last + 1): count, offsets, near offsets, headings."""
    half_w, half_h = np.float32(0.5) * width, np.float32(0.5) * height
    zero, one = np.float32(0), np.float32(1)
    n = cx = cy = sx = sy = mx = my = zero
    for k in range(run[0], run[1]):
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
def _sum_runs(order, cell_of, start, xs, ys, us, vs, grid, radius, near, sums):
    """For every animal [m]: neighbours within `radius` (itself included), sum of offsets to them, of offsets to those
    nearer than `near`, of their headings: float32 [m, 7]."""
    n_columns, n_rows, cell_w, cell_h, width, height, torus = grid
    half_x, half_y = reach(radius, cell_w), reach(radius, cell_h)
    # Without a torus no difference is past half of such a width.
    width32 = np.float32(width if torus else BOUNDLESS)
    height32 = np.float32(height if torus else BOUNDLESS)
    radius2, near2 = np.float32(radius * radius), np.float32(near * near)
    for k in numba.prange(len(order)):
        c = np.int64(cell_of[order[k]])
        row, column = c // n_columns, c % n_columns
        y_lo, y_hi = cell_range(row, half_y, n_rows, torus)
        x_lo, x_hi = cell_range(column, half_x, n_columns, torus)
        sums[k, :] = 0
        for row_j in range(y_lo, y_hi + 1):
            base = (row_j % n_rows) * n_columns
            # A row's run is one stretch, or two where it crosses the border.
            lo, hi = max(x_lo, 0), min(x_hi, n_columns - 1)
            here = start[base + lo], start[base + hi + 1]
            _add_run(xs, ys, us, vs, here, xs[k], ys[k], width32, height32, radius2, near2, sums[k])
            if x_lo < 0:
                west = start[base + x_lo + n_columns], start[base + n_columns]
                _add_run(xs, ys, us, vs, west, xs[k], ys[k], width32, height32, radius2, near2, sums[k])
            if x_hi >= n_columns:
                east = start[base], start[base + x_hi - n_columns + 1]
                _add_run(xs, ys, us, vs, east, xs[k], ys[k], width32, height32, radius2, near2, sums[k])


def sum_neighbours(world: World, radius_m: float, near_m: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What every animal's neighbours add up to: float32 [m, 7], and the headings [m], [m], all in the cells' order.

    The seven: count within the radius (itself included), x and y of the offsets to them, x and y of the offsets to
    those nearer than `near_m`, x and y of the headings (its own included).
    """
    a, cells = world.agents, world.cells
    us, vs = np.empty((2, cells.m), np.float32)
    gather(cells.order, a.dir_x, us)
    gather(cells.order, a.dir_y, vs)
    sums = np.empty((cells.m, 7), np.float32)
    _sum_runs(cells.order, cells.cell_of, cells.start, cells.x, cells.y, us, vs, cells.grid, radius_m, near_m, sums)
    return sums, us, vs


@kernel
def _flock(order, sums, us, vs, cohere, separate, match, speed, pull_x, pull_y, speed_m_h):
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
    """Boids: each keeps its heading, turned towards its neighbours, away from the near ones, and along with them."""

    phase: ClassVar[str] = "decide"
    source: ClassVar[str] = "boids: cohesion, separation, alignment (textbook form)"
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
        for name in ("radius_m", "speed_m_h", "separation_m"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name}: {getattr(self, name)} is not a length ≥ 0")

    def apply(self, world: World) -> None:
        a, order = world.agents, world.cells.order
        sums, us, vs = sum_neighbours(world, self.radius_m, self.separation_m)
        _flock(
            order, sums, us, vs, self.cohere, self.separate, self.match, self.speed_m_h, a.pull_x, a.pull_y, a.speed_m_h
        )


@kernel
def _align(order, sums, key, noise, speed, seed, step, pull_x, pull_y, speed_m_h):
    for k in numba.prange(len(order)):
        i = order[k]
        angle = math.atan2(np.float64(sums[k, 6]), np.float64(sums[k, 5]))
        angle += noise * (uniform(seed, step, HERDING, key[i], 0) - 0.5)
        pull_x[i] += math.cos(angle)
        pull_y[i] += math.sin(angle)
        speed_m_h[i] = speed


@dataclass(frozen=True, kw_only=True)
class Align(Rule):
    """Each takes the mean heading of all within the radius, itself included, turned by a uniform angle."""

    phase: ClassVar[str] = "decide"
    source: ClassVar[str] = "the Vicsek model (textbook form, checked against its order parameter)"
    radius_m: float
    "distance at which others are seen, metres"
    speed_m_h: float
    "speed, metres an hour"
    noise_rad: float
    "total width of the uniform turn, radians"

    def apply(self, world: World) -> None:
        a = world.agents
        sums, _, _ = sum_neighbours(world, self.radius_m, 0.0)
        _align(
            world.cells.order,
            sums,
            a.key,
            self.noise_rad,
            self.speed_m_h,
            world.seed64,
            world.step,
            a.pull_x,
            a.pull_y,
            a.speed_m_h,
        )


def compute_order_parameter(world: World) -> float:
    """How aligned the headings are: length of their mean, 0 to 1."""
    live = world.agents.slots()
    return float(
        np.hypot(world.agents.dir_x[live].mean(dtype=np.float64), world.agents.dir_y[live].mean(dtype=np.float64))
    )
