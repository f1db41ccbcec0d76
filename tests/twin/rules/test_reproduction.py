"""Mating, birth and inheritance."""

import numpy as np
import pytest

from linnaea.twin.data.world_file import load_world
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.step import step
from linnaea.twin.rules.reproduction import MALE, find_subordinates, inherit_traits
from linnaea.twin.rules.vegetation import food_index
from made_worlds import changed, small

RABBIT = 0


def test_numbers_are_kept():
    world = small(area_share=0.3)
    start = world.counts()
    for _ in range(4 * 90):
        step(world)
    assert (world.counts() == start + world.tallies.born + world.tallies.introduced - world.tallies.died.sum(1)).all()
    assert len(np.unique(world.agents.id[world.agents.slots()])) == len(world.agents)


def test_young_come_in_the_months_of_birth_and_grow_up():
    world = small(area_share=0.3, dt_h=12.0)
    births = np.zeros(12, int)
    for _ in range(2 * 365):
        before = world.tallies.born[RABBIT]
        month = int(world.now_h / HOURS_A_YEAR * 12) % 12
        step(world)
        births[month] += world.tallies.born[RABBIT] - before
    # February to August in the table.
    assert births[1:8].sum() > 100
    assert births[9:].sum() == 0
    a = world.agents
    slots = a.slots()
    assert a.mass[slots].max() <= 1.0001 * max(world.parameters.bodies.adult_kg)
    rabbits = slots[a.species[slots] == RABBIT]
    old = world.now_h - a.born_h[rabbits] > world.parameters.life.mature_h[RABBIT]
    assert a.mass[rabbits][old].mean() > a.mass[rabbits][~old].mean()


def test_a_drought_that_leaves_hard_seeds_makes_beaks_deeper():
    data = changed("galapagos")
    shifts = []
    for seed in range(3):
        world = small(data, area_share=3.0, dt_h=6.0, seed=seed)
        finch, scarce = 0, [food_index(world, name) for name in ("small seeds", "cactus")]
        a = world.agents
        first = a.traits[a.slots()[a.species[a.slots()] == finch]].mean(0)
        world.arrays.food[scarce] *= 0.05
        world.arrays.food[food_index(world, "hard seeds")] *= 0.6
        world.fields.rain_factor[:] = 0.0
        for _ in range(4 * 30):
            step(world)
        a = world.agents
        left = a.slots()[a.species[a.slots()] == finch]
        assert len(left) > 20
        shifts.append(a.traits[left].mean(0) - first)
    seen, inherited = np.mean(shifts, axis=0)
    # A third to one and a half standard deviations, and the breeder's equation: the response is h² of the differential.
    assert np.min(shifts) > 0
    assert 0.25 < seen < 1.1
    assert abs(inherited / seen - 0.7) < 0.1


def test_beaks_of_the_young_are_those_of_their_parents_as_much_as_is_inherited():
    world = small("galapagos", area_share=8.0, dt_h=24.0)
    a = world.agents
    pairs = []
    for _ in range(150):
        beak = dict(zip(a.id[a.slots()].tolist(), a.traits[a.slots(), 0].tolist(), strict=True))
        last = a.next_id
        step(world)
        a = world.agents
        young = a.slots()[(a.id[a.slots()] >= last) & (a.species[a.slots()] == 0)]
        pairs += [
            (beak[m], b)
            for m, b in zip(a.parent[young].tolist(), a.traits[young, 0].tolist(), strict=True)
            if m in beak
        ]
    mother, child = np.array(pairs).T
    slope = np.cov(mother, child)[0, 1] / mother.var(ddof=1)
    error = 1 / np.sqrt(len(pairs))
    # On one parent the slope is half of the heritability.
    assert len(pairs) > 200
    assert abs(slope - 0.35) < 4 * error


def wolves_of(world):
    return world.agents.slots()[world.agents.species[world.agents.slots()] == world.species.index("grey wolf")]


def test_in_a_pack_only_the_oldest_female_bears_young():
    world = small("island", area_share=1.0, dt_h=24.0)
    a, p, mine = world.agents, world.parameters, wolves_of(world)
    a.sex[mine], a.born_h[mine] = np.arange(len(mine)) % 3 == 0, -(2.0 + np.arange(len(mine)) / 100) * 8766
    others = find_subordinates(world, a.slots())
    females = mine[a.sex[mine] == 0]
    first = np.setdiff1d(females, others)
    assert 1 < len(first) == len(np.unique(a.herd[females])) < len(females)
    assert all(a.born_h[k] == a.born_h[females[a.herd[females] == a.herd[k]]].min() for k in first)
    a.due_h[mine] = 0.0
    a.energy[mine] = p.bodies.store_kj_kg[1] * a.mass[mine]
    for _ in range(85):
        step(world)
    a = world.agents
    carrying = wolves_of(world)[a.due_h[wolves_of(world)] > 0]
    assert len(carrying) == len(np.unique(a.herd[carrying])) > 0


def test_the_young_of_two_parents_vary_by_half_of_the_additive_variance():
    world = small("galapagos", area_share=8.0, dt_h=24.0)
    a, finch = world.agents, load_world("galapagos").animals["medium ground finch"]
    finches = a.slots()[a.species[a.slots()] == world.species.index("medium ground finch")]
    is_male = a.sex[finches] == MALE
    a.born_h[finches] = -10 * HOURS_A_YEAR
    mothers = finches[~is_male][:100]
    a.traits[mothers, 1], a.traits[finches[is_male], 1] = 8.0, 10.0
    young, of_mother = world.give_birth(mothers, np.full(100, 60))
    inherit_traits(world, young, of_mother)
    phenotype, value = world.agents.traits[young].astype(float).T
    additive = finch.heritability[0] * finch.trait_sd[0] ** 2
    environment = (1 - finch.heritability[0]) * finch.trait_sd[0] ** 2
    # Of 6,000 young the standard error of a variance is 0.018 of it.
    assert value.mean() == pytest.approx(9.0, abs=0.06)
    assert value.var() == pytest.approx(additive / 2, rel=0.08)
    assert (phenotype - value).var() == pytest.approx(environment, rel=0.08)
    assert abs(np.corrcoef(value, phenotype - value)[0, 1]) < 0.06
    # What segregation gives is drawn anew for each of a brood.
    broods = value.reshape(100, 60)
    assert broods.var(axis=1).mean() == pytest.approx(additive / 2, rel=0.08)
