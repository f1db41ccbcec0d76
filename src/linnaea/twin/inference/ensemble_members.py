"""The members of an ensemble that observations correct: runs of the food web's stochastic model, or worlds of animals.

Both kinds offer the same methods: `get_state()` and `set_state(state)` for logarithms that a filter may move,
`advance(hours)`, which returns the mean density over that time, and `get_density()` for the present density. Members of
the discrete-time model differ in their start, in their parameters and in the noise of every step. Members that are
worlds differ in their start and in the luck of every animal.

Members of the discrete-time model may come in several sets with different noise (`levels`): its true size is not known,
and the counts tell which level forecasts them best. All levels use the same random numbers.

Shape suffixes: n nodes of the web, s animals, m members of all levels, level by level, l links, p parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from linnaea.twin.data.foodweb import FoodWeb
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.rng import INTERVENTION, uniforms
from linnaea.twin.engine.step import advance
from linnaea.twin.engine.world import World
from linnaea.twin.meanfield.equations import Rates, compute_per_capita_rates
from linnaea.twin.meanfield.from_foodweb import build_balanced_model
from linnaea.twin.rules.energy_budget import remove_animals
from linnaea.twin.rules.immigration import introduce

LONGEST_STEP_Y = 1 / 52
STEP_OF_FASTEST = 0.2
"""longest step of the discrete-time model, as a share of the turnover time of the fastest node"""
NOISE_LEVELS = (0.5, 1.0, 2.0, 4.0)
"""multiples of the noise that assimilation weighs against each other: a factor of two to each side if the model is
right, and the last one for what the model lacks, such as seasons of birth"""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Uncertainty before the first count, as standard deviations of logarithms."""

    start: float = 0.5
    "s.d. of each species' density at the beginning"
    parameter: float = 0.2
    "s.d. of each parameter around its value in the tables"
    noise: float = 0.4
    "s.d. of the change of a density by what the web leaves out (season, weather), in the time 1 / growth_per_y"

    def __post_init__(self) -> None:
        for name in ("start", "parameter", "noise"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"spread: {name} {getattr(self, name)} must be a standard deviation, 0 or more")


