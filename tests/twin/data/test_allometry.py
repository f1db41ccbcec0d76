"""Formulae of body mass: by hand, and through the equations to Kleiber's and Damuth's slopes."""

import math

import numpy as np
import pytest

from linnaea.twin.data.allometry import (
    LAWS,
    NETWORK,
    compute_capture_rate,
    compute_capture_success,
    compute_handling_time,
    compute_mass_specific_ingestion,
    compute_mass_specific_metabolism,
    fit_power_law,
)
from linnaea.twin.data.evidence import check_grade

pytest.importorskip("scipy")

from linnaea.twin.meanfield.equations import compute_flows
from linnaea.twin.meanfield.stability import find_equilibrium
from linnaea.twin.meanfield.textbook import make_mass_grazer


def test_a_law_by_hand():
    assert LAWS["metabolic_rate"](16) == pytest.approx(3.4 * 8)
    assert LAWS["density_herbivore"](16) == pytest.approx(95 / 8)
    assert LAWS["metabolic_rate"].formula == "3.4 m^0.75 W"
    # A fast middle: the heaviest are slower than a cheetah's weight.
    assert LAWS["max_speed"](50) > LAWS["max_speed"](4000) > LAWS["max_speed"](1e5)
    assert compute_mass_specific_ingestion(16.0) == pytest.approx(0.2 * 8 * 365.25 / 16)
    assert compute_mass_specific_metabolism(1.0, "metabolic_rate") == pytest.approx(3.4 * 365.25 * 86400 / 7e6)


def test_every_law_and_constant_has_a_grade():
    for law in LAWS.values():
        check_grade(law.grade, law.name)
    assert check_grade(NETWORK.grade, "network").startswith("allometric")


def test_a_mass_that_is_none_is_refused():
    for mass in (0, -1, math.nan, [1, 0]):
        with pytest.raises(ValueError, match="metabolic_rate needs a positive mass"):
            LAWS["metabolic_rate"](mass)


def test_a_capture_succeeds_most_at_the_optimal_ratio():
    prey = 10.0 ** np.linspace(-3, 1, 401)
    success = compute_capture_success(10.0, prey)
    assert prey[success.argmax()] == pytest.approx(0.1, rel=0.02)
    assert success.max() == pytest.approx(1, abs=1e-3)
    assert compute_capture_success(200.0, 1.0) == pytest.approx((2 * math.exp(-1)) ** 2)
    assert compute_capture_rate(100.0, 1.0, True) == pytest.approx(50 * 20 * 100**0.47)
    assert compute_handling_time(100.0, 1.0) == pytest.approx(0.4 * 100**-0.48)


def test_a_slope_has_an_interval_that_holds_it_and_needs_three_masses():
    mass = np.array([1.0, 10, 100, 1000])
    fit = fit_power_law(mass, 2 * mass**0.75)
    assert fit.slope == pytest.approx(0.75)
    assert fit.coefficient == pytest.approx(2)
    with pytest.raises(ValueError, match="three"):
        fit_power_law([1, 2], [1, 2])


def test_food_an_animal_and_animals_an_area_scale_as_kleiber_and_damuth_found():
    rng = np.random.default_rng(1)
    masses, food, density = 10 ** rng.uniform(-2, 3.5, 60), [], []
    for mass in masses:
        # Species differ by 20 % in what they spend, eat and find.
        vary = np.exp(rng.normal(0, 0.2, 3))
        cost, most = (
            0.25 * compute_mass_specific_metabolism(mass) * vary[0],
            compute_mass_specific_ingestion(mass) * vary[1],
        )
        model = make_mass_grazer(mass, cost, most, vary[2])
        biomass = find_equilibrium(model)
        density.append(biomass["grazer"] / mass)
        food.append(compute_flows(model, biomass)["grazer", "grass"] / density[-1])
    kleiber, damuth = fit_power_law(masses, food), fit_power_law(masses, density)
    assert kleiber.low <= 0.75 <= kleiber.high
    assert kleiber.high - kleiber.low < 0.1
    assert damuth.low <= -0.75 <= damuth.high
    assert damuth.high - damuth.low < 0.2
    with pytest.raises(ValueError, match=r"must be below 0\.45"):
        make_mass_grazer(1.0, 10.0, 12.0)
