"""What the file of a world may set: its ground, what all animals share, and what differs for one food or animal.

The string under each field is its help in the documentation. A number outside the range of its field is impossible.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from linnaea.twin.data.bounds import bounded_field, get_bounds
from linnaea.twin.data.landscape import Landscape


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Size of a world and length of its steps."""

    width_km: float = bounded_field(1e-6, 1e5)
    "from west to east, kilometres"
    height_km: float = bounded_field(1e-6, 1e5)
    "from south to north, kilometres"
    search_m: float = bounded_field(1e-4, 1e6, default=500.0)
    "side of a cell of the neighbour search, metres"
    dt_h: float = bounded_field(1e-3, 730.5, default=1.0)
    "length of a step, hours"
    every_h: float = bounded_field(1e-3, 730.5, default=24.0)
    "hours between two updates of slow processes: growth, decay, mating, choice of goals"

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"ground: {one.name} {value} is impossible; give a number above 0")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Parameters that all animals of a world share."""

    intake_margin: float = bounded_field(0, 100, default=2.5)
    "greatest intake of an animal, as a multiple of its field metabolic rate"
    maintenance: float = bounded_field(0, 1, default=0.85)
    "share of the field metabolic rate that is spent at rest"
    fat_share: float = bounded_field(0, 1, default=0.15)
    "fat of a well-fed animal, as a share of its mass"
    young_share: float = bounded_field(0, 1, default=0.1)
    "greatest mass of a weaned young, as a share of an adult's mass; a whole litter has at most twice that"
    half_plants: float = bounded_field(0, 1e3, default=0.6)
    "amount of plants at which intake is half of the greatest, as a share of their usual biomass"
    half_dead: float = bounded_field(0, 1e3, default=0.1)
    "the same for carcasses and other dead matter"
    half_pools: float = bounded_field(0, 1e3, default=0.5)
    "the same for animals kept as pools"
    catch_margin: float = bounded_field(0, 1e3, default=6.0)
    "what a hungry predator can catch at the usual density of its prey, as a multiple of its needs"
    plant_efficiency: float = bounded_field(0, 1, default=0.45)
    "share of eaten plants that is assimilated"
    flesh_efficiency: float = bounded_field(0, 1, default=0.85)
    "share of eaten flesh and dead matter that is assimilated"
    cold_blood: float = bounded_field(0, 1, default=0.08)
    "metabolic rate of a cold-blooded animal at the usual temperature, as a share of a warm-blooded animal's rate"
    hunger: float = bounded_field(0, 1, default=0.6)
    "fill of its own energy store, or the mean fill of its group, below which a predator hunts"
    meal: float = bounded_field(0, 10, default=0.5)
    "greatest meal of an animal from one kill, as a share of its own mass"
    switching: float = bounded_field(0, 10, default=1.0)
    "exponent of prey switching: preference grows with this power of a prey's number against its usual one; 0 for none"
    care: float = bounded_field(0, 1, default=0.5)
    "reduction of a predator's success by a herd that is certain to notice it, 0 to 1"
    territory: float = bounded_field(0, 10, default=0.85)
    "distance between territories, as a multiple of the side of the square that a group has at its usual density"
    trait: str = ""
    "heritable trait that decides which foods suit an animal"
    fires_per_km2_y: float = bounded_field(0, 1e3, default=0.0)
    "fires that start in a year on a square kilometre of dry ground with plenty of fuel"
    contact_m: float = bounded_field(0, 1e5, default=50.0)
    "distance at which a disease is transmitted, metres"

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"settings: {one.name} {value} is impossible; give a number ≥ 0")


@dataclass(frozen=True, kw_only=True)
class Food:
    """Parameters of a plant, of dead matter or of a pool of small animals; nan stands for the default of its kind."""

    rain_slope: float = bounded_field(-10, 10, default=0.0)
    "relative change of its capacity per relative change of the rain at a place"
    wither_per_y: float = bounded_field(0, 1e3, default=math.nan)
    "share that withers in a year"
    moist_half_mm: float = bounded_field(0, 1e4, default=math.nan)
    "rain of a month at which it grows at half its greatest rate, millimetres"
    reserve: float = bounded_field(0, 1, default=0.03)
    "share of its capacity that survives in roots and seeds"
    burns: float = bounded_field(0, 1, default=math.nan)
    "share that a fire takes"
    inflow_per_y: float = bounded_field(0, 1e3, default=0.0)
    "dead matter that comes from outside in a year, as a multiple of its usual biomass"
    fuel: bool = False
    "whether it carries fires, as dry grass does"


@dataclass(frozen=True, kw_only=True)
class Animal:
    """Parameters of a species in this world; nan is computed from the species table."""

    count: float = bounded_field(0, 1e8, default=math.nan)
    "animals at the start in a world of the file's size; nan stands for the usual density"
    free_ranging: bool = False
    "whether it has no territory and follows food wherever it is"
    green: float = bounded_field(0, 1, default=0.0)
    "weight of fresh green against mass of food, 0 to 1"
    drink_every_h: float = bounded_field(0, 8766, default=0.0)
    "hours between two visits to water; 0 for animals that need none"
    range_km: float = bounded_field(1e-6, 1e5, default=math.nan)
    "radius of the area that it knows, kilometres"
    search_m: float = bounded_field(1e-6, 1e6, default=math.nan)
    "distance at which a predator finds prey, metres"
    spacing_m: float = bounded_field(0, 1e5, default=math.nan)
    "distance between animals of a herd, metres"
    half: float = bounded_field(1e-6, 1e3, default=1.0)
    "food at which intake is half of the greatest, against that of its diet; low for animals that live on little"
    prime: float = bounded_field(0, 100, default=1.0)
    "how easily it is killed in its best years, against 2.5 for the young and 2 for the old; low for strong species"
    flight_m: float = bounded_field(0, 1e5, default=math.nan)
    "distance at which it flees from hunters, metres"
    one_breeds: bool = False
    "whether only the oldest female of a group breeds and the others help"
    cold_blooded: bool = False
    "whether its metabolic rate depends on the temperature"
    arrivals_per_y: float = bounded_field(0, 1e4, default=0.0)
    "groups that immigrate in a year while the species is absent"
    trait_mean: tuple[float, ...] = ()
    "mean of each heritable trait"
    trait_sd: tuple[float, ...] = ()
    "standard deviation of each trait"
    heritability: tuple[float, ...] = ()
    "share of the variance of each trait that is additive"
    best_trait: Mapping[str, float] = field(default_factory=dict)
    "food -> value of the trait that suits it best"
    trait_width: Mapping[str, float] = field(default_factory=dict)
    "food -> deviation from the best value at which intake falls to 0.61 (standard deviation of a bell curve)"


TABLES = {"ground": Ground, "landscape": Landscape, "settings": Settings, "foods": Food, "animals": Animal}
"table of the file -> class of its values; of `foods` and `animals` the class of one entry"


def check_number(table: str, key: str, value: float, at: str) -> None:
    """Raise ValueError, beginning with `at`, for a number outside its range. nan, a value to compute, passes."""
    one = next((one for one in fields(TABLES[table]) if one.name == key), None) if table in TABLES else None
    bounds = get_bounds(one) if one else None
    if bounds and not (bounds.low <= value <= bounds.high or math.isnan(value)):
        raise ValueError(f"{at} {value:g} is impossible; choose {bounds.low:g} to {bounds.high:g}")
