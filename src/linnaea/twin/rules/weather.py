"""Seasons: the rain, moisture, warmth and water of the day.

Shape suffixes: r rows, c columns of the layers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from linnaea.twin.data.landscape import LAPSE_C_PER_M, Landscape, get_month
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.layers import NO_FENCE, distance_to, layer_grid
from linnaea.twin.engine.rng import RAIN, normals
from linnaea.twin.engine.world import Rule, World, name_state

HOURS_A_MONTH = HOURS_A_YEAR / 12


@dataclass(frozen=True, kw_only=True)
class Weather(Rule):
    """Rain of the month, different in every year, wets the ground, which dries in a month; ponds fill and dry up."""

    phase: ClassVar[str] = "environment"
    reads: ClassVar[frozenset[str]] = name_state(
        fields="elevation_m rain_share rain_factor water rain_mm moisture_mm", arrays="warming_c"
    )
    writes: ClassVar[frozenset[str]] = name_state(fields="rain_mm moisture_mm temperature_c to_water_km")
    landscape: Landscape = field(default_factory=Landscape)
    "the ground"
    every_h: float = 24.0
    "hours between two changes of the weather"
    memory_h: float = HOURS_A_MONTH
    "time in which the ground dries to 0.37, hours"
    tables: str = ""
    "hash of the world's species, web and settings, so that a checkpoint fits only its own world"

    def prepare(self, world: World) -> None:
        """Adds the layers of January and the hooks of warming and fences."""
        fields = world.fields
        shape = fields.elevation_m.shape
        world.add_field("rain_mm", self._rain_of_month(world, 0.0) * fields.rain_share)
        world.add_field("moisture_mm", np.full(shape, self.landscape.rain_mm[0]) * fields.rain_share)
        world.add_field("temperature_c", np.zeros(shape))
        fields.temperature_c[...] = self._at_height(world, self.landscape.temperature_c[0])
        world.add_field("to_water_km", self._to_water(world, fields.water > 0))
        world.add_array("warming_c", np.zeros(1))
        world.add_array("fences", NO_FENCE.copy())

    def _rain_of_month(self, world: World, hour: float) -> float:
        """Rain of the month in which an hour lies, mm ≥ 0: the usual one with the deviation of this year."""
        deviation = normals(world.seed, 0, RAIN, np.array([int(hour / HOURS_A_MONTH)], np.uint64))[0]
        return self.landscape.rain_mm[get_month(hour)] * max(0.0, 1 + self.landscape.rain_noise * deviation)

    def _at_height(self, world: World, lowest_c: float) -> np.ndarray:
        """Temperature of every cell [r, c], °C, when it is `lowest_c` on the lowest ground."""
        return lowest_c - LAPSE_C_PER_M * (world.fields.elevation_m - self.landscape.elevation_m[0])

    @staticmethod
    def _to_water(world: World, wet: np.ndarray) -> np.ndarray:
        """Distance of every cell [r, c] to the nearest wet one, kilometres."""
        grid = layer_grid(world)
        return distance_to(wet, grid.cell_w / 1000, grid.cell_h / 1000)

    def apply(self, world: World) -> None:
        """Renews the layers of rain, moisture, temperature and water when they are due."""
        elapsed = world.due(self.every_h)
        if not elapsed:
            return
        fields, land = world.fields, self.landscape
        fields.rain_mm[...] = self._rain_of_month(world, world.now_h) * fields.rain_share * fields.rain_factor
        fields.moisture_mm += (fields.rain_mm - fields.moisture_mm) * -np.expm1(-elapsed / self.memory_h)
        lowest_c = land.temperature_c[get_month(world.now_h)] + world.arrays.warming_c[0]
        fields.temperature_c[...] = self._at_height(world, lowest_c)
        wet = (fields.water > 0) | (fields.rain_mm > land.pond_mm)
        fields.to_water_km[...] = self._to_water(world, wet)
