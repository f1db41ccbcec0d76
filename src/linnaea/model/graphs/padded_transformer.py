"""A text encoder over whole padded texts as an ONNX graph: for encoders that are not causal, such as CLIPA's.

Every token sees every other one, the padding too, so that texts share no computation.

Shape suffixes: n texts, t tokens (the whole context), w width, d vector.
"""

from __future__ import annotations

from linnaea.model.core.safetensors import Weights
from linnaea.model.graphs.onnx_builder import Graph, check_shapes
from linnaea.model.graphs.text_transformer import TextConfig, expected_weights

COLUMNS = {"first": 0, "last": -1}


def build_padded_graph(
    weights: Weights, config: TextConfig, *, half: bool = True, rows_out: bool = False, fused: bool = False
):
    """An ONNX model from `tokens` int64 [n, context] to `vectors`, unit rows float32 [n, d].

    `half`, `rows_out` and `fused` are as in `linnaea.model.graphs.text_transformer.build_text_graph`.
    """
    from onnx import TensorProto
    from onnx.helper import make_tensor_value_info as info

    check_shapes(weights, expected_weights(config, rows_out=rows_out), "text encoder")
    g = Graph(weights, half=half, rows_out=rows_out, fused=fused)
    g.eps = config.eps
    x = g.op("Add", g.rows("token", "tokens"), g.weight("position"))
    for layer in range(config.n_layers):
        name = f"block{layer}"
        q, k, v = g.split(g.linear(g.norm(x, f"{name}.norm1"), f"{name}.qkv"), 3)
        mixed = g.self_attention(q, k, v, config.n_heads, config.width)
        x = g.feed_forward(g.op("Add", x, g.linear(mixed, f"{name}.out")), name, config.activation)
    read = g.op("Gather", x, g.constant(COLUMNS[config.pool] % config.context), axis=1)
    g.op("LpNormalization", g.matmul(g.norm(read, "final_norm"), "projection"), output="vectors", axis=-1, p=2)
    tokens = info("tokens", TensorProto.INT64, ["n", config.context])
    return g.model("text_tower", [tokens], [info("vectors", TensorProto.FLOAT, ["n", config.dim])])
