"""Hunger; the oracle of metabolism stands in test_naive_rules."""

import pytest

from linnaea.twin.engine.step import step
from linnaea.twin.engine.world import CAUSE
from linnaea.twin.rules.metabolism import starving_share
from made_worlds import small

RABBIT = 0


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
