"""Learning-rate schedule: linear warm-up, then a cosine decay."""

from __future__ import annotations

import math


def rate_at(step: int, *, steps: int, warm_up: int, peak: float = 1.0, final_share: float = 0.0) -> float:
    """Return the learning rate of a step, counted from 0.

    It rises linearly to `peak` in `warm_up` steps and then follows a cosine down to `final_share` · `peak` after
    `steps` steps. With `final_share` 0 it is the schedule of open_clip.
    """
    if step < warm_up:
        return peak * (step + 1) / warm_up
    progress = (step - warm_up) / max(1, steps - warm_up)
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return peak * (final_share + (1 - final_share) * cosine)
