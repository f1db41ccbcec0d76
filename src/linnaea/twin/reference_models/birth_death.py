"""Births, deaths and infection as chances per time, for worlds where everyone meets everyone or only neighbours.

Shape suffixes: n slots, m live animals, s species.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

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
from linnaea.twin.engine.world import CAUSE, Rule, World
from linnaea.twin.rules.motion import ALL

_BACKGROUND = CAUSE["background"]
_DISEASE = CAUSE["disease"]
_IS_INFECTIOUS = np.array([code == INFECTIOUS for code in (SUSCEPTIBLE, INFECTIOUS, RECOVERED, VACCINATED)])
_AGE = CAUSE["age"]


@scalar
def compute_chance(rate, dt):
    """The probability that an event of this rate happens within dt."""
    return 1.0 - math.exp(-rate * dt)


@scalar
def compute_linear_family(birth, death, dt):
    """(α, β) of a linear birth-death process after dt: α no descendant is left, β the ratio of the geometric tail."""
    if birth == death:
        share = birth * dt / (1.0 + birth * dt)
        return share, share
    growth = math.exp((birth - death) * dt)
    denominator = birth * growth - death
    return death * (growth - 1.0) / denominator, birth * (growth - 1.0) / denominator


@kernel
def _birth_death(order, species, only, key, place, number, birth, death, slope, dt, seed, step, litter, dying):
    for k in numba.prange(len(order)):
        i = order[k]
        if (only >= 0 and species[i] != only) or dying[i] != 0:
            continue
        near = number[place[i]] if len(number) > 1 else number[0]
        alpha, beta = compute_linear_family(birth, max(death + slope * near, 0.0), dt)
        u, _ = uniform2(seed, step, BIRTH, key[i], 0)
        if u < alpha:
            dying[i] = _BACKGROUND
        else:
            litter[i] += geometric(1.0 - beta, seed, step, BIRTH, key[i], 1) - 1


@dataclass(frozen=True, kw_only=True)
class BirthDeath(Rule):
    """Each animal dies or multiplies at rates that hold through the step, drawn from the process's exact law.

    With a carrying capacity K the death rate is death + (birth - death) N / K, N the species' number at phase `index`,
    in the whole world or in the animal's cell.
    """

    phase: ClassVar[str] = "live"
    source: ClassVar[str] = "the linear birth-death process (textbook form, checked against its extinction probability)"
    birth_per_h: float
    "births per animal and hour"
    death_per_h: float
    "deaths per animal and hour at low density"
    carrying_capacity: float = 0.0
    "number at which deaths equal births; 0 without limit"
    species: int = 0
    "row of the species, -1 all"
    local: bool = False
    "whether the carrying capacity and the number are those of a cell of the ground instead of the world"

    def prepare(self, world: World) -> None:
        for name in ("birth_per_h", "death_per_h", "carrying_capacity"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name}: {value} is not a rate or number ≥ 0")

    def apply(self, world: World) -> None:
        a, cells = world.agents, world.cells
        number, slope = np.zeros(1), 0.0
        if self.carrying_capacity:
            slope = (self.birth_per_h - self.death_per_h) / self.carrying_capacity
            mine = cells.order if self.species == ALL else cells.order[a.species[cells.order] == self.species]
            number = np.bincount(cells.cell_of[mine], minlength=cells.n_cells) if self.local else np.array([len(mine)])
        _birth_death(
            cells.order,
            a.species,
            self.species,
            a.key,
            cells.cell_of,
            number.astype(np.float64),
            self.birth_per_h,
            self.death_per_h,
            slope,
            world.dt_h,
            world.seed64,
            world.step,
            a.litter,
            a.dying,
        )


@kernel
def _generation(slots, key, born_h, now_h, dt, fertility, survival, thinned, seed, step, litter, dying):
    for k in numba.prange(len(slots)):
        i = slots[k]
        age = round((now_h - born_h[i]) / dt)
        litter[i] = 0
        if age < len(fertility):
            litter[i] = poisson(fertility[age] * thinned, seed, step, BIRTH, key[i], 0)
        if age >= len(survival) or uniform(seed, step, DEATH, key[i], 0) >= survival[age]:
            dying[i] = _AGE


@dataclass(frozen=True, kw_only=True)
class Generation(Rule):
    """Once a step all animals of a species breed together, a Poisson number each; then they survive or die, by age.

    Ages count in steps. With one age, which nobody outlives, generations follow each other without overlap.
    """

    phase: ClassVar[str] = "birth"
    source: ClassVar[str] = "the Leslie matrix and Ricker's map (textbook forms, checked against both)"
    fertility: tuple[float, ...]
    "mean number of young of an animal alone, by age, the first for those born in the step before"
    survival: tuple[float, ...] = ()
    "chance to be there in the next step, by age; ages behind the last have none"
    crowding: float = 0.0
    "by how much each animal of the species lowers the logarithm of the mean number of young"
    species: int = 0
    "row of the species"

    def prepare(self, world: World) -> None:
        for name, values, most in (("fertility", self.fertility, math.inf), ("survival", self.survival, 1.0)):
            for value in values:
                if not (math.isfinite(value) and 0 <= value <= most):
                    raise ValueError(f"{name}: {value} is impossible; give numbers from 0 to {most:g}")
        if not (math.isfinite(self.crowding) and self.crowding >= 0):
            raise ValueError(f"crowding: {self.crowding} is not a number ≥ 0")

    def apply(self, world: World) -> None:
        a = world.agents
        slots = a.slots()
        slots = slots[a.species[slots] == self.species]
        if not len(slots):
            return
        _generation(
            slots,
            a.key,
            a.born_h,
            world.now_h,
            world.dt_h,
            np.array(self.fertility, np.float64),
            np.array(self.survival, np.float64),
            math.exp(-self.crowding * len(slots)),
            world.seed64,
            world.step,
            a.litter,
            a.dying,
        )
        dead = slots[a.dying[slots] > 0]
        world.give_birth(slots, a.litter[slots])
        world.tallies["died"][self.species, _AGE] += len(dead)
        a.remove(dead)


@dataclass(frozen=True, kw_only=True)
class DeliverLitters(Rule):
    """Every litter noted in the step is born, sharing its mother's store of energy evenly with her."""

    phase: ClassVar[str] = "birth"
    away_m: float = 0.0
    "distance from its mother at which a young begins, in any direction; 0 beside her"

    def apply(self, world: World) -> None:
        a = world.agents
        parents = np.flatnonzero(a.live[: a.n] & (a.litter[: a.n] > 0))
        if not len(parents):
            return
        a.energy[parents] /= a.litter[parents] + 1.0
        slots, mothers = world.give_birth(parents, a.litter[parents])
        a.energy[slots] = a.energy[mothers]
        if self.away_m:
            self._part(world, slots)

    def _part(self, world: World, slots: np.ndarray) -> None:
        """Takes young to their places: around a torus, else no farther than its border."""
        a, space = world.agents, world.space
        angle = 2 * np.pi * uniforms(world.seed, world.step, DISPERSAL, a.key[slots])
        for place, part, length in ((a.x, np.cos(angle), space.width_m), (a.y, np.sin(angle), space.height_m)):
            there = place[slots] + self.away_m * part
            there = there % length if space.torus else np.maximum(there, 0)
            place[slots] = np.minimum(there, length * (1 - 1e-6))


