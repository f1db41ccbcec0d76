"""A world from its data: settings, species and food web become the engine's arrays, rules and first animals."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path

from linnaea.twin.assembly.layers import make_layers
from linnaea.twin.assembly.rule_parameters import hash_parameters, make_parameters
from linnaea.twin.data.world_data import WorldData, compute_start_counts, select_animals, select_foods
from linnaea.twin.data.world_file import load_world
from linnaea.twin.data.world_settings import Ground
from linnaea.twin.engine.neighbours import Space
from linnaea.twin.engine.world import Rule, World
from linnaea.twin.rules.disease import CountContacts, ProgressDisease
from linnaea.twin.rules.energy_budget import accounts
from linnaea.twin.rules.fission_fusion import MergeHerds, SplitByFence, SplitHerd
from linnaea.twin.rules.foraging import Eat, Graze
from linnaea.twin.rules.goals import Census, ChooseGoals
from linnaea.twin.rules.groups import MoveTerritory, UpdateHerds
from linnaea.twin.rules.immigration import Immigrate, introduce
from linnaea.twin.rules.metabolism import Metabolise
from linnaea.twin.rules.mortality import BackgroundMortality
from linnaea.twin.rules.predation import DepositCarcass, ResolveKills, SearchPrey
from linnaea.twin.rules.ranging import Roam, Travel
from linnaea.twin.rules.reproduction import FeedYoung, GiveBirth, Mate
from linnaea.twin.rules.vegetation import BiomassPools, Burn, Decay, Grow
from linnaea.twin.rules.weather import Weather


def make_rules(data: WorldData, dt_h: float, digest: str) -> list[Rule]:
    """The rules of a bundled world, in the order of a step."""
    every = max(data.ground.every_h, dt_h)
    s = data.settings
    rules: list[Rule] = [
        Weather(landscape=data.landscape, every_h=every, tables=digest),
        Grow(every_h=every, season=data.landscape.season),
        Decay(every_h=every),
        BiomassPools(every_h=every),
        Burn(every_h=every, ignition_per_km2_y=s.fires_per_km2_y),
        UpdateHerds(),
        Census(every_h=every),
        ChooseGoals(hunger=s.hunger),
        Roam(),
        Graze(bout_h=every / 12, trait=s.trait),
        SearchPrey(hunger=s.hunger, care=s.care, switching=s.switching),
        CountContacts(radius_m=s.contact_m),
        Eat(),
        ResolveKills(hunger=s.hunger, meal=s.meal),
        Travel(),
        FeedYoung(every_h=every),
        Metabolise(),
        BackgroundMortality(every_h=every),
        Mate(every_h=every),
        ProgressDisease(),
        DepositCarcass(),
        GiveBirth(),
        Immigrate(every_h=10 * every),
        MoveTerritory(every_h=every),
        SplitHerd(every_h=every),
        SplitByFence(every_h=every),
        MergeHerds(every_h=every),
    ]
    return rules


# Least bytes of an animal, and of a cell of the layers for each species or food.
_ANIMAL_BYTES, _CELL_BYTES = 150, 40


def check_size(data: WorldData, area_share: float, hours: float, every_h: float) -> None:
    """Checks that a run fits into this machine. Raise ValueError if it plainly needs more memory."""
    space, side = data.ground, math.sqrt(area_share)
    area_km2 = space.width_km * space.height_km * area_share
    kinds = len(data.web.species)
    cells = area_km2 / min(data.landscape.cell_km, side * min(space.width_km, space.height_km)) ** 2
    needs = {
        "animals": (sum(compute_start_counts(data, area_share).values()), _ANIMAL_BYTES, "--area"),
        "cells of the landscape": (cells, _CELL_BYTES * kinds, "landscape.cell_km or --area"),
        "cells to look around in": (area_km2 * 1e6 / space.search_m**2, 16, "ground.search_m or --area"),
        "records": (hours / every_h, 200 * kinds, "--years or --every-days"),
    }
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return
    for what, (number, each, remedy) in needs.items():
        if number * each > memory:
            raise ValueError(
                f"{number:.3g} {what} need about {number * each / 1e9:,.0f} GB, this machine has {memory / 1e9:,.0f}; "
                f"change {remedy}"
            )


def _share_for(data: WorldData, n_animals: int) -> float:
    """The share of the world's area that holds about this many animals."""
    whole = sum(compute_start_counts(data).values())
    if n_animals < 1 or whole == 0:
        raise ValueError(
            f"n_animals: {n_animals} is an impossible number of animals for {data.name!r}; give at least 1"
        )
    return n_animals / whole


def _scale_ground(data: WorldData, area_share: float, dt_h: float | None) -> Ground:
    """The ground with another area and, where one is given, another step."""
    if not (math.isfinite(area_share) and area_share > 0):
        raise ValueError(f"area_share: {area_share} must be a share of the area above 0")
    side = math.sqrt(area_share)
    return dataclasses.replace(
        data.ground,
        width_km=data.ground.width_km * side,
        height_km=data.ground.height_km * side,
        dt_h=dt_h or data.ground.dt_h,
    )


def build_world(
    name: str | Path | WorldData,
    *,
    seed: int = 0,
    n_animals: int | None = None,
    area_share: float = 1.0,
    dt_h: float | None = None,
    strict: bool = False,
) -> World:
    """A world with its landscape and first animals, ready to step.

    `area_share` makes it larger or smaller at the same densities; `n_animals` chooses the share that gives about that
    many. Raise ValueError for an impossible size, and FileNotFoundError if there is no such world.
    """
    data = name if isinstance(name, WorldData) else load_world(name)
    if n_animals is not None:
        area_share = _share_for(data, n_animals)
    ground = _scale_ground(data, area_share, dt_h)
    counts = compute_start_counts(data, area_share)
    if not any(counts.values()) and any(compute_start_counts(data).values()):
        raise ValueError(f"an area of {area_share:g} of {data.name!r} holds not one animal; choose a larger one")
    space = Space(width_m=1000 * ground.width_km, height_m=1000 * ground.height_km, cell_m=ground.search_m)
    layers = make_layers(data.landscape, space, data.landscape.map_seed)
    cell_km2 = space.width_m * space.height_m / 1e6 / layers["elevation_m"].size
    parameters, stack = make_parameters(data, layers, cell_km2, ground.dt_h, counts)
    world = World(
        space=space,
        rules=make_rules(data, ground.dt_h, hash_parameters(parameters, stack)),
        seed=seed,
        dt_h=ground.dt_h,
        species=tuple(select_animals(data)),
        traits=tuple(t for trait in data.traits for t in (trait, f"{trait}_value")),
        capacity=max(64, int(1.2 * sum(counts.values()))),
        strict=strict,
        parameters=parameters,
        fields=layers | dict(zip(select_foods(data), stack.food, strict=True)),
        arrays={"food": stack.food, "capacity": stack.capacity},
    )
    for species, count in counts.items():
        introduce(world, species, count)
    # What was there at the start did not come in.
    accounts(world)[:] = 0
    world.add_tally("introduced", (len(world.species),))[:] = 0
    return world
