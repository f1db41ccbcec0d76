import numpy as np
import pytest

from linnaea.twin.engine.step import step
from linnaea.twin.engine.world import CAUSE
from linnaea.twin.rules.energy_budget import animal_kj, balance_kj, total_kj
from linnaea.twin.rules.immigration import introduce
from linnaea.twin.rules.predation import kill_rate, vulnerability
from linnaea.twin.rules.vegetation import food_index
from made_worlds import changed, small

RABBIT, FOX = 0, 1


def test_kill_rates_rise_with_prey_as_holling_has_it_and_fall_with_rivals():
    rate = kill_rate.py_func
    assert rate(0.0, 1.0, 1.0, 0.1, 0.0, 0.1) == 0
    assert rate(2.0, 1.0, 1.0, 0.1, 0.0, 0.1) == 2 * rate(1.0, 1.0, 1.0, 0.1, 0.0, 0.1)
    assert rate(0.5, 1.0, 2.0, 0.1, 0.0, 0.1) == 0.25 * rate(1.0, 1.0, 2.0, 0.1, 0.0, 0.1)
    assert rate(1.0, 1.0, 1.0, 0.1, 10.0, 0.1) == pytest.approx(0.05)


def test_the_young_the_old_and_the_starved_are_easier_prey():
    prime = vulnerability.py_func(50.0, 40.0, 200.0, 1.0, 1.0)
    assert prime == 1.0
    assert vulnerability.py_func(10.0, 40.0, 200.0, 1.0, 1.0) == 2.5
    assert vulnerability.py_func(180.0, 40.0, 200.0, 1.0, 1.0) == 2.0
    assert vulnerability.py_func(50.0, 40.0, 200.0, 0.0, 1.0) == 2.0
    # A moose in its prime stands its ground, its calf does not.
    assert vulnerability.py_func(50.0, 40.0, 200.0, 1.0, 0.1) == 0.1
    assert vulnerability.py_func(10.0, 40.0, 200.0, 1.0, 0.1) == 2.5


def test_foxes_eat_rabbits_and_energy_is_kept():
    world = small(area_share=0.5)
    a = world.agents
    a.energy[a.slots()[a.species[a.slots()] == FOX]] *= 0.5
    start = total_kj(world)
    for _ in range(200):
        step(world)
    killed = world.tallies.killed
    assert killed[FOX, RABBIT] > 10
    assert killed.sum() == killed[FOX, RABBIT]
    assert world.tallies.died[RABBIT, CAUSE["predation"]] == killed[FOX, RABBIT]
    assert total_kj(world) - balance_kj(world) == pytest.approx(start, rel=1e-12)


def test_one_prey_falls_to_one_predator_only():
    data = changed(settings={"catch_margin": 1e9}, animals={"rabbit": {"count": 0.0}, "red fox": {"count": 0.0}})
    world = small(data, area_share=0.02, dt_h=1.0)
    introduce(world, "rabbit", 1, x=200.0, y=200.0)
    introduce(world, "red fox", 5, x=200.0, y=200.0)
    world.agents.energy[:] *= 0.3
    step(world)
    assert world.tallies.killed[FOX, RABBIT] == 1
    assert world.counts().tolist() == [0, 5]
    assert np.count_nonzero(world.agents.won[: world.agents.n] == 1.0) == 1


def test_the_sated_do_not_hunt():
    world = small(area_share=0.2, dt_h=1.0)
    a = world.agents
    slots = a.slots()
    a.energy[slots] = world.parameters.bodies.store_kj_kg[a.species[slots]] * a.mass[slots]
    for _ in range(10):
        step(world)
    assert world.tallies.killed.sum() == 0


