"""Cell lists against all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaea.twin.engine.agents import Agents
from linnaea.twin.engine.neighbours import Cells, Space, offset, reach, span, wrap


def neighbours(cells: Cells, x: float, y: float, radius: float) -> list[int]:
    """Slots within the radius, by the loop that the module's docstring gives."""
    n_columns, n_rows, cell_w, cell_h, width, height, torus = cells.grid()
    column, row = min(int(x / cell_w), n_columns - 1), min(int(y / cell_h), n_rows - 1)
    y_lo, y_hi = span(row, reach(radius, cell_h), n_rows, torus)
    x_lo, x_hi = span(column, reach(radius, cell_w), n_columns, torus)
    found = []
    for row_j in range(y_lo, y_hi + 1):
        for column_j in range(x_lo, x_hi + 1):
            c = wrap(row_j, n_rows) * n_columns + wrap(column_j, n_columns)
            for k in range(cells.start[c], cells.start[c + 1]):
                dx, dy = offset(cells.x[k] - x, width, torus), offset(cells.y[k] - y, height, torus)
                if dx * dx + dy * dy <= radius * radius:
                    found.append(int(cells.order[k]))
    return found


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
    cells = Cells(space)
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
        cells = Cells(Space(width_m=10, height_m=10, cell_m=5))
        cells.build(agents)
        orders.append(agents.key[cells.order].tolist())
    assert orders[0] == orders[1]


@pytest.mark.parametrize("n", [1, 2, 40, 3000])
def test_a_crowded_cell_is_sorted_by_key_as_well(n):
    keys = np.random.default_rng(n).permutation(n) + 1
    agents = Agents(capacity=n)
    agents.add(n, x=1.0, y=1.0, key=keys)
    cells = Cells(Space(width_m=10, height_m=10, cell_m=5))
    cells.build(agents)
    assert agents.key[cells.order].tolist() == sorted(keys)


@pytest.mark.parametrize("field, value", [("width_m", 0), ("height_m", float("nan")), ("cell_m", -1)])
def test_an_impossible_ground_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field}: {value}"):
        Space(**({"width_m": 5, "height_m": 5} | {field: value}))
