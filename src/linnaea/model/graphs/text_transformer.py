"""A causal text encoder as an ONNX graph with a key/value prefix, built from its weights with numpy and onnx only.

The encoder is causal and pools at the end-of-text token. Names of relatives share a beginning (kingdom … genus), which
can be computed once and passed in as keys and values. The result equals that of the whole text (prefix caching, Pope et
al. 2022, arXiv 2211.05102). With an empty prefix, the same graph embeds whole texts.

Shape suffixes: n texts, t new tokens, m prefixes, p prefix tokens, l layers, h heads, e head width, w width, d vector.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from linnaea.model.core.safetensors import Weights
from linnaea.model.graphs.onnx_builder import ACTIVATIONS, NORM_EPS, OPSET, Graph, check_shapes, transformer_weights

__all__ = ["INPUTS", "OPSET", "OUTPUTS", "TextConfig", "build_text_graph", "expected_weights"]
INPUTS = ("tokens", "length", "prefix_row", "prefix_k", "prefix_v", "prefix_length")
OUTPUTS = ("vectors", "k", "v")


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The shape of a causal text encoder."""

    n_tokens: int = 8192
    "size of the token vocabulary"
    context: int = 64
    "most tokens of a text, end-of-text token included"
    width: int = 128
    "width of the residual stream"
    n_layers: int = 2
    "transformer blocks"
    n_heads: int = 4
    "attention heads"
    mlp_ratio: float = 2
    "width of the hidden layer of a block, as a multiple of `width`"
    dim: int = 192
    "dimensions of the vectors"
    activation: str = field(default="quick_gelu", metadata={"choices": ACTIVATIONS})
    "between the two layers of a block's second half: `gelu`, `quick_gelu` or `gelu_tanh`"
    # Not in the repr, which is part of the hash of checkpoints that have the values below.
    eps: float = field(default=NORM_EPS, repr=False)
    "added to the variance in every norm"
    causal: bool = field(default=True, repr=False)
    "whether a token sees earlier tokens only; else it sees all, the padding too"
    pool: str = field(default="argmax", repr=False)
    "the token that is read: `argmax`, that is the end-of-text token; `last` or `first` of the padded text"

    def __post_init__(self):
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {self.activation!r}; choose one of {', '.join(ACTIVATIONS)}")
        if self.width % self.n_heads:
            raise ValueError(f"width {self.width} is not a multiple of n_heads {self.n_heads}")


