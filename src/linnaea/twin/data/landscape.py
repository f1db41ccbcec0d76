"""What the ground of a world is like: elevation, rain by month, temperature, water."""

from __future__ import annotations

import math
from dataclasses import dataclass

MONTHS = 12
LAPSE_C_PER_M = 0.0065


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """What the ground is like, and from which its layers are made."""

    cell_km: float = 1.0
    "side of a cell of the layers, kilometres"
    elevation_m: tuple[float, float] = (1200.0, 1800.0)
    "lowest and highest ground, metres"
    hill_km: float = 10.0
    "size of hills and valleys, kilometres"
    rain_mm: tuple[float, ...] = (60.0,) * MONTHS
    "mean rain of each month, January first, millimetres"
    rain_east: float = 0.0
    "change of rain from the western to the eastern border, as a share of the mean"
    rain_north: float = 0.0
    "change of rain from the southern to the northern border, as a share of the mean"
    rain_noise: float = 0.2
    "standard deviation of a month's rain from year to year, as a share of its mean"
    season: tuple[float, ...] = (1.0,) * MONTHS
    "share of the greatest growth that light and warmth allow in each month"
    temperature_c: tuple[float, ...] = (22.0,) * MONTHS
    "mean temperature of each month at the lowest ground, degrees Celsius"
    water_share: float = 0.02
    "share of the cells, the lowest ones, with permanent water"
    pond_mm: float = 50.0
    "rain of a month above which there is water everywhere, millimetres"
    map_seed: int = 0
    "of hills and lakes: all runs of a world share its map, whatever their own seed"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.cell_km) and self.cell_km > 0):
            raise ValueError(f"cell_km: {self.cell_km} is not a length; give kilometres above 0")
        for name in ("rain_mm", "season", "temperature_c"):
            values = getattr(self, name)
            if len(values) != MONTHS:
                raise ValueError(f"{name}: {len(values)} values; give one for each of the 12 months")
            if name != "temperature_c" and min(values) < 0:
                raise ValueError(f"{name}: {min(values)} is below 0; give amounts ≥ 0")
        if not 0 <= self.water_share <= 1:
            raise ValueError(f"water_share: {self.water_share} is not between 0 and 1")
        if abs(self.rain_east) + abs(self.rain_north) >= 2:
            raise ValueError(
                f"rain_east {self.rain_east} and rain_north {self.rain_north} make rain negative; lower them"
            )


def month_of(hour: float) -> int:
    """Month 0..11 of the world's clock, which begins on the first of January; all months are of one length."""
    return int(hour / 730.5) % MONTHS
