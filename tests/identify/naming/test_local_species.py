"""A photograph of an organism that was not recorded near a place is named as if no place were given."""

import numpy as np
import pytest

from linnaea.identify.naming.local_species import find_local_leaves
from linnaea.identify.naming.namer import load_namer
from linnaea.identify.naming.namer_config import NamerConfig

CAT = "Animalia Chordata Mammalia Carnivora Felidae Felis Felis catus"
ROSE = "Plantae Tracheophyta Magnoliopsida Rosales Rosaceae Rosa Rosa canina"


def test_local_leaves_are_likelier_than_an_average_one():
    np.testing.assert_array_equal(find_local_leaves(np.array([-3.0, 0.0, 2.0, 0.1], np.float32)), [2, 3])


@pytest.fixture
def namer_of(model, vocabulary, tmp_path):
    (tmp_path / "o.csv").write_text("scientificName,decimalLatitude,decimalLongitude\nFelis catus,48,11\n")

    def load(**options):
        config = NamerConfig(near=(48.0, 11.0), occurrences=tmp_path / "o.csv", **options)
        return load_namer(config, model, vocabulary=vocabulary)

    return load


def test_the_prior_holds_for_local_species_and_not_for_others(namer_of, model, vocabulary):
    vectors_bd = model.encode_texts([CAT, ROSE])
    namer, plain = namer_of(), load_namer(NamerConfig(), model, vocabulary=vocabulary)
    with_prior, without = namer.scorer.score(vectors_bd), plain.scorer.score(vectors_bd)
    corrected = namer.local_species.correct(namer.scorer.score(vectors_bd), vectors_bd, 1)
    expected_b = [with_prior.log_leaf_mass_b[0], without.log_leaf_mass_b[1]]
    np.testing.assert_allclose(corrected.log_leaf_mass_b, expected_b, atol=1e-4)
    assert abs(with_prior.log_leaf_mass_b - without.log_leaf_mass_b).min() > 0.5


def test_with_min_confidence_zero_the_prior_holds_for_all(namer_of):
    assert namer_of().local_species is not None
    assert namer_of(min_confidence=0.0).local_species is None
