"""The two orders of update of the models by which simulators are compared (wolves and sheep, a flock, a town).

*Sequential*: in each step the agents act one after another in a fresh random order and see what the earlier ones did,
as in Mesa's `shuffle_do`. *Synchronous*: all agents read the old state, and random priority decides conflicts.
"""

from __future__ import annotations

import numpy as np

from linnaea.twin.engine.jit import scalar

ORDERS = ("sequential", "synchronous")
_32 = np.uint64(32)


@scalar
def draw_below(word, count):
    """Return an int in [0, count) from a random word of 32 bits."""
    return np.int64((word * np.uint64(count)) >> _32)


def check_order(order: str) -> None:
    """Raise ValueError for an unknown order."""
    if order not in ORDERS:
        raise ValueError(f"unknown order {order!r}; choose one of {', '.join(ORDERS)}")
