"""8-bit transformers, made with numpy: weights are quantized per output channel, activations per tensor.

The parameters come from statistics of photographs. SmoothQuant (Xiao et al. 2022, arXiv 2211.10438) moves large values
in single input channels of a layer into its weights, through the norm before it. A layer whose inputs still do not fit
8 bits stays in floating point. The input ranges are fixed (OpenVINO) or measured for each image (onnxruntime).

Shape suffixes: i a layer's inputs, o its outputs, b images, h w pixels, c channels, d vector dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from linnaea.model.core.safetensors import Weights, as_array
from linnaea.model.graphs.onnx_builder import MICROSOFT, Graph
from linnaea.model.graphs.vision_transformer import VisionConfig, build_vision_graph

# Part of the cache key of every result: increase it when quantization changes.
FORMAT = 1
LEVELS = 256
# Exponents of SmoothQuant: the share of a channel's scale that moves from activations to weights. 0 changes nothing.
SMOOTHING = (0.0, 0.25, 0.5, 0.75)
# Layer -> the norm right before it, which takes up its smoothing. Other layers have no such norm.
NORM_BEFORE = {"qkv": "norm1", "up": "norm2"}
# A layer with more expected noise than this share of its output variance stays in floating point. Without outliers the
# noise is 0.0002 to 0.003; with a few layers above 0.02, the centred cosine of the vectors falls below 0.99.
MOST_NOISE = 0.005
# Larger batches only need more memory: the inputs of all layers are kept until the end of a pass.
OBSERVE_BATCH = 1
# Arrays of at least this many bytes are stored beside the graph, aligned so that they can be memory-mapped.
LEAST_IN_FILE = 1024
ALIGNMENT = 4096


def quantize_rows(matrix_oi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A matrix as int8 [o, i] in -127..127 and the scale float32 [o] of each row."""
    scale_o = np.abs(matrix_oi).max(1) / 127
    scale_o = np.where(scale_o > 0, scale_o, 1).astype(np.float32)
    return np.rint(matrix_oi / scale_o[:, None]).astype(np.int8), scale_o


# --- Statistics of the inputs


@dataclass(frozen=True, kw_only=True)
class InputStatistics:
    """Statistics of the input channels of a linear layer: lowest, highest, mean and mean square, all [i]."""

    low_i: np.ndarray
    high_i: np.ndarray
    mean_i: np.ndarray
    square_i: np.ndarray


class ProbeGraph(Graph):
    """A graph with the input statistics of every linear layer as more outputs, `<layer>.<statistic>`."""

    STATISTICS = ("low", "high", "mean", "square")

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.layers: list[str] = []

    def linear(self, x: str, name: str) -> str:
        """The layer, with the statistics of its input as outputs of the graph."""
        self.layers.append(name)
        squared = self.op("Mul", x, x)
        for statistic, kind, source in zip(
            self.STATISTICS, ("ReduceMin", "ReduceMax", "ReduceMean", "ReduceMean"), (x, x, x, squared), strict=True
        ):
            self.op(kind, source, output=f"{name}.{statistic}", axes=[0, 1], keepdims=0)
        return super().linear(x, name)

    def model(self, name: str, inputs: list, outputs: list):
        """The finished ONNX model, with the statistics among its outputs."""
        from onnx import TensorProto
        from onnx.helper import make_tensor_value_info

        probes = [f"{layer}.{statistic}" for layer in self.layers for statistic in self.STATISTICS]
        more = [make_tensor_value_info(probe, TensorProto.FLOAT, ["i"]) for probe in probes]
        return super().model(name, inputs, [*outputs, *more])


def observe(
    run: Callable[[np.ndarray], Mapping[str, np.ndarray]], images_bhwc: np.ndarray
) -> dict[str, InputStatistics]:
    """Layer -> input statistics over the images. `run` returns all outputs of a ProbeGraph by name."""
    total: dict[str, np.ndarray] = {}
    for start in range(0, len(images_bhwc), OBSERVE_BATCH):
        batch = images_bhwc[start : start + OBSERVE_BATCH]
        for name, value in run(batch).items():
            value, before = np.asarray(value, np.float64), total.get(name)
            if name.endswith((".mean", ".square")):
                total[name] = value * len(batch) + (0 if before is None else before)
            elif "." in name:
                widest = np.minimum if name.endswith(".low") else np.maximum
                total[name] = value if before is None else widest(before, value)
    layers = [name.removesuffix(".low") for name in total if name.endswith(".low")]
    return {
        layer: InputStatistics(
            low_i=total[f"{layer}.low"],
            high_i=total[f"{layer}.high"],
            mean_i=total[f"{layer}.mean"] / len(images_bhwc),
            square_i=total[f"{layer}.square"] / len(images_bhwc),
        )
        for layer in layers
    }


# --- Plans


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """Quantization of a layer: inputs are divided by `smooth_i` and clipped to `low`..`high`.

    `noise` is the expected noise as a share of the variance of the layer's output.
    """

    smooth_i: np.ndarray
    low: float
    high: float
    noise: float

    @property
    def keep(self) -> bool:
        """Whether the layer stays in floating point."""
        return not self.noise <= MOST_NOISE


