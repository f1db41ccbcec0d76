"""Dataclass fields for numbers that have a range."""

from __future__ import annotations

import math
from dataclasses import Field, field
from typing import NamedTuple


class Bounds(NamedTuple):
    """The range of a number, both ends included."""

    low: float = -math.inf
    high: float = math.inf


def bounded_field(low: float, high: float, **options) -> float:
    """Declare a numeric dataclass field with its range; without `default` it is required."""
    return field(metadata={"bounds": Bounds(low, high)}, **options)


def get_bounds(one: Field) -> Bounds | None:
    """Return the range of a field, None if it has none."""
    return one.metadata.get("bounds")
