"""Range checks for the numbers of a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping

NO_END = math.inf


def check_bounds(config: object, bounds: Mapping[str, tuple[float, float]]) -> None:
    """Raise ValueError if a field is not finite or not within its (least, most), both ends included."""
    for name, (least, most) in bounds.items():
        value = getattr(config, name)
        if math.isfinite(value) and least <= value <= most:
            continue
        if most == NO_END and value < least:
            raise ValueError(f"{name} {value:g} is below {least:g}; give at least {least:g}")
        end = "…" if most == NO_END else f"{most:g}"
        raise ValueError(f"{name} {value:g} is not within {least:g}..{end}; give a number from this range")
