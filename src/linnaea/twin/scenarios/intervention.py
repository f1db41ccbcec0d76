"""What all kinds of interventions share: time, region, checks, and the choice of animals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from linnaea.options import nearest
from linnaea.twin.engine.rng import INTERVENTION, uniforms
from linnaea.twin.engine.world import World
from linnaea.twin.scenarios.regions import AREAS, EVERYWHERE, Region


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """A change from outside that begins at `start_h`.

    Each kind is a subclass; its own fields are the keys of its table in a scenario file.
    """

    kind: ClassVar[str] = ""
    "name in a scenario file"
    forms: ClassVar[tuple[str, ...]] = AREAS
    "forms of region that it can have"
    placed: ClassVar[bool] = False
    "whether a region is required"
    lasts: ClassVar[bool] = True
    "whether it has an end"
    hooks: ClassVar[tuple[str, ...]] = ()
    "layers and arrays (`interventions.HOOKS`) that it changes while it lasts"
    needs: ClassVar[tuple[str, ...]] = ()
    "arrays without which it would have no effect"
    start_h: float
    "hour of the world's clock at which it begins"
    end_h: float = math.inf
    "hour at which it ends"
    place: Region = EVERYWHERE
    "region in which it acts"

    def check(self, world: World, at: str) -> None:
        """Raise ValueError, beginning with `at`, for what this world does not have."""
        self.place.check(world.space, at)
        for name in (*self.hooks, *self.needs):
            if name not in world.fields and name not in world.arrays:
                raise ValueError(f"{at}: this world has no {name!r} to change; choose another world or kind")
        for name in getattr(self, "species", ()):
            find_species_row(world, name, at)

    def begin(self, world: World, index: int) -> None:
        """Act in the step in which it begins; `index` is its number in the scenario."""

    def change_hooks(self, world: World) -> None:
        """Change the hooks while it lasts; they have their values without interventions before."""

    def act_daily(self, world: World, index: int, elapsed_h: float) -> None:
        """Act once a day while it lasts; `elapsed_h` are the hours since the last time."""


def find_species_row(world: World, name: str, at: str) -> int:
    """Return the row of a species. Raise ValueError, with the nearest names, for an unknown species."""
    if name in world.species:
        return world.species.index(name)
    otherwise = f"it has {', '.join(world.species)}, or their scientific names"
    raise ValueError(f"{at}: species {name!r} is not in this world{nearest(name, world.species, otherwise=otherwise)}")


def find_animals(world: World, species: tuple[str, ...], region: Region) -> np.ndarray:
    """Return the slots of the live animals of these species in a region, in the order of their keys."""
    a = world.agents
    slots = a.slots()
    rows = [world.species.index(name) for name in species]
    slots = slots[np.isin(a.species[slots], rows)]
    slots = slots[region.contains(a.x[slots], a.y[slots])]
    return slots[np.argsort(a.key[slots], kind="stable")]


def draw_subset(world: World, slots: np.ndarray, share: float, index: int) -> np.ndarray:
    """Return the slots whose own random number is below the share."""
    return slots[uniforms(world.seed, world.step, INTERVENTION, world.agents.key[slots], index) < share]
