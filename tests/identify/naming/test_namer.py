"""From options to a namer."""

import csv
import dataclasses

import pytest

from linnaea.identify.naming.calibration import TRAITS
from linnaea.identify.naming.namer import describe_namer, format_calibration_warning, load_namer
from linnaea.identify.naming.namer_config import NamerConfig


@pytest.fixture
def namer_of(model, vocabulary_path, caplog):
    """The namer of a model that was trained with two common names that the vocabulary lacks."""
    names = {"tabby": "species:Felis catus", "big cats": "genus:Panthera"}
    model.card = dataclasses.replace(model.card, common_names=names)

    def load(**options):
        caplog.clear()
        namer = load_namer(NamerConfig(vocabulary=str(vocabulary_path), **options), model)
        return namer, caplog.messages

    return load


def species(namer):
    """The names of the candidates."""
    tree = namer.vocabulary.tree
    return {tree.name(int(tree.leaf_node_n[leaf])) for leaf in namer.scorer.leaves}


def test_within_knows_the_models_common_names(namer_of):
    assert species(namer_of(within=("Tabby",))[0]) == {"Felis catus"}
    assert species(namer_of(within=("big cats", "dog rose"))[0]) == {"Panthera leo", "Rosa canina"}
    with pytest.raises(ValueError, match=r"'tabbi'.*Felis catus"):
        namer_of(within=("tabbi",))


def test_a_list_of_names_knows_them_too(namer_of, tmp_path):
    (tmp_path / "list.txt").write_text("tabby\nbig cats\nno such taxon\nFelis cattus\n")
    namer, said = namer_of(among=tmp_path / "list.txt")
    assert species(namer) == {"Felis catus", "Panthera leo"}
    assert said == [
        (
            f"{tmp_path / 'list.txt'}: 2 names are not in the vocabulary: 'no such taxon', 'Felis cattus' "
            "(nearest: Felis catus)"
        )
    ]


def test_all_names_that_match_nothing_are_written_to_a_file(namer_of, tmp_path):
    unknown = [f"Nothing no{letter}" for letter in "abcdef"]
    (tmp_path / "list.txt").write_text("tabby\n# first\n" + "".join(f"{name}\n" for name in unknown))
    _namer, said = namer_of(among=tmp_path / "list.txt", unmatched=tmp_path / "u.csv")
    assert "6 names are not in the vocabulary: 'Nothing noa'" in said[0]
    assert said[0].endswith(f"and 3 more; all of them are listed in {tmp_path / 'u.csv'}")
    with open(tmp_path / "u.csv", encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["name"], row["line"]) for row in rows] == [(name, str(3 + i)) for i, name in enumerate(unknown)]
    assert rows[0]["reason"] == "the vocabulary has no such name"
    # the next list is complete: no name of the one before remains
    (tmp_path / "list.txt").write_text("tabby\n")
    namer_of(among=tmp_path / "list.txt", unmatched=tmp_path / "u.csv")
    assert (tmp_path / "u.csv").read_text() == "name,line,reason,nearest\n"


def test_a_model_names_what_it_sees_by_its_own_common_names(namer_of, model):
    namer, _ = namer_of(rank="species")
    ((row,),) = namer.name(model.encode_texts(["Animalia Chordata Mammalia Carnivora Felidae Felis catus"]), ["a.jpg"])
    assert (row.name, row.common_name) == ("Felis catus", "tabby")


def test_a_model_without_calibration_says_so_and_must_beat_the_share(namer_of, model):
    namer, _ = namer_of()
    assert namer.rules.above_share
    assert namer.rules.floor == 0.5
    assert describe_namer(namer) == {"calibration": "none: confidence is a bare softmax"}
    assert "bare softmax" in format_calibration_warning(namer, model)
    asked, _ = namer_of(min_confidence=0.3)
    assert not asked.rules.above_share
    assert asked.rules.floor == 0.3


def test_a_calibrated_model_decides_by_its_own_floor_alone(namer_of, model):
    ranks = {"kingdom": {"weights": [0.0] * 5, "bias": 1.0}}
    model.card = dataclasses.replace(model.card, calibration={"traits": list(TRAITS), "ranks": ranks, "floor": 0.9})
    namer, _ = namer_of()
    assert not namer.rules.above_share
    assert namer.rules.floor == 0.9
    assert describe_namer(namer) == {"calibration": "the model's own"}
    assert format_calibration_warning(namer, model) == ""


def test_confidence_among_labels_is_a_softmax_by_nature_and_needs_no_warning(namer_of, model):
    namer, _ = namer_of(labels="Felis catus,Rosa canina")
    assert describe_namer(namer) == {}
    assert format_calibration_warning(namer, model) == ""
