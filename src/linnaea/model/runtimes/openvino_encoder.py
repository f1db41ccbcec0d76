"""Image towers in OpenVINO: transformers built from their weights, other graphs read from their ONNX file.

Shape suffixes: b images, h w pixels, c channels, d vector dimensions, o outputs, i inputs, t tokens, w width.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from linnaea.model.core.safetensors import Weights
from linnaea.model.graphs.onnx_builder import NORM_EPS, Graph
from linnaea.model.graphs.quantization import LEVELS, LayerPlan, quantize_rows, smooth_norms
from linnaea.model.graphs.vision_transformer import CHANNELS, VisionConfig, build_vision_graph
from linnaea.store import read_manifest, write_artifact

# Enough images for the weights to be read once for many rows, few enough for the activations to stay in the caches.
CHUNK = 8
GRAPH = "image.xml"


class OpenvinoGraph(Graph):
    """The methods of Graph, with OpenVINO's nodes where that has the names of outputs.

    Subclasses say how weights are kept and how linear layers are made; `size` is the side of the images.
    """

    size = 224

    def __init__(self, weights: Weights, *, half: bool = False, rows_out: bool = False, fused: bool = False):
        from openvino import opset13

        del half, fused
        self.weights, self.rows_out, self.half, self.fused = weights, rows_out, False, False
        self.ops = opset13
        self.images = opset13.parameter([-1, self.size, self.size, CHANNELS], np.uint8, name="images")
        self.result = None

    def constant(self, value, dtype=np.int64):
        return self.ops.constant(np.asarray(value, dtype, order="C"))

    def initializer(self, name: str, array: np.ndarray):
        return self.constant(array, array.dtype)

    def weight(self, name: str):
        return self.constant(self.array(name), np.float32)

    def op(self, kind: str, *inputs, output: str = "", domain: str = "", **attributes):
        inputs = [self.images if isinstance(x, str) and x == "images" else x for x in inputs]
        make = {
            "Add": self.ops.add,
            "Cast": lambda x: self.ops.convert(x, "f32"),
            "Concat": lambda *parts: self.ops.concat(list(parts), attributes["axis"]),
            "Expand": lambda x, shape: self.ops.broadcast(x, shape, "BIDIRECTIONAL"),
            "LpNormalization": lambda x: self.ops.normalize_l2(x, self.constant([-1]), 1e-24, "add"),
            "MatMul": lambda a, b: self.ops.matmul(a, b, False, False),
            "Mul": self.ops.multiply,
            "Reshape": lambda x, shape: self.ops.reshape(x, shape, special_zero=True),
            "Shape": self.ops.shape_of,
            "Slice": lambda x, start, stop, axes: self.ops.slice(x, start, stop, self.constant([1]), axes),
            "Softmax": lambda x: self.ops.softmax(x, attributes["axis"]),
            "Squeeze": self.ops.squeeze,
            "Transpose": lambda x: self.ops.transpose(x, self.constant(attributes["perm"])),
        }[kind]
        node = make(*inputs)
        self.result = node if output else self.result
        return node

    def split(self, x, n: int, axis: int = -1) -> list:
        parts = self.ops.split(x, self.constant(axis), n)
        return [parts.output(k) for k in range(n)]

    def matmul(self, x, name: str, *, rows_out: bool = False):
        return self.ops.matmul(x, self.weight(name), False, rows_out)

    def norm(self, x, name: str):
        even = self.ops.mvn(x, self.constant([-1]), True, NORM_EPS, "INSIDE_SQRT")
        return self.ops.add(self.ops.multiply(even, self.weight(f"{name}.weight")), self.weight(f"{name}.bias"))

    def activation(self, x, kind: str):
        return self.ops.gelu(x, "ERF") if kind == "gelu" else self.ops.swish(x, self.constant(1.702, np.float32))

    def model(self, name: str, inputs: list, outputs: list):
        from openvino import Model

        return Model([self.result], [self.images], name)


class Bfloat16Graph(OpenvinoGraph):
    """Products in bfloat16, with matrices kept so: widened ones would be held in float32 beside what the kernels made of them."""

    def matmul(self, x, name: str, *, rows_out: bool = False):
        from openvino import Shape, Tensor, Type

        array = np.ascontiguousarray(self.array(name))
        bits = array.view(np.uint32)
        matrix = Tensor(Type.bf16, Shape(array.shape))
        # to the nearest, ties to even; numpy knows no bfloat16, and OpenVINO's own conversion takes seconds
        matrix.data.view(np.uint16)[...] = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        product = self.ops.matmul(self.ops.convert(x, "bf16"), self.ops.constant(matrix), False, rows_out)
        return self.ops.convert(product, "f32")


class QuantizedGraph(OpenvinoGraph):
    """8-bit linear layers by the plans of `linnaea.model.graphs.quantization`."""

    plans: Mapping[str, LayerPlan] = {}

    def linear(self, x, name: str):
        plan = self.plans[name]
        if plan.keep:
            return super().linear(x, name)
        ends = [self.constant([[[end]]], np.float32) for end in (plan.low, plan.high)]
        held = self.ops.fake_quantize(x, *ends, *ends, LEVELS)
        quantized_oi, scale_o = quantize_rows(self.array(f"{name}.weight") * plan.smooth_i)
        widened = self.ops.convert(self.constant(quantized_oi, np.int8), "f32")
        matrix = self.ops.multiply(widened, self.constant(scale_o[:, None], np.float32))
        return self.ops.add(self.ops.matmul(held, matrix, False, True), self.weight(f"{name}.bias"))


def build(weights: Weights, config: VisionConfig, graph: type[OpenvinoGraph], **fields):
    """An OpenVINO model of the tower; `fields` become those of the graph's class."""
    kind = type(graph.__name__, (graph,), {"size": config.size, **fields})
    return build_vision_graph(weights, config, make_graph=kind)


