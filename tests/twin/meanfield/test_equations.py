"""The equations against what is known: each result through the shipped system with a configuration."""

import math

import numpy as np
import pytest

pytest.importorskip("scipy")

from linnaea.twin.meanfield.equations import Rates, flows, integrate, iterate
from linnaea.twin.meanfield.model import Disease, Link, MeanField, Node, Space, Uptake
from linnaea.twin.meanfield.stability import (
    crossings,
    doubling,
    equilibrium,
    extremes,
    front_speed,
    growth_of_disturbance,
    jacobian,
    map_multiplier,
    map_period,
    settled,
    turning_point,
)
from linnaea.twin.meanfield.textbook import (
    competition,
    epidemic,
    invasion,
    logistic,
    lotka_volterra,
    ricker,
    rosenzweig_macarthur,
)
from linnaea.twin.reference_models.metapopulation import island, levins


def grass(**more) -> MeanField:
    return MeanField(nodes=(Node(name="grass", **more),))


def test_logistic_growth_follows_its_formula():
    trajectory = integrate(logistic(), 20)
    t, n0, k = trajectory.time_t, 0.1, 3.0
    expected = k / (1 + (k - n0) / n0 * np.exp(-0.7 * t))
    assert np.abs(trajectory.of("grass") / expected - 1).max() < 1e-6


@pytest.mark.parametrize(("start", "period"), [(1.0001, 2 * math.pi), (2, 6.60848), (5, 8.96586)])
def test_lotka_volterra_keeps_its_quantity_and_period(start, period):
    trajectory = integrate(lotka_volterra(start, 1), 30)
    x, y = trajectory.of("hare"), trajectory.of("lynx")
    assert np.ptp(x - np.log(x) + y - np.log(y)) < 1e-8
    assert np.diff(crossings(trajectory, "hare", 1.0)) == pytest.approx(period, abs=1e-5)


def test_lotka_volterra_of_hare_and_lynx_turns_in_ten_years():
    trajectory = integrate(lotka_volterra(33.956, 5.933, 0.55, 0.028, 0.024, 0.80), 45)
    assert np.diff(crossings(trajectory, "hare", 30.0)) == pytest.approx(10.1486, abs=1e-4)


def test_rosenzweig_macarthur_balances_turns_and_cycles():
    assert equilibrium(rosenzweig_macarthur(2.0))["hare"] == pytest.approx(2 / 3, abs=1e-10)
    assert turning_point(rosenzweig_macarthur, 1.5, 3.0) == pytest.approx(7 / 3, abs=1e-6)
    assert growth_of_disturbance(rosenzweig_macarthur(2.0)) < 0 < growth_of_disturbance(rosenzweig_macarthur(3.0))
    for capacity, low, high in ((3.0, 0.0916, 2.1167), (5.0, 0.00104, 4.611)):
        _, found = settled(rosenzweig_macarthur(capacity), 500, 60)
        assert found["hare"] == pytest.approx((low, high), rel=0.01)


def test_functional_responses_have_their_limits():
    def eaten(prey, hill, handling=0.5, interference=0.0, eaters=1.0):
        nodes = (Node(name="prey", start=prey), Node(name="eater", start=eaters, interference=interference))
        link = Link(predator="eater", prey="prey", attack=2.0, handling=handling, hill=hill)
        return flows(MeanField(nodes=nodes, links=(link,)), {"prey": prey, "eater": eaters})["eater", "prey"]

    assert eaten(3.0, 1, handling=0) == pytest.approx(6)
    assert eaten(3.0, 1) == pytest.approx(6 / (1 + 3))
    assert eaten(3.0, 2) == pytest.approx(18 / (1 + 9))
    assert eaten(1e9, 1) == pytest.approx(2) and eaten(1e9, 2) == pytest.approx(2)
    assert eaten(1e-6, 1) == pytest.approx(2e-6, rel=1e-5) and eaten(1e-6, 2) == pytest.approx(2e-12, rel=1e-5)
    assert eaten(3.0, 1, interference=0.5, eaters=4.0) == pytest.approx(4 * 6 / (1 + 2 + 3))


def test_rickers_map_doubles_and_has_its_window_of_three():
    one = iterate(ricker(1.3), 5).of("salmon")
    expected = [0.7]
    for _ in range(5):
        expected.append(expected[-1] * math.exp(1.3 * (1 - expected[-1])))
    assert one == pytest.approx(expected, rel=1e-14)
    assert doubling(ricker, 1, 1.5, 2.2) == pytest.approx(2.0, abs=1e-6)
    assert doubling(ricker, 2, 2.2, 2.6) == pytest.approx(2.5264, abs=1e-4)
    assert doubling(ricker, 4, 2.55, 2.67) == pytest.approx(2.6563, abs=1e-4)
    assert [map_period(ricker(r)) for r in (1.9, 2.3, 2.6, 2.67, 3.0, 3.12)] == [1, 2, 4, 8, 0, 3]
    assert map_multiplier(ricker(1.5), 1) == pytest.approx(-0.5, abs=1e-6)


