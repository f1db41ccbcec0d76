"""Mean-field models of a food web, balanced at the usual densities of its species or made from body masses alone.

Shape suffixes: n species.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from linnaea.twin.data.allometry import (
    NETWORK,
    NetworkConstants,
    compute_capture_rate,
    compute_capture_success,
    compute_handling_time,
    compute_mass_specific_ingestion,
)
from linnaea.twin.data.foodweb import FoodWeb
from linnaea.twin.data.species import Species
from linnaea.twin.meanfield.model import Link, MeanFieldModel, Node, Uptake


@dataclass(frozen=True, kw_only=True)
class BalanceConfig:
    """How a food web of real species becomes a mean-field model; every number is unverified."""

    maintenance: float = 0.5
    "intake at which a population neither grows nor shrinks, as a share of the greatest intake"
    interference: float = 1.0
    "time lost to interference at the usual density, as a multiple of the search time"
    plant_efficiency: float = 0.45
    "share of eaten plants and dead matter that is assimilated"
    animal_efficiency: float = 0.85
    "share of eaten animals that is assimilated"
    carcasses: str = "carcass"
    "pool for animals that die from other causes than predation; ignored if the web has none"
    dung: str = "dung"
    "pool for what herbivores do not assimilate; ignored if the web has none"
    extinct_below: float = 1e-6
    "kg/km2 below which a species is extinct"

    def __post_init__(self) -> None:
        if not 0 < self.maintenance < 1:
            raise ValueError(f"maintenance {self.maintenance:g}: write a share between 0 and 1")
        if self.interference < 0:
            raise ValueError(f"interference {self.interference:g}: write 0 or more")


def get_usual_biomass(species: Species) -> float:
    """Return the usual biomass in kg/km2: usual density times mass; of a basal species half its capacity."""
    return species.capacity_kg_km2 / 2 if species.basal else species.density_per_km2 * species.body_mass_kg


class AnimalRates(NamedTuple):
    """Yearly rates of each species [n]."""

    most_n: np.ndarray
    "greatest intake as a multiple of biomass, 1 for basal species"
    loss_n: np.ndarray
    "loss as a share of biomass, 0 for basal species"
    efficiency_n: np.ndarray
    "share of the food that becomes production, 1 for basal species"


class Balance(NamedTuple):
    """A food web in balance [n], kg/km2 and years."""

    biomass_n: np.ndarray
    "biomass"
    eaten_n: np.ndarray
    "what each animal eats in a year"
    taken_n: np.ndarray
    "what consumers take of each species in a year"
    given_n: np.ndarray
    "what each pool of dead matter receives in a year"


def build_balanced_model(web: FoodWeb, config: BalanceConfig | None = None) -> MeanFieldModel:
    """Return the model of a food web in kg/km2 and years, balanced so that the usual densities are an equilibrium.

    What each animal must eat follows from its own losses and from what its predators must eat, all at the usual
    densities (one linear system, as in mass-balance models of food webs). Its capture rate is the rate that provides
    this food. Only production becomes body mass: an animal grows at `growth_per_y` with full food and not at all at the
    maintenance share. Raise ValueError if a species would have to eat more than it can, or a plant to grow more than it
    can.
    """
    config = config or BalanceConfig()
    rates = _compute_animal_rates(web, config)
    balance = _solve_balance(web, rates, config)
    nodes = [_make_node(row, web, rates, balance, config) for row in range(len(web.species))]
    links = [
        link
        for row, one in enumerate(web.species.values())
        if not one.basal
        for link in _make_links(row, web, rates, balance, config)
    ]
    return MeanFieldModel(
        nodes=tuple(nodes),
        links=tuple(links),
        extinct_below=config.extinct_below,
        method="LSODA",
        rtol=1e-8,
        atol=1e-10,
        time_unit="y",
        density_unit="kg/km2",
    )


def _index_species(web: FoodWeb) -> dict[str, int]:
    """Return species -> row."""
    return {name: index for index, name in enumerate(web.species)}


def _solve_balance(web: FoodWeb, rates: AnimalRates, config: BalanceConfig) -> Balance:
    """Return the balance at the usual densities of the animals; iterate to find the biomass of plants and pools."""
    row_of = _index_species(web)
    species = list(web.species.values())
    basal = np.array([one.basal for one in species])
    biomass_n = np.array([get_usual_biomass(one) for one in species])
    for _ in range(60):
        share_nn = _compute_diet_shares(web, row_of, biomass_n)
        # Row i: the production of i covers its own losses and what predators take of it.
        matrix = np.diag(rates.efficiency_n) - share_nn.T
        matrix[basal] = np.eye(len(species))[basal]
        eaten_n = np.linalg.solve(matrix, np.where(basal, 0, rates.loss_n * biomass_n))
        taken_n = share_nn.T @ eaten_n
        given_n = _compute_pool_inputs(web, row_of, eaten_n, rates.loss_n, biomass_n, config)
        settled_n = np.array(
            [_compute_basal_biomass(one, taken_n[i], given_n[i], biomass_n[i]) for i, one in enumerate(species)]
        )
        if np.allclose(settled_n, biomass_n, rtol=1e-12):
            break
        biomass_n = settled_n
    return Balance(biomass_n, eaten_n, taken_n, given_n)


def _make_links(row: int, web: FoodWeb, rates: AnimalRates, balance: Balance, config: BalanceConfig) -> list[Link]:
    """Return the links of an animal to its foods. Raise ValueError if it would have to eat more than it can."""
    name = list(web.species)[row]
    row_of = _index_species(web)
    most, efficiency = rates.most_n[row], rates.efficiency_n[row]
    full = balance.eaten_n[row] / balance.biomass_n[row] / most
    if not 0 < full < 0.98:
        raise ValueError(
            f"food web: {name!r} would have to eat {full:.0%} of its greatest intake to support its predators; lower "
            "their density_per_km2, or raise its density_per_km2 or growth_per_y"
        )
    diet = web.get_diet(name)
    food = sum(link.preference * balance.biomass_n[row_of[link.prey]] ** link.hill for link in diet)
    attack = most * full * (1 + config.interference) / (1 - full) / food
    links = []
    for link in diet:
        is_animal = web.species[link.prey].kind == "animal"
        assimilated = config.animal_efficiency if is_animal else config.plant_efficiency
        links.append(
            Link(
                predator=name,
                prey=link.prey,
                attack=attack,
                handling=1 / most,
                hill=link.hill,
                preference=link.preference,
                efficiency=efficiency,
                respired=max(assimilated - efficiency, 0.0),
            )
        )
    return links


def _compute_animal_rates(web: FoodWeb, config: BalanceConfig) -> AnimalRates:
    """Return the yearly rates of each species. Raise ValueError if growth needs more than the assimilated food."""
    most_n, loss_n, efficiency_n = np.ones((3, len(web.species)))
    for index, one in enumerate(web.species.values()):
        loss_n[index] = 0
        if one.basal:
            continue
        given = [
            link.max_ingestion_per_y for link in web.get_diet(one.name) if not math.isnan(link.max_ingestion_per_y)
        ]
        most_n[index] = max(given) if given else compute_mass_specific_ingestion(one.body_mass_kg)
        loss_n[index] = one.growth_per_y * config.maintenance / (1 - config.maintenance)
        efficiency_n[index] = (one.growth_per_y + loss_n[index]) / most_n[index]
        if efficiency_n[index] > config.plant_efficiency:
            raise ValueError(
                f"food web: {one.name!r} would turn {efficiency_n[index]:.0%} of its food into body mass; lower its "
                "growth_per_y"
            )
    return AnimalRates(most_n, loss_n, efficiency_n)


def _compute_diet_shares(web: FoodWeb, row_of: dict[str, int], biomass_n: np.ndarray) -> np.ndarray:
    """Return the share of each prey (column) in what a predator (row) eats at these densities [n, n]."""
    share_nn = np.zeros((len(row_of), len(row_of)))
    for link in web.links:
        share_nn[row_of[link.predator], row_of[link.prey]] = link.preference * biomass_n[row_of[link.prey]] ** link.hill
    total_n = share_nn.sum(1, keepdims=True)
    return share_nn / np.where(total_n > 0, total_n, 1)


def _compute_pool_inputs(
    web: FoodWeb,
    row_of: dict[str, int],
    eaten_n: np.ndarray,
    loss_n: np.ndarray,
    biomass_n: np.ndarray,
    config: BalanceConfig,
) -> np.ndarray:
    """Return what each pool of dead matter receives from the web in a year [n], kg/km2."""
    given_n = np.zeros(len(row_of))
    for name, one in web.species.items():
        remains, waste = _find_pools(one, web, config)
        if remains:
            given_n[row_of[remains]] += _get_mortality(one, loss_n[row_of[name]]) * biomass_n[row_of[name]]
        if waste:
            given_n[row_of[waste]] += (1 - config.plant_efficiency) * eaten_n[row_of[name]]
    return given_n


def _get_mortality(one: Species, loss: float) -> float:
    """Return the share of the biomass that dies in a year and leaves remains."""
    return min(-math.log(max(one.yearly_survival, 1e-9)), loss)


def _find_pools(one: Species, web: FoodWeb, config: BalanceConfig) -> tuple[str, str]:
    """Return the names of the pools of a species' remains and waste, "" for none."""
    if one.basal:
        return "", ""
    herbivore = all(web.species[link.prey].basal for link in web.get_diet(one.name)) and one.diet != "scavenger"
    dung = config.dung if herbivore and config.dung in web.species else ""
    return config.carcasses if config.carcasses in web.species else "", dung


