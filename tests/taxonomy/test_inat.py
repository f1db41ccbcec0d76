"""The default vocabulary of more than a million species."""

import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from linnaea.records import RANKS
from linnaea.taxonomy.sources import inat_path


@pytest.fixture(scope="module")
def table():
    """The rows that the vocabulary must hold, read apart from it."""
    frame = pl.read_parquet(inat_path()).filter(pl.col("taxonRank") == "species")
    return frame.drop_nulls(["kingdom", "phylum", "class", "order", "family", "genus", "specificEpithet"])


def test_it_has_every_species_with_all_seven_ranks(inat, table):
    assert inat.tree.n_leaves == table.height == 1_098_974
    assert len(np.unique(inat.taxon_id_n)) == 1_098_974
    assert set(inat.taxon_id_n.tolist()) == set(table["id"].to_list())
    lineages = table.select("kingdom", "phylum", "class", "order", "family", "genus", "scientificName")
    assert len(inat.tree.nodes_at("species")) == lineages.unique().height
    assert len(inat.tree.nodes_at("genus")) == lineages.select(lineages.columns[:6]).unique().height


def test_lineages_are_those_of_the_table(inat, table):
    rows = table.sample(300, seed=0)
    leaf_of_id = dict(zip(inat.taxon_id_n.tolist(), range(inat.tree.n_leaves), strict=True))
    for row in rows.iter_rows(named=True):
        node = int(inat.tree.leaf_node_n[leaf_of_id[row["id"]]])
        expected = (*(row[rank] for rank in RANKS[:-1]), row["scientificName"])
        assert inat.tree.lineage(node) == expected
        assert node in inat.scientific.nodes(row["scientificName"])


def test_the_tree_is_laminar(inat):
    tree = inat.tree
    child = np.flatnonzero(tree.parent_k >= 0)
    parent = tree.parent_k[child]
    assert (tree.start_k[parent] <= tree.start_k[child]).all()
    assert (tree.end_k[child] <= tree.end_k[parent]).all()
    assert (tree.rank_k[parent] < tree.rank_k[child]).all()
    assert (parent < child).all()
    for rank in RANKS:
        nodes = tree.nodes_at(rank)
        assert (tree.start_k[nodes[1:]] >= tree.end_k[nodes[:-1]]).all()
        assert (tree.end_k[nodes] - tree.start_k[nodes]).sum() == tree.n_leaves


@pytest.mark.parametrize(
    ("written", "here"),
    [
        ("Sinapis arvensis", "Mutarda arvensis"),
        ("Trachypithecus johnii", "Semnopithecus johnii"),
        ("Papilio cresphontes", "Heraclides cresphontes"),
        ("Dryobates borealis", "Leuconotopicus borealis"),
        ("Coccothraustes vespertinus", "Hesperiphona vespertina"),
        ("Scaridae", "Labridae"),
        ("Canis lupus signatus", "Canis lupus"),
        ("Setophaga magnola", "Setophaga magnolia"),
        ("Fellidae", "Felidae"),
    ],
)
def test_moved_and_misspelt_names_are_suggested(inat, written, here):
    resolution = inat.resolve(written)
    assert resolution.taxa == []
    assert here in [taxon.name for taxon in resolution.suggestions]


def test_one_name_under_two_numbers_is_one_taxon(inat):
    taxon = inat.resolve_one("Agonum fallax")
    assert inat.tree.end_k[taxon.node] - inat.tree.start_k[taxon.node] == 2


def test_homonyms_across_kingdoms_stay_apart(inat):
    assert {taxon.kingdom for taxon in inat.resolve("Oenanthe").taxa} == {"Animalia", "Plantae"}
    assert inat.resolve_one("Plantae>Oenanthe").lineage[4] == "Apiaceae"


def test_a_name_is_found_without_polars(inat):
    code = (
        "import sys\nfrom linnaea.taxonomy.vocabulary_factory import load_vocabulary\n"
        "assert load_vocabulary().resolve_one('Felis catus').kingdom == 'Animalia'\nassert 'polars' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
