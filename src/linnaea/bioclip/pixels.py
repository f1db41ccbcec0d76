"""The pixels that pybioclip shows to a model, and image encoders that take them.

pybioclip squashes the whole photograph to 224 x 224 in floating point; a model's own preprocessing (and open_clip's)
mostly crops, and rounds to 8 bits. The encoders here therefore take floats, and return the features before they are
scaled to unit length.

Shape suffixes: b images, h w pixels, c channels, d vector dimensions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from linnaea.model.core.contract import Model
from linnaea.model.runtimes.image_encoders import GraphFile, OnnxImageEncoder, find_weights_dir
from linnaea.model.runtimes.runtime_names import check_runtime


def squash(image: Image.Image, size: int) -> np.ndarray:
    """An RGB image as float32 [size, size, 3] in 0..255, without its proportions: antialiased bilinear, not rounded.

    Equal to torchvision's `Resize((size, size), antialias=True)` on a float tensor, except for its rounding of the
    weights (at most 0.005 of 255). Pillow resizes floats one channel at a time.
    """
    channels = [channel.convert("F").resize((size, size), Image.Resampling.BILINEAR) for channel in image.split()]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


class FloatImageEncoder:
    """A model's image encoder in full precision on onnxruntime, for float pixels in 0..255."""

    def __init__(self, model: Model):
        self.card = model.card
        source = getattr(model, "image_source", None)
        if source is None:
            raise ValueError(
                f"the model {model.card.name!r} has no image encoder that takes floats; choose pixels 'model'"
            )
        if isinstance(source, GraphFile):
            import onnx

            graph, folder, chunk = (
                onnx.load(source.path, load_external_data=False),
                Path(source.path).parent,
                source.chunk,
            )
        else:
            from linnaea.model.graphs.vision_transformer import build_vision_graph

            graph, folder, chunk = (
                build_vision_graph(source.weights, source.config),
                find_weights_dir(source.weights),
                1,
            )
        self._chunk = chunk
        self._features = _take_floats(graph)
        self._encoder = OnnxImageEncoder(graph, weights_dir=folder, chunk=chunk)

    def encode_images(self, pixels_bhwc: np.ndarray) -> np.ndarray:
        """Unit vectors float32 [b, d]."""
        features_bd = self.features(pixels_bhwc)
        return features_bd / np.maximum(np.linalg.norm(features_bd, axis=1, keepdims=True), 1e-12)

    def features(self, pixels_bhwc: np.ndarray) -> np.ndarray:
        """Features float32 [b, d], as the projection returns them."""
        pixels_bhwc = pixels_bhwc.astype(np.float32, copy=False)
        parts = [pixels_bhwc[start : start + self._chunk] for start in range(0, len(pixels_bhwc), self._chunk)]
        found = [self._encoder.outputs(part, [self._features])[self._features] for part in parts]
        return np.concatenate(found) if found else np.zeros((0, self.card.dim), np.float32)


class TorchFloatImageEncoder:
    """A transformer's image encoder on torch, for float pixels in 0..255; bfloat16 on a GPU.

    `device` is a name for torch; if it is empty, a GPU if there is one, else the processor.
    """

    def __init__(self, model: Model, device: str):
        from linnaea.model.runtimes.torch_encoder import TorchImageEncoder

        source = model.image_source
        check_runtime("torch", source)
        encoder = TorchImageEncoder(source.weights, source.config, device=device)
        self.card, self.device = model.card, encoder.device
        self.encode_images, self.features = encoder.encode, encoder.features


def check_device(device: str) -> None:
    """Raise ValueError, with the remedy, for a device that torch does not know or cannot compute on here."""
    check_runtime("torch")
    import torch

    try:
        # A known device may lack a driver, and the results of `meta` cannot be read.
        torch.ones(1, device=device).cpu()
    except (AssertionError, RuntimeError, ImportError):
        here = ["cpu"] + ([torch.accelerator.current_accelerator().type] if torch.accelerator.is_available() else [])
        raise ValueError(
            f"torch {torch.__version__} cannot use device {device!r} here; choose {' or '.join(here)}, or install "
            "what torch needs for it"
        ) from None


def _take_floats(graph) -> str:
    """Make the input `images` of an ONNX model floats; return the name of a new output.

    The new output holds the vectors before they are scaled to unit length.
    """
    from onnx import TensorProto
    from onnx.helper import make_tensor_value_info

    # The first operation casts the pixels to float32, which leaves floats unchanged.
    graph.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    (last,) = (node for node in graph.graph.node if "vectors" in node.output)
    assert last.op_type == "LpNormalization", last.op_type
    graph.graph.output.append(make_tensor_value_info(last.input[0], TensorProto.FLOAT, ["b", "d"]))
    return last.input[0]