class DiscreteModelMembers:
    """Members that follow the discrete-time model of the food web, B ← B exp(step · rate + noise), all at once."""

    def __init__(
        self,
        web: FoodWeb,
        n_members: int,
        spread: Spread,
        seed: int = 0,
        start: Mapping[str, float] | None = None,
        area_km2: float = math.inf,
        levels: Sequence[float] = (1.0,),
    ):
        """Draw the members' start and parameters.

        `start` gives animals per km² at the beginning where they differ from the species table. On a finite ground of
        `area_km2` the chance of single births and deaths is part of the noise. Each of the `levels`, which are
        multiples of the spread's noise, has `n_members` members.
        """
        self.web, self.spread, self.n_members, self.levels = web, spread, n_members, tuple(levels)
        self.rng = np.random.Generator(np.random.Philox(seed))
        self.rates = Rates(build_balanced_model(web))
        self.names = tuple(self.rates.model.names)
        self.animals = tuple(name for name, one in web.species.items() if not one.basal)
        self.rows_s = np.array([self.names.index(name) for name in self.animals])
        self.mass_s1 = np.array([web.species[name].body_mass_kg for name in self.animals])[:, None]
        self.basal_n = np.array([web.species[name].basal for name in self.names])
        self.parameters = self._name_parameters()
        self._set_noise(area_km2)
        floor = max(self.rates.model.extinct_below, 1e-12)
        self.floor = math.log(floor)
        biomass_n1 = self.rates.make_start()
        for name, density in (start or {}).items():
            biomass_n1[self.names.index(name)] = density * web.species[name].body_mass_kg
        n = len(self.names)
        self.log_nm = np.log(np.maximum(biomass_n1, floor)) + spread.start * self._draw_normal(n)
        self.factor_pm = spread.parameter * self._draw_normal(2 * n)
        self.fixed_n = {
            key: getattr(self.rates, key)
            for key in ("growth_n1", "capacity_n1", "metabolism_n1", "mortality_n1", "attack_l1")
        }
        fastest = float((self.rates.growth_n1 + self.rates.metabolism_n1 + self.rates.mortality_n1).max())
        self.longest_y = min(LONGEST_STEP_Y, STEP_OF_FASTEST / fastest)

    def _name_parameters(self) -> tuple[str, ...]:
        """Name the two parameters of each node."""
        pairs = list(zip(self.names, self.basal_n, strict=True))
        turnover = tuple(f"growth of {name}" if basal else f"loss of {name}" for name, basal in pairs)
        return turnover + tuple(f"capacity of {name}" if basal else f"feeding of {name}" for name, basal in pairs)

    def _set_noise(self, area_km2: float) -> None:
        """Set the variances per year of the logarithm of biomass: of the environment [n, m], and of chance [n, 1]."""
        species = self.web.species
        growth_n1 = np.array([[species[name].growth_per_y] for name in self.names])
        # Species that grow fast also fluctuate fast: in the time 1 / growth all species change by the same share.
        self.variance_nm = self.spread.noise**2 * growth_n1 * np.repeat(np.square(self.levels), self.n_members)
        # Births and deaths of N animals, each at about the rate of growth, give the logarithm a variance of 2 rate / N.
        kilos_n1 = np.array([[0.0 if one.basal else one.body_mass_kg] for one in species.values()])
        self.chance_n1 = 2 * growth_n1 * kilos_n1 / area_km2

    def _draw_normal(self, n_rows: int) -> np.ndarray:
        """Draw standard normal numbers [n_rows, m], the same for each level."""
        return np.tile(self.rng.standard_normal((n_rows, self.n_members)), len(self.levels))

    def get_state(self) -> np.ndarray:
        """Return the logarithms of biomass (kg/km²) of every node, then of the parameters' factors [n + p, m]."""
        return np.concatenate([self.log_nm, self.factor_pm])

    def list_state_species(self) -> tuple[str, ...]:
        """Return the species that each row of the state is about."""
        return self.names * 3

    def set_state(self, state: np.ndarray) -> None:
        """Set the state, as `get_state` returns it."""
        self.log_nm = np.maximum(state[: len(self.names)], self.floor)
        self.factor_pm = state[len(self.names) :].copy()

    def get_density(self) -> np.ndarray:
        """Return the present animals per km² [s, m]."""
        return np.exp(self.log_nm[self.rows_s]) / self.mass_s1

    def advance(self, hours: float) -> np.ndarray:
        """Advance all members; return the mean animals per km² over that time [s, m]."""
        self._use_parameters()
        years = hours / HOURS_A_YEAR
        steps = max(1, math.ceil(years / self.longest_y))
        step, total_sm = years / steps, 0.0
        for _ in range(steps):
            before_sm = self.get_density()
            biomass_nm = np.exp(self.log_nm)
            rate_nm = step * compute_per_capita_rates(self.rates, biomass_nm)
            spread_nm = np.sqrt(step * (self.variance_nm + self.chance_n1 / biomass_nm))
            rate_nm += spread_nm * self._draw_normal(len(rate_nm))
            # A rate that would empty or fill a node in one step is an artefact of the step.
            grown_nm = biomass_nm * np.exp(np.clip(rate_nm, -3, 3)) + step * self.rates.immigration_n1
            self.log_nm = np.maximum(np.log(np.maximum(grown_nm, 1e-300)), self.floor)
            total_sm = total_sm + (before_sm + self.get_density()) / 2
        return total_sm / steps

    def _use_parameters(self) -> None:
        n = len(self.names)
        turnover_nm, food_nm = np.exp(self.factor_pm[:n]), np.exp(self.factor_pm[n:])
        basal_n1 = self.basal_n[:, None]
        r, fixed = self.rates, self.fixed_n
        r.growth_n1 = fixed["growth_n1"] * np.where(basal_n1, turnover_nm, 1)
        r.capacity_n1 = fixed["capacity_n1"] * np.where(basal_n1, food_nm, 1)
        r.metabolism_n1 = fixed["metabolism_n1"] * np.where(basal_n1, 1, turnover_nm)
        r.mortality_n1 = fixed["mortality_n1"] * np.where(basal_n1, 1, turnover_nm)
        r.attack_l1 = fixed["attack_l1"] * food_nm[r.eater_l]


