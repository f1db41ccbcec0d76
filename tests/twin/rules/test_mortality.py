"""Deaths by age, accident and poaching."""

import numpy as np

from linnaea.twin.engine.step import step
from linnaea.twin.engine.world import CAUSE
from linnaea.twin.rules.mortality import death_rate
from made_worlds import small

RABBIT = 0


def test_few_live_longer_than_the_tables_life_span():
    ages = np.linspace(0, 2000, 4001)
    rates = [death_rate.py_func(age, 10.0, 1000.0, 0.01, 1e-4) for age in ages]
    alive = np.exp(-np.cumsum(rates) * 0.5)
    assert alive[np.searchsorted(ages, 700)] / alive[np.searchsorted(ages, 20)] > 0.7
    assert alive[np.searchsorted(ages, 1000)] / alive[np.searchsorted(ages, 500)] < 0.3
    assert alive[np.searchsorted(ages, 1500)] < 1e-6


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