@pytest.mark.parametrize(
    ("contact", "size", "peak"), [(1.5, 0.582812, 0.063023), (2, 0.796812, 0.153426), (3, 0.940480, 0.300463)]
)
def test_an_epidemic_has_its_final_size_and_peak(contact, size, peak):
    trajectory = integrate(epidemic(contact), 150)
    assert trajectory.of("zebra", "immune")[-1] == pytest.approx(size, abs=1e-6)
    assert extremes(trajectory, "zebra", "ill")[1] == pytest.approx(peak, abs=1e-6)
    # The size solves its own equation: 1 − z = exp(−R0 z).
    z = trajectory.of("zebra", "immune")[-1]
    assert 1 - z == pytest.approx(math.exp(-contact * z), abs=1e-6)


def test_vaccination_past_the_threshold_stops_an_epidemic_and_deaths_thin_the_herd():
    host = Node(name="zebra", start=50.0)

    def spread(**more):
        disease = Disease(host="zebra", contact=2.0, recovery=1.0, ill=1e-4, **more)
        return integrate(MeanField(nodes=(host,), diseases=(disease,)), 60)

    assert spread(immune=0.55).of("zebra", "ill")[-1] < 1e-6 * 50
    assert spread(immune=0.55).of("zebra", "immune")[-1] < 0.56 * 50
    deadly = spread(mortality=0.5)
    assert deadly.of("zebra")[-1] < 48 < spread().of("zebra")[-1]


def test_an_invasion_advances_at_fishers_speed():
    trajectory = integrate(invasion(), 70, np.linspace(0, 70, 71))
    speed = front_speed(trajectory, "rabbit", 0.5, since=40)
    assert speed == pytest.approx(1.975, rel=0.01) and speed == pytest.approx(2, rel=0.03)
    with pytest.raises(ValueError, match="no front"):
        front_speed(integrate(invasion(0.5, 20), 20), "rabbit", 0.5, since=10)


def test_diffusion_keeps_what_there_is_and_reaches_all_alike():
    rng = np.random.default_rng(0)
    start = tuple(rng.random(48))
    for torus in (False, True):
        space = Space(shape=(6, 8), spacing=0.5, torus=torus)
        system = MeanField(nodes=(Node(name="a", start=start, diffusion=1.0),), space=space, rtol=1e-8, atol=1e-10)
        trajectory = integrate(system, 50, [1, 50])
        assert trajectory.of("a").shape == (2, 6, 8)
        assert trajectory.of("a").sum((1, 2)) == pytest.approx(sum(start), rel=1e-9)
        assert np.ptp(trajectory.of("a")[-1]) < 1e-6


def test_diffusion_widens_a_heap_by_two_d_t():
    place = (np.arange(201) + 0.5) * 0.2
    start = tuple(np.exp(-((place - 20.1) ** 2) / 2))
    system = MeanField(
        nodes=(Node(name="a", start=start, diffusion=0.8),), space=Space(shape=(201,), spacing=0.2), rtol=1e-8
    )
    last = integrate(system, 3.0, [3.0]).of("a")[0]
    assert ((place - 20.1) ** 2 * last).sum() / last.sum() == pytest.approx(1 + 2 * 0.8 * 3, rel=1e-4)


@pytest.mark.parametrize("seed", range(12))
def test_the_lowest_r_star_wins(seed):
    rng = np.random.default_rng(seed)
    growth, half, death = rng.uniform(0.6, 1.5, 3), rng.uniform(0.2, 2.0, 3), rng.uniform(0.1, 0.4, 3)
    star = death * half / (growth - death)
    system = competition(growth, half, death)
    last = integrate(system, 4000).state_tsc[-1, :, 0]
    assert last[0] == pytest.approx(star.min(), rel=1e-2)
    assert int(np.argmax(last[1:])) == int(np.argmin(star))
    assert np.sort(last[1:])[-2] < 0.05 * last[1:].max()


def test_the_scarcest_nutrient_sets_the_growth():
    nodes = (Node(name="n", start=1.0), Node(name="p", start=3.0), Node(name="plant", start=2.0, growth=1.0))
    uptakes = tuple(
        Uptake(plant="plant", nutrient=x, half_saturation=1.0, content=c) for x, c in (("n", 0.5), ("p", 0.1))
    )
    rates = Rates(MeanField(nodes=nodes, uptakes=uptakes))
    assert rates(rates.start())[:, 0] == pytest.approx([-0.5, -0.1, 1.0])


def test_occupied_patches_and_species_of_islands_come_to_their_shares():
    assert integrate(levins(0.5, 0.2), 200).of("occupied")[-1] == pytest.approx(1 - 0.2 / 0.5, abs=1e-9)
    assert integrate(levins(0.2, 0.5), 200).of("occupied")[-1] < 1e-9
    assert equilibrium(levins(0.5, 0.2), {"occupied": 0.5})["occupied"] == pytest.approx(0.6)
    assert integrate(island(100, 4.0, 6.0), 300).of("species")[-1] == pytest.approx(40, abs=1e-6)
    with pytest.raises(ValueError, match="pool of 0"):
        island(0, 1, 1)


