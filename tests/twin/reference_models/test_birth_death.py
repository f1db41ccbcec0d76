"""Rules of birth, death and dispersal: ages, crowding, patches and islands, each by hand or against its formula."""

import math

import numpy as np
import pytest

from linnaea.twin.data.life_table import compute_growth_factor, compute_stable_ages, make_leslie_matrix
from linnaea.twin.engine.neighbours import Space
from linnaea.twin.engine.step import advance
from linnaea.twin.engine.world import CAUSE, World
from linnaea.twin.reference_models.birth_death import BirthDeath, DeliverLitters, Generation
from linnaea.twin.reference_models.metapopulation import Colonise, Settle, find_patches, place_animals

FERTILITY, SURVIVAL = (0.0, 1.2, 1.5, 0.7), (0.5, 0.8, 0.3)


def world_of(*rules, space=None, **settings) -> World:
    return World(space=space or Space(width_m=1, height_m=1), rules=list(rules), **settings)


def grid(columns: int, rows: int) -> Space:
    return Space(width_m=columns, height_m=rows, cell_m=1)


def test_animals_live_as_many_steps_as_their_table_has():
    world = world_of(Generation(fertility=(0.0,), survival=(1.0, 1.0)), dt_h=0.1)
    world.agents.add(5)
    lived = []
    advance(world, 4, each=lambda world: lived.append(len(world.agents)))
    assert lived == [5, 5, 0, 0]
    assert world.tallies.died[0, CAUSE["age"]] == 5


def test_the_number_of_young_is_that_of_an_age_thinned_by_the_crowd():
    world = world_of(Generation(fertility=(0.0, 3.0), survival=(1.0,), crowding=1e-4))
    world.agents.add(2000)
    world.agents.add(2000, born_h=-1.0)
    advance(world, 1)
    expected = 2000 * 3 * math.exp(-0.4)
    assert abs(world.tallies.born[0] - expected) < 4 * math.sqrt(expected)
    assert len(world.agents) == 2000 + world.tallies.born[0]


def test_a_population_of_all_ages_grows_by_the_eigenvalue_of_its_matrix():
    matrix, steps = make_leslie_matrix(FERTILITY, SURVIVAL), 8
    numbers = np.rint(4000 * compute_stable_ages(matrix)).astype(int)
    world = world_of(Generation(fertility=FERTILITY, survival=SURVIVAL), seed=1)
    world.agents.add(numbers.sum(), born_h=-np.repeat(np.arange(4), numbers))
    advance(world, steps)
    expected = numbers.sum() * compute_growth_factor(matrix) ** steps
    # The variance of one animal's young and survival is below 2.
    spread = math.sqrt(
        sum(2 * numbers.sum() * compute_growth_factor(matrix) ** (2 * steps - 1 - k) for k in range(steps))
    )
    assert abs(len(world.agents) - expected) < 4 * spread


def test_generations_that_do_not_overlap_turn_as_rickers_map_does():
    found = {}
    for rate in (1.8, 2.3, 2.6):
        world, share = world_of(Generation(fertility=(math.exp(rate),), crowding=rate / 2000), seed=1), []
        world.agents.add(1400)
        advance(world, 60, each=lambda world, share=share: share.append(len(world.agents) / 2000))
        late = np.array(share[30:])
        apart = [np.sqrt(np.mean((late[lag:] - late[:-lag]) ** 2)) for lag in range(1, 9)]
        found[rate] = next(lag for lag, value in enumerate(apart, 1) if value < 0.15)
    assert found == {1.8: 1, 2.3: 2, 2.6: 4}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda: Generation(fertility=(-1.0,)), "fertility: -1.0 is impossible"),
        (
            lambda: Generation(fertility=(1.0,), survival=(1.5,)),
            "survival: 1.5 is impossible; give numbers from 0 to 1",
        ),
        (lambda: Generation(fertility=(1.0,), crowding=-1.0), "crowding: -1.0"),
        (lambda: Colonise(rate_per_h=math.inf), "rate_per_h: inf"),
    ],
)
def test_impossible_rates_are_named(rule, message):
    with pytest.raises(ValueError, match=message):
        world_of(rule())


def test_a_local_capacity_thins_a_crowded_cell_and_lets_an_empty_one_fill():
    rule = BirthDeath(birth_per_h=1.0, death_per_h=0.0, carrying_capacity=400, local=True, species=-1)
    world = world_of(rule, DeliverLitters(), space=grid(2, 1), species=("hare", "deer"), dt_h=0.05)
    world.agents.add(1500, x=0.5, y=0.5, species=np.arange(1500) % 2)
    world.agents.add(20, x=1.5, y=0.5, species=np.arange(20) % 2)
    advance(world, 240)
    numbers = np.bincount(find_patches(world, world.agents.slots()), minlength=2)
    assert (np.abs(numbers - 400) < 4 * math.sqrt(400)).all()
    assert (world.counts() > 0).all()


def test_young_settle_where_nobody_lives_and_the_others_are_lost():
    rules = BirthDeath(birth_per_h=2.0, death_per_h=0.0), DeliverLitters(), Settle()
    world = world_of(*rules, space=grid(5, 4), dt_h=0.5)
    place_animals(world, world.agents.add(8), np.arange(8))
    for _ in range(20):
        advance(world, 1)
        patches = find_patches(world, world.agents.slots())
        assert len(np.unique(patches)) == len(patches)
    # Nobody dies but the young that find no place, and those who were first stay.
    assert set(range(8)) <= set(patches.tolist())
    assert len(patches) == 20
    assert world.tallies.born[0] - world.tallies.died.sum() == 12
    assert (world.agents.id[world.agents.slots()] <= 8).sum() == 8


def test_patches_are_taken_as_levins_says():
    rules = BirthDeath(birth_per_h=0.5, death_per_h=0.2), DeliverLitters(), Settle()
    world, taken = world_of(*rules, space=grid(40, 40), dt_h=0.05, seed=1), []
    place_animals(world, world.agents.add(960), np.arange(960))
    advance(world, 600, each=lambda world: taken.append(len(world.agents) / 1600))
    assert np.mean(taken) == pytest.approx(0.6, abs=0.04)


def test_every_species_comes_to_every_island_once():
    world = world_of(Colonise(rate_per_h=50.0), space=grid(3, 2), species=("ant", "bee", "fly"))
    advance(world, 3)
    a = world.agents
    pairs = set(zip(find_patches(world, a.slots()).tolist(), a.species[a.slots()].tolist(), strict=True))
    assert len(a) == 18
    assert len(pairs) == 18
    closed = world_of(Colonise(rate_per_h=0.0), space=grid(3, 2))
    advance(closed, 3)
    assert len(closed.agents) == 0


def test_slots_carry_no_meaning_to_generations_and_settlers():
    keys = []
    for every in (0, 1):
        rules = Generation(fertility=(1.2, 1.0), survival=(0.5,), crowding=1e-3), Settle()
        world = world_of(*rules, space=grid(20, 10), resort_every=every, seed=3)
        place_animals(world, world.agents.add(100), np.arange(100))
        advance(world, 10)
        a = world.agents
        keys.append(sorted(zip(a.key[a.slots()].tolist(), find_patches(world, a.slots()).tolist(), strict=True)))
    assert keys[0] == keys[1]
    assert len(keys[0]) > 20
