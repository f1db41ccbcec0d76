"""Tokens begin alike where texts begin alike, whatever the script."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from linnaea.model.core.tokenizer import ClipTokenizer, Tokenizer, clean_text, fit_tokenizer, pad

ROOT = Path(__file__).resolve().parents[3]


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


# --- CLIP's


@pytest.fixture(scope="module")
def clip():
    return ClipTokenizer()


def test_the_tokens_of_awkward_names_are_those_of_open_clip(clip):
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import golden_open_clip
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    names = golden_open_clip.names()
    expected = json.loads((ROOT / "tests" / "golden" / "open_clip.json").read_text(encoding="utf-8"))["tokens"]
    assert len(names) > 200
    for name, found, tokens in zip(names, clip.ids(names), expected, strict=True):
        assert found == tokens, name


def test_a_known_sentence_has_its_known_tokens(clip):
    assert clip.ids(["a photo of a cat"]) == [[49406, 320, 1125, 539, 320, 2368, 49407]]
    assert clip.n_tokens == 49408


def test_start_and_end_can_be_left_out(clip):
    (whole,) = clip.ids(["Rosa canina"])
    assert clip.ids(["Rosa canina"], start=False, end=False) == [whole[1:-1]]
    assert clip.ids([""]) == [[clip.start, clip.end]]


def test_a_text_longer_than_the_context_loses_its_tail_and_keeps_its_end(clip):
    (ids,) = clip.ids(["cat " * 100])
    assert len(ids) == 77
    assert ids[-1] == clip.end
    assert ids[1] == ids[-2] == 2368
    assert len(ClipTokenizer(5).ids(["cat " * 9])[0]) == 5


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=6), min_size=1, max_size=3))
def test_words_have_the_same_tokens_wherever_they_stand(clip, texts):
    # HTML and mended mistakes reach over blanks ("Â 0" is taken for a blank in a wrong encoding); names hold neither
    texts = [word for word in texts if clean_text(word) == word.lower() and "&" not in word]
    text = " ".join(texts)
    assume(clean_text(text) == text.lower())
    together = clip.ids([text], start=False, end=False)[0]
    assert together == [token for ids in clip.ids(texts, start=False, end=False) for token in ids][:77]
