"""Transformer towers in 8 bits, made with numpy: weights per output channel, activations per tensor.

Statistics of a pass over photographs decide how: SmoothQuant (Xiao et al. 2022, arXiv 2211.10438) moves what is large in single
channels of a layer's input into its weights, through the norm before it, and a layer whose inputs 8 bits cannot hold even so
stays in floating point. The ranges of the inputs are then fixed (OpenVINO) or measured anew for each image (onnxruntime).

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

# Part of the name of everything made here: another way to quantise is another tower.
FORMAT = 1
LEVELS = 256
# Shares of a channel's size that may move from the activations into the weights; 0 leaves a layer as it is.
SMOOTHING = (0.0, 0.25, 0.5, 0.75)
# The norm whose gains a layer's smoothing goes into; other layers have none right before them.
NORM_BEFORE = {"qkv": "norm1", "up": "norm2"}
# Expected noise of a quantised layer, as a share of its output's variance, beyond which it stays in floating point. Without
# outliers it is .0002 to .003; with a few layers past .02 the vectors' centred cosine falls below .99.
MOST_NOISE = 0.005
# More at once would only take more memory: what each layer saw is kept until the end of a pass.
OBSERVE_BATCH = 1
# Bytes from which an array stands beside its graph, at places that can be mapped into memory.
LEAST_IN_FILE = 1024
ALIGNMENT = 4096


def quantize_rows(matrix_oi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 [o, i] of -127..127 and the scale float32 [o] that multiplies each row."""
    scale_o = np.abs(matrix_oi).max(1) / 127
    scale_o = np.where(scale_o > 0, scale_o, 1).astype(np.float32)
    return np.rint(matrix_oi / scale_o[:, None]).astype(np.int8), scale_o


# --- What comes into the layers


@dataclass(frozen=True, kw_only=True)
class InputStatistics:
    """What came into a linear layer, channel by channel: lowest, highest, mean and mean square, all [i]."""

    low_i: np.ndarray
    high_i: np.ndarray
    mean_i: np.ndarray
    square_i: np.ndarray


class ProbeGraph(Graph):
    """A graph that also gives the statistics of every linear layer's input, as outputs `<layer>.<statistic>`."""

    STATISTICS = ("low", "high", "mean", "square")

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.layers: list[str] = []

    def linear(self, x: str, name: str) -> str:
        self.layers.append(name)
        squared = self.op("Mul", x, x)
        for statistic, kind, source in zip(
            self.STATISTICS, ("ReduceMin", "ReduceMax", "ReduceMean", "ReduceMean"), (x, x, x, squared), strict=True
        ):
            self.op(kind, source, output=f"{name}.{statistic}", axes=[0, 1], keepdims=0)
        return super().linear(x, name)

    def model(self, name: str, inputs: list, outputs: list):
        from onnx import TensorProto
        from onnx.helper import make_tensor_value_info

        probes = [f"{layer}.{statistic}" for layer in self.layers for statistic in self.STATISTICS]
        more = [make_tensor_value_info(probe, TensorProto.FLOAT, ["i"]) for probe in probes]
        return super().model(name, inputs, [*outputs, *more])


def observe(
    run: Callable[[np.ndarray], Mapping[str, np.ndarray]], images_bhwc: np.ndarray
) -> dict[str, InputStatistics]:
    """The statistics of every layer over the images. `run` gives all outputs of a ProbeGraph by name."""
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


# --- What is made of them


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """How a layer is quantised: its inputs are divided by `smooth_i` and held between `low` and `high`.

    `noise` is what that adds, as a share of the variance of the layer's output; `keep` leaves it in floating point.
    """

    smooth_i: np.ndarray
    low: float
    high: float
    noise: float

    @property
    def keep(self) -> bool:
        return not self.noise <= MOST_NOISE


def plan_layer(matrix_oi: np.ndarray, seen: InputStatistics, *, smoothable: bool) -> LayerPlan:
    """The plan with the least expected noise among the shares of `SMOOTHING`.

    Rounding to a step Δ adds Δ²/12, independent of the rest: a rounded input is multiplied by its weights, a rounded weight
    by its inputs. The variance of the output is taken as if the input's channels were independent.
    """
    weight_square_i = np.square(matrix_oi, dtype=np.float64).sum(0)
    signal = float((np.maximum(seen.square_i - seen.mean_i**2, 0) * weight_square_i).sum())
    input_i = np.maximum(np.maximum(np.abs(seen.low_i), np.abs(seen.high_i)), 1e-8)
    weight_i = np.maximum(np.abs(matrix_oi).max(0).astype(np.float64), 1e-8)
    plans = []
    for share in SMOOTHING if smoothable else SMOOTHING[:1]:
        smooth_i = input_i**share / weight_i ** (1 - share) if share else np.ones_like(input_i)
        smooth_i /= np.exp(np.log(smooth_i).mean())
        low, high = representable(float((seen.low_i / smooth_i).min()), float((seen.high_i / smooth_i).max()))
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


def representable(low: float, high: float) -> tuple[float, float]:
    """The range of 256 even steps nearest to low..high in which zero is one of them."""
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
    """The weights with the norms before smoothed layers divided by what their layers' matrices are to be multiplied by."""
    smoothed = dict(weights)
    for layer, plan in plans.items():
        block, _, part = layer.rpartition(".")
        if part in NORM_BEFORE and not plan.keep:
            for kind in ("weight", "bias"):
                name = f"{block}.{NORM_BEFORE[part]}.{kind}"
                smoothed[name] = np.asarray(as_array(weights[name]), np.float32) / plan.smooth_i
    return smoothed


# --- The tower for onnxruntime


class DynamicGraph(Graph):
    """A graph whose planned linear layers are onnxruntime's DynamicQuantizeMatMul. Large arrays go to the file `data` at once."""

    plans: Mapping[str, LayerPlan] = {}
    data: BinaryIO

    def initializer(self, name: str, array: np.ndarray) -> str:
        if array.nbytes < LEAST_IN_FILE:
            return super().initializer(name, array)
        from onnx import TensorProto
        from onnx.helper import np_dtype_to_tensor_dtype

        self.data.write(bytes(-self.data.tell() % ALIGNMENT))
        proto = TensorProto(name=name, data_type=np_dtype_to_tensor_dtype(array.dtype), dims=array.shape)
        proto.data_location = TensorProto.EXTERNAL
        place = {"location": Path(self.data.name).name, "offset": self.data.tell(), "length": array.nbytes}
        for key, value in place.items():
            proto.external_data.add(key=key, value=str(value))
        self.data.write(np.ascontiguousarray(array).data)
        self.initializers.append(proto)
        return name

    def linear(self, x: str, name: str) -> str:
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
    """The tower for onnxruntime with int8 weights, an ONNX model whose large arrays are written to the open file `data`."""
    smoothed = smooth_norms(weights, plans)
    quantized = {f"{layer}.weight" for layer, plan in plans.items() if not plan.keep}
    whole = {name: value if name in quantized else as_array(value) for name, value in smoothed.items()}
    kind = type("DynamicGraph", (DynamicGraph,), {"plans": plans, "data": data})
    return build_vision_graph(whole, config, make_graph=kind)
