"""How animals go to their goals, flee, and are stopped by fences."""

import numpy as np
import pytest

from linnaea.twin.engine.step import step
from linnaea.twin.rules.ranging import net_share
from made_worlds import small


def test_herds_stay_together():
    world = small("savanna", area_share=0.3, dt_h=1.0)
    wildebeest = world.species.index("wildebeest")
    for _ in range(72):
        step(world)
    a = world.agents
    slots = a.slots()
    slots = slots[a.species[slots] == wildebeest]
    middle = world.herds.centre[a.herd[slots]]
    own = np.hypot(a.x[slots] - middle[:, 0], a.y[slots] - middle[:, 1])
    assert np.median(own) < 0.15 * world.space.width_m


def test_a_fence_keeps_animals_on_their_side_and_a_gate_lets_some_through():
    def crossed(share):
        world = small("savanna", area_share=0.1, dt_h=1.0)
        middle = world.space.width_m / 2
        world.arrays.fences = np.array([[middle, -1.0, middle, world.space.height_m + 1, share]])
        a = world.agents
        side = {int(a.id[s]): bool(a.x[s] < middle) for s in a.slots()}
        for _ in range(48):
            step(world)
        return sum(side.get(int(a.id[s]), bool(a.x[s] < middle)) != bool(a.x[s] < middle) for s in a.slots())

    assert crossed(0.0) == 0
    assert crossed(1.0) > crossed(0.2) > 0


def test_prey_run_from_hunters():
    world = small(area_share=0.1, dt_h=1.0)
    # Slots keep their animals, so that places before and after can be compared.
    world.resort_every = 0
    a = world.agents
    rabbits, foxes = (a.slots()[a.species[a.slots()] == kind] for kind in (0, 1))
    hunted, fox = rabbits[0], foxes[0]
    a.x[fox], a.y[fox] = a.x[hunted] + 10, a.y[hunted]
    near = np.hypot(a.x[rabbits] - a.x[fox], a.y[rabbits] - a.y[fox]) < 0.9 * world.parameters.movement.flight_m[0]
    before = a.x[hunted]
    step(world)
    assert a.moved_m[rabbits][near].min() >= 0.99 * world.parameters.movement.flight_m_h[0]
    assert np.median(a.moved_m[rabbits][~near]) < 0.5 * world.parameters.movement.flight_m_h[0]
    assert a.x[hunted] < before or a.x[hunted] < 1


def test_the_way_of_a_long_step_is_shorter_than_its_path():
    assert net_share(0.01, 3.0) == pytest.approx(1.0, abs=1e-2)
    assert net_share(24.0, 3.0) < 0.5


def test_a_flight_is_over_within_the_hour_however_long_the_step():
    world = small("savanna", area_share=0.05, dt_h=24.0)
    a, p = world.agents, world.parameters
    p.movement.speed_m_h[:] *= 1e-9
    step(world)
    far = a.moved_m[a.slots()]
    kinds = a.species[a.slots()]
    assert (far <= 1.001 * p.movement.flight_m_h[kinds] + 1e-3).all()
    assert (far > 0.99 * p.movement.flight_m_h[kinds])[p.movement.flight_m_h[kinds] > 0].sum() > 10


@pytest.mark.parametrize("dt_h", [24.0, 6.0, 1.0])
def test_herds_are_about_their_goal_and_not_at_its_rim(dt_h):
    world = small("savanna", area_share=0.02, dt_h=dt_h)
    for _ in range(int(20 * 24 / dt_h)):
        step(world)
    a, p = world.agents, world.parameters
    inside = []
    for name in ("impala", "hartebeest", "Grant's gazelle"):
        mine = a.slots()[a.species[a.slots()] == world.species.index(name)]
        goal = world.herds.goal[a.herd[mine]]
        far = np.hypot(a.x[mine] - goal[:, 0], a.y[mine] - goal[:, 1]) / p.movement.goal_m[world.species.index(name)]
        inside.extend(far)
    inside = np.array(inside)
    assert (inside < 0.95).mean() > 0.6
    # A rim of a tenth of the radius is a fifth of the disc's area.
    assert (abs(inside - 1) < 0.05).mean() < 0.15


def neighbours(dt_h):
    """How many rabbits are within 50 m of one, of other groups and of its own, after ten days and more: means."""
    world = small("tutorial", area_share=0.4, dt_h=dt_h)
    others, own = [], []
    for day in range(20):
        for _ in range(int(24 / dt_h)):
            step(world)
        if day >= 10:
            a = world.agents
            mine = a.slots()[a.species[a.slots()] == 0]
            near = np.hypot(a.x[mine][:, None] - a.x[mine], a.y[mine][:, None] - a.y[mine]) < 50
            same = a.herd[mine][:, None] == a.herd[mine]
            others.append((near & ~same).sum() / len(mine))
            own.append((near & same).sum() / len(mine) - 1)
    return np.mean(others), np.mean(own)


def test_animals_meet_as_often_whatever_the_step():
    hourly = neighbours(1.0)
    # Rabbits live in groups: of a dozen in reach most are its own.
    assert hourly[1] > 3 * hourly[0] > 0
    for dt_h in (6.0, 24.0):
        assert neighbours(dt_h) == pytest.approx(hourly, rel=0.5)
