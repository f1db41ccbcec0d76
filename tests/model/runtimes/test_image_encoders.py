from itertools import dropwhile
from pathlib import Path

import numpy as np
import pytest

from linnaea.model.runtimes import runtime_check
from linnaea.model.runtimes import runtime_names as runtimes
from linnaea.model.runtimes.encoder_factory import ImageEncoderMixin, open_image_encoder
from linnaea.model.runtimes.image_encoders import GraphFile, TransformerSource
from linnaea.model.runtimes.runtime_names import check_runtime
from random_transformer import images_for, make_transformer

needs_openvino = pytest.mark.skipif(not runtimes.is_installed("openvino"), reason="openvino is not installed")
needs_torch = pytest.mark.skipif(not runtimes.is_installed("torch"), reason="torch is not installed")
OTHERS = [
    pytest.param("openvino", 1e-5, marks=needs_openvino),
    pytest.param("torch", 1e-5, marks=needs_torch),
    pytest.param("onnxruntime-int8", 0.05),
    pytest.param("openvino-w8a8", 0.08, marks=needs_openvino),
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> TransformerSource:
    return make_transformer(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def images(source) -> np.ndarray:
    return images_for(source, 24)


@pytest.fixture(scope="module")
def full(source, images) -> np.ndarray:
    return open_image_encoder(source).encode(images)


@pytest.mark.parametrize(("runtime", "most"), OTHERS)
def test_every_runtime_gives_the_vectors_of_full_precision(source, images, full, runtime, most):
    vectors = open_image_encoder(source, runtime, images=lambda: images).encode(images)
    assert vectors.dtype == np.float32
    assert vectors.shape == full.shape
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert np.abs(vectors - full).max() < most
    assert runtime_check.centred_cosine(full, vectors) > 0.995


@needs_openvino
def test_bfloat16_is_near_full_precision_and_refused_where_the_processor_has_none(source, images, full, monkeypatch):
    if runtimes.supports_bfloat16():
        vectors = open_image_encoder(source, "openvino-bf16").encode(images)
        assert runtime_check.centred_cosine(full, vectors) > 0.998
    monkeypatch.setattr(runtimes, "supports_bfloat16", lambda: False)
    with pytest.raises(ValueError, match="no bfloat16; choose openvino"):
        open_image_encoder(source, "openvino-bf16")


@needs_openvino
def test_an_encoder_releases_the_pages_of_its_file_and_answers_as_before(source, images, monkeypatch):
    from linnaea.model.runtimes import openvino_encoder

    given = []
    release = openvino_encoder.release_pages
    monkeypatch.setattr(openvino_encoder, "release_pages", lambda path: given.append((path, release(path))))
    encoder = open_image_encoder(source, "openvino-w8a8", images=lambda: images)
    first = encoder.encode(images[:8])
    assert [path.name for path, _ in given] == ["image.bin"]
    assert given[0][0].exists()
    assert np.array_equal(encoder.encode(images[:8]), first)
    assert len(given) == 1
    assert np.allclose(encoder.encode(images[:3]), first[:3], atol=1e-5)
    assert len(given) == 2


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells what of a file is in memory")
def test_released_pages_leave_the_memory_and_are_read_again(tmp_path):
    from linnaea.model.runtimes.openvino_encoder import release_pages

    path = tmp_path / "weights.bin"
    values = np.arange(1 << 20, dtype=np.int64)
    values.tofile(path)
    mapped = np.memmap(path, np.int64, "r")

    def held() -> int:
        lines = iter(Path("/proc/self/smaps").read_text().splitlines())
        return next(
            int(line.split()[1]) for line in dropwhile(lambda x: str(path) not in x, lines) if line.startswith("Rss:")
        )

    assert mapped.sum() == values.sum()
    assert held() > 8000
    assert release_pages(path) == values.nbytes
    assert held() < 800
    assert np.array_equal(mapped, values)
    changed = np.memmap(path, np.int64, "r+")
    changed[0] = 7
    assert release_pages(tmp_path / "other.bin") == 0
    assert changed[0] == 7


@needs_openvino
def test_openvino_multiplies_in_8_bits_where_it_is_told_to(source, images):
    kernels = [
        kernel
        for kind, kernel in open_image_encoder(source, "openvino-w8a8", images=lambda: images).layers()
        if kind.startswith("FullyConnected")
    ]
    in_8_bits = [kernel for kernel in kernels if kernel.lower().endswith("i8")]
    assert len(in_8_bits) == 4 * source.config.n_layers, kernels


@pytest.mark.parametrize("runtime", ["onnxruntime", "onnxruntime-int8"])
def test_an_image_has_the_same_vector_in_every_batch(source, images, runtime):
    encoder = open_image_encoder(source, runtime, images=lambda: images)
    together = encoder.encode(images[:5])
    assert np.array_equal(together[3:4], encoder.encode(images[3:4]))


@pytest.mark.parametrize("runtime", ["onnxruntime", *[param.values[0] for param in OTHERS]])
def test_no_image_gives_no_vector(source, images, runtime):
    if not runtimes.is_installed(runtime):
        pytest.skip(f"{runtime} is not installed")
    assert open_image_encoder(source, runtime, images=lambda: images).encode(images[:0]).shape == (0, source.config.dim)


def test_quick_gelu_is_kept_by_every_runtime(tmp_path):
    source = make_transformer(tmp_path, activation="quick_gelu")
    images = images_for(source, 16)
    full = open_image_encoder(source).encode(images)
    exact = [name for name in ("openvino", "torch") if runtimes.is_installed(name)]
    for runtime in exact:
        assert np.abs(open_image_encoder(source, runtime).encode(images) - full).max() < 1e-5
    vectors = open_image_encoder(source, "onnxruntime-int8", images=lambda: images).encode(images)
    assert runtime_check.centred_cosine(full, vectors) > 0.995


def test_a_calibration_is_made_once_and_shared_by_the_8_bit_forms(source, images):
    from linnaea.model.runtimes.int8_calibration import calibration_hash

    open_image_encoder(source, "onnxruntime-int8", images=lambda: images)
    made = calibration_hash(source)
    assert made

    def forbidden():
        raise AssertionError("the photographs were asked for again")

    open_image_encoder(source, "onnxruntime-int8", images=forbidden)
    if runtimes.is_installed("openvino"):
        open_image_encoder(source, "openvino-w8a8", images=forbidden)
    assert calibration_hash(source) == made


def test_too_few_photographs_to_calibrate_on_are_an_error_with_a_remedy(source, images):
    with pytest.raises(ValueError, match="at least 8 photographs, but only 3 can be read"):
        open_image_encoder(source, "onnxruntime-int8", images=lambda: images[:3])


def test_what_is_missing_is_named_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs openvino: pip install 'linnaea\[openvino\]'"):
        check_runtime("openvino-w8a8")
    with pytest.raises(ValueError, match=r"needs torch: pip install 'linnaea\[torch\]'"):
        check_runtime("torch")
    with pytest.raises(ValueError, match="unknown runtime 'tensorrt'; choose one of auto, onnxruntime"):
        check_runtime("tensorrt")


def test_a_graph_file_has_no_8_bit_form(random_model_dir):
    source = GraphFile(path=random_model_dir / "image.onnx", hash="random", chunk=4)
    with pytest.raises(ValueError, match="needs a transformer model; choose onnxruntime, openvino"):
        open_image_encoder(source, "onnxruntime-int8")


@needs_openvino
def test_a_graph_file_runs_in_openvino_too(random_model_dir):
    source = GraphFile(path=random_model_dir / "image.onnx", hash="random", chunk=4)
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), np.uint8)
    assert np.allclose(
        open_image_encoder(source, "openvino").encode(images), open_image_encoder(source).encode(images), atol=1e-5
    )


def test_a_model_opens_its_encoder_when_first_asked_and_says_what_runs_it(source, images, full):
    class Model(ImageEncoderMixin):
        image_source = source

    model = Model()
    assert model.runtime == "onnxruntime"
    assert "_image_encoder" not in vars(model)
    assert np.array_equal(model.encode_images(images), full)
    model.use_image_encoder(
        open_image_encoder(source, "onnxruntime-int8", images=lambda: images), "onnxruntime-int8:abc"
    )
    assert model.runtime == "onnxruntime-int8:abc"
    assert not np.array_equal(model.encode_images(images), full)
