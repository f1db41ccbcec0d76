"""Movement: random walks, home ranges, flight, and the step itself.

Rules in the phase `decide` add wishes to an animal's pull, a vector in the units of the heading, and set its speed.
`Move` turns the animal into the direction of the sum and moves it on. An animal without a pull stands still.
Behaviours combine by adding.

Shape suffixes: n slots, m live animals in the order of the cells, s species.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numba
import numpy as np

from linnaea.twin.engine.agents import Animals, Headings, Wishes
from linnaea.twin.engine.jit import kernel, scalar
from linnaea.twin.engine.neighbours import cell_window, count_runs, offset, run_bounds
from linnaea.twin.engine.rng import MOVEMENT, uniform2
from linnaea.twin.engine.world import Rule, World, name_state

ALL = -1


@scalar
def turn_heading(dir_x, dir_y, mean_cosine, u):
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
def direction_to(x, y, to_x, to_y, grid):
    """The unit vector from one place to another by the shorter way (zero at the place itself), and the distance."""
    dx, dy = offset(to_x - x, grid.width, grid.torus), offset(to_y - y, grid.height, grid.torus)
    distance = math.sqrt(dx * dx + dy * dy)
    if distance == 0.0:
        return 0.0, 0.0, 0.0
    return dx / distance, dy / distance, distance


@scalar
def arrive(position, direction, length, torus):
    """(coordinate in [0, length), direction) of a coordinate that may lie outside: around, or reflected by the wall."""
    if torus:
        position = position - math.floor(position / length) * length
        return (0.0 if position >= length else position), direction
    if position < 0.0 or position >= length:
        crossings = math.floor(position / length)
        position -= crossings * length
        if crossings % 2:
            position, direction = length - position, -direction
    return min(position, length * (1.0 - 1e-6)), direction


@scalar
def pull_of(wishes, i):
    """The unit vector of an animal's pull and whether it has one; a place that does not pull gives (0, 0)."""
    px, py = np.float64(wishes.pull_x[i]), np.float64(wishes.pull_y[i])
    norm = math.sqrt(px * px + py * py)
    if norm < 1e-12:
        return 0.0, 0.0, False
    return px / norm, py / norm, True


@scalar
def go_straight(x, y, px, py, way, grid):
    """Where an animal at (x, y) comes to on a straight way along (px, py), and its heading there."""
    new_x, dir_x = arrive(x + px * way, px, grid.width, grid.torus)
    new_y, dir_y = arrive(y + py * way, py, grid.height, grid.torus)
    return new_x, new_y, dir_x, dir_y


@scalar
def pull_away(x, y, s, radius, weight, hunters, species, eats, grid):
    """A pull of this weight away from the hunters within a radius that eat species `s`, and how many there are.

    The nearer a hunter, the more it counts; where they cancel each other out the pull is (0, 0).
    """
    away_x, away_y, n = 0.0, 0.0, 0
    window = cell_window(x, y, radius, grid)
    for run in range(count_runs(window, grid)):
        lo, hi = run_bounds(window, run, hunters.start, grid)
        for q in range(lo, hi):
            if not eats[species[hunters.slots[q]], s]:
                continue
            dx = offset(x - hunters.x[q], grid.width, grid.torus)
            dy = offset(y - hunters.y[q], grid.height, grid.torus)
            squared = dx * dx + dy * dy
            if 0.0 < squared <= radius * radius:
                # A unit vector over the distance.
                away_x += dx / squared
                away_y += dy / squared
                n += 1
    norm = math.sqrt(away_x * away_x + away_y * away_y)
    if norm == 0.0:
        return 0.0, 0.0, n
    return weight * away_x / norm, weight * away_y / norm, n


@kernel
def _walk(order, species, only, key, headings, mean_cosine, speed, spread, clock, wishes):
    pull_x, pull_y, speed_m_h = wishes.pull_x, wishes.pull_y, wishes.speed_m_h
    for k in numba.prange(len(order)):
        i = order[k]
        if only >= 0 and species[i] != only:
            continue
        u, v = uniform2(clock.seed, clock.step, MOVEMENT, key[i], 0)
        x, y = turn_heading(headings.dir_x[i], headings.dir_y[i], mean_cosine, u)
        pull_x[i] += x
        pull_y[i] += y
        speed_m_h[i] = step_length(speed, spread, v)


@dataclass(frozen=True, kw_only=True)
class Walk(Rule):
    """A correlated random walk: each step turns by a wrapped-Cauchy angle and goes a fixed or exponential length."""

    phase: ClassVar[str] = "decide"
    source: ClassVar[str] = "the correlated random walk (textbook form, checked against its mean squared displacement)"
    reads: ClassVar[frozenset[str]] = name_state(agents="species key dir_x dir_y pull_x pull_y")
    writes: ClassVar[frozenset[str]] = name_state(agents="pull_x pull_y speed_m_h")
    speed_m_h: float
    "mean speed, metres an hour"
    mean_cosine: float = 0.0
    "mean cosine of the turns: 0 no memory of the heading, 1 straight on"
    exponential: bool = False
    "whether the length of a step is exponential instead of fixed"
    species: int = ALL
    "row of the species that walks so, -1 all"

    def prepare(self, world: World) -> None:
        """Checks the mean cosine."""
        if not 0 <= self.mean_cosine <= 1:
            raise ValueError(f"mean_cosine: {self.mean_cosine} must be between 0 and 1")

    def apply(self, world: World) -> None:
        """Adds a turned heading to the pull of every walking animal and sets its speed."""
        a = world.agents
        _walk(
            world.cells.order,
            a.species,
            self.species,
            a.key,
            a.view(Headings),
            self.mean_cosine,
            self.speed_m_h,
            int(self.exponential),
            world.clock,
            a.view(Wishes),
        )