def test_mass_goes_nowhere_but_into_respiration_and_out_of_the_system():
    nodes = (
        Node(name="grass", start=5.0),
        Node(name="zebra", start=2.0, mortality=0.3, remains="carcass", waste="dung"),
        Node(name="vulture", start=0.5, metabolism=0.2),
        Node(name="carcass", start=0.1),
        Node(name="dung", start=0.0),
    )
    links = (
        Link(predator="zebra", prey="grass", attack=0.4, handling=0.3, efficiency=0.2, respired=0.3),
        Link(predator="vulture", prey="carcass", attack=1.0, efficiency=0.4, respired=0.6),
    )
    system = MeanField(nodes=nodes, links=links)
    rates = Rates(system)
    change = rates(rates.start())[:, 0]
    eaten = flows(system, {node.name: node.start for node in nodes})
    respired = 0.3 * eaten["zebra", "grass"] + 0.6 * eaten["vulture", "carcass"] + 0.2 * 0.5
    assert change.sum() == pytest.approx(-respired, rel=1e-12)
    assert change[4] == pytest.approx(0.5 * eaten["zebra", "grass"])


def test_a_jacobian_by_hand():
    slopes = jacobian(lotka_volterra(1, 1), {"hare": 2.0, "lynx": 3.0})
    assert slopes == pytest.approx(np.array([[-2, -2], [3, 1]]), abs=1e-6)


def test_extinction_is_a_moment_and_is_final():
    node = Node(name="last", start=1.0, metabolism=0.5)
    system = MeanField(nodes=(node, Node(name="grass", start=1.0, growth=1.0, capacity=2.0)), extinct_below=0.01)
    trajectory = integrate(system, 30)
    assert trajectory.extinctions["last"] == pytest.approx(math.log(100) / 0.5, rel=1e-6)
    assert (trajectory.of("last")[trajectory.time_t > 9.3] == 0).all()
    assert trajectory.at(1.0)["last"] == pytest.approx(math.exp(-0.5))
    assert trajectory.of("grass")[-1] == pytest.approx(2, rel=1e-6)


def test_a_relabelled_system_goes_the_same_way():
    first = rosenzweig_macarthur(3.0)
    other = MeanField(nodes=first.nodes[::-1], links=first.links)
    assert integrate(other, 50).of("hare") == pytest.approx(integrate(first, 50).of("hare"), rel=1e-8)


def test_noise_has_its_variance_and_its_seed():
    system = MeanField(nodes=(Node(name="moose", start=100.0, noise=0.1, demographic=1.0),))
    change = np.log(iterate(system, 1, n_members=20000, seed=3).of("moose")[1] / 100)
    assert change.std() == pytest.approx(math.sqrt(0.01 + 0.01), rel=0.03)
    assert abs(change.mean()) < 0.005
    again = iterate(system, 4, n_members=5, seed=3).of("moose")
    assert (again == iterate(system, 4, n_members=5, seed=3).of("moose")).all()
    assert (again != iterate(system, 4, n_members=5, seed=4).of("moose"))[1:].all()


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: grass(growth=-1.0), "node grass: growth -1.0 is impossible"),
        (lambda: grass(growth=math.nan), "node grass: growth nan is impossible"),
        (lambda: grass(capacity=0.0), "node grass: capacity 0"),
        (lambda: grass(remains="soil"), "'soil' is no node; known are grass"),
        (lambda: grass(start=(1.0, 2.0)), "2 densities for 1 cells"),
        (lambda: MeanField(nodes=()), "none: a system needs nodes"),
        (lambda: MeanField(nodes=(Node(name="a"), Node(name="a"))), "each with a name of its own"),
        (
            lambda: MeanField(nodes=(Node(name="a"),), links=(Link(predator="a", prey="b", attack=1.0),)),
            "'b' is no node",
        ),
        (
            lambda: MeanField(
                nodes=(Node(name="a"),), links=(Link(predator="a", prey="a", attack=1.0, efficiency=1.2),)
            ),
            "efficiency 1.2",
        ),
        (
            lambda: MeanField(
                nodes=(Node(name="a"),), diseases=(Disease(host="a", contact=1, recovery=1, ill=0.6, immune=0.6),)
            ),
            "more than all",
        ),
        (lambda: integrate(logistic(), 0), "until 0"),
        (lambda: iterate(levins_with_nutrient(), 3), "a map has no nutrients"),
        (lambda: integrate(logistic(), 1).of("tree"), "'tree' is not in the system; it has grass"),
        (lambda: integrate(logistic(), 1).of("grass", "ill"), "has no part 'ill'"),
    ],
)
def test_an_impossible_system_is_one_line_that_says_what(made, words):
    with pytest.raises(ValueError) as error:
        made()
    assert words in str(error.value) and "\n" not in str(error.value)


def levins_with_nutrient() -> MeanField:
    return MeanField(nodes=(Node(name="n", turnover=1.0, supply=1.0),))
