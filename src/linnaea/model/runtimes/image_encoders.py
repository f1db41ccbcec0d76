"""Image encoders: what they are made from, the protocol that all of them follow, and the one on onnxruntime.

A model offers its image encoder as a `GraphFile` (any ONNX graph) or a `TransformerSource` (weights from which each
runtime builds its own graph). `linnaea.model.runtimes.encoder_factory` opens either in any runtime.

Shape suffixes: b images, h w pixels, c channels, d vector dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from linnaea.model.core.safetensors import StoredTensor, Weights
from linnaea.model.graphs.vision_transformer import VisionConfig
from linnaea.model.runtimes.runtime_names import DEFAULT_RUNTIME, RUNTIMES

# One image at a time: its activations stay in the caches, and its vector does not depend on the rest of the batch.
TRANSFORMER_CHUNK = 1

GetImages = Callable[[], np.ndarray]


class ImageEncoder(Protocol):
    """Images in, unit vectors out; call it from one thread at a time."""

    def encode(self, images_bhwc: np.ndarray) -> np.ndarray:
        """Unit vectors float32 [b, d] of preprocessed uint8 images [b, size, size, 3]."""
        ...


@dataclass(frozen=True, kw_only=True)
class GraphFile:
    """An encoder as an ONNX file from `images` uint8 [b, size, size, 3] to `vectors` float32 [b, d]."""

    path: Path
    hash: str
    "content hash of everything that changes the vectors"
    chunk: int
    "images per call"

    @property
    def runtimes(self) -> tuple[str, ...]:
        """The runtimes that can run it: 8-bit forms and torch need a transformer's weights."""
        return ("openvino-bf16", "openvino", DEFAULT_RUNTIME)


@dataclass(frozen=True, kw_only=True)
class TransformerSource:
    """An encoder as the weights of a transformer; see `linnaea.model.graphs.vision_transformer`."""

    weights: Weights
    config: VisionConfig
    hash: str
    "content hash of everything that changes the vectors"

    @property
    def runtimes(self) -> tuple[str, ...]:
        """The runtimes that can run it: all."""
        return RUNTIMES


EncoderSource = GraphFile | TransformerSource


class OnnxImageEncoder:
    """An image encoder on onnxruntime.

    `model` is a path, or an ONNX model whose external weights are in the folder `weights_dir`.
    """

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
        """The outputs called `names` (default: all) for one batch of images."""
        names = names or self._names
        return dict(zip(names, self._session.run(names, {"images": images_bhwc}), strict=True))


def find_weights_dir(weights: Weights) -> Path | None:
    """The folder of the weight files that a graph refers to; None if all weights are in memory."""
    folders = {value.path.parent for value in weights.values() if isinstance(value, StoredTensor)}
    assert len(folders) <= 1, folders
    return next(iter(folders), None)
