"""Detectability: fields of view, detection functions and confusion tables against values that are computed by hand."""

import math

import numpy as np
import pytest

from linnaea.census.confusion import read_confusion
from linnaea.census.detection import (
    DetectionFunction,
    FieldOfView,
    compute_closest_distance,
    compute_effective_half_width_m,
    compute_half_normal,
)


def test_a_path_is_clipped_to_the_part_inside_the_view():
    view = FieldOfView(range_m=10, angle_deg=90, delay_s=0)
    # From west to east through the camera, which looks east: seen from half way on, for 10 of 40 metres.
    enter, leave = view.clip([-20.0], [0.0], [20.0], [0.0], 0.0)
    assert enter[0] == pytest.approx(0.5)
    assert leave[0] == pytest.approx(0.75)
    # Straight across at 5 metres: between the edges at 45° it sees y from -5 to 5.
    enter, leave = view.clip([5.0], [-20.0], [5.0], [20.0], 0.0)
    assert (enter[0] * 40 - 20, leave[0] * 40 - 20) == pytest.approx((-5, 5))
    # Behind it, and one that stands in it.
    enter, leave = view.clip([-5.0, 3.0, 30.0], [-20.0, 0.0, 0.0], [-5.0, 3.0, 30.0], [20.0, 0.0, 0.0], 0.0)
    assert (leave >= enter).tolist() == [False, True, False]
    assert (
        compute_closest_distance(
            np.array([5.0]), np.array([-20.0]), np.array([5.0]), np.array([20.0]), enter[:1] * 0, leave[:1] * 0 + 1
        )
        == 5
    )


def test_the_clipped_path_agrees_with_ten_thousand_points():
    rng = np.random.default_rng(3)
    view = FieldOfView(range_m=12, angle_deg=70, delay_s=0)
    x0, y0, x1, y1 = rng.uniform(-20, 20, (4, 60))
    enter, leave = view.clip(x0, y0, x1, y1, 2.0)
    t = np.linspace(0, 1, 10_001)[:, None]
    x, y = x0 + t * (x1 - x0), y0 + t * (y1 - y0)
    turned = (np.arctan2(y, x) - 2.0 + math.pi) % (2 * math.pi) - math.pi
    inside = (np.hypot(x, y) <= 12) & (np.abs(turned) <= math.radians(35))
    assert np.allclose(inside.mean(0), np.maximum(leave - enter, 0), atol=3e-4)
    assert inside.any(0).sum() > 10


def test_the_mean_width_of_a_view_is_its_perimeter_divided_by_pi():
    view = FieldOfView(range_m=10, angle_deg=60, delay_s=0)
    expected = 10 * (2 + math.pi / 3) / math.pi
    assert view.compute_width_m(DetectionFunction(), 50, 1) == pytest.approx(expected, rel=0.01)
    assert view.compute_width_m(DetectionFunction(by_day=0.5), 50, 1) == pytest.approx(expected / 2, rel=0.01)
    assert view.compute_width_m(DetectionFunction(sigma_m=4), 50, 1) < expected
    assert FieldOfView(range_m=10, angle_deg=60, delay_s=60).compute_width_m(DetectionFunction(), 50, 1) == 0


def test_the_effective_strip_of_a_half_normal_is_sigma_times_the_root_of_half_pi():
    assert compute_effective_half_width_m(30, 1e6) == pytest.approx(37.599, abs=5e-4)
    far = np.linspace(0, 70, 100_001)
    assert compute_effective_half_width_m(30, 70) == pytest.approx(
        np.trapezoid(compute_half_normal(far, 30), far), rel=1e-6
    )
    assert compute_effective_half_width_m(math.inf, 70) == 70


def test_larger_animals_are_seen_farther_and_night_hides():
    detection = DetectionFunction(sigma_m=10, mass_exponent=0.5, by_night=0.2)
    assert detection.compute_probability(10, 200, 12) == pytest.approx(math.exp(-0.5 / 4))
    assert detection.compute_probability(0, 50, 23) == pytest.approx(0.2)
    assert DetectionFunction(least_kg=1.0).compute_probability([0, 0], [0.9, 1.0], 12).tolist() == [0, 1]
    assert (detection.compute_mean_light("diurnal"), detection.compute_mean_light("cathemeral")) == pytest.approx(
        (1, 0.6)
    )


def test_a_confusion_table_of_counts_becomes_shares_and_bad_ones_are_refused(tmp_path):
    path = tmp_path / "confusion.csv"
    path.write_text("true,hare,fox,unidentified\nhare,80,10,10\nfox,,3,1\n")
    table = read_confusion(path)
    assert table.share == ((0.8, 0.1, 0.1), (0.0, 0.75, 0.25))
    path.write_text("true,hare\nhare,-1\n")
    with pytest.raises(ValueError, match="row 'hare' has no shares"):
        read_confusion(path)
    path.write_text("species,hare\nhare,1\n")
    with pytest.raises(ValueError, match="first column is not `true`"):
        read_confusion(path)
