"""The life table of a species as a matrix: growth factor, stable ages, elasticity.

Shape suffixes: a age classes.
"""

from __future__ import annotations

import math

import numpy as np

from linnaea.twin.data.species import Species


def make_leslie_matrix(fertility: np.ndarray, survival: np.ndarray) -> np.ndarray:
    """Return the Leslie matrix [a, a] of females: fertility [a] in the first row, survival [a − 1] below the diagonal.

    Raise ValueError for a negative fertility, a survival outside 0..1 or lengths that do not fit.
    """
    fertility, survival = np.asarray(fertility, float), np.asarray(survival, float)
    if fertility.ndim != 1 or len(survival) != len(fertility) - 1:
        raise ValueError(
            f"life table: {fertility.size} fertilities and {survival.size} survivals; give one survival less than "
            "fertilities"
        )
    for name, value, most in (("fertility", fertility, math.inf), ("survival", survival, 1.0)):
        bad = value[~((value >= 0) & (value <= most))]
        if len(bad):
            raise ValueError(f"life table: {name} {bad[0]:g} is impossible; write a number from 0 to {most:g}")
    matrix = np.diag(survival, -1)
    matrix[0] = fertility
    return matrix


def make_life_table(species: Species) -> tuple[np.ndarray, np.ndarray]:
    """Return fertility [a] and survival [a − 1] by year of age, counted just before the births of a year.

    A female of age `maturity_y` has births_per_y · litter_size / 2 daughters in a year; the share `young_survival` of
    them is counted a year later. No female lives longer than `life_span_y`. Raise ValueError for a basal species and
    for a life span below two years, too short for a table by year.
    """
    if species.basal:
        raise ValueError(f"{species.name}: diet {species.diet!r} has no life table; ask for an animal")
    n_ages = math.floor(species.life_span_y)
    if n_ages < 2:
        raise ValueError(
            f"{species.name}: life_span_y {species.life_span_y:g} is too short for a table by year; it must be at "
            "least 2"
        )
    age = np.arange(1, n_ages + 1)
    # A female that matures within the year has that part of the year's births.
    mature = np.clip(age + 1 - species.maturity_y, 0, 1)
    daughters = species.births_per_y * species.litter_size / 2
    return mature * daughters * species.young_survival, np.full(n_ages - 1, species.yearly_survival)


def compute_growth_factor(matrix: np.ndarray) -> float:
    """Return the dominant eigenvalue: the long-term factor of growth per step; 1 is a constant population."""
    values = np.linalg.eigvals(np.asarray(matrix, float))
    return float(values[np.argmax(np.abs(values))].real)


def compute_stable_ages(matrix: np.ndarray) -> np.ndarray:
    """Return the long-term share of each age class [a]; the shares add up to 1."""
    values, vectors = np.linalg.eig(np.asarray(matrix, float))
    share = np.abs(vectors[:, np.argmax(values.real)].real)
    return share / share.sum()


def compute_elasticity(matrix: np.ndarray) -> np.ndarray:
    """Return the elasticity [a, a] of the growth factor to each entry; the elasticities add up to 1.

    An elasticity is the relative change of the growth factor per relative change of the entry.
    """
    matrix = np.asarray(matrix, float)
    ages, reproductive_values = compute_stable_ages(matrix), compute_stable_ages(matrix.T)
    weighted = matrix * np.outer(reproductive_values, ages)
    return weighted / (reproductive_values @ ages) / compute_growth_factor(matrix)


def project(matrix: np.ndarray, start: np.ndarray, steps: int) -> np.ndarray:
    """Return the females by age [steps + 1, a] at the start and after each step."""
    rows = [np.asarray(start, float)]
    for _ in range(steps):
        rows.append(np.asarray(matrix) @ rows[-1])
    return np.array(rows)
