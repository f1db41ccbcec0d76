"""The kinds of interventions of a scenario, each a class whose fields are keys of the scenario file.

Interventions act in the phase `intervene`, before anything else in a step. Those that last change the hooks of the
landscape (rain, growth, fire, water, fences, warming) while they last; afterwards the hooks have their former values.
The others change animals once. Which animals are affected is drawn by their own keys, so that all other animals are as
in the baseline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from linnaea.twin.data.bounds import bounded_field
from linnaea.twin.engine.agents import HOURS_A_YEAR, INFECTIOUS, SUSCEPTIBLE, VACCINATED
from linnaea.twin.engine.rng import INTERVENTION, uniforms
from linnaea.twin.engine.world import Rule, World
from linnaea.twin.rules.energy_budget import remove_animals
from linnaea.twin.scenarios.intervention import Intervention, draw_subset, find_animals
from linnaea.twin.scenarios.regions import AREAS, EVERYWHERE, Region

HOOKS = ("rain_factor", "growth_factor", "fire_factor", "water", "warming_c", "fences")
"layers and arrays of the landscape that interventions may change"

# Animals that may be introduced into any world, and the multiple of the usual number that may be introduced if it is
# more.
MOST_INTRODUCED, MOST_TIMES_USUAL = 20_000, 20


@dataclass(frozen=True, kw_only=True)
class Remove(Intervention):
    """Removes animals: all of a species or a share of them, from a region or everywhere."""

    kind: ClassVar[str] = "remove"
    lasts: ClassVar[bool] = False
    species: tuple[str, ...]
    "species to remove"
    share: float = bounded_field(0, 1, default=1.0)
    "share of the animals that is removed"
    newcomers: bool = False
    "whether others may immigrate after all were removed everywhere"

    def begin(self, world: World, index: int) -> None:
        """Remove the animals, and end immigration if all are removed."""
        remove_animals(world, draw_subset(world, find_animals(world, self.species, self.place), self.share, index))
        if self.share == 1 and self.place == EVERYWHERE and not self.newcomers and "arrivals_per_y" in world.arrays:
            for name in self.species:
                world.arrays.arrivals_per_y[world.species.index(name)] = 0


@dataclass(frozen=True, kw_only=True)
class Introduce(Intervention):
    """Introduces animals of all ages of a species of the world into a region, in herds of the usual size."""

    kind: ClassVar[str] = "introduce"
    lasts: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("food",)
    species: tuple[str, ...]
    "species to introduce"
    count: int = bounded_field(1, 1e7)
    "animals of each species"

    def check(self, world: World, at: str) -> None:
        """Raise ValueError for what this world does not have and for more animals than it can hold."""
        super().check(world, at)
        for name in self.species:
            usual = float(world.parameters.life.usual_number[world.species.index(name)])
            most = max(MOST_INTRODUCED, MOST_TIMES_USUAL * usual)
            if self.count > most:
                raise ValueError(
                    f"{at}: count {self.count} of {name!r} is more than this area can hold, where {usual:.0f} are "
                    f"usual; give at most {most:.0f}, or take a larger area with --area"
                )

    def begin(self, world: World, index: int) -> None:
        """Add the animals in herds at random places of the region."""
        # Imported here: it imports the rules of whole worlds, which small worlds do not need.
        from linnaea.twin.rules.immigration import introduce

        for number, name in enumerate(self.species):
            size = max(1, round(float(world.parameters.groups.herd_size[world.species.index(name)])))
            x, y = self._draw_points(world, math.ceil(self.count / size), index, number).T
            introduce(world, name, self.count, x=x, y=y, herd_size=size)

    def _draw_points(self, world: World, count: int, index: int, number: int) -> np.ndarray:
        """Return uniform random points [count, 2] of the region, metres; points outside it are drawn again."""
        low_high = np.array(self.place.find_bounds(world.space)).reshape(2, 2)
        keys = np.arange(count, dtype=np.uint64) + np.uint64(number << 32)
        points, todo = np.tile(low_high.mean(0), (count, 1)), np.arange(count)
        for trial in range(256):
            draw = (index % 64) * 512 + 2 * trial
            for axis in (0, 1):
                u = uniforms(world.seed, world.step, INTERVENTION, keys[todo], draw + axis)
                points[todo, axis] = low_high[0, axis] + np.ptp(low_high[:, axis]) * u
            todo = todo[~self.place.contains(*points[todo].T)]
            if not len(todo):
                break
        return points


@dataclass(frozen=True, kw_only=True)
class Fence(Intervention):
    """Puts up a fence: animals do not cross the line, or only some of them do."""

    kind: ClassVar[str] = "fence"
    forms: ClassVar[tuple[str, ...]] = ("line",)
    placed: ClassVar[bool] = True
    hooks: ClassVar[tuple[str, ...]] = ("fences",)
    passes: float = bounded_field(0, 1, default=0.0)
    "share of the crossings that succeed"

    def change_hooks(self, world: World) -> None:
        """Add the fence."""
        ends = self.place.points_m
        rows = [(*a, *b, self.passes) for a, b in pairwise(ends)]
        world.arrays["fences"] = np.concatenate([world.arrays["fences"], np.array(rows, np.float64)])


@dataclass(frozen=True, kw_only=True)
class Drought(Intervention):
    """Multiplies the rain; above 1 there is more rain than usual."""

    kind: ClassVar[str] = "drought"
    hooks: ClassVar[tuple[str, ...]] = ("rain_factor",)
    rain: float = bounded_field(0, 10)
    "rain as a multiple of the usual"

    def change_hooks(self, world: World) -> None:
        """Multiply the rain."""
        _multiply(world, "rain_factor", self.place, self.rain)


@dataclass(frozen=True, kw_only=True)
class Growth(Intervention):
    """Makes plants grow faster or slower: fertiliser, pests, trampling."""

    kind: ClassVar[str] = "growth"
    hooks: ClassVar[tuple[str, ...]] = ("growth_factor",)
    factor: float = bounded_field(0, 10)
    "growth as a multiple of the usual"

    def change_hooks(self, world: World) -> None:
        """Multiply the growth."""
        _multiply(world, "growth_factor", self.place, self.factor)


@dataclass(frozen=True, kw_only=True)
class Fire(Intervention):
    """Changes the fire regime: fires start and spread more or less readily."""

    kind: ClassVar[str] = "fire"
    hooks: ClassVar[tuple[str, ...]] = ("fire_factor",)
    factor: float = bounded_field(0, 100)
    "readiness to burn as a multiple of the usual, 0 for no fire"

    def change_hooks(self, world: World) -> None:
        """Multiply the readiness to burn."""
        _multiply(world, "fire_factor", self.place, self.factor)


@dataclass(frozen=True, kw_only=True)
class Water(Intervention):
    """Opens water points that never dry up, or closes water."""

    kind: ClassVar[str] = "water"
    forms: ClassVar[tuple[str, ...]] = ("points", *AREAS)
    placed: ClassVar[bool] = True
    hooks: ClassVar[tuple[str, ...]] = ("water",)
    filled: bool = True
    "false to close the water that is there"

    def change_hooks(self, world: World) -> None:
        """Set the water of the region."""
        layer = world.fields["water"]
        layer[self.place.make_mask(world.space, layer.shape)] = 1.0 if self.filled else 0.0


@dataclass(frozen=True, kw_only=True)
class Warming(Intervention):
    """Raises the temperature everywhere, at once or linearly over some years.

    Plants need more rain, insects and cold-blooded animals eat and respire faster; warm-blooded animals are affected
    only through their food.
    """

    kind: ClassVar[str] = "warming"
    forms: ClassVar[tuple[str, ...]] = ()
    hooks: ClassVar[tuple[str, ...]] = ("warming_c",)
    celsius: float = bounded_field(-20, 20)
    "degrees Celsius above the usual at the end of the rise"
    over_years: float = bounded_field(0, 1000, default=0.0)
    "years over which the temperature rises"

    def change_hooks(self, world: World) -> None:
        """Add the warming."""
        passed = world.now_h - self.start_h
        rise_h = self.over_years * HOURS_A_YEAR
        world.arrays["warming_c"] += self.celsius * (min(1.0, passed / rise_h) if rise_h else 1.0)


@dataclass(frozen=True, kw_only=True)
class Poaching(Intervention):
    """Lets people kill animals of some species and carry the bodies away."""

    kind: ClassVar[str] = "poaching"
    species: tuple[str, ...]
    "species that are poached"
    share_per_year: float = bounded_field(0, 0.999)
    "share of the animals killed in a year"

    def act_daily(self, world: World, index: int, elapsed_h: float) -> None:
        """Remove the animals killed in this time."""
        chance = -math.expm1(math.log1p(-self.share_per_year) * elapsed_h / HOURS_A_YEAR)
        remove_animals(
            world, draw_subset(world, find_animals(world, self.species, self.place), chance, index), "poaching"
        )


@dataclass(frozen=True, kw_only=True)
class Disease(Intervention):
    """Starts an outbreak of a contagious disease; a world has one disease at a time.

    A later disease with other hosts or values replaces it with its carriers and immunity. A later outbreak with the
    same hosts and values is the same disease: immune animals stay immune.
    """

    kind: ClassVar[str] = "disease"
    lasts: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("disease", "hosts")
    species: tuple[str, ...]
    "species that can fall ill"
    infections_per_day: float = bounded_field(0, 1e4)
    "infections a day that an ill animal causes in each susceptible animal within the world's contact distance"
    illness_days: float = bounded_field(0.01, 1e4)
    "mean length of the illness"
    lethality: float = bounded_field(0, 1)
    "share of illnesses that end in death"
    immunity_years: float = bounded_field(0.01, 1000, default=1000.0)
    "mean length of immunity after the illness"
    share: float = bounded_field(0, 1, default=0.01)
    "share of the animals in the region that are ill at first"

    def begin(self, world: World, index: int) -> None:
        """Set the disease and infect the first animals."""
        from linnaea.twin.rules.disease import set_disease

        set_disease(
            world,
            dict.fromkeys(self.species, 1.0),
            infection_per_h=self.infections_per_day / 24,
            illness_d=self.illness_days,
            lethality=self.lethality,
            immunity_y=self.immunity_years,
        )
        slots = draw_subset(world, find_animals(world, self.species, self.place), self.share, index)
        health = world.agents.health
        health[slots[health[slots] == SUSCEPTIBLE]] = INFECTIOUS


@dataclass(frozen=True, kw_only=True)
class Vaccination(Intervention):
    """Makes animals immune, once or in campaigns, to the present disease or to the first one that breaks out."""

    kind: ClassVar[str] = "vaccination"
    species: tuple[str, ...]
    "species to vaccinate"
    share: float = bounded_field(0, 1)
    "share of the susceptible animals that each campaign reaches"
    every_years: float = bounded_field(0, 1000, default=0.0)
    "years between campaigns, 0 for a single campaign"

    def begin(self, world: World, index: int) -> None:
        """Vaccinate."""
        slots = draw_subset(world, find_animals(world, self.species, self.place), self.share, index)
        health = world.agents.health
        health[slots[health[slots] == SUSCEPTIBLE]] = VACCINATED

    def act_daily(self, world: World, index: int, elapsed_h: float) -> None:
        """Start a campaign when it is due."""
        period_h, passed_h = self.every_years * HOURS_A_YEAR, world.now_h - self.start_h
        if period_h and passed_h // period_h > max(passed_h - elapsed_h, 0.0) // period_h:
            self.begin(world, index)


KINDS = {
    one.kind: one
    for one in (Remove, Introduce, Fence, Drought, Poaching, Disease, Vaccination, Water, Fire, Warming, Growth)
}


def _multiply(world: World, name: str, region: Region, factor: float) -> None:
    layer = world.fields[name]
    layer[region.make_mask(world.space, layer.shape)] *= factor


def find_first_step(hour: float, dt_h: float) -> float:
    """Return the first step that begins at or after this hour, inf for inf."""
    return hour if math.isinf(hour) else math.ceil(hour / dt_h - 1e-9)


def _find_store(world: World, name: str) -> dict[str, np.ndarray]:
    return world.fields if name in world.fields else world.arrays


@dataclass(frozen=True, kw_only=True)
class Intervene(Rule):
    """The interventions of a scenario, each in its time and region, in the order of the file."""

    phase: ClassVar[str] = "intervene"
    interventions: tuple[Intervention, ...]
    "what happens"
    day_h: float = 24.0
    "hours between two updates of slow or continuous interventions: warming, poaching, campaigns"

    def _list_hooks(self) -> list[str]:
        return [name for name in HOOKS if any(name in one.hooks for one in self.interventions)]

    def prepare(self, world: World) -> None:
        """Keep the hooks as they are without interventions."""
        # Kept with the world's state, so that a continued run can restore the hooks, too.
        for name in self._list_hooks():
            world.add_array(f"before_{name}", _find_store(world, name)[name].copy())

    def apply(self, world: World) -> None:
        """Restore and change the hooks, and let interventions begin and act."""
        now = world.step
        spans = [
            (find_first_step(one.start_h, world.dt_h), find_first_step(one.end_h, world.dt_h))
            for one in self.interventions
        ]
        every = max(1, round(self.day_h / world.dt_h))
        daily = now % every == 0
        if daily or any(now in span for span in spans):
            self._update_hooks(
                world, [one for one, (a, b) in zip(self.interventions, spans, strict=True) if a <= now < b]
            )
        for index, (one, (start, end)) in enumerate(zip(self.interventions, spans, strict=True)):
            if now == start:
                one.begin(world, index)
            if daily and start <= now < end:
                one.act_daily(world, index, every * world.dt_h)

    def _update_hooks(self, world: World, lasting: list[Intervention]) -> None:
        """Restore the hooks, then apply the changes of the interventions that last."""
        for name in self._list_hooks():
            store = _find_store(world, name)
            store[name] = self._restore(store[name], world.arrays[f"before_{name}"])
        for one in lasting:
            one.change_hooks(world)

    @staticmethod
    def _restore(layer: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Return the hook with its former values, in place if the shapes allow it: a rule may keep the array."""
        if layer.shape != before.shape:
            return before.copy()
        layer[...] = before
        return layer