@kernel
def _meet(order, x, y, health, ill, radius, grid, exposure):
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
    """How much infection each animal meets: the number of infectious ones within the radius, or their share of all."""

    phase: ClassVar[str] = "decide"
    radius_m: float = 0.0
    "metres; 0: everyone meets everyone, and the exposure is the infectious share"

    def apply(self, world: World) -> None:
        a, cells = world.agents, world.cells
        if self.radius_m == 0:
            infectious = np.count_nonzero(a.health[cells.order] == INFECTIOUS)
            a.exposure[: a.n] = infectious / max(1, cells.m)
            return
        ill = cells.select(a.health, _IS_INFECTIOUS)
        _meet(cells.order, a.x, a.y, a.health, ill, float(self.radius_m), cells.grid, a.exposure)


@kernel
def _infect(order, health, exposure, key, infection, recovery, lethality, seed, step, dying):
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
    """Susceptible animals fall ill at a rate proportional to their exposure; the ill recover, or die of it."""

    phase: ClassVar[str] = "live"
    source: ClassVar[str] = "the SIR epidemic (textbook form, checked against its final size)"
    infection_per_h: float
    "infections per hour and unit of exposure"
    recovery_per_h: float
    "ends of the illness per hour"
    lethality: float = 0.0
    "share of illnesses that end in death, 0 to 1"

    def prepare(self, world: World) -> None:
        if not 0 <= self.lethality <= 1:
            raise ValueError(f"lethality: {self.lethality} is not between 0 and 1")

    def apply(self, world: World) -> None:
        a = world.agents
        _infect(
            world.cells.order,
            a.health,
            a.exposure,
            a.key,
            self.infection_per_h * world.dt_h,
            compute_chance(self.recovery_per_h, world.dt_h),
            self.lethality,
            world.seed64,
            world.step,
            a.dying,
        )
