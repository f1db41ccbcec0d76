import numpy as np
import pytest

from linnaea.twin.disease import infect, set_disease, vaccinate
from linnaea.twin.loop import CAUSE, step
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
    dead = world.tallies["died"][0, CAUSE["disease"]]
    recovered = np.count_nonzero(world.agents.health[world.agents.slots()] == 2)
    assert dead > 50
    assert 0.3 < dead / (dead + recovered) < 0.75
    assert world.tallies["died"][1, CAUSE["disease"]] == 0


def test_vaccination_protects():
    assert outbreak(vaccinated=0.9).tallies["died"][0, CAUSE["disease"]] < 0.3 * outbreak().tallies["died"][0, CAUSE["disease"]]


def test_without_contact_only_the_first_fall_ill():
    world = outbreak(infection_per_h=0.0)
    assert world.tallies["died"][0, CAUSE["disease"]] <= 20


def test_impossible_diseases_are_refused():
    world = small(area_share=0.05)
    with pytest.raises(ValueError, match="lethality: 2"):
        set_disease(world, {"rabbit": 1.0}, infection_per_h=1, illness_d=1, lethality=2)
    with pytest.raises(ValueError, match="host 'cow'"):
        set_disease(world, {"cow": 1.0}, **PEST)
