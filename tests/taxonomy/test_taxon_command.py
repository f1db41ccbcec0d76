"""The command `linnaea taxon`."""

import json

import pytest

from linnaea.taxonomy.taxon_command import TaxonConfig, main


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("linnaea.taxonomy.common_names.EXTRAS", {})
    path = tmp_path / "names.csv"
    path.write_text(
        "kingdom,family,genus,species,common_name\n"
        "Animalia,Felidae,Felis,catus,cat\nAnimalia,Felidae,Felis,silvestris,\n"
        "Animalia,Muscicapidae,Oenanthe,oenanthe,\nPlantae,Apiaceae,Oenanthe,crocata,\n"
    )
    return str(path)


def test_a_taxon_is_shown_with_its_lineage_and_species_count(source, capsys):
    assert main(TaxonConfig(name="Felidae", vocabulary=source)) == 0
    said = capsys.readouterr().out
    assert said == "Felidae (family)\n  kingdom  Animalia\n  family   Felidae\n  2 species\n"


def test_a_common_name_says_how_it_was_found(source, capsys):
    assert main(TaxonConfig(name="Cat", vocabulary=source)) == 0
    said = capsys.readouterr().out
    assert said.startswith("Felis catus (species, cat)\n  found by its common name\n")


def test_homonyms_are_listed_with_what_tells_them_apart(source, capsys):
    assert main(TaxonConfig(name="Oenanthe", vocabulary=source)) == 0
    said = capsys.readouterr().out
    assert "names 2 taxa\n  Animalia>Oenanthe\n  Plantae>Oenanthe\n" in said


def test_an_unknown_name_gets_suggestions_and_exit_code_1(source, capsys):
    assert main(TaxonConfig(name="Felis cattus", vocabulary=source)) == 1
    assert "nearest: Felis catus (species, cat)" in capsys.readouterr().out


def test_json_holds_the_same(source, capsys):
    names = {"moggy": "species:Felis catus"}
    assert main(TaxonConfig(name="moggy", vocabulary=source, json=True, common_names=names)) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["matched_by"] == "common"
    assert answer["suggestions"] == []
    assert answer["taxa"] == [
        {
            "rank": "species",
            "name": "Felis catus",
            "common_name": "moggy",
            "n_species": 1,
            "lineage": {"kingdom": "Animalia", "family": "Felidae", "genus": "Felis", "species": "Felis catus"},
        }
    ]
