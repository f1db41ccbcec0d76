import numpy as np
import pytest

from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.step import step
from linnaea.twin.rules.energy_budget import ACCOUNTS, balance_kj, total_kj
from linnaea.twin.rules.vegetation import Burn, _burn, ease_of_fire, food_index, food_kg_km2, logistic, warmth
from made_worlds import changed, small


def empty(name="tutorial", **changes):
    """A world of plants alone."""
    data = changed(name)
    animals = {species: {"count": 0.0, "arrivals_per_y": 0.0} for species in small(name).species}
    return small(
        changed(name, animals=animals, **changes) if changes else changed(name, animals=animals), dt_h=24.0
    ), data


def test_logistic_growth_is_the_equation_s_own_solution():
    assert logistic(1.0, 10.0, 0.5) == pytest.approx(10 / (1 + 9 * np.exp(-0.5)))
    halves = logistic(logistic(1.0, 10.0, 0.25), 10.0, 0.25)
    assert halves == pytest.approx(logistic(1.0, 10.0, 0.5))


def test_clover_grows_to_less_than_its_capacity_and_more_in_summer():
    world, _ = empty()
    levels = []
    for _ in range(365 * 2):
        step(world)
        levels.append(float(food_kg_km2(world, "clover").mean()))
    assert max(levels) < 150_000
    assert np.mean(levels[365 + 180 : 365 + 240]) > 1.05 * np.mean(levels[365 + 30 : 365 + 90])
    with pytest.raises(ValueError, match="'moss' is not in the world"):
        food_kg_km2(world, "moss")


def test_drought_lets_plants_wither():
    wet, _ = empty()
    dry, _ = empty()
    dry.fields.rain_factor[:] = 0.0
    for _ in range(365):
        step(wet)
        step(dry)
    assert dry.arrays.food.sum() < 0.6 * wet.arrays.food.sum()


def test_seeds_fall_from_plants_however_few_lie_there_and_only_after_rain():
    fallen = {}
    for left in (0.0, 0.5, 1.0):
        world, _ = empty("galapagos")
        food, capacity = world.arrays.food, world.arrays.capacity
        food[:] = left * capacity
        world.fields.moisture_mm[:] = 30.0
        world.parameters.foods.wither_h[:] = 0.0
        step(world)
        fallen[left] = float((food - left * capacity)[0].sum() / capacity[0].sum())
    # Small seeds, 3 a year at the rain of half their growth, for a day; a full ground holds no more.
    wet = float(world.fields.moisture_mm.mean())
    assert fallen[0.0] == pytest.approx(3 * wet / (wet + 30) / 365.25, rel=0.01)
    assert fallen[0.5] == pytest.approx(fallen[0.0] / 2)
    assert fallen[1.0] == 0
    world.arrays.food[:] = 0.0
    world.fields.moisture_mm[:] = world.fields.rain_factor[:] = 0.0
    for _ in range(30):
        step(world)
    assert world.arrays.food.sum() == 0


def test_fire_burns_in_the_dry_season_only_and_its_energy_is_booked():
    world = small(changed("savanna", settings={"fires_per_km2_y": 5.0}), area_share=0.05, dt_h=24.0)
    world.fields.rain_factor[:] = 1.0
    burned = world.tallies.energy_kj[ACCOUNTS.index("burned") :]
    start = total_kj(world)
    for _ in range(100):
        step(world)
    assert burned[0] == 0
    for _ in range(150):
        step(world)
    assert burned[0] > 0
    assert world.fields.burned_times.sum() > 0
    assert total_kj(world) - balance_kj(world) == pytest.approx(start, rel=1e-12)


def burned_cells(fuel_kg_km2, n_fires=40, side=30):
    """Cells that a fire takes on the mean, on even fuel, where all ground is dry."""
    rule, shape, sizes = Burn(), (side, side), []
    lit = np.zeros(shape)
    lit[side // 2, side // 2] = 1e9  # fire where it is lit, however little fuel there is; nowhere else
    for seed in range(n_fires):
        burning = np.zeros(shape, bool)
        fuel, dry = np.full(shape, float(fuel_kg_km2)), np.ones(shape, bool)
        readily = np.where(lit > 0, 1e9, 1.0)
        n = _burn(
            fuel,
            dry,
            readily,
            1e-9,
            rule.fuel_kg_km2,
            rule.spread,
            np.uint64(seed),
            7,
            burning,
            np.zeros(side * side, np.int64),
        )
        assert burning.sum() == n
        sizes.append(n)
    return np.mean(sizes)


def test_fires_stay_small_on_grazed_ground_and_cross_it_where_grass_stands_thick():
    grazed, standing, thick = burned_cells(100_000), burned_cells(200_000), burned_cells(400_000)
    assert grazed < 1.6 < standing < 0.1 * thick
    assert thick > 0.9 * 900
    assert [round(ease_of_fire(x, 2.0), 2) for x in (0.0, 1.0, 2.0, 4.0)] == [0.0, 0.06, 0.5, 0.94]


def test_ground_is_dry_sooner_where_it_is_warm():
    burned = {}
    for warmer in (0.0, 8.0):
        world = small(changed("savanna", settings={"fires_per_km2_y": 20.0}), area_share=0.05, dt_h=24.0, seed=3)
        world.arrays.warming_c[0] = warmer
        for _ in range(200):
            step(world)
        burned[warmer] = world.fields.burned_times.sum()
    assert 0 < burned[0.0] < burned[8.0]


def test_without_fire_nothing_burns():
    world = small(changed("savanna", settings={"fires_per_km2_y": 5.0}), area_share=0.05, dt_h=24.0)
    world.fields.fire_factor[:] = 0.0
    for _ in range(250):
        step(world)
    assert world.fields.burned_times.sum() == 0


def test_dead_matter_decays_and_pools_stay_near_their_usual_biomass():
    world, _ = empty("savanna")
    for _ in range(365):
        step(world)
    usual = world.arrays.capacity.sum((1, 2))
    stock = world.arrays.food.sum((1, 2))
    for name in ("termite", "dung beetle"):
        row = food_index(world, name)
        assert 0.005 < stock[row] / usual[row] < 10
    # Nobody dies and nobody grazes, so that carcasses and dung are gone.
    assert stock[food_index(world, "carcass")] < 1e-3 * usual[food_index(world, "carcass")]
    assert (world.arrays.food >= 0).all()


def test_cold_blooded_life_doubles_in_about_nine_degrees():
    assert warmth(20.0) == pytest.approx(1.0)
    assert 1.9 < warmth(29.0) / warmth(20.0) < 2.3
    assert HOURS_A_YEAR == 8766.0
