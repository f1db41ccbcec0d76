"""The numbers that rules ask of species and foods, as arrays: from a world's data, body masses and usual densities.

Shape suffixes: s species (of which every animal is counted), l foods (layers), t heritable traits, r rows, c columns,
k = r c cells. Units inside the engine: kilojoules, hours, metres, kilograms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from linnaea.store import hash_bytes
from linnaea.twin.assembly.food_parameters import (
    FoodStack,
    divide_by_fit,
    make_column,
    make_diet,
    make_foods,
    make_traits,
)
from linnaea.twin.data.allometry import LAWS
from linnaea.twin.data.species import Species
from linnaea.twin.data.world_data import WorldData, select_animals
from linnaea.twin.data.world_settings import Animal, Settings
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.parameters import (
    Bodies,
    Diet,
    Groups,
    Hunting,
    LifeHistory,
    Movement,
    SpeciesParameters,
)
from linnaea.twin.rules.energy_budget import FAT_KJ_PER_KG, TISSUE_KJ_PER_KG
from linnaea.twin.rules.foraging import head_up_share, herd_notices
from linnaea.twin.rules.groups import most_adults
from linnaea.twin.rules.predation import ResolveKills

KJ_H_PER_W = 3.6
WALK_SHARE = 0.15
"share of the field metabolic rate that the usual way of a day costs (unverified)"
DRINK_KM = 15.0
"distance to water over which the value of a place falls to 0.37, for species that drink (unverified)"
ADULT_SHARE = 0.6
"share of a group that is grown, for the size of its territory (unverified)"
_SMALL_BITES = 1e-3
"kilojoules an hour; where the smallest animal takes less, bites are counted in smaller units"
ACTIVE = {
    "diurnal": [0.2] * 6 + [1.8] * 12 + [0.2] * 6,
    "nocturnal": [1.8] * 6 + [0.2] * 12 + [1.8] * 6,
    "crepuscular": [0.6] * 5 + [2.2] * 3 + [0.6] * 8 + [2.2] * 3 + [0.6] * 5,
    "cathemeral": [1.0] * 24,
}
"""Activity by hour of the day, mean 1 (unverified)."""


@dataclass(frozen=True, kw_only=True)
class _AnimalTable:
    """The animal species of a world, what its file sets for them, and columns that several parameters need."""

    species: list[Species]
    own: list[Animal]
    settings: Settings

    def column(self, name: str) -> np.ndarray:
        """A field of the species table: float64 [s]."""
        return make_column(getattr(one, name) for one in self.species)

    def set_or(self, name: str, defaults: Iterable[float]) -> np.ndarray:
        """A field of the world's file, or where it is left out the default: float64 [s]."""
        return make_column(
            default if math.isnan(value := getattr(own, name)) else value
            for own, default in zip(self.own, defaults, strict=True)
        )

    def own_column(self, name: str) -> np.ndarray:
        """A field of the world's file: float64 [s]."""
        return make_column(getattr(own, name) for own in self.own)

    def own_flags(self, name: str) -> np.ndarray:
        """A yes or no of the world's file: bool [s]."""
        return np.array([getattr(own, name) for own in self.own])

    @property
    def field_kj_h(self) -> np.ndarray:
        """Field metabolic rate at a kilogram, the coefficient of mass^0.75 [s]."""
        # LAWS are powers 0.75 of mass: their value at 1 kg is the coefficient.
        warm_blooded = LAWS["field_metabolic_rate"](1.0) * KJ_H_PER_W
        return warm_blooded * np.where(self.own_flags("cold_blooded"), self.settings.cold_blood, 1.0)

    @property
    def day_m(self) -> np.ndarray:
        """Path of a day [s]."""
        return self.column("day_range_km") * 1000

    @property
    def range_m(self) -> np.ndarray:
        """Radius of the range [s]."""
        return self.set_or("range_km", (math.sqrt(one.home_range_km2 / math.pi) for one in self.species)) * 1000


