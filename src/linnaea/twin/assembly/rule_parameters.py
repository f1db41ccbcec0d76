"""The numbers that rules ask of species and foods, as arrays: from a world's data, body masses and usual densities.

Shape suffixes: s species (of which every animal is counted), l foods (layers), t heritable traits, r rows, c columns, k = r c cells.
Units inside the engine: kilojoules, hours, metres, kilograms.
"""

from __future__ import annotations

import math

import numpy as np

from linnaea.twin.data.allometry import LAWS
from linnaea.twin.data.species import Species
from linnaea.twin.data.world_data import WorldData, select_animals, select_foods
from linnaea.twin.data.world_settings import Animal, Food
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.neighbours import Space
from linnaea.twin.rules.energy_budget import FAT_KJ_PER_KG, PLANT_KJ_PER_KG, TISSUE_KJ_PER_KG
from linnaea.twin.rules.foraging import trait_fit
from linnaea.twin.rules.groups import most_adults
from linnaea.twin.rules.vegetation import DEAD, KINDS, POOL
from linnaea.twin.rules.vigilance import head_up_share, herd_notices

KJ_H_PER_W = 3.6
WALK_SHARE = 0.15
"share of the field metabolic rate that the usual way of a day costs (unverified)"
DRINK_KM = 15.0
"distance to water over which the worth of a place falls to a third, for those that drink (unverified)"
ADULT_SHARE = 0.6
"share of a group that is grown, for the size of its territory (unverified)"
# As in `hunting.Seize`.
EDIBLE = 0.7
# Withering (1/y), rain of half growth (mm a month), share burnt, by kind of plant; general knowledge, unverified.
_PLANT = {"grass": (1.0, 50.0, 0.8), "woody": (0.1, 25.0, 0.15), "seed": (0.3, 30.0, 0.2)}
_SMALL_BITES = 1e-3
ACTIVE = {
    "diurnal": [0.2] * 6 + [1.8] * 12 + [0.2] * 6,
    "nocturnal": [1.8] * 6 + [0.2] * 12 + [1.8] * 6,
    "crepuscular": [0.6] * 5 + [2.2] * 3 + [0.6] * 8 + [2.2] * 3 + [0.6] * 5,
    "cathemeral": [1.0] * 24,
}
"""Activity by hour of the day, mean 1 (unverified)."""

Tables = dict[str, np.ndarray]


def parameter_tables(
    data: WorldData, space: Space, layers: Tables, dt_h: float, counts: dict[str, int]
) -> tuple[Tables, Tables]:
    """(parameters, arrays): what never changes in a run, and the stack of foods with its capacities at the start."""
    cell_km2 = space.width_m * space.height_m / 1e6 / layers["elevation_m"].size
    foods, arrays = food_tables(data, layers, cell_km2)
    parameters = {"cell_km2": np.array([cell_km2]), **foods, **animal_tables(data, dt_h, counts, cell_km2)}
    parameters |= diet_tables(data, foods, cell_km2)
    parameters |= hunt_tables(data, parameters, cell_km2)
    parameters |= trait_tables(data, parameters)
    return parameters, arrays


def food_kj_kg(species: Species) -> float:
    """Energy of a kilogram: dry plant matter (dung and litter too), or fresh flesh (carcasses, pools of animals)."""
    flesh = not species.basal or species.name == "carcass"
    return TISSUE_KJ_PER_KG if flesh else PLANT_KJ_PER_KG


def usual_kg_km2(species: Species) -> float:
    """Biomass that a food usually has: of plants and dead matter half the capacity, of pools density times mass."""
    return species.capacity_kg_km2 / 2 if species.basal else species.density_per_km2 * species.body_mass_kg


