"""Watching for predators: how long an animal's head is up, and what the herd notices.

The two ends of the curve are those of Grevy's zebra in 82 drone mini-scenes (kabr-tools' time budgets: mean share with
the head up .473 in 23 scenes of small herds, .154 in 59 of large ones); how fast it falls between is unverified.
"""

from __future__ import annotations

import math

from linnaea.twin.engine.jit import scalar

ALONE = 0.5
"share of the time with the head up, of one alone"
CROWDED = 0.14
"share in a herd without end"
FALL = 8.0
"others in the herd over which the difference falls to a third"


@scalar
def head_up_share(herd_size):
    """Share of the time that an animal in a herd of this size (itself included) has its head up, 0 to 1."""
    return CROWDED + (ALONE - CROWDED) * math.exp(-(herd_size - 1.0) / FALL)


@scalar
def herd_notices(herd_size):
    """Chance that at least one head is up at any moment, as many eyes as stand near enough: 0 to 1."""
    near = min(herd_size, 30.0)
    return 1.0 - (1.0 - head_up_share(herd_size)) ** near
