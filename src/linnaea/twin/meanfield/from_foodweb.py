"""Mean-field models made from a food web: of real species at their usual densities, or of body masses alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
    """How a food web of real species becomes a system of equations; every number is unverified."""

    maintenance: float = 0.5
    "food at which a population neither grows nor shrinks, as a share of the most it takes"
    interference: float = 1.0
    "time lost to one's own kind at the usual density, as a multiple of the time searching"
    plant_efficiency: float = 0.45
    "share of eaten plants and dead matter that is assimilated"
    animal_efficiency: float = 0.85
    "share of eaten animals that is assimilated"
    carcasses: str = "carcass"
    "pool for animals that die of themselves; ignored where the web has none"
    dung: str = "dung"
    "pool for what herbivores do not assimilate; ignored where the web has none"
    extinct_below: float = 1e-6
    "kg/km2 at which a species is gone"

    def __post_init__(self) -> None:
        if not 0 < self.maintenance < 1:
            raise ValueError(f"maintenance {self.maintenance:g}: write a share between 0 and 1")
        if self.interference < 0:
            raise ValueError(f"interference {self.interference:g}: write 0 or more")


def get_usual_biomass(species: Species) -> float:
    """kg/km2: usual density times mass; of a basal species half its capacity."""
    return species.capacity_kg_km2 / 2 if species.basal else species.density_per_km2 * species.body_mass_kg


def build_balanced_model(web: FoodWeb, config: BalanceConfig | None = None) -> MeanFieldModel:
    """The web in kg/km2 and years, balanced so that the usual densities are an equilibrium.

    What each animal must eat follows from its own losses and from what its predators must eat, all at the usual
    densities (one linear system, as in mass-balance models of food webs); its capture rate is what gives it that. The
    food that becomes body is production only: at full food an animal grows at `growth_per_y`, at the maintenance share
    not at all. ValueError where a species would have to eat more than it can, or a plant to grow more than it can.
    """
    config = config or BalanceConfig()
    names = list(web.species)
    place = {name: index for index, name in enumerate(names)}
    biomass_n = np.array([get_usual_biomass(one) for one in web.species.values()])
    most_n, loss_n, efficiency_n = _compute_animal_rates(web, config)
    for _ in range(60):
        share_nn = _compute_diet_shares(web, place, biomass_n)
        # Row i: production of i pays for its own losses and for what predators take of it.
        matrix = np.diag(efficiency_n) - share_nn.T
        basal = np.array([one.basal for one in web.species.values()])
        matrix[basal] = np.eye(len(names))[basal]
        total_n = np.linalg.solve(matrix, np.where(basal, 0, loss_n * biomass_n))
        taken_n = share_nn.T @ total_n
        given_n = _compute_pool_inputs(web, place, total_n, loss_n, biomass_n, config)
        settled_n = np.array(
            [
                _compute_basal_biomass(one, taken_n[place[name]], given_n[place[name]], biomass_n[place[name]])
                for name, one in web.species.items()
            ]
        )
        if np.allclose(settled_n, biomass_n, rtol=1e-12):
            break
        biomass_n = settled_n
    nodes = [
        _make_node(
            one, biomass_n[place[name]], taken_n[place[name]] - given_n[place[name]], loss_n[place[name]], web, config
        )
        for name, one in web.species.items()
    ]
    links = []
    for name, one in web.species.items():
        if one.basal:
            continue
        index = place[name]
        full = total_n[index] / biomass_n[index] / most_n[index]
        if not 0 < full < 0.98:
            raise ValueError(
                f"food web: {name!r} would have to eat {full:.0%} of the most it can to bear its predators; lower their "
                "density_per_km2, or raise its density_per_km2 or growth_per_y"
            )
        diet = web.diet(name)
        food = sum(link.preference * biomass_n[place[link.prey]] ** link.hill for link in diet)
        attack = most_n[index] * full * (1 + config.interference) / (1 - full) / food
        for link in diet:
            prey = web.species[link.prey]
            assimilated = config.animal_efficiency if prey.kind == "animal" else config.plant_efficiency
            links.append(
                Link(
                    predator=name,
                    prey=link.prey,
                    attack=attack,
                    handling=1 / most_n[index],
                    hill=link.hill,
                    preference=link.preference,
                    efficiency=efficiency_n[index],
                    respired=max(assimilated - efficiency_n[index], 0.0),
                )
            )
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


def _compute_animal_rates(web: FoodWeb, config: BalanceConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Most ingestion, loss and efficiency of production [n] of each species, per year; 1, 0 and 1 of basal ones."""
    most_n, loss_n, efficiency_n = np.ones((3, len(web.species)))
    for index, one in enumerate(web.species.values()):
        loss_n[index] = 0
        if one.basal:
            continue
        given = [link.max_ingestion_per_y for link in web.diet(one.name) if not math.isnan(link.max_ingestion_per_y)]
        most_n[index] = max(given) if given else compute_mass_specific_ingestion(one.body_mass_kg)
        loss_n[index] = one.growth_per_y * config.maintenance / (1 - config.maintenance)
        efficiency_n[index] = (one.growth_per_y + loss_n[index]) / most_n[index]
        if efficiency_n[index] > config.plant_efficiency:
            raise ValueError(
                f"food web: {one.name!r} would turn {efficiency_n[index]:.0%} of its food into body; lower its growth_per_y"
            )
    return most_n, loss_n, efficiency_n


