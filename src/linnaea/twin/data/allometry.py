"""Allometry: one formula for each quantity that follows from body mass, with its unit and grade.

There are two sets of formulas. `LAWS` have real units (kilograms, days, kilometres) and fill the empty cells of a
species table. Their exponents are the usual ones (rates of a body 0.75, rates per mass −0.25, numbers per area −0.75).
Their coefficients have the right order of magnitude and are not more precise than that; every one is graded unverified.
`NETWORK` holds the dimensionless constants of the allometric trophic network of Schneider and Brose, read in the
published simulation code "Predator Diversity and Ecosystem Functioning" (population dynamics 2.4.1, Guill and
Schneider, 2016).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from linnaea.twin.data.evidence import ALLOMETRIC, UNVERIFIED

DAYS_PER_YEAR = 365.25
SECONDS_PER_YEAR = DAYS_PER_YEAR * 86400
TISSUE_J_PER_KG = 7e6
"energy of fresh animal tissue (unverified)"


@dataclass(frozen=True, kw_only=True)
class Law:
    """A quantity as a function of body mass in kilograms: coefficient · mass^exponent, times a fall-off if `decay`."""

    name: str
    "key in `LAWS`"
    unit: str
    "unit of the result"
    coefficient: float
    "the result at 1 kg"
    exponent: float
    "slope of the logarithm of the quantity on the logarithm of mass"
    decay: tuple[float, float] | None = None
    "(h, i): factor 1 − exp(−h · mass^i), which limits the speed of the largest animals"
    grade: str = UNVERIFIED
    "how well the coefficient is known"

    def __call__(self, mass_kg: float | np.ndarray) -> float | np.ndarray:
        """Return the quantity in `unit` of one mass or an array. Raise ValueError if a mass is not positive."""
        mass = np.asarray(mass_kg, float)
        if not (mass > 0).all() or not np.isfinite(mass).all():
            raise ValueError(f"body mass {mass_kg} kg: {self.name} needs a positive mass")
        value = self.coefficient * mass**self.exponent
        if self.decay:
            value = value * -np.expm1(-self.decay[0] * mass ** self.decay[1])
        return float(value) if value.ndim == 0 else value

    @property
    def formula(self) -> str:
        """The law as text, for example "3.4 m^0.75 W"."""
        fall = f" (1 - exp(-{self.decay[0]:g} m^{self.decay[1]:g}))" if self.decay else ""
        return f"{self.coefficient:g} m^{self.exponent:g}{fall} {self.unit}"


LAWS = {
    law.name: law
    for law in (
        Law(name="metabolic_rate", unit="W", coefficient=3.4, exponent=0.75),
        Law(name="field_metabolic_rate", unit="W", coefficient=8.5, exponent=0.75),
        Law(name="daily_food", unit="kg/d", coefficient=0.1, exponent=0.75),
        Law(name="max_ingestion", unit="kg/d", coefficient=0.2, exponent=0.75),
        Law(name="max_speed", unit="km/h", coefficient=25.5, exponent=0.26, decay=(22.0, -0.6)),
        Law(name="walk_speed", unit="km/h", coefficient=1.5, exponent=0.14),
        Law(name="day_range", unit="km", coefficient=1.0, exponent=0.25),
        Law(name="home_range_herbivore", unit="km2", coefficient=0.025, exponent=1.0),
        Law(name="home_range_carnivore", unit="km2", coefficient=1.5, exponent=1.0),
        Law(name="density_herbivore", unit="1/km2", coefficient=95.0, exponent=-0.75),
        Law(name="density_carnivore", unit="1/km2", coefficient=4.0, exponent=-0.75),
        Law(name="growth_rate", unit="1/y", coefficient=0.75, exponent=-0.25),
        Law(name="life_span", unit="y", coefficient=8.0, exponent=0.2),
        Law(name="maturity", unit="y", coefficient=0.6, exponent=0.29),
        Law(name="gestation", unit="d", coefficient=66.0, exponent=0.25),
    )
}


@dataclass(frozen=True, kw_only=True)
class NetworkConstants:
    """Constants of the allometric trophic network.

    They are dimensionless: masses are relative to the smallest plant, times to the time scale of its growth.
    """

    animal_metabolism: float = 0.314
    "x of animals: x · m^-0.25"
    plant_metabolism: float = 0.138
    "x of plants: x · m^-0.25"
    plant_growth: float = 1.0
    "greatest uptake of plants: r · m^-0.25"
    capture: float = 50.0
    "coefficient of the capture rate"
    capture_predator: float = 0.47
    "exponent of the predator's mass in the capture rate"
    capture_prey: float = 0.15
    "exponent of an animal prey's mass in the capture rate"
    capture_plant: float = 20.0
    "value of the prey factor for plants"
    handling: float = 0.4
    "coefficient of the handling time"
    handling_predator: float = -0.48
    "exponent of the predator's mass in the handling time"
    handling_prey: float = -0.66
    "exponent of the prey's mass in the handling time"
    optimal_ratio: float = 100.0
    "ratio of predator to prey mass at which captures succeed most often"
    width: float = 2.0
    "exponent of the Ricker curve of success; larger is narrower"
    cutoff: float = 0.01
    "capture success below which there is no link"
    hill: float = 1.5
    "exponent of the functional response"
    interference: float = 0.8
    "time lost to interference among individuals of one species"
    plant_efficiency: float = 0.45
    "share of eaten plants that is assimilated"
    animal_efficiency: float = 0.85
    "share of eaten animals that is assimilated"
    turnover: float = 0.25
    "turnover rate of the nutrients"
    supply: float = 10.0
    "nutrient concentration of the inflow"
    half_saturation: float = 0.15
    "nutrient concentration at half the greatest uptake, the middle of the published range"
    contents: tuple[float, ...] = (1.0, 0.5)
    "content of each nutrient in plant biomass"
    grade: str = f"{ALLOMETRIC} Guill and Schneider 2016, population dynamics code 2.4.1"
    "grade, with the source of the numbers"


NETWORK = NetworkConstants()


def compute_capture_success(
    predator_mass: float | np.ndarray, prey_mass: float | np.ndarray, constants: NetworkConstants = NETWORK
) -> np.ndarray:
    """Return the share 0..1 of encounters that end in a capture.

    It is (R e^(1−R))^width; R is the mass ratio divided by the optimal ratio.
    """
    ratio = np.asarray(predator_mass, float) / np.asarray(prey_mass, float) / constants.optimal_ratio
    return (ratio * np.exp(1 - ratio)) ** constants.width


def compute_capture_rate(
    predator_mass: float | np.ndarray,
    prey_mass: float | np.ndarray,
    prey_is_plant: bool | np.ndarray,
    constants: NetworkConstants = NETWORK,
) -> np.ndarray:
    """Return the dimensionless capture rate of one predator, not yet divided by the number of its prey species."""
    prey = np.where(prey_is_plant, constants.capture_plant, np.asarray(prey_mass, float) ** constants.capture_prey)
    reach = constants.capture * np.asarray(predator_mass, float) ** constants.capture_predator * prey
    return reach * compute_capture_success(predator_mass, prey_mass, constants)


def compute_handling_time(
    predator_mass: float | np.ndarray, prey_mass: float | np.ndarray, constants: NetworkConstants = NETWORK
) -> np.ndarray:
    """Return the dimensionless time that one predator needs to handle one prey."""
    predator = np.asarray(predator_mass, float) ** constants.handling_predator
    return constants.handling * predator * np.asarray(prey_mass, float) ** constants.handling_prey


def compute_mass_specific_metabolism(
    mass_kg: float | np.ndarray, law: str = "field_metabolic_rate"
) -> float | np.ndarray:
    """Return the tissue that a body burns in a year as a multiple of its mass (1/y), from a law in watts."""
    return LAWS[law](mass_kg) * SECONDS_PER_YEAR / TISSUE_J_PER_KG / np.asarray(mass_kg, float)


def compute_mass_specific_ingestion(mass_kg: float | np.ndarray) -> float | np.ndarray:
    """Return the greatest intake of food in a year as a multiple of body mass (1/y)."""
    return LAWS["max_ingestion"](mass_kg) * DAYS_PER_YEAR / np.asarray(mass_kg, float)


class PowerLawFit(NamedTuple):
    """A power law fitted to data."""

    slope: float
    "exponent"
    low: float
    "lower end of the confidence interval of the slope"
    high: float
    "upper end"
    coefficient: float
    "value at mass 1"
    n: int
    "points"


def fit_power_law(mass: np.ndarray, value: np.ndarray, confidence: float = 0.95) -> PowerLawFit:
    """Return the power law of value on mass, fitted to the logarithms by least squares.

    Raise ValueError for fewer than three points or if all masses are equal. Needs the extra `twin`.
    """
    from scipy.stats import t

    x, y = np.log(np.asarray(mass, float)), np.log(np.asarray(value, float))
    if len(x) < 3 or np.ptp(x) == 0:
        raise ValueError(
            f"{len(x)} masses from {np.min(mass)} to {np.max(mass)}: a slope needs three that are not all equal"
        )
    slope, intercept = np.polyfit(x, y, 1)
    residual = y - slope * x - intercept
    error = math.sqrt(float(residual @ residual) / (len(x) - 2) / float(((x - x.mean()) ** 2).sum()))
    half = float(t.ppf(0.5 + confidence / 2, len(x) - 2)) * error
    slope = float(slope)
    return PowerLawFit(slope, slope - half, slope + half, math.exp(intercept), len(x))