def food_tables(data: WorldData, layers: Tables, cell_km2: float) -> tuple[Tables, Tables]:
    """Parameters [l] of the foods, and the arrays food and capacity [l, r, c] in kilojoules a cell."""
    species = list(select_foods(data).values())
    shape = layers["elevation_m"].shape
    p: Tables = {
        name: np.zeros(len(species))
        for name in (
            "food_kj_kg",
            "food_growth_h",
            "food_wither_h",
            "food_moist_half_mm",
            "food_burns",
            "food_reserve",
            "food_efficiency",
            "food_inflow_h",
            "pool_usual_food_kj_km2",
        )
    }
    p["food_names"] = np.array([one.name for one in species])
    p["food_kind"] = np.array([KINDS.index(one.kind) for one in species], np.int64)
    p["food_is_fuel"] = np.zeros(len(species), bool)
    p["food_is_plant"] = p["food_kind"] < DEAD
    p["pool_diet"] = np.zeros((len(species), len(species)))
    p["usual_temperature_c"] = np.array([float(np.mean(data.landscape.temperature_c))])
    capacity, food = np.zeros((2, len(species), *shape))
    settings = data.settings
    for row, one in enumerate(species):
        own = data.foods.get(one.name, Food())
        kj = p["food_kj_kg"][row] = food_kj_kg(one)
        p["food_growth_h"][row] = one.growth_per_y / HOURS_A_YEAR
        p["food_efficiency"][row] = settings.plant_efficiency if p["food_is_plant"][row] else settings.flesh_efficiency
        p["food_reserve"][row] = own.reserve
        p["food_inflow_h"][row] = own.inflow_per_y / HOURS_A_YEAR
        if one.diet in _PLANT:
            wither, half, burns = _PLANT[one.diet]
            p["food_wither_h"][row] = _given(own.wither_per_y, wither) / HOURS_A_YEAR
            p["food_moist_half_mm"][row] = _given(own.moist_half_mm, half)
            p["food_burns"][row] = _given(own.burns, burns)
        else:
            p["food_burns"][row] = _given(own.burns, 0.0)
        p["food_is_fuel"][row] = own.fuel
        share = np.clip(1 + own.rain_slope * (layers["rain_share"] - 1), 0.1, 3.0)
        whole = one.capacity_kg_km2 if one.diet in _PLANT else usual_kg_km2(one)
        capacity[row] = whole * kj * cell_km2 * share
        food[row] = capacity[row] * (0.5 if one.diet in _PLANT else 1.0)
    names = p["food_names"].tolist()
    for link in data.web.links:
        if link.predator in data.pools and link.prey in names:
            i, j = names.index(link.predator), names.index(link.prey)
            p["pool_diet"][i, j] = link.preference
            p["pool_usual_food_kj_km2"][i] += link.preference * usual_kg_km2(species[j]) * p["food_kj_kg"][j]
    return p, {"food": food, "capacity": capacity}


def _given(value: float, default: float) -> float:
    return default if math.isnan(value) else value


