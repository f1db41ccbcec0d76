"""Where an image tower runs: onnxruntime, OpenVINO or torch, in full precision or in the forms that are faster.

A model offers its tower as a `GraphFile` (any ONNX graph) or a `Transformer` (weights from which each runtime's own graph is
built). `open_image_tower` opens it; `linnaea.model.runtimes.runtime_check` says which runtime a model may be trusted with.

Shape suffixes: b images, h w pixels, c channels, d vector dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from linnaea.model.core.safetensors import StoredTensor, Weights

if TYPE_CHECKING:
    from linnaea.model.graphs.vision_transformer import VisionConfig

DEFAULT = "onnxruntime"
# The fastest first, as measured on processors with 8-bit and bfloat16 instructions.
RUNTIMES = ("openvino-w8a8", "onnxruntime-int8", "openvino-bf16", "torch", "openvino", DEFAULT)
CHOICES = ("auto", DEFAULT, "onnxruntime-int8", "openvino", "openvino-bf16", "openvino-w8a8", "torch")
CALIBRATED = ("openvino-w8a8", "onnxruntime-int8")
EXTRAS = {"openvino": "pip install 'linnaea[openvino]'", "torch": "pip install 'linnaea[torch]'"}
# One image at a time: its activations stay in the caches, and its vector does not depend on what else is in the batch.
TRANSFORMER_CHUNK = 1

GetImages = Callable[[], np.ndarray]


class ImageTower(Protocol):
    """Images in, unit vectors out; called from one thread at a time."""

    def encode(self, images_bhwc: np.ndarray) -> np.ndarray:
        """Unit vectors float32 [b, d] of preprocessed uint8 images [b, size, size, 3]."""
        ...


@dataclass(frozen=True, kw_only=True)
class GraphFile:
    """A tower as an ONNX file from `images` uint8 [b, size, size, 3] to `vectors` float32 [b, d]."""

    path: Path
    hash: str
    "content hash of what decides about the vectors"
    chunk: int
    "images that it is given at once"

    @property
    def runtimes(self) -> tuple[str, ...]:
        """The runtimes that can run it: 8-bit forms and torch need a transformer's weights."""
        return ("openvino-bf16", "openvino", DEFAULT)


@dataclass(frozen=True, kw_only=True)
class Transformer:
    """A tower as the weights of a transformer; see `linnaea.model.graphs.vision_transformer`."""

    weights: Weights
    config: VisionConfig
    hash: str
    "content hash of what decides about the vectors"

    @property
    def runtimes(self) -> tuple[str, ...]:
        """The runtimes that can run it."""
        return RUNTIMES


TowerSource = GraphFile | Transformer


def engine_of(runtime: str) -> str:
    """The library that a runtime is part of."""
    return runtime.partition("-")[0]


def is_installed(runtime: str) -> bool:
    """Whether the library of a runtime can be imported."""
    return find_spec(engine_of(runtime)) is not None


def engine_version(runtime: str) -> str:
    """Name and version of the library, e.g. "onnxruntime 1.32.0"."""
    try:
        return f"{engine_of(runtime)} {version(engine_of(runtime))}"
    except PackageNotFoundError:  # onnxruntime's other builds have other names
        return engine_of(runtime)


def check_runtime(runtime: str, source: TowerSource | None = None) -> None:
    """Raises ValueError, with the remedy, for a runtime that is unknown, not installed or not for this tower."""
    if runtime not in CHOICES:
        raise ValueError(f"unknown runtime {runtime!r}; choose one of {', '.join(CHOICES)}")
    if runtime == "auto":
        return
    if not is_installed(runtime):
        raise ValueError(f"--runtime {runtime} needs {engine_of(runtime)}: {EXTRAS[engine_of(runtime)]}")
    if source is not None and runtime not in source.runtimes:
        raise ValueError(
            f"--runtime {runtime} is for transformers and this model is none; choose {', '.join(reversed(source.runtimes))}"
        )
    if runtime == "openvino-bf16":
        from linnaea.model.runtimes.openvino_encoder import supports_bfloat16

        if not supports_bfloat16():
            raise ValueError(
                "--runtime openvino-bf16: this processor has no bfloat16; choose openvino or onnxruntime-int8"
            )


