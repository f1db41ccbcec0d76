"""Taxa that stand for all organisms beside a few candidates."""

import numpy as np
import pytest

from linnaea.embed.names.contrast_table import count_candidates, load_contrast_table
from linnaea.model.core.placeholder import PlaceholderModel
from linnaea.taxonomy.name_text import taxon_text
from linnaea.taxonomy.vocabulary_factory import load_vocabulary

CAT = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Felis", "Felis catus")
LINES = [
    "kingdom,phylum,class,order,family,genus,species",
    ",".join(CAT),
    "Animalia,Chordata,Mammalia,Carnivora,Canidae,Canis,Canis lupus",
    "Animalia,Chordata,Mammalia,Primates,Hominidae,Homo,Homo sapiens",
    "Plantae,Tracheophyta,Magnoliopsida,Rosales,Rosaceae,Rosa,Rosa canina",
]


@pytest.fixture
def vocabulary(tmp_path, monkeypatch):
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "v.csv").write_text("\n".join(LINES) + "\n")
    return load_vocabulary(tmp_path / "v.csv")


def find_leaves(vocabulary, *names):
    return vocabulary.leaves_within(names)


def test_the_contrast_holds_learned_species_orders_and_the_families_beside_the_candidates(vocabulary):
    model = PlaceholderModel()
    model.familiar = {CAT}
    contrast = load_contrast_table(model, vocabulary, find_leaves(vocabulary, "Felidae"))
    names = [vocabulary.tree.name(int(node)) for node in contrast.node_c]
    assert names == ["Felis catus", "Carnivora", "Primates", "Rosales", "Canidae"]
    assert contrast.is_general_c.tolist() == [True, True, True, True, False]
    assert contrast.is_outside_c.tolist() == [False, False, True, True, True]
    text = taxon_text(vocabulary.resolve_one("Primates").lineage, "taxonomic")
    np.testing.assert_allclose(contrast.vectors_cd[2], model.encode_texts([text])[0], atol=1e-3)


def test_a_second_run_reads_the_vectors_from_the_cache(vocabulary, monkeypatch):
    model, leaves = PlaceholderModel(), find_leaves(vocabulary, "Felidae")
    first = load_contrast_table(model, vocabulary, leaves)
    monkeypatch.setattr(PlaceholderModel, "encode_texts", None)
    again = load_contrast_table(model, vocabulary, leaves)
    np.testing.assert_array_equal(first.vectors_cd, again.vectors_cd)


def test_candidates_are_counted_below_each_node(vocabulary):
    tree = vocabulary.tree
    nodes = np.array([vocabulary.resolve_one(name).node for name in ("Mammalia", "Felidae", "Plantae")])
    np.testing.assert_array_equal(count_candidates(tree, nodes, find_leaves(vocabulary, "Carnivora")), [2, 1, 0])
