"""Scientific names taken apart."""

import pytest

from linnaea.taxonomy.name_parser import is_credible, parse_name


def test_authorship_and_year_come_off():
    name = parse_name("Felis catus Linnaeus, 1758")
    assert (name.canonical, name.genus, name.specific_epithet) == ("Felis catus", "Felis", "catus")
    assert (name.authorship, name.year, name.rank, name.reason) == ("Linnaeus, 1758", "1758", "species", "")
    assert parse_name("Setophaga magnolia (Wilson, 1811)").year == "1811"


@pytest.mark.parametrize("text", ["Quercus × rosacea", "Quercus x rosacea"])
def test_hybrids_are_marked_and_bare(text):
    name = parse_name(text)
    assert name.is_hybrid
    assert name.canonical == "Quercus rosacea"


def test_names_below_species_keep_their_parts():
    name = parse_name("Abies alba var. nigra Mill.")
    assert (name.canonical, name.infraspecific_epithet, name.rank) == ("Abies alba nigra", "nigra", "variety")


def test_uncertain_names_say_so():
    assert parse_name("Felis cf. catus").qualifier == "cf."
    undetermined = parse_name("Felis sp.")
    assert (undetermined.canonical, undetermined.qualifier) == ("Felis", "sp.")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Tobacco mosaic virus", "virus"),
        ("Quercus robur × Quercus petraea", "two parents"),
        ("BOLD:AAA1234", "identifier"),
        ("   ", "empty"),
    ],
)
def test_what_is_no_name_comes_with_a_reason(text, reason):
    name = parse_name(text)
    assert reason in name.reason
    assert name.canonical == ""


def test_an_authorship_that_may_be_a_word_is_not_trusted():
    assert not is_credible(parse_name("House Cat"))
    assert is_credible(parse_name("Salix L."))
    assert is_credible(parse_name("Felidae Fischer von Waldheim, 1817"))
