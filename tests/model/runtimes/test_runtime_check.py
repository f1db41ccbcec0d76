import numpy as np
import pytest

from linnaea.model.core.placeholder import PlaceholderModel
from linnaea.model.runtimes import runtime_check
from linnaea.model.runtimes.encoder_factory import ImageEncoderMixin
from linnaea.model.runtimes.runtime_check import Verdict, centred_cosine, read_verdicts, select_runtime
from random_transformer import images_for, make_transformer

FAST = "onnxruntime-int8"
# The documented conditions of a check (docs/runtimes.md).
N_CHECK = 32
LEAST_RUN = 200


class Model(ImageEncoderMixin):
    def __init__(self, source):
        self.image_source = source


@pytest.fixture
def setting(tmp_path, monkeypatch, caplog):
    """A model, photographs, and encoders without an engine: `encoders[runtime]` changes the full precision vectors."""
    caplog.set_level("INFO", "linnaea")
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))
    source = make_transformer(tmp_path)
    rng = np.random.default_rng(0)
    table = rng.standard_normal((3 * source.config.size**2, 24))
    encoders, opened = {}, []

    class Encoder:
        def __init__(self, change):
            self.change = change

        def encode(self, images):
            centred = images.reshape(len(images), -1).astype(float) - 128
            vectors = self.change(centred @ table)
            return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def open_encoder(_source, runtime="onnxruntime", *, n_threads=0, images=None):
        opened.append(runtime)
        return Encoder(encoders.get(runtime, lambda vectors: vectors))

    monkeypatch.setattr(runtime_check, "open_image_encoder", open_encoder)
    monkeypatch.setattr(runtime_check, "candidates", lambda source: [FAST])
    images = images_for(source, 2 * N_CHECK)

    def settle(wanted, *, n_images=1000, photographs=images, label=first_of_24, names="names"):
        model = Model(source)
        record = select_runtime(
            model,
            wanted,
            sample=lambda n: photographs[:n],
            n_images=n_images,
            label=label,
            names=names,
        )
        return model.runtime, record

    return source, encoders, opened, caplog, settle


def first_of_24(vectors):
    return vectors.argmax(1).tolist()


def spoil(vectors):
    return vectors + np.random.default_rng(1).standard_normal(vectors.shape) * np.abs(vectors).mean()


def test_the_centred_cosine_sees_what_a_common_part_hides():
    rng = np.random.default_rng(0)
    own, other = rng.standard_normal((2, 50, 8))
    a, b = 100 + own, 100 + other
    plain = ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean()
    assert plain > 0.999
    assert abs(centred_cosine(a, b)) < 0.2
    assert np.isclose(centred_cosine(a, 3 * a + 7), 1)
    assert centred_cosine(np.ones((4, 3)), np.ones((4, 3))) == 1
    assert centred_cosine(np.ones((4, 3)), 2 * np.ones((4, 3))) == 0


def test_auto_takes_the_fast_form_that_passes(setting, monkeypatch):
    _source, _encoders, opened, said, settle = setting
    clock = iter(np.cumsum([0, 9, 0, 1, 0, 1, 0, 1]).tolist())  # full precision takes 9 s, the fast form 1 s
    monkeypatch.setattr(runtime_check.time, "perf_counter", lambda: next(clock))
    runtime, record = settle("auto")
    assert runtime == FAST
    assert record["check"]["passes"]
    assert record["asked_for"] == "auto"
    assert record["check"]["same_names"] == 1
    assert record["check"]["n"] == N_CHECK
    assert "9.0 times as fast as full precision" in said.messages[-1]
    opened.clear()
    assert settle("auto")[0] == FAST
    assert opened == [FAST]  # the verdict was kept: no second check


def test_auto_stays_with_full_precision_where_the_fast_form_fails(setting):
    _source, encoders, _opened, said, settle = setting
    encoders[FAST] = spoil
    assert settle("auto")[0] == "onnxruntime"
    assert said.messages[-1] == "runtime: onnxruntime (no faster runtime passed its check)"


def test_a_form_that_is_asked_for_by_name_is_used_with_a_warning_if_it_fails(setting):
    _source, encoders, _opened, said, settle = setting
    encoders[FAST] = spoil
    runtime, record = settle(FAST)
    assert runtime == FAST
    assert record["check"]["passes"] is False
    assert said.messages[-1].startswith(f"--runtime {FAST} fails its check (32 photographs: same names 0.")


