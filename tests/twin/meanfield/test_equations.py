"""The equations against what is known: each result through the shipped model with a configuration."""

import math
import re

import numpy as np
import pytest

pytest.importorskip("scipy")

from linnaea.twin.meanfield.equations import Rates, compute_flows, integrate, iterate
from linnaea.twin.meanfield.model import HostDisease, Lattice, Link, MeanFieldModel, Node, Uptake
from linnaea.twin.meanfield.stability import (
    compute_disturbance_growth,
    compute_jacobian,
    compute_map_multiplier,
    find_crossings,
    find_equilibrium,
    find_extremes,
    find_map_period,
    find_period_doubling,
    find_stability_change,
    integrate_to_attractor,
    measure_front_speed,
)
from linnaea.twin.meanfield.textbook import (
    make_competition,
    make_epidemic,
    make_invasion,
    make_logistic,
    make_lotka_volterra,
    make_ricker,
    make_rosenzweig_macarthur,
)
from linnaea.twin.reference_models.metapopulation import make_island, make_levins


def grass(**more) -> MeanFieldModel:
    return MeanFieldModel(nodes=(Node(name="grass", **more),))


def test_logistic_growth_follows_its_formula():
    trajectory = integrate(make_logistic(), 20)
    t, n0, k = trajectory.time_t, 0.1, 3.0
    expected = k / (1 + (k - n0) / n0 * np.exp(-0.7 * t))
    assert np.abs(trajectory.get_density("grass") / expected - 1).max() < 1e-6


@pytest.mark.parametrize(("start", "period"), [(1.0001, 2 * math.pi), (2, 6.60848), (5, 8.96586)])
def test_lotka_volterra_keeps_its_quantity_and_period(start, period):
    trajectory = integrate(make_lotka_volterra(start, 1), 30)
    x, y = trajectory.get_density("hare"), trajectory.get_density("lynx")
    assert np.ptp(x - np.log(x) + y - np.log(y)) < 1e-8
    assert np.diff(find_crossings(trajectory, "hare", 1.0)) == pytest.approx(period, abs=1e-5)


def test_lotka_volterra_of_hare_and_lynx_turns_in_ten_years():
    trajectory = integrate(make_lotka_volterra(33.956, 5.933, 0.55, 0.028, 0.024, 0.80), 45)
    assert np.diff(find_crossings(trajectory, "hare", 30.0)) == pytest.approx(10.1486, abs=1e-4)


def test_rosenzweig_macarthur_balances_turns_and_cycles():
    assert find_equilibrium(make_rosenzweig_macarthur(2.0))["hare"] == pytest.approx(2 / 3, abs=1e-10)
    assert find_stability_change(make_rosenzweig_macarthur, 1.5, 3.0) == pytest.approx(7 / 3, abs=1e-6)
    assert (
        compute_disturbance_growth(make_rosenzweig_macarthur(2.0))
        < 0
        < compute_disturbance_growth(make_rosenzweig_macarthur(3.0))
    )
    for capacity, low, high in ((3.0, 0.0916, 2.1167), (5.0, 0.00104, 4.611)):
        _, found = integrate_to_attractor(make_rosenzweig_macarthur(capacity), 500, 60)
        assert found["hare"] == pytest.approx((low, high), rel=0.01)


def test_functional_responses_have_their_limits():
    def eaten(prey, hill, handling=0.5, interference=0.0, eaters=1.0):
        nodes = (Node(name="prey", start=prey), Node(name="eater", start=eaters, interference=interference))
        link = Link(predator="eater", prey="prey", attack=2.0, handling=handling, hill=hill)
        return compute_flows(MeanFieldModel(nodes=nodes, links=(link,)), {"prey": prey, "eater": eaters})[
            "eater", "prey"
        ]

    assert eaten(3.0, 1, handling=0) == pytest.approx(6)
    assert eaten(3.0, 1) == pytest.approx(6 / (1 + 3))
    assert eaten(3.0, 2) == pytest.approx(18 / (1 + 9))
    assert eaten(1e9, 1) == pytest.approx(2)
    assert eaten(1e9, 2) == pytest.approx(2)
    assert eaten(1e-6, 1) == pytest.approx(2e-6, rel=1e-5)
    assert eaten(1e-6, 2) == pytest.approx(2e-12, rel=1e-5)
    assert eaten(3.0, 1, interference=0.5, eaters=4.0) == pytest.approx(4 * 6 / (1 + 2 + 3))


def test_rickers_map_doubles_and_has_its_window_of_three():
    one = iterate(make_ricker(1.3), 5).get_density("salmon")
    expected = [0.7]
    for _ in range(5):
        expected.append(expected[-1] * math.exp(1.3 * (1 - expected[-1])))
    assert one == pytest.approx(expected, rel=1e-14)
    assert find_period_doubling(make_ricker, 1, 1.5, 2.2) == pytest.approx(2.0, abs=1e-6)
    assert find_period_doubling(make_ricker, 2, 2.2, 2.6) == pytest.approx(2.5264, abs=1e-4)
    assert find_period_doubling(make_ricker, 4, 2.55, 2.67) == pytest.approx(2.6563, abs=1e-4)
    assert [find_map_period(make_ricker(r)) for r in (1.9, 2.3, 2.6, 2.67, 3.0, 3.12)] == [1, 2, 4, 8, 0, 3]
    assert compute_map_multiplier(make_ricker(1.5), 1) == pytest.approx(-0.5, abs=1e-6)


