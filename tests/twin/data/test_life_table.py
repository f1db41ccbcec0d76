"""Life tables and scores against values by hand."""

import math

import numpy as np
import pytest

from linnaea.twin.data.life_table import (
    compute_elasticity,
    compute_growth_factor,
    compute_stable_ages,
    make_leslie_matrix,
    make_life_table,
    project,
)
from linnaea.twin.data.species import load_bundled_species, parse_species
from linnaea.twin.inference.forecast_scores import coverage, crps


def test_the_growth_factor_solves_eulers_equation():
    # Two classes: x² = f1 x + f2 s.
    matrix = make_leslie_matrix([0.5, 2.0], [0.4])
    exact = (0.5 + math.sqrt(0.25 + 4 * 0.8)) / 2
    assert compute_growth_factor(matrix) == pytest.approx(exact, abs=1e-10)
    fertility, survival = np.array([0, 1.2, 1.5, 0.7]), np.array([0.5, 0.8, 0.3])
    factor = compute_growth_factor(make_leslie_matrix(fertility, survival))
    lived = np.concatenate([[1], np.cumprod(survival)])
    assert (fertility * lived * factor ** -np.arange(1.0, 5)).sum() == pytest.approx(1, abs=1e-10)


def test_a_population_comes_to_its_growth_and_its_ages():
    matrix = make_leslie_matrix([0, 1.2, 1.5, 0.7], [0.5, 0.8, 0.3])
    late = project(matrix, [10, 0, 0, 0], 400)
    assert late[-1].sum() / late[-2].sum() == pytest.approx(compute_growth_factor(matrix), abs=1e-10)
    assert late[-1] / late[-1].sum() == pytest.approx(compute_stable_ages(matrix), abs=1e-10)


def test_elasticities_add_up_to_one_and_are_relative_slopes():
    matrix = make_leslie_matrix([0, 1.2, 1.5, 0.7], [0.5, 0.8, 0.3])
    assert compute_elasticity(matrix).sum() == pytest.approx(1)
    more = matrix.copy()
    more[2, 1] *= 1 + 1e-6
    assert compute_elasticity(matrix)[2, 1] == pytest.approx(
        math.log(compute_growth_factor(more) / compute_growth_factor(matrix)) / 1e-6, rel=1e-4
    )


def test_a_species_table_by_hand():
    head = (
        "name,diet,body_mass_kg,litter_size,births_per_y,maturity_y,life_span_y,yearly_survival,young_survival,grade\n"
    )
    species = parse_species(head + "deer,grazer,50,1,1,2.5,4,0.9,0.6,unverified")["deer"]
    fertility, survival = make_life_table(species)
    assert fertility == pytest.approx([0, 0.15, 0.3, 0.3])
    assert survival == pytest.approx([0.9] * 3)


def test_no_bundled_animal_dies_out_for_lack_of_young():
    for species in load_bundled_species().values():
        if not species.basal and species.births_per_y and species.life_span_y >= 2:
            assert compute_growth_factor(make_leslie_matrix(*make_life_table(species))) > 1, species.name


def test_life_tables_that_cannot_be():
    with pytest.raises(ValueError, match=r"survival 1.2 is impossible"):
        make_leslie_matrix([1, 1], [1.2])
    with pytest.raises(ValueError, match="one survival less"):
        make_leslie_matrix([1, 1], [0.2, 0.3])
    with pytest.raises(ValueError, match=r"acacia: diet .woody. has no life table"):
        make_life_table(load_bundled_species()["acacia"])
    with pytest.raises(ValueError, match="too short"):
        make_life_table(load_bundled_species()["fruit fly"])


def test_the_score_of_an_ensemble_by_hand():
    assert crps(np.array([[3.0]]), np.array([5.0])) == pytest.approx(2)
    # Two members 0 and 2, truth 1: mean distance 1, half the mean distance of pairs 1/2.
    assert crps(np.array([[0.0], [2.0]]), np.array([1.0])) == pytest.approx(0.5)
    rng = np.random.default_rng(0)
    # Of a standard normal at 0: 2 φ(0) − 1/√π.
    exact = 2 / math.sqrt(2 * math.pi) - 1 / math.sqrt(math.pi)
    assert crps(rng.normal(size=(40000, 1)), np.zeros(1)) == pytest.approx(exact, abs=5e-3)
    members = np.linspace(0, 1, 101)[:, None] + np.zeros(4)
    assert coverage(members, np.array([0.5, 0.06, 0.97, -1])) == pytest.approx(0.5)
