"""Herds that split and herds that merge."""

import numpy as np
import pytest

from linnaea.twin.engine.step import step
from linnaea.twin.rules.fission_fusion import MergeHerds
from linnaea.twin.rules.groups import UpdateHerds
from linnaea.twin.rules.immigration import introduce
from made_worlds import changed, small


def test_new_territories_keep_their_distance_and_lie_within_the_ground():
    world = small(area_share=0.3, dt_h=24.0)
    spacing = world.parameters.groups.spacing_m[0]
    founded = {tuple(home) for home in world.herds.home[world.herds.species == 0]}
    for _ in range(2 * 365):
        step(world)
    homes = world.herds.home[world.herds.species == 0]
    new = np.array([tuple(home) not in founded for home in homes])
    apart = np.sqrt(((homes[:, None] - homes[None]) ** 2).sum(2))
    np.fill_diagonal(apart, np.inf)
    assert new.sum() > 5
    # Founders' homes lie on a jittered grid; all later ones keep the whole distance.
    assert apart[new].min() >= spacing
    assert homes[new].min() >= spacing / 2
    assert homes[new].max() <= world.space.width_m - spacing / 2


RANGE_M = 200.0


def two_small_herds(apart_m, **settings):
    """Whether what is left of two herds of impala, with their centres this far apart, is one herd after a merger."""
    animals = {name: {"count": 0.0} for name in small("savanna", area_share=0.01).species}
    world = small(changed("savanna", animals=animals), area_share=0.01, dt_h=24.0)
    impala = world.species.index("impala")
    world.parameters.movement.range_m[impala] = RANGE_M
    for x in (500.0, 500.0 + apart_m):
        introduce(world, "impala", 2, x=x, y=800.0, herd_size=2)
    a = world.agents
    a.x[:4], a.y[:4] = [500.0, 500.0, 500.0 + apart_m, 500.0 + apart_m], 800.0
    if "fence" in settings:
        middle = 500.0 + apart_m / 2
        world.arrays.fences = np.array([[middle, -1.0, middle, world.space.height_m + 1, settings["fence"]]])
    world.cells.build(a)
    UpdateHerds().apply(world)
    assert len(np.unique(a.herd[:4])) == 2
    homes = {int(herd): world.herds.home[herd].copy() for herd in np.unique(a.herd[:4])}
    MergeHerds().apply(world)
    joined = len(np.unique(a.herd[:4])) == 1
    if joined:
        home = homes[int(a.herd[0])]
        assert np.allclose(a.home_x[:4], home[0])
        assert np.allclose(a.home_y[:4], home[1])
    return joined


@pytest.mark.parametrize(
    ("ranges", "joins"), [(0.5, True), (1.9, True), (1.99, True), (2.01, False), (2.5, False), (6.0, False)]
)
def test_a_small_herd_joins_another_within_twice_the_range_of_its_species_and_none_beyond(ranges, joins):
    assert two_small_herds(ranges * RANGE_M) == joins


def test_a_small_herd_joins_none_that_a_fence_separates_from_it():
    assert two_small_herds(RANGE_M, fence=0.6)
    assert not two_small_herds(RANGE_M, fence=0.4)


def test_the_model_s_description_says_how_far_away_a_herd_may_be_that_another_joins():
    assert "twice the species' range" in MergeHerds.__doc__
