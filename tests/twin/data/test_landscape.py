import numpy as np
import pytest

from linnaea.twin.assembly.layers import compute_grid_shape, make_layers, make_smooth_noise
from linnaea.twin.data.landscape import Landscape, get_month
from linnaea.twin.engine.layers import FAR_KM, crosses, distance_to
from linnaea.twin.engine.neighbours import Space

SPACE = Space(width_m=8000, height_m=4000)


def test_the_layers_follow_the_ground_and_the_seed():
    land = Landscape(cell_km=1.0, elevation_m=(100, 200), rain_east=-0.5, water_share=0.125)
    layers = make_layers(land, SPACE, seed=3)
    assert {layer.shape for layer in layers.values()} == {(4, 8)}
    assert layers["elevation_m"].min() == 100
    assert layers["elevation_m"].max() == 200
    assert layers["water"].sum() == 4
    # Water lies in the lowest cells.
    assert layers["elevation_m"][layers["water"] > 0].max() <= layers["elevation_m"][layers["water"] == 0].min()
    again, other = make_layers(land, SPACE, seed=3), make_layers(land, SPACE, seed=4)
    assert (layers["elevation_m"] == again["elevation_m"]).all()
    assert (layers["elevation_m"] != other["elevation_m"]).any()


def test_rain_changes_along_its_gradient_and_keeps_its_mean():
    layers = make_layers(Landscape(rain_east=-0.5, rain_north=0.2), SPACE, seed=0)
    rain = layers["rain_share"]
    assert rain.mean() == pytest.approx(1)
    assert (np.diff(rain, axis=1) < 0).all()
    assert (np.diff(rain, axis=0) > 0).all()


def test_hills_are_smoother_the_larger_they_are():
    rough, smooth = make_smooth_noise((64, 64), 2, 1, 0), make_smooth_noise((64, 64), 32, 1, 0)
    assert rough.min() >= 0
    assert rough.max() <= 1
    assert np.abs(np.diff(smooth, axis=0)).mean() < 0.3 * np.abs(np.diff(rough, axis=0)).mean()


def test_distance_to_water_is_that_of_a_ruler_within_a_tenth():
    rng = np.random.default_rng(0)
    wet = rng.random((20, 30)) < 0.02
    rows, columns = np.nonzero(wet)
    r, c = np.mgrid[:20, :30]
    true = np.sqrt(((r[..., None] - rows) * 2.0) ** 2 + ((c[..., None] - columns) * 2.0) ** 2).min(-1)
    found = distance_to(wet, 2.0, 2.0)
    assert (found >= true - 1e-9).all()
    assert (found <= 1.1 * true + 1e-9).all()
    assert (distance_to(np.zeros((3, 3), bool), 1, 1) == FAR_KM).all()


def test_a_way_crosses_a_fence_only_where_both_lines_meet():
    cross = crosses.py_func
    assert cross(0, 0, 2, 0, 1, -1, 1, 1)
    assert not cross(0, 0, 0.5, 0, 1, -1, 1, 1)
    assert not cross(0, 0, 2, 0, 1, 0.5, 1, 1)


def test_months_come_round():
    assert get_month(0) == 0
    assert get_month(730.5 * 11.5) == 11
    assert get_month(8766 + 1) == 0


def test_impossible_ground_is_refused_in_one_line():
    for wrong in (
        {"cell_km": 0},
        {"rain_mm": (1.0,)},
        {"rain_mm": (-1.0,) * 12},
        {"water_share": 2},
        {"rain_east": 1.5, "rain_north": 0.6},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))) as caught:
            Landscape(**wrong)
        assert "\n" not in str(caught.value)
    assert compute_grid_shape(Space(width_m=100, height_m=50), 1.0) == (1, 1)
