"""A species' life table as a matrix: how fast it grows, at what ages it stands, what its growth hangs on."""

from __future__ import annotations

import math

import numpy as np

from linnaea.twin.data.species import Species


def make_leslie_matrix(fertility: np.ndarray, survival: np.ndarray) -> np.ndarray:
    """Matrix [a, a] of females by age class: births in the first row, survival [a − 1] below the diagonal.

    ValueError for a negative fertility or a survival outside 0..1.
    """
    fertility, survival = np.asarray(fertility, float), np.asarray(survival, float)
    if fertility.ndim != 1 or len(survival) != len(fertility) - 1:
        raise ValueError(
            f"{fertility.size} fertilities and {survival.size} survivals; give one survival less than fertilities"
        )
    for name, value, most in (("fertility", fertility, math.inf), ("survival", survival, 1.0)):
        bad = value[~((value >= 0) & (value <= most))]
        if len(bad):
            raise ValueError(f"life table: {name} {bad[0]:g} is impossible; write a number from 0 to {most:g}")
    matrix = np.diag(survival, -1)
    matrix[0] = fertility
    return matrix


def make_life_table(species: Species) -> tuple[np.ndarray, np.ndarray]:
    """Fertility [a] and survival [a − 1] by year of age, counted just before the births, from a species' values.

    A female that is `maturity_y` old has births_per_y · litter_size / 2 daughters a year, of which `young_survival` are
    there to be counted a year later; none passes `life_span_y`. ValueError for what eats nothing, or lives less than
    two years, of which a yearly table says nothing.
    """
    if species.basal:
        raise ValueError(f"{species.name}: a {species.diet} has no life table; ask for an animal")
    n_ages = math.floor(species.life_span_y)
    if n_ages < 2:
        raise ValueError(
            f"{species.name}: life_span_y {species.life_span_y:g} is too short for a table by year; at least 2"
        )
    age = np.arange(1, n_ages + 1)
    # Mature for part of the year: that part of a year's births.
    mature = np.clip(age + 1 - species.maturity_y, 0, 1)
    daughters = species.births_per_y * species.litter_size / 2
    return mature * daughters * species.young_survival, np.full(n_ages - 1, species.yearly_survival)


def compute_growth_factor(matrix: np.ndarray) -> float:
    """Dominant eigenvalue: by which the population is multiplied a step in the end; 1 is constant."""
    values = np.linalg.eigvals(np.asarray(matrix, float))
    return float(values[np.argmax(np.abs(values))].real)


def compute_stable_ages(matrix: np.ndarray) -> np.ndarray:
    """Share of each age class [a], of sum 1, in the end."""
    values, vectors = np.linalg.eig(np.asarray(matrix, float))
    share = np.abs(vectors[:, np.argmax(values.real)].real)
    return share / share.sum()


def compute_elasticity(matrix: np.ndarray) -> np.ndarray:
    """Share of each entry [a, a], of sum 1, in the growth factor: relative change of it per relative change of the
    entry.
    """
    matrix = np.asarray(matrix, float)
    ages, worths = compute_stable_ages(matrix), compute_stable_ages(matrix.T)
    return matrix * np.outer(worths, ages) / (worths @ ages) / compute_growth_factor(matrix)


def project(matrix: np.ndarray, start: np.ndarray, steps: int) -> np.ndarray:
    """Animals by age [steps + 1, a] from a start on."""
    rows = [np.asarray(start, float)]
    for _ in range(steps):
        rows.append(np.asarray(matrix) @ rows[-1])
    return np.array(rows)
