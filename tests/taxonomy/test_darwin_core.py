"""Darwin Core taxon tables as GBIF and the Catalogue of Life write them, in small."""

import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaea.records import RANKS
from linnaea.taxonomy.darwin_core import ranked_ancestors
from linnaea.taxonomy.vocabulary_factory import load_vocabulary

GBIF = """\
taxonID\tparentNameUsageID\tacceptedNameUsageID\tscientificName\tscientificNameAuthorship\tcanonicalName\t\
taxonRank\ttaxonomicStatus\tkingdom\tphylum\tclass\torder\tfamily\tgenus
1\t\t\tAnimalia\t\tAnimalia\tkingdom\taccepted\tAnimalia\t\t\t\t\t
2\t1\t\tFelidae "Waldheim\tWaldheim\tFelidae\tfamily\taccepted\tAnimalia\tChordata\tMammalia\tCarnivora\tFelidae\t
3\t2\t\tFelis Linnaeus\tLinnaeus\tFelis\tgenus\taccepted\tAnimalia\tChordata\tMammalia\tCarnivora\tFelidae\tFelis
4\t3\t\tFelis catus Linnaeus, 1758\tLinnaeus, 1758\tFelis catus\tspecies\taccepted\tAnimalia\tChordata\tMammalia\t\
Carnivora\tFelidae\tFelis
5\t3\t4\tFelis domesticus "Erxleben\tErxleben\tFelis domesticus\tspecies\tsynonym\tAnimalia\tChordata\tMammalia\t\
Carnivora\tFelidae\tFelis
6\t4\t\tFelis catus alba\t\tFelis catus alba\tsubspecies\taccepted\tAnimalia\tChordata\tMammalia\tCarnivora\t\
Felidae\tFelis
7\t1\t2\tCatidae\t\tCatidae\tfamily\tsynonym\tAnimalia\tChordata\tMammalia\tCarnivora\tFelidae\t
8\t3\t\tFelis dubia\t\tFelis dubia\tspecies\tdoubtful\tAnimalia\tChordata\tMammalia\tCarnivora\tFelidae\tFelis
9\t3\t\tFelis falsa\t\tFelis falsa\tspecies\tmisapplied\tAnimalia\tChordata\tMammalia\tCarnivora\tFelidae\tFelis
"""
GBIF_VERNACULAR = "taxonID\tvernacularName\tlanguage\n4\tDomestic cat\ten\n4\tHauskatze\tde\n2\tcats\t\n4\tCat\ten\n"
COL = """\
dwc:taxonID\tdwc:parentNameUsageID\tdwc:acceptedNameUsageID\tdwc:taxonomicStatus\tdwc:taxonRank\t\
dwc:scientificName\tdwc:scientificNameAuthorship\tdwc:genericName\tdwc:specificEpithet\tdwc:infraspecificEpithet
R\t\t\taccepted\tunranked\tBiota\t\t\t\t
K\tR\t\taccepted\tkingdom\tPlantae\t\t\t\t
F\tK\t\taccepted\tfamily\tFagaceae Dumort.\tDumort.\t\t\t
S\tF\t\taccepted\tsubfamily\tQuercoideae\t\t\t\t
Q\tS\t\taccepted\tgenus\tQuercus L.\tL.\t\t\t
QR\tQ\t\tprovisionally accepted\tspecies\tQuercus robur L.\tL.\tQuercus\trobur\t
QP\t\tQR\tsynonym\tspecies\tQuercus pedunculata Ehrh.\tEhrh.\tQuercus\tpedunculata\t
C\tC\t\taccepted\tspecies\tCircularia ipsa Author, 1900\t\t\t\t
"""
COL_VERNACULAR = "dwc:taxonID\tdcterms:language\tdwc:vernacularName\nQR\teng\tenglish oak\nQR\tfra\tchêne\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A cache of its own, without the names of the extra, so that a file alone decides."""
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("linnaea.taxonomy.common_names.EXTRAS", {})


