import numpy as np
import pytest

from linnaea.model.graphs.quantization import (
    InputStatistics,
    ProbeGraph,
    observe,
    plan_layer,
    quantize_rows,
    round_range,
    smooth_norms,
)
from linnaea.model.graphs.vision_transformer import build_vision_graph
from linnaea.model.runtimes.encoder_factory import open_image_encoder
from linnaea.model.runtimes.image_encoders import OnnxImageEncoder, find_weights_dir
from linnaea.model.runtimes.int8_calibration import calibrate, load_plans
from linnaea.model.runtimes.runtime_check import centred_cosine
from linnaea.store import read_manifest
from random_transformer import images_for, make_transformer


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))


def seen(low, high, mean, square) -> InputStatistics:
    return InputStatistics(low_i=np.array(low), high_i=np.array(high), mean_i=np.array(mean), square_i=np.array(square))


def test_rows_are_scaled_to_127_each_by_itself():
    quantized, scale = quantize_rows(np.array([[1.27, -0.005, 0.0], [0.0, 0.0, 0.0], [-254.0, 100.0, 2.0]], np.float32))
    assert quantized.dtype == np.int8
    assert quantized.tolist() == [[127, 0, 0], [0, 0, 0], [-127, 50, 1]]
    assert np.allclose(scale, [0.01, 1, 2])


def test_a_range_holds_zero_on_one_of_its_256_steps():
    assert round_range(0.0, 25.5) == (0.0, 25.5)
    assert round_range(3.0, 25.5) == (0.0, 25.5)
    low, high = round_range(-1.0, 2.0)
    step = (high - low) / 255
    assert np.isclose(low / step, np.rint(low / step))
    assert np.isclose(high - low, 3.0)
    assert abs(low + 1) <= step
    assert abs(high - 2) <= step
    assert round_range(0.0, 0.0) == (0.0, 255.0)


def test_the_expected_noise_is_that_of_a_layer_of_random_inputs():
    rng = np.random.default_rng(0)
    matrix, x = rng.normal(0, 0.1, (40, 64)).astype(np.float32), rng.normal(0, 1, (4000, 64))
    plan = plan_layer(matrix, seen(x.min(0), x.max(0), x.mean(0), (x**2).mean(0)), smoothable=False)
    step = (plan.high - plan.low) / 255
    rounded = np.clip(np.rint(x / step) * step, plan.low, plan.high)
    quantized, scale = quantize_rows(matrix)
    error = rounded @ (quantized * scale[:, None]).T.astype(np.float64) - x @ matrix.T.astype(np.float64)
    measured = error.var(0).sum() / (x @ matrix.T).var(0).sum()
    assert np.isclose(plan.noise, measured, rtol=0.1)
    assert not plan.keep


def test_smoothing_takes_an_outlier_channel_out_of_the_way():
    rng = np.random.default_rng(1)
    matrix, x = rng.normal(0, 0.1, (40, 64)).astype(np.float32), rng.normal(0, 1, (1000, 64))
    x[:, 7] *= 300
    matrix[:, 7] /= 300
    what = seen(x.min(0), x.max(0), x.mean(0), (x**2).mean(0))
    plain, smoothed = (plan_layer(matrix, what, smoothable=flag) for flag in (False, True))
    assert plain.keep
    assert np.array_equal(plain.smooth_i, np.ones(64))
    assert not smoothed.keep
    assert smoothed.noise < 0.001
    assert smoothed.smooth_i.argmax() == 7


def test_a_layer_without_variance_stays_as_it_is():
    assert plan_layer(
        np.ones((2, 3), np.float32), seen([1.0] * 3, [1.0] * 3, [1.0] * 3, [1.0] * 3), smoothable=True
    ).keep


def test_observed_statistics_are_those_of_all_images(tmp_path):
    source = make_transformer(tmp_path)
    images = images_for(source, 7)  # no multiple of the batch that they are observed in
    graph = build_vision_graph(source.weights, source.config, make_graph=ProbeGraph)
    encoder = OnnxImageEncoder(graph, weights_dir=find_weights_dir(source.weights))
    all_seen = observe(encoder.outputs, images)
    whole = encoder.outputs(images)
    assert len(all_seen) == 4 * source.config.n_layers
    for layer, observed in all_seen.items():
        assert np.allclose(observed.low_i, whole[f"{layer}.low"])
        assert np.allclose(observed.high_i, whole[f"{layer}.high"])
        assert np.allclose(observed.mean_i, whole[f"{layer}.mean"], atol=1e-5)
        assert np.allclose(observed.square_i, whole[f"{layer}.square"], atol=1e-5)
    hidden = all_seen["block0.down"]
    assert hidden.low_i.min() > -0.18
    assert len(hidden.low_i) == 4 * source.config.width


def test_smoothed_norms_and_multiplied_matrices_are_the_same_encoder(tmp_path):
    source = make_transformer(tmp_path)
    images = images_for(source, 9)
    plans = calibrate(source, images)
    weights = smooth_norms(source.weights, plans)
    for layer, plan in plans.items():
        weights[f"{layer}.weight"] = source.weights[f"{layer}.weight"].array() * plan.smooth_i
    changed = OnnxImageEncoder(build_vision_graph(weights, source.config), weights_dir=find_weights_dir(source.weights))
    assert np.abs(changed.encode(images) - open_image_encoder(source).encode(images)).max() < 1e-5
    assert any(plan.smooth_i.max() > 1 for plan in plans.values())


def with_outliers(weights):
    """What trained encoders have: a few channels far larger than the rest, among gains, values and hidden units."""
    rng = np.random.default_rng(5)
    width = len(weights["class"])
    for block in range(3):
        gain, value = rng.integers(0, width, 2)
        weights[f"block{block}.norm1.weight"][gain] *= 40
        weights[f"block{block}.qkv.weight"][:, gain] /= 15
        weights[f"block{block}.qkv.weight"][2 * width + value] *= 60
        weights[f"block{block}.out.weight"][:, value] /= 40


@pytest.mark.parametrize("runtime", ["onnxruntime-int8", "openvino-w8a8"])
def test_outliers_are_smoothed_or_left_in_floating_point(tmp_path, runtime):
    if runtime.startswith("openvino"):
        pytest.importorskip("openvino")
    source = make_transformer(tmp_path, change=with_outliers, name="outliers")
    images = images_for(source, 48)
    vectors = open_image_encoder(source, runtime, images=lambda: images[:16]).encode(images[16:])
    assert centred_cosine(open_image_encoder(source).encode(images[16:]), vectors) > 0.995
    plans = load_plans(source)
    kept = [layer for layer, plan in plans.items() if plan.keep]
    assert kept
    assert all(layer.endswith(".out") for layer in kept)
    (folder,) = (tmp_path / "cache" / "towers").glob("*calibration*")
    manifest = read_manifest(folder)
    assert manifest["floating_point"] == kept
    assert manifest["n_images"] == 16


def test_a_kept_calibration_reads_back_as_it_was(tmp_path):
    source = make_transformer(tmp_path)
    assert load_plans(source) is None
    made = calibrate(source, images_for(source, 8))
    read = load_plans(source)
    assert list(read) == list(made)
    for layer, plan in made.items():
        assert (read[layer].low, read[layer].high, read[layer].noise) == (plan.low, plan.high, plan.noise)
        assert np.array_equal(read[layer].smooth_i, plan.smooth_i)