def animal_tables(data: WorldData, dt_h: float, counts: dict[str, int], cell_km2: float) -> Tables:
    """Parameters [s] of bodies, life histories, movement and groups."""
    species, settings = list(select_animals(data).values()), data.settings
    n = len(species)
    own = [data.animals.get(one.name, Animal()) for one in species]
    eaten = {link.prey for link in data.web.links}

    def column(values) -> np.ndarray:
        return np.array(list(values), np.float64)

    mass = column(one.body_mass_kg for one in species)
    cold = np.array([o.cold_blooded for o in own])
    litter = column(one.litter_size for one in species)
    mature_h = column(one.maturity_y for one in species) * HOURS_A_YEAR
    # LAWS are powers .75 of mass: their value at 1 kg is the coefficient.
    field_kj_h = LAWS["field_metabolic_rate"](1.0) * KJ_H_PER_W * np.where(cold, settings.cold_blood, 1.0)
    day_m = column(one.day_range_km for one in species) * 1000
    range_m = column(
        _given(o.range_km, math.sqrt(one.home_range_km2 / math.pi)) * 1000 for o, one in zip(own, species, strict=True)
    )
    herd = column(one.herd_size for one in species)
    # A territory has room for a group that is about to divide, with its young, at the usual density.
    side_m = np.sqrt(most_adults(herd) / ADULT_SHARE / column(one.density_per_km2 for one in species)) * 1000
    resident = np.array([not o.free_ranging for o in own])
    speed = day_m / 24
    day_h = data.ground.every_h
    plan_h = np.clip(range_m / speed / 2, max(day_h / 4, dt_h), max(2 * day_h, dt_h))
    hunts = np.array(
        [any(one.name == a.predator and _is_prey(a.prey, data) for a in data.web.links) for one in species]
    )
    watches = np.array([one.name in eaten for one in species]) & ~hunts
    flight = column(
        _given(o.flight_m, min(100 * (m / 50) ** (1 / 3), 150.0) if w else 0.0)
        for o, m, w in zip(own, mass, watches, strict=True)
    )
    birth = _breeding(species)
    return {
        "adult_kg": mass,
        "young_kg": mass * np.minimum(settings.young_share, 2 * settings.young_share / litter),
        "growth_h": 3.0 / mature_h,
        "store_kj_kg": np.full(n, settings.fat_share * FAT_KJ_PER_KG),
        "maintain_kj_h": field_kj_h * settings.maintenance,
        "most_kj_h": field_kj_h * settings.intake_margin,
        "need_kj_h": field_kj_h * mass**0.75,
        "walk_kj_m": field_kj_h * 24 * WALK_SHARE / day_m,
        "cold_blooded": cold,
        "mature_h": mature_h,
        "life_h": column(one.life_span_y for one in species) * HOURS_A_YEAR,
        "young_death_h": column(-math.log(max(one.young_survival, 1e-3)) for one in species) / HOURS_A_YEAR,
        "adult_death_h": column(-math.log(max(one.yearly_survival, 1e-3)) for one in species) / HOURS_A_YEAR,
        "litter_size": litter,
        "one_breeds": np.array([o.one_breeds for o in own]),
        "births_per_y": column(one.births_per_y for one in species),
        "gestation_h": column(one.gestation_d for one in species) * 24,
        **birth,
        "herd_size": herd,
        "herd_spacing_m": column(
            _given(o.spacing_m, min(8 * m**0.33, 0.1 * r / math.sqrt(h)))
            for o, m, r, h in zip(own, mass, range_m, herd, strict=True)
        ),
        "resident": resident,
        "spacing_m": np.where(resident, settings.territory * side_m, 0.0),
        "dispersal_m": 3 * side_m,
        "range_m": range_m,
        "goal_m": np.minimum(range_m / 3, 700 * math.sqrt(cell_km2)),
        "speed_m_h": speed,
        "flight_m": flight,
        "flight_m_h": 5 * speed,
        "plan_steps": np.maximum(1, np.round(plan_h / dt_h)).astype(np.int64),
        "green": column(o.green for o in own),
        "drink_every_h": column(o.drink_every_h for o in own),
        "drink_km": column(DRINK_KM if o.drink_every_h else 0.0 for o in own),
        "watches": watches,
        "prime": column(o.prime for o in own),
        "usual_feeding": column(1 - head_up_share.py_func(h) if w else 1.0 for h, w in zip(herd, watches, strict=True)),
        "hunts": hunts,
        "feeds_young": hunts & ~(cold & (herd < 2)),
        "search_m": column(_given(o.search_m, min(2 * v, 1000.0)) for o, v in zip(own, speed, strict=True)),
        "activity_by_hour": np.array([ACTIVE[one.activity] for one in species]),
        "arrivals_per_y": column(o.arrivals_per_y for o in own),
        "usual_number": np.maximum(column(counts[one.name] for one in species), 1.0),
        "bite_parts": np.array([1.0 if (mass**0.75).min() * field_kj_h.min() > _SMALL_BITES else 1e6]),
        "flesh_efficiency": np.array([settings.flesh_efficiency]),
    }


def _is_prey(name: str, data: WorldData) -> bool:
    return not data.web.species[name].basal and name not in data.pools


def _breeding(species: list[Species]) -> Tables:
    """Months of birth [s, 12] and rate of conception per hour [s] that make the table's births a year in good condition."""
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
    return {"birth_season": season, "conceive_per_h": rate}


