"""Taxa as sentences."""

import pytest

from linnaea.records import Taxon
from linnaea.taxonomy.name_text import TEXT_TYPES, epithet, taxon_text

WARBLER = ("Animalia", "Chordata", "Aves", "Passeriformes", "Parulidae", "Setophaga", "Setophaga magnolia")


def test_each_text_type_reads_as_documented():
    said = [taxon_text(WARBLER, text_type, "Magnolia Warbler") for text_type in TEXT_TYPES]
    long = "Animalia Chordata Aves Passeriformes Parulidae Setophaga magnolia"
    assert said == [
        "Setophaga magnolia",
        "Magnolia Warbler",
        long,
        "Setophaga magnolia with common name Magnolia Warbler",
        f"{long} with common name Magnolia Warbler",
    ]


def test_without_a_common_name_the_scientific_form_stands():
    assert taxon_text(WARBLER, "common") == "Setophaga magnolia"
    assert taxon_text(WARBLER, "scientific_common") == "Setophaga magnolia"
    assert taxon_text(WARBLER, "taxonomic_common") == taxon_text(WARBLER, "taxonomic")


def test_missing_ranks_leave_no_gap_and_a_species_without_genus_keeps_its_name():
    assert taxon_text(("Animalia", "", "", "", "Felidae", "", "")) == "Animalia Felidae"
    assert taxon_text(("", "", "", "", "Felidae", "", "Felis catus")) == "Felidae Felis catus"


def test_the_epithet_is_what_follows_the_first_word_even_in_another_genus():
    assert epithet("Cambarus pecki") == "pecki"
    assert epithet("Cortinarius sp. 'PNW34'") == "sp. 'PNW34'"
    assert epithet("Felis") == "Felis"


def test_a_taxon_brings_its_own_common_name():
    taxon = Taxon(rank="species", name=WARBLER[-1], lineage=WARBLER, common_name="Magnolia Warbler")
    assert taxon_text(taxon, "common") == "Magnolia Warbler"
    assert taxon_text(taxon, "common", "warbler") == "warbler"


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"latin.*scientific"):
        taxon_text(WARBLER, "latin")
    with pytest.raises(ValueError, match="7 entries"):
        taxon_text(("Animalia",))