@pytest.mark.parametrize(
    ("same_names", "cosine", "passes"),
    [(0.99, 0.995, True), (0.9899, 1, False), (1, 0.9949, False), (None, 1, False)],
)
def test_a_fast_form_passes_with_99_names_of_100_and_a_cosine_of_995_thousandths(same_names, cosine, passes):
    facts = {"runtime": FAST, "engine": "", "cpu": "", "plans": "", "names": "", "n": 32}
    speed = {"images_per_s": 2.0, "full_images_per_s": 1.0}
    assert Verdict(**facts, **speed, same_names=same_names, cosine=cosine).passes is passes


def test_auto_stays_with_full_precision_where_the_fast_form_is_slower(setting, monkeypatch):
    _source, _encoders, _opened, said, settle = setting
    clock = iter(np.cumsum([0, 1, 0, 9, 0, 1, 0, 1]).tolist())  # full precision takes 1 s, the fast form 9 s
    monkeypatch.setattr(runtime_check.time, "perf_counter", lambda: next(clock))
    assert settle("auto")[0] == "onnxruntime"
    assert said.messages[-1] == "runtime: onnxruntime (no faster runtime passed its check)"


def test_a_short_run_is_not_worth_a_check(setting):
    source, _encoders, opened, said, settle = setting
    assert settle("auto", n_images=LEAST_RUN - 1)[0] == "onnxruntime"
    assert not opened
    assert said.messages[-1] == f"runtime: onnxruntime (a check needs a run of {LEAST_RUN} photographs)"
    assert settle(FAST, n_images=N_CHECK - 1)[0] == FAST
    assert said.messages[-1] == f"runtime: {FAST}, unchecked: a check needs 32 photographs"
    assert not read_verdicts(source)


def test_photographs_that_cannot_be_read_do_not_count(setting):
    source, _encoders, _opened, _said, settle = setting
    few = images_for(source, N_CHECK - 1)
    assert settle("auto", photographs=few)[0] == "onnxruntime"
    assert settle(FAST, photographs=few)[1]["check"] is None


def test_verdicts_hold_for_their_names_their_engine_and_their_processor(setting, monkeypatch):
    source, _encoders, _opened, _said, settle = setting
    settle(FAST)
    assert list(read_verdicts(source, "names")) == [FAST] == list(read_verdicts(source))
    assert not read_verdicts(source, "other names")
    monkeypatch.setattr(runtime_check, "engine_version", lambda runtime: "onnxruntime 99")
    assert not read_verdicts(source, "names")
    monkeypatch.undo()
    monkeypatch.setattr(runtime_check, "describe_cpu", lambda: "another processor")
    assert not read_verdicts(source, "names")


def test_without_names_auto_believes_only_a_check_that_had_some(setting, monkeypatch):
    _source, _encoders, _opened, _said, settle = setting
    clock = iter(np.cumsum([0, 1, 0, 1, 0, 9, 0, 1]).tolist())
    monkeypatch.setattr(runtime_check.time, "perf_counter", lambda: next(clock))
    runtime, record = settle(FAST, label=None, names="")
    assert runtime == FAST
    assert record["check"]["same_names"] is None
    assert settle("auto", label=None, names="")[0] == "onnxruntime"
    settle(FAST)
    assert settle("auto", label=None, names="")[0] == FAST


def test_a_damaged_file_of_verdicts_costs_a_check(setting):
    source, _encoders, _opened, _said, settle = setting
    settle(FAST)
    runtime_check._verdicts_path(source).write_text("{", encoding="utf-8")
    assert not read_verdicts(source)
    settle(FAST)
    assert list(read_verdicts(source)) == [FAST]


def test_a_model_without_an_encoder_of_its_own_has_one_way_to_run():
    options = {"sample": lambda n: None, "n_images": 1000}
    assert select_runtime(PlaceholderModel(), "auto", **options) == {"runtime": "onnxruntime"}
    with pytest.raises(ValueError, match=r"placeholder runs in one way only; omit --runtime openvino|needs openvino"):
        select_runtime(PlaceholderModel(), "openvino", **options)
