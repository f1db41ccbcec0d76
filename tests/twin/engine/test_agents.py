"""Animals as a struct of arrays."""

import numpy as np
import pytest

from linnaea.twin.engine.agents import Agents, Column


def test_ids_are_never_used_again_and_freed_slots_are():
    agents = Agents(capacity=4)
    agents.add(3, x=[1, 2, 3])
    agents.remove([1])
    slots = agents.add(1, x=9)
    assert slots.tolist() == [1]
    assert agents.id[:3].tolist() == [1, 4, 3]
    assert agents.x[:3].tolist() == [1, 9, 3]
    assert len(agents) == 3


def test_room_grows_when_full_and_keeps_everybody():
    agents = Agents(capacity=2, traits=("beak_mm",))
    for i in range(20):
        agents.add(1, x=i, traits=[[i / 2]])
    assert agents.capacity >= 20
    assert agents.x[:20].tolist() == list(range(20))
    assert agents.traits[:20, 0].tolist() == [i / 2 for i in range(20)]
    assert agents.target[19] == -1


def test_a_limit_on_animals_is_an_error_with_a_remedy():
    agents = Agents(capacity=2, max_capacity=3)
    with pytest.raises(ValueError, match="raise max_capacity"):
        agents.add(4)


def test_young_are_copies_with_keys_of_their_own():
    agents = Agents(capacity=2, traits=("beak_mm",))
    agents.add(2, species=[3, 4], x=[5, 6], herd=[7, 8], energy=50.0, health=1, traits=[[1.5], [2.5]])
    slots, mothers = agents.reproduce(np.array([1, 0]), np.array([2, 1]), step=3, now_h=4.0)
    assert mothers.tolist() == [0, 1, 1]
    assert agents.id[slots].tolist() == [3, 4, 5]
    assert agents.parent[slots].tolist() == [1, 2, 2]
    assert agents.species[slots].tolist() == [3, 4, 4]
    assert agents.herd[slots].tolist() == [7, 8, 8]
    assert agents.traits[slots, 0].tolist() == [1.5, 2.5, 2.5]
    assert agents.energy[slots].tolist() == agents.health[slots].tolist() == [0, 0, 0]
    assert agents.age_h(5.0)[slots].tolist() == [1, 1, 1]
    assert len(set(agents.key[: agents.n].tolist())) == 5


def test_keys_of_young_hang_on_their_mother_alone():
    whole, halved = Agents(), Agents()
    for agents in (whole, halved):
        agents.add(2)
    halved.remove([0])
    a, _ = whole.reproduce(np.array([0, 1]), np.array([1, 1]), 0, 1.0)
    b, _ = halved.reproduce(np.array([1]), np.array([1]), 0, 1.0)
    assert whole.key[a[1]] == halved.key[b[0]]
    assert whole.id[a[1]] != halved.id[b[0]]


def test_sorting_moves_whole_animals():
    agents = Agents(capacity=4)
    agents.add(4, x=[3, 1, 2, 0])
    agents.remove([2])
    agents.sort(np.array([3, 1, 0]))
    assert agents.x[:3].tolist() == [0, 1, 3]
    assert agents.id[:3].tolist() == [4, 2, 1]
    assert (agents.n, len(agents), agents.free) == (3, 3, [])
    assert agents.add(1).tolist() == [3]


def test_a_column_is_added_once_and_not_redefined():
    agents = Agents(capacity=2)
    thirst = Column(name="thirst", dtype=np.float32, help="hours since the last drink", blank=2)
    agents.add_column(thirst)
    agents.add_column(thirst)
    agents.add(1)
    assert agents.thirst[0] == 2
    with pytest.raises(ValueError, match="another meaning"):
        agents.add_column(Column(name="thirst", dtype=np.int8, help="whether it is thirsty"))
    with pytest.raises(ValueError, match="no column 'wings'"):
        agents.add(1, wings=2)
    with pytest.raises(AttributeError, match="wings"):
        agents.wings  # noqa: B018
