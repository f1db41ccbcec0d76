"""The models by which simulators are compared: wolves and sheep, a flock, a segregating town; here, their two orders.

They are small worlds with rules of their own (`classic_wolves`, `classic_flock`, `classic_town`). *Sequential*: in each
step the agents act one after another in a fresh random order and see what the earlier ones did, as in Mesa's
`shuffle_do`. *Synchronous*: all read the old state, and random priority settles who gets what.
"""

from __future__ import annotations

import numpy as np

from linnaea.twin.engine.jit import scalar

ORDERS = ("sequential", "synchronous")
_32 = np.uint64(32)


@scalar
def draw_below(word, count):
    """An int in [0, count) from a random word of 32 bits."""
    return np.int64((word * np.uint64(count)) >> _32)


def check_order(order: str) -> None:
    """Nothing; ValueError for an order that is none."""
    if order not in ORDERS:
        raise ValueError(f"order: {order!r} is none of {', '.join(ORDERS)}")