class OnnxTower:
    """An image tower on onnxruntime. `model` is a path, or an ONNX model whose weights lie in the folder `weights_dir`."""

    def __init__(self, model, *, weights_dir: Path | None = None, n_threads: int = 0, chunk: int = TRANSFORMER_CHUNK):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = n_threads
        # A waiting thread that spins takes its core from decoding and scoring.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        if weights_dir is not None:
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(weights_dir))
        given = str(model) if isinstance(model, Path) else model.SerializeToString()
        self._session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]
        self._chunk = chunk

    def encode(self, images_bhwc: np.ndarray) -> np.ndarray:
        """Unit vectors float32 [b, d] of preprocessed uint8 images."""
        starts = range(0, max(1, len(images_bhwc)), self._chunk)
        return np.concatenate(
            [self.outputs(images_bhwc[start : start + self._chunk], ["vectors"])["vectors"] for start in starts]
        )

    def outputs(self, images_bhwc: np.ndarray, names: list[str] | None = None) -> dict[str, np.ndarray]:
        """The outputs of that name, all by default, for images that are given at once."""
        names = names or self._names
        return dict(zip(names, self._session.run(names, {"images": images_bhwc}), strict=True))


def open_image_tower(
    source: TowerSource, runtime: str = DEFAULT, *, n_threads: int = 0, images: GetImages | None = None
) -> ImageTower:
    """The tower, open in a runtime of `CHOICES` other than auto. `n_threads` 0 takes every core.

    The 8-bit forms need a calibration. It is taken from the cache, else made from the photographs that `images` gives
    (uint8 [b, size, size, 3]) and kept; ValueError where there are too few.
    """
    check_runtime(runtime, source)
    if isinstance(source, GraphFile):
        return _open_graph_file(source, runtime, n_threads)
    if runtime in CALIBRATED:
        from linnaea.model.runtimes.int8_calibration import quantized_model

        path = quantized_model(source, runtime, images)
    if runtime == "onnxruntime-int8":
        return OnnxTower(path, n_threads=n_threads)
    if runtime == "torch":
        from linnaea.model.runtimes.torch_encoder import TorchTower

        return TorchTower(source.weights, source.config)
    if engine_of(runtime) == "openvino":
        from linnaea.model.runtimes import openvino_encoder as openvino

        if runtime == "openvino-w8a8":
            # what is not 8-bit (attention, norms) need not be better than the rest
            precision = "bf16" if openvino.supports_bfloat16() else "f32"
            return openvino.OpenvinoTower(path, precision=precision, n_threads=n_threads)
        if runtime == "openvino-bf16":
            return openvino.OpenvinoTower(openvino.bfloat16_model(source), precision="bf16", n_threads=n_threads)
        model = openvino.build(source.weights, source.config, openvino.OpenvinoGraph)
        return openvino.OpenvinoTower(model, precision="f32", n_threads=n_threads)
    from linnaea.model.graphs.vision_transformer import build_vision_graph

    model = build_vision_graph(source.weights, source.config)
    return OnnxTower(model, weights_dir=weights_dir(source.weights), n_threads=n_threads)


def _open_graph_file(source: GraphFile, runtime: str, n_threads: int) -> ImageTower:
    if runtime == DEFAULT:
        return OnnxTower(source.path, n_threads=n_threads, chunk=source.chunk)
    from linnaea.model.runtimes.openvino_encoder import OpenvinoTower

    precision = "bf16" if runtime == "openvino-bf16" else "f32"
    return OpenvinoTower(source.path, precision=precision, n_threads=n_threads, chunk=source.chunk)


def weights_dir(weights: Weights) -> Path | None:
    """The folder of the weights that a graph refers to; None where all are in memory."""
    folders = {value.path.parent for value in weights.values() if isinstance(value, StoredTensor)}
    assert len(folders) <= 1, folders
    return next(iter(folders), None)


class HasImageTower:
    """The image half of a model: a subclass has `image_source`; the tower opens when first used.

    `runtime` names what runs it, with the hash of the calibration where one decides about the vectors.
    """

    image_source: TowerSource
    runtime: str = DEFAULT

    @cached_property
    def _image_tower(self) -> ImageTower:
        return open_image_tower(self.image_source, n_threads=getattr(self, "_n_threads", 0))

    def use_image_tower(self, tower: ImageTower, runtime: str) -> None:
        """From now on `tower` makes the vectors of images."""
        self.__dict__["_image_tower"], self.runtime = tower, runtime

    def encode_images(self, images_bhwc: np.ndarray) -> np.ndarray:
        """Unit vectors float32 [b, d] of preprocessed uint8 images."""
        return self._image_tower.encode(images_bhwc)
