"""Founders, animals brought in, and newcomers."""

import numpy as np
import pytest

from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.step import step
from linnaea.twin.rules.energy_budget import remove_animals
from linnaea.twin.rules.groups import is_taken
from linnaea.twin.rules.immigration import draw_ages, introduce
from made_worlds import small

RABBIT = 0


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
    assert (np.diff(ages) >= 0).all()
    assert ages[-1] < 1.1 * 5
    assert np.median(ages) < 1.5


def test_newcomers_turn_away_from_a_taken_territory():
    world = small("savanna", area_share=0.05)
    step(world)
    lion, wildebeest = world.species.index("lion"), world.species.index("wildebeest")
    x, y = world.herds.home[(world.herds.species == lion) & (world.herds.adults >= 2)][0]
    assert is_taken(world, lion, x + 100, y)
    assert not is_taken(world, wildebeest, x, y)
    assert not is_taken(world, lion, x + 2 * world.parameters.groups.spacing_m[lion], y + 2e5)
