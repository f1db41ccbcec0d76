"""The recorder of a run: numbers, masses, births, deaths, food, weather, maps and paths at regular intervals.

All records are kept in the world's own arrays (`record_…`), so that a checkpoint holds them and a continued run has no
gap.

Shape suffixes: k records, s species, c causes, h states of health, l foods, t traits, w weather layers, f frames, R and
C rows and columns of the maps, a animals followed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from linnaea.twin.engine.agents import NO_SLOT
from linnaea.twin.engine.world import CAUSES, Rule, World

WEATHER = {
    "rain_mm": ("rain of a month", "mm"),
    "moisture_mm": ("moisture of the ground", "mm"),
    "temperature_c": ("temperature", "°C"),
    "burned_times": ("times burned since the start", ""),
}
"layers whose mean over the map is recorded, with their names and units"
HEALTH = ("susceptible", "ill", "recovered", "vaccinated")
"states of `agents.health`, in the order of their codes"
SERIES = ("time_h", "counts", "mass_kg", "born", "died", "health", "weather", "traits", "food_kg", "paths_m")
"arrays with a row for every record"
MOST_FRAMES = 64
_FIRST_ROOM = 64


def compute_map_shape(world: World, side: int) -> tuple[int, int]:
    """Return the rows and columns of the maps, with `side` cells along the longer side of the ground."""
    height, width = world.space.height_m, world.space.width_m
    longer = max(height, width)
    return max(1, round(side * height / longer)), max(1, round(side * width / longer))


@dataclass(frozen=True, kw_only=True)
class Record(Rule):
    """Records the state of the world at regular intervals and changes nothing."""

    phase: ClassVar[str] = "observe"
    every_h: float
    "hours between two records"
    map_side: int = 48
    "cells along the longer side of the maps"
    frames: bool = False
    "whether maps are kept through time, for a time-lapse"
    followed: int = 0
    "number of animals whose paths are kept, spread over the species"

    def prepare(self, world: World) -> None:
        """Add the arrays of the records. Raise ValueError for an interval shorter than a step."""
        if self.every_h < world.dt_h:
            raise ValueError(f"every_h: {self.every_h:g} is shorter than a step of {world.dt_h:g} h; record less often")
        s, t, shape = len(world.species), len(world.traits), compute_map_shape(world, self.map_side)
        world.add_array("record_n", np.zeros(1, np.int64))
        world.add_array("record_map", np.zeros((s, *shape)))
        for name, width, dtype in (
            ("time_h", (), np.float64),
            ("counts", (s,), np.int64),
            ("mass_kg", (s,), np.float64),
            ("born", (s,), np.int64),
            ("died", (s, len(CAUSES)), np.int64),
            ("health", (s, len(HEALTH)), np.int64),
            ("weather", (len(WEATHER),), np.float64),
            ("traits", (s, t, 2), np.float64),
            ("food_kg", (len(self._list_foods(world)),), np.float64),
            ("paths_m", (self.followed, 2), np.float32),
        ):
            world.add_array(f"record_{name}", np.zeros((_FIRST_ROOM, *width), dtype))
        world.add_array("record_followed", np.zeros(self.followed, np.int64))
        world.add_array("record_frame_n", np.array([0, 1], np.int64))
        if self.frames:
            world.add_array("record_frames", np.zeros((MOST_FRAMES, s, *shape), np.uint16))
            world.add_array("record_frame_h", np.zeros(MOST_FRAMES))
            world.add_array(
                "record_food_frames", np.zeros((MOST_FRAMES, len(self._list_foods(world)), *shape), np.float32)
            )

    @staticmethod
    def _list_foods(world: World) -> list[str]:
        return [str(name) for name in world.parameters.foods.names] if world.parameters else []

    def apply(self, world: World) -> None:
        """Record the state at the end of this step if a record is due."""
        if (world.step + 1) % max(1, round(self.every_h / world.dt_h)) == 0:
            self.write_down(world, (world.step + 1) * world.dt_h)

    def write_down(self, world: World, now_h: float) -> None:
        """Write one record of the present state. It is also called once before the first step."""
        a, arrays = world.agents, world.arrays
        row = int(arrays["record_n"][0])
        self._make_room(world, row)
        slots = a.slots()
        species = a.species[slots]
        self._record_animals(world, row, slots, species)
        arrays["record_time_h"][row] = now_h
        for index, name in enumerate(WEATHER):
            arrays["record_weather"][row, index] = world.fields[name].mean() if name in world.fields else np.nan
        if names := self._list_foods(world):
            total = arrays["food"].reshape(len(names), -1).sum(1)
            arrays["record_food_kg"][row] = total / world.parameters.foods.kj_kg
        here = self._count_by_cell(world, slots, species)
        arrays["record_map"] += here
        if self.followed:
            self._follow(world, row)
        if self.frames:
            self._keep_frame(world, row, now_h, here)
        arrays["record_n"][0] = row + 1

    @staticmethod
    def _record_animals(world: World, row: int, slots: np.ndarray, species: np.ndarray) -> None:
        """Record numbers, masses, births, deaths, health and traits of each species."""
        a, arrays, n = world.agents, world.arrays, len(world.species)
        arrays["record_counts"][row] = np.bincount(species, minlength=n)
        arrays["record_mass_kg"][row] = np.bincount(species, weights=a.mass[slots], minlength=n)
        arrays["record_born"][row] = world.tallies["born"]
        arrays["record_died"][row] = world.tallies["died"]
        state = species.astype(np.int64) * len(HEALTH) + a.health[slots]
        arrays["record_health"][row] = np.bincount(state, minlength=n * len(HEALTH)).reshape(n, len(HEALTH))
        for index in range(len(world.traits)):
            mean, spread = _compute_mean_and_spread(a.traits[slots, index].astype(np.float64), species, n)
            arrays["record_traits"][row, :, index, 0], arrays["record_traits"][row, :, index, 1] = mean, spread

    @staticmethod
    def _make_room(world: World, row: int) -> None:
        for name in SERIES:
            array = world.arrays[f"record_{name}"]
            if row == len(array):
                world.arrays[f"record_{name}"] = np.concatenate([array, np.zeros_like(array)])

    @staticmethod
    def _count_by_cell(world: World, slots: np.ndarray, species: np.ndarray) -> np.ndarray:
        """Count the animals of each species in each cell of the maps: float64 [s, R, C]."""
        a, (_, rows, columns) = world.agents, world.arrays["record_map"].shape
        row = np.minimum((a.y[slots] / world.space.height_m * rows).astype(np.int64), rows - 1)
        column = np.minimum((a.x[slots] / world.space.width_m * columns).astype(np.int64), columns - 1)
        cell = (species * rows + row) * columns + column
        return np.bincount(cell, minlength=world.arrays["record_map"].size).reshape(world.arrays["record_map"].shape)

    def _follow(self, world: World, row: int) -> None:
        followed, a = world.arrays["record_followed"], world.agents
        if row == 0:
            followed[:] = _choose_over_species(a.id[a.slots()], a.species[a.slots()], self.followed)
        for index, animal_id in enumerate(followed):
            slot = a.find(int(animal_id)) if animal_id else NO_SLOT
            place = (np.nan, np.nan) if slot == NO_SLOT else (a.x[slot], a.y[slot])
            world.arrays["record_paths_m"][row, index] = place

    def _keep_frame(self, world: World, row: int, now_h: float, here: np.ndarray) -> None:
        """Keep every record as a frame; when there are too many, drop every other one and double the stride."""
        arrays = world.arrays
        count, stride = arrays["record_frame_n"]
        if row % stride:
            return
        if count == MOST_FRAMES:
            half = MOST_FRAMES // 2
            for name in ("record_frames", "record_frame_h", "record_food_frames"):
                arrays[name][:half] = arrays[name][::2].copy()
            count, stride = half, 2 * stride
            arrays["record_frame_n"][:] = count, stride
            if row % stride:
                return
        arrays["record_frames"][count] = np.minimum(here, np.iinfo(np.uint16).max)
        arrays["record_frame_h"][count] = now_h
        if names := self._list_foods(world):
            layers = arrays["food"].reshape(len(names), *_get_layer_shape(world))
            arrays["record_food_frames"][count] = resample_layers(layers, here.shape[1:])
        arrays["record_frame_n"][0] = count + 1


def _get_layer_shape(world: World) -> tuple[int, ...]:
    return next(iter(world.fields.values())).shape


def resample_layers(layers: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resample layers [l, r, c] to a grid [l, R, C]: means if it is coarser, the surrounding cell if it is finer."""
    for axis, wanted in ((1, shape[0]), (2, shape[1])):
        cells = layers.shape[axis]
        first = np.arange(wanted) * cells // wanted
        if wanted >= cells:
            layers = layers.take(first, axis)
            continue
        widths = np.diff([*first, cells]).reshape([-1 if i == axis else 1 for i in range(3)])
        layers = np.add.reduceat(layers, first, axis) / widths
    return layers


