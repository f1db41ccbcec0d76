"""Seasons: the rain, moisture, warmth and water of the day.

Shape suffixes: r rows, c columns of the layers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from linnaea.twin.data.landscape import LAPSE_C_PER_M, Landscape, month_of
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.layers import NO_FENCE, distance_to, layer_grid
from linnaea.twin.engine.rng import RAIN, normals
from linnaea.twin.engine.world import Rule, World

HOURS_A_MONTH = HOURS_A_YEAR / 12


def due(world: World, every_h: float) -> float:
    """Hours that a rule which applies every so often has to make up for in this step: 0 when it is not its turn."""
    period = max(1, round(every_h / world.dt_h))
    return period * world.dt_h if world.step % period == 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class Weather(Rule):
    """Rain of the month, different in every year, wets the ground, which dries within a month; ponds fill and vanish."""

    phase: ClassVar[str] = "environment"
    landscape: Landscape = field(default_factory=Landscape)
    "the ground"
    every_h: float = 24.0
    "hours between two looks at the sky"
    memory_h: float = HOURS_A_MONTH
    "time in which the ground dries to a third, hours"
    tables: str = ""
    "hash of the world's species, web and settings, so that a checkpoint fits only its own world"

    def prepare(self, world: World) -> None:
        shape = world.fields["elevation_m"].shape
        world.add_field("rain_mm", self._rain_of_month(world, 0.0) * world.fields["rain_share"])
        world.add_field("moisture_mm", np.full(shape, self.landscape.rain_mm[0]) * world.fields["rain_share"])
        world.add_field("temperature_c", np.zeros(shape))
        world.fields["temperature_c"][...] = self._at_height(world, self.landscape.temperature_c[0])
        _, _, side_w, side_h = layer_grid(world)
        world.add_field("to_water_km", distance_to(world.fields["water"] > 0, side_w / 1000, side_h / 1000))
        world.add_array("warming_c", np.zeros(1))
        world.add_array("fences", NO_FENCE.copy())

    def _rain_of_month(self, world: World, hour: float) -> float:
        """Rain of the month in which an hour lies, mm ≥ 0: the usual one with the surprise of this year."""
        surprise = normals(world.seed, 0, RAIN, np.array([int(hour / HOURS_A_MONTH)], np.uint64))[0]
        return self.landscape.rain_mm[month_of(hour)] * max(0.0, 1 + self.landscape.rain_noise * surprise)

    def _at_height(self, world: World, lowest_c: float) -> np.ndarray:
        """Temperature of every cell [r, c], °C, when it is `lowest_c` on the lowest ground."""
        return lowest_c - LAPSE_C_PER_M * (world.fields["elevation_m"] - self.landscape.elevation_m[0])

    def apply(self, world: World) -> None:
        elapsed = due(world, self.every_h)
        if not elapsed:
            return
        fields, land = world.fields, self.landscape
        fields["rain_mm"][...] = self._rain_of_month(world, world.now_h) * fields["rain_share"] * fields["rain_factor"]
        fields["moisture_mm"] += (fields["rain_mm"] - fields["moisture_mm"]) * -np.expm1(-elapsed / self.memory_h)
        lowest_c = land.temperature_c[month_of(world.now_h)] + world.arrays["warming_c"][0]
        fields["temperature_c"][...] = self._at_height(world, lowest_c)
        _, _, side_w, side_h = layer_grid(world)
        wet = (fields["water"] > 0) | (fields["rain_mm"] > land.pond_mm)
        fields["to_water_km"][...] = distance_to(wet, side_w / 1000, side_h / 1000)
