"""What rules ask of species and foods: arrays that never change in a run.

Kernels take the groups as they are (numba knows NamedTuples). Units inside the engine: kilojoules, hours, metres,
kilograms.

Shape suffixes: s species whose animals are counted, l foods (layers), f foods of one species at most, t heritable
traits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Bodies(NamedTuple):
    """Body and energy of each species [s]."""

    adult_kg: np.ndarray
    "mass of an adult"
    young_kg: np.ndarray
    "mass of a newborn"
    growth_h: np.ndarray
    "growth of the young towards the adult mass, per hour"
    store_kj_kg: np.ndarray
    "full energy store, a kilogram of body"
    maintain_kj_h: np.ndarray
    "resting metabolic rate, times mass to the power 0.75"
    most_kj_h: np.ndarray
    "greatest intake, times mass to the power 0.75"
    need_kj_h: np.ndarray
    "field metabolic rate of an adult"
    walk_kj_m: np.ndarray
    "cost of a metre, times mass to the power 0.75"
    cold_blooded: np.ndarray
    "whether its metabolic rate depends on the temperature"
    drink_every_h: np.ndarray
    "hours between two visits to water, 0 for those that need none"


class LifeHistory(NamedTuple):
    """Survival and reproduction of each species [s]."""

    mature_h: np.ndarray
    "age at maturity"
    life_h: np.ndarray
    "life span"
    young_death_h: np.ndarray
    "background deaths per hour in the first year"
    adult_death_h: np.ndarray
    "background deaths per hour after it"
    litter_size: np.ndarray
    "mean number of young in a litter"
    one_breeds: np.ndarray
    "whether only the oldest female of a group breeds"
    births_per_y: np.ndarray
    "litters of a female in good condition, a year"
    gestation_h: np.ndarray
    "from conception to birth"
    birth_season: np.ndarray
    "whether young are born in a month [s, 12]"
    conceive_per_h: np.ndarray
    "conceptions per hour that make `births_per_y`"
    arrivals_per_y: np.ndarray
    "groups a year that immigrate where the species has gone"
    usual_number: np.ndarray
    "animals at the usual density, at least 1"


class Groups(NamedTuple):
    """Herds and territories of each species [s]."""

    herd_size: np.ndarray
    "usual number of animals in a group"
    herd_spacing_m: np.ndarray
    "distance between two members"
    resident: np.ndarray
    "whether a group keeps a territory"
    spacing_m: np.ndarray
    "least distance between the homes of two territories, 0 without"
    dispersal_m: np.ndarray
    "greatest distance to a new territory"


class Movement(NamedTuple):
    """Ranges, speeds and choice of places of each species [s]."""

    range_m: np.ndarray
    "radius of the range"
    goal_m: np.ndarray
    "radius of the area that a goal is"
    speed_m_h: np.ndarray
    "mean speed over the day"
    flight_m: np.ndarray
    "distance at which prey flee from a hunter, 0 for those that do not"
    flight_m_h: np.ndarray
    "speed of flight"
    plan_steps: np.ndarray
    "steps between two choices of a goal"
    green: np.ndarray
    "weight of greenness against mass of food, 0 to 1"
    drink_km: np.ndarray
    "distance to water over which the value of a place falls to a third, 0 for those that need none"
    activity_by_hour: np.ndarray
    "activity in each hour of the day [s, 24], mean 1"


class Diet(NamedTuple):
    """What each species eats from the layers of food [s, f]."""

    foods: np.ndarray
    "rows of the foods"
    n_foods: np.ndarray
    "how many of them it has [s]"
    weight: np.ndarray
    "preference"
    half_kj: np.ndarray
    "weighted food of a cell at which intake is half of the greatest [s]"
    hill: np.ndarray
    "exponent of the functional response: 1 Holling's second type, above 1 the third [s]"
    best_trait: np.ndarray
    "value of the trait that suits the food best"
    trait_width: np.ndarray
    "deviation from it at which intake falls to 0.61, 0 where the trait does not matter"
    usual_feeding: np.ndarray
    "share of the time with the head down in a herd of usual size [s]"


class Hunting(NamedTuple):
    """Who hunts whom [s, s], hunters first, and how well [s]."""

    hunts: np.ndarray
    "whether the species hunts"
    watches: np.ndarray
    "whether the species is hunted and not itself a hunter, so that it watches"
    feeds_young: np.ndarray
    "whether adults feed the young of their group"
    search_m: np.ndarray
    "distance at which a hunter finds prey"
    eats: np.ndarray
    "whether the first hunts the second [s, s]"
    prey_weight: np.ndarray
    "preference times adult mass of the prey [s, s]"
    hill: np.ndarray
    "exponent of the functional response"
    attack_km2_h: np.ndarray
    "attack rate: weighted prey density to kills per hour"
    usual_prey_km2: np.ndarray
    "weighted prey at the usual densities, a square kilometre"
    usual_prey: np.ndarray
    "the same in a cell of the layers"
    prime: np.ndarray
    "how easily an animal in its best years is taken, against 1"


class Traits(NamedTuple):
    """Heritable traits at the start [s, t]."""

    mean: np.ndarray
    "mean phenotype"
    additive_sd: np.ndarray
    "standard deviation of breeding values"
    rest_sd: np.ndarray
    "standard deviation of the environment's part"


class Foods(NamedTuple):
    """Foods, the layers that animals eat from [l]."""

    names: np.ndarray
    "as in the species table"
    kind: np.ndarray
    "GRASS, WOODY, SEED, DEAD or POOL of `rules.vegetation`"
    kj_kg: np.ndarray
    "energy of a kilogram"
    growth_h: np.ndarray
    "greatest growth per hour; decay of dead matter; production of a pool"
    wither_h: np.ndarray
    "withering per hour"
    moist_half_mm: np.ndarray
    "moisture, millimetres of rain a month, at which growth is half of the greatest"
    burns: np.ndarray
    "share that a fire takes"
    reserve: np.ndarray
    "share of the capacity that survives in roots and seeds"
    efficiency: np.ndarray
    "share of the energy eaten that is digested"
    inflow_h: np.ndarray
    "share of the capacity that comes in from outside, per hour"
    is_fuel: np.ndarray
    "whether it carries a fire"
    is_plant: np.ndarray
    "whether what is not digested becomes dung"
    pool_diet: np.ndarray
    "preference of each pool for each food [l, l]"
    pool_usual_food_kj_km2: np.ndarray
    "weighted food of a pool at its usual amount"


@dataclass(frozen=True, kw_only=True)
class SpeciesParameters:
    """All parameters of species and foods of a world."""

    cell_km2: float
    "area of a cell of the layers"
    usual_temperature_c: float
    "mean temperature of the year on the lowest ground"
    bite_parts: float
    "units of a kilojoule in which bites are shared out, so that those of small animals are not rounded away"
    flesh_efficiency: float
    "share of the energy of a kill that is digested"
    bodies: Bodies
    life: LifeHistory
    groups: Groups
    movement: Movement
    diet: Diet
    hunting: Hunting
    traits: Traits
    foods: Foods