def diet_tables(data: WorldData, foods: Tables, cell_km2: float) -> Tables:
    """What each species eats from the layers: food rows and weights [s, most], their number, half-saturation and hill [s]."""
    species, names, s = list(select_animals(data)), foods["food_names"].tolist(), data.settings
    usual_l = np.array([usual_kg_km2(one) for one in select_foods(data).values()]) * foods["food_kj_kg"] * cell_km2
    half_of = np.where(
        foods["food_kind"] < DEAD, s.half_plants, np.where(foods["food_kind"] == POOL, s.half_pools, s.half_dead)
    )
    diets = {name: [a for a in data.web.links if a.predator == name and a.prey in names] for name in species}
    most = max(1, *(len(diet) for diet in diets.values()), 1)
    rows, weight = np.zeros((len(species), most), np.int64), np.zeros((len(species), most))
    half, hill = np.ones((2, len(species)))
    for i, diet in enumerate(diets.values()):
        for j, link in enumerate(diet):
            rows[i, j], weight[i, j] = names.index(link.prey), link.preference
        if diet:
            half[i] = float((weight[i] * usual_l[rows[i]] * half_of[rows[i]]).sum())
            half[i] *= data.animals.get(list(diets)[i], Animal()).half
            # What is liked less than living prey is sought less, too: a hunter needs more of it to fill itself.
            half[i] *= max(a.preference for a in data.web.links if a.predator == species[i]) / weight[i].max()
            hill[i] = (
                max(link.hill for link in diet if link.prey in names)
                if len(diet) == sum(1 for a in data.web.links if a.predator == species[i])
                else 1.0
            )
    return {
        "graze_foods": rows,
        "graze_n": np.array([len(diet) for diet in diets.values()], np.int64),
        "graze_weight": weight,
        "graze_half_kj": half,
        "graze_hill": hill,
    }


def hunt_tables(data: WorldData, p: Tables, cell_km2: float) -> Tables:
    """Who hunts whom [s, s], with what weight, and the attack rates [s] that feed each hunter at usual densities.

    A hungry predator kills, at the usual densities of its prey, what feeds `catch_margin` times its needs.
    """
    species = select_animals(data)
    names = list(species)
    n, s = len(names), data.settings
    weight = np.zeros((n, n))
    hill, attack, usual = np.ones(n), np.zeros(n), np.zeros(n)
    for link in data.web.links:
        if link.predator in species and link.prey in species:
            i, j = names.index(link.predator), names.index(link.prey)
            weight[i, j] = link.preference * p["adult_kg"][j]
            hill[i] = max(hill[i], link.hill)
    # Of the prey at its usual density, what herds of the usual size do not see coming.
    seen = np.array([herd_notices.py_func(one.herd_size) for one in species.values()])
    density = np.array([one.density_per_km2 for one in species.values()]) * (1 - s.care * seen * p["watches"])
    body_kj = p["adult_kg"] * (TISSUE_KJ_PER_KG + 0.5 * p["store_kj_kg"])
    for i in np.flatnonzero(weight.any(1)):
        usual[i] = (weight[i] * density).sum()
        meal = p["herd_size"][i] * s.meal * p["adult_kg"][i] * TISSUE_KJ_PER_KG
        gain = (weight[i] * density * np.minimum(EDIBLE * body_kj, meal)).sum() / usual[i] * s.flesh_efficiency
        attack[i] = s.catch_margin * p["need_kj_h"][i] / gain / usual[i]
    return {
        "prey_weight": weight,
        "eats": weight > 0,
        "prey_hill": hill,
        "attack_km2_h": attack,
        "usual_prey_km2": usual,
        "usual_prey": usual * cell_km2,
    }


def trait_tables(data: WorldData, p: Tables) -> Tables:
    """Means and deviations [s, t] of the heritable traits, and which foods suit which value [s, most]."""
    names, n_traits = list(select_animals(data)), max(1, len(data.traits))
    mean, additive, rest = np.zeros((3, len(names), n_traits))
    best, width = np.zeros((2, *p["graze_foods"].shape))
    foods = p["food_names"].tolist()
    for i, name in enumerate(names):
        own = data.animals.get(name, Animal())
        for t, (m, sd, h2) in enumerate(zip(own.trait_mean, own.trait_sd, own.heritability, strict=True)):
            mean[i, t], additive[i, t], rest[i, t] = m, sd * math.sqrt(h2), sd * math.sqrt(1 - h2)
        for j in range(p["graze_n"][i]):
            food = foods[p["graze_foods"][i, j]]
            if food in own.best_trait:
                best[i, j], width[i, j] = own.best_trait[food], own.trait_width.get(food, 1.0)
                # The web's preference is that of an animal with the mean trait.
                p["graze_weight"][i, j] /= trait_fit.py_func(mean[i, 0], best[i, j], width[i, j])
    return {
        "trait_mean": mean,
        "trait_additive_sd": additive,
        "trait_rest_sd": rest,
        "best_trait": best,
        "trait_width": width,
    }
