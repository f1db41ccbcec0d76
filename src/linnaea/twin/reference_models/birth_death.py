"""Birth-death processes, Leslie generations and SIR epidemics, among all animals or among neighbours.

Shape suffixes: n slots, m live animals, s species, a ages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numba
import numpy as np

from linnaea.twin.engine.agents import INFECTIOUS, RECOVERED, SUSCEPTIBLE, VACCINATED
from linnaea.twin.engine.jit import kernel, scalar
from linnaea.twin.engine.neighbours import cell_window, count_runs, offset, run_bounds
from linnaea.twin.engine.rng import (
    BIRTH,
    DEATH,
    DISPERSAL,
    INFECTION,
    RECOVERY,
    geometric,
    poisson,
    uniform,
    uniform2,
    uniforms,
)
from linnaea.twin.engine.world import CAUSE, Rule, World, name_state
from linnaea.twin.rules.motion import ALL

_BACKGROUND = CAUSE["background"]
_DISEASE = CAUSE["disease"]
_IS_INFECTIOUS = np.array([code == INFECTIOUS for code in (SUSCEPTIBLE, INFECTIOUS, RECOVERED, VACCINATED)])
_AGE = CAUSE["age"]


@scalar
def compute_chance(rate, dt):
    """Return the probability that an event of this rate happens within dt."""
    return 1.0 - math.exp(-rate * dt)


@scalar
def compute_linear_family(birth, death, dt):
    """Return (α, β) of a linear birth-death process after dt.

    α is the probability that no descendant is left, β the ratio of the geometric distribution of their number.
    """
    if birth == death:
        share = birth * dt / (1.0 + birth * dt)
        return share, share
    growth = math.exp((birth - death) * dt)
    denominator = birth * growth - death
    return death * (growth - 1.0) / denominator, birth * (growth - 1.0) / denominator


class Parents(NamedTuple):
    """The columns of animals that a birth-death process reads and changes."""

    species: np.ndarray
    key: np.ndarray
    litter: np.ndarray
    dying: np.ndarray


class LinearRates(NamedTuple):
    """Rates of a birth-death process per animal and hour."""

    birth: float
    death: float
    "deaths at low density"
    slope: float
    "increase of the death rate for each animal"


@kernel
def _give_birth_or_die(order, parents, only, cell_of, number, rates, clock):
    """Draw the death or the litter of each animal; `number` has one value, or one for each cell."""
    species, key, litter, dying = parents.species, parents.key, parents.litter, parents.dying
    seed, step = clock.seed, clock.step
    for k in numba.prange(len(order)):
        i = order[k]
        if (only >= 0 and species[i] != only) or dying[i] != 0:
            continue
        near = number[cell_of[i]] if len(number) > 1 else number[0]
        alpha, beta = compute_linear_family(rates.birth, max(rates.death + rates.slope * near, 0.0), clock.dt_h)
        u, _ = uniform2(seed, step, BIRTH, key[i], 0)
        if u < alpha:
            dying[i] = _BACKGROUND
        else:
            litter[i] += geometric(1.0 - beta, seed, step, BIRTH, key[i], 1) - 1


@dataclass(frozen=True, kw_only=True)
class BirthDeath(Rule):
    """Each animal dies or multiplies at rates that are constant during the step, drawn from the exact distribution.

    With a carrying capacity K the death rate is death + (birth - death) N / K. N is the species' number in the phase
    `index`, in the whole world or in the animal's cell.
    """

    phase: ClassVar[str] = "live"
    source: ClassVar[str] = "the linear birth-death process (textbook form, checked against its extinction probability)"
    reads: ClassVar[frozenset[str]] = name_state(agents="species key litter dying")
    writes: ClassVar[frozenset[str]] = name_state(agents="litter dying")
    birth_per_h: float
    "births per animal and hour"
    death_per_h: float
    "deaths per animal and hour at low density"
    carrying_capacity: float = 0.0
    "number at which deaths equal births; 0 for no limit"
    species: int = 0
    "row of the species, -1 for all"
    local: bool = False
    "whether carrying capacity and number are those of a cell of the ground instead of the world"

    def prepare(self, world: World) -> None:
        """Raise ValueError for an impossible rate or number."""
        for name in ("birth_per_h", "death_per_h", "carrying_capacity"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name}: {value} must be a number ≥ 0")

    def apply(self, world: World) -> None:
        """Draw deaths and litters."""
        a, cells = world.agents, world.cells
        number, slope = np.zeros(1), 0.0
        if self.carrying_capacity:
            slope = (self.birth_per_h - self.death_per_h) / self.carrying_capacity
            mine = cells.order if self.species == ALL else cells.order[a.species[cells.order] == self.species]
            number = np.bincount(cells.cell_of[mine], minlength=cells.n_cells) if self.local else np.array([len(mine)])
        rates = LinearRates(float(self.birth_per_h), float(self.death_per_h), float(slope))
        _give_birth_or_die(
            cells.order, a.view(Parents), self.species, cells.cell_of, number.astype(np.float64), rates, world.clock
        )


class Cohorts(NamedTuple):
    """The columns of animals that a generation reads and changes."""

    key: np.ndarray
    born_h: np.ndarray
    litter: np.ndarray
    dying: np.ndarray


@kernel
def _draw_generation(slots, cohorts, fertility, survival, thinned, clock):
    """Draw the litter and the survival of each animal by its age in steps; `thinned` is the effect of crowding."""
    key, born_h, litter, dying = cohorts.key, cohorts.born_h, cohorts.litter, cohorts.dying
    seed, step = clock.seed, clock.step
    for k in numba.prange(len(slots)):
        i = slots[k]
        age = round((clock.now_h - born_h[i]) / clock.dt_h)
        litter[i] = 0
        if age < len(fertility):
            litter[i] = poisson(fertility[age] * thinned, seed, step, BIRTH, key[i], 0)
        if age >= len(survival) or uniform(seed, step, DEATH, key[i], 0) >= survival[age]:
            dying[i] = _AGE


@dataclass(frozen=True, kw_only=True)
class Generation(Rule):
    """In each step all animals of a species breed, a Poisson number each, and then survive or die, both by age.

    Ages are counted in steps. With a single age, generations do not overlap.
    """

    phase: ClassVar[str] = "birth"
    source: ClassVar[str] = "the Leslie matrix and Ricker's map (textbook forms, checked against both)"
    reads: ClassVar[frozenset[str]] = name_state(agents="*", tallies="born died")
    writes: ClassVar[frozenset[str]] = name_state(agents="*", tallies="born died")
    fertility: tuple[float, ...]
    "mean number of young of an animal without others, by age; the first value is for those born in the step before"
    survival: tuple[float, ...] = ()
    "chance to survive to the next step, by age; 0 for ages after the last"
    crowding: float = 0.0
    "reduction of the logarithm of the mean number of young by each animal of the species"
    species: int = 0
    "row of the species"

    def prepare(self, world: World) -> None:
        """Raise ValueError for an impossible fertility, survival or crowding."""
        for name, values, most in (("fertility", self.fertility, math.inf), ("survival", self.survival, 1.0)):
            for value in values:
                if not (math.isfinite(value) and 0 <= value <= most):
                    raise ValueError(f"{name}: {value} is impossible; give numbers from 0 to {most:g}")
        if not (math.isfinite(self.crowding) and self.crowding >= 0):
            raise ValueError(f"crowding: {self.crowding} must be a number ≥ 0")

    def apply(self, world: World) -> None:
        """Let the species breed, and remove those that do not survive."""
        a = world.agents
        slots = a.slots()
        slots = slots[a.species[slots] == self.species]
        if not len(slots):
            return
        fertility, survival = np.array(self.fertility, np.float64), np.array(self.survival, np.float64)
        thinned = math.exp(-self.crowding * len(slots))
        _draw_generation(slots, a.view(Cohorts), fertility, survival, thinned, world.clock)
        dead = slots[a.dying[slots] > 0]
        world.give_birth(slots, a.litter[slots])
        world.tallies.died[self.species, _AGE] += len(dead)
        a.remove(dead)


@dataclass(frozen=True, kw_only=True)
class DeliverLitters(Rule):
    """Every litter of the step is born; the young and their mother share her energy equally."""

    phase: ClassVar[str] = "birth"
    reads: ClassVar[frozenset[str]] = name_state(agents="*", tallies="born")
    writes: ClassVar[frozenset[str]] = name_state(agents="*", tallies="born")
    away_m: float = 0.0
    "distance of a young from its mother at birth, in a random direction; 0 for her place"

    def apply(self, world: World) -> None:
        """Add the young."""
        a = world.agents
        parents = np.flatnonzero(a.live[: a.n] & (a.litter[: a.n] > 0))
        if not len(parents):
            return
        a.energy[parents] /= a.litter[parents] + 1.0
        slots, mothers = world.give_birth(parents, a.litter[parents])
        a.energy[slots] = a.energy[mothers]
        if self.away_m:
            self._move_away(world, slots)

    def _move_away(self, world: World, slots: np.ndarray) -> None:
        """Move young to their places: around a torus, else at most to the border."""
        a, space = world.agents, world.space
        angle = 2 * np.pi * uniforms(world.seed, world.step, DISPERSAL, a.key[slots])
        for place, part, length in ((a.x, np.cos(angle), space.width_m), (a.y, np.sin(angle), space.height_m)):
            there = place[slots] + self.away_m * part
            there = there % length if space.torus else np.maximum(there, 0)
            place[slots] = np.minimum(there, length * (1 - 1e-6))


@kernel
def _count_infectious(order, x, y, health, ill, radius, grid, exposure):
    """Count the infectious animals within the radius of each susceptible one: into `exposure`."""
    for k in numba.prange(len(order)):
        i = order[k]
        if health[i] != SUSCEPTIBLE:
            continue
        met = 0
        window = cell_window(x[i], y[i], radius, grid)
        for run in range(count_runs(window, grid)):
            lo, hi = run_bounds(window, run, ill.start, grid)
            for q in range(lo, hi):
                dx, dy = (
                    offset(x[i] - ill.x[q], grid.width, grid.torus),
                    offset(y[i] - ill.y[q], grid.height, grid.torus),
                )
                if dx * dx + dy * dy <= radius * radius:
                    met += 1
        exposure[i] = met


@dataclass(frozen=True, kw_only=True)
class Expose(Rule):
    """The exposure of each animal: the number of infectious animals within the radius, or their share of all."""

    phase: ClassVar[str] = "decide"
    source: ClassVar[str] = "the SIR epidemic (textbook form, checked against its final size)"
    reads: ClassVar[frozenset[str]] = name_state(agents="x y health")
    writes: ClassVar[frozenset[str]] = name_state(agents="exposure")
    radius_m: float = 0.0
    "distance of contact, metres; with 0 all animals meet, and the exposure is the infectious share"

    def apply(self, world: World) -> None:
        """Set the exposure of every animal."""
        a, cells = world.agents, world.cells
        if self.radius_m == 0:
            infectious = np.count_nonzero(a.health[cells.order] == INFECTIOUS)
            a.exposure[: a.n] = infectious / max(1, cells.m)
            return
        ill = cells.select(a.health, _IS_INFECTIOUS)
        _count_infectious(cells.order, a.x, a.y, a.health, ill, float(self.radius_m), cells.grid, a.exposure)


@kernel
def _infect(order, health, exposure, key, infection, recovery, lethality, clock, dying):
    """Infect, cure and kill; `infection` and `recovery` are for the whole step."""
    seed, step = clock.seed, clock.step
    for k in numba.prange(len(order)):
        i = order[k]
        if health[i] == SUSCEPTIBLE:
            if exposure[i] > 0 and uniform(seed, step, INFECTION, key[i], 0) < 1.0 - math.exp(-infection * exposure[i]):
                health[i] = INFECTIOUS
        elif health[i] == INFECTIOUS:
            u, v = uniform2(seed, step, RECOVERY, key[i], 0)
            if u < recovery:
                health[i] = RECOVERED
                if v < lethality and dying[i] == 0:
                    dying[i] = _DISEASE


@dataclass(frozen=True, kw_only=True)
class Infect(Rule):
    """Susceptible animals fall ill at a rate proportional to their exposure; ill animals recover or die."""

    phase: ClassVar[str] = "live"
    source: ClassVar[str] = "the SIR epidemic (textbook form, checked against its final size)"
    reads: ClassVar[frozenset[str]] = name_state(agents="key health exposure dying")
    writes: ClassVar[frozenset[str]] = name_state(agents="health dying")
    infection_per_h: float
    "infections per hour and unit of exposure"
    recovery_per_h: float
    "rate at which illnesses end, per hour"
    lethality: float = 0.0
    "share of illnesses that end in death, 0 to 1"

    def prepare(self, world: World) -> None:
        """Raise ValueError for an impossible lethality."""
        if not 0 <= self.lethality <= 1:
            raise ValueError(f"lethality: {self.lethality} must be between 0 and 1")

    def apply(self, world: World) -> None:
        """Change the health of the animals."""
        a = world.agents
        _infect(
            world.cells.order,
            a.health,
            a.exposure,
            a.key,
            self.infection_per_h * world.dt_h,
            compute_chance(self.recovery_per_h, world.dt_h),
            self.lethality,
            world.clock,
            a.dying,
        )
