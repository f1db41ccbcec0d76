"""Where herds want to go."""

import numpy as np

from linnaea.twin.engine.step import step
from made_worlds import small


def half_fenced(passes, days=20, **options):
    """The savanna with a fence across its middle, after some days; wildebeest's herds: goal, middle, home, size."""
    world = small("savanna", area_share=0.03, dt_h=24.0, **options)
    middle = world.space.height_m / 2
    world.arrays.fences = np.array([[-1.0, middle, world.space.width_m + 1, middle, passes]])
    for _ in range(days):
        step(world)
    herds = np.flatnonzero((world.herds.species == world.species.index("wildebeest")) & (world.herds.size > 0))
    return world, middle, herds


def test_no_herd_plans_across_a_closed_fence_and_none_stands_on_both_sides():
    world, middle, herds = half_fenced(0.0)
    goal, at = (places[herds, 1] > middle for places in (world.herds.goal, world.herds.centre))
    assert len(herds) > 10
    assert (goal == at).all()
    assert 0 < at.sum() < len(at)
    a = world.agents
    slots = a.slots()
    slots = slots[np.isin(a.herd[slots], herds)]
    north = a.y[slots] > middle
    shares = np.bincount(a.herd[slots], north) / np.maximum(np.bincount(a.herd[slots]), 1)
    # those whom it parted this day found a herd of their own only in the evening
    assert np.isin(shares[herds], (0, 1)).mean() > 0.95


def test_an_open_line_changes_nothing_but_where_few_pass_plans_are_few():
    across = []
    for passes in (1.0, 0.1, 0.0):
        world, middle, herds = half_fenced(passes, days=12)
        across.append(((world.herds.goal[herds, 1] > middle) != (world.herds.centre[herds, 1] > middle)).mean())
    assert across[0] > across[1] >= across[2] == 0
    free, fenced = small("savanna", area_share=0.02, dt_h=24.0), small("savanna", area_share=0.02, dt_h=24.0)
    fenced.arrays.fences = np.array([[-1.0, 2000.0, 1e5, 2000.0, 1.0]])
    for _ in range(10):
        step(free)
        step(fenced)
    assert (free.agents.x == fenced.agents.x).all()
    assert (free.agents.energy == fenced.agents.energy).all()


def test_migrants_go_where_the_rain_is():
    world = small("savanna", area_share=0.3, dt_h=24.0)
    wildebeest = world.species.index("wildebeest")
    north = world.fields.rain_share * 0
    north[len(north) // 2 :] = 2.0
    world.fields.rain_factor[:] = north
    for _ in range(120):
        step(world)
    a = world.agents
    slots = a.slots()[a.species[a.slots()] == wildebeest]
    assert (a.y[slots] > world.space.height_m / 2).mean() > 0.6
