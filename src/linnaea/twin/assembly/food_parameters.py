"""The numbers that rules ask of foods, diets and heritable traits, as arrays.

Shape suffixes: s species, l foods (layers), f foods of one species at most, t heritable traits, r rows, c columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from linnaea.twin.data.foodweb import Feeding
from linnaea.twin.data.species import Species
from linnaea.twin.data.world_data import WorldData, select_animals, select_foods
from linnaea.twin.data.world_settings import Animal, Food, Settings
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.parameters import Diet, Foods, Traits
from linnaea.twin.rules.energy_budget import PLANT_KJ_PER_KG, TISSUE_KJ_PER_KG
from linnaea.twin.rules.foraging import trait_fit
from linnaea.twin.rules.vegetation import DEAD, KINDS, POOL


class PlantKind(NamedTuple):
    """What all plants of a kind have in common; general knowledge, unverified."""

    wither_per_y: float
    "withering a year"
    moist_half_mm: float
    "rain a month at which they grow half as fast as they can"
    burns: float
    "share that a fire takes"


_PLANT = {"grass": PlantKind(1.0, 50.0, 0.8), "woody": PlantKind(0.1, 25.0, 0.15), "seed": PlantKind(0.3, 30.0, 0.2)}


@dataclass(frozen=True, kw_only=True)
class FoodStack:
    """The foods of every cell at the start [l, r, c], kilojoules."""

    food: np.ndarray
    "what is there"
    capacity: np.ndarray
    "what there is room for"


def make_column(values: Iterable[float]) -> np.ndarray:
    """Numbers as an array: float64 [n]."""
    return np.array(list(values), np.float64)


def food_kj_kg(species: Species) -> float:
    """Energy of a kilogram: dry plant matter (dung and litter too), or fresh flesh (carcasses, pools of animals)."""
    flesh = not species.basal or species.name == "carcass"
    return TISSUE_KJ_PER_KG if flesh else PLANT_KJ_PER_KG


def usual_kg_km2(species: Species) -> float:
    """Biomass that a food usually has: of plants and dead matter half the capacity, of pools density times mass."""
    return species.capacity_kg_km2 / 2 if species.basal else species.density_per_km2 * species.body_mass_kg


def make_foods(data: WorldData, layers: dict[str, np.ndarray], cell_km2: float) -> tuple[Foods, FoodStack]:
    """Parameters of the foods, and what every cell holds of them at the start."""
    species, settings = list(select_foods(data).values()), data.settings
    own = [data.foods.get(one.name, Food()) for one in species]
    plants = [_PLANT.get(one.diet, PlantKind(0.0, 0.0, 0.0)) for one in species]
    kind = np.array([KINDS.index(one.kind) for one in species], np.int64)
    is_plant = kind < DEAD
    kj_kg = make_column(food_kj_kg(one) for one in species)
    # Only a plant withers and depends on moisture, whatever the world's file says.
    is_grown = np.array([one.diet in _PLANT for one in species], bool)
    wither = make_column(_given(o.wither_per_y, plant.wither_per_y) for o, plant in zip(own, plants, strict=True))
    moist = make_column(_given(o.moist_half_mm, plant.moist_half_mm) for o, plant in zip(own, plants, strict=True))
    pool_diet, pool_usual = _pool_diets(data, species, kj_kg)
    foods = Foods(
        names=np.array([one.name for one in species]),
        kind=kind,
        kj_kg=kj_kg,
        growth_h=make_column(one.growth_per_y for one in species) / HOURS_A_YEAR,
        wither_h=np.where(is_grown, wither, 0.0) / HOURS_A_YEAR,
        moist_half_mm=np.where(is_grown, moist, 0.0),
        burns=make_column(_given(o.burns, plant.burns) for o, plant in zip(own, plants, strict=True)),
        reserve=make_column(o.reserve for o in own),
        efficiency=np.where(is_plant, settings.plant_efficiency, settings.flesh_efficiency),
        inflow_h=make_column(o.inflow_per_y for o in own) / HOURS_A_YEAR,
        is_fuel=np.array([o.fuel for o in own], bool),
        is_plant=is_plant,
        pool_diet=pool_diet,
        pool_usual_food_kj_km2=pool_usual,
    )
    return foods, _make_stack(species, own, kj_kg, layers["rain_share"], cell_km2)


def _make_stack(
    species: list[Species], own: list[Food], kj_kg: np.ndarray, rain_share: np.ndarray, cell_km2: float
) -> FoodStack:
    capacity, food = np.zeros((2, len(species), *rain_share.shape))
    for row, (one, set_by_file) in enumerate(zip(species, own, strict=True)):
        share = np.clip(1 + set_by_file.rain_slope * (rain_share - 1), 0.1, 3.0)
        whole = one.capacity_kg_km2 if one.diet in _PLANT else usual_kg_km2(one)
        capacity[row] = whole * kj_kg[row] * cell_km2 * share
        food[row] = capacity[row] * (0.5 if one.diet in _PLANT else 1.0)
    return FoodStack(food=food, capacity=capacity)


def _pool_diets(data: WorldData, species: list[Species], kj_kg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Preference of each pool for each food [l, l], and its weighted food at the usual amounts, kJ/km2 [l]."""
    names = [one.name for one in species]
    diet, usual = np.zeros((len(names), len(names))), np.zeros(len(names))
    for link in data.web.links:
        if link.predator in data.pools and link.prey in names:
            i, j = names.index(link.predator), names.index(link.prey)
            diet[i, j] = link.preference
            usual[i] += link.preference * usual_kg_km2(species[j]) * kj_kg[j]
    return diet, usual


