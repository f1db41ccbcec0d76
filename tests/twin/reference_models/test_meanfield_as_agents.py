"""A mean-field model as individuals: rates, bookkeeping, what it does not know."""

import math
from dataclasses import replace

import numpy as np
import pytest

from linnaea.twin.engine.step import advance
from linnaea.twin.meanfield.equations import compute_flows, integrate
from linnaea.twin.meanfield.model import Link, MeanFieldModel, Node
from linnaea.twin.meanfield.textbook import (
    make_competition,
    make_epidemic,
    make_grazers,
    make_invasion,
    make_logistic,
    make_lotka_volterra,
    make_rosenzweig_macarthur,
)
from linnaea.twin.reference_models.meanfield_as_agents import MASS, build_agent_world, compute_densities


def test_the_first_densities_are_those_of_the_system_in_whole_individuals():
    world = build_agent_world(make_rosenzweig_macarthur(2.0), 50, 0.1, mass={"hare": 0.1})
    assert world.species == ("hare", "lynx")
    assert world.arrays[MASS].tolist() == [0.1, 1.0]
    assert world.counts().tolist() == [300, 45]
    assert compute_densities(world) == pytest.approx([0.6, 0.9])
    assert world.space.width_m * world.space.height_m == pytest.approx(50)


def test_kills_and_births_come_at_the_rates_of_the_equations():
    """A lynx prefers one of two hares: eaten and born in 40 short steps against the rates at the densities of then."""
    hares = [Node(name=name, start=0.6, growth=0.5, capacity=1.0) for name in ("brown", "white")]
    links = [
        Link(predator="lynx", prey=name, attack=1.0, handling=0.7, efficiency=0.5, preference=w)
        for name, w in (("brown", 0.5), ("white", 1.0))
    ]
    lynx = Node(name="lynx", start=0.5, metabolism=0.2, interference=0.4)
    model, mass = MeanFieldModel(nodes=(*hares, lynx), links=tuple(links)), {"brown": 0.1, "white": 0.1}
    world, expected = build_agent_world(model, 600, 0.04, mass=mass, seed=2), np.zeros(2)
    for _ in range(40):
        per_time = compute_flows(model, dict(zip(model.names, compute_densities(world), strict=True)))
        expected += [per_time["lynx", name] * 600 / 0.1 * 0.04 for name in mass]
        advance(world, 1)
    eaten = world.tallies.eaten[2, :2]
    assert (np.abs(eaten - expected) < 4 * np.sqrt(expected)).all()
    # Half of a tenth of a lynx comes of each hare.
    assert abs(world.tallies.born[2] - 0.05 * eaten.sum()) < 4 * np.sqrt(0.05 * eaten.sum())


def test_predators_begin_as_busy_as_the_equations_have_them():
    world = build_agent_world(make_rosenzweig_macarthur(2.0), 2000, 0.01, mass={"hare": 0.1}, seed=1)
    a = world.agents
    left = a.until_h[: a.n][a.species[: a.n] == 1]
    share = 0.6 / 1.6
    assert abs((left != 0).mean() - share) < 4 * math.sqrt(share * (1 - share) / 1800)
    assert left.max() < 0.1
    assert left[left != 0].mean() == pytest.approx(0.05 - 0.005, abs=0.005)
    # From the first moment on they eat at the rate of the equations.
    expected = 2000 / 0.1 * 0.9 * 0.6 / 1.6 * 0.05
    advance(world, 5)
    assert abs(world.tallies.eaten[1, 0] - expected) < 4 * math.sqrt(expected)


def test_hare_and_lynx_turn_around_their_balance_as_the_equations_do():
    world, middle = build_agent_world(make_lotka_volterra(2, 1), 1500, 0.02, seed=1), np.ones(2)
    before, turned = compute_densities(world), 0.0
    while turned < 2 * math.pi and world.step < 600:
        advance(world, 1)
        now = compute_densities(world)
        (x0, y0), (x1, y1) = np.log([before, now] / middle)
        turned += math.atan2(x0 * y1 - y0 * x1, x0 * x1 + y0 * y1)
        before = now
    assert world.now_h == pytest.approx(6.608, abs=0.8)


def test_the_grazer_that_needs_least_is_left():
    needs = np.array([0.34, 0.2, 0.27])
    attack, handling = np.array([2.0, 1.2, 1.5]), np.array([0.3, 0.2, 0.1])
    model = make_grazers(attack, handling, 0.5 * attack * needs / (1 + attack * handling * needs))
    exact = integrate(model, 60).state_tsc[-1, :4, 0]
    mass = {"grass": 0.02, "g0": 0.1, "g1": 0.1, "g2": 0.1}
    world = build_agent_world(model, 30, 0.1, mass=mass, seed=1)
    advance(world, 600)
    assert np.argmax(exact[1:]) == np.argmax(compute_densities(world)[1:]) == 1


def test_a_node_with_growth_and_losses_comes_to_its_balance():
    grass = Node(name="grass", start=0.5, growth=1.0, capacity=2.0, mortality=0.25)
    world = build_agent_world(MeanFieldModel(nodes=(grass,)), 2000, 0.1, seed=1)
    advance(world, 150)
    assert compute_densities(world)[0] == pytest.approx(1.5, rel=0.06)


def test_young_begin_away_from_their_mothers_where_they_mix_and_beside_them_where_not():
    for mixing, near in ((1 / 3, False), (0.0, True)):
        world = build_agent_world(make_logistic(start=0.2), 400, 0.5, mixing=mixing, seed=1)
        advance(world, 3)
        a = world.agents
        young = a.slots()[a.parent[a.slots()] > 0]
        mothers = [a.find(int(parent)) for parent in a.parent[young]]
        alive = np.array(mothers) >= 0
        assert alive.sum() > 20
        away = np.hypot(*(a.arrays[name][young[alive]] - a.arrays[name][np.array(mothers)[alive]] for name in "xy"))
        assert (away < 1e-6).all() if near else (away > 0.1).mean() > 0.9


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (make_competition([1.0], [1.0], [0.2]), "no uptakes"),
        (make_epidemic(2.0), "no diseases"),
        (make_invasion(length=20.0), "no space"),
        (MeanFieldModel(nodes=(Node(name="fir", immigration=1.0),)), "no immigration of fir"),
        (
            MeanFieldModel(
                nodes=(Node(name="a", start=1.0), Node(name="b", start=1.0)),
                links=(Link(predator="b", prey="a", attack=1.0, hill=2.0),),
            ),
            "no hill 2 of b on a",
        ),
        (
            MeanFieldModel(nodes=(Node(name="moss", start=1.0, growth=0.1, capacity=1.0, mortality=0.2),)),
            "losses 0.2 exceed growth 0.1",
        ),
    ],
)
def test_what_individuals_do_not_know_is_refused(model, words):
    with pytest.raises(ValueError, match=words):
        build_agent_world(model, 10, 0.1)


def test_impossible_sizes_are_named():
    with pytest.raises(ValueError, match=r"area 0 and step 0.1"):
        build_agent_world(make_lotka_volterra(1, 1), 0, 0.1)
    with pytest.raises(ValueError, match="mass of wolf: unknown node; known are hare, lynx"):
        build_agent_world(make_lotka_volterra(1, 1), 10, 0.1, mass={"wolf": 1.0})
    with pytest.raises(ValueError, match="must be above 0"):
        build_agent_world(replace(make_logistic(), diseases=()), 10, 0.1, mass={"grass": 0.0})