def write_folder(path, taxon, vernacular):
    path.mkdir()
    (path / "Taxon.tsv").write_text(taxon, encoding="utf-8")
    (path / "VernacularName.tsv").write_text(vernacular, encoding="utf-8")
    return path


def write_zip(path, taxon, vernacular):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("meta.xml", "<archive/>")
        archive.writestr("backbone/Taxon.tsv", taxon)
        archive.writestr("backbone/VernacularName.tsv", vernacular)
    return path


def species(vocabulary):
    return [vocabulary.tree.name(int(node)) for node in vocabulary.tree.leaf_node_n]


def test_the_gbif_backbone_in_small(tmp_path):
    vocabulary = load_vocabulary(write_folder(tmp_path / "gbif", GBIF, GBIF_VERNACULAR))
    assert species(vocabulary) == ["Felis catus", "Felis dubia"]
    cat = vocabulary.resolve_one("Felis catus Linnaeus, 1758")
    assert cat.lineage == ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Felis", "Felis catus")
    synonym = vocabulary.resolve("Felis domesticus")
    assert (synonym.taxa, synonym.matched_by) == ([cat], "synonym")
    assert vocabulary.resolve_one("Catidae").name == "Felidae"
    assert cat.common_name == "Domestic cat"
    assert vocabulary.resolve("cat").taxa == [cat]
    assert vocabulary.resolve("Hauskatze").matched_by == "everyday"  # not a common name of the archive
    assert vocabulary.resolve_one("Cats").name == "Felidae"
    assert vocabulary.resolve("Felis falsa").taxa == []


def test_the_catalogue_of_life_in_small_from_its_zip(tmp_path):
    vocabulary = load_vocabulary(write_zip(tmp_path / "col.zip", COL, COL_VERNACULAR))
    assert species(vocabulary) == ["Circularia ipsa", "Quercus robur"]
    oak = vocabulary.resolve_one("Quercus pedunculata")
    assert oak.lineage == ("Plantae", "", "", "", "Fagaceae", "Quercus", "Quercus robur")
    assert oak.common_name == "english oak"


def test_file_folder_and_zip_are_one_vocabulary(tmp_path):
    folder = write_folder(tmp_path / "gbif", GBIF, GBIF_VERNACULAR)
    archive = write_zip(tmp_path / "gbif.zip", GBIF, GBIF_VERNACULAR)
    vocabularies = [load_vocabulary(path) for path in (folder, archive, folder / "Taxon.tsv")]
    assert len({v.hash for v in vocabularies}) == len({v.common_names_hash for v in vocabularies}) == 1


def test_without_species_the_finest_taxa_are_the_leaves(tmp_path):
    path = tmp_path / "Taxon.csv"
    path.write_text('taxonID,parentNameUsageID,scientificName,taxonRank\n1,,Animalia,kingdom\n2,1,"Felidae",family\n')
    vocabulary = load_vocabulary(path)
    assert species(vocabulary) == ["Animalia", "Felidae"]
    assert vocabulary.resolve_one("Felidae").kingdom == "Animalia"


def test_a_folder_without_a_taxon_table_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty holds no table of taxa or occurrences \(it holds nothing\)"):
        load_vocabulary(tmp_path / "empty")


parents = st.lists(st.tuples(st.integers(-1, 6), st.integers(-1, 12)), min_size=1, max_size=13)


@settings(deadline=None)
@given(parents)
def test_chains_of_parents_give_what_a_walk_gives_even_in_circles(rows):
    rank_t = np.array([rank for rank, _ in rows])
    parent_t = np.array([parent if parent < len(rows) else -1 for _, parent in rows])
    found = ranked_ancestors(rank_t, parent_t)
    for row in range(len(rows)):
        expected = [-1] * len(RANKS)
        at = row
        for _ in range(len(rows) + 1):
            if at < 0:
                break
            if rank_t[at] >= 0 and expected[rank_t[at]] < 0:
                expected[rank_t[at]] = at
            at = parent_t[at]
        assert found[:, row].tolist() == expected
