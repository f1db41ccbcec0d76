"""The observation model: clumping among sites, and paths of a day from collars."""

from datetime import timedelta

import numpy as np
import pytest

from linnaea.census.detection_rates import estimate_daily_paths
from linnaea.census.georeference import parse_time
from linnaea.census.observation_model import _estimate_clumping
from linnaea.census.observations import CollarFix


def test_clumping_is_found_from_the_differences_among_sites():
    rng = np.random.default_rng(0)
    for k in (1.0, 1e9):
        by_window = {
            w: [
                (np.array([1.0]), rng.poisson(30 * (rng.gamma(k, 1 / k) if k < 1e6 else 1), 1).astype(float), "strip")
                for _ in range(60)
            ]
            for w in range(20)
        }
        assert _estimate_clumping(by_window, 1)[0] == pytest.approx(1 / k if k < 1e6 else 0.01, abs=0.15)


def test_the_path_of_a_day_is_measured_between_near_fixes_only():
    start = parse_time("2024-01-01T00:00:00Z")

    def fix(hour, latitude):
        return CollarFix(animal="1", name="fox", time=start.replace(hour=hour), latitude=latitude, longitude=0.0)

    # 0.01 degrees (1.1132 km) in one hour; then a gap of five hours.
    assert estimate_daily_paths([fix(1, 0.0), fix(2, 0.01), fix(7, 5.0)])["fox"].km == pytest.approx(24 * 1.1132)


@pytest.mark.parametrize("every_h", [1, 2])
def test_the_path_between_fixes_is_longer_than_they_say_and_its_uncertainty_holds_it(every_h):
    # It turns by half a radian every quarter of an hour, and walks 9.6 km a day.
    rng, start = np.random.default_rng(5), parse_time("2024-01-01T00:00:00Z")
    step_km, angle = 0.1, np.cumsum(rng.normal(0, 0.5, 4 * 24 * 60))
    north_km = np.cumsum(step_km * np.cos(angle))
    east_km = np.cumsum(step_km * np.sin(angle))
    fixes = [
        CollarFix(
            animal="1",
            name="fox",
            time=start + timedelta(minutes=15 * i),
            latitude=north_km[i] / 111.32,
            longitude=east_km[i] / 111.32,
        )
        for i in range(0, len(angle), 4 * every_h)
    ]
    path = estimate_daily_paths(fixes)["fox"]
    through = 111.32 * np.hypot(np.diff([f.latitude for f in fixes]), np.diff([f.longitude for f in fixes])).sum() / 60
    assert through < path.km
    assert abs(np.log(path.km / 9.6)) < 2 * path.sd < 0.5


def test_who_walks_straight_has_a_path_without_doubt():
    start = parse_time("2024-01-01T00:00:00Z")
    fixes = [
        CollarFix(animal="1", name="fox", time=start + timedelta(hours=h), latitude=0.01 * h, longitude=0.0)
        for h in range(9)
    ]
    assert estimate_daily_paths(fixes)["fox"].sd == pytest.approx(0, abs=1e-6)
