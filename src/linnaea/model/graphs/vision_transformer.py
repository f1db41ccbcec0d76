"""CLIP's vision transformer as an ONNX graph, built from its weights with numpy and onnx only.

Dosovitskiy et al. 2021 (arXiv 2010.11929) in the form of Radford et al. 2021 (arXiv 2103.00020): a class token, a norm
before the blocks, pre-norm blocks; the final class token is normed, projected and scaled to unit length. CLIPA (Li et
al. 2023, arXiv 2305.07017) has no norm before the blocks and takes the mean of the patch tokens.

Shape suffixes: b images, g patches along a side, t tokens (the class token and g·g patches), w width, d vector.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from linnaea.model.core.safetensors import Weights, as_array
from linnaea.model.graphs.onnx_builder import ACTIVATIONS, NORM_EPS, Graph, check_shapes, transformer_weights

CHANNELS = 3
POOLS = ("tok", "avg")


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """The shape of a vision transformer, and the normalisation of its pixels."""

    size: int = 224
    "side of the image, in pixels"
    patch: int = 16
    "side of a patch, in pixels"
    width: int = 768
    "width of the residual stream"
    n_layers: int = 12
    "transformer blocks"
    n_heads: int = 12
    "attention heads"
    mlp_ratio: float = 4
    "width of the hidden layer of a block, as a multiple of `width`"
    dim: int = 512
    "dimensions of the vectors"
    activation: str = "gelu"
    "between the two layers of a block's second half: `gelu`, `quick_gelu` or `gelu_tanh`"
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    "subtracted from pixels of 0..1"
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    "divided by after the subtraction"
    # Not in the repr, which is part of the hash of checkpoints that have the values below.
    eps: float = field(default=NORM_EPS, repr=False)
    "added to the variance in every norm"
    first_norm: bool = field(default=True, repr=False)
    "whether there is a norm before the blocks"
    pool: str = field(default="tok", repr=False, metadata={"choices": POOLS})
    "`tok` takes the class token, `avg` the mean of the patch tokens"
    norm_after_pool: bool = field(default=True, repr=False)
    "whether the final norm comes after the pooling; for `tok` both are the same"

    def __post_init__(self):
        if self.pool not in POOLS:
            raise ValueError(f"unknown pool {self.pool!r}; choose one of {', '.join(POOLS)}")
        if self.width % self.n_heads:
            raise ValueError(f"width {self.width} is not a multiple of n_heads {self.n_heads}")
        if self.size % self.patch:
            raise ValueError(f"image size {self.size} is not a multiple of the patch size {self.patch}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {self.activation!r}; choose one of {', '.join(ACTIVATIONS)}")

    @property
    def n_tokens(self) -> int:
        """Number of tokens of an image, the class token included."""
        return (self.size // self.patch) ** 2 + 1


def expected_weights(config: VisionConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the encoder's weights. Matrices of the blocks are [out, in], the projection is [in, out]."""
    w = config.width
    shapes = {"patch": (w, CHANNELS, config.patch, config.patch), "class": (w,), "position": (config.n_tokens, w)}
    norms = ("first_norm", "final_norm") if config.first_norm else ("final_norm",)
    shapes |= {f"{norm}.{part}": (w,) for norm in norms for part in ("weight", "bias")}
    shapes |= {"projection": (w, config.dim)}
    return shapes | transformer_weights(config.n_layers, w, int(w * config.mlp_ratio), rows_out=True)


def fold_pixels(weights: Weights, config: VisionConfig) -> tuple[np.ndarray, np.ndarray]:
    """The patch embedding for pixels of 0..255: a matrix [patch·patch·3, w] in pixel order, and a bias [w]."""
    kernel = np.asarray(as_array(weights["patch"]), np.float64)
    mean, std = np.array(config.mean), np.array(config.std)
    bias = -(kernel.sum((2, 3)) * (mean / std)).sum(1)
    matrix = (kernel / (255 * std)[:, None, None]).transpose(2, 3, 1, 0).reshape(-1, config.width)
    return matrix.astype(np.float32), bias


