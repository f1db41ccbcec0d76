"""Predators that meet prey: search, strike, handling; functional responses come out of it.

Shape suffixes: n slots, m live animals, s species.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numba
import numpy as np

from linnaea.twin.engine.contention import resolve_claims
from linnaea.twin.engine.jit import kernel, scalar, serial
from linnaea.twin.engine.neighbours import cell_window, count_runs, offset, run_bounds
from linnaea.twin.engine.rng import HUNTING, PLACING, uniform2, uniforms
from linnaea.twin.engine.world import CAUSE, Rule, World
from linnaea.twin.rules.motion import species_mask

_PREDATION = CAUSE["predation"]


class Hunters(NamedTuple):
    """The columns of animals that a hunt reads and changes."""

    species: np.ndarray
    x: np.ndarray
    y: np.ndarray
    key: np.ndarray
    until_h: np.ndarray
    target: np.ndarray


class Strike(NamedTuple):
    """How a predator hunts; see `Hunt`."""

    predator: int
    radius: float
    awareness: float
    full_density: float
    success: float
    draw: int


@scalar
def find_nearest(x, y, strike, prey, grid):
    """The slot of the nearest prey within reach, -1 for none, and the number of prey in the radius of awareness."""
    far = max(strike.radius, strike.awareness)
    best, best_squared, around = -1, strike.radius * strike.radius, 0
    window = cell_window(x, y, far, grid)
    for run in range(count_runs(window, grid)):
        lo, hi = run_bounds(window, run, prey.start, grid)
        for q in range(lo, hi):
            dx, dy = offset(x - prey.x[q], grid.width, grid.torus), offset(y - prey.y[q], grid.height, grid.torus)
            squared = dx * dx + dy * dy
            if squared <= strike.awareness * strike.awareness:
                around += 1
            # Of two equally near ones the first in the cells' order, which is by key.
            if squared < best_squared or (squared == best_squared and best < 0):
                best, best_squared = prey.slots[q], squared
    return best, around


@kernel
def _hunt(order, hunters, strike, prey, grid, clock):
    species, x, y, key, until_h, _ = hunters
    target = hunters.target
    for k in numba.prange(len(order)):
        i = order[k]
        if species[i] != strike.predator or until_h[i] > clock.now_h:
            continue
        best, around = find_nearest(x[i], y[i], strike, prey, grid)
        if best < 0:
            continue
        effort = strike.success
        if strike.full_density > 0.0:
            # The prey at hand is not evidence for more of them.
            area = math.pi * strike.awareness * strike.awareness
            effort *= min(1.0, (around - 1) / (area * strike.full_density))
        u, v = uniform2(clock.seed, clock.step, HUNTING, key[i], strike.draw)
        # Of two prey that come its way in one step, by rules for different prey, it takes either.
        if u < effort and (target[i] < 0 or v < 0.5):
            target[i] = best


@dataclass(frozen=True, kw_only=True)
class Hunt(Rule):
    """A predator that is not busy strikes at the nearest prey within reach, with a chance of success.

    With `full_density` its effort grows with the density of prey around it, up to that one (learning, switching): the
    functional response is then of Holling's third type, else of the second.
    """

    phase: ClassVar[str] = "decide"
    source: ClassVar[str] = "Holling's disc equation (textbook form, refitted from encounters)"
    predator: int
    "row of the species that hunts"
    prey: tuple[int, ...]
    "rows of the species it hunts"
    radius_m: float
    "distance of a strike, metres"
    success: float = 1.0
    "chance that a strike succeeds, 0 to 1"
    full_density: float = 0.0
    "other prey per square metre at which the effort is full; 0 always"
    awareness_m: float = 0.0
    "radius in which the predator knows the density, metres"
    interference: float = 0.0
    "time that each predator of the species costs the others, as a share of their time searching"

    def prepare(self, world: World) -> None:
        if not self.prey:
            raise ValueError("prey: empty; give the rows of the species that are hunted")
        species_mask(world, (self.predator, *self.prey))
        if not 0 <= self.success <= 1:
            raise ValueError(f"success: {self.success} is not between 0 and 1")
        if not self.interference >= 0:
            raise ValueError(f"interference: {self.interference} is no share of time; give 0 or more")
        if self.full_density and not self.awareness_m > 0:
            raise ValueError(f"awareness_m: {self.awareness_m} tells no density; give metres above 0 with full_density")

    def apply(self, world: World) -> None:
        a, cells, success = world.agents, world.cells, self.success
        if self.interference:
            success /= 1 + self.interference * int(world.counts()[self.predator])
        strike = Strike(
            self.predator,
            float(self.radius_m),
            float(self.awareness_m),
            float(self.full_density),
            float(success),
            2 * self.prey[0],
        )
        prey = cells.select(a.species, species_mask(world, self.prey))
        _hunt(cells.order, a.view(Hunters), strike, prey, cells.grid, world.clock)


class Killers(NamedTuple):
    """The columns of animals that a kill reads and changes."""

    species: np.ndarray
    key: np.ndarray
    until_h: np.ndarray
    mass: np.ndarray
    energy: np.ndarray
    won: np.ndarray
    dying: np.ndarray
    litter: np.ndarray


class Meal(NamedTuple):
    """What a kill gives and takes; see `Kill`."""

    predator: int
    busy_steps: float
    gain: float
    young: float
    draw: int


@serial
def _kill(best, killers, meal, wanted, clock, eaten):
    species, key, until_h, mass, energy, won, dying, litter = killers
    for prey in range(len(best)):
        i = best[prey]
        if i < 0 or species[i] != meal.predator or not wanted[species[prey]] or dying[prey] != 0:
            continue
        dying[prey] = _PREDATION
        won[i] = 1.0
        u, v = uniform2(clock.seed, clock.step, HUNTING, key[i], meal.draw)
        # Half a millionth of an hour keeps sums of steps from being late by rounding.
        until_h[i] = clock.now_h + clock.dt_h + math.floor(meal.busy_steps + u) * clock.dt_h - 5e-7
        energy[i] += meal.gain * mass[prey]
        if meal.young > 0.0:
            # A whole number with this mean.
            litter[i] += int(meal.young + v)
        eaten[species[i], species[prey]] += 1


@dataclass(frozen=True, kw_only=True)
class Kill(Rule):
    """Of the predators that strike at one prey one wins it, eats, and is busy handling it from the end of the step.

    It is busy for whole steps, by chance the more or the fewer, so that the mean is the time of handling.
    """

    phase: ClassVar[str] = "resolve"
    predator: int
    "row of the species that hunts"
    handling_h: float
    "hours from a kill to the next search"
    gain_kj_kg: float = 0.0
    "energy taken from a kilogram of prey, kJ"
    prey: tuple[int, ...] = ()
    "rows of the prey that this holds for; empty for all"
    young: float = 0.0
    "young that a predator bears of a prey on average, where food becomes young at once"

    def prepare(self, world: World) -> None:
        species_mask(world, (self.predator, *self.prey))
        world.add_tally("eaten", (len(world.species), len(world.species)))

    def apply(self, world: World) -> None:
        a = world.agents
        target = np.where(a.species[: a.n] == self.predator, a.target[: a.n], -1)
        best = resolve_claims(world, target, a.n)
        busy_steps = self.handling_h / world.dt_h
        # What is whole but for rounding is whole.
        busy_steps = round(busy_steps) if math.isclose(busy_steps, round(busy_steps), rel_tol=1e-9) else busy_steps
        wanted = species_mask(world, self.prey or tuple(range(len(world.species))))
        meal = Meal(
            self.predator,
            float(busy_steps),
            float(self.gain_kj_kg),
            float(self.young),
            1 + 2 * max(self.prey, default=0),
        )
        _kill(best, a.view(Killers), meal, wanted, world.clock, world.tallies.eaten)


@dataclass(frozen=True, kw_only=True)
class Restock(Rule):
    """A species is brought back to its number: the missing are put at random places, as in an experiment on feeding."""

    phase: ClassVar[str] = "birth"
    species: int
    "row of the species"
    number: int
    "animals to keep"

    def apply(self, world: World) -> None:
        a, space = world.agents, world.space
        missing = self.number - int(world.counts()[self.species])
        if missing <= 0:
            return
        slots = a.add(missing, species=self.species, born_h=world.now_h)
        for column, length, draw in ((a.x, space.width_m, 0), (a.y, space.height_m, 1)):
            column[slots] = length * uniforms(world.seed, world.step, PLACING, a.key[slots], draw)
