"""Detectability: fields of view, detection by distance, body mass and light, and what survey effort amounts to.

The simulated sensors and the observation model use the same functions, so that both agree on what a count means.

Shape suffixes: n straight paths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

REFERENCE_KG = 50.0
"""body mass for which the `sigma_m` of a detection function holds"""
DAWN_H, DUSK_H = 6.0, 18.0
LINES = 4096
"""test lines from which the effective width of a camera's view is computed"""
NIGHT_SHARE = {"diurnal": 0.0, "nocturnal": 1.0, "crepuscular": 0.5, "cathemeral": 0.5}
"""share of its movement that an animal of each activity makes at night"""


def compute_half_normal(distance_m, sigma_m):
    """Return the probability of detection 0..1 at a distance: exp(-d² / 2 σ²), which is 1 for infinite σ."""
    return np.exp(-0.5 * np.square(np.asarray(distance_m, float) / sigma_m))


def compute_effective_half_width_m(sigma_m: float, half_width_m: float) -> float:
    """Return the half-width in metres of a strip without misses in which as many animals are detected.

    It is σ √(π/2) erf(w / σ√2), and w for infinite σ.
    """
    if math.isinf(sigma_m):
        return half_width_m
    return sigma_m * math.sqrt(math.pi / 2) * math.erf(half_width_m / (sigma_m * math.sqrt(2)))


@dataclass(frozen=True, kw_only=True)
class DetectionFunction:
    """Probability that an animal is detected, by distance, body mass and light."""

    sigma_m: float = math.inf
    "scale of the half-normal decrease with distance, for an animal of 50 kg; infinite: distance does not matter"
    mass_exponent: float = 0.0
    "σ grows with this power of body mass"
    by_day: float = 1.0
    "probability at distance 0 by day (6 to 18 h)"
    by_night: float = 1.0
    "the same at night"
    least_kg: float = 0.0
    "lighter animals are never noticed"

    def __post_init__(self) -> None:
        if not self.sigma_m > 0:
            raise ValueError(f"sigma_m: {self.sigma_m} must be a distance in metres above 0")
        for name in ("by_day", "by_night"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: {getattr(self, name)} must be a probability from 0 to 1")

    def compute_sigma_m(self, mass_kg):
        """Return σ in metres for animals of these masses."""
        return self.sigma_m * np.power(np.asarray(mass_kg, float) / REFERENCE_KG, self.mass_exponent)

    def compute_probability(self, distance_m, mass_kg, hour):
        """Return the probability of detection 0..1; `hour` is the time of day, 0 to 24."""
        hour = np.asarray(hour, float)
        light = np.where((hour >= DAWN_H) & (hour < DUSK_H), self.by_day, self.by_night)
        noticed = np.asarray(mass_kg, float) >= self.least_kg
        return np.where(noticed, light * compute_half_normal(distance_m, self.compute_sigma_m(mass_kg)), 0.0)

    def compute_mean_light(self, activity: str) -> float:
        """Return the mean of the two probabilities at distance 0 over an animal's active hours."""
        night = NIGHT_SHARE[activity]
        return night * self.by_night + (1 - night) * self.by_day


@dataclass(frozen=True, kw_only=True)
class FieldOfView:
    """A camera's field of view: a sector of a circle."""

    range_m: float = 12.0
    "radius, metres"
    angle_deg: float = 42.0
    "opening angle, degrees"
    delay_s: float = 0.3
    "time an animal must be in view before the picture is taken"

    def __post_init__(self) -> None:
        if not self.range_m > 0 or not 0 < self.angle_deg <= 180 or not self.delay_s >= 0:
            raise ValueError(
                f"view of {self.range_m} m, {self.angle_deg}°, {self.delay_s} s: give a range above 0, an angle "
                "up to 180 and a delay from 0"
            )

    def clip(self, x0, y0, x1, y1, heading_rad) -> tuple[np.ndarray, np.ndarray]:
        """Return the part of straight paths [n] inside the view, as shares of the path: (enter [n], leave [n]).

        The camera stands at (0, 0); `heading_rad` is one direction for all paths or one for each path [n]. A path that
        misses the view has enter > leave. A sector of up to 180° is the intersection of a circle and two half-planes
        and therefore convex.
        """
        x0, y0, x1, y1 = (np.asarray(one, float) for one in (x0, y0, x1, y1))
        dx, dy = x1 - x0, y1 - y0
        a, b, c = dx * dx + dy * dy, x0 * dx + y0 * dy, x0 * x0 + y0 * y0 - self.range_m**2
        root = b * b - a * c
        moving = a > 0
        safe, depth = np.where(moving, a, 1), np.sqrt(np.maximum(root, 0))
        enter = np.where(moving, np.where(root >= 0, (-b - depth) / safe, 2.0), np.where(c <= 0, 0.0, 2.0))
        leave = np.where(moving, np.where(root >= 0, (-b + depth) / safe, -2.0), np.where(c <= 0, 1.0, -2.0))
        half = math.radians(self.angle_deg) / 2
        for side in (1, -1):
            # Inside is where the turn from one edge has the sign of the other.
            edge = heading_rad - side * half
            ex, ey = side * np.cos(edge), side * np.sin(edge)
            start, change = ex * y0 - ey * x0, ex * dy - ey * dx
            with np.errstate(divide="ignore", invalid="ignore"):
                cross = -start / change
            enter = np.where(change > 0, np.maximum(enter, cross), enter)
            leave = np.where(change < 0, np.minimum(leave, cross), leave)
            outside = (change == 0) & (start < 0)
            enter, leave = np.where(outside, 2.0, enter), np.where(outside, -2.0, leave)
        return np.maximum(enter, 0), np.minimum(leave, 1)

    def compute_width_m(
        self, detection: DetectionFunction, mass_kg: float, speed_m_s: float, hour: float = 12.0
    ) -> float:
        """Return the mean width in metres of the view for animals that pass on straight lines from any side.

        Without misses it is the perimeter divided by π (Cauchy's formula for a convex figure): r (2 + θ) / π. It is
        computed from evenly spread lines, with the misses of `detection` and of the trigger delay.
        """
        far = (np.arange(LINES) + 0.5) / LINES * 2 - 1
        # Steps of the golden angle spread directions evenly over all distances.
        turn = np.arange(LINES) * math.pi * (3 - math.sqrt(5))
        r = self.range_m * (1 + 1e-9)
        middle = r * far * np.array([-np.sin(turn), np.cos(turn)])
        along = 2 * r * np.array([np.cos(turn), np.sin(turn)])
        x0, y0 = middle - along / 2
        x1, y1 = middle + along / 2
        enter, leave = self.clip(x0, y0, x1, y1, 0.0)
        seen = (leave > enter) & ((leave - enter) * 2 * r >= self.delay_s * speed_m_s)
        distance = compute_closest_distance(x0, y0, x1, y1, enter, leave)
        chance = np.where(seen, detection.compute_probability(distance, mass_kg, hour), 0)
        return float(2 * r * chance.mean())


def compute_closest_distance(x0, y0, x1, y1, enter, leave) -> np.ndarray:
    """Return the least distance [n] in metres from (0, 0) to the part of each path [n] between two of its shares."""
    dx, dy = np.asarray(x1, float) - x0, np.asarray(y1, float) - y0
    length = dx * dx + dy * dy
    nearest = -(x0 * dx + y0 * dy) / np.where(length > 0, length, 1)
    t = np.clip(nearest, enter, np.maximum(leave, enter))
    return np.hypot(x0 + t * dx, y0 + t * dy)
