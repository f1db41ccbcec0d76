"""What a scenario can do to a world, each kind a small class; its fields are the keys of the scenario file.

Interventions act at the phase `intervene`, before anything else in a step. Those that last change the landscape's hooks
(rain, growth, fire, water, fences, warmth) for as long as they last and give them back as they were; the others change
animals once. Who is struck is drawn by the animal's own key, so that all others go on as in the baseline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from linnaea.options import nearest
from linnaea.twin.data.bounds import bounded_field
from linnaea.twin.engine.agents import HOURS_A_YEAR, INFECTIOUS, SUSCEPTIBLE, VACCINATED
from linnaea.twin.engine.rng import INTERVENTION, uniforms
from linnaea.twin.engine.world import Rule, World
from linnaea.twin.rules.energy_budget import remove_animals
from linnaea.twin.scenarios.regions import AREAS, EVERYWHERE, Region

HOOKS = ("rain_factor", "growth_factor", "fire_factor", "water", "warming_c", "fences")
"layers and arrays of a landscape that interventions may change"

# So many animals may be brought into any world, and into one of more so many times its usual number.
MOST_INTRODUCED, MOST_TIMES_USUAL = 20_000, 20


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """A change from outside, from `start_h` on."""

    kind: ClassVar[str] = ""
    "its name in a scenario file"
    forms: ClassVar[tuple[str, ...]] = AREAS
    "forms of place that it can have"
    placed: ClassVar[bool] = False
    "whether a place must be given"
    lasts: ClassVar[bool] = True
    "whether it has an end"
    hooks: ClassVar[tuple[str, ...]] = ()
    "hooks of the landscape that it changes while it lasts"
    needs: ClassVar[tuple[str, ...]] = ()
    "arrays of a world without which it would do nothing"
    start_h: float
    "hour of the world's clock at which it begins"
    end_h: float = math.inf
    "hour at which it ends"
    place: Region = EVERYWHERE
    "where"

    def check(self, world: World, at: str) -> None:
        """Nothing; ValueError, beginning with `at`, for what this world does not have."""
        self.place.check(world.space, at)
        for name in (*self.hooks, *self.needs):
            if name not in world.fields and name not in world.arrays:
                raise ValueError(f"{at}: this world has no {name!r} to change; choose another world or kind")
        for name in getattr(self, "species", ()):
            find_species_row(world, name, at)

    def begin(self, world: World, index: int) -> None:
        """Called once, in the step in which it begins; `index` is its own number in the scenario."""

    def hold(self, world: World) -> None:
        """Called while it lasts, after all hooks were given back, to change them."""

    def during(self, world: World, index: int, elapsed_h: float) -> None:
        """Called once a day while it lasts, with the hours since the last time."""


def find_species_row(world: World, name: str, at: str) -> int:
    """The row of a species; ValueError with the nearest names."""
    if name in world.species:
        return world.species.index(name)
    otherwise = f"it has {', '.join(world.species)}, or their scientific names"
    raise ValueError(f"{at}: species {name!r} is not in this world{nearest(name, world.species, otherwise=otherwise)}")


def find_animals(world: World, species: tuple[str, ...], place: Region) -> np.ndarray:
    """Slots of the live animals of these species that stand in the place, in the order of their keys."""
    a = world.agents
    slots = a.slots()
    rows = [world.species.index(name) for name in species]
    slots = slots[np.isin(a.species[slots], rows)]
    slots = slots[place.contains(a.x[slots], a.y[slots])]
    return slots[np.argsort(a.key[slots], kind="stable")]


def draw_subset(world: World, slots: np.ndarray, share: float, index: int) -> np.ndarray:
    """Those of the slots whose own random number falls below the share."""
    return slots[uniforms(world.seed, world.step, INTERVENTION, world.agents.key[slots], index) < share]


@dataclass(frozen=True, kw_only=True)
class Remove(Intervention):
    """Takes animals away for good: all of a species, or a share of them, from a place or everywhere."""

    kind: ClassVar[str] = "remove"
    lasts: ClassVar[bool] = False
    species: tuple[str, ...]
    "species to take away"
    share: float = bounded_field(0, 1, default=1.0)
    "share of them that goes"
    newcomers: bool = False
    "whether, where all are taken, others may come from beyond the borders"

    def begin(self, world: World, index: int) -> None:
        remove_animals(world, draw_subset(world, find_animals(world, self.species, self.place), self.share, index))
        if self.share == 1 and self.place == EVERYWHERE and not self.newcomers and "arrivals_per_y" in world.arrays:
            for name in self.species:
                world.arrays["arrivals_per_y"][world.species.index(name)] = 0


@dataclass(frozen=True, kw_only=True)
class Introduce(Intervention):
    """Brings animals of all ages of a species that the world knows into a place, in herds of its usual size."""

    kind: ClassVar[str] = "introduce"
    lasts: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("food",)
    species: tuple[str, ...]
    "species to bring"
    count: int = bounded_field(1, 1e7)
    "animals of each"

    def check(self, world: World, at: str) -> None:
        super().check(world, at)
        for name in self.species:
            usual = float(world.parameters.life.usual_number[world.species.index(name)])
            most = max(MOST_INTRODUCED, MOST_TIMES_USUAL * usual)
            if self.count > most:
                raise ValueError(
                    f"{at}: count {self.count} of {name!r} is more than this ground can hold, where {usual:.0f} are "
                    f"usual; give at most {most:.0f}, or take more ground with --area"
                )

    def begin(self, world: World, index: int) -> None:
        # Imported here: it brings the rules of whole worlds along, which small ones do without.
        from linnaea.twin.rules.immigration import introduce

        for number, name in enumerate(self.species):
            size = max(1, round(float(world.parameters.groups.herd_size[world.species.index(name)])))
            x, y = self._points(world, math.ceil(self.count / size), index, number).T
            introduce(world, name, self.count, x=x, y=y, herd_size=size)

    def _points(self, world: World, count: int, index: int, number: int) -> np.ndarray:
        """Places [count, 2] in the area, metres, uniform, drawn until there are enough."""
        low_high = np.array(self.place.bounds(world.space)).reshape(2, 2)
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
    """A line that animals do not cross, or only some of them."""

    kind: ClassVar[str] = "fence"
    forms: ClassVar[tuple[str, ...]] = ("line",)
    placed: ClassVar[bool] = True
    hooks: ClassVar[tuple[str, ...]] = ("fences",)
    passes: float = bounded_field(0, 1, default=0.0)
    "share of the crossings that succeed"

    def hold(self, world: World) -> None:
        ends = self.place.points_m
        rows = [(*a, *b, self.passes) for a, b in pairwise(ends)]
        world.arrays["fences"] = np.concatenate([world.arrays["fences"], np.array(rows, np.float64)])


@dataclass(frozen=True, kw_only=True)
class Drought(Intervention):
    """Rain falls as a share of the usual; above 1 there is more of it."""

    kind: ClassVar[str] = "drought"
    hooks: ClassVar[tuple[str, ...]] = ("rain_factor",)
    rain: float = bounded_field(0, 10)
    "rain as a multiple of the usual"

    def hold(self, world: World) -> None:
        _multiply(world, "rain_factor", self.place, self.rain)


@dataclass(frozen=True, kw_only=True)
class Growth(Intervention):
    """Plants grow faster or slower: fertiliser, pests, trampling."""

    kind: ClassVar[str] = "growth"
    hooks: ClassVar[tuple[str, ...]] = ("growth_factor",)
    factor: float = bounded_field(0, 10)
    "growth as a multiple of the usual"

    def hold(self, world: World) -> None:
        _multiply(world, "growth_factor", self.place, self.factor)


@dataclass(frozen=True, kw_only=True)
class Fire(Intervention):
    """Another fire regime: fires start and spread more or less readily."""

    kind: ClassVar[str] = "fire"
    hooks: ClassVar[tuple[str, ...]] = ("fire_factor",)
    factor: float = bounded_field(0, 100)
    "readiness to burn as a multiple of the usual, 0 no fire"

    def hold(self, world: World) -> None:
        _multiply(world, "fire_factor", self.place, self.factor)


@dataclass(frozen=True, kw_only=True)
class Water(Intervention):
    """Water points that never dry up are opened, or closed."""

    kind: ClassVar[str] = "water"
    forms: ClassVar[tuple[str, ...]] = ("points", *AREAS)
    placed: ClassVar[bool] = True
    hooks: ClassVar[tuple[str, ...]] = ("water",)
    filled: bool = True
    "false to close what is there"

    def hold(self, world: World) -> None:
        layer = world.fields["water"]
        layer[self.place.mask(world.space, layer.shape)] = 1.0 if self.filled else 0.0


@dataclass(frozen=True, kw_only=True)
class Warming(Intervention):
    """It is warmer everywhere, at once or rising evenly over some years: plants need more rain, insects and cold-blooded
    animals eat and respire faster; warm-blooded animals feel it through their food alone.
    """

    kind: ClassVar[str] = "warming"
    forms: ClassVar[tuple[str, ...]] = ()
    hooks: ClassVar[tuple[str, ...]] = ("warming_c",)
    celsius: float = bounded_field(-20, 20)
    "degrees above the usual once it is reached"
    over_years: float = bounded_field(0, 1000, default=0.0)
    "years in which it rises"

    def hold(self, world: World) -> None:
        passed = world.now_h - self.start_h
        rise_h = self.over_years * HOURS_A_YEAR
        world.arrays["warming_c"] += self.celsius * (min(1.0, passed / rise_h) if rise_h else 1.0)


@dataclass(frozen=True, kw_only=True)
class Poaching(Intervention):
    """People kill animals of some species and carry the bodies away."""

    kind: ClassVar[str] = "poaching"
    species: tuple[str, ...]
    "species that are killed"
    share_per_year: float = bounded_field(0, 0.999)
    "share of them killed in a year"

    def during(self, world: World, index: int, elapsed_h: float) -> None:
        chance = -math.expm1(math.log1p(-self.share_per_year) * elapsed_h / HOURS_A_YEAR)
        remove_animals(
            world, draw_subset(world, find_animals(world, self.species, self.place), chance, index), "poaching"
        )


@dataclass(frozen=True, kw_only=True)
class Disease(Intervention):
    """A contagious disease breaks out; a world has one at a time. A later one with other hosts or values replaces it, carriers
    and immunity included; with the same it comes back, and the immune stay immune.
    """

    kind: ClassVar[str] = "disease"
    lasts: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("disease", "hosts")
    species: tuple[str, ...]
    "species that can fall ill"
    infections_per_day: float = bounded_field(0, 1e4)
    "infections a day that an ill animal causes in each susceptible one within the world's distance of contact"
    illness_days: float = bounded_field(0.01, 1e4)
    "mean length of the illness"
    lethality: float = bounded_field(0, 1)
    "share of illnesses that end in death"
    immunity_years: float = bounded_field(0.01, 1000, default=1000.0)
    "mean length of immunity after it"
    share: float = bounded_field(0, 1, default=0.01)
    "share of those in the place that are ill at once"

    def begin(self, world: World, index: int) -> None:
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
    """Animals are made immune, once or in campaigns: to the disease that is there, or to the first one to break out."""

    kind: ClassVar[str] = "vaccination"
    species: tuple[str, ...]
    "species to vaccinate"
    share: float = bounded_field(0, 1)
    "share of the susceptible that each campaign reaches"
    every_years: float = bounded_field(0, 1000, default=0.0)
    "years from campaign to campaign, 0 for a single one"

    def begin(self, world: World, index: int) -> None:
        slots = draw_subset(world, find_animals(world, self.species, self.place), self.share, index)
        health = world.agents.health
        health[slots[health[slots] == SUSCEPTIBLE]] = VACCINATED

    def during(self, world: World, index: int, elapsed_h: float) -> None:
        period_h, passed_h = self.every_years * HOURS_A_YEAR, world.now_h - self.start_h
        if period_h and passed_h // period_h > max(passed_h - elapsed_h, 0.0) // period_h:
            self.begin(world, index)


KINDS = {
    one.kind: one
    for one in (Remove, Introduce, Fence, Drought, Poaching, Disease, Vaccination, Water, Fire, Warming, Growth)
}


def _multiply(world: World, name: str, place: Region, factor: float) -> None:
    layer = world.fields[name]
    layer[place.mask(world.space, layer.shape)] *= factor


def find_first_step(hour: float, dt_h: float) -> float:
    """The first step that begins at or after this hour (inf stays inf)."""
    return hour if math.isinf(hour) else math.ceil(hour / dt_h - 1e-9)


def _find_store(world: World, name: str) -> dict[str, np.ndarray]:
    return world.fields if name in world.fields else world.arrays


@dataclass(frozen=True, kw_only=True)
class Intervene(Rule):
    """The interventions of a scenario, each in its time and place, in the order of the file."""

    phase: ClassVar[str] = "intervene"
    interventions: tuple[Intervention, ...]
    "what happens"
    day_h: float = 24.0
    "hours between two rounds of what changes slowly or goes on: warming, poaching, campaigns"

    def _hooks(self) -> list[str]:
        return [name for name in HOOKS if any(name in one.hooks for one in self.interventions)]

    def prepare(self, world: World) -> None:
        # Kept with the world's state, so that a continued run can give the hooks back, too.
        for name in self._hooks():
            world.add_array(f"before_{name}", _find_store(world, name)[name].copy())

    def apply(self, world: World) -> None:
        now = world.step
        spans = [
            (find_first_step(one.start_h, world.dt_h), find_first_step(one.end_h, world.dt_h))
            for one in self.interventions
        ]
        every = max(1, round(self.day_h / world.dt_h))
        daily = now % every == 0
        if daily or any(now in span for span in spans):
            for name in self._hooks():
                store = _find_store(world, name)
                store[name] = self._given_back(store[name], world.arrays[f"before_{name}"])
            for one, (start, end) in zip(self.interventions, spans, strict=True):
                if start <= now < end:
                    one.hold(world)
        for index, (one, (start, end)) in enumerate(zip(self.interventions, spans, strict=True)):
            if now == start:
                one.begin(world, index)
            if daily and start <= now < end:
                one.during(world, index, every * world.dt_h)

    @staticmethod
    def _given_back(layer: np.ndarray, before: np.ndarray) -> np.ndarray:
        """The hook as it was, in place where the shapes allow it: a rule may hold on to the array."""
        if layer.shape != before.shape:
            return before.copy()
        layer[...] = before
        return layer