def _compute_basal_biomass(one: Species, taken: float, given: float, biomass: float) -> float:
    """Return the biomass at which the growth of a basal species equals what is taken; of an animal its own biomass.

    Dead matter has its usual biomass, or more if the web gives more than is taken and decays.
    """
    if one.diet == "dead":
        return max(one.capacity_kg_km2 / 2, (given - taken) / one.growth_per_y)
    if not one.basal:
        return biomass
    most = one.growth_per_y * one.capacity_kg_km2 / 4
    if taken >= 0.98 * most:
        raise ValueError(
            f"food web: {taken:.3g} kg/km2 of {one.name!r} would be eaten in a year, but at most {most:.3g} can grow; "
            "raise  its growth_per_y or capacity_kg_km2, or lower its consumers' density_per_km2"
        )
    return one.capacity_kg_km2 / 2 * (1 + math.sqrt(1 - taken / most))


def _make_node(row: int, web: FoodWeb, rates: AnimalRates, balance: Balance, config: BalanceConfig) -> Node:
    """Return the node of a species in balance; a pool of dead matter gets from outside what the web does not give."""
    one = list(web.species.values())[row]
    biomass, loss = balance.biomass_n[row], rates.loss_n[row]
    if one.diet == "dead":
        short = balance.taken_n[row] - balance.given_n[row]
        inflow = max(one.growth_per_y * biomass + short, 0.0)
        return Node(name=one.name, start=biomass, mortality=one.growth_per_y, immigration=inflow)
    if one.basal:
        return Node(name=one.name, start=biomass, growth=one.growth_per_y, capacity=one.capacity_kg_km2)
    mortality = _get_mortality(one, loss)
    remains, waste = _find_pools(one, web, config)
    return Node(
        name=one.name,
        start=biomass,
        metabolism=loss - mortality,
        mortality=mortality,
        remains=remains,
        waste=waste,
        interference=config.interference / biomass,
    )


