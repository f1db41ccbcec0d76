"""The members of an ensemble that observations correct: runs of the food web's stochastic map, or whole worlds of
animals.

Both offer the same: `get_state()` and `set_state(state)`, logarithms that a filter may move; `advance(hours)`, which gives the
mean density over that time; `get_density()` now. Members of the map differ in their start, in their parameters and in the
noise of every step; members that are worlds in their start and in every animal's luck.

Members of the map may come in several ensembles that differ in how large the noise is (`levels`): nobody knows that, and
the counts say which level forecasts them best. All levels draw the same random numbers.

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
"""a step of the map is at most so much of the time in which the fastest node turns over"""
NOISE_LEVELS = (0.5, 1.0, 2.0, 4.0)
"""multiples of the noise that assimilation weighs against each other: known within a factor of two where the map is right; the
last is for what it lacks, seasons of birth say"""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How little is known before the first count; standard deviations of logarithms."""

    start: float = 0.5
    "of each species' density at the beginning"
    parameter: float = 0.2
    "of each parameter around its value in the tables"
    noise: float = 0.4
    "of the change of a density by what the web does not hold (season, weather, disease), in the time 1 / growth_per_y"

    def __post_init__(self) -> None:
        for name in ("start", "parameter", "noise"):
            if not getattr(self, name) >= 0:
                raise ValueError(
                    f"spread: {name} {getattr(self, name)} is no standard deviation; give a number from 0 up"
                )


class DiscreteModelMembers:
    """Members that follow the map of the food web, B ← B exp(step · rate + noise), all at once."""

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
        """`start` are animals a km² at the beginning where they are not those of the species table.

        On a ground of `area_km2` the chance of single births and deaths is part of the noise. There are `n_members` of
        each of the `levels`, which are multiples of the spread's noise.
        """
        self.web, self.spread, self.n_members, self.levels = web, spread, n_members, tuple(levels)
        self.rng = np.random.Generator(np.random.Philox(seed))
        self.rates = Rates(build_balanced_model(web))
        self.names = tuple(self.rates.model.names)
        self.animals = tuple(name for name, one in web.species.items() if not one.basal)
        self.rows_s = np.array([self.names.index(name) for name in self.animals])
        self.mass_s1 = np.array([web.species[name].body_mass_kg for name in self.animals])[:, None]
        growth_n1 = np.array([[web.species[name].growth_per_y] for name in self.names])
        # What can grow fast is thrown about fast: in 1 / growth every species is moved by the same share.
        self.variance_nm = spread.noise**2 * growth_n1 * np.repeat(np.square(self.levels), n_members)
        # Births and deaths of N animals, each at about the rate of growth: variance 2 rate / N of the logarithm a year.
        kilos_n1 = np.array([[0.0 if one.basal else one.body_mass_kg] for one in web.species.values()])
        self.chance_n1 = 2 * growth_n1 * kilos_n1 / area_km2
        self.basal_n = np.array([web.species[name].basal for name in self.names])
        self.parameters = tuple(
            f"growth of {n}" if b else f"loss of {n}" for n, b in zip(self.names, self.basal_n, strict=True)
        )
        self.parameters += tuple(
            f"capacity of {n}" if b else f"feeding of {n}" for n, b in zip(self.names, self.basal_n, strict=True)
        )
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

    def _draw_normal(self, n_rows: int) -> np.ndarray:
        """Standard normal numbers [n_rows, m], the same for each level."""
        return np.tile(self.rng.standard_normal((n_rows, self.n_members)), len(self.levels))

    def get_state(self) -> np.ndarray:
        """Logarithms of biomass (kg/km²) of every node, then of the parameters' factors [n + p, m]."""
        return np.concatenate([self.log_nm, self.factor_pm])

    def list_state_species(self) -> tuple[str, ...]:
        """The species that each row of the state is about."""
        return self.names * 3

    def set_state(self, state: np.ndarray) -> None:
        """Takes a state back."""
        self.log_nm = np.maximum(state[: len(self.names)], self.floor)
        self.factor_pm = state[len(self.names) :].copy()

    def get_density(self) -> np.ndarray:
        """Animals a km² now [s, m]."""
        return np.exp(self.log_nm[self.rows_s]) / self.mass_s1

    def advance(self, hours: float) -> np.ndarray:
        """Goes on; mean animals a km² over that time [s, m]."""
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
            # A rate that would empty or fill a node at once is an artefact of the step.
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
    """Members that are worlds of single animals; a correction takes animals out or brings some in, and scales plants.

    Parameters stay as they are. For small worlds: each member costs what a run costs.
    """

    levels = (1.0,)
    "the worlds' chance is what it is"

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
        """Logarithms of animals a km² and of the energy in each food [s + l, m]; half an animal stands for none."""
        counts_sm = np.array([world.counts() for world in self.worlds]).T
        food_lm = np.array([world.arrays["food"].sum((1, 2)) for world in self.worlds]).T
        return np.concatenate([np.log(np.maximum(counts_sm, 0.5) / self.area_km2), np.log(np.maximum(food_lm, 1e-9))])

    def list_state_species(self) -> tuple[str, ...]:
        """The species that each row of the state is about."""
        return self.names

    def set_state(self, state: np.ndarray) -> None:
        """Brings every world to these densities: animals chosen by chance leave, or herds come from outside."""
        now = self.get_state()
        for member, world in enumerate(self.worlds):
            counts = world.counts()
            for row, name in enumerate(self.animals):
                wanted = math.exp(state[row, member]) * self.area_km2
                more = int(wanted + self.rng.random()) - int(counts[row]) if wanted >= 0.75 else -int(counts[row])
                if more > 0:
                    introduce(world, name, more)
                elif more < 0:
                    agents = world.agents
                    slots = agents.slots()
                    slots = slots[agents.species[slots] == row]
                    order = np.argsort(
                        uniforms(world.seed, world.step, INTERVENTION, agents.key[slots], row), kind="stable"
                    )
                    remove_animals(world, slots[order[:-more]])
            change_l = np.clip(state[len(self.animals) :, member] - now[len(self.animals) :, member], -3, 3)
            # In place: layers of the landscape look at the same memory.
            world.arrays["food"] *= np.exp(change_l)[:, None, None]

    def get_density(self) -> np.ndarray:
        """Animals a km² now [s, m]."""
        return np.array([world.counts() for world in self.worlds]).T / self.area_km2

    def advance(self, hours: float) -> np.ndarray:
        """Goes on; mean animals a km² over that time [s, m]."""
        mean_sm = np.zeros((len(self.animals), self.n_members))
        for member, world in enumerate(self.worlds):
            steps = max(1, round(hours / world.dt_h))
            counts = np.zeros(len(self.animals))

            def note(one: World, counts=counts) -> None:
                counts += one.counts()

            advance(world, steps, each=note)
            mean_sm[:, member] = counts / steps / self.area_km2
        return mean_sm
