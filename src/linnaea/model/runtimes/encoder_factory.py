"""Opens an image encoder in a runtime: onnxruntime, OpenVINO or torch, in full precision or in a faster form.

`linnaea.model.runtimes.runtime_check` decides which runtime a model may use.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from linnaea.model.graphs.vision_transformer import build_vision_graph
from linnaea.model.runtimes.image_encoders import (
    EncoderSource,
    GetImages,
    GraphFile,
    ImageEncoder,
    OnnxImageEncoder,
    TransformerSource,
    find_weights_dir,
)
from linnaea.model.runtimes.int8_calibration import quantized_model
from linnaea.model.runtimes.runtime_names import (
    CALIBRATED,
    DEFAULT_RUNTIME,
    check_runtime,
    engine_of,
    supports_bfloat16,
)


def open_image_encoder(
    source: EncoderSource, runtime: str = DEFAULT_RUNTIME, *, n_threads: int = 0, images: GetImages | None = None
) -> ImageEncoder:
    """The encoder, open in a runtime of `RUNTIMES`. `n_threads` 0 takes every core.

    The 8-bit forms need a calibration. It comes from the cache; otherwise it is computed from the photographs that
    `images` returns (uint8 [b, size, size, 3]) and cached. Raises ValueError if there are too few photographs.
    """
    check_runtime(runtime, source)
    if isinstance(source, GraphFile):
        return _open_graph_file(source, runtime, n_threads)
    path = quantized_model(source, runtime, images) if runtime in CALIBRATED else None
    if runtime == "torch":
        from linnaea.model.runtimes.torch_encoder import TorchImageEncoder

        return TorchImageEncoder(source.weights, source.config)
    if engine_of(runtime) == "openvino":
        return _open_in_openvino(source, runtime, path, n_threads)
    if path is not None:
        return OnnxImageEncoder(path, n_threads=n_threads)
    model = build_vision_graph(source.weights, source.config)
    return OnnxImageEncoder(model, weights_dir=find_weights_dir(source.weights), n_threads=n_threads)


def _open_graph_file(source: GraphFile, runtime: str, n_threads: int) -> ImageEncoder:
    if runtime == DEFAULT_RUNTIME:
        return OnnxImageEncoder(source.path, n_threads=n_threads, chunk=source.chunk)
    from linnaea.model.runtimes.openvino_encoder import OpenvinoImageEncoder

    precision = "bf16" if runtime == "openvino-bf16" else "f32"
    return OpenvinoImageEncoder(source.path, precision=precision, n_threads=n_threads, chunk=source.chunk)


def _open_in_openvino(source: TransformerSource, runtime: str, path: Path | None, n_threads: int) -> ImageEncoder:
    from linnaea.model.runtimes import openvino_encoder as openvino

    if runtime == "openvino-w8a8":
        # The layers that are not 8-bit (attention, norms) need no more precision than the rest.
        precision = "bf16" if supports_bfloat16() else "f32"
        return openvino.OpenvinoImageEncoder(path, precision=precision, n_threads=n_threads)
    if runtime == "openvino-bf16":
        path = openvino.bfloat16_model(source)
        return openvino.OpenvinoImageEncoder(path, precision="bf16", n_threads=n_threads)
    model = openvino.build(source.weights, source.config, openvino.OpenvinoGraph)
    return openvino.OpenvinoImageEncoder(model, precision="f32", n_threads=n_threads)


class ImageEncoderMixin:
    """The image half of a model. A subclass has `image_source`; the encoder opens on first use.

    `runtime` names the runtime, followed by the hash of its calibration if one changes the vectors.
    """

    image_source: EncoderSource
    runtime: str = DEFAULT_RUNTIME

    @cached_property
    def _image_encoder(self) -> ImageEncoder:
        return open_image_encoder(self.image_source, n_threads=getattr(self, "_n_threads", 0))

    def use_image_encoder(self, encoder: ImageEncoder, runtime: str) -> None:
        """Use `encoder` for images from now on."""
        self.__dict__["_image_encoder"], self.runtime = encoder, runtime

    def encode_images(self, images_bhwc: np.ndarray) -> np.ndarray:
        """Unit vectors float32 [b, d] of preprocessed uint8 images."""
        return self._image_encoder.encode(images_bhwc)