def _compute_mean_and_spread(values: np.ndarray, species: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each species, nan for one without animals: float64 [s], [s]."""
    count = np.bincount(species, minlength=n).astype(np.float64)
    count[count == 0] = np.nan
    mean = np.bincount(species, weights=values, minlength=n) / count
    rest = values - mean[species]
    return mean, np.sqrt(np.bincount(species, weights=rest * rest, minlength=n) / count)


def _choose_over_species(ids: np.ndarray, species: np.ndarray, wanted: int) -> np.ndarray:
    """Return the ids [wanted] of the first animals of each species in turn; 0 if there are fewer animals."""
    order = np.lexsort((ids, species))
    ids, species = ids[order], species[order]
    first = np.searchsorted(species, species)
    turn = np.lexsort((species, np.arange(len(ids)) - first))
    chosen = ids[turn][:wanted]
    return np.concatenate([chosen, np.zeros(wanted - len(chosen), np.int64)])


def get_records(world: World, until_h: float = math.inf) -> dict[str, np.ndarray]:
    """Return the records of a world, by name without `record_`, that were written until an hour of its clock."""
    arrays, n = world.arrays, int(world.arrays["record_n"][0])
    rows = int(np.count_nonzero(arrays["record_time_h"][:n] <= until_h))
    found = {name: arrays[f"record_{name}"][:rows] for name in SERIES}
    found |= {"map": arrays["record_map"] / max(n, 1), "followed": arrays["record_followed"]}
    if "record_frames" in arrays:
        kept = int(arrays["record_frame_n"][0])
        kept = int(np.count_nonzero(arrays["record_frame_h"][:kept] <= until_h))
        for name in ("frames", "frame_h", "food_frames"):
            found[name] = arrays[f"record_{name}"][:kept]
    return found
