"""Image encoders in OpenVINO: transformers built from their weights, other graphs read from their ONNX file.

Shape suffixes: b images, h w pixels, c channels, d vector dimensions, o outputs, i inputs, t tokens, w width.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from linnaea.model.core.safetensors import Weights
from linnaea.model.graphs.onnx_builder import Graph
from linnaea.model.graphs.quantization import LEVELS, LayerPlan, quantize_rows, smooth_norms
from linnaea.model.graphs.vision_transformer import CHANNELS, VisionConfig, build_vision_graph
from linnaea.model.runtimes.encoder_cache import encoder_dir
from linnaea.model.runtimes.image_encoders import TransformerSource
from linnaea.store import read_manifest, write_artifact

# Large enough to read the weights once for many rows, small enough to keep the activations in the caches.
CHUNK = 8
GRAPH = "image.xml"


class OpenvinoGraph(Graph):
    """A `Graph` whose methods return OpenVINO nodes instead of names of outputs.

    Subclasses choose how weights are stored and how linear layers are built; `size` is the side of the images.
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
        """A constant node."""
        return self.ops.constant(np.asarray(value, dtype, order="C"))

    def initializer(self, name: str, array: np.ndarray):
        """A constant node, whatever its name."""
        return self.constant(array, array.dtype)

    def weight(self, name: str):
        """A weight as a float32 constant."""
        return self.constant(self.array(name), np.float32)

    def op(self, kind: str, *inputs, output: str = "", domain: str = "", **attributes):
        """A node of an ONNX kind; a named one becomes the result of the model."""
        inputs = [self.images if isinstance(x, str) and x == "images" else x for x in inputs]
        make = {
            "Add": self.ops.add,
            "Cast": lambda x: self.ops.convert(x, "f32"),
            "Concat": lambda *parts: self.ops.concat(list(parts), attributes["axis"]),
            "Expand": lambda x, shape: self.ops.broadcast(x, shape, "BIDIRECTIONAL"),
            "LpNormalization": lambda x: self.ops.normalize_l2(x, self.constant([-1]), 1e-24, "add"),
            "MatMul": lambda a, b: self.ops.matmul(a, b, False, False),
            "Mul": self.ops.multiply,
            "ReduceMean": lambda x: self.ops.reduce_mean(x, self.constant(attributes["axes"]), False),
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
        """`n` equal parts of `x`."""
        parts = self.ops.split(x, self.constant(axis), n)
        return [parts.output(k) for k in range(n)]

    def matmul(self, x, name: str, *, rows_out: bool = False):
        """`x` times the matrix `name`."""
        return self.ops.matmul(x, self.weight(name), False, rows_out)

    def norm(self, x, name: str):
        """Layer norm over the last axis."""
        even = self.ops.mvn(x, self.constant([-1]), True, self.eps, "INSIDE_SQRT")
        return self.ops.add(self.ops.multiply(even, self.weight(f"{name}.weight")), self.weight(f"{name}.bias"))

    def activation(self, x, kind: str):
        """GELU with the error function or with tanh, or x·σ(1.702x)."""
        if kind == "quick_gelu":
            return self.ops.swish(x, self.constant(1.702, np.float32))
        return self.ops.gelu(x, "TANH" if kind == "gelu_tanh" else "ERF")

    def model(self, name: str, inputs: list, outputs: list):
        """The finished OpenVINO model."""
        from openvino import Model

        return Model([self.result], [self.images], name)


class Bfloat16Graph(OpenvinoGraph):
    """Matrix products in bfloat16, with bfloat16 matrices.

    Float32 matrices would stay in memory beside the packed copies that the kernels make.
    """

    def matmul(self, x, name: str, *, rows_out: bool = False):
        """`x` times the matrix `name`, both in bfloat16; the product is float32."""
        from openvino import Shape, Tensor, Type

        array = np.ascontiguousarray(self.array(name))
        bits = array.view(np.uint32)
        matrix = Tensor(Type.bf16, Shape(array.shape))
        # Round to nearest, ties to even. NumPy has no bfloat16, and OpenVINO's own conversion takes seconds.
        matrix.data.view(np.uint16)[...] = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        product = self.ops.matmul(self.ops.convert(x, "bf16"), self.ops.constant(matrix), False, rows_out)
        return self.ops.convert(product, "f32")


class QuantizedGraph(OpenvinoGraph):
    """Linear layers in 8 bits, as planned by `linnaea.model.graphs.quantization`."""

    plans: Mapping[str, LayerPlan] = {}

    def linear(self, x, name: str):
        """The layer in 8 bits, or in floating point if its plan says so."""
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
    """An OpenVINO model of the encoder; `fields` become class attributes of the graph."""
    kind = type(graph.__name__, (graph,), {"size": config.size, **fields})
    return build_vision_graph(weights, config, make_graph=kind)


def build_quantized(weights: Weights, config: VisionConfig, plans: Mapping[str, LayerPlan]):
    """An OpenVINO model of the encoder with 8-bit layers."""
    return build(smooth_norms(weights, plans), config, QuantizedGraph, plans=plans)


def bfloat16_model(source: TransformerSource) -> Path:
    """The file of a transformer's bfloat16 encoder, built if the cache lacks it.

    The memory pages of a file can be released after compilation; those of a graph in memory cannot.
    """
    from openvino import save_model

    folder = encoder_dir(source, "openvino-bf16")
    if read_manifest(folder) is None:
        manifest = {"kind": "image tower", "model_hash": source.hash, "runtime": "openvino-bf16"}
        with write_artifact(folder, manifest, owned=True) as made:
            save_model(build(source.weights, source.config, Bfloat16Graph), made / GRAPH, compress_to_fp16=False)
    return folder / GRAPH


def release_pages(path: Path) -> int:
    """Release this process's memory pages of a mapped file and return the number of bytes.

    The pages are read again on the next access. Returns 0 on systems other than Linux.
    """
    maps = Path("/proc/self/maps")
    if not hasattr(mmap, "MADV_DONTNEED") or not maps.exists():
        return 0
    advise, released = ctypes.CDLL(None).madvise, 0
    for line in maps.read_text(encoding="utf-8", errors="replace").splitlines():
        span, rights, _offset, _device, _inode, *name = line.split(maxsplit=5)
        # Skip writable pages.
        if "w" in rights or name != [str(path)]:
            continue
        first, last = (int(end, 16) for end in span.split("-"))
        if advise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.MADV_DONTNEED) == 0:
            released += last - first
    return released


class OpenvinoImageEncoder:
    """An image encoder compiled for this processor. `model` is an OpenVINO model or the path of one (.xml, .onnx)."""

    def __init__(self, model, *, precision: str, n_threads: int = 0, chunk: int = CHUNK):
        from openvino import Core

        # Do not pin OpenVINO's threads: they share the cores with the threads that decode photographs.
        properties = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision, "ENABLE_CPU_PINNING": False}
        if n_threads:
            properties["INFERENCE_NUM_THREADS"] = n_threads
        core = Core()
        self._chunk, self._sizes = chunk, set()
        # The kernels pack their weights when a batch size first runs; the source weights are not needed afterwards.
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
                release_pages(self._source)
        return np.concatenate(parts)

    def layers(self) -> list[tuple[str, str]]:
        """Kind and kernel of every node at run time, e.g. ("FullyConnected", "brgemm_avx512_amx_I8")."""
        facts = [node.get_rt_info() for node in self._compiled.get_runtime_model().get_ordered_ops()]
        return [(fact["layerType"].astype(str), fact["primitiveType"].astype(str)) for fact in facts]