def make_parameters(
    data: WorldData, layers: dict[str, np.ndarray], cell_km2: float, dt_h: float, counts: dict[str, int]
) -> tuple[SpeciesParameters, FoodStack]:
    """What never changes in a run, and the stack of foods with its capacities at the start.

    `counts` are the animals of each species at the usual density, `cell_km2` the area of a cell of the layers.
    """
    table = _read_table(data)
    foods, stack = make_foods(data, layers, cell_km2)
    diet, traits = make_diet(data, foods, cell_km2), make_traits(data)
    # The web's preference is that of an animal with the mean trait.
    divide_by_fit(diet, traits)
    bodies = _make_bodies(table)
    hunting = _make_hunting(data, table, bodies, cell_km2)
    smallest_kj_h = (bodies.adult_kg**0.75).min() * table.field_kj_h.min()
    parameters = SpeciesParameters(
        cell_km2=cell_km2,
        usual_temperature_c=float(np.mean(data.landscape.temperature_c)),
        bite_parts=1.0 if smallest_kj_h > _SMALL_BITES else 1e6,
        flesh_efficiency=data.settings.flesh_efficiency,
        bodies=bodies,
        life=_make_life_history(table, counts),
        groups=_make_groups(table),
        movement=_make_movement(data, table, hunting.watches, dt_h, cell_km2),
        diet=_with_vigilance(diet, table, hunting.watches),
        hunting=hunting,
        traits=traits,
        foods=foods,
    )
    return parameters, stack


def _read_table(data: WorldData) -> _AnimalTable:
    species = list(select_animals(data).values())
    own = [data.animals.get(one.name, Animal()) for one in species]
    return _AnimalTable(species=species, own=own, settings=data.settings)


def _make_bodies(table: _AnimalTable) -> Bodies:
    settings, mass, litter = table.settings, table.column("body_mass_kg"), table.column("litter_size")
    field_kj_h = table.field_kj_h
    return Bodies(
        adult_kg=mass,
        young_kg=mass * np.minimum(settings.young_share, 2 * settings.young_share / litter),
        growth_h=3.0 / (table.column("maturity_y") * HOURS_A_YEAR),
        store_kj_kg=np.full(len(mass), settings.fat_share * FAT_KJ_PER_KG),
        maintain_kj_h=field_kj_h * settings.maintenance,
        most_kj_h=field_kj_h * settings.intake_margin,
        need_kj_h=field_kj_h * mass**0.75,
        walk_kj_m=field_kj_h * 24 * WALK_SHARE / table.day_m,
        cold_blooded=table.own_flags("cold_blooded"),
        drink_every_h=table.own_column("drink_every_h"),
    )


def _make_life_history(table: _AnimalTable, counts: dict[str, int]) -> LifeHistory:
    season, rate = _breeding(table.species)
    return LifeHistory(
        mature_h=table.column("maturity_y") * HOURS_A_YEAR,
        life_h=table.column("life_span_y") * HOURS_A_YEAR,
        young_death_h=make_column(-math.log(max(one.young_survival, 1e-3)) for one in table.species) / HOURS_A_YEAR,
        adult_death_h=make_column(-math.log(max(one.yearly_survival, 1e-3)) for one in table.species) / HOURS_A_YEAR,
        litter_size=table.column("litter_size"),
        one_breeds=table.own_flags("one_breeds"),
        births_per_y=table.column("births_per_y"),
        gestation_h=table.column("gestation_d") * 24,
        birth_season=season,
        conceive_per_h=rate,
        arrivals_per_y=table.own_column("arrivals_per_y"),
        usual_number=np.maximum(make_column(counts[one.name] for one in table.species), 1.0),
    )


