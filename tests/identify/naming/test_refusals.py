"""Plain sentences, guesses and candidates for photographs without a name."""

import pytest

from linnaea.identify.naming.refusals import (
    GROUP_WORDS,
    choose_guess,
    describe_guess,
    describe_taxon,
    explain_outside,
    explain_unsure,
    make_refused_rows,
)
from linnaea.records import RankedName


def make_path(*confidences):
    names = ("Animalia", "Chordata", "Mammalia", "Carnivora")
    ranks = ("kingdom", "phylum", "class", "order")
    return [RankedName(rank=r, name=n, confidence=c) for r, n, c in zip(ranks, names, confidences, strict=False)]


@pytest.mark.parametrize(
    ("confidences", "name"),
    [((0.9, 0.8, 0.7, 0.2), "Mammalia"), ((0.9, 0.3, 0.7), "Animalia"), ((0.2, 0.1), "Animalia")],
)
def test_the_guess_is_the_deepest_probable_taxon_or_the_first(confidences, name):
    assert choose_guess(make_path(*confidences)).name == name


def test_no_best_taxa_give_no_guess_and_one_row():
    assert choose_guess([]) is None
    assert describe_guess(None, lambda node: "") == ""
    (row,) = make_refused_rows("a.jpg", "unsure", "why", (), [])
    assert (row.guess_name, row.guess_confidence, row.reason) == ("", None, "why")


def test_a_sentence_says_what_it_probably_is_in_plain_words():
    mammal, felidae = RankedName(rank="class", name="Mammalia", confidence=0.7), describe_taxon("Felidae", "cat family")
    assert explain_unsure(describe_guess(mammal, lambda node: "mammals"), "name") == (
        "probably a mammal; too unsure for a name"
    )
    assert felidae == "Felidae (cat family)"
    assert describe_taxon("Felidae") == "Felidae"
    doubtful = RankedName(rank="class", name="Aves", confidence=0.3)
    assert explain_outside(describe_guess(doubtful, lambda node: "")) == "perhaps a bird; not one of those asked for"


def test_every_group_word_is_of_a_taxon_of_the_vocabulary(inat):
    for name in GROUP_WORDS:
        assert inat.resolve(name, suggest=False).taxa, name


def test_only_the_first_row_has_the_best_of_each_rank():
    path = tuple(make_path(0.9, 0.8))
    first, second = make_refused_rows("a.jpg", "unsure", "why", path, path)
    assert (first.position, second.position) == (1, 2)
    assert (first.path_confidence, second.path_confidence) == (path, ())
    assert (second.guess_rank, second.guess_name, second.guess_confidence) == ("phylum", "Chordata", 0.8)
