"""A model folder with random weights: true shapes, no meaning."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def random_model_dir(tmp_path_factory):
    """A model folder with a tiny linear map as image encoder and a text encoder with random weights."""
    return make_random_model(tmp_path_factory.mktemp("random-model"))


def make_random_model(directory):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    from linnaea.model.core.contract import ModelCard, Preprocess
    from linnaea.model.core.tokenizer import fit_tokenizer
    from linnaea.model.formats.model_folder import FAMILIAR, write_config
    from linnaea.model.graphs.text_transformer import OPSET, TextConfig, build_text_graph, expected_weights

    config = TextConfig(n_tokens=400, context=48, width=16, n_layers=2, n_heads=2, dim=8)
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in expected_weights(config).items()}
    onnx.save(build_text_graph(weights, config, half=False), str(directory / "text.onnx"))
    matrix = numpy_helper.from_array(rng.normal(size=(3, 8)).astype(np.float32), "matrix")
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=1),
        helper.make_node("ReduceMean", ["floats"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["means", "matrix"], ["projected"]),
        helper.make_node("LpNormalization", ["projected"], ["vectors"], axis=-1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["b", 8, 8, 3])],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["b", 8])],
        [matrix],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.save(model, str(directory / "image.onnx"))
    fit_tokenizer(
        iter(["Animalia Chordata Aves Passer domesticus", "Plantae Rosa canina"] * 20),
        400,
        directory / "tokenizer.json",
    )
    familiar = ("Animalia", "Chordata", "Aves", "Passeriformes", "Passeridae", "Passer", "Passer domesticus")
    (directory / FAMILIAR).write_text("|".join(familiar) + "\n", encoding="utf-8")
    card = ModelCard(
        name="random",
        hash="",
        dim=8,
        logit_scale=10.0,
        preprocess=Preprocess(size=8),
        negative_prompts=("no organism stone",),
    )
    write_config(directory, card, config)
    return directory
