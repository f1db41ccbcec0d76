"""Contagion: one disease at a time goes from animal to animal; the ill recover, immune for a while, or die.

Shape suffixes: n slots, m live animals in the order of the cells, s species. `agents.health`: 0 susceptible, 1 infectious,
2 recovered, 3 vaccinated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numba
import numpy as np

from linnaea.twin.engine.agents import HOURS_A_YEAR, INFECTIOUS, RECOVERED, SUSCEPTIBLE, VACCINATED
from linnaea.twin.engine.jit import kernel
from linnaea.twin.engine.neighbours import offset, wrap
from linnaea.twin.engine.rng import INFECTION, RECOVERY, uniform, uniform2
from linnaea.twin.engine.world import CAUSE, Rule, World
from linnaea.twin.rules.ranging import box

_DISEASE = CAUSE["disease"]


@kernel
def _contact(order, species, herd, x, y, health, hosts, carrier_start, carrier, radius, grid, exposure):
    n_columns, n_rows, _, _, width, height, torus = grid
    for k in numba.prange(len(order)):
        i = order[k]
        if health[i] != SUSCEPTIBLE or not hosts[species[i]] > 0.0:
            continue
        y_lo, y_hi, x_lo, x_hi = box(x[i], y[i], radius, grid)
        met = 0
        for row in range(y_lo, y_hi + 1):
            for column in range(x_lo, x_hi + 1):
                c = wrap(row, n_rows) * n_columns + wrap(column, n_columns)
                for q in range(carrier_start[c], carrier_start[c + 1]):
                    j = carrier[q]
                    dx, dy = offset(x[i] - x[j], width, torus), offset(y[i] - y[j], height, torus)
                    if dx * dx + dy * dy <= radius * radius:
                        met += 1
        exposure[i] = met


@dataclass(frozen=True, kw_only=True)
class CountContacts(Rule):
    """Counts the infectious animals within reach of every susceptible one; costs nothing while nobody is ill."""

    phase: ClassVar[str] = "decide"
    stored_name: ClassVar[str] = "Meet"
    radius_m: float = 50.0
    "distance of contact, metres"

    def prepare(self, world: World) -> None:
        # Transmission, recovery (1/h), lethality, loss of immunity (1/h); hosts' susceptibility [s], 0 immune by nature.
        world.add_array("disease", np.array([0.0, 1 / 240, 0.0, 0.0]))
        world.add_array("hosts", np.zeros(len(world.species)))

    def apply(self, world: World) -> None:
        a, cells, order = world.agents, world.cells, world.cells.order
        carriers = order[a.health[order] == INFECTIOUS]
        if not len(carriers):
            return
        start = np.zeros(cells.n_cells + 1, np.int64)
        np.cumsum(np.bincount(cells.cell_of[carriers], minlength=cells.n_cells), out=start[1:])
        _contact(
            order,
            a.species,
            a.herd,
            a.x,
            a.y,
            a.health,
            world.arrays["hosts"],
            start,
            carriers,
            self.radius_m,
            cells.grid(),
            a.exposure,
        )


@kernel
def _sicken(order, species, key, health, exposure, hosts, infection, recover, lethality, forget, dt, seed, step, dying):
    for k in numba.prange(len(order)):
        i = order[k]
        if health[i] == SUSCEPTIBLE:
            if exposure[i] > 0:
                force = infection * hosts[species[i]] * exposure[i]
                if uniform(seed, step, INFECTION, key[i], 0) < 1.0 - math.exp(-force * dt):
                    health[i] = INFECTIOUS
        elif health[i] == INFECTIOUS:
            u, v = uniform2(seed, step, RECOVERY, key[i], 0)
            if u < 1.0 - math.exp(-recover * dt):
                health[i] = RECOVERED
                if v < lethality and dying[i] == 0:
                    dying[i] = _DISEASE
        elif forget > 0.0 and uniform(seed, step, RECOVERY, key[i], 1) < 1.0 - math.exp(-forget * dt):
            health[i] = SUSCEPTIBLE


@dataclass(frozen=True, kw_only=True)
class ProgressDisease(Rule):
    """Infection at a rate proportional to the infectious animals met; illness ends in immunity or death (SIRS)."""

    phase: ClassVar[str] = "live"
    stored_name: ClassVar[str] = "Sicken"
    leaves_out: ClassVar[tuple[str, ...]] = (
        "A world has one disease at a time, with one illness for all hosts; the ill move, feed and breed like the healthy.",
        "Another disease takes the place of the one before: its ill are well again, and who was immune to it, recovered or vaccinated, is not to the new one.",
    )

    def apply(self, world: World) -> None:
        infection, recover, lethality, forget = world.arrays["disease"]
        a = world.agents
        if not (a.health[: a.n] > 0).any():
            return
        _sicken(
            world.cells.order,
            a.species,
            a.key,
            a.health,
            a.exposure,
            world.arrays["hosts"],
            infection,
            recover,
            lethality,
            forget,
            world.dt_h,
            world.seed64,
            world.step,
            a.dying,
        )


def set_disease(
    world: World,
    hosts: dict[str, float],
    *,
    infection_per_h: float,
    illness_d: float,
    lethality: float,
    immunity_y: float = math.inf,
) -> None:
    """Makes a disease possible: susceptibility of each host species, infections per hour and infectious contact, days ill.

    It takes the place of the one before: where hosts or values are others it is another disease, to which all are
    susceptible and which nobody carries. With the same it is the same, come back: who is immune to it stays so.
    """
    unknown = [name for name in hosts if name not in world.species]
    if unknown:
        raise ValueError(f"host {unknown[0]!r} is not in the world; it has {', '.join(world.species)}")
    if not 0 <= lethality <= 1:
        raise ValueError(f"lethality: {lethality} is not between 0 and 1")
    if not (infection_per_h >= 0 and illness_d > 0 and immunity_y > 0):
        raise ValueError(
            f"disease: {infection_per_h} infections/h, {illness_d} d ill, {immunity_y} y immune; give rates above 0"
        )
    before = [world.arrays[name].copy() for name in ("disease", "hosts")]
    world.arrays["disease"][:] = infection_per_h, 1 / (24 * illness_d), lethality, 1 / (immunity_y * HOURS_A_YEAR)
    world.arrays["hosts"][:] = [hosts.get(name, 0.0) for name in world.species]
    another = any((world.arrays[name] != old).any() for name, old in zip(("disease", "hosts"), before, strict=True))
    # Where there was none before, the vaccinated are so against this one.
    if before[1].any() and another:
        world.agents.health[:] = SUSCEPTIBLE


def infect(world: World, slots: np.ndarray) -> None:
    """These animals are ill from now on."""
    world.agents.health[slots] = INFECTIOUS


def vaccinate(world: World, slots: np.ndarray) -> None:
    """Those of them that are susceptible cannot fall ill (until immunity fades, where the disease has it so)."""
    slots = np.asarray(slots, np.int64)
    world.agents.health[slots[world.agents.health[slots] == SUSCEPTIBLE]] = VACCINATED
