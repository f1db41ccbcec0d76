"""Metrics against published and hand-worked values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaea.evaluate.metrics import expected_calibration_error, share_with_interval, wilson_interval


def test_wilson_interval_of_eighty_one_in_two_hundred_sixty_three():
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(1, 500), st.data())
def test_wilson_interval_holds_the_share(n, data):
    k = data.draw(st.integers(0, n))
    low, high = wilson_interval(k, n)
    assert 0 <= low <= k / n <= high <= 1


def test_share_of_nothing_has_no_value():
    assert share_with_interval(np.zeros(0, bool)) == {"value": None, "n": 0, "interval": [0.0, 1.0]}


def test_calibration_error_by_hand():
    # two bins: (.1, .3) of which one in two is right, (.8, 1.) of which both are
    confidence = np.array([1.0, 0.1, 0.8, 0.3])
    right = np.array([True, False, True, True])
    assert expected_calibration_error(confidence, right, n_bins=2) == pytest.approx((2 * 0.3 + 2 * 0.1) / 4)
    assert math.isnan(expected_calibration_error(np.zeros(0), np.zeros(0, bool)))


def test_calibration_error_of_an_honest_forecaster_is_small_and_of_a_boaster_large():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(size=30_000)
    right = rng.uniform(size=30_000) < confidence
    assert expected_calibration_error(confidence, right) < 0.02
    assert expected_calibration_error(np.ones(30_000), right) == pytest.approx(0.5, abs=0.02)