@pytest.mark.parametrize(
    ("contact", "size", "peak"), [(1.5, 0.582812, 0.063023), (2, 0.796812, 0.153426), (3, 0.940480, 0.300463)]
)
def test_an_epidemic_has_its_final_size_and_peak(contact, size, peak):
    trajectory = integrate(make_epidemic(contact), 150)
    assert trajectory.get_density("zebra", "immune")[-1] == pytest.approx(size, abs=1e-6)
    assert find_extremes(trajectory, "zebra", "ill")[1] == pytest.approx(peak, abs=1e-6)
    # The size solves its own equation: 1 − z = exp(−R0 z).
    z = trajectory.get_density("zebra", "immune")[-1]
    assert 1 - z == pytest.approx(math.exp(-contact * z), abs=1e-6)


def test_vaccination_past_the_threshold_stops_an_epidemic_and_deaths_thin_the_herd():
    host = Node(name="zebra", start=50.0)

    def spread(**more):
        disease = HostDisease(host="zebra", contact=2.0, recovery=1.0, ill=1e-4, **more)
        return integrate(MeanFieldModel(nodes=(host,), diseases=(disease,)), 60)

    assert spread(immune=0.55).get_density("zebra", "ill")[-1] < 1e-6 * 50
    assert spread(immune=0.55).get_density("zebra", "immune")[-1] < 0.56 * 50
    deadly = spread(mortality=0.5)
    assert deadly.get_density("zebra")[-1] < 48 < spread().get_density("zebra")[-1]


def test_an_invasion_advances_at_fishers_speed():
    trajectory = integrate(make_invasion(), 70, np.linspace(0, 70, 71))
    speed = measure_front_speed(trajectory, "rabbit", 0.5, since=40)
    assert speed == pytest.approx(1.975, rel=0.01)
    assert speed == pytest.approx(2, rel=0.03)
    with pytest.raises(ValueError, match="no front"):
        measure_front_speed(integrate(make_invasion(0.5, 20), 20), "rabbit", 0.5, since=10)


def test_diffusion_keeps_what_there_is_and_reaches_all_alike():
    rng = np.random.default_rng(0)
    start = tuple(rng.random(48))
    for torus in (False, True):
        space = Lattice(shape=(6, 8), spacing=0.5, torus=torus)
        model = MeanFieldModel(nodes=(Node(name="a", start=start, diffusion=1.0),), space=space, rtol=1e-8, atol=1e-10)
        trajectory = integrate(model, 50, [1, 50])
        assert trajectory.get_density("a").shape == (2, 6, 8)
        assert trajectory.get_density("a").sum((1, 2)) == pytest.approx(sum(start), rel=1e-9)
        assert np.ptp(trajectory.get_density("a")[-1]) < 1e-6


def test_diffusion_widens_a_heap_by_two_d_t():
    place = (np.arange(201) + 0.5) * 0.2
    start = tuple(np.exp(-((place - 20.1) ** 2) / 2))
    model = MeanFieldModel(
        nodes=(Node(name="a", start=start, diffusion=0.8),), space=Lattice(shape=(201,), spacing=0.2), rtol=1e-8
    )
    last = integrate(model, 3.0, [3.0]).get_density("a")[0]
    assert ((place - 20.1) ** 2 * last).sum() / last.sum() == pytest.approx(1 + 2 * 0.8 * 3, rel=1e-4)


@pytest.mark.parametrize("seed", range(12))
def test_the_lowest_r_star_wins(seed):
    rng = np.random.default_rng(seed)
    growth, half, death = rng.uniform(0.6, 1.5, 3), rng.uniform(0.2, 2.0, 3), rng.uniform(0.1, 0.4, 3)
    star = death * half / (growth - death)
    model = make_competition(growth, half, death)
    last = integrate(model, 4000).state_tsc[-1, :, 0]
    assert last[0] == pytest.approx(star.min(), rel=1e-2)
    assert int(np.argmax(last[1:])) == int(np.argmin(star))
    assert np.sort(last[1:])[-2] < 0.05 * last[1:].max()


def test_the_scarcest_nutrient_sets_the_growth():
    nodes = (Node(name="n", start=1.0), Node(name="p", start=3.0), Node(name="plant", start=2.0, growth=1.0))
    uptakes = tuple(
        Uptake(plant="plant", nutrient=x, half_saturation=1.0, content=c) for x, c in (("n", 0.5), ("p", 0.1))
    )
    rates = Rates(MeanFieldModel(nodes=nodes, uptakes=uptakes))
    assert rates(rates.make_start())[:, 0] == pytest.approx([-0.5, -0.1, 1.0])


