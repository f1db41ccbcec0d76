"""From options to a namer."""

import dataclasses

import pytest

from linnaea.identify.namer import NamerOptions, load_namer


@pytest.fixture
def namer_of(model, vocabulary_path):
    """The namer of a model that was trained with two common names that the vocabulary lacks."""
    names = {"tabby": "species:Felis catus", "big cats": "genus:Panthera"}
    model.card = dataclasses.replace(model.card, common_names=names)

    def load(**options):
        said = []
        namer = load_namer(NamerOptions(vocabulary=str(vocabulary_path), **options), model, say=said.append)
        return namer, said

    return load


def species(namer):
    """The names of the candidates."""
    tree = namer.vocabulary.tree
    return {tree.name(int(tree.leaf_node_n[leaf])) for leaf in namer.scorer.leaves}


def test_within_knows_the_models_common_names(namer_of):
    assert species(namer_of(within=("Tabby",))[0]) == {"Felis catus"}
    assert species(namer_of(within=("big cats", "dog rose"))[0]) == {"Panthera leo", "Rosa canina"}
    with pytest.raises(ValueError, match="'tabbi'.*Felis catus"):
        namer_of(within=("tabbi",))


def test_a_list_of_names_knows_them_too(namer_of, tmp_path):
    (tmp_path / "list.txt").write_text("tabby\nbig cats\nunheard of\nFelis cattus\n")
    namer, said = namer_of(among=tmp_path / "list.txt")
    assert species(namer) == {"Felis catus", "Panthera leo"}
    assert said == [f"{tmp_path / 'list.txt'}: 2 names are not in the vocabulary: 'unheard of', 'Felis cattus' (nearest: Felis catus)"]


def test_a_model_names_what_it_sees_by_its_own_common_names(namer_of, model):
    namer, _ = namer_of(rank="species")
    ((row,),) = namer.name(model.encode_texts(["Animalia Chordata Mammalia Carnivora Felidae Felis catus"]), ["a.jpg"])
    assert (row.name, row.common_name) == ("Felis catus", "tabby")
