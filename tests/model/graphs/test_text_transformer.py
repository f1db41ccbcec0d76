"""The text encoder as a graph: prefixes are exact, and the graph computes what the torch module computes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from linnaea.model.formats.model_folder import FolderModel
from linnaea.model.graphs.text_transformer import TextConfig, build_text_graph, expected_weights

TEXTS = [
    "Animalia Chordata Aves Passeriformes Passeridae Passer domesticus",
    "Animalia Chordata Aves Passeriformes Passeridae Passer montanus",
    "Plantae Rosa canina",
    "Rosa",
]


@pytest.fixture(scope="module")
def model(random_model_dir):
    return FolderModel(random_model_dir)


def test_a_text_after_its_prefix_has_the_vector_of_the_whole_text(model):
    whole = model.encode_texts(TEXTS[:3])
    heads = ["Animalia Chordata Aves Passeriformes Passeridae Passer", "Plantae Rosa"]
    prefix = model.extend_prefix(model.tokenizer.ids(heads, end=False))
    tails = model.tokenizer.ids(["domesticus", "montanus", "canina"])
    pieced = model.encode_tokens(tails, prefix, np.array([0, 0, 1]))
    np.testing.assert_allclose(pieced, whole, atol=2e-6)


def test_prefixes_of_unequal_length_grow_in_steps_without_a_difference(model):
    first = model.extend_prefix(model.tokenizer.ids(["Animalia Chordata Aves", "Plantae"], end=False))
    second = model.extend_prefix(
        model.tokenizer.ids(["Passeriformes Passeridae Passer", "Rosa", "Chordata"], end=False),
        first,
        np.array([0, 1, 0]),
    )
    pieced = model.encode_tokens(model.tokenizer.ids(["domesticus", "canina"]), second, np.array([0, 1]))
    np.testing.assert_allclose(pieced, model.encode_texts([TEXTS[0], TEXTS[2]]), atol=2e-6)


def test_padding_and_company_change_no_vector(model):
    together = model.encode_texts(TEXTS)
    alone = np.concatenate([model.encode_texts([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_what_follows_the_end_of_text_token_is_never_read(model):
    tokens = model.tokenizer.ids(["Rosa canina"])[0]
    feeds_long = [[*tokens, 5, 6, 7]]
    prefix = model.make_empty_prefix()
    long = model._text_session.run(
        ["vectors"],
        {
            "tokens": np.array(feeds_long),
            "length": np.array([len(tokens)]),
            "prefix_row": np.zeros(1, np.int64),
            "prefix_k": prefix.k,
            "prefix_v": prefix.v,
            "prefix_length": prefix.length_m,
        },
    )[0]
    np.testing.assert_allclose(long, model.encode_texts(["Rosa canina"]), atol=2e-6)


def test_the_graph_computes_what_the_torch_module_does():
    torch = pytest.importorskip("torch")
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from linnaea.train.bundled.encoders.network import TextTransformer

    torch.manual_seed(0)
    config = TextConfig(n_tokens=60, context=20, width=24, n_layers=3, n_heads=3, dim=12)
    module = TextTransformer(config).eval()
    graph = build_text_graph(module.export_weights(), config, half=False)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    rng = np.random.default_rng(0)
    tokens, length = rng.integers(60, size=(9, 13)), rng.integers(1, 14, size=9)
    empty = np.zeros((3, 1, 3, 1, 8), np.float32)
    feeds = {
        "tokens": tokens,
        "length": length,
        "prefix_row": np.zeros(9, np.int64),
        "prefix_k": empty,
        "prefix_v": empty,
    }
    vectors = session.run(["vectors"], feeds | {"prefix_length": np.zeros(1, np.int64)})[0]
    with torch.no_grad():
        expected = module(torch.from_numpy(tokens), torch.from_numpy(length)).numpy()
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_weights_of_a_wrong_shape_are_named():
    pytest.importorskip("onnx")
    config = TextConfig(n_tokens=10, context=8, width=4, n_layers=1, n_heads=1, dim=4)
    weights = {name: np.zeros(shape, np.float32) for name, shape in expected_weights(config).items()}
    weights["projection"] = np.zeros((4, 5), np.float32)
    with pytest.raises(ValueError, match="projection"):
        build_text_graph(weights, config)


def test_the_default_shape_is_that_of_the_bundled_model():
    shape = {"n_tokens": 8192, "context": 64, "width": 128, "n_layers": 2, "n_heads": 4, "mlp_ratio": 2, "dim": 192}
    rare = {"eps": 1e-5, "causal": True, "pool": "argmax"}
    assert dataclasses.asdict(TextConfig()) == shape | {"activation": "quick_gelu"} | rare
