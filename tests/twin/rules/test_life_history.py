import numpy as np
import pytest

from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.step import step
from linnaea.twin.engine.world import CAUSE
from linnaea.twin.rules.energy_budget import remove_animals
from linnaea.twin.rules.immigration import draw_ages, introduce
from linnaea.twin.rules.metabolism import starving_share
from linnaea.twin.rules.mortality import death_rate
from linnaea.twin.rules.reproduction import find_subordinates
from linnaea.twin.rules.vegetation import food_index
from made_worlds import changed, small

RABBIT = 0


def test_few_live_longer_than_the_tables_life_span():
    ages = np.linspace(0, 2000, 4001)
    rates = [death_rate.py_func(age, 10.0, 1000.0, 0.01, 1e-4) for age in ages]
    alive = np.exp(-np.cumsum(rates) * 0.5)
    assert alive[np.searchsorted(ages, 700)] / alive[np.searchsorted(ages, 20)] > 0.7
    assert alive[np.searchsorted(ages, 1000)] / alive[np.searchsorted(ages, 500)] < 0.3
    assert alive[np.searchsorted(ages, 1500)] < 1e-6


def test_a_store_that_empties_kills_slowly_then_surely():
    assert starving_share.py_func(0.3, 1.0) == 0
    assert 0 < starving_share.py_func(0.15, 0.05) < starving_share.py_func(0.0, 0.05) < 0.1
    # hours of a day and a day of hours are the same
    assert 1 - (1 - starving_share.py_func(0.1, 0.01)) ** 24 == pytest.approx(starving_share.py_func(0.1, 0.24))


def test_without_food_everyone_starves_within_two_months():
    world = small(area_share=0.1)
    for _ in range(4 * 60):
        world.arrays.food[:] = 0
        world.parameters.foods.reserve[:] = 0
        step(world)
    assert world.counts()[RABBIT] == 0
    assert world.tallies.died[RABBIT, CAUSE["starvation"]] > 100


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
    assert births[1:8].sum() > 100 and births[9:].sum() == 0
    a = world.agents
    slots = a.slots()
    assert a.mass[slots].max() <= 1.0001 * max(world.parameters.bodies.adult_kg)
    rabbits = slots[a.species[slots] == RABBIT]
    old = world.now_h - a.born_h[rabbits] > world.parameters.life.mature_h[RABBIT]
    assert a.mass[rabbits][old].mean() > a.mass[rabbits][~old].mean()


def test_poaching_takes_the_share_that_its_rate_says():
    world = small(area_share=1.0, dt_h=24.0)
    world.arrays.poaching_per_h[RABBIT] = -np.log(0.5) / (30 * 24)
    start = world.counts()[RABBIT]
    for _ in range(30):
        step(world)
    poached = world.tallies.died[RABBIT, CAUSE["poaching"]]
    assert 0.35 * start < poached < 0.6 * start
    quiet = small(area_share=1.0, dt_h=24.0)
    quiet.arrays.poaching_per_h[RABBIT] = 0.01
    quiet.fields.poaching[:] = 0.0
    for _ in range(5):
        step(quiet)
    assert quiet.tallies.died[RABBIT, CAUSE["poaching"]] == 0


def test_animals_can_be_brought_and_taken():
    world = small(area_share=0.2)
    slots = introduce(world, "red fox", 3, x=100.0, y=100.0, radius_m=50.0)
    assert (np.hypot(world.agents.x[slots] - 100, world.agents.y[slots] - 100) < 400).all()
    assert world.tallies.energy_kj[1] > 0
    n = len(world.agents)
    remove_animals(world, slots)
    assert len(world.agents) == n - 3
    assert world.tallies.energy_kj[5] == pytest.approx(world.tallies.energy_kj[1])
    with pytest.raises(ValueError, match="'wolf' is not in the world"):
        introduce(world, "wolf", 1)
    with pytest.raises(ValueError, match="outside the ground"):
        introduce(world, "rabbit", 1, x=-5.0, y=0.0)


def test_founders_have_the_ages_of_a_living_population():
    world = small(area_share=0.2)
    ages = draw_ages(np.linspace(0, 0.999, 1000), world.parameters.life, RABBIT) / HOURS_A_YEAR
    assert (np.diff(ages) >= 0).all() and ages[-1] < 1.1 * 5
    assert np.median(ages) < 1.5


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
    # A third to one and a half standard deviations, and the breeder's equation: what is inherited is h² of what is seen.
    assert np.min(shifts) > 0 and 0.25 < seen < 1.1
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
