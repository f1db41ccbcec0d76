"""Figures of neighbours, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from linnaea.evaluate.neighbours import mean_average_precision, simpleshot


def test_separable_classes_are_named_from_one_example_and_mixed_ones_by_chance():
    rng = np.random.default_rng(0)
    labels = [f"class {i % 4}" for i in range(200)]
    means = 5 * np.eye(4)[np.arange(200) % 4]
    assert simpleshot(means + 0.1 * rng.normal(size=(200, 4)), labels, 1, 0) == 1.0
    assert simpleshot(rng.normal(size=(200, 4)), labels, 5, 0) < 0.5


def test_what_all_vectors_share_does_not_blur_the_classes():
    rng = np.random.default_rng(0)
    labels = [f"class {i % 4}" for i in range(80)]
    vectors = np.eye(4)[np.arange(80) % 4] + 0.05 * rng.normal(size=(80, 4))
    assert simpleshot(vectors + 1000, labels, 5, 0) == 1.0


def test_examples_that_leave_nothing_to_test_are_named():
    with pytest.raises(ValueError, match="'b' has 2 vectors"):
        simpleshot(np.eye(5), ["a", "a", "a", "b", "b"], 2, 0)


def test_average_precision_by_hand():
    # Each asks in turn: the first finds its own at place 1, the second at 2, the third at 3, the last at 1.
    angles = np.deg2rad([0, 20, 30, 80])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert mean_average_precision(vectors, ["x", "x", "b", "b"]) == pytest.approx((1 + 1 / 2 + 1 / 3 + 1) / 4)
    with pytest.raises(ValueError, match="no group"):
        mean_average_precision(vectors, ["p", "q", "r", "s"])
