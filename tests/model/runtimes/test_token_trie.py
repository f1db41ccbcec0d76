"""Texts packed as tries have the vectors that each has by itself."""

from __future__ import annotations

import numpy as np
import pytest

from linnaea.model.core.tokenizer import ClipTokenizer
from linnaea.model.graphs.text_transformer import TextConfig, expected_weights
from linnaea.model.runtimes import token_trie
from linnaea.model.runtimes.token_trie import encode_lists, encode_texts

pytest.importorskip("onnx")
DIM = 12
NAMES = [
    "Animalia Chordata Aves Passeriformes Passeridae Passer domesticus",
    "Animalia Chordata Aves Passeriformes Passeridae Passer montanus",
    "Animalia Chordata Mammalia Carnivora Felidae Felis catus",
    "Plantae Tracheophyta Magnoliopsida Rosales Rosaceae Rosa canina",
    "Plantae Tracheophyta Magnoliopsida Rosales Rosaceae Rosa",
    "Fungi",
]
TEMPLATES = ("{}", "a photo of {}.", "{} in the wild.", "a bad photo of the {}")


class ClipLike:
    """CLIP's tokens and context on a tiny encoder with random weights."""

    def __init__(self, activation: str = "gelu"):
        import onnxruntime

        from linnaea.model.graphs.trie_transformer import build_trie_graph

        self.tokenizer = ClipTokenizer()
        self.config = TextConfig(
            n_tokens=49408, context=77, width=16, n_layers=3, n_heads=2, mlp_ratio=4, dim=DIM, activation=activation
        )
        rng = np.random.default_rng(0)
        self.weights = {k: rng.normal(0, 0.4, s).astype(np.float32) for k, s in expected_weights(self.config).items()}
        graph = build_trie_graph(self.weights, self.config, half=False)
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        self.run = lambda feeds: session.run(["vectors"], feeds)[0]

    def encode_texts(self, texts):
        return encode_texts(self.run, self.tokenizer, texts, DIM)


@pytest.fixture(scope="module")
def model():
    return ClipLike()


def one_by_one(model, texts):
    return np.concatenate([model.encode_texts([text]) for text in texts])


def causal_encoder(model, tokens):
    """The vector of one token list, computed in numpy, position by position: the oracle of the graph."""
    from math import erf

    w, config = {k: v.astype(np.float64) for k, v in model.weights.items()}, model.config

    def norm(x, name):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"] + w[
            f"{name}.bias"
        ]

    def linear(x, name):
        return x @ w[f"{name}.weight"] + w[f"{name}.bias"]

    x = w["token"][tokens] + w["position"][: len(tokens)]
    hidden = np.triu(np.full((len(tokens), len(tokens)), -np.inf), 1)
    for layer in range(config.n_layers):
        name, e = f"block{layer}", config.width // config.n_heads
        q, k, v = np.split(linear(norm(x, f"{name}.norm1"), f"{name}.qkv"), 3, axis=1)
        mixed = []
        for h in range(config.n_heads):
            part = slice(h * e, (h + 1) * e)
            score = q[:, part] @ k[:, part].T * e**-0.5 + hidden
            weight = np.exp(score - score.max(1, keepdims=True))
            mixed.append(weight / weight.sum(1, keepdims=True) @ v[:, part])
        x = x + linear(np.concatenate(mixed, 1), f"{name}.out")
        up = linear(norm(x, f"{name}.norm2"), f"{name}.up")
        x = x + linear(up * 0.5 * (1 + np.vectorize(erf)(up / 2**0.5)), f"{name}.down")
    out = norm(x[-1], "final_norm") @ w["projection"]
    return out / np.linalg.norm(out)


def test_packed_texts_have_the_vectors_of_a_plain_causal_encoder(model):
    expected = np.stack([causal_encoder(model, ids) for ids in model.tokenizer.ids(NAMES)])
    np.testing.assert_allclose(model.encode_texts(NAMES), expected, atol=1e-5)


