import csv

import numpy as np
import pytest

from linnaea.twin.engine.step import step
from linnaea.twin.rules.energy_budget import balance_kj, total_kj
from linnaea.twin.rules.foraging import head_up_share, herd_notices, intake, quarter_power, trait_fit
from made_worlds import changed, small


def test_intake_follows_hollings_second_and_third_type():
    assert intake.py_func(0.0, 2.0, 1.0) == 0
    assert intake.py_func(2.0, 2.0, 1.0) == 0.5
    assert intake.py_func(6.0, 2.0, 1.0) == 0.75
    assert intake.py_func(2.0, 2.0, 2.0) == 0.5
    # The third type takes less of what is rare.
    assert intake.py_func(0.2, 2.0, 2.0) < intake.py_func(0.2, 2.0, 1.0)
    assert quarter_power.py_func(16.0) == pytest.approx(8.0)


def test_a_beak_fits_its_seed_best():
    assert trait_fit.py_func(11.0, 11.0, 1.0) == 1.0
    assert trait_fit.py_func(9.0, 11.0, 1.0) == pytest.approx(np.exp(-2))
    assert trait_fit.py_func(9.0, 11.0, 0.0) == 1.0


def test_energy_only_changes_hands_in_a_year_of_the_savanna():
    world = small("savanna", area_share=0.02)
    start = total_kj(world)
    for _ in range(4 * 120):
        step(world)
        assert (world.arrays.food >= 0).all()
    assert total_kj(world) - balance_kj(world) == pytest.approx(start, rel=1e-12)
    assert world.tallies.born.sum() > 0
    assert world.tallies.died.sum() > 0


def test_grazers_share_a_cell_and_never_take_more_than_is_there():
    world = small(area_share=0.05)
    world.arrays.food[:] = 50.0
    step(world)
    eaten = world.tallies.grazed_kj.sum()
    grown = world.tallies.energy_kj[0]
    withered = world.tallies.energy_kj[3] - 0.55 * eaten
    assert eaten > 0
    assert world.arrays.food.sum() == pytest.approx(50.0 * world.arrays.food.size + grown - eaten - withered, rel=1e-6)


def test_heads_are_up_less_in_larger_herds_but_herds_see_more():
    shares = [head_up_share.py_func(float(n)) for n in (1, 3, 10, 40, 400)]
    assert shares == sorted(shares, reverse=True)
    assert herd_notices.py_func(2.0) < herd_notices.py_func(20.0) <= 1


def test_vigilance_matches_grevys_zebra_in_small_and_large_herds(data_dir):
    path = data_dir / "ecology" / "grevys_time_budgets.csv"
    if not path.is_file():
        pytest.skip("the table of time budgets is not here")
    seen = {"Small": [], "Large": []}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            seen[row["Herd Size"]].append(float(row["Head Up"]))
    world = small("savanna", area_share=0.05)
    step(world)
    a = world.agents
    slots = a.slots()
    slots = slots[world.parameters.hunting.watches[a.species[slots]]]
    size = world.herds.size[a.herd[slots]]
    for name, group in (("Small", (size >= 1) & (size <= 3)), ("Large", size >= 20)):
        shown = a.head_up[slots][group].mean()
        error = np.std(seen[name], ddof=1) / np.sqrt(len(seen[name]))
        assert abs(shown - np.mean(seen[name])) < 2 * error


def test_some_live_on_less_than_others():
    usual = small("savanna", area_share=0.03)
    frugal = small(changed("savanna", animals={"wildebeest": {"half": 0.5}}), area_share=0.03)
    kind = usual.species.index("wildebeest")
    assert frugal.parameters.diet.half_kj[kind] == pytest.approx(0.5 * usual.parameters.diet.half_kj[kind])