def _compute_diet_shares(web: FoodWeb, place: dict[str, int], biomass_n: np.ndarray) -> np.ndarray:
    """Share of prey (column) in what a predator (row) eats at these densities [n, n]."""
    share_nn = np.zeros((len(place), len(place)))
    for link in web.links:
        share_nn[place[link.predator], place[link.prey]] = link.preference * biomass_n[place[link.prey]] ** link.hill
    total_n = share_nn.sum(1, keepdims=True)
    return share_nn / np.where(total_n > 0, total_n, 1)


def _compute_pool_inputs(
    web: FoodWeb, place: dict[str, int], total_n, loss_n, biomass_n, config: BalanceConfig
) -> np.ndarray:
    """What each pool of dead matter receives from the web a year [n], kg/km2."""
    given_n = np.zeros(len(place))
    for name, one in web.species.items():
        remains, waste = _find_pools(one, web, config)
        if remains:
            given_n[place[remains]] += _get_mortality(one, loss_n[place[name]]) * biomass_n[place[name]]
        if waste:
            given_n[place[waste]] += (1 - config.plant_efficiency) * total_n[place[name]]
    return given_n


def _get_mortality(one: Species, loss: float) -> float:
    """Share of the biomass that dies a year and leaves remains."""
    return min(-math.log(max(one.yearly_survival, 1e-9)), loss)


def _find_pools(one: Species, web: FoodWeb, config: BalanceConfig) -> tuple[str, str]:
    """Names of the pools of a species' remains and waste, "" for none."""
    if one.basal:
        return "", ""
    herbivore = all(web.species[link.prey].basal for link in web.diet(one.name)) and one.diet != "scavenger"
    dung = config.dung if herbivore and config.dung in web.species else ""
    return config.carcasses if config.carcasses in web.species else "", dung


def _compute_basal_biomass(one: Species, taken: float, given: float, biomass: float) -> float:
    """Biomass at which a basal species' growth is what is taken; of animals as it was.

    Dead matter lies at its usual biomass, or at more where the web alone gives more than is taken and decays.
    """
    if one.diet == "dead":
        return max(one.capacity_kg_km2 / 2, (given - taken) / one.growth_per_y)
    if not one.basal:
        return biomass
    most = one.growth_per_y * one.capacity_kg_km2 / 4
    if taken >= 0.98 * most:
        raise ValueError(
            f"food web: {taken:.3g} kg/km2 of {one.name!r} would be eaten a year, it can grow {most:.3g}; raise its "
            "growth_per_y or capacity_kg_km2, or lower its consumers' density_per_km2"
        )
    return one.capacity_kg_km2 / 2 * (1 + math.sqrt(1 - taken / most))


def _make_node(one: Species, biomass: float, short: float, loss: float, web: FoodWeb, config: BalanceConfig) -> Node:
    """The node of a species, in balance at its biomass; a pool of dead matter is `short` by so much a year without
    outside.
    """
    if one.diet == "dead":
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
    """The allometric trophic network of these body masses after Schneider and Brose: dimensionless biomass and time.

    Plants p0, p1 … live on nutrients n0, n1 …; animals a0, a1 … catch by body mass, those whose number is in
    `herbivores` plants only. ValueError names an animal that no mass gives food.
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
    links = []
    for number, (name, mass) in enumerate(animals.items()):
        foods = plants if number in herbivores else plants | animals
        prey = [
            food for food, small in foods.items() if compute_capture_success(mass, small, constants) >= constants.cutoff
        ]
        if not prey:
            raise ValueError(
                f"animal {name} of mass {mass:g} has nothing to eat; add prey of about {mass / constants.optimal_ratio:g}"
            )
        for food in prey:
            rate = float(compute_capture_rate(mass, foods[food], food in plants, constants)) / len(prey)
            efficiency = constants.plant_efficiency if food in plants else constants.animal_efficiency
            # Rates are of one animal; divided by its mass they are of a unit of biomass.
            links.append(
                Link(
                    predator=name,
                    prey=food,
                    attack=rate / mass,
                    hill=constants.hill,
                    efficiency=efficiency,
                    handling=float(compute_handling_time(mass, foods[food], constants)) * mass,
                )
            )
    return MeanFieldModel(
        nodes=tuple(nodes),
        links=tuple(links),
        uptakes=tuple(uptakes),
        extinct_below=1e-6,
        method="LSODA",
        rtol=1e-9,
        atol=1e-11,
    )