def build_quantized(weights: Weights, config: VisionConfig, plans: Mapping[str, LayerPlan]):
    """An OpenVINO model of the tower with 8-bit layers."""
    return build(smooth_norms(weights, plans), config, QuantizedGraph, plans=plans)


def bfloat16_model(source) -> Path:
    """The file of a transformer's bfloat16 tower, made if need be: its pages can be given back, a graph in memory cannot."""
    from openvino import save_model

    from linnaea.model.runtimes.int8_calibration import tower_folder

    folder = tower_folder(source, "openvino-bf16")
    if read_manifest(folder) is None:
        manifest = {"kind": "image tower", "model_hash": source.hash, "runtime": "openvino-bf16"}
        with write_artifact(folder, manifest, owned=True) as made:
            save_model(build(source.weights, source.config, Bfloat16Graph), made / GRAPH, compress_to_fp16=False)
    return folder / GRAPH


def give_back_pages(path: Path) -> int:
    """Bytes of a mapped file that this process no longer holds in memory; read again if they are asked for. 0 where not on Linux."""
    maps = Path("/proc/self/maps")
    if not hasattr(mmap, "MADV_DONTNEED") or not maps.exists():
        return 0
    advise, given = ctypes.CDLL(None).madvise, 0
    for line in maps.read_text(encoding="utf-8", errors="replace").splitlines():
        span, rights, _offset, _device, _inode, *name = line.split(maxsplit=5)
        # pages that were written to, or could be, are left alone
        if "w" in rights or name != [str(path)]:
            continue
        first, last = (int(end, 16) for end in span.split("-"))
        if advise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.MADV_DONTNEED) == 0:
            given += last - first
    return given


def supports_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 numbers itself."""
    from openvino import Core

    return "BF16" in Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenvinoTower:
    """An image tower compiled for this processor. `model` is OpenVINO's, or the path of one (.xml, .onnx)."""

    def __init__(self, model, *, precision: str, n_threads: int = 0, chunk: int = CHUNK):
        from openvino import Core

        # The threads that decode photographs share the cores, so none of OpenVINO's may be bound to one.
        properties = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision, "ENABLE_CPU_PINNING": False}
        if n_threads:
            properties["INFERENCE_NUM_THREADS"] = n_threads
        core = Core()
        self._chunk, self._sizes = chunk, set()
        # the kernels' own, packed weights are made when a size first runs; what they were made of is then not needed
        self._source = model.with_suffix(".bin").resolve() if isinstance(model, Path) else None
        self._compiled = core.compile_model(
            core.read_model(model) if isinstance(model, Path) else model, "CPU", properties
        )
        self._request = self._compiled.create_infer_request()

    def encode(self, images_bhwc: np.ndarray) -> np.ndarray:
        """Unit vectors float32 [b, d] of preprocessed uint8 images."""
        output = self._compiled.output(0)
        parts = []
        for start in range(0, max(1, len(images_bhwc)), self._chunk):
            part = np.ascontiguousarray(images_bhwc[start : start + self._chunk])
            parts.append(np.array(self._request.infer({0: part})[output], np.float32))
            if self._source is not None and len(part) not in self._sizes:
                self._sizes.add(len(part))
                give_back_pages(self._source)
        return np.concatenate(parts)

    def layers(self) -> list[tuple[str, str]]:
        """Kind and kernel of every node that runs, e.g. ("FullyConnected", "brgemm_avx512_amx_I8")."""
        facts = [node.get_rt_info() for node in self._compiled.get_runtime_model().get_ordered_ops()]
        return [(fact["layerType"].astype(str), fact["primitiveType"].astype(str)) for fact in facts]