class WorldMembers:
    """Members that are worlds of single animals; a correction removes or introduces animals and scales plants.

    Parameters do not change. Each member costs as much as a run, so that this is for small worlds.
    """

    levels = (1.0,)
    "one level: the noise of worlds is the chance of their animals"

    def __init__(self, worlds: Sequence[World], spread: Spread, seed: int = 0):
        self.worlds, self.n_members, self.spread = list(worlds), len(worlds), spread
        first = self.worlds[0]
        self.animals = tuple(first.species)
        self.foods = tuple(str(name) for name in first.parameters.foods.names)
        self.names, self.parameters = (*self.animals, *self.foods), ()
        self.area_km2 = first.space.width_m * first.space.height_m / 1e6
        self.rng = np.random.Generator(np.random.Philox(seed))
        state = self.get_state()
        self.set_state(state + spread.start * self.rng.standard_normal(state.shape))

    def get_state(self) -> np.ndarray:
        """Return the logarithms of animals per km² (at least half an animal) and of each food's energy [s + l, m]."""
        counts_sm = np.array([world.counts() for world in self.worlds]).T
        food_lm = np.array([world.arrays["food"].sum((1, 2)) for world in self.worlds]).T
        return np.concatenate([np.log(np.maximum(counts_sm, 0.5) / self.area_km2), np.log(np.maximum(food_lm, 1e-9))])

    def list_state_species(self) -> tuple[str, ...]:
        """Return the species that each row of the state is about."""
        return self.names

    def set_state(self, state: np.ndarray) -> None:
        """Bring every world to these densities: randomly chosen animals are removed, or herds come from outside."""
        now = self.get_state()
        for member, world in enumerate(self.worlds):
            counts = world.counts()
            for row, name in enumerate(self.animals):
                wanted = math.exp(state[row, member]) * self.area_km2
                more = int(wanted + self.rng.random()) - int(counts[row]) if wanted >= 0.75 else -int(counts[row])
                if more > 0:
                    introduce(world, name, more)
                elif more < 0:
                    remove_animals(world, _choose_animals(world, row, -more))
            change_l = np.clip(state[len(self.animals) :, member] - now[len(self.animals) :, member], -3, 3)
            # In place, because layers of the landscape share this memory.
            world.arrays["food"] *= np.exp(change_l)[:, None, None]

    def get_density(self) -> np.ndarray:
        """Return the present animals per km² [s, m]."""
        return np.array([world.counts() for world in self.worlds]).T / self.area_km2

    def advance(self, hours: float) -> np.ndarray:
        """Advance all members; return the mean animals per km² over that time [s, m]."""
        mean_sm = np.zeros((len(self.animals), self.n_members))
        for member, world in enumerate(self.worlds):
            steps = max(1, round(hours / world.dt_h))
            counts = np.zeros(len(self.animals))

            def note(one: World, counts=counts) -> None:
                counts += one.counts()

            advance(world, steps, each=note)
            mean_sm[:, member] = counts / steps / self.area_km2
        return mean_sm


def _choose_animals(world: World, row: int, count: int) -> np.ndarray:
    """Choose animals of a species at random: slots [count]."""
    agents = world.agents
    slots = agents.slots()
    slots = slots[agents.species[slots] == row]
    order = np.argsort(uniforms(world.seed, world.step, INTERVENTION, agents.key[slots], row), kind="stable")
    return slots[order[:count]]
