"""Rules of whole worlds against their plain doubles: every column, layer and tally after each of two hours."""

import dataclasses

import numpy as np
import pytest

from linnaea.twin.assembly.world_builder import build_world
from linnaea.twin.engine.step import step
from linnaea.twin.engine.world import CAUSE, Rule, World
from linnaea.twin.rules.foraging import Eat, Graze
from linnaea.twin.rules.immigration import introduce
from linnaea.twin.rules.metabolism import Metabolise
from linnaea.twin.rules.predation import ResolveKills, SearchPrey
from made_worlds import changed
from twin_oracles import ORACLES, judged

# Some dozens of animals each: rabbits and foxes; prides, herds that drink and watch; cold-blooded animals, whose young
# hunt; beaks.
WORLDS = {
    "tutorial": {"area_share": 0.02, "cell_km": 0.1, "brought": {"red fox": 12}},
    "savanna": {"area_share": 0.001, "cell_km": 0.5, "brought": {"lion": 8, "spotted hyaena": 3}},
    "post": {"area_share": 0.1, "cell_km": 1e-4, "brought": {"zebra jumping spider": 12}},
    "galapagos": {"area_share": 0.1, "cell_km": 0.05, "brought": {}},
}


def tiny(
    name: str, *, area_share: float, cell_km: float, brought: dict[str, int], catch_margin: float = 1e5, luck: int = 2
) -> World:
    """Animals of all ages and states of nutrition on several cells, with much food in some and little in others."""
    data = changed(name, settings={"catch_margin": catch_margin})
    data = dataclasses.replace(data, landscape=dataclasses.replace(data.landscape, cell_km=cell_km))
    world = build_world(data, area_share=area_share, seed=5, dt_h=1.0)
    for species, count in brought.items():
        introduce(world, species, count)
    a, p, rng = world.agents, world.parameters, np.random.default_rng(luck)
    slots = a.slots()
    kinds = a.species[slots]
    a.mass[slots] = p.bodies.adult_kg[kinds] * rng.choice([0.05, 0.3, 0.7, 1.0], len(slots))
    a.energy[slots] = (
        p.bodies.store_kj_kg[kinds] * a.mass[slots] * rng.choice([1e-5, 0.05, 0.2, 0.31, 0.5, 1.0], len(slots))
    )
    a.born_h[slots] = -rng.uniform(0, 1, len(slots)) * p.life.life_h[kinds]
    # Only some of a group are near enough to come to a kill.
    groups, range_m = p.groups, p.movement.range_m
    range_m[:] = np.minimum(range_m, 0.4 * groups.herd_spacing_m * np.sqrt(groups.herd_size))
    # The two hours are those of dawn, in which all are up.
    p.movement.activity_by_hour[:] = np.roll(p.movement.activity_by_hour, -5, axis=1)
    # In most of the cells there is no more than one of the smallest eats in two hours where there is plenty.
    bite = 2 * (p.bodies.most_kj_h * p.bodies.adult_kg**0.75)[p.diet.n_foods > 0].min()
    p.diet.half_kj[:] = bite / 4
    food, scarce = world.arrays.food, rng.random(world.arrays.food.shape) < 0.8
    food[scarce] = world.arrays.capacity[scarce] = bite
    return world


@pytest.mark.parametrize("name", WORLDS)
def test_two_hours_are_those_of_the_plain_doubles(name):
    seen = {"short": 0, "contested": 0, "fed": 0, "starved": 0}

    def eat(rule, w):
        asked = w.a.demand.copy()
        ORACLES[Eat](rule, w)
        seen["short"] += np.count_nonzero((w.a.won > 0) & (w.a.won < 0.99 * asked))

    def seize(rule, w):
        before, claims = w.a.energy.copy(), w.a.target[w.a.target >= 0]
        seen["contested"] += len(claims) - len(np.unique(claims))
        ORACLES[ResolveKills](rule, w)
        seen["fed"] += np.count_nonzero(w.a.energy > before)

    acted = set()
    for luck in range(6):
        world = tiny(name, **WORLDS[name], luck=luck)
        assert 24 <= len(world.agents) < 200
        assert world.fields.elevation_m.size > 1
        steps = judged(world, ORACLES | {Eat: eat, ResolveKills: seize})
        step(world)
        step(world)
        acted |= {rule for rule, n in steps.items() if n}
        seen["starved"] += world.tallies.died[:, CAUSE["starvation"]].sum()
    # The doubles were asked, and had something to say.
    hunted = name != "galapagos"
    assert acted == {Graze, Eat, Metabolise} | ({SearchPrey, ResolveKills} if hunted else set())
    assert seen["short"] > 0
    assert seen["starved"] > 0
    assert not hunted or (seen["contested"] > 0 and seen["fed"] > 1)


@pytest.mark.parametrize("name", ["tutorial", "savanna", "post"])
def test_hunters_choose_as_the_plain_double_in_many_draws(name):
    """Hunts that succeed or fail about equally often, so that a small change of their rate shows."""
    world = tiny(name, **WORLDS[name], catch_margin=500.0)
    step(world)
    world.cells.build(world.agents)
    a, p = world.agents, world.parameters
    hunters = a.slots()[p.hunting.hunts[a.species[a.slots()]]]
    a.energy[hunters] = 0.05 * p.bodies.store_kj_kg[a.species[hunters]] * a.mass[hunters]
    judged(world, {SearchPrey: ORACLES[SearchPrey]})
    seek = next(rule for rule in world.by_phase["decide"] if not isinstance(rule, Rule))
    tried = []
    for day in range(1, 60):
        world.step = 24 * day
        a.blank_proposals()
        seek.apply(world)
        tried.append(a.target[hunters] >= 0)
    could = np.any(tried, axis=0)
    assert could.sum() > 3
    assert 0.2 < np.mean(tried, axis=0)[could].mean() < 0.8


def test_a_double_that_says_something_else_is_noticed():
    for rule, plain in ORACLES.items():

        def other(one, w, plain=plain):
            plain(one, w)
            w.a.energy[w.slots[0]] += 1e-3

        world = tiny("tutorial", **WORLDS["tutorial"])
        judged(world, {rule: other})
        with pytest.raises(AssertionError, match=f"{rule.__name__}"):
            step(world)
