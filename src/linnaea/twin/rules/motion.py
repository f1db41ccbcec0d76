"""How animals go: random walks, herds and flocks, and the step itself.

Rules at `decide` add wishes to an animal's pull, a vector in the units of the heading, and set its speed; `Move` turns the
animal into the direction of the sum and lets it go. An animal without a pull stands. Behaviours combine by adding.

Shape suffixes: n slots, m live animals in the order of the cells, s species.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numba
import numpy as np

from linnaea.twin.engine.jit import kernel, scalar
from linnaea.twin.engine.neighbours import cell_index, offset, reach, span, wrap
from linnaea.twin.engine.rng import MOVEMENT, uniform2
from linnaea.twin.engine.world import Rule, World

ALL = -1


@scalar
def turned(dir_x, dir_y, mean_cosine, u):
    """A unit vector turned by a wrapped-Cauchy angle whose mean cosine is in [0, 1]; `u` uniform in [0, 1)."""
    t = (1.0 - mean_cosine) / (1.0 + mean_cosine) * math.tan(math.pi * (u - 0.5))
    # The angle is 2 atan(t): its cosine and sine need no further trigonometry.
    scale = 1.0 / (1.0 + t * t)
    cosine, sine = (1.0 - t * t) * scale, 2.0 * t * scale
    return dir_x * cosine - dir_y * sine, dir_x * sine + dir_y * cosine


@scalar
def step_length(mean, spread, u):
    """A step with this mean: fixed for spread 0, exponential for spread 1; `u` uniform in [0, 1)."""
    return mean if spread == 0 else -mean * math.log(1.0 - u)


@scalar
def towards(x, y, to_x, to_y, width, height, torus):
    """The unit vector from one place to another by the shorter way (zero at the place itself), and the distance."""
    dx, dy = offset(to_x - x, width, torus), offset(to_y - y, height, torus)
    distance = math.sqrt(dx * dx + dy * dy)
    if distance == 0.0:
        return 0.0, 0.0, 0.0
    return dx / distance, dy / distance, distance


@scalar
def arrive(position, direction, length, torus):
    """(coordinate inside [0, length), direction) of a coordinate that may lie outside: around, or reflected by the wall."""
    if torus:
        position = position - math.floor(position / length) * length
        return (0.0 if position >= length else position), direction
    if position < 0.0 or position >= length:
        crossings = math.floor(position / length)
        position -= crossings * length
        if crossings % 2:
            position, direction = length - position, -direction
    return min(position, length * (1.0 - 1e-6)), direction


@kernel
def _walk(order, species, only, dir_x, dir_y, key, mean_cosine, speed, spread, seed, step, pull_x, pull_y, speed_m_h):
    for k in numba.prange(len(order)):
        i = order[k]
        if only >= 0 and species[i] != only:
            continue
        u, v = uniform2(seed, step, MOVEMENT, key[i], 0)
        x, y = turned(dir_x[i], dir_y[i], mean_cosine, u)
        pull_x[i] += x
        pull_y[i] += y
        speed_m_h[i] = step_length(speed, spread, v)


@dataclass(frozen=True, kw_only=True)
class Walk(Rule):
    """A correlated random walk: each step turns by a wrapped-Cauchy angle and goes a fixed or exponential length."""

    phase: ClassVar[str] = "decide"
    source: ClassVar[str] = "the correlated random walk (textbook form, checked against its mean squared displacement)"
    speed_m_h: float
    "mean speed, metres an hour"
    mean_cosine: float = 0.0
    "mean cosine of the turns: 0 no memory of the heading, 1 straight on"
    exponential: bool = False
    "whether the length of a step is exponential instead of fixed"
    species: int = ALL
    "row of the species that walks so, -1 all"

    def prepare(self, world: World) -> None:
        if not 0 <= self.mean_cosine <= 1:
            raise ValueError(f"mean_cosine: {self.mean_cosine} is not between 0 and 1")

    def apply(self, world: World) -> None:
        a = world.agents
        _walk(
            world.cells.order,
            a.species,
            self.species,
            a.dir_x,
            a.dir_y,
            a.key,
            self.mean_cosine,
            self.speed_m_h,
            int(self.exponential),
            world.seed64,
            world.step,
            a.pull_x,
            a.pull_y,
            a.speed_m_h,
        )


@kernel
def _move(order, x, y, dir_x, dir_y, pull_x, pull_y, speed_m_h, dt_h, width, height, torus):
    for k in numba.prange(len(order)):
        i = order[k]
        px, py = np.float64(pull_x[i]), np.float64(pull_y[i])
        norm = math.sqrt(px * px + py * py)
        if norm < 1e-12:
            continue
        px, py = px / norm, py / norm
        distance = np.float64(speed_m_h[i]) * dt_h
        new_x, px = arrive(x[i] + px * distance, px, width, torus)
        new_y, py = arrive(y[i] + py * distance, py, height, torus)
        x[i], y[i], dir_x[i], dir_y[i] = new_x, new_y, px, py


@dataclass(frozen=True, kw_only=True)
class Move(Rule):
    """Every animal with a pull turns into its direction and goes at its proposed speed; walls reflect, a torus goes on."""

    phase: ClassVar[str] = "move"

    def apply(self, world: World) -> None:
        a, space = world.agents, world.space
        _move(
            world.cells.order,
            a.x,
            a.y,
            a.dir_x,
            a.dir_y,
            a.pull_x,
            a.pull_y,
            a.speed_m_h,
            world.dt_h,
            space.width_m,
            space.height_m,
            space.torus,
        )


@kernel
def _home(order, species, only, x, y, home_x, home_y, range_m, weight, width, height, torus, pull_x, pull_y):
    for k in numba.prange(len(order)):
        i = order[k]
        if only >= 0 and species[i] != only:
            continue
        ux, uy, distance = towards(x[i], y[i], home_x[i], home_y[i], width, height, torus)
        strength = weight * distance / range_m
        pull_x[i] += ux * strength
        pull_y[i] += uy * strength


@dataclass(frozen=True, kw_only=True)
class HomeRange(Rule):
    """A pull back to the centre of the home range that grows with the distance from it, as of a spring."""

    phase: ClassVar[str] = "decide"
    source: ClassVar[str] = "Ornstein-Uhlenbeck movement about a home (textbook form)"
    range_m: float
    "distance at which the pull has its full weight, metres"
    weight: float = 1.0
    "weight of the pull at that distance, against 1 for the animal's own heading"
    species: int = ALL
    "row of the species, -1 all"

    def apply(self, world: World) -> None:
        a, space = world.agents, world.space
        _home(
            world.cells.order,
            a.species,
            self.species,
            a.x,
            a.y,
            a.home_x,
            a.home_y,
            self.range_m,
            self.weight,
            space.width_m,
            space.height_m,
            space.torus,
            a.pull_x,
            a.pull_y,
        )


@kernel
def _flee(
    order,
    species,
    prey,
    threat,
    x,
    y,
    start,
    xs,
    ys,
    threat_of,
    radius,
    weight,
    flight_m_h,
    grid,
    pull_x,
    pull_y,
    speed_m_h,
):
    n_columns, n_rows, cell_w, cell_h, width, height, torus = grid
    for k in numba.prange(len(order)):
        i = order[k]
        if not prey[species[i]]:
            continue
        column, row = cell_index(x[i], cell_w, n_columns), cell_index(y[i], cell_h, n_rows)
        y_lo, y_hi = span(row, reach(radius, cell_h), n_rows, torus)
        x_lo, x_hi = span(column, reach(radius, cell_w), n_columns, torus)
        away_x, away_y, seen = 0.0, 0.0, False
        for row_j in range(y_lo, y_hi + 1):
            for column_j in range(x_lo, x_hi + 1):
                c = wrap(row_j, n_rows) * n_columns + wrap(column_j, n_columns)
                if not threat_of[c]:
                    continue
                for q in range(start[c], start[c + 1]):
                    if not threat[species[order[q]]]:
                        continue
                    dx, dy = offset(x[i] - xs[q], width, torus), offset(y[i] - ys[q], height, torus)
                    squared = dx * dx + dy * dy
                    if 0.0 < squared <= radius * radius:
                        # The nearer, the stronger: unit vector over distance.
                        away_x += dx / squared
                        away_y += dy / squared
                        seen = True
        if seen:
            norm = math.sqrt(away_x * away_x + away_y * away_y)
            if norm > 0.0:
                pull_x[i] += weight * away_x / norm
                pull_y[i] += weight * away_y / norm
            speed_m_h[i] = max(speed_m_h[i], flight_m_h[species[i]])


@kernel
def mark_cells(start, order, species, wanted, marks):
    """Marks the cells [c] that hold an animal of a wanted species [s], so that searches may skip the others."""
    for c in numba.prange(len(start) - 1):
        marks[c] = False
        for k in range(start[c], start[c + 1]):
            if wanted[species[order[k]]]:
                marks[c] = True
                break


@dataclass(frozen=True, kw_only=True)
class Flee(Rule):
    """Prey that see a predator within the radius turn away from the near ones and run at their flight speed."""

    phase: ClassVar[str] = "decide"
    prey: tuple[int, ...]
    "rows of the species that flee"
    predators: tuple[int, ...]
    "rows of the species they flee from"
    radius_m: float
    "distance at which a predator is noticed, metres"
    flight_m_h: float
    "speed of flight, metres an hour"
    weight: float = 10.0
    "weight of the pull, against 1 for the animal's own heading"

    def apply(self, world: World) -> None:
        a, cells = world.agents, world.cells
        prey, threat = species_mask(world, self.prey), species_mask(world, self.predators)
        marks = np.zeros(cells.n_cells, bool)
        mark_cells(cells.start, cells.order, a.species, threat, marks)
        speed = np.full(len(world.species), self.flight_m_h)
        _flee(
            cells.order,
            a.species,
            prey,
            threat,
            a.x,
            a.y,
            cells.start,
            cells.x,
            cells.y,
            marks,
            self.radius_m,
            self.weight,
            speed,
            cells.grid(),
            a.pull_x,
            a.pull_y,
            a.speed_m_h,
        )


def species_mask(world: World, rows: tuple[int, ...]) -> np.ndarray:
    """Which species [s] are meant; ValueError for a row that the world does not have."""
    mask = np.zeros(len(world.species), bool)
    for row in rows:
        if not 0 <= row < len(mask):
            raise ValueError(f"species row {row} is not in the world's table of {len(mask)}")
        mask[row] = True
    return mask