def expected_weights(config: TextConfig, *, rows_out: bool = False) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the encoder's weights.

    Matrices are [in, out]; with `rows_out`, those of the blocks are [out, in].
    """
    w = config.width
    shapes = {"token": (config.n_tokens, w), "position": (config.context, w), "projection": (w, config.dim)}
    shapes |= {"final_norm.weight": (w,), "final_norm.bias": (w,)}
    return shapes | transformer_weights(config.n_layers, w, int(w * config.mlp_ratio), rows_out=rows_out)


def _mask(g: Graph, context: int) -> tuple[str, str]:
    """Additive attention mask [n, 1, t, p + t] and the positions [n, t] of the new tokens."""
    one, zero = g.constant([1]), g.constant([0])
    n_new = g.op("Slice", g.op("Shape", "tokens"), one, g.constant([2]), zero)
    n_past = g.op("Slice", g.op("Shape", "prefix_k"), g.constant([3]), g.constant([4]), zero)
    squeeze = lambda x: g.op("Squeeze", x)
    new = g.op("Range", g.constant(0), squeeze(n_new), g.constant(1))
    past = g.op("Range", g.constant(0), squeeze(n_past), g.constant(1))
    past_length = g.op("Unsqueeze", g.op("Gather", "prefix_length", "prefix_row", axis=0), one)
    # padding may extend beyond the context; it is never read, but its position must exist
    positions = g.op("Min", g.op("Add", past_length, g.op("Unsqueeze", new, zero)), g.constant([context - 1]))
    causal = g.op("LessOrEqual", g.op("Unsqueeze", new, zero), g.op("Unsqueeze", new, one))
    in_prefix = g.op("Less", g.op("Unsqueeze", past, zero), past_length)
    rows = g.op("Shape", past_length)
    n_rows = g.op("Slice", rows, zero, one, zero)
    shape_past = g.op("Concat", n_rows, n_new, n_past, axis=0)
    shape_new = g.op("Concat", n_rows, n_new, n_new, axis=0)
    seen = g.op(
        "Concat",
        g.op("Expand", g.op("Unsqueeze", in_prefix, one), shape_past),
        g.op("Expand", g.op("Unsqueeze", causal, zero), shape_new),
        axis=2,
    )
    bias = g.op("Where", seen, g.constant(0.0, np.float32), g.constant(-1e9, np.float32))
    return g.op("Unsqueeze", bias, one), positions


def _block(g: Graph, x: str, layer: int, mask: str, config: TextConfig, last: str = "") -> tuple[str, str, str]:
    """One pre-norm transformer block; returns the residual stream and the layer's new keys and values [n, h, t, e].

    With `last` [n, 1], the positions of the end-of-text tokens, the stream is [n, w] at those positions only. Use it in
    the last block, where the others are not needed.
    """
    name, heads, width = f"block{layer}", config.n_heads, config.width
    parts = g.split(g.linear(g.norm(x, f"{name}.norm1"), f"{name}.qkv"), 3)
    q, k, v = (g.heads(part, heads, width) for part in parts)
    past = [
        g.op("Gather", g.op("Gather", source, g.constant(layer), axis=0), "prefix_row", axis=0)
        for source in ("prefix_k", "prefix_v")
    ]
    if last:
        one = g.constant([1])
        x = g.op("GatherND", x, last, batch_dims=1)
        by_token = g.op("GatherND", g.op("Transpose", q, perm=[0, 2, 1, 3]), last, batch_dims=1)
        q = g.op("Unsqueeze", by_token, g.constant([2]))
        seen = g.op("GatherND", g.op("Squeeze", mask, one), last, batch_dims=1)
        mask = g.op("Unsqueeze", seen, g.constant([1, 2]))
    keys, values = g.op("Concat", past[0], k, axis=2), g.op("Concat", past[1], v, axis=2)
    mixed = g.attend(q, keys, values, width, width // heads, mask)
    if last:
        mixed = g.op("Squeeze", mixed, one)
    x = g.op("Add", x, g.linear(mixed, f"{name}.out"))
    return g.feed_forward(x, name, config.activation), k, v


def build_text_graph(
    weights: Weights,
    config: TextConfig,
    *,
    half: bool = True,
    rows_out: bool = False,
    fused: bool = False,
    make_graph: type[Graph] = Graph,
):
    """An ONNX model from `INPUTS` to `OUTPUTS`.

    `tokens` int64 [n, t] have the end-of-text token at `length - 1`, if a vector is wanted. `prefix_row` int64 [n] is
    the index of each text's prefix in `prefix_k`, `prefix_v` float32 [l, m, h, p, e] with `prefix_length` int64 [m].
    `vectors` float32 [n, d] are unit rows; `k`, `v` [l, n, h, t, e] belong to the new tokens. `half` stores the weights
    as float16; arithmetic is float32 in any case. With `rows_out`, the matrices of the blocks are [out, in]. `fused`
    allows onnxruntime's own operators. `make_graph` may be a Graph with other linear layers.
    """
    check_shapes(weights, expected_weights(config, rows_out=rows_out), "text encoder")
    g = make_graph(weights, half=half, rows_out=rows_out, fused=fused)
    g.eps = config.eps
    mask, positions = _mask(g, config.context)
    x = g.op("Add", g.rows("token", "tokens"), g.rows("position", positions))
    last = g.op("Unsqueeze", g.op("Sub", "length", g.constant([1])), g.constant([1]))
    keys, values = [], []
    for layer in range(config.n_layers):
        x, k, v = _block(g, x, layer, mask, config, last if layer == config.n_layers - 1 else "")
        keys.append(g.op("Unsqueeze", k, g.constant([0])))
        values.append(g.op("Unsqueeze", v, g.constant([0])))
    projected = g.matmul(g.norm(x, "final_norm"), "projection")
    g.op("LpNormalization", projected, output="vectors", axis=-1, p=2)
    for name, parts in (("k", keys), ("v", values)):
        g.op("Concat", *parts, output=name, axis=0)
    return g.model("text_tower", *_make_signature(config))


def _make_signature(config: TextConfig) -> tuple[list, list]:
    """The inputs and outputs of the graph."""
    from onnx import TensorProto
    from onnx.helper import make_tensor_value_info as info

    heads, head_width = config.n_heads, config.width // config.n_heads
    prefix = [config.n_layers, "m", heads, "p", head_width]
    new = [config.n_layers, "n", heads, "t", head_width]
    inputs = [
        info("tokens", TensorProto.INT64, ["n", "t"]),
        info("length", TensorProto.INT64, ["n"]),
        info("prefix_row", TensorProto.INT64, ["n"]),
        info("prefix_k", TensorProto.FLOAT, prefix),
        info("prefix_v", TensorProto.FLOAT, prefix),
        info("prefix_length", TensorProto.INT64, ["m"]),
    ]
    outputs = [
        info("vectors", TensorProto.FLOAT, ["n", config.dim]),
        info("k", TensorProto.FLOAT, new),
        info("v", TensorProto.FLOAT, new),
    ]
    return inputs, outputs
