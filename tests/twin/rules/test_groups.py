"""Herds and territories."""

import numpy as np
import pytest

from linnaea.twin.engine.herds import FREE
from linnaea.twin.engine.step import step
from linnaea.twin.rules.groups import MoveTerritory
from linnaea.twin.rules.immigration import introduce
from made_worlds import changed, small


def test_every_animal_belongs_to_a_herd_of_its_species():
    world = small("savanna", area_share=0.1)
    for _ in range(4 * 60):
        step(world)
    a = world.agents
    slots = a.slots()
    assert (world.herds.species[a.herd[slots]] == a.species[slots]).all()
    kept = np.bincount(a.herd[slots], minlength=len(world.herds.size))
    assert (kept[world.herds.species == FREE] == 0).all()


def test_a_territory_has_room_for_a_group_about_to_divide_and_its_young():
    world = small("savanna", area_share=0.03)
    kind = world.species.index("spotted hyaena")
    # .4 to a square kilometre: a clan of 15 adults, 25 with the young, on 62.5 km2.
    assert world.parameters.groups.spacing_m[kind] == pytest.approx(850 * np.sqrt(15 / 0.6 / 0.4))
    assert world.parameters.groups.spacing_m[world.species.index("wildebeest")] == 0


def wolves_of(world):
    return world.agents.slots()[world.agents.species[world.agents.slots()] == world.species.index("grey wolf")]


def wandered(filled):
    """(Farthest goal as a share of the range, path of the home in m) of a pack kept at `filled` stores for 20 days."""
    data = changed(
        "island", settings={"catch_margin": 0.0}, animals={"moose": {"count": 0.0}, "grey wolf": {"count": 0.0}}
    )
    world = small(data, area_share=0.5, dt_h=24.0)
    world.arrays.arrivals_per_y[:] = 0.0
    introduce(world, "grey wolf", 6, x=4000.0, y=3000.0)
    introduce(world, "moose", 300, x=17000.0, y=3000.0, radius_m=2500.0)
    a, p, wolf = world.agents, world.parameters, 1
    pack = a.herd[wolves_of(world)[0]]
    first, farthest = world.herds.home[pack].copy(), 0.0
    for _ in range(20):
        mine = wolves_of(world)
        a.energy[mine] = filled * p.bodies.store_kj_kg[wolf] * a.mass[mine]
        step(world)
        farthest = max(farthest, np.hypot(*(world.herds.goal[pack] - first)))
    return farthest / p.movement.range_m[wolf], np.hypot(*(world.herds.home[pack] - first))


def test_hungry_hunters_look_beyond_their_range_and_their_territory_follows():
    farthest, moved = wandered(0.3)
    assert farthest > 1
    assert moved > 100
    farthest, moved = wandered(0.9)
    assert farthest <= 1
    assert moved == 0


def test_a_territory_does_not_follow_into_another():
    data = changed("island", animals={"grey wolf": {"count": 0.0}})
    world = small(data, area_share=1.0, dt_h=24.0)
    for x in (20000.0, 34000.0):
        introduce(world, "grey wolf", 6, x=x, y=4000.0)
    p, mine = world.parameters, wolves_of(world)
    one, other = (world.agents.herd[mine[k]] for k in (0, 6))
    world.herds.adults[[one, other]] = 4
    far = p.movement.range_m[1] + 4000.0
    world.herds.goal[one] = (20000.0 + far, 4000.0)
    MoveTerritory().apply(world)
    # Four kilometres on it would be nearer than territories lie.
    assert p.groups.spacing_m[1] > 14000 - 4000
    assert world.herds.home[one].tolist() == [20000.0, 4000.0]
    world.herds.goal[one] = (20000.0 - far, 4000.0)
    MoveTerritory().apply(world)
    assert np.allclose(world.herds.home[one], (16000.0, 4000.0))