def _given(value: float, default: float) -> float:
    return default if math.isnan(value) else value


def make_diet(data: WorldData, foods: Foods, cell_km2: float) -> Diet:
    """What each species eats from the layers; its vigilance and the fit of its trait are not yet counted in."""
    species, names = list(select_animals(data)), foods.names.tolist()
    half_l = _usual_half_kj(data, foods, cell_km2)
    links = {name: [link for link in data.web.links if link.predator == name] for name in species}
    diets = {name: [link for link in links[name] if link.prey in names] for name in species}
    most = max(1, *(len(diet) for diet in diets.values()), 1)
    rows, weight = np.zeros((len(species), most), np.int64), np.zeros((len(species), most))
    half, hill = np.ones((2, len(species)))
    best, width = np.zeros((2, len(species), most))
    for i, (name, diet) in enumerate(diets.items()):
        own = data.animals.get(name, Animal())
        for j, link in enumerate(diet):
            rows[i, j], weight[i, j] = names.index(link.prey), link.preference
            if link.prey in own.best_trait:
                best[i, j], width[i, j] = own.best_trait[link.prey], own.trait_width.get(link.prey, 1.0)
        if diet:
            half[i] = _half_saturation(weight[i], half_l[0][rows[i]], half_l[1][rows[i]], own, links[name])
            # A species that hunts as well grazes with the second type.
            hill[i] = max(link.hill for link in diet) if len(diet) == len(links[name]) else 1.0
    return Diet(
        foods=rows,
        n_foods=np.array([len(diet) for diet in diets.values()], np.int64),
        weight=weight,
        half_kj=half,
        hill=hill,
        best_trait=best,
        trait_width=width,
        usual_feeding=np.ones(len(species)),
    )


def _usual_half_kj(data: WorldData, foods: Foods, cell_km2: float) -> tuple[np.ndarray, np.ndarray]:
    """The usual amount of each food in a cell, kJ [l], and its share at which intake is half of the maximum [l]."""
    usual = np.array([usual_kg_km2(one) for one in select_foods(data).values()]) * foods.kj_kg * cell_km2
    settings: Settings = data.settings
    of_others = np.where(foods.kind == POOL, settings.half_pools, settings.half_dead)
    return usual, np.where(foods.kind < DEAD, settings.half_plants, of_others)


def _half_saturation(
    weight: np.ndarray, usual: np.ndarray, half_of: np.ndarray, own: Animal, links: list[Feeding]
) -> float:
    """Weighted food of a cell at which intake of a species is half of the greatest, kJ."""
    half = float((weight * usual * half_of).sum()) * own.half
    # A hunter seeks less what it likes less than living prey: it needs more of it to fill itself.
    return half * (max(link.preference for link in links) / weight.max())


def make_traits(data: WorldData) -> Traits:
    """Means and deviations of the heritable traits."""
    names, n_traits = list(select_animals(data)), max(1, len(data.traits))
    mean, additive, rest = np.zeros((3, len(names), n_traits))
    for i, name in enumerate(names):
        own = data.animals.get(name, Animal())
        for t, (m, sd, h2) in enumerate(zip(own.trait_mean, own.trait_sd, own.heritability, strict=True)):
            mean[i, t], additive[i, t], rest[i, t] = m, sd * math.sqrt(h2), sd * math.sqrt(1 - h2)
    return Traits(mean=mean, additive_sd=additive, rest_sd=rest)


def divide_by_fit(diet: Diet, traits: Traits) -> None:
    """Divides the preferences, in place, by the fit of the mean trait."""
    for i in range(len(diet.n_foods)):
        for j in range(diet.n_foods[i]):
            if diet.trait_width[i, j]:
                fit = trait_fit.py_func(traits.mean[i, 0], diet.best_trait[i, j], diet.trait_width[i, j])
                diet.weight[i, j] /= fit
