"""Interventions that cannot change a world, and why.

The command reports them before a run, so that two identical runs are not mistaken for a result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from linnaea.twin.engine.world import World
from linnaea.twin.rules.vegetation import POOL, SEED, Burn
from linnaea.twin.rules.weather import Weather
from linnaea.twin.scenarios.intervention import Intervention
from linnaea.twin.scenarios.interventions import (
    Disease,
    Drought,
    Fence,
    Fire,
    Growth,
    Intervene,
    Introduce,
    Poaching,
    Remove,
    Vaccination,
    Warming,
    Water,
    find_first_step,
)
from linnaea.twin.scenarios.regions import EVERYWHERE


def interventions_without_effect(world: World, hours: float) -> list[str]:
    """Return a line for each intervention that can change nothing in a run of `hours` hours, before the first step.

    What is found is certain. An intervention that could act, and by chance does not, is not among them.
    """
    found = []
    for rule in world.rules:
        all_of = rule.interventions if isinstance(rule, Intervene) else ()
        for number, one in enumerate(all_of, 1):
            what = "cannot change how many animals and plants there are"
            why = _explain_time(one, world, hours) or _REASONS.get(type(one), _explain_nothing)(one, world, all_of)
            if not why and (missing := _find_missing(one, world, all_of)):
                why = f"there are no {' and no '.join(missing)} then, and none can come"
                if len(missing) < len(one.species):
                    what = "changes nothing for some of its species"
            if why:
                found.append(f"intervention {number} ({one.kind}) {what}: {why}")
    return found


def _explain_nothing(one: Intervention, world: World, all_of: Sequence[Intervention]) -> str:
    """Return ""; for kinds without a check of their own."""
    return ""


def _explain_time(one: Intervention, world: World, hours: float) -> str:
    """Return why no step begins within its time, "" if one does."""
    first = find_first_step(one.start_h, world.dt_h)
    last = min(find_first_step(one.end_h, world.dt_h), round(hours / world.dt_h))
    if isinstance(one, Poaching):
        # Poaching acts once a day.
        day = max(1, round(Intervene(interventions=()).day_h / world.dt_h))
        first = math.ceil(first / day) * day
    if first < last:
        return ""
    return (
        f"no step of {world.dt_h:g} h in which it could act begins within its time; give it more time, or take shorter "
        "steps with --step-h"
    )


def _find_missing(one: Intervention, world: World, all_of: Sequence[Intervention]) -> list[str]:
    """Return those of its species that are absent during its time."""
    if isinstance(one, Introduce):
        return []
    return [name for name in getattr(one, "species", ()) if not _may_be_there(name, one, world, all_of)]


def _may_be_there(name: str, one: Intervention, world: World, all_of: Sequence[Intervention]) -> bool:
    """Return whether animals of a species may be present during an intervention, by the interventions before it."""
    row = world.species.index(name)
    there = world.counts()[row] > 0
    coming = "arrivals_per_y" in world.arrays and world.arrays.arrivals_per_y[row] > 0
    for other in sorted(all_of, key=lambda other: other.start_h):
        if other is one:
            return bool(there or coming or (one.lasts and _are_introduced_during(name, one, all_of)))
        if name not in getattr(other, "species", ()):
            continue
        if isinstance(other, Introduce):
            there = True
        if isinstance(other, Remove) and other.share == 1 and other.place == EVERYWHERE:
            there, coming = False, coming and other.newcomers
    return True


def _are_introduced_during(name: str, one: Intervention, all_of: Sequence[Intervention]) -> bool:
    """Return whether animals of a species are introduced while an intervention lasts."""
    return any(
        isinstance(other, Introduce) and name in other.species and one.start_h <= other.start_h < one.end_h
        for other in all_of
    )


def _explain_fire(one: Fire, world: World, all_of: Sequence[Intervention]) -> str:
    if not any(rule.ignition_per_km2_y > 0 for rule in world.rules if isinstance(rule, Burn)):
        return "no fire starts in this world; settings.fires_per_km2_y is 0"
    if not world.parameters.foods.is_fuel.any():
        return "no plant of this world carries a fire"
    return "its factor is 1, as usual" if one.factor == 1 else ""


def _explain_water(one: Water, world: World, all_of: Sequence[Intervention]) -> str:
    if not (world.parameters.bodies.drink_every_h > 0).any():
        return "no animal of this world needs to drink; drink_every_h is 0 for all"
    now = world.fields["water"][one.place.make_mask(world.space, world.fields["water"].shape)] > 0
    if (now == one.filled).all():
        return "there is already water all over its region" if one.filled else "there is no water in its region"
    return ""


def _explain_drought(one: Drought, world: World, all_of: Sequence[Intervention]) -> str:
    if not any(max(rule.landscape.rain_mm) > 0 for rule in world.rules if isinstance(rule, Weather)):
        return "no rain falls in this world; landscape.rain_mm is 0 in all months"
    return "its rain is 1, as usual" if one.rain == 1 else ""


def _explain_growth(one: Growth, world: World, all_of: Sequence[Intervention]) -> str:
    p = world.parameters
    if not ((p.foods.kind <= SEED) & (p.foods.growth_h > 0)).any():
        return "no plant grows in this world"
    return "its factor is 1, as usual" if one.factor == 1 else ""


def _explain_warming(one: Warming, world: World, all_of: Sequence[Intervention]) -> str:
    p = world.parameters
    thirsty = (p.foods.kind <= SEED) & (p.foods.moist_half_mm > 0)
    if not (thirsty.any() or (p.foods.kind == POOL).any() or np.any(p.bodies.cold_blooded)):
        return "this world has no plants that need rain, no insects kept as pools and no cold-blooded animals"
    return "its celsius is 0" if one.celsius == 0 else ""


def _explain_fence(one: Fence, world: World, all_of: Sequence[Intervention]) -> str:
    return "all crossings succeed; its passes is 1" if one.passes == 1 else ""


def _explain_share(one: Remove | Vaccination, world: World, all_of: Sequence[Intervention]) -> str:
    return "its share is 0" if one.share == 0 else ""


def _explain_poaching(one: Poaching, world: World, all_of: Sequence[Intervention]) -> str:
    return "its share_per_year is 0" if one.share_per_year == 0 else ""


def _explain_disease(one: Disease, world: World, all_of: Sequence[Intervention]) -> str:
    if one.lethality == 0:
        return "its lethality is 0 and ill animals live like healthy ones; only health.csv shows it"
    others = [other for other in all_of if isinstance(other, Disease) and other is not one and other.share > 0]
    return "its share is 0, so that no animal is ill at first" if one.share == 0 and not others else ""


def _explain_vaccination(one: Vaccination, world: World, all_of: Sequence[Intervention]) -> str:
    deadly = {name for other in all_of if isinstance(other, Disease) and other.lethality > 0 for name in other.species}
    if not deadly.intersection(one.species):
        return f"no disease of this scenario kills {' or '.join(one.species)}, and the world has no disease of its own"
    return _explain_share(one, world, all_of)


_REASONS: dict[type[Intervention], Callable[..., str]] = {
    Disease: _explain_disease,
    Drought: _explain_drought,
    Fence: _explain_fence,
    Fire: _explain_fire,
    Growth: _explain_growth,
    Poaching: _explain_poaching,
    Remove: _explain_share,
    Vaccination: _explain_vaccination,
    Warming: _explain_warming,
    Water: _explain_water,
}
