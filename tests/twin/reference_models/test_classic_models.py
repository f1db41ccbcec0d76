"""The models by which simulators are compared."""

from dataclasses import replace

import numpy as np
import pytest

from linnaea.twin.engine.neighbours import Space
from linnaea.twin.engine.step import advance
from linnaea.twin.engine.world import World
from linnaea.twin.reference_models.boids import Flocking
from linnaea.twin.reference_models.flocking_rules import Flock
from linnaea.twin.reference_models.schelling import Segregation
from linnaea.twin.reference_models.update_order import ORDERS
from linnaea.twin.reference_models.wolf_sheep import WolfSheep
from linnaea.twin.rules.motion import Move


@pytest.mark.parametrize("order", ORDERS)
def test_a_seed_gives_one_run_and_another_gives_another(order):
    model = WolfSheep(side=20, n_sheep=60, n_wolves=20, order=order)
    assert np.array_equal(model.run(30), model.run(30))
    assert not np.array_equal(model.run(30), replace(model, seed=1).run(30))


@pytest.mark.parametrize("order", ORDERS)
def test_wolves_without_sheep_starve_and_sheep_without_wolves_fill_the_grass(order):
    starving = WolfSheep(side=10, n_sheep=0, n_wolves=30, wolf_reproduce=0.0, order=order).run(30)
    # 26 of energy at most, 1 a step, and death below 0.
    assert starving[0].tolist() == [0, 30]
    assert starving[27].tolist() == [0, 0]
    assert (np.diff(starving[:, 1]) <= 0).all()
    grazing = WolfSheep(side=20, n_sheep=50, n_wolves=0, order=order).run(300)[:, 0]
    # A cell feeds 5 steps of a sheep in 11 steps; some grass is met late.
    assert 0.5 * 400 * 5 / 11 < grazing[150:].mean() < 400 * 5 / 11


def test_both_orders_are_the_same_process_for_wolves_and_sheep():
    runs = {
        order: np.array(
            [
                WolfSheep(side=30, n_sheep=200, n_wolves=60, seed=seed, order=order).run(40)[[5, 15, 40]]
                for seed in range(60)
            ]
        )
        for order in ORDERS
    }
    a, b = runs.values()
    error = np.sqrt((a.var(0, ddof=1) + b.var(0, ddof=1)) / 60)
    assert (np.abs(a.mean(0) - b.mean(0)) < 3.5 * error).all()


def test_room_grows_with_the_herd():
    crowd = WolfSheep(side=3, n_sheep=4, n_wolves=0, sheep_reproduce=1.0, sheep_gain=1e6, regrowth=0).run(7)
    assert crowd[-1, 0] > 36


@pytest.mark.parametrize("radius", [3.0, 9.0, 30.0])
def test_the_synchronous_flock_is_that_of_the_general_loop(radius):
    flock = Flocking(side=40.0, n_birds=120, radius=radius, order="synchronous", seed=4)
    x, y, u, v = flock.found()
    rules = [Flock(radius_m=radius, speed_m_h=1.0), Move()]
    world = World(space=Space(width_m=40, height_m=40, torus=True, cell_m=4), rules=rules)
    world.agents.add(120, x=x, y=y, dir_x=u, dir_y=v)
    advance(world, 5)
    birds, _ = flock.run(5)
    order = np.argsort(world.agents.key[:120])
    for own, name in zip(birds, ("x", "y", "dir_x", "dir_y"), strict=True):
        off = np.abs(own - getattr(world.agents, name)[order])
        assert (np.minimum(off, 40 - off) if name in "xy" else off).max() < 1e-3, name


def plain_sequential(flock, steps):
    """A flock whose birds turn one after another in the order of their numbers, all pairs, float64."""
    x, y, u, v = flock.found().astype(float)
    for _ in range(steps):
        for i in range(flock.n_birds):
            dx, dy = ((p - p[i] + flock.side / 2) % flock.side - flock.side / 2 for p in (x, y))
            seen = np.hypot(dx, dy) <= flock.radius
            near = np.hypot(dx, dy) < flock.separation
            seen[i] = near[i] = False
            wish = [
                flock.cohere * d[seen].sum() - flock.separate * d[near].sum() + flock.match * own[seen].sum()
                for d, own in ((dx, u), (dy, v))
            ]
            turn = np.array([u[i], v[i]]) + np.array(wish) / max(1, seen.sum())
            u[i], v[i] = turn / np.linalg.norm(turn)
            x[i], y[i] = (x[i] + u[i] * flock.speed) % flock.side, (y[i] + v[i] * flock.speed) % flock.side
    return np.hypot(u.mean(), v.mean())


@pytest.mark.parametrize("radius", [4.0, 12.0])
def test_the_sequential_flock_aligns_as_the_plain_one_does(radius):
    flocks = [Flocking(side=30.0, n_birds=40, radius=radius, match=0.3, seed=seed) for seed in range(12)]
    ours = np.array([flock.run(40)[1][-1] for flock in flocks])
    plain = np.array([plain_sequential(flock, 40) for flock in flocks])
    # The same founders, other orders of turning: the differences are small beside those between founders.
    assert np.abs(ours - plain).mean() < 0.1
    assert np.corrcoef(ours, plain)[0, 1] > 0.8


@pytest.mark.parametrize("order", ORDERS)
def test_a_single_bird_flies_straight_across_the_border(order):
    flock = Flocking(side=10.0, n_birds=1, radius=2.0, order=order)
    x, y, u, v = flock.found()[:, 0].astype(float)
    birds, series = flock.run(25)
    assert birds[:, 0] == pytest.approx([(x + 25 * u) % 10, (y + 25 * v) % 10, u, v], abs=1e-4)
    assert series == pytest.approx(np.ones(25), abs=1e-6)


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match="unknown order 'backwards'"):
        WolfSheep(order="backwards").run(1)


@pytest.mark.parametrize("order", ORDERS)
def test_a_town_segregates_though_nobody_wants_to_live_among_their_own_alone(order):
    town = Segregation(side=40, n_households=1000, radius=1, need=3, order=order)
    content, alike = town.run(20).T
    assert alike[0] == pytest.approx(0.5, abs=0.05)
    assert content[0] < 0.6
    assert alike[-1] > 0.7
    assert content[-1] > content[0] + 0.25
    assert np.array_equal(town.run(20), town.run(20))
    assert not np.array_equal(town.run(20), replace(town, seed=1).run(20))


def test_a_content_town_stays_and_an_uneasy_one_has_nowhere_better():
    alone = Segregation(side=6, n_households=20, radius=1, need=0).run(3)
    assert (alone[:, 0] == 1).all()
    assert (alone == alone[0]).all()
    # Nobody can have 9 of 8 neighbours alike, so that all move in every step and none is content.
    assert (Segregation(side=6, n_households=20, radius=1, need=9, order="synchronous").run(5)[:, 0] == 0).all()


def test_shares_of_a_town_are_counted_by_hand():
    town = Segregation(side=5, n_households=12, radius=1, need=2, seed=3)
    kind = town.found()[0].reshape(5, 5)
    content, shares = [], []
    for row, column in np.argwhere(kind):
        around = kind[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        same, total = (around == kind[row, column]).sum() - 1, (around > 0).sum() - 1
        content.append(same >= 2)
        shares += [same / total] if total else []
    assert town.run(0)[0] == pytest.approx([np.mean(content), np.mean(shares)])


def test_a_full_town_is_refused():
    with pytest.raises(ValueError, match="n_households 25 must be between 1 and 24"):
        Segregation(side=5, n_households=25).run(1)
