"""Metrics with their uncertainty.

Shape suffixes: n predictions.
"""

from __future__ import annotations

import math

import numpy as np

Z95 = 1.959963984540054


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share (0..1); (0, 1) for no observations. Wilson 1927, JASA 22:209."""
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    # At 0 and at n, rounding may move an end past the share itself.
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))


def share_with_interval(right: np.ndarray) -> dict[str, float | int | list[float]]:
    """`value`, `n` and `interval` (95 % Wilson) of a boolean array; `value` is None for an empty one."""
    n, successes = len(right), int(np.sum(right))
    low, high = wilson_interval(successes, n)
    return {"value": round(successes / n, 4) if n else None, "n": n, "interval": [round(low, 4), round(high, 4)]}


def expected_calibration_error(confidence_n: np.ndarray, right_n: np.ndarray, n_bins: int = 15) -> float:
    """Mean gap (0..1) between confidence and share right over bins of equal mass; NaN without rows.

    Rows are sorted by confidence and cut into `n_bins` bins of nearly equal size (Nguyen & O'Connor 2015, ACE).
    """
    if not len(confidence_n):
        return math.nan
    order = np.argsort(confidence_n, kind="stable")
    gaps = [
        len(part) * abs(confidence_n[part].mean() - right_n[part].mean())
        for part in np.array_split(order, min(n_bins, len(order)))
    ]
    return float(np.sum(gaps) / len(confidence_n))
