"""Single operations of the graphs against numpy, with the published constants written out."""

import math

import numpy as np
import pytest

from linnaea.model.graphs.onnx_builder import Graph
from linnaea.model.graphs.vision_transformer import VisionConfig, fold_pixels


def run(build, x, weights=None):
    """The output of `build(graph, "x")` for an input array."""
    import onnxruntime
    from onnx import TensorProto
    from onnx.helper import make_tensor_value_info

    graph = Graph(weights or {})
    graph.op("Identity", build(graph, "x"), output="y")
    shape = [None] * x.ndim
    info = [make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    model = graph.model("test", info[:1], info[1:])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["y"], {"x": x})[0]


def test_the_norm_has_torchs_epsilon():
    x = np.random.default_rng(0).normal(0, 0.003, (4, 16)).astype(np.float32)
    weights = {"n.weight": np.linspace(1, 2, 16, dtype="f"), "n.bias": np.linspace(-1, 1, 16, dtype="f")}
    centred = x - x.mean(1, keepdims=True)
    expected = centred / np.sqrt(x.var(1, keepdims=True) + 0.00001) * weights["n.weight"] + weights["n.bias"]
    np.testing.assert_allclose(run(lambda g, x: g.norm(x, "n"), x, weights), expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["gelu", "quick_gelu"])
def test_an_activation_is_the_published_one(kind):
    x = np.linspace(-4, 4, 33, dtype=np.float32)
    if kind == "gelu":
        expected = [value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x]
    else:
        expected = [value / (1 + math.exp(-1.702 * value)) for value in x]
    np.testing.assert_allclose(run(lambda g, x: g.activation(x, kind), x), expected, atol=1e-6)


def test_attention_divides_by_the_root_of_the_head_width():
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(3, 1, 5, 8)).astype(np.float32)
    scores = q[0] @ k[0].T / math.sqrt(8)
    weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)

    def attend(g, x):
        keys, values = (g.heads(g.initializer(name, array), 1, 8) for name, array in (("k", k), ("v", v)))
        return g.attend(g.heads(x, 1, 8), keys, values, 8, 8)

    np.testing.assert_allclose(run(attend, q), (weights @ v[0])[None], atol=1e-5)


def test_the_patch_embedding_normalises_as_clip_does():
    config = VisionConfig(size=4, patch=2, width=3, n_heads=1)
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 2))
    matrix, bias = fold_pixels({"patch": kernel}, config)
    pixels = np.random.default_rng(1).integers(0, 256, (2, 2, 3))
    # OpenAI's mean and standard deviation of red, green and blue
    mean = np.array([0.48145466, 0.4578275, 0.40821073])
    std = np.array([0.26862954, 0.26130258, 0.27577711])
    expected = np.einsum("wcij,ijc->w", kernel, (pixels / 255 - mean) / std)
    np.testing.assert_allclose(pixels.reshape(-1) @ matrix + bias, expected, rtol=1e-5)