def build_allometric_network(
    plant_mass: Sequence[float],
    animal_mass: Sequence[float],
    constants: NetworkConstants = NETWORK,
    start: float = 1.0,
    herbivores: Sequence[int] = (),
) -> MeanFieldModel:
    """Return the allometric trophic network of these body masses after Schneider and Brose, dimensionless.

    Plants p0, p1 … use the nutrients n0, n1 …; animals a0, a1 … catch prey by body mass, those whose number is in
    `herbivores` only plants. Raise ValueError for an animal without prey.
    """
    plants = {f"p{index}": float(mass) for index, mass in enumerate(plant_mass)}
    animals = {f"a{index}": float(mass) for index, mass in enumerate(animal_mass)}
    nodes = [
        Node(name=f"n{index}", start=constants.supply, turnover=constants.turnover, supply=constants.supply)
        for index in range(len(constants.contents))
    ]
    nodes += [
        Node(
            name=name,
            start=start,
            growth=constants.plant_growth * mass**-0.25,
            metabolism=constants.plant_metabolism * mass**-0.25,
        )
        for name, mass in plants.items()
    ]
    nodes += [
        Node(
            name=name,
            start=start,
            metabolism=constants.animal_metabolism * mass**-0.25,
            interference=constants.interference,
        )
        for name, mass in animals.items()
    ]
    uptakes = [
        Uptake(plant=name, nutrient=f"n{index}", half_saturation=constants.half_saturation, content=content)
        for name in plants
        for index, content in enumerate(constants.contents)
    ]
    links: list[Link] = []
    for number, name in enumerate(animals):
        links += _make_network_links(name, plants, {} if number in herbivores else animals, animals[name], constants)
    return MeanFieldModel(
        nodes=tuple(nodes),
        links=tuple(links),
        uptakes=tuple(uptakes),
        extinct_below=1e-6,
        method="LSODA",
        rtol=1e-9,
        atol=1e-11,
    )


def _make_network_links(
    name: str, plants: dict[str, float], animals: dict[str, float], mass: float, constants: NetworkConstants
) -> list[Link]:
    """Return the links of an animal of this mass to what it catches of the plants and animals (name -> mass)."""
    foods = plants | animals
    prey = [
        food for food, small in foods.items() if compute_capture_success(mass, small, constants) >= constants.cutoff
    ]
    if not prey:
        raise ValueError(
            f"animal {name} of mass {mass:g} has nothing to eat; add prey of about {mass / constants.optimal_ratio:g}"
        )
    links = []
    for food in prey:
        rate = float(compute_capture_rate(mass, foods[food], food in plants, constants)) / len(prey)
        # Rates are per animal; divided by its mass they are per unit of biomass.
        links.append(
            Link(
                predator=name,
                prey=food,
                attack=rate / mass,
                hill=constants.hill,
                efficiency=constants.plant_efficiency if food in plants else constants.animal_efficiency,
                handling=float(compute_handling_time(mass, foods[food], constants)) * mass,
            )
        )
    return links
