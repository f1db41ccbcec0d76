"""Patches and islands, as mean-field models and as rules for animals: Levins, and the number of species of an island.

Among animals a patch or an island is a cell of the ground (`Space.cell_m`), and an animal stands for all of its species
that live there: a family, a colony, a population.
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
    """The share p of patches that are occupied: dp/dt = c p (1 − p) − e p, which comes to 1 − e/c where c > e, else to
    0.
    """
    node = Node(name="occupied", start=start, growth=colonization, capacity=1.0, mortality=extinction)
    return MeanFieldModel(nodes=(node,), density_unit="share of patches")


def make_island(pool: int, immigration: float, extinction: float, start: float = 0.0) -> MeanFieldModel:
    """The species S on an island: dS/dt = I (1 − S/P) − E S/P, which comes to I P / (I + E).

    I is the rate of new species on an empty island, E that of extinctions where all P of the pool are there. ValueError
    for an empty pool.
    """
    if pool < 1:
        raise ValueError(f"pool of {pool} species: an island is colonised from at least one; give a larger pool")
    node = Node(name="species", start=start, immigration=immigration, mortality=(immigration + extinction) / pool)
    return MeanFieldModel(nodes=(node,), density_unit="species")


@kernel
def _choose_patch(slots, key, n_patches, seed, step, target):
    for k in numba.prange(len(slots)):
        i = slots[k]
        target[i] = min(int(uniform(seed, step, DISPERSAL, key[i], 0) * n_patches), n_patches - 1)


@dataclass(frozen=True, kw_only=True)
class Settle(Rule):
    """Every young goes to a patch drawn from all; it stays where its species is not, and is lost where it is.

    Of young that come to one patch in the same step one stays. Stands behind the rule that bears them.
    """

    phase: ClassVar[str] = "birth"
    source: ClassVar[str] = "the metapopulation of Levins (textbook form, checked against 1 − e/c)"
    species: int = 0
    "row of the species"

    def apply(self, world: World) -> None:
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
    """Every species comes to every island by chance, from a mainland that has all; where it lives it comes not anew."""

    phase: ClassVar[str] = "birth"
    source: ClassVar[str] = "the equilibrium of island biogeography (textbook form, checked against IP/(I + E))"
    rate_per_h: float
    "arrivals of a species on an island per hour"

    def prepare(self, world: World) -> None:
        if not (math.isfinite(self.rate_per_h) and self.rate_per_h >= 0):
            raise ValueError(f"rate_per_h: {self.rate_per_h} is not a rate ≥ 0")

    def apply(self, world: World) -> None:
        a, n_species = world.agents, len(world.species)
        live = a.slots()
        there = np.zeros((world.cells.n_cells, n_species), bool)
        there[find_patches(world, live), a.species[live]] = True
        draws = uniforms(world.seed, world.step, MIGRATION, np.arange(there.size, dtype=np.uint64))
        comes = (draws < -math.expm1(-self.rate_per_h * world.dt_h)) & ~there.ravel()
        patch, kind = np.divmod(np.flatnonzero(comes), n_species)
        place_animals(world, a.add(len(kind), species=kind, born_h=(world.step + 1) * world.dt_h), patch)


def find_patches(world: World, slots: np.ndarray) -> np.ndarray:
    """The cells of the ground [p] in which the animals of these slots [p] are now."""
    a, cells, space = world.agents, world.cells, world.space
    row = np.minimum(a.y[slots] / space.cell_height_m, cells.n_rows - 1).astype(np.int64)
    return row * cells.n_columns + np.minimum(a.x[slots] / space.cell_width_m, cells.n_columns - 1).astype(np.int64)


def place_animals(world: World, slots: np.ndarray, patches: np.ndarray) -> None:
    """Puts the animals of these slots [p] into the middles of these cells of the ground [p]."""
    a, space = world.agents, world.space
    row, column = np.divmod(patches, world.cells.n_columns)
    a.x[slots] = (column + 0.5) * space.cell_width_m
    a.y[slots] = (row + 0.5) * space.cell_height_m
