"""The pixels that pybioclip shows to a model, and an image tower that takes them.

pybioclip squashes the whole photograph to 224 x 224 in floating point; a model's own preprocessing (and open_clip's) mostly
crops, and rounds to 8 bits. The tower here therefore takes floats, and gives the features before they are brought to unit
length. Shape suffixes: b images, h w pixels, c channels, d vector dimensions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from linnaea.model.core.contract import Model
from linnaea.model.runtimes.image_encoders import GraphFile, OnnxImageEncoder, find_weights_dir
from linnaea.model.runtimes.runtime_names import check_runtime


def squash(image: Image.Image, size: int) -> np.ndarray:
    """float32 [size, size, 3] in 0..255 of an RGB image, whose proportions are lost: antialiased bilinear, not rounded.

    Equal to torchvision's `Resize((size, size), antialias=True)` on a float tensor, but for its rounding of the weights
    (0.005 of 255 at most). Pillow resizes floats one channel at a time.
    """
    channels = [channel.convert("F").resize((size, size), Image.Resampling.BILINEAR) for channel in image.split()]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


class FloatImageEncoder:
    """A model's image tower in full precision on onnxruntime, from pixels in 0..255 that need not be whole."""

    def __init__(self, model: Model):
        self.card = model.card
        source = getattr(model, "image_source", None)
        if source is None:
            raise ValueError(
                f"the model {model.card.name!r} has no image tower that takes floats; choose pixels 'model'"
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
        self._tower = OnnxImageEncoder(graph, weights_dir=folder, chunk=chunk)

    def encode_images(self, pixels_bhwc: np.ndarray) -> np.ndarray:
        """Unit vectors float32 [b, d]."""
        features_bd = self.features(pixels_bhwc)
        return features_bd / np.maximum(np.linalg.norm(features_bd, axis=1, keepdims=True), 1e-12)

    def features(self, pixels_bhwc: np.ndarray) -> np.ndarray:
        """Features float32 [b, d] as they leave the projection."""
        pixels_bhwc = pixels_bhwc.astype(np.float32, copy=False)
        parts = [pixels_bhwc[start : start + self._chunk] for start in range(0, len(pixels_bhwc), self._chunk)]
        found = [self._tower.outputs(part, [self._features])[self._features] for part in parts]
        return np.concatenate(found) if found else np.zeros((0, self.card.dim), np.float32)


class TorchFloatImageEncoder:
    """A transformer's image tower on torch, from pixels in 0..255 that need not be whole: bfloat16 on a GPU.

    `device` is one that torch knows; where it is empty a GPU, if there is one, else the processor.
    """

    def __init__(self, model: Model, device: str):
        from linnaea.model.runtimes.torch_encoder import TorchImageEncoder

        source = model.image_source
        check_runtime("torch", source)
        tower = TorchImageEncoder(source.weights, source.config, device=device)
        self.card, self.device = model.card, tower.device
        self.encode_images, self.features = tower.encode, tower.features


def check_device(device: str) -> None:
    """Raises ValueError, with the remedy, for a device that torch does not know or cannot compute on here."""
    check_runtime("torch")
    import torch

    try:
        # What is known may yet lack a driver, and `meta` computes nothing that could be fetched.
        torch.ones(1, device=device).cpu()
    except (AssertionError, RuntimeError, ImportError):
        here = ["cpu"] + ([torch.accelerator.current_accelerator().type] if torch.accelerator.is_available() else [])
        raise ValueError(
            f"device {device!r} is none that torch {torch.__version__} can use here; choose {' or '.join(here)}, or install "
            "what torch needs for it"
        ) from None


def _take_floats(graph) -> str:
    """Lets an ONNX model's `images` be floats and gives the name of a new output, what it brings to unit length."""
    from onnx import TensorProto
    from onnx.helper import make_tensor_value_info

    # The pixels are cast to float32 first thing, which floats pass unchanged.
    graph.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    (last,) = (node for node in graph.graph.node if "vectors" in node.output)
    assert last.op_type == "LpNormalization", last.op_type
    graph.graph.output.append(make_tensor_value_info(last.input[0], TensorProto.FLOAT, ["b", "d"]))
    return last.input[0]
