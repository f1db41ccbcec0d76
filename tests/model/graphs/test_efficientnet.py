"""The ONNX trunk against a plain torch forward pass with unfolded batch norms."""

from __future__ import annotations

import numpy as np
import pytest

from linnaea.model.graphs.efficientnet import BATCH_NORM_EPS, STAGES, _same_padding, build_trunk_graph

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
F = torch.nn.functional


def random_weights(rng):
    """A state dict of Lite0's shapes: names as in the packages that carry the real one."""
    weights = {}

    def conv(name, out, into, kernel):
        weights[f"{name}.weight"] = rng.normal(0, (2 / (into * kernel**2)) ** 0.5, (out, into, kernel, kernel)).astype(
            "f"
        )

    def norm(name, n):
        weights[f"{name}.weight"] = rng.uniform(0.5, 1.5, n).astype("f")
        weights[f"{name}.bias"] = rng.normal(0, 0.2, n).astype("f")
        weights[f"{name}.running_mean"] = rng.normal(0, 0.2, n).astype("f")
        weights[f"{name}.running_var"] = rng.uniform(0.5, 1.5, n).astype("f")

    conv("_conv_stem", 32, 3, 3)
    norm("_bn0", 32)
    index, channels = 0, 32
    for repeats, kernel, _stride, expansion, out in STAGES:
        for _ in range(repeats):
            hidden = channels * expansion
            if expansion != 1:
                conv(f"_blocks.{index}._expand_conv", hidden, channels, 1)
                norm(f"_blocks.{index}._bn0", hidden)
            conv(f"_blocks.{index}._depthwise_conv", hidden, 1, kernel)
            norm(f"_blocks.{index}._bn1", hidden)
            conv(f"_blocks.{index}._project_conv", out, hidden, 1)
            norm(f"_blocks.{index}._bn2", out)
            channels, index = out, index + 1
    conv("_conv_head", 1280, 320, 1)
    norm("_bn1", 1280)
    return weights


def reference(weights, x):
    w = {name: torch.from_numpy(value) for name, value in weights.items()}

    def layer(x, conv, norm, stride=1, groups=1, activate=True):
        kernel = w[f"{conv}.weight"].shape[-1]
        (top, left, bottom, right), _ = _same_padding(x.shape[-1], kernel, stride)
        x = F.conv2d(F.pad(x, (left, right, top, bottom)), w[f"{conv}.weight"], stride=stride, groups=groups)
        parts = [w[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        x = F.batch_norm(x, *parts, eps=BATCH_NORM_EPS)
        return x.clamp(0, 6) if activate else x

    x = layer(x, "_conv_stem", "_bn0", 2)
    index = 0
    for repeats, _kernel, stride, expansion, _out in STAGES:
        for repeat in range(repeats):
            source, block, step = x, f"_blocks.{index}", stride if repeat == 0 else 1
            if expansion != 1:
                x = layer(x, f"{block}._expand_conv", f"{block}._bn0")
            x = layer(x, f"{block}._depthwise_conv", f"{block}._bn1", step, groups=x.shape[1])
            x = layer(x, f"{block}._project_conv", f"{block}._bn2", activate=False)
            if step == 1 and x.shape == source.shape:
                x = x + source
            index += 1
    return layer(x, "_conv_head", "_bn1").mean((2, 3)).numpy()


def test_the_graph_equals_a_plain_forward_pass():
    import onnxruntime
    from onnx import helper

    rng = np.random.default_rng(1)
    weights = random_weights(rng)
    graph = build_trunk_graph(weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = rng.normal(size=(2, 3, 224, 224)).astype(np.float32)
    expected = reference(weights, torch.from_numpy(x))
    assert expected.std() > 0.01
    np.testing.assert_allclose(session.run(None, {"pixels": x})[0], expected, atol=1e-4)


def test_same_padding_is_asymmetric_where_tensorflow_makes_it_so():
    assert _same_padding(224, 3, 2) == ([0, 0, 1, 1], 112)
    assert _same_padding(28, 5, 2) == ([1, 1, 2, 2], 14)
    assert _same_padding(7, 3, 1) == ([1, 1, 1, 1], 7)


def test_an_unknown_variant_is_named_with_the_choices():
    with pytest.raises(ValueError, match="lite9.*lite0"):
        build_trunk_graph({}, "lite9")
