"""Records of a run: hand-countable maps, frames that thin out, room that grows."""

import numpy as np

from linnaea.twin.engine.neighbours import Space
from linnaea.twin.engine.step import step
from linnaea.twin.engine.world import World
from linnaea.twin.runs.recorder import MOST_FRAMES, Record, get_records, resample_layers


def pond(**settings) -> tuple[World, Record]:
    record = Record(every_h=1.0, map_side=4, **settings)
    world = World(space=Space(width_m=400, height_m=200), rules=[record], species=("frog", "newt"))
    world.agents.add(3, species=0, x=np.array([10.0, 20, 390]), y=np.array([10.0, 20, 190]), mass=0.05)
    world.agents.add(1, species=1, x=150.0, y=150.0, mass=0.01)
    return world, record


def test_a_map_counts_animals_cell_by_cell_from_the_south_west():
    world, record = pond()
    record.write_down(world, 0.0)
    found = get_records(world)
    assert found["map"].shape == (2, 2, 4)
    assert found["map"][0].tolist() == [[2, 0, 0, 0], [0, 0, 0, 1]]
    assert found["map"][1].tolist() == [[0, 0, 0, 0], [0, 1, 0, 0]]
    assert found["counts"].tolist() == [[3, 1]]
    np.testing.assert_allclose(found["mass_kg"], [[0.15, 0.01]], rtol=1e-6)


def test_records_have_no_end_and_frames_thin_out():
    world, record = pond(frames=True)
    record.write_down(world, 0.0)
    for _ in range(3 * MOST_FRAMES):
        step(world)
    found = get_records(world)
    assert found["time_h"].tolist() == [float(hour) for hour in range(3 * MOST_FRAMES + 1)]
    assert len(found["frames"]) <= MOST_FRAMES
    strides = np.diff(found["frame_h"])
    assert set(strides) == {4.0}
    assert found["frames"][-1].sum() == 4


def test_the_followed_are_spread_over_the_species_and_end_with_their_death():
    world, record = pond(followed=5)
    record.write_down(world, 0.0)
    assert sorted(world.arrays.record_followed.tolist()) == [0, 1, 2, 3, 4]
    world.agents.remove(np.array([0]))
    record.write_down(world, 1.0)
    paths, followed = get_records(world)["paths_m"], world.arrays.record_followed.tolist()
    assert np.isnan(paths[1, followed.index(1)]).all()
    assert paths[1, followed.index(4)].tolist() == [150.0, 150.0]
    assert np.isnan(paths[0, followed.index(0)]).all()


def test_layers_are_averaged_on_a_coarser_grid_and_repeated_on_a_finer():
    layer = np.array([[[1.0, 3.0, 5.0, 7.0], [1.0, 3.0, 5.0, 7.0]]])
    assert resample_layers(layer, (1, 2)).tolist() == [[[2.0, 6.0]]]
    assert resample_layers(layer[:, :1, :2], (2, 4)).tolist() == [[[1, 1, 3, 3], [1, 1, 3, 3]]]


def test_states_of_health_are_counted_by_species():
    world, record = pond()
    world.agents.health[:4] = [1, 2, 0, 3]
    record.write_down(world, 0.0)
    # Susceptible, ill, recovered, vaccinated; frogs, then newts.
    assert get_records(world)["health"].tolist() == [[[1, 1, 1, 0], [0, 0, 0, 1]]]
