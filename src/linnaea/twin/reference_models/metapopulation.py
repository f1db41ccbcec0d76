"""Metapopulations (Levins 1969) and island biogeography (MacArthur and Wilson 1967), as mean-field models and as rules.

In the rules a patch or an island is a cell of the ground (`Space.cell_m`), and an animal stands for all animals of its
species that live there: a family, a colony, a population.

Shape suffixes: n slots, p animals or patches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numba
import numpy as np

from linnaea.twin.engine.contention import resolve_claims
from linnaea.twin.engine.jit import kernel
from linnaea.twin.engine.rng import DISPERSAL, MIGRATION, uniform, uniforms
from linnaea.twin.engine.world import CAUSE, Rule, World
from linnaea.twin.meanfield.model import MeanFieldModel, Node

_BACKGROUND = CAUSE["background"]


def make_levins(colonization: float, extinction: float, start: float = 0.01) -> MeanFieldModel:
    """Return the model of the share p of occupied patches: dp/dt = c p (1 − p) − e p.

    It tends to 1 − e/c if c > e, else to 0.
    """
    node = Node(name="occupied", start=start, growth=colonization, capacity=1.0, mortality=extinction)
    return MeanFieldModel(nodes=(node,), density_unit="share of patches")


def make_island(pool: int, immigration: float, extinction: float, start: float = 0.0) -> MeanFieldModel:
    """Return the model of the number S of species on an island: dS/dt = I (1 − S/P) − E S/P.

    It tends to I P / (I + E). I is the rate of new species on an empty island, E the rate of extinctions with all P
    species of the pool. Raise ValueError for an empty pool.
    """
    if pool < 1:
        raise ValueError(f"pool of {pool} species: a pool must have at least one; give a larger pool")
    node = Node(name="species", start=start, immigration=immigration, mortality=(immigration + extinction) / pool)
    return MeanFieldModel(nodes=(node,), density_unit="species")


@kernel
def _choose_patch(slots, key, n_patches, seed, step, target):
    """Draw a patch for each animal: into `target`."""
    for k in numba.prange(len(slots)):
        i = slots[k]
        target[i] = min(int(uniform(seed, step, DISPERSAL, key[i], 0) * n_patches), n_patches - 1)


@dataclass(frozen=True, kw_only=True)
class Settle(Rule):
    """Every young goes to a random patch; it stays if its species is absent there and is lost if it is present.

    Of the young that reach one patch in the same step one stays. The rule stands after the rule that gives birth.
    """

    phase: ClassVar[str] = "birth"
    source: ClassVar[str] = "the metapopulation of Levins (textbook form, checked against 1 − e/c)"
    species: int = 0
    "row of the species"

    def apply(self, world: World) -> None:
        """Send the young of this step to patches and remove those that are lost."""
        a = world.agents
        live = a.slots()
        live = live[a.species[live] == self.species]
        young = a.born_h[live] == (world.step + 1) * world.dt_h
        new, n_patches = live[young], world.cells.n_cells
        if not len(new):
            return
        a.target[: a.n] = -1
        _choose_patch(new, a.key, n_patches, world.seed64, world.step, a.target)
        first = resolve_claims(world, a.target[: a.n], n_patches)
        taken = np.zeros(n_patches, bool)
        taken[find_patches(world, live[~young])] = True
        patch = a.target[new]
        stays = (first[patch] == new) & ~taken[patch]
        place_animals(world, new[stays], patch[stays])
        world.tallies["died"][self.species, _BACKGROUND] += np.count_nonzero(~stays)
        a.remove(new[~stays])


@dataclass(frozen=True, kw_only=True)
class Colonise(Rule):
    """Every species that is absent from an island reaches it by chance, from a mainland that has all species."""

    phase: ClassVar[str] = "birth"
    source: ClassVar[str] = "the equilibrium of island biogeography (textbook form, checked against IP/(I + E))"
    rate_per_h: float
    "arrivals of a species on an island per hour"

    def prepare(self, world: World) -> None:
        """Raise ValueError for an impossible rate."""
        if not (math.isfinite(self.rate_per_h) and self.rate_per_h >= 0):
            raise ValueError(f"rate_per_h: {self.rate_per_h} must be a rate ≥ 0")

    def apply(self, world: World) -> None:
        """Add the species that reach an island in this step."""
        a, n_species = world.agents, len(world.species)
        live = a.slots()
        there = np.zeros((world.cells.n_cells, n_species), bool)
        there[find_patches(world, live), a.species[live]] = True
        draws = uniforms(world.seed, world.step, MIGRATION, np.arange(there.size, dtype=np.uint64))
        comes = (draws < -math.expm1(-self.rate_per_h * world.dt_h)) & ~there.ravel()
        patch, kind = np.divmod(np.flatnonzero(comes), n_species)
        place_animals(world, a.add(len(kind), species=kind, born_h=(world.step + 1) * world.dt_h), patch)


def find_patches(world: World, slots: np.ndarray) -> np.ndarray:
    """Return the cells of the ground [p] in which the animals of these slots [p] are now."""
    a, cells, space = world.agents, world.cells, world.space
    row = np.minimum(a.y[slots] / space.cell_height_m, cells.n_rows - 1).astype(np.int64)
    return row * cells.n_columns + np.minimum(a.x[slots] / space.cell_width_m, cells.n_columns - 1).astype(np.int64)


def place_animals(world: World, slots: np.ndarray, patches: np.ndarray) -> None:
    """Put the animals of these slots [p] into the middles of these cells of the ground [p]."""
    a, space = world.agents, world.space
    row, column = np.divmod(patches, world.cells.n_columns)
    a.x[slots] = (column + 0.5) * space.cell_width_m
    a.y[slots] = (row + 0.5) * space.cell_height_m