def test_occupied_patches_and_species_of_islands_come_to_their_shares():
    assert integrate(make_levins(0.5, 0.2), 200).get_density("occupied")[-1] == pytest.approx(1 - 0.2 / 0.5, abs=1e-9)
    assert integrate(make_levins(0.2, 0.5), 200).get_density("occupied")[-1] < 1e-9
    assert find_equilibrium(make_levins(0.5, 0.2), {"occupied": 0.5})["occupied"] == pytest.approx(0.6)
    assert integrate(make_island(100, 4.0, 6.0), 300).get_density("species")[-1] == pytest.approx(40, abs=1e-6)
    with pytest.raises(ValueError, match="pool of 0"):
        make_island(0, 1, 1)


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
    model = MeanFieldModel(nodes=nodes, links=links)
    rates = Rates(model)
    change = rates(rates.make_start())[:, 0]
    eaten = compute_flows(model, {node.name: node.start for node in nodes})
    respired = 0.3 * eaten["zebra", "grass"] + 0.6 * eaten["vulture", "carcass"] + 0.2 * 0.5
    assert change.sum() == pytest.approx(-respired, rel=1e-12)
    assert change[4] == pytest.approx(0.5 * eaten["zebra", "grass"])


def test_a_jacobian_by_hand():
    slopes = compute_jacobian(make_lotka_volterra(1, 1), {"hare": 2.0, "lynx": 3.0})
    assert slopes == pytest.approx(np.array([[-2, -2], [3, 1]]), abs=1e-6)


def test_extinction_is_a_moment_and_is_final():
    node = Node(name="last", start=1.0, metabolism=0.5)
    model = MeanFieldModel(nodes=(node, Node(name="grass", start=1.0, growth=1.0, capacity=2.0)), extinct_below=0.01)
    trajectory = integrate(model, 30)
    assert trajectory.extinctions["last"] == pytest.approx(math.log(100) / 0.5, rel=1e-6)
    assert (trajectory.get_density("last")[trajectory.time_t > 9.3] == 0).all()
    assert trajectory.interpolate(1.0)["last"] == pytest.approx(math.exp(-0.5))
    assert trajectory.get_density("grass")[-1] == pytest.approx(2, rel=1e-6)


def test_a_relabelled_system_goes_the_same_way():
    first = make_rosenzweig_macarthur(3.0)
    other = MeanFieldModel(nodes=first.nodes[::-1], links=first.links)
    assert integrate(other, 50).get_density("hare") == pytest.approx(integrate(first, 50).get_density("hare"), rel=1e-8)


def test_noise_has_its_variance_and_its_seed():
    model = MeanFieldModel(nodes=(Node(name="moose", start=100.0, noise=0.1, demographic=1.0),))
    change = np.log(iterate(model, 1, n_members=20000, seed=3).get_density("moose")[1] / 100)
    assert change.std() == pytest.approx(math.sqrt(0.01 + 0.01), rel=0.03)
    assert abs(change.mean()) < 0.005
    again = iterate(model, 4, n_members=5, seed=3).get_density("moose")
    assert (again == iterate(model, 4, n_members=5, seed=3).get_density("moose")).all()
    assert (again != iterate(model, 4, n_members=5, seed=4).get_density("moose"))[1:].all()


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: grass(growth=-1.0), "node grass: growth -1.0 is impossible"),
        (lambda: grass(growth=math.nan), "node grass: growth nan is impossible"),
        (lambda: grass(capacity=0.0), "node grass: capacity 0"),
        (lambda: grass(remains="soil"), "unknown node 'soil'; known are grass"),
        (lambda: grass(start=(1.0, 2.0)), "2 densities for 1 cells"),
        (lambda: MeanFieldModel(nodes=()), "none: a model needs nodes"),
        (lambda: MeanFieldModel(nodes=(Node(name="a"), Node(name="a"))), "each with a name of its own"),
        (
            lambda: MeanFieldModel(nodes=(Node(name="a"),), links=(Link(predator="a", prey="b", attack=1.0),)),
            "unknown node 'b'",
        ),
        (
            lambda: MeanFieldModel(
                nodes=(Node(name="a"),), links=(Link(predator="a", prey="a", attack=1.0, efficiency=1.2),)
            ),
            "efficiency 1.2",
        ),
        (
            lambda: MeanFieldModel(
                nodes=(Node(name="a"),), diseases=(HostDisease(host="a", contact=1, recovery=1, ill=0.6, immune=0.6),)
            ),
            "at most 1 together",
        ),
        (lambda: integrate(make_logistic(), 0), "until 0"),
        (lambda: iterate(levins_with_nutrient(), 3), "a map has no nutrients"),
        (lambda: integrate(make_logistic(), 1).get_density("tree"), "'tree' is not in the model; it has grass"),
        (lambda: integrate(make_logistic(), 1).get_density("grass", "ill"), "has no part 'ill'"),
    ],
)
def test_an_impossible_system_is_one_line_that_says_what(made, words):
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        made()
    assert "\n" not in str(error.value)


def levins_with_nutrient() -> MeanFieldModel:
    return MeanFieldModel(nodes=(Node(name="n", turnover=1.0, supply=1.0),))
