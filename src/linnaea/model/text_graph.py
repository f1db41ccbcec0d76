"""A causal text tower as an ONNX graph with a key/value prefix, built from its weights with numpy and onnx alone.

The tower is causal and pools at the end-of-text token, so what a name shares with its relatives (kingdom … genus) can be
computed once and handed in as keys and values; the result is exactly that of the whole text (Pope et al. 2022,
arXiv 2211.05102, call it prefix caching). With an empty prefix the same graph embeds whole texts.

Shape suffixes: n texts, t new tokens, m prefixes, p prefix tokens, l layers, h heads, e head width, w width, d vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

OPSET = 17
INPUTS = ("tokens", "length", "prefix_row", "prefix_k", "prefix_v", "prefix_length")
OUTPUTS = ("vectors", "k", "v")


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The shape of a causal text tower."""

    n_tokens: int = 8192
    "size of the token vocabulary"
    context: int = 64
    "most tokens of a text, the end-of-text token included"
    width: int = 128
    "width of the residual stream"
    n_layers: int = 2
    "transformer blocks"
    n_heads: int = 4
    "attention heads"
    mlp_ratio: int = 2
    "width of the hidden layer of a block, as a multiple of `width`"
    dim: int = 192
    "dimensions of the vectors"

    def __post_init__(self):
        if self.width % self.n_heads:
            raise ValueError(f"width {self.width} is not a multiple of n_heads {self.n_heads}")


