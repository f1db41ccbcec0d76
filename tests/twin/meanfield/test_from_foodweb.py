"""Food webs as equations: balanced savannas, networks of body masses, cascades."""

import numpy as np
import pytest

pytest.importorskip("scipy")

from linnaea.twin.data.foodweb import compute_trophic_levels, load_bundled_web
from linnaea.twin.data.species import load_bundled_species
from linnaea.twin.meanfield.equations import Rates, compute_flows, integrate
from linnaea.twin.meanfield.from_foodweb import (
    BalanceConfig,
    build_allometric_network,
    build_balanced_model,
    get_usual_biomass,
)
from linnaea.twin.meanfield.stability import compute_cascade_signs, compute_disturbance_growth
from linnaea.twin.meanfield.textbook import make_food_chain

WORLDS = ("savanna", "island", "galapagos", "post", "tutorial")


@pytest.mark.parametrize("world", WORLDS)
def test_a_web_is_balanced_at_the_usual_densities_and_its_species_stay(world):
    web = load_bundled_web(world, load_bundled_species())
    model = build_balanced_model(web)
    rates = Rates(model)
    start = rates.make_start()
    assert np.abs(rates(start) / start).max() < 1e-7
    for node in model.nodes:
        if not web.species[node.name].basal:
            assert node.start == pytest.approx(get_usual_biomass(web.species[node.name]))
    assert compute_disturbance_growth(model) < 0
    trajectory = integrate(model, 50, [50])
    assert not trajectory.extinctions
    assert trajectory.state_tsc[-1, :, 0] == pytest.approx(start[:, 0], rel=0.01)


def test_the_savanna_comes_back_after_a_disturbance():
    web = load_bundled_web("savanna", load_bundled_species())
    model = build_balanced_model(web)
    rng = np.random.default_rng(0)
    nodes = tuple(
        type(node)(**{**vars(node), "start": node.start * float(np.exp(rng.normal(0, 0.3)))}) for node in model.nodes
    )
    disturbed = type(model)(**{**vars(model), "nodes": nodes})
    last = integrate(disturbed, 300, [300])
    usual = np.array([node.start for node in model.nodes])
    assert not last.extinctions
    assert np.abs(np.log(last.state_tsc[-1, :, 0] / usual)).max() < 0.3


def test_flows_of_the_savanna_pay_for_their_eaters():
    web = load_bundled_web("savanna", load_bundled_species())
    model = build_balanced_model(web)
    flow = compute_flows(model, {node.name: node.start for node in model.nodes})
    lion = next(node for node in model.nodes if node.name == "lion")
    eaten = sum(value for (eater, _), value in flow.items() if eater == "lion")
    gained = sum(
        value * link.efficiency
        for (pair, value), link in zip(flow.items(), model.links, strict=True)
        if pair[0] == "lion"
    )
    assert gained == pytest.approx((lion.metabolism + lion.mortality) * lion.start)
    # A lion's food a day, in kg: half of what it can take at most.
    assert 2 < eaten / lion.start * 150 / 365.25 < 10
    levels = compute_trophic_levels(web, flow)
    assert 2.5 < levels["lion"] < 3.1
    assert levels["wildebeest"] == pytest.approx(2)


def test_more_predators_than_their_prey_can_bear_is_an_error_with_a_remedy():
    species = load_bundled_species()
    lions = dict(species)
    lions["lion"] = type(species["lion"])(**{**vars(species["lion"]), "density_per_km2": 2.0})
    with pytest.raises(ValueError, match=r"would have to eat .* lower their density_per_km2"):
        build_balanced_model(load_bundled_web("savanna", lions))
    cattle = dict(species)
    cattle["wildebeest"] = type(species["lion"])(**{**vars(species["wildebeest"]), "density_per_km2": 5000.0})
    with pytest.raises(ValueError, match="grass' would be eaten in a year"):
        build_balanced_model(load_bundled_web("savanna", cattle))
    with pytest.raises(ValueError, match=r"maintenance 1.5"):
        BalanceConfig(maintenance=1.5)


@pytest.mark.parametrize("seed", range(12))
def test_a_top_predator_thins_herbivores_and_greens_the_world(seed):
    two, three = (integrate(make_food_chain(levels, seed), 1500, [1500]).interpolate(1500) for levels in (2, 3))
    after = {name: float(value) for name, value in three.items()}
    before = {name: float(value) for name, value in two.items()} | {"level3": 0.0}
    assert min(after.values()) > 1e-3
    assert compute_cascade_signs(before, after, ["level1", "level2", "level3"]) == [1, -1, 1]


def test_a_network_of_masses_lives_and_loses_its_misfits():
    rng = np.random.default_rng(2)
    model = build_allometric_network(10 ** rng.uniform(0, 6, 8), 10 ** np.sort(rng.uniform(2.5, 9, 8)), start=5.0)
    trajectory = integrate(model, 2000, [2000])
    alive = [name for name in model.names if name not in trajectory.extinctions]
    assert sum(name.startswith("p") for name in alive) >= 2
    assert sum(name.startswith("a") for name in alive) >= 2
    assert (trajectory.state_tsc[-1] >= 0).all()
    assert trajectory.state_tsc.max() < 1e4
    with pytest.raises(ValueError, match=r"animal a0 of mass 0.001 has nothing to eat"):
        build_allometric_network([1.0], [0.001])
    with pytest.raises(ValueError, match="7 levels"):
        make_food_chain(7)
