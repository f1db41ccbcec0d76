import numpy as np
import pytest

from linnaea.twin.engine.agents import INFECTIOUS, RECOVERED, SUSCEPTIBLE, VACCINATED
from linnaea.twin.engine.step import step
from linnaea.twin.engine.world import CAUSE
from linnaea.twin.rules.disease import infect, set_disease, vaccinate
from linnaea.twin.scenarios.scenario_file import attach, parse_scenario
from made_worlds import small

PEST = {"infection_per_h": 0.05, "illness_d": 10.0, "lethality": 0.5}


def outbreak(vaccinated=0.0, **changes):
    world = small(area_share=0.4, dt_h=2.0)
    a = world.agents
    rabbits = a.slots()[a.species[a.slots()] == 0]
    set_disease(world, {"rabbit": 1.0}, **(PEST | changes))
    infect(world, rabbits[:20])
    rest = rabbits[20:]
    vaccinate(world, rest[: int(vaccinated * len(rest))])
    for _ in range(12 * 40):
        step(world)
    return world


def test_a_disease_spreads_by_contact_and_kills_its_share():
    world = outbreak()
    dead = world.tallies.died[0, CAUSE["disease"]]
    recovered = np.count_nonzero(world.agents.health[world.agents.slots()] == 2)
    assert dead > 50
    assert 0.3 < dead / (dead + recovered) < 0.75
    assert world.tallies.died[1, CAUSE["disease"]] == 0


def test_vaccination_protects():
    assert (
        outbreak(vaccinated=0.9).tallies["died"][0, CAUSE["disease"]]
        < 0.3 * outbreak().tallies["died"][0, CAUSE["disease"]]
    )


def test_without_contact_only_the_first_fall_ill():
    world = outbreak(infection_per_h=0.0)
    assert world.tallies.died[0, CAUSE["disease"]] <= 20


def test_impossible_diseases_are_refused():
    world = small(area_share=0.05)
    with pytest.raises(ValueError, match="lethality: 2"):
        set_disease(world, {"rabbit": 1.0}, infection_per_h=1, illness_d=1, lethality=2)
    with pytest.raises(ValueError, match="host 'cow'"):
        set_disease(world, {"cow": 1.0}, **PEST)


def test_another_disease_begins_without_carriers_and_without_the_immune_of_the_one_before():
    world = small(area_share=0.4, dt_h=24.0)
    a = world.agents
    rabbits = a.slots()[a.species[a.slots()] == 0]
    vaccinate(world, rabbits[:5])
    set_disease(world, {"rabbit": 1.0}, **PEST)
    assert (a.health[rabbits[:5]] == VACCINATED).all()
    a.health[rabbits[5:10]], a.health[rabbits[10:15]] = INFECTIOUS, RECOVERED
    was = a.health.copy()
    # The same once more: brought in again, to animals of which some are immune.
    set_disease(world, {"rabbit": 1.0}, **PEST)
    np.testing.assert_array_equal(a.health, was)
    set_disease(world, {"rabbit": 1.0}, **(PEST | {"lethality": 0.1}))
    assert (a.health == SUSCEPTIBLE).all()


def test_the_ill_of_a_disease_that_was_replaced_infect_nobody():
    first = {
        "kind": "disease",
        "species": "rabbit",
        "from_day": 0,
        "infections_per_day": 0,
        "illness_days": 1000,
        "lethality": 0,
        "share": 1,
    }
    second = first | {"from_day": 3, "infections_per_day": 100, "lethality": 1, "illness_days": 2, "share": 0}
    world = small(dt_h=24.0)
    attach(world, parse_scenario({"version": 1, "intervention": [first, second]}), 240.0)
    ill = []
    for _ in range(8):
        step(world)
        ill.append(np.count_nonzero(world.agents.health[world.agents.slots()] == INFECTIOUS))
    assert ill[2] > 100
    assert ill[3:] == [0] * 5
    assert world.tallies.died[0, CAUSE["disease"]] == 0
