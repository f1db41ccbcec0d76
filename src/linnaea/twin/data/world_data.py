"""The data of a world: settings, species and food web, checked, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from linnaea.twin.data.evidence import is_measured
from linnaea.twin.data.foodweb import FoodWeb
from linnaea.twin.data.landscape import Landscape
from linnaea.twin.data.species import Species
from linnaea.twin.data.world_settings import Animal, Food, Ground, Settings


@dataclass(frozen=True, kw_only=True)
class WorldData:
    """A world as data."""

    name: str
    "name of the world"
    about: str
    "a sentence about it"
    grade: str
    "grade of the values of its file"
    ground: Ground
    "size and steps"
    landscape: Landscape
    "hills, rain, temperature, water"
    settings: Settings
    "parameters that all animals share"
    web: FoodWeb
    "species and who eats whom"
    pools: tuple[str, ...]
    "animals kept as biomass, not one by one"
    foods: Mapping[str, Food]
    "foods that differ from the default"
    animals: Mapping[str, Animal]
    "animals that differ from the default"
    traits: tuple[str, ...]
    "heritable traits"
    grades: Mapping[str, str]
    "dotted name of a value -> its grade, where it is not `grade`"

    def unmeasured(self) -> tuple[str, ...]:
        """Return the names of the values without a source: of the file, the species table and the links."""
        own = [key for key in list_values(self) if not is_measured(self.grades.get(key, self.grade))]
        table = [f"{s.name}.{key}" for s in self.web.species.values() for key in s.unmeasured()]
        links = [f"{a.predator} eats {a.prey}" for a in self.web.links if not is_measured(a.grade)]
        return (*own, *table, *links)


def check_world(data: WorldData) -> None:
    """Raise ValueError for names, pools, traits or grades that do not fit together."""
    for name in (*data.pools, *data.animals, *data.foods):
        if name not in data.web.species:
            raise ValueError(f"world: {name!r} is not in the food web; add it there or remove it here")
    for name in data.pools:
        if data.web.species[name].basal:
            raise ValueError(
                f"world: pool {name!r} must be an animal; plants and dead matter are layers without being listed"
            )
    for name, one in data.animals.items():
        if data.web.species[name].basal or name in data.pools:
            raise ValueError(f"world: {name!r} is a food and not an animal that is counted; write it under foods")
        if data.traits and one.trait_mean and len(one.trait_mean) != len(data.traits):
            raise ValueError(
                f"world: animals.{name}.trait_mean has {len(one.trait_mean)} values for {len(data.traits)} traits; "
                "give one for each"
            )
    for key in data.grades:
        if key not in list_values(data):
            raise ValueError(f"world: grades.{key} grades no value of this file")


def list_values(data: WorldData) -> tuple[str, ...]:
    """Return the dotted names of the values that the file may grade: ground, landscape, settings, foods, animals."""
    names = [f"{t}.{f.name}" for t in ("ground", "landscape", "settings") for f in fields(getattr(data, t))]
    for table in ("foods", "animals"):
        names += [f"{table}.{name}.{f.name}" for name, one in getattr(data, table).items() for f in fields(one)]
    return tuple(names)


def select_animals(data: WorldData) -> dict[str, Species]:
    """Return the species whose animals are counted one by one, in the order of the world's rows."""
    return {name: one for name, one in data.web.species.items() if not one.basal and name not in data.pools}


def select_foods(data: WorldData) -> dict[str, Species]:
    """Return the species that are layers (plants, dead matter, pools), in the order of the layers."""
    return {name: one for name, one in data.web.species.items() if one.basal or name in data.pools}


def compute_start_counts(data: WorldData, share: float = 1.0) -> dict[str, int]:
    """Return the animals of each species at the start, in a world with this share of the file's area."""
    area = data.ground.width_km * data.ground.height_km
    counts = {}
    for name, one in select_animals(data).items():
        count = data.animals.get(name, Animal()).count
        counts[name] = round((one.density_per_km2 * area if math.isnan(count) else count) * share)
    return counts


def find_small_groups(data: WorldData, share: float) -> dict[str, int]:
    """Return the species that the reduced area leaves with less than one group, and their animals.

    They have at least one group on the whole area and fewer animals than a group on this share of it.
    """
    whole, here = compute_start_counts(data), compute_start_counts(data, share)
    group = {name: round(one.herd_size) for name, one in select_animals(data).items()}
    return {name: count for name, count in here.items() if count < group[name] <= whole[name]}


def map_scientific_names(data: WorldData) -> dict[str, str]:
    """Return scientific name -> name in the world's table, for scientific names that the table has once."""
    all_names = [one.scientific_name for one in data.web.species.values()]
    return {
        one.scientific_name: name
        for name, one in data.web.species.items()
        if all_names.count(one.scientific_name) == 1 and one.scientific_name not in data.web.species
    }
