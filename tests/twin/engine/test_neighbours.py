"""Cell lists against all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaea.twin.engine.agents import Agents
from linnaea.twin.engine.neighbours import CellIndex, Space, cell_window, count_runs, offset, run_bounds


def neighbours(cells: CellIndex, x: float, y: float, radius: float) -> list[int]:
    """Slots within the radius, by the loop that the module's docstring gives."""
    grid, near, found = cells.grid, cells.animals, []
    window = cell_window(x, y, radius, grid)
    for run in range(count_runs(window, grid)):
        lo, hi = run_bounds(window, run, near.start, grid)
        for q in range(lo, hi):
            dx, dy = offset(near.x[q] - x, grid.width, grid.torus), offset(near.y[q] - y, grid.height, grid.torus)
            if dx * dx + dy * dy <= radius * radius:
                found.append(int(near.slots[q]))
    return found


def test_a_window_of_a_torus_takes_every_cell_once_in_the_order_of_the_rows_round_the_border():
    space = Space(width_m=5, height_m=3, torus=True, cell_m=1)
    agents = Agents(capacity=15)
    column, row = np.tile(np.arange(5), 3), np.repeat(np.arange(3), 5)
    agents.add(15, x=column + 0.5, y=row + 0.5)
    cells = CellIndex(space)
    cells.build(agents)
    window = cell_window(0.5, 0.5, 1.0, cells.grid)
    assert window == (-1, 1, -1, 1) or window == (0, 2, -1, 1)
    seen = []
    for run in range(count_runs(window, cells.grid)):
        lo, hi = run_bounds(window, run, cells.start, cells.grid)
        seen.append(cells.order[lo:hi].tolist())
    assert [slots for slots in seen if slots] in (
        [[14], [10, 11], [4], [0, 1], [9], [5, 6]],
        [[4], [0, 1], [9], [5, 6], [14], [10, 11]],
    )


def test_selected_animals_stand_in_the_same_order_as_all():
    rng = np.random.default_rng(1)
    agents = Agents(capacity=200)
    agents.add(200, x=rng.uniform(0, 10, 200), y=rng.uniform(0, 7, 200), species=rng.integers(0, 3, 200))
    cells = CellIndex(Space(width_m=10, height_m=7, cell_m=2))
    cells.build(agents)
    some = cells.select(agents.species, np.array([True, False, True]))
    wanted = np.isin(agents.species[cells.order], (0, 2))
    assert some.slots.tolist() == cells.order[wanted].tolist()
    assert np.array_equal(some.x, cells.x[wanted])
    assert np.array_equal(some.y, cells.y[wanted])
    for c in range(cells.n_cells):
        of_cell = cells.order[cells.start[c] : cells.start[c + 1]]
        chosen = of_cell[np.isin(agents.species[of_cell], (0, 2))]
        assert some.slots[some.start[c] : some.start[c + 1]].tolist() == chosen.tolist()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 60),
    torus=st.booleans(),
    cell=st.sampled_from([0.7, 2.0, 5.0, 30.0]),
    radius=st.sampled_from([0.5, 2.0, 4.0, 25.0]),
)
def test_neighbours_are_those_of_all_pairs_each_once(seed, n, torus, cell, radius):
    rng = np.random.default_rng(seed)
    space = Space(width_m=10, height_m=7, torus=torus, cell_m=cell)
    agents = Agents(capacity=4)
    slots = agents.add(n, x=rng.uniform(0, 10, n), y=rng.uniform(0, 7, n))
    agents.remove(slots[::3])
    cells = CellIndex(space)
    cells.build(agents)
    live = agents.slots()
    assert sorted(cells.order.tolist()) == live.tolist()
    for i in live[:5]:
        dx, dy = agents.x[live] - agents.x[i], agents.y[live] - agents.y[i]
        if torus:
            dx, dy = dx - 10 * np.round(dx / 10), dy - 7 * np.round(dy / 7)
        # Borderline pairs are left to rounding.
        squared = dx.astype(float) ** 2 + dy.astype(float) ** 2
        if np.abs(squared - radius**2).min() < 1e-4:
            continue
        got = neighbours(cells, agents.x[i], agents.y[i], radius)
        assert sorted(got) == live[squared <= radius**2].tolist()


def test_within_a_cell_animals_stand_by_key_whatever_their_slots():
    rng = np.random.default_rng(2)
    keys = rng.permutation(200) + 1
    x, y = rng.uniform(0, 10, (2, 200))
    orders = []
    for shuffle in (np.arange(200), rng.permutation(200)):
        agents = Agents(capacity=200)
        agents.add(200, x=x[shuffle], y=y[shuffle], key=keys[shuffle])
        cells = CellIndex(Space(width_m=10, height_m=10, cell_m=5))
        cells.build(agents)
        orders.append(agents.key[cells.order].tolist())
    assert orders[0] == orders[1]


@pytest.mark.parametrize("n", [1, 2, 40, 3000])
def test_a_crowded_cell_is_sorted_by_key_as_well(n):
    keys = np.random.default_rng(n).permutation(n) + 1
    agents = Agents(capacity=n)
    agents.add(n, x=1.0, y=1.0, key=keys)
    cells = CellIndex(Space(width_m=10, height_m=10, cell_m=5))
    cells.build(agents)
    assert agents.key[cells.order].tolist() == sorted(keys)


@pytest.mark.parametrize(("field", "value"), [("width_m", 0), ("height_m", float("nan")), ("cell_m", -1)])
def test_an_impossible_ground_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field}: {value}"):
        Space(**({"width_m": 5, "height_m": 5} | {field: value}))