@kernel
def _move(order, x, y, headings, wishes, dt_h, grid):
    dir_x, dir_y = headings.dir_x, headings.dir_y
    for k in numba.prange(len(order)):
        i = order[k]
        px, py, pulled = pull_of(wishes, i)
        if pulled:
            way = np.float64(wishes.speed_m_h[i]) * dt_h
            new_x, new_y, new_dx, new_dy = go_straight(np.float64(x[i]), np.float64(y[i]), px, py, way, grid)
            x[i], y[i], dir_x[i], dir_y[i] = new_x, new_y, new_dx, new_dy


@dataclass(frozen=True, kw_only=True)
class Move(Rule):
    """Every animal with a pull turns into its direction and goes at its proposed speed; walls reflect it."""

    phase: ClassVar[str] = "move"
    reads: ClassVar[frozenset[str]] = name_state(agents="x y pull_x pull_y speed_m_h")
    writes: ClassVar[frozenset[str]] = name_state(agents="x y dir_x dir_y")

    def apply(self, world: World) -> None:
        """Moves all animals."""
        a = world.agents
        _move(world.cells.order, a.x, a.y, a.view(Headings), a.view(Wishes), float(world.dt_h), world.cells.grid)


@kernel
def _pull_home(order, animals, only, home_x, home_y, range_m, weight, grid, wishes):
    pull_x, pull_y = wishes.pull_x, wishes.pull_y
    for k in numba.prange(len(order)):
        i = order[k]
        if only >= 0 and animals.species[i] != only:
            continue
        ux, uy, distance = direction_to(animals.x[i], animals.y[i], home_x[i], home_y[i], grid)
        strength = weight * distance / range_m
        pull_x[i] += ux * strength
        pull_y[i] += uy * strength


@dataclass(frozen=True, kw_only=True)
class HomeRange(Rule):
    """A pull back to the centre of the home range that grows with the distance from it, as of a spring."""

    phase: ClassVar[str] = "decide"
    source: ClassVar[str] = "Ornstein-Uhlenbeck movement about a home (textbook form)"
    reads: ClassVar[frozenset[str]] = name_state(agents="species x y home_x home_y pull_x pull_y")
    writes: ClassVar[frozenset[str]] = name_state(agents="pull_x pull_y")
    range_m: float
    "distance at which the pull has its full weight, metres"
    weight: float = 1.0
    "weight of the pull at that distance, against 1 for the animal's own heading"
    species: int = ALL
    "row of the species, -1 all"

    def apply(self, world: World) -> None:
        """Adds the pull home."""
        a = world.agents
        _pull_home(
            world.cells.order,
            a.view(Animals),
            self.species,
            a.home_x,
            a.home_y,
            self.range_m,
            self.weight,
            world.cells.grid,
            a.view(Wishes),
        )


@kernel
def _flee(order, animals, prey, eats, hunters, radius, weight, flight_m_h, grid, wishes):
    species, x, y = animals.species, animals.x, animals.y
    pull_x, pull_y, speed_m_h = wishes.pull_x, wishes.pull_y, wishes.speed_m_h
    for k in numba.prange(len(order)):
        i = order[k]
        if not prey[species[i]]:
            continue
        px, py, n = pull_away(x[i], y[i], species[i], radius, weight, hunters, species, eats, grid)
        if n > 0:
            pull_x[i] += px
            pull_y[i] += py
            speed_m_h[i] = max(speed_m_h[i], flight_m_h)


@dataclass(frozen=True, kw_only=True)
class Flee(Rule):
    """Prey that see a predator within the radius turn away from the near ones and run at their flight speed."""

    phase: ClassVar[str] = "decide"
    reads: ClassVar[frozenset[str]] = name_state(agents="species x y pull_x pull_y speed_m_h")
    writes: ClassVar[frozenset[str]] = name_state(agents="pull_x pull_y speed_m_h")
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
        """Adds the pull away from predators."""
        a, cells = world.agents, world.cells
        prey, threat = species_mask(world, self.prey), species_mask(world, self.predators)
        _flee(
            cells.order,
            a.view(Animals),
            prey,
            np.outer(threat, prey),
            cells.select(a.species, threat),
            self.radius_m,
            self.weight,
            self.flight_m_h,
            cells.grid,
            a.view(Wishes),
        )


def species_mask(world: World, rows: tuple[int, ...]) -> np.ndarray:
    """Which species [s] are meant. Raise ValueError for a row that the world does not have."""
    mask = np.zeros(len(world.species), bool)
    for row in rows:
        if not 0 <= row < len(mask):
            raise ValueError(f"species row {row} is not in the world's table of {len(mask)}")
        mask[row] = True
    return mask