def plan_layer(matrix_oi: np.ndarray, seen: InputStatistics, *, smoothable: bool) -> LayerPlan:
    """The plan with the least expected noise among the exponents of `SMOOTHING`.

    Rounding to a step Δ adds independent noise of variance Δ²/12: a rounded input is multiplied by its weights, a
    rounded weight by its inputs. The variance of the output is computed for independent input channels.
    """
    weight_square_i = np.square(matrix_oi, dtype=np.float64).sum(0)
    signal = float((np.maximum(seen.square_i - seen.mean_i**2, 0) * weight_square_i).sum())
    input_i = np.maximum(np.maximum(np.abs(seen.low_i), np.abs(seen.high_i)), 1e-8)
    weight_i = np.maximum(np.abs(matrix_oi).max(0).astype(np.float64), 1e-8)
    plans = []
    for share in SMOOTHING if smoothable else SMOOTHING[:1]:
        smooth_i = input_i**share / weight_i ** (1 - share) if share else np.ones_like(input_i)
        smooth_i /= np.exp(np.log(smooth_i).mean())
        low, high = round_range(float((seen.low_i / smooth_i).min()), float((seen.high_i / smooth_i).max()))
        step = (high - low) / (LEVELS - 1)
        step_o = np.abs(matrix_oi * smooth_i).max(1) / 127
        noise = step**2 / 12 * float((weight_square_i * smooth_i**2).sum())
        noise += float((step_o**2).sum()) / 12 * float((seen.square_i / smooth_i**2).sum())
        plans.append(
            LayerPlan(
                smooth_i=smooth_i.astype(np.float32), low=low, high=high, noise=noise / signal if signal > 0 else np.inf
            )
        )
    return min(plans, key=lambda plan: plan.noise)


def round_range(low: float, high: float) -> tuple[float, float]:
    """The range of 256 equal steps nearest to low..high that contains zero as a step."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / (LEVELS - 1) or 1.0
    n_below = float(np.rint(-low / step))
    return -n_below * step, (LEVELS - 1 - n_below) * step


def plan_layers(weights: Weights, seen: Mapping[str, InputStatistics]) -> dict[str, LayerPlan]:
    """The plan of every layer that was observed."""
    return {
        layer: plan_layer(
            np.asarray(as_array(weights[f"{layer}.weight"]), np.float32),
            observed,
            smoothable=layer.rpartition(".")[2] in NORM_BEFORE,
        )
        for layer, observed in seen.items()
    }


def smooth_norms(weights: Weights, plans: Mapping[str, LayerPlan]) -> dict:
    """The weights with the norms before smoothed layers divided by the smoothing of those layers."""
    smoothed = dict(weights)
    for layer, plan in plans.items():
        block, _, part = layer.rpartition(".")
        if part in NORM_BEFORE and not plan.keep:
            for kind in ("weight", "bias"):
                name = f"{block}.{NORM_BEFORE[part]}.{kind}"
                smoothed[name] = np.asarray(as_array(weights[name]), np.float32) / plan.smooth_i
    return smoothed


# --- The encoder for onnxruntime


class DynamicGraph(Graph):
    """A graph with onnxruntime's DynamicQuantizeMatMul as linear layers, according to `plans`.

    Large arrays are written to the file `data` immediately.
    """

    plans: Mapping[str, LayerPlan] = {}
    data: BinaryIO

    def initializer(self, name: str, array: np.ndarray) -> str:
        """An array in the graph, or in the file beside it if it is large."""
        if array.nbytes < LEAST_IN_FILE:
            return super().initializer(name, array)
        from onnx import TensorProto
        from onnx.helper import np_dtype_to_tensor_dtype

        self.data.write(bytes(-self.data.tell() % ALIGNMENT))
        proto = TensorProto(name=name, data_type=np_dtype_to_tensor_dtype(array.dtype), dims=array.shape)
        proto.data_location = TensorProto.EXTERNAL
        location = {"location": Path(self.data.name).name, "offset": self.data.tell(), "length": array.nbytes}
        for key, value in location.items():
            proto.external_data.add(key=key, value=str(value))
        self.data.write(np.ascontiguousarray(array).data)
        self.initializers.append(proto)
        return name

    def linear(self, x: str, name: str) -> str:
        """The layer in 8 bits, or in floating point if its plan says so."""
        if self.plans[name].keep:
            return super().linear(x, name)
        quantized_oi, scale_o = quantize_rows(self.array(f"{name}.weight") * self.plans[name].smooth_i)
        quantized = self.initializer(f"{name}.int8", quantized_oi.T)
        scale, bias = (
            self.initializer(f"{name}.scale", scale_o),
            self.initializer(f"{name}.bias", self.array(f"{name}.bias")),
        )
        return self.op("DynamicQuantizeMatMul", x, quantized, scale, "", bias, domain=MICROSOFT)


def build_dynamic_graph(weights: Weights, config: VisionConfig, plans: Mapping[str, LayerPlan], data: BinaryIO):
    """The encoder with int8 weights as an ONNX model. Large arrays are written to the open file `data`."""
    smoothed = smooth_norms(weights, plans)
    quantized = {f"{layer}.weight" for layer, plan in plans.items() if not plan.keep}
    whole = {name: value if name in quantized else as_array(value) for name, value in smoothed.items()}
    kind = type("DynamicGraph", (DynamicGraph,), {"plans": plans, "data": data})
    return build_vision_graph(whole, config, make_graph=kind)
