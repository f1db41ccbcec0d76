"""Tokens begin alike where texts begin alike, whatever the script."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaea.model.tokenizer import Tokenizer, fit_tokenizer, pad


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    fit_tokenizer(iter(["Setophaga magnolia", "Passer domesticus", "Rosa canina"] * 10), 300, path)
    return Tokenizer(path, context=40)


words = st.text(st.characters(blacklist_categories=("Cs", "Z", "C")), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(words, min_size=1, max_size=3), words)
def test_a_text_cut_at_a_word_has_the_first_of_its_tokens(tokenizer, head, tail):
    ids = tokenizer.ids([" ".join(head), " ".join([*head, tail])], end=False)
    assert ids[1][: len(ids[0])] == ids[0][:40]


def test_case_and_surplus_blanks_make_no_difference(tokenizer):
    assert tokenizer.ids(["Rosa  canina"]) == tokenizer.ids(["rosa canina"])


def test_a_long_text_keeps_its_end_token(tokenizer):
    long = tokenizer.ids(["canina " * 100])[0]
    assert len(long) == 40
    assert long[-1] == tokenizer.ids([""])[0][0]


def test_padding_counts_what_is_real():
    tokens, lengths = pad([[3, 4, 5], [6]])
    assert tokens.tolist() == [[3, 4, 5], [6, 0, 0]]
    assert lengths.tolist() == [3, 1]