def test_a_pride_shares_a_kill_and_scavengers_get_the_rest():
    world = small("savanna", area_share=0.05, dt_h=1.0)
    lion = world.species.index("lion")
    a = world.agents
    lions = a.slots()[a.species[a.slots()] == lion]
    a.energy[lions] *= 0.2
    before = world.arrays.food[food_index(world, "carcass")].sum()
    fed = 0
    for _ in range(24 * 20):
        old = dict(zip(a.id[lions].tolist(), a.energy[lions].tolist(), strict=True))
        step(world)
        a = world.agents
        lions = a.slots()[a.species[a.slots()] == lion]
        gained = [
            i for i, e in zip(a.id[lions].tolist(), a.energy[lions].tolist(), strict=True) if e > old.get(i, 1e18)
        ]
        fed = max(fed, len(gained))
    assert world.tallies.killed[lion].sum() > 0
    assert fed >= 2
    assert world.arrays.food[food_index(world, "carcass")].sum() > 0.2 * before
    assert (animal_kj(world, a.slots()) > 0).all()


def test_a_pack_that_has_eaten_its_fill_kills_no_more_in_the_same_step():
    data = changed(
        "island",
        settings={"catch_margin": 1e9, "hunger": 0.6, "fat_share": 0.15},
        animals={"moose": {"count": 0.0}, "grey wolf": {"count": 0.0}},
    )
    world = small(data, area_share=0.05, dt_h=24.0)
    introduce(world, "moose", 12, x=900.0, y=900.0)
    introduce(world, "grey wolf", 6, x=900.0, y=900.0)
    a, p = world.agents, world.parameters
    slots = a.slots()
    wolves = slots[a.species[slots] == world.species.index("grey wolf")]
    assert len(np.unique(a.herd[wolves])) == 1
    a.energy[wolves] = 0.3 * p.bodies.store_kj_kg[a.species[wolves]] * a.mass[wolves]
    step(world)
    # One moose fills them all.
    assert world.tallies.killed.sum() == 1


def test_hunters_switch_to_common_prey():
    def kills(usual):
        world = small("savanna", area_share=0.03, dt_h=24.0)
        a, p = world.agents, world.parameters
        wildebeest = world.species.index("wildebeest")
        p.life.usual_number[wildebeest] *= usual
        slots = a.slots()
        a.energy[slots[p.hunting.hunts[a.species[slots]]]] *= 0.3
        for _ in range(10):
            step(world)
        killed = world.tallies.killed.sum(0)
        return killed[wildebeest] / killed.sum()

    # Where wildebeest are a twentieth of what is usual, fewer of the kills are wildebeest.
    assert kills(20.0) < 0.6 * kills(1.0)


def test_what_a_hunter_likes_less_than_prey_it_seeks_less():
    world = small("savanna", area_share=0.03)
    p = world.parameters
    lion, hyaena, vulture = (
        p.diet.half_kj[k] / p.diet.weight[k].max()
        for k in map(world.species.index, ("lion", "spotted hyaena", "white-backed vulture"))
    )
    # Lions want carcasses a 24th as much as wildebeest, vultures eat nothing else.
    assert lion == pytest.approx(24 * vulture)
    assert hyaena > 5 * vulture


def test_spiderlings_hunt_for_themselves_and_pups_do_not():
    def kills(name, hunter, prey, x, y, **share):
        data = changed(
            name, settings={"catch_margin": 1e6}, animals={n: {"count": 0.0} for n in small(name, **share).species}
        )
        world = small(data, **share)
        introduce(world, prey, 30, x=x, y=y)
        introduce(world, hunter, 2, x=x, y=y)
        a, p = world.agents, world.parameters
        kind = world.species.index(hunter)
        young = a.slots()[a.species[a.slots()] == kind]
        a.mass[young] = 0.05 * p.bodies.adult_kg[kind]
        a.energy[young] = 0.3 * p.bodies.store_kj_kg[kind] * a.mass[young]
        a.born_h[young] = world.now_h
        for _ in range(12):
            step(world)
        return world.tallies.killed[kind].sum()

    assert kills("post", "zebra jumping spider", "springtail", 0.3, 0.6, dt_h=1.0, area_share=1.0) > 0
    assert kills("island", "grey wolf", "moose", 9000.0, 3000.0, dt_h=24.0, area_share=0.3) == 0
