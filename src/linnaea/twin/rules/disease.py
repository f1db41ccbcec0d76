"""Contagion: one disease at a time goes from animal to animal; the ill recover, immune for a while, or die.

Shape suffixes: n slots, m live animals in the order of the cells, s species. `agents.health`: 0 susceptible, 1
infectious, 2 recovered, 3 vaccinated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numba
import numpy as np

from linnaea.twin.engine.agents import HOURS_A_YEAR, INFECTIOUS, RECOVERED, SUSCEPTIBLE, VACCINATED
from linnaea.twin.engine.jit import kernel
from linnaea.twin.engine.neighbours import cell_window, count_runs, offset, run_bounds
from linnaea.twin.engine.rng import INFECTION, RECOVERY, uniform, uniform2
from linnaea.twin.engine.world import CAUSE, Rule, World, name_state

_DISEASE = CAUSE["disease"]
_IS_INFECTIOUS = np.array([code == INFECTIOUS for code in (SUSCEPTIBLE, INFECTIOUS, RECOVERED, VACCINATED)])


class Contacts(NamedTuple):
    """The columns of animals that a contact depends on."""

    species: np.ndarray
    x: np.ndarray
    y: np.ndarray
    health: np.ndarray


@kernel
def _count_contacts(order, animals, susceptibility, carriers, radius, grid, exposure):
    species, x, y, health = animals
    for k in numba.prange(len(order)):
        i = order[k]
        if health[i] != SUSCEPTIBLE or not susceptibility[species[i]] > 0.0:
            continue
        met = 0
        window = cell_window(x[i], y[i], radius, grid)
        for run in range(count_runs(window, grid)):
            lo, hi = run_bounds(window, run, carriers.start, grid)
            for q in range(lo, hi):
                dx = offset(x[i] - carriers.x[q], grid.width, grid.torus)
                dy = offset(y[i] - carriers.y[q], grid.height, grid.torus)
                if dx * dx + dy * dy <= radius * radius:
                    met += 1
        exposure[i] = met


@dataclass(frozen=True, kw_only=True)
class CountContacts(Rule):
    """Counts the infectious animals within reach of every susceptible one; costs nothing while nobody is ill."""

    phase: ClassVar[str] = "decide"
    stored_name: ClassVar[str] = "Meet"
    reads: ClassVar[frozenset[str]] = name_state(agents="species x y health", arrays="hosts")
    writes: ClassVar[frozenset[str]] = name_state(agents="exposure")
    radius_m: float = 50.0
    "distance of contact, metres"

    def prepare(self, world: World) -> None:
        """Adds the disease: transmission, recovery (1/h), lethality, loss of immunity (1/h); and its hosts.

        The hosts are susceptibilities [s], 0 for species that are immune by nature.
        """
        world.add_array("disease", np.array([0.0, 1 / 240, 0.0, 0.0]))
        world.add_array("hosts", np.zeros(len(world.species)))

    def apply(self, world: World) -> None:
        """Sets the exposure of every susceptible animal."""
        a, cells = world.agents, world.cells
        if not (a.health[: a.n] == INFECTIOUS).any():
            return
        _count_contacts(
            cells.order,
            a.view(Contacts),
            world.arrays.hosts,
            cells.select(a.health, _IS_INFECTIOUS),
            float(self.radius_m),
            cells.grid,
            a.exposure,
        )


class Patients(NamedTuple):
    """The columns of animals that the course of a disease depends on."""

    species: np.ndarray
    key: np.ndarray
    health: np.ndarray
    exposure: np.ndarray
    dying: np.ndarray


class Course(NamedTuple):
    """Rates of a disease: per hour, but the share of illnesses that end in death."""

    infection: float
    recover: float
    lethality: float
    forget: float


@kernel
def _progress(order, patients, susceptibility, course, clock):
    species, key, exposure = patients.species, patients.key, patients.exposure
    health, dying = patients.health, patients.dying
    seed, step, dt = clock.seed, clock.step, clock.dt_h
    for k in numba.prange(len(order)):
        i = order[k]
        if health[i] == SUSCEPTIBLE:
            if exposure[i] > 0:
                force = course.infection * susceptibility[species[i]] * exposure[i]
                if uniform(seed, step, INFECTION, key[i], 0) < 1.0 - math.exp(-force * dt):
                    health[i] = INFECTIOUS
        elif health[i] == INFECTIOUS:
            u, v = uniform2(seed, step, RECOVERY, key[i], 0)
            if u < 1.0 - math.exp(-course.recover * dt):
                health[i] = RECOVERED
                if v < course.lethality and dying[i] == 0:
                    dying[i] = _DISEASE
        elif course.forget > 0.0 and uniform(seed, step, RECOVERY, key[i], 1) < 1.0 - math.exp(-course.forget * dt):
            health[i] = SUSCEPTIBLE


@dataclass(frozen=True, kw_only=True)
class ProgressDisease(Rule):
    """Infection at a rate proportional to the infectious animals met; illness ends in immunity or death (SIRS)."""

    phase: ClassVar[str] = "live"
    stored_name: ClassVar[str] = "Sicken"
    reads: ClassVar[frozenset[str]] = name_state(agents="species key health exposure dying", arrays="disease hosts")
    writes: ClassVar[frozenset[str]] = name_state(agents="health dying")
    leaves_out: ClassVar[tuple[str, ...]] = (
        "A world has one disease at a time, the same for all hosts; the ill move, feed and breed like the healthy.",
        "Another disease replaces the one before: its ill are well again, and nobody is immune to the new one.",
    )

    def apply(self, world: World) -> None:
        """Infects, heals and kills."""
        a = world.agents
        if not (a.health[: a.n] > 0).any():
            return
        course = Course(*world.arrays.disease.tolist())
        _progress(world.cells.order, a.view(Patients), world.arrays.hosts, course, world.clock)


def set_disease(
    world: World,
    hosts: dict[str, float],
    *,
    infection_per_h: float,
    illness_d: float,
    lethality: float,
    immunity_y: float = math.inf,
) -> None:
    """Makes a disease possible: susceptibility of each host, infections per hour and infectious contact, days ill.

    It replaces the disease before. With other hosts or values it is another disease, to which all are susceptible and
    which nobody carries. With the same it is the same disease, which comes back: animals immune to it stay immune.
    Raise ValueError for an unknown host or an impossible value.
    """
    unknown = [name for name in hosts if name not in world.species]
    if unknown:
        raise ValueError(f"host {unknown[0]!r} is not in the world; it has {', '.join(world.species)}")
    if not 0 <= lethality <= 1:
        raise ValueError(f"lethality: {lethality} must be between 0 and 1")
    if not (infection_per_h >= 0 and illness_d > 0 and immunity_y > 0):
        raise ValueError(
            f"disease: {infection_per_h} infections/h, {illness_d} d ill, {immunity_y} y immune; give rates above 0"
        )
    disease, susceptibility = world.arrays.disease, world.arrays.hosts
    old_disease, old_susceptibility = disease.copy(), susceptibility.copy()
    disease[:] = infection_per_h, 1 / (24 * illness_d), lethality, 1 / (immunity_y * HOURS_A_YEAR)
    susceptibility[:] = [hosts.get(name, 0.0) for name in world.species]
    is_another = (disease != old_disease).any() or (susceptibility != old_susceptibility).any()
    # Where there was no disease before, the vaccinated are immune to this one.
    if old_susceptibility.any() and is_another:
        world.agents.health[:] = SUSCEPTIBLE


def infect(world: World, slots: np.ndarray) -> None:
    """Makes these animals infectious."""
    world.agents.health[slots] = INFECTIOUS


def vaccinate(world: World, slots: np.ndarray) -> None:
    """Makes those of the animals that are susceptible immune, until immunity fades where the disease has it so."""
    slots = np.asarray(slots, np.int64)
    world.agents.health[slots[world.agents.health[slots] == SUSCEPTIBLE]] = VACCINATED
