"""Blocks of strings, keys and hashes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from linnaea.taxonomy.name_index import HashIndex, Lookup, epithet_stem, hash_key, name_key
from linnaea.taxonomy.strings import Strings

texts = st.lists(st.text(max_size=12), max_size=20)


@given(texts)
def test_strings_come_back_as_they_went_in(values):
    strings = Strings.from_list(values)
    assert list(strings) == values
    assert [strings[i] for i in range(len(strings))] == values
    assert strings.byte_lengths().tolist() == [len(value.encode()) for value in values]


@given(texts)
def test_the_hashes_of_a_block_are_those_of_single_keys(values):
    assert Strings.from_list(values).hashes().tolist() == [hash_key(value) for value in values]


def test_the_hash_is_the_published_one():
    assert hash_key("") == 0xCBF29CE484222325
    assert hash_key("a") == 0xAF63DC4C8601EC8C


@given(texts)
def test_a_look_up_finds_what_a_dictionary_finds(values):
    node_m = np.arange(len(values), dtype=np.int32) // 2
    lookup = Lookup.from_names(Strings.from_list(values), node_m)
    expected: dict[str, set[int]] = {}
    for value, node in zip(values, node_m.tolist(), strict=True):
        expected.setdefault(name_key(value), set()).add(node)
    for value in [*values, "nothing like it"]:
        assert lookup.nodes(value) == sorted(expected.get(name_key(value), ()))


def test_equal_hashes_of_different_names_are_not_taken_for_equal():
    names = Strings.from_list(["felis catus", "panthera leo"])
    same = np.full(2, hash_key("felis catus"), np.uint64)
    lookup = Lookup(names, HashIndex(same, np.arange(2, dtype=np.int32)))
    assert lookup.nodes("Felis catus") == [0]


def test_spellings_of_one_name_share_a_key():
    assert name_key("Rose-breasted  GROSBEAK") == name_key("rose breasted grosbeak") == "rose breasted grosbeak"
    assert name_key("Steller’s Jay") == name_key("Steller's jay") == "stellers jay"
    assert name_key("Quercus × rosacea") == name_key("quercus rosacea")
    assert name_key("Grèbe élégant") == "grebe elegant"
    assert name_key("house_cat") == "house cat"


def test_names_in_other_scripts_stay_apart():
    assert name_key("かき") != name_key("がき") or name_key("かき")
    assert name_key("Волк") == name_key("волк") != name_key("")
    assert name_key("बाघ") != name_key("बघ")


def test_an_epithet_keeps_its_stem_when_the_gender_changes():
    assert epithet_stem("coccothraustes vespertinus") == epithet_stem("hesperiphona vespertina") == "vespertin"
    assert epithet_stem("trachypithecus johnii") == epithet_stem("semnopithecus johni")
    assert epithet_stem("felis") == ""
