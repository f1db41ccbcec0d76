"""Calibration recovers a known truth, keeps ranks in order, and leaves what was never fitted alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaea.identify.naming import calibration as module
from linnaea.identify.naming.calibration import TRAITS, calibrate, compute_traits, fit_calibration
from linnaea.records import RANKS
from linnaea.search.scorer import Scores
from made_scores import ONE_TAXON, make_scores


def test_without_parameters_the_masses_stand():
    mass_br = np.random.default_rng(1).uniform(size=(5, 7))
    np.testing.assert_array_equal(calibrate({}, make_scores(mass_br), ONE_TAXON), mass_br)


def test_a_known_logistic_truth_is_recovered():
    rng = np.random.default_rng(2)
    scores = make_scores(rng.uniform(0.01, 0.99, (20_000, 7)), rng)
    weights, bias = np.array([0.5, 0.2, 0.3, -0.1, 0.15]), -1.0
    truth_br = 1 / (1 + np.exp(-(compute_traits(scores) @ weights + bias)))
    right_br = rng.uniform(size=truth_br.shape) < truth_br
    fitted = fit_calibration(scores, right_br, np.ones_like(right_br))
    for rank in fitted["ranks"].values():
        np.testing.assert_allclose(rank["weights"], weights, atol=0.08)
    species_only = {**fitted, "ranks": {"species": fitted["ranks"]["species"]}}
    np.testing.assert_allclose(calibrate(species_only, scores, ONE_TAXON)[:, 6], truth_br[:, 6], atol=0.05)


def test_rows_of_which_the_truth_is_unknown_do_not_count():
    rng = np.random.default_rng(3)
    scores = make_scores(rng.uniform(size=(400, 7)), rng)
    right_br = rng.uniform(size=(400, 7)) < 0.5
    known_br = np.zeros((400, 7), bool)
    known_br[:200] = True
    known_br[:, 6] = False
    spoilt_br = right_br.copy()
    spoilt_br[200:] = ~spoilt_br[200:]
    one, two = (fit_calibration(scores, right, known_br) for right in (right_br, spoilt_br))
    assert one == two
    assert "species" not in one["ranks"]


@given(st.integers(0, 1000))
def test_a_wider_taxon_is_never_less_likely_than_one_inside_it(seed):
    rng = np.random.default_rng(seed)
    scores = make_scores(rng.uniform(size=(6, 7)), rng)
    ranks = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
    parameters = {
        "traits": ["mass", "lead", "organism", "similarity", "clarity"],
        "ranks": {rank: {"weights": rng.normal(size=5).tolist(), "bias": float(rng.normal())} for rank in ranks},
    }
    chance_br = calibrate(json.loads(json.dumps(parameters)), scores, ONE_TAXON)
    assert (np.diff(chance_br, axis=1) <= 1e-12).all()
    assert ((chance_br >= 0) & (chance_br <= 1)).all()


def test_a_taxon_owes_nothing_to_a_likelier_one_outside_it(vocabulary):
    """The family is Felidae (0.3); the species a wolf (0.8), or a cat (0.8)."""
    tree = vocabulary.tree
    scores = make_scores(np.tile([0.9, 0.9, 0.9, 0.9, 0.3, 0.2, 0.8], (2, 1)))
    for i, species in enumerate(("Canis lupus", "Felis catus")):
        lineage = vocabulary.resolve_one("Felis catus").lineage[:6]
        nodes = [vocabulary.resolve_one(f"{rank}:{name}").node for rank, name in zip(RANKS, lineage, strict=False)]
        scores.node_br[i] = [*nodes, vocabulary.resolve_one(species).node]
    nothing_fitted = {"traits": list(TRAITS), "ranks": {"none": {}}}
    chance_br = calibrate(nothing_fitted, scores, tree)
    np.testing.assert_allclose(chance_br[0], [0.9, 0.9, 0.9, 0.9, 0.3, 0.2, 0.8])
    np.testing.assert_allclose(chance_br[1], [0.9, 0.9, 0.9, 0.9, 0.8, 0.8, 0.8])
    scores.node_br[1, 5] = -1  # no genus in the vocabulary: the species still lies in the family
    np.testing.assert_allclose(calibrate(nothing_fitted, scores, tree)[1], [0.9, 0.9, 0.9, 0.9, 0.8, 0.0, 0.8])


def test_separable_photographs_do_not_drive_the_weights_to_infinity():
    scores = make_scores(np.tile(np.linspace(0.01, 0.99, 60)[:, None], (1, 7)))
    right_br = scores.probability_br > 0.5
    fitted = fit_calibration(scores, right_br, np.ones_like(right_br))
    chance_br = calibrate(fitted, scores, ONE_TAXON)
    assert np.isfinite(chance_br).all()
    assert ((chance_br > 0.5) == right_br).mean() > 0.95


def test_traits_that_hardly_differ_carry_no_weight():
    """44 photographs whose cosines differ in the fourth decimal, and by chance with the truth."""
    rng = np.random.default_rng(4)
    right_br = np.tile((np.arange(44) % 3 == 0)[:, None], (1, 7))
    scores = make_scores(rng.uniform(0.1, 0.9, (44, 7)), rng)
    scores.leaf_similarity_b[:] = 0.95 + 1e-4 * right_br[:, 0]
    scores.entropy_b[:] = 7.0
    fitted = fit_calibration(scores, right_br, np.ones_like(right_br))
    for rank in fitted["ranks"].values():
        assert np.abs(rank["weights"]).max() < 3
        assert abs(rank["bias"]) < 15
    assert np.abs(calibrate(fitted, scores, ONE_TAXON)[:, 6].mean() - 1 / 3) < 0.05


def test_hundreds_of_photographs_are_fitted_as_if_nothing_held_them_back(monkeypatch):
    rng = np.random.default_rng(6)
    scores = make_scores(rng.uniform(0.01, 0.99, (800, 7)), rng)
    right_br = rng.uniform(size=(800, 7)) < scores.probability_br
    held = calibrate(fit_calibration(scores, right_br, np.ones_like(right_br)), scores, ONE_TAXON)
    monkeypatch.setattr(module, "SPREAD_N", 0)
    free = calibrate(fit_calibration(scores, right_br, np.ones_like(right_br)), scores, ONE_TAXON)
    np.testing.assert_allclose(held, free, atol=1e-3)


def test_a_rank_without_right_names_has_one_small_chance_for_all():
    scores = make_scores(np.random.default_rng(7).uniform(size=(44, 7)))
    right_br = np.zeros((44, 7), bool)
    right_br[:3, 0] = True
    fitted = fit_calibration(scores, right_br, np.ones_like(right_br))
    chance_br = calibrate(fitted, scores, ONE_TAXON)
    np.testing.assert_allclose(chance_br[:, 0], 4 / 46, atol=1e-6)
    np.testing.assert_allclose(chance_br[:, 6], 1 / 46, atol=1e-6)


def test_a_calibration_of_other_traits_is_refused():
    with pytest.raises(ValueError, match="calibrate the model again"):
        calibrate({"traits": ["mass"], "ranks": {"species": {}}}, make_scores(np.full((1, 7), 0.5)), ONE_TAXON)


def test_an_image_of_weight_two_counts_as_two():
    rng = np.random.default_rng(5)
    scores = make_scores(rng.uniform(size=(100, 7)), rng)
    right_br, known_br = rng.uniform(size=(100, 7)) < 0.4, np.ones((100, 7), bool)
    twice = np.concatenate([np.arange(100), np.arange(30)])
    doubled = Scores(**{name: getattr(scores, name)[twice] for name in Scores.__dataclass_fields__})
    weighted = fit_calibration(scores, right_br, known_br, np.where(np.arange(100) < 30, 2.0, 1.0))
    repeated = fit_calibration(doubled, right_br[twice], known_br[twice])
    # the traits are standardised before the ridge, so the two agree but for that
    for rank in weighted["ranks"]:
        np.testing.assert_allclose(weighted["ranks"][rank]["weights"], repeated["ranks"][rank]["weights"], atol=0.02)