@pytest.mark.parametrize("template", TEMPLATES)
def test_words_before_and_after_the_name_change_nothing_in_that(model, template):
    texts = [template.format(name) for name in NAMES]
    np.testing.assert_allclose(model.encode_texts(texts), one_by_one(model, texts), atol=1e-5)


def test_texts_that_are_too_long_end_at_the_context_in_the_end_token(model):
    """As open_clip: the first 76 tokens, then the end token; what differs after that is lost."""
    long = " ".join(["tyrannosaurus"] * 80)
    ids = model.tokenizer.ids([long])[0]
    assert len(ids) == 77
    assert ids[-1] == model.tokenizer.end
    texts = [long + " rex", "Rosa", long + " imperator", "a photo of a " + long]
    vectors = model.encode_texts(texts)
    np.testing.assert_allclose(vectors, one_by_one(model, texts), atol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-6)
    assert abs(vectors[0] - vectors[3]).max() > 1e-3


def test_order_repetition_and_row_length_change_no_vector(model, monkeypatch):
    rng = np.random.default_rng(1)
    texts = [template.format(name) for template in TEMPLATES for name in NAMES] + NAMES[:3] + ["", "Rosa", "Rosa"]
    expected = one_by_one(model, texts)
    for row_tokens, batch_tokens in ((1, 1), (40, 90), (160, 1024), (5000, 5000)):
        monkeypatch.setattr(token_trie, "ROW_TOKENS", row_tokens)
        monkeypatch.setattr(token_trie, "BATCH_TOKENS", batch_tokens)
        order = rng.permutation(len(texts))
        np.testing.assert_allclose(model.encode_texts([texts[i] for i in order]), expected[order], atol=1e-5)


def test_lists_in_any_order_are_exact_even_where_one_begins_another(model):
    """Unsorted lists share less, but their vectors are the same."""
    lists = [[5, 6, 7, 9], [5, 6], [5, 6, 7], [8, 9], [5, 6, 7, 9], [5]]
    expected = np.concatenate([encode_lists(model.run, [ids], DIM) for ids in lists])
    np.testing.assert_allclose(encode_lists(model.run, lists, DIM), expected, atol=1e-5)
    assert len(encode_lists(model.run, [], DIM)) == 0


def test_each_shared_beginning_is_one_node_with_its_descendants_behind_it():
    """Texts abX, acX, acX, d: the nodes a b X c X X d, where the last token is each text's own."""
    rows = token_trie._build_trie([[1, 2, 0], [1, 3, 0], [1, 3, 0], [4]])
    assert rows.tokens.tolist() == [1, 2, 0, 3, 0, 0, 4]
    assert rows.depth.tolist() == [0, 1, 2, 1, 2, 2, 0]
    assert rows.end.tolist() == [6, 3, 3, 6, 5, 6, 7]
    assert rows.read.tolist() == [2, 4, 5, 6]


def test_a_row_begins_anew_with_the_whole_path_of_its_first_text(monkeypatch):
    monkeypatch.setattr(token_trie, "ROW_TOKENS", 4)
    rows = token_trie._build_trie([[1, 2, 0], [1, 3, 0], [1, 4, 0]])
    assert rows.tokens.tolist() == [1, 2, 0, 1, 3, 0, 1, 4, 0]
    assert rows.start.tolist() == [0, 3, 6, 9]
    assert rows.first.tolist() == [0, 1, 2, 3]
    assert rows.end.tolist() == [3, 3, 3] * 3


def test_names_of_one_genus_cost_little_more_than_their_epithets(model):
    fed = []
    run = model.run
    texts = [f"{NAMES[0].rsplit(' ', 1)[0]} {epithet}" for epithet in ("alba", "major", "minor", "viridis")]
    ids = model.tokenizer.ids(sorted(texts))
    encode_lists(lambda feeds: fed.append(feeds["tokens"].size) or run(feeds), ids, DIM)
    assert sum(fed) < sum(map(len, ids)) / 2