def expected_weights(config: TextConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tower's weights; matrices are [in, out]."""
    w, hidden = config.width, config.width * config.mlp_ratio
    shapes = {"token": (config.n_tokens, w), "position": (config.context, w), "projection": (w, config.dim)}
    shapes |= {"final_norm.weight": (w,), "final_norm.bias": (w,)}
    for layer in range(config.n_layers):
        block = f"block{layer}"
        shapes |= {f"{block}.{norm}.{part}": (w,) for norm in ("norm1", "norm2") for part in ("weight", "bias")}
        shapes |= {f"{block}.qkv.weight": (w, 3 * w), f"{block}.qkv.bias": (3 * w,)}
        shapes |= {f"{block}.out.weight": (w, w), f"{block}.out.bias": (w,)}
        shapes |= {f"{block}.up.weight": (w, hidden), f"{block}.up.bias": (hidden,)}
        shapes |= {f"{block}.down.weight": (hidden, w), f"{block}.down.bias": (w,)}
    return shapes


class _Graph:
    """Nodes and initializers under construction; every method returns the name of its output."""

    def __init__(self, weights: Mapping[str, np.ndarray], half: bool):
        from onnx import helper, numpy_helper

        self._helper, self._from_array = helper, numpy_helper.from_array
        self.nodes: list = []
        self.initializers: list = []
        self._weights, self._half, self._count = weights, half, 0

    def constant(self, value, dtype=np.int64) -> str:
        self._count += 1
        name = f"c{self._count}"
        self.initializers.append(self._from_array(np.asarray(value, dtype), name))
        return name

    def weight(self, name: str) -> str:
        value = np.ascontiguousarray(self._weights[name])
        if not self._half:
            self.initializers.append(self._from_array(value.astype(np.float32), name))
            return name
        self.initializers.append(self._from_array(value.astype(np.float16), f"{name}.half"))
        return self.op("Cast", f"{name}.half", output=name, to=1)

    def op(self, kind: str, *inputs: str, output: str = "", **attributes) -> str:
        self._count += 1
        output = output or f"{kind.lower()}{self._count}"
        self.nodes.append(self._helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def linear(self, x: str, name: str) -> str:
        return self.op("Add", self.op("MatMul", x, self.weight(f"{name}.weight")), self.weight(f"{name}.bias"))

    def norm(self, x: str, name: str) -> str:
        return self.op(
            "LayerNormalization", x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"), axis=-1, epsilon=1e-5
        )

    def gelu(self, x: str) -> str:
        """The sigmoid form x·σ(1.702x) that CLIP's towers use: one exponential and no error function."""
        return self.op("Mul", x, self.op("Sigmoid", self.op("Mul", x, self.constant(1.702, np.float32))))


def _mask(g: _Graph, context: int) -> tuple[str, str]:
    """Additive attention mask [n, 1, t, p + t] and the positions [n, t] of the new tokens."""
    one, zero = g.constant([1]), g.constant([0])
    n_new = g.op("Slice", g.op("Shape", "tokens"), one, g.constant([2]), zero)
    n_past = g.op("Slice", g.op("Shape", "prefix_k"), g.constant([3]), g.constant([4]), zero)
    squeeze = lambda x: g.op("Squeeze", x)
    new = g.op("Range", g.constant(0), squeeze(n_new), g.constant(1))
    past = g.op("Range", g.constant(0), squeeze(n_past), g.constant(1))
    past_length = g.op("Unsqueeze", g.op("Gather", "prefix_length", "prefix_row", axis=0), one)
    # padding may stand beyond the context; it is never read, but its position must exist
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


def _block(g: _Graph, x: str, layer: int, mask: str, config: TextConfig) -> tuple[str, str, str]:
    """One pre-norm transformer block; returns the residual stream and this layer's new keys and values [n, h, t, e]."""
    name, heads = f"block{layer}", config.n_heads
    head_width = config.width // heads
    qkv = g.linear(g.norm(x, f"{name}.norm1"), f"{name}.qkv")
    parts = []
    for part in range(3):
        width = config.width
        piece = g.op(
            "Slice", qkv, g.constant([part * width]), g.constant([(part + 1) * width]), g.constant([2])
        )
        piece = g.op("Reshape", piece, g.constant([0, 0, heads, head_width]))
        parts.append(g.op("Transpose", piece, perm=[0, 2, 1, 3]))
    q, k, v = parts
    past = [
        g.op("Gather", g.op("Gather", source, g.constant(layer), axis=0), "prefix_row", axis=0)
        for source in ("prefix_k", "prefix_v")
    ]
    keys, values = g.op("Concat", past[0], k, axis=2), g.op("Concat", past[1], v, axis=2)
    scores = g.op("MatMul", q, g.op("Transpose", keys, perm=[0, 1, 3, 2]))
    scores = g.op("Add", g.op("Mul", scores, g.constant(head_width**-0.5, np.float32)), mask)
    mixed = g.op("MatMul", g.op("Softmax", scores, axis=-1), values)
    mixed = g.op("Reshape", g.op("Transpose", mixed, perm=[0, 2, 1, 3]), g.constant([0, 0, config.width]))
    x = g.op("Add", x, g.linear(mixed, f"{name}.out"))
    hidden = g.gelu(g.linear(g.norm(x, f"{name}.norm2"), f"{name}.up"))
    return g.op("Add", x, g.linear(hidden, f"{name}.down")), k, v


def build_text_graph(weights: Mapping[str, np.ndarray], config: TextConfig, *, half: bool = True):
    """An ONNX model from `INPUTS` to `OUTPUTS`.

    `tokens` int64 [n, t] end in the end-of-text token at `length - 1` where a vector is wanted; `prefix_row` int64 [n]
    names each text's prefix among `prefix_k`, `prefix_v` float32 [l, m, h, p, e] with `prefix_length` int64 [m].
    `vectors` float32 [n, d] are unit rows; `k`, `v` [l, n, h, t, e] are the new tokens' own. `half` keeps the weights as
    float16 in the file; arithmetic is float32 either way.
    """
    from onnx import TensorProto, helper

    wrong = {
        name: shape for name, shape in expected_weights(config).items() if tuple(weights[name].shape) != shape
    }
    if wrong:
        raise ValueError(f"text tower weights with other shapes than the config says: {wrong}")
    g = _Graph(weights, half)
    mask, positions = _mask(g, config.context)
    x = g.op(
        "Add", g.op("Gather", g.weight("token"), "tokens", axis=0), g.op("Gather", g.weight("position"), positions, axis=0)
    )
    keys, values = [], []
    for layer in range(config.n_layers):
        x, k, v = _block(g, x, layer, mask, config)
        keys.append(g.op("Unsqueeze", k, g.constant([0])))
        values.append(g.op("Unsqueeze", v, g.constant([0])))
    last = g.op("Unsqueeze", g.op("Sub", "length", g.constant([1])), g.constant([1]))
    pooled = g.op("GatherND", x, last, batch_dims=1)
    projected = g.op("MatMul", g.norm(pooled, "final_norm"), g.weight("projection"))
    g.op("LpNormalization", projected, output="vectors", axis=-1, p=2)
    for name, parts in (("k", keys), ("v", values)):
        g.op("Concat", *parts, output=name, axis=0)
    heads, head_width = config.n_heads, config.width // config.n_heads
    prefix = [config.n_layers, "m", heads, "p", head_width]
    new = [config.n_layers, "n", heads, "t", head_width]
    info = helper.make_tensor_value_info
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
    graph = helper.make_graph(g.nodes, "text_tower", inputs, outputs, g.initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