def _embed_patches(g: Graph, config: VisionConfig) -> str:
    """Tokens [b, t, w] of `images`, with positions added, then normed if the config has a first norm."""
    side, patch, width = config.size // config.patch, config.patch, config.width
    matrix, bias = fold_pixels(g.weights, config)
    pixels = g.op("Reshape", "images", g.constant([-1, side, patch, side, patch * CHANNELS]))
    pixels = g.op(
        "Reshape", g.op("Transpose", pixels, perm=[0, 1, 3, 2, 4]), g.constant([-1, side * side, len(matrix)])
    )
    patches = g.op("MatMul", g.op("Cast", pixels, to=1), g.initializer("patch", matrix))
    # One table per patch position: the position embedding plus the bias of the normalisation.
    position = g.array("position").astype(np.float64)
    places = (position[1:] + bias).astype(np.float32)
    first = (position[:1] + g.array("class")).astype(np.float32)
    batch = g.op("Slice", g.op("Shape", "images"), g.constant([0]), g.constant([1]), g.constant([0]))
    shape = g.op("Concat", batch, g.constant([1, width]), axis=0)
    class_token = g.op("Expand", g.initializer("class", first[None]), shape)
    patches = g.op("Add", patches, g.initializer("places", places[None]))
    tokens = g.op("Concat", class_token, patches, axis=1)
    return g.norm(tokens, "first_norm") if config.first_norm else tokens


def _block(g: Graph, x: str, layer: int, config: VisionConfig) -> str:
    """The residual stream after a block; after the last block, only that of the class token if it alone is read."""
    name = f"block{layer}"
    q, k, v = g.split(g.linear(g.norm(x, f"{name}.norm1"), f"{name}.qkv"), 3)
    if layer == config.n_layers - 1 and config.pool == "tok":
        zero, one = g.constant([0]), g.constant([1])
        q, x = (g.op("Slice", part, zero, one, one) for part in (q, x))
    mixed = g.self_attention(q, k, v, config.n_heads, config.width)
    x = g.op("Add", x, g.linear(mixed, f"{name}.out"))
    return g.feed_forward(x, name, config.activation)


def _pool(g: Graph, x: str, config: VisionConfig) -> str:
    """The normed class token, or the mean of the patch tokens, normed before or after."""
    if config.pool == "tok":
        return g.norm(g.op("Squeeze", x, g.constant([1])), "final_norm")
    one = g.constant([1])
    x = x if config.norm_after_pool else g.norm(x, "final_norm")
    patches = g.op("Slice", x, one, g.constant([config.n_tokens]), one)
    mean = g.op("ReduceMean", patches, axes=[1], keepdims=0)
    return g.norm(mean, "final_norm") if config.norm_after_pool else mean


def build_vision_graph(weights: Weights, config: VisionConfig, *, make_graph: type[Graph] = Graph, fused: bool = True):
    """An ONNX model from `images` uint8 [b, size, size, 3] to `vectors` float32 [b, d], unit rows.

    The normalisation is part of the patch embedding. `fused` allows onnxruntime's own operators; without it, the graph
    has only standard ones. `make_graph` may be a Graph with other linear layers, for example quantised ones.
    """
    from onnx import TensorProto
    from onnx.helper import make_tensor_value_info as info

    check_shapes(weights, expected_weights(config), "image encoder")
    g = make_graph(weights, rows_out=True, fused=fused)
    g.eps = config.eps
    x = _embed_patches(g, config)
    for layer in range(config.n_layers):
        x = _block(g, x, layer, config)
    pooled = _pool(g, x, config)
    g.op("LpNormalization", g.matmul(pooled, "projection"), output="vectors", axis=-1, p=2)
    images = info("images", TensorProto.UINT8, ["b", config.size, config.size, CHANNELS])
    return g.model("image_tower", [images], [info("vectors", TensorProto.FLOAT, ["b", config.dim])])
