import numpy as np
import pytest

from linnaea.twin.herds import FREE
from linnaea.twin.loop import step
from linnaea.twin.roaming import net_share
from made_worlds import small


def test_every_animal_belongs_to_a_herd_of_its_species():
    world = small("savanna", area_share=0.1)
    for _ in range(4 * 60):
        step(world)
    a, arrays = world.agents, world.arrays
    slots = a.slots()
    assert (arrays["herd_species"][a.herd[slots]] == a.species[slots]).all()
    kept = np.bincount(a.herd[slots], minlength=len(arrays["herd_size"]))
    assert (kept[arrays["herd_species"] == FREE] == 0).all()


def test_herds_stay_together():
    world = small("savanna", area_share=0.3, dt_h=1.0)
    wildebeest = world.species.index("wildebeest")
    for _ in range(72):
        step(world)
    a, arrays = world.agents, world.arrays
    slots = a.slots()
    slots = slots[a.species[slots] == wildebeest]
    middle = arrays["herd_middle"][a.herd[slots]]
    own = np.hypot(a.x[slots] - middle[:, 0], a.y[slots] - middle[:, 1])
    assert np.median(own) < 0.15 * world.space.width_m


def test_territories_keep_their_distance():
    world = small(area_share=1.0, dt_h=24.0)
    for _ in range(365):
        step(world)
    arrays = world.arrays
    fresh = np.flatnonzero(arrays["herd_species"] == 0)
    homes = arrays["herd_home"][fresh]
    apart = np.sqrt(((homes[:, None] - homes[None]) ** 2).sum(2))
    np.fill_diagonal(apart, np.inf)
    # Founders' homes lie on a jittered grid; all later ones keep the whole distance.
    assert np.median(apart.min(1)) >= world.parameters["spacing_m"][0]


def test_a_fence_keeps_animals_on_their_side_and_a_gate_lets_some_through():
    def crossed(share):
        world = small("savanna", area_share=0.1, dt_h=1.0)
        middle = world.space.width_m / 2
        world.arrays["fences"] = np.array([[middle, -1.0, middle, world.space.height_m + 1, share]])
        a = world.agents
        side = {int(a.id[s]): bool(a.x[s] < middle) for s in a.slots()}
        for _ in range(48):
            step(world)
        return sum(side.get(int(a.id[s]), bool(a.x[s] < middle)) != bool(a.x[s] < middle) for s in a.slots())

    assert crossed(0.0) == 0
    assert crossed(1.0) > crossed(0.2) > 0


def test_migrants_go_where_the_rain_is():
    world = small("savanna", area_share=0.3, dt_h=24.0)
    wildebeest = world.species.index("wildebeest")
    north = world.fields["rain_share"] * 0
    north[len(north) // 2 :] = 2.0
    world.fields["rain_factor"][:] = north
    for _ in range(120):
        step(world)
    a = world.agents
    slots = a.slots()[a.species[a.slots()] == wildebeest]
    assert (a.y[slots] > world.space.height_m / 2).mean() > 0.6


def test_prey_run_from_hunters():
    world = small(area_share=0.1, dt_h=1.0)
    # Slots keep their animals, so that places before and after can be compared.
    world.resort_every = 0
    a = world.agents
    rabbits, foxes = (a.slots()[a.species[a.slots()] == kind] for kind in (0, 1))
    hunted, fox = rabbits[0], foxes[0]
    a.x[fox], a.y[fox] = a.x[hunted] + 10, a.y[hunted]
    near = np.hypot(a.x[rabbits] - a.x[fox], a.y[rabbits] - a.y[fox]) < 0.9 * world.parameters["flight_m"][0]
    before = a.x[hunted]
    step(world)
    assert a.moved_m[rabbits][near].min() >= 0.99 * world.parameters["flight_m_h"][0]
    assert np.median(a.moved_m[rabbits][~near]) < 0.5 * world.parameters["flight_m_h"][0]
    assert a.x[hunted] < before or a.x[hunted] < 1


def test_the_way_of_a_long_step_is_shorter_than_its_path():
    assert net_share(0.01, 3.0) == pytest.approx(1.0, abs=1e-2)
    assert net_share(24.0, 3.0) < 0.5
