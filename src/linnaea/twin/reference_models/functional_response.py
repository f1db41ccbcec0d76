"""Predators that search, strike and handle prey: functional responses emerge from encounters (Holling 1959).

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
from linnaea.twin.engine.world import CAUSE, Rule, World, name_state
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
    "number of the random draw, which differs between prey"


@scalar
def find_nearest(x, y, strike, prey, grid):
    """Return the slot of the nearest prey within reach, -1 for none, and the prey within the radius of awareness."""
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
            # Of two prey at the same distance the first in the order of the cells, which is by key.
            if squared < best_squared or (squared == best_squared and best < 0):
                best, best_squared = prey.slots[q], squared
    return best, around


@kernel
def _strike_nearest(order, hunters, strike, prey, grid, clock):
    """Let each predator that is free strike at its nearest prey: the prey into `target`."""
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
        # Of two prey found in one step, by rules for different prey, it takes either with equal chance.
        if u < effort and (target[i] < 0 or v < 0.5):
            target[i] = best


@dataclass(frozen=True, kw_only=True)
class Hunt(Rule):
    """A predator that is not busy strikes at the nearest prey within reach, with a chance of success.

    The functional response is of Holling's second type. With `full_density` the effort grows with the density of prey
    around the predator up to that density (learning, switching), and the response is of the third type.
    """

    phase: ClassVar[str] = "decide"
    source: ClassVar[str] = "Holling's disc equation (textbook form, refitted from encounters)"
    reads: ClassVar[frozenset[str]] = name_state(agents="species x y key until_h target")
    writes: ClassVar[frozenset[str]] = name_state(agents="target")
    predator: int
    "row of the species that hunts"
    prey: tuple[int, ...]
    "rows of the species that it hunts"
    radius_m: float
    "greatest distance of a strike, metres"
    success: float = 1.0
    "chance that a strike succeeds, 0 to 1"
    full_density: float = 0.0
    "other prey per square metre at which the effort is full; 0 for full effort always"
    awareness_m: float = 0.0
    "radius within which the predator knows the density of prey, metres"
    interference: float = 0.0
    "time that each predator of the species costs the others, as a share of their search time"

    def prepare(self, world: World) -> None:
        """Raise ValueError for an unknown species or an impossible value."""
        if not self.prey:
            raise ValueError("prey: empty; give the rows of the species that are hunted")
        species_mask(world, (self.predator, *self.prey))
        if not 0 <= self.success <= 1:
            raise ValueError(f"success: {self.success} must be between 0 and 1")
        if not self.interference >= 0:
            raise ValueError(f"interference: {self.interference} must be a share of time, 0 or more")
        if self.full_density and not self.awareness_m > 0:
            raise ValueError(f"awareness_m: {self.awareness_m} must be above 0 with full_density; give metres")

    def apply(self, world: World) -> None:
        """Let the predators of the species strike."""
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
        _strike_nearest(cells.order, a.view(Hunters), strike, prey, cells.grid, world.clock)


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
    "number of the random draw, which differs between prey"


@serial
def _eat_prey(best, killers, meal, wanted, clock, eaten):
    """Kill the prey that was won and feed its predator; `best` is the winner of each prey, -1 for none."""
    species, key, until_h, mass, energy, won, dying, litter = killers
    for prey in range(len(best)):
        i = best[prey]
        if i < 0 or species[i] != meal.predator or not wanted[species[prey]] or dying[prey] != 0:
            continue
        dying[prey] = _PREDATION
        won[i] = 1.0
        u, v = uniform2(clock.seed, clock.step, HUNTING, key[i], meal.draw)
        # Half a millionth of an hour less, so that rounding in sums of steps does not make the end late.
        until_h[i] = clock.now_h + clock.dt_h + math.floor(meal.busy_steps + u) * clock.dt_h - 5e-7
        energy[i] += meal.gain * mass[prey]
        if meal.young > 0.0:
            # A whole number with this mean.
            litter[i] += int(meal.young + v)
        eaten[species[i], species[prey]] += 1


@dataclass(frozen=True, kw_only=True)
class Kill(Rule):
    """Of the predators that strike at one prey one wins it, eats, and handles it from the end of the step.

    Handling lasts whole steps, randomly rounded up or down, so that the mean is the handling time.
    """

    phase: ClassVar[str] = "resolve"
    source: ClassVar[str] = "Holling's disc equation (textbook form, refitted from encounters)"
    reads: ClassVar[frozenset[str]] = name_state(
        agents="species key until_h mass energy target dying litter", tallies="eaten"
    )
    writes: ClassVar[frozenset[str]] = name_state(agents="until_h energy won dying litter", tallies="eaten")
    predator: int
    "row of the species that hunts"
    handling_h: float
    "hours from a kill to the next search"
    gain_kj_kg: float = 0.0
    "energy gained from a kilogram of prey, kJ"
    prey: tuple[int, ...] = ()
    "rows of the prey for which this holds; empty for all"
    young: float = 0.0
    "mean number of young for each prey, where food becomes young at once"

    def prepare(self, world: World) -> None:
        """Check the species and add the tally of prey eaten [s, s]."""
        species_mask(world, (self.predator, *self.prey))
        world.add_tally("eaten", (len(world.species), len(world.species)))

    def apply(self, world: World) -> None:
        """Resolve the strikes of the species."""
        a = world.agents
        target = np.where(a.species[: a.n] == self.predator, a.target[: a.n], -1)
        best = resolve_claims(world, target, a.n)
        busy_steps = self.handling_h / world.dt_h
        # A whole number apart from rounding counts as whole.
        busy_steps = round(busy_steps) if math.isclose(busy_steps, round(busy_steps), rel_tol=1e-9) else busy_steps
        wanted = species_mask(world, self.prey or tuple(range(len(world.species))))
        meal = Meal(
            self.predator,
            float(busy_steps),
            float(self.gain_kj_kg),
            float(self.young),
            1 + 2 * max(self.prey, default=0),
        )
        _eat_prey(best, a.view(Killers), meal, wanted, world.clock, world.tallies.eaten)


@dataclass(frozen=True, kw_only=True)
class Restock(Rule):
    """A species is restored to its number with animals at random places, as in feeding experiments."""

    phase: ClassVar[str] = "birth"
    reads: ClassVar[frozenset[str]] = name_state(agents="*")
    writes: ClassVar[frozenset[str]] = name_state(agents="*")
    species: int
    "row of the species"
    number: int
    "number of animals to restore"

    def apply(self, world: World) -> None:
        """Add the missing animals."""
        a, space = world.agents, world.space
        missing = self.number - int(world.counts()[self.species])
        if missing <= 0:
            return
        slots = a.add(missing, species=self.species, born_h=world.now_h)
        for column, length, draw in ((a.x, space.width_m, 0), (a.y, space.height_m, 1)):
            column[slots] = length * uniforms(world.seed, world.step, PLACING, a.key[slots], draw)