def _breeding(species: list[Species]) -> tuple[np.ndarray, np.ndarray]:
    """Months of birth [s, 12] and conceptions per hour [s] that make the table's births a year in good condition."""
    season, rate = np.zeros((len(species), 12), bool), np.zeros(len(species))
    for row, one in enumerate(species):
        months = [m - 1 for m in one.birth_months] or list(range(12))
        season[row, months] = True
        window_d = len(months) / 12 * 365.25
        if not one.births_per_y:
            continue
        if len(months) < 12 and one.births_per_y <= 0.95:
            rate[row] = -math.log(1 - one.births_per_y) / window_d / 24
        else:
            rate[row] = 1 / max(window_d / one.births_per_y - one.gestation_d, 1.0) / 24
    return season, rate


def _make_groups(table: _AnimalTable) -> Groups:
    herd, mass, resident = table.column("herd_size"), table.column("body_mass_kg"), ~table.own_flags("free_ranging")
    # A territory has room for a group that is about to divide, with its young, at the usual density.
    side_m = np.sqrt(most_adults(herd) / ADULT_SHARE / table.column("density_per_km2")) * 1000
    spacing = (min(8 * m**0.33, 0.1 * r / math.sqrt(h)) for m, r, h in zip(mass, table.range_m, herd, strict=True))
    return Groups(
        herd_size=herd,
        herd_spacing_m=table.set_or("spacing_m", spacing),
        resident=resident,
        spacing_m=np.where(resident, table.settings.territory * side_m, 0.0),
        dispersal_m=3 * side_m,
    )


def _make_movement(data: WorldData, table: _AnimalTable, watches: np.ndarray, dt_h: float, cell_km2: float) -> Movement:
    range_m, speed, day_h = table.range_m, table.day_m / 24, data.ground.every_h
    plan_h = np.clip(range_m / speed / 2, max(day_h / 4, dt_h), max(2 * day_h, dt_h))
    masses = table.column("body_mass_kg")
    flight = (min(100 * (m / 50) ** (1 / 3), 150.0) if w else 0.0 for m, w in zip(masses, watches, strict=True))
    return Movement(
        range_m=range_m,
        goal_m=np.minimum(range_m / 3, 700 * math.sqrt(cell_km2)),
        speed_m_h=speed,
        flight_m=table.set_or("flight_m", flight),
        flight_m_h=5 * speed,
        plan_steps=np.maximum(1, np.round(plan_h / dt_h)).astype(np.int64),
        green=table.own_column("green"),
        drink_km=make_column(DRINK_KM if own.drink_every_h else 0.0 for own in table.own),
        activity_by_hour=np.array([ACTIVE[one.activity] for one in table.species]),
    )


def _with_vigilance(diet: Diet, table: _AnimalTable, watches: np.ndarray) -> Diet:
    """The diet with the share of the time that animals in a herd of usual size have their heads down."""
    feeding = (
        1 - head_up_share.py_func(h) if w else 1.0 for h, w in zip(table.column("herd_size"), watches, strict=True)
    )
    return diet._replace(usual_feeding=make_column(feeding))


