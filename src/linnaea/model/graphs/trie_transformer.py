"""A causal text encoder as an ONNX graph over packed tries of tokens, without keys and values in or out.

A row of tokens holds many texts. Each distinct beginning occurs once, in depth-first order;
`linnaea.model.runtimes.token_trie` packs the rows. A single text is a trie without branches.

Shape suffixes: n rows, t tokens of a row, e texts that end in a row, h heads, w width, d vector.
"""

from __future__ import annotations

import numpy as np

from linnaea.model.core.safetensors import Weights
from linnaea.model.graphs.onnx_builder import Graph, check_shapes
from linnaea.model.graphs.text_transformer import TextConfig, expected_weights

INPUTS = ("tokens", "depth", "end", "read")


def _mask(g: Graph) -> str:
    """Additive attention mask [n, 1, t, t]: a token attends to itself and to its ancestors in the trie."""
    one = g.constant([1])
    n_tokens = g.op("Squeeze", g.op("Slice", g.op("Shape", "tokens"), one, g.constant([2]), g.constant([0])))
    index = g.op("Range", g.constant(0), n_tokens, g.constant(1))
    from_token = g.op("Unsqueeze", index, one)
    begun = g.op("LessOrEqual", g.op("Unsqueeze", index, g.constant([0])), from_token)
    seen = g.op("And", begun, g.op("Less", from_token, g.op("Unsqueeze", "end", one)))
    bias = g.op("Where", seen, g.constant(0.0, np.float32), g.constant(-1e9, np.float32))
    return g.op("Unsqueeze", bias, one)


def _block(g: Graph, x: str, layer: int, mask: str, config: TextConfig, read: str = "") -> str:
    """The residual stream after one pre-norm transformer block.

    With `read` [n, e, 1], the positions of the end-of-text tokens, the stream is [n, e, w] at those positions only. Use
    it in the last block, where the others are not needed.
    """
    name, heads, width = f"block{layer}", config.n_heads, config.width
    q, k, v = g.split(g.linear(g.norm(x, f"{name}.norm1"), f"{name}.qkv"), 3)
    if read:
        x, q = (g.op("GatherND", whole, read, batch_dims=1) for whole in (x, q))
        mask = g.op(
            "Unsqueeze", g.op("GatherND", g.op("Squeeze", mask, g.constant([1])), read, batch_dims=1), g.constant([1])
        )
    q, k, v = (g.heads(part, heads, width) for part in (q, k, v))
    mixed = g.attend(q, k, v, width, width // heads, mask)
    x = g.op("Add", x, g.linear(mixed, f"{name}.out"))
    return g.feed_forward(x, name, config.activation)


def build_trie_graph(
    weights: Weights, config: TextConfig, *, half: bool = True, rows_out: bool = False, fused: bool = False
):
    """An ONNX model from `INPUTS` to `vectors`, unit rows float32 [n, e, d].

    `tokens` int64 [n, t] are the nodes of a row's tries in depth-first order. `depth` [n, t] is the position of each in
    its text, `end` [n, t] the column after its last descendant (at least its own + 1). `read` [n, e] are the columns of
    the end-of-text tokens. `half` stores the weights as float16; arithmetic is float32 in any case. With `rows_out`,
    the matrices of the blocks are [out, in]. `fused` allows onnxruntime's own operators.
    """
    check_shapes(weights, expected_weights(config, rows_out=rows_out), "text encoder")
    g = Graph(weights, half=half, rows_out=rows_out, fused=fused)
    g.eps = config.eps
    mask = _mask(g)
    x = g.op("Add", g.rows("token", "tokens"), g.rows("position", "depth"))
    read = g.op("Unsqueeze", "read", g.constant([2]))
    for layer in range(config.n_layers):
        x = _block(g, x, layer, mask, config, read if layer == config.n_layers - 1 else "")
    g.op("LpNormalization", g.matmul(g.norm(x, "final_norm"), "projection"), output="vectors", axis=-1, p=2)
    return g.model("trie_tower", *_make_signature(config))


def _make_signature(config: TextConfig) -> tuple[list, list]:
    """The inputs and outputs of the graph."""
    from onnx import TensorProto
    from onnx.helper import make_tensor_value_info as info

    inputs = [info(name, TensorProto.INT64, ["n", "e" if name == "read" else "t"]) for name in INPUTS]
    return inputs, [info("vectors", TensorProto.FLOAT, ["n", "e", config.dim])]
