"""The landscape of a world: elevation, rain and temperature by month, water."""

from __future__ import annotations

import math
from dataclasses import dataclass

from linnaea.twin.data.bounds import bounded_field

MONTHS = 12
LAPSE_C_PER_M = 0.0065


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """The numbers from which the layers of the ground are made."""

    cell_km: float = bounded_field(1e-6, 1e4, default=1.0)
    "side of a cell of the layers, kilometres"
    elevation_m: tuple[float, float] = (1200.0, 1800.0)
    "lowest and highest elevation, metres"
    hill_km: float = bounded_field(1e-6, 1e5, default=10.0)
    "size of hills and valleys, kilometres"
    rain_mm: tuple[float, ...] = (60.0,) * MONTHS
    "mean rain of each month, January first, millimetres"
    rain_east: float = bounded_field(-2, 2, default=0.0)
    "change of rain from the western to the eastern border, as a share of the mean"
    rain_north: float = bounded_field(-2, 2, default=0.0)
    "change of rain from the southern to the northern border, as a share of the mean"
    rain_noise: float = bounded_field(0, 3, default=0.2)
    "standard deviation of a month's rain from year to year, as a share of its mean"
    season: tuple[float, ...] = (1.0,) * MONTHS
    "share of the greatest growth that light and warmth allow in each month"
    temperature_c: tuple[float, ...] = (22.0,) * MONTHS
    "mean temperature of each month at the lowest elevation, degrees Celsius"
    water_share: float = bounded_field(0, 1, default=0.02)
    "share of the cells, the lowest ones, with permanent water"
    pond_mm: float = bounded_field(0, 1e5, default=50.0)
    "rain of a month above which there is water everywhere, millimetres"
    map_seed: int = bounded_field(0, 2**53, default=0)
    "seed of hills and lakes; all runs of a world share its map, whatever their own seed"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.cell_km) and self.cell_km > 0):
            raise ValueError(f"cell_km: {self.cell_km} must be a length; give kilometres above 0")
        for name in ("rain_mm", "season", "temperature_c"):
            values = getattr(self, name)
            if len(values) != MONTHS:
                raise ValueError(f"{name}: {len(values)} values; give one for each of the 12 months")
            if name != "temperature_c" and min(values) < 0:
                raise ValueError(f"{name}: {min(values)} is below 0; give amounts ≥ 0")
        if not 0 <= self.water_share <= 1:
            raise ValueError(f"water_share: {self.water_share} must be between 0 and 1")
        if abs(self.rain_east) + abs(self.rain_north) >= 2:
            raise ValueError(
                f"rain_east {self.rain_east} and rain_north {self.rain_north} make rain negative; lower them"
            )


def get_month(hour: float) -> int:
    """Return the month 0..11 of the world's clock; it starts on 1 January and all months have equal length."""
    return int(hour / 730.5) % MONTHS