def _make_hunting(data: WorldData, table: _AnimalTable, bodies: Bodies, cell_km2: float) -> Hunting:
    """Who hunts whom, with what weight, and the attack rates that feed each hunter at usual densities.

    A hungry predator kills, at the usual densities of its prey, what feeds `catch_margin` times its needs.
    """
    names, settings = [one.name for one in table.species], data.settings
    eaten = {link.prey for link in data.web.links}
    hunts = np.array([any(name == a.predator and _is_prey(a.prey, data) for a in data.web.links) for name in names])
    watches = np.array([name in eaten for name in names]) & ~hunts
    weight, hill = np.zeros((len(names), len(names))), np.ones(len(names))
    for link in data.web.links:
        if link.predator in names and link.prey in names:
            i, j = names.index(link.predator), names.index(link.prey)
            weight[i, j] = link.preference * bodies.adult_kg[j]
            hill[i] = max(hill[i], link.hill)
    herd = table.column("herd_size")
    # Of the prey at its usual density, what herds of the usual size do not see coming.
    seen = np.array([herd_notices.py_func(size) for size in herd.tolist()])
    density = table.column("density_per_km2") * (1 - settings.care * seen * watches)
    attack, usual = np.zeros(len(names)), np.zeros(len(names))
    body_kj = bodies.adult_kg * (TISSUE_KJ_PER_KG + 0.5 * bodies.store_kj_kg)
    for i in np.flatnonzero(weight.any(1)):
        usual[i] = (weight[i] * density).sum()
        meal = herd[i] * settings.meal * bodies.adult_kg[i] * TISSUE_KJ_PER_KG
        edible = np.minimum(ResolveKills.edible * body_kj, meal)
        gain = (weight[i] * density * edible).sum() / usual[i] * settings.flesh_efficiency
        attack[i] = settings.catch_margin * bodies.need_kj_h[i] / gain / usual[i]
    return Hunting(
        hunts=hunts,
        watches=watches,
        feeds_young=hunts & ~(table.own_flags("cold_blooded") & (herd < 2)),
        search_m=table.set_or("search_m", (min(2 * v, 1000.0) for v in table.day_m / 24)),
        eats=weight > 0,
        prey_weight=weight,
        hill=hill,
        attack_km2_h=attack,
        usual_prey_km2=usual,
        usual_prey=usual * cell_km2,
        prime=table.own_column("prime"),
    )


def _is_prey(name: str, data: WorldData) -> bool:
    return not data.web.species[name].basal and name not in data.pools


def hash_parameters(p: SpeciesParameters, stack: FoodStack) -> str:
    """A hash of all parameters and foods; the order is that of checkpoints that were made before these types."""
    foods, bodies, life, groups = p.foods, p.bodies, p.life, p.groups
    movement, diet, hunting, traits = p.movement, p.diet, p.hunting, p.traits
    values = (
        *(p.cell_km2, foods.kj_kg, foods.growth_h, foods.wither_h, foods.moist_half_mm, foods.burns, foods.reserve),
        *(foods.efficiency, foods.inflow_h, foods.pool_usual_food_kj_km2, foods.names, foods.kind, foods.is_fuel),
        *(foods.is_plant, foods.pool_diet, p.usual_temperature_c, bodies.adult_kg, bodies.young_kg, bodies.growth_h),
        *(bodies.store_kj_kg, bodies.maintain_kj_h, bodies.most_kj_h, bodies.need_kj_h, bodies.walk_kj_m),
        *(bodies.cold_blooded, life.mature_h, life.life_h, life.young_death_h, life.adult_death_h, life.litter_size),
        *(life.one_breeds, life.births_per_y, life.gestation_h, life.birth_season, life.conceive_per_h),
        *(groups.herd_size, groups.herd_spacing_m, groups.resident, groups.spacing_m, groups.dispersal_m),
        *(movement.range_m, movement.goal_m, movement.speed_m_h, movement.flight_m, movement.flight_m_h),
        *(movement.plan_steps, movement.green, bodies.drink_every_h, movement.drink_km, hunting.watches),
        *(hunting.prime, diet.usual_feeding, hunting.hunts, hunting.feeds_young, hunting.search_m),
        *(movement.activity_by_hour, life.arrivals_per_y, life.usual_number, p.bite_parts, p.flesh_efficiency),
        *(diet.foods, diet.n_foods, diet.weight, diet.half_kj, diet.hill, hunting.prey_weight, hunting.eats),
        *(hunting.hill, hunting.attack_km2_h, hunting.usual_prey_km2, hunting.usual_prey, traits.mean),
        *(traits.additive_sd, traits.rest_sd, diet.best_trait, diet.trait_width, stack.food, stack.capacity),
    )
    return hash_bytes(*[np.ascontiguousarray(value).tobytes() for value in values])
