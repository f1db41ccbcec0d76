"""open_clip checkpoints: the vectors that open_clip itself gives, or one line that says what is not supported."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("onnx")

from linnaea.identify.naming.label_set import Label, embed_labels
from linnaea.model.core.safetensors import read_safetensors, write_safetensors
from linnaea.model.core.templates import IMAGENET_TEMPLATES
from linnaea.model.core.tokenizer import PaddedTokenizer
from linnaea.model.formats.open_clip import OpenClipModel
from linnaea.model.formats.open_clip_config import OPEN_CLIP_CONFIG, read_config
from linnaea.model.graphs.vision_transformer import build_vision_graph
from linnaea.model.loading import load_model
from linnaea.model.runtimes.image_encoders import OnnxImageEncoder

ROOT = Path(__file__).resolve().parents[3]
WEIGHTS = "open_clip_model.safetensors"
TOLERANCE = 1e-5


def script(name: str):
    """A module of benchmarks/, without its folder on the path for longer than that."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return __import__(name)
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


golden_script = script("golden_open_clip")
GOLDEN = json.loads((ROOT / "tests" / "golden" / "open_clip.json").read_text(encoding="utf-8"))
SMALL = {
    "embed_dim": 6,
    "vision_cfg": {"image_size": 8, "layers": 2, "width": 16, "patch_size": 4, "head_width": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 4, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Makes the checkpoint of a config with random weights, once each."""
    made = {}

    def make(model_cfg) -> Path:
        key = json.dumps(model_cfg)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("checkpoints") / "made"
            script("random_checkpoint").write_checkpoint(made[key], model_cfg)
        return made[key]

    return make


@pytest.fixture
def copy(checkpoint, tmp_path):
    """Makes a copy of the small checkpoint with other tensors or another config."""

    def make(tensors=None, bfloat16=frozenset(), **config) -> Path:
        source, made = checkpoint(SMALL), tmp_path / "copy"
        made.mkdir(exist_ok=True)
        whole = json.loads((source / OPEN_CLIP_CONFIG).read_text())
        (made / OPEN_CLIP_CONFIG).write_text(json.dumps(whole | config))
        arrays = {name: tensor.array() for name, tensor in read_safetensors(source / WEIGHTS).items()}
        write_safetensors(made / WEIGHTS, tensors(arrays) if tensors else arrays, bfloat16)
        return made

    return make


def images(model) -> np.ndarray:
    size = model.card.preprocess.size
    return np.random.default_rng(1).integers(0, 256, (3, size, size, 3), np.uint8)


@pytest.mark.parametrize("name", golden_script.MODELS)
def test_vectors_are_those_of_open_clip(name, checkpoint):
    model_cfg = script("random_checkpoint").ARCHITECTURES[name]
    model = OpenClipModel(checkpoint(model_cfg))
    pixels = golden_script.images()
    np.testing.assert_allclose(model.encode_images(pixels), GOLDEN[name]["images"], atol=TOLERANCE)
    np.testing.assert_allclose(model.encode_texts(golden_script.TEXTS), GOLDEN[name]["texts"], atol=TOLERANCE)
    assert model.card.logit_scale == pytest.approx(100, rel=1e-6)
    assert model.card.dim == model_cfg["embed_dim"]


def test_vectors_of_clipa_are_those_of_open_clip(checkpoint):
    model_cfg = script("random_checkpoint").ARCHITECTURES[golden_script.CLIPA]
    model = OpenClipModel(checkpoint(model_cfg))
    golden = GOLDEN[golden_script.CLIPA]
    np.testing.assert_allclose(model.encode_images(golden_script.images()), golden["images"], atol=TOLERANCE)
    model.__dict__["tokenizer"] = SimpleNamespace(ids=lambda texts: golden_script.token_ids(model_cfg).tolist())
    np.testing.assert_allclose(model.encode_texts(["given as token ids"]), golden["texts"], atol=TOLERANCE)


@pytest.mark.parametrize("name", [*golden_script.MODELS, golden_script.CLIPA])
def test_every_runtime_gives_the_same_vectors(name, checkpoint):
    model = OpenClipModel(checkpoint(script("random_checkpoint").ARCHITECTURES[name]))
    pixels, source = golden_script.images(), model.image_source
    torch_encoder = pytest.importorskip("linnaea.model.runtimes.torch_encoder")
    pytest.importorskip("torch")
    encoder = torch_encoder.TorchImageEncoder(source.weights, source.config, device="cpu")
    np.testing.assert_allclose(encoder.encode(pixels), GOLDEN[name]["images"], atol=TOLERANCE)
    pytest.importorskip("openvino")
    from linnaea.model.runtimes.openvino_encoder import OpenvinoGraph, OpenvinoImageEncoder, build

    compiled = OpenvinoImageEncoder(build(source.weights, source.config, OpenvinoGraph), precision="f32")
    np.testing.assert_allclose(compiled.encode(pixels), GOLDEN[name]["images"], atol=1e-4)


def make_tokenizer(path: Path) -> None:
    """A WordPiece tokenizer with BERT's special tokens and a few words."""
    from tokenizers import BertWordPieceTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "rosa", "can", "##ina", "a", "photo", "of"]
    BertWordPieceTokenizer(vocab={word: i for i, word in enumerate(words)}).save(str(path))


def test_the_tokenizer_of_clipa_pads_cuts_and_strips_the_separator(tmp_path):
    make_tokenizer(tmp_path / "tokenizer.json")
    ids = PaddedTokenizer(tmp_path / "tokenizer.json", 7, strip_sep_token=True).ids(
        ["Rosa  canina", "a photo of a Rosa canina", ""]
    )
    # A text that is too long keeps its beginning and the separator, which becomes 0.
    assert ids == [[2, 5, 6, 7, 0, 0, 0], [2, 8, 9, 10, 8, 5, 0], [2, 0, 0, 0, 0, 0, 0]]
    kept = PaddedTokenizer(tmp_path / "tokenizer.json", 4).ids(["&amp; Rosa"])
    assert kept == [[2, 1, 5, 3]]
    (tmp_path / "broken.json").write_text("{")
    for name, message in (("gone.json", "does not exist"), ("broken.json", "is not a tokenizer")):
        with pytest.raises(ValueError, match=message):
            PaddedTokenizer(tmp_path / name, 7)


def test_clipa_names_texts_with_the_tokenizer_beside_it(checkpoint, tmp_path):
    source = checkpoint(script("random_checkpoint").ARCHITECTURES[golden_script.CLIPA])
    shutil.copytree(source, tmp_path / "model")
    with pytest.raises(ValueError, match=r"tokenizer.json does not exist; put the tokenizer.json"):
        OpenClipModel(tmp_path / "model").encode_texts(["Rosa"])
    make_tokenizer(tmp_path / "model" / "tokenizer.json")
    vectors_nd = OpenClipModel(tmp_path / "model").encode_texts(["Rosa canina", "photo", "rosa Canina"])
    np.testing.assert_allclose(vectors_nd[0], vectors_nd[2], atol=1e-6)
    assert np.abs(vectors_nd[0] - vectors_nd[1]).max() > 0.1


def test_rare_settings_change_the_hash_and_usual_ones_do_not(copy):
    usual = OpenClipModel(copy()).card.hash
    settings = {"vision_cfg": SMALL["vision_cfg"] | {"norm_kwargs": {"eps": 1e-6}}}
    assert OpenClipModel(copy(model_cfg=SMALL | settings)).card.hash != usual
    written = {"vision_cfg": SMALL["vision_cfg"] | {"norm_kwargs": {"eps": 1e-5}, "act_kwargs": {}}}
    assert OpenClipModel(copy(model_cfg=SMALL | written)).card.hash == usual


@pytest.mark.parametrize(
    ("changes", "key", "family"),
    [
        ({"vision": {"timm_model_name": "vit_base_patch16_siglip_224"}}, "vision_cfg.timm_model_name", "SigLIP"),
        ({"init_logit_bias": -10}, "init_logit_bias", "SigLIP"),
        ({"vision": {"timm_model_name": "eva02_base_patch16_clip_224"}}, "vision_cfg.timm_model_name", "EVA-CLIP"),
        ({"vision": {"timm_model_name": "convnext_base"}}, "vision_cfg.timm_model_name", "CLIP with a ConvNeXt"),
        ({"vision": {"timm_model_name": "fastvit_mci2"}}, "vision_cfg.timm_model_name", "MobileCLIP"),
        ({"vision": {"layers": [3, 4, 6, 3]}}, "vision_cfg.layers", "CLIP with a ResNet"),
        ({"vision": {"attentional_pool": True}}, "vision_cfg.attentional_pool", "CoCa"),
        ({"multimodal_cfg": {"width": 4}}, "multimodal_cfg", "CoCa"),
        ({"text": {"hf_model_name": "xlm-roberta-base"}}, "text_cfg.hf_model_name", "CLIP with a multilingual text"),
    ],
)
def test_a_refusal_names_the_family_the_key_and_the_file(tmp_path, changes, key, family):
    with pytest.raises(ValueError, match=re.escape(f"this is {family}")) as error:
        config_of(tmp_path, **changes)
    assert f"(model_cfg.{key} = " in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_the_second_projector_is_recognised_and_used_when_asked_for(checkpoint):
    architectures = script("random_checkpoint")
    directory = checkpoint(architectures.with_second_projector(architectures.ARCHITECTURES["tiny"]))
    pixels = golden_script.images()
    for suffix, key in (("", "images"), ("#second", "second")):
        model = load_model(f"{directory}{suffix}")
        np.testing.assert_allclose(model.encode_images(pixels), GOLDEN["tiny"][key], atol=TOLERANCE)
    assert load_model(f"{directory}#second").card.hash != load_model(str(directory)).card.hash


def test_the_second_projector_of_biocap_is_recognised_too(copy):
    moved = lambda arrays: arrays | {"visual.caption_proj": arrays["visual.proj"][::-1].copy()}
    first, second = (OpenClipModel(copy(moved), second=second) for second in (False, True))
    assert np.abs(first.encode_images(images(first)) - second.encode_images(images(second))).max() > 0.1


def test_a_text_tower_of_its_own_name_gives_the_same_vectors(checkpoint, copy):
    def nest(arrays):
        outer = ("visual.", "logit_scale")
        return {name if name.startswith(outer) else f"text.{name}": value for name, value in arrays.items()}

    plain, nested = OpenClipModel(checkpoint(SMALL)), OpenClipModel(copy(nest))
    np.testing.assert_array_equal(nested.encode_texts(["Rosa canina"]), plain.encode_texts(["Rosa canina"]))
    prefixed = OpenClipModel(copy(lambda arrays: {f"module.{name}": value for name, value in arrays.items()}))
    np.testing.assert_array_equal(prefixed.encode_texts(["Rosa canina"]), plain.encode_texts(["Rosa canina"]))


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_weights_of_16_bits_are_widened(kind, checkpoint, copy):
    def narrow(arrays):
        if kind == "float16":
            return {name: value.astype(np.float16) for name, value in arrays.items()}
        return {name: (value.view(np.uint32) >> 16).astype(np.uint16) for name, value in arrays.items()}

    names = frozenset(read_safetensors(checkpoint(SMALL) / WEIGHTS)) if kind == "bfloat16" else frozenset()
    model, whole = OpenClipModel(copy(narrow, names)), OpenClipModel(checkpoint(SMALL))
    pixels, texts = images(whole), ["Rosa canina", "Passer"]
    assert np.abs(model.encode_images(pixels) - whole.encode_images(pixels)).max() < 0.05
    # exactly what the numbers in the file give, widened beforehand
    widened = {name: np.asarray(tensor.array(), np.float32) for name, tensor in model.image_source.weights.items()}
    exact = OnnxImageEncoder(build_vision_graph(widened, model.config.vision)).encode(pixels)
    np.testing.assert_allclose(model.encode_images(pixels), exact, atol=1e-6)
    assert np.abs(model.encode_texts(texts) - whole.encode_texts(texts)).max() < 0.05


def test_weights_as_bin_are_converted_once_and_give_the_same_vectors(checkpoint, copy, monkeypatch, tmp_path_factory):
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path_factory.mktemp("cache")))
    directory = copy()
    arrays = {name: np.array(tensor.array()) for name, tensor in read_safetensors(directory / WEIGHTS).items()}
    state = {name: torch.from_numpy(value) for name, value in arrays.items()}
    (directory / WEIGHTS).unlink()
    torch.save({"state_dict": state, "epoch": 3}, directory / "open_clip_pytorch_model.bin")
    plain = OpenClipModel(checkpoint(SMALL))
    for attempt in range(2):
        if attempt:
            monkeypatch.setattr(torch, "load", None)
        model = OpenClipModel(directory)
        np.testing.assert_array_equal(model.encode_images(images(plain)), plain.encode_images(images(plain)))


class _Harmful:
    def __reduce__(self):
        return (print, ("a program in the weights ran",))


def test_a_bin_that_holds_more_than_weights_is_refused_and_nothing_of_it_runs(copy, capsys):
    torch = pytest.importorskip("torch")
    directory = copy()
    (directory / WEIGHTS).unlink()
    torch.save({"state_dict": {}, "x": _Harmful()}, directory / "open_clip_pytorch_model.bin")
    with pytest.raises(ValueError, match="is damaged or contains code") as error:
        OpenClipModel(directory)
    assert "\n" not in str(error.value)
    assert f"checkpoint's {WEIGHTS}" in str(error.value)
    assert "weights_only" not in str(error.value)
    assert "can still be loaded" not in str(error.value)
    assert "ran" not in capsys.readouterr().out


def test_a_bin_without_torch_names_the_extra(copy, monkeypatch):
    directory = copy()
    (directory / WEIGHTS).rename(directory / "open_clip_pytorch_model.bin")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ValueError, match=r"pip install 'linnaea\[torch\]'"):
        OpenClipModel(directory)


# --- Configs


def config_of(tmp_path, preprocess=None, **changes):
    vision, text = SMALL["vision_cfg"] | changes.pop("vision", {}), SMALL["text_cfg"] | changes.pop("text", {})
    whole = {"model_cfg": SMALL | {"vision_cfg": vision, "text_cfg": text} | changes}
    whole |= {"preprocess_cfg": preprocess} if preprocess is not None else {}
    path = tmp_path / "config"  # under another name, so that the folder is no model to other tests
    path.write_text(json.dumps(whole))
    return read_config(path)


def test_what_a_config_leaves_out_is_as_in_open_clip(tmp_path):
    whole = {"model_cfg": {"embed_dim": 512, "vision_cfg": {}, "text_cfg": {}}}
    (tmp_path / "config").write_text(json.dumps(whole))
    config = read_config(tmp_path / "config")
    vision, text, preprocess = config.vision, config.text, config.preprocess
    assert (vision.size, vision.patch, vision.width, vision.n_layers, vision.n_heads) == (224, 16, 768, 12, 12)
    assert (text.n_tokens, text.context, text.width, text.n_layers, text.n_heads) == (49408, 77, 512, 12, 8)
    assert (vision.activation, text.activation, vision.dim, text.dim) == ("gelu", "gelu", 512, 512)
    assert (preprocess.resize, preprocess.interpolation, preprocess.size) == ("shortest", "bicubic", 224)
    assert preprocess.mean == vision.mean == (0.48145466, 0.4578275, 0.40821073)
    assert preprocess.std == vision.std == (0.26862954, 0.26130258, 0.27577711)


def test_pixels_are_prepared_as_the_checkpoint_says(tmp_path):
    given = {"mean": [0.5, 0.4, 0.3], "std": 0.2, "resize_mode": "squash", "interpolation": "bilinear", "size": 999}
    config = config_of(tmp_path, given)
    assert (config.preprocess.resize, config.preprocess.interpolation) == ("squash", "bilinear")
    assert config.preprocess.mean == config.vision.mean == (0.5, 0.4, 0.3)
    assert config.preprocess.std == config.vision.std == (0.2, 0.2, 0.2)
    assert config.preprocess.size == 8  # the tower's, as in open_clip
    assert config_of(tmp_path, {"interpolation": "random", "mean": None}).preprocess.interpolation == "bicubic"


def test_heads_and_widths_follow_the_config(tmp_path):
    config = config_of(
        tmp_path, vision={"width": 160, "head_width": 80, "mlp_ratio": 4.9231, "image_size": [8, 8]}, quick_gelu=True
    )
    assert (config.vision.n_heads, config.vision.activation, config.text.activation) == (2, "quick_gelu", "quick_gelu")
    assert config.vision.mlp_ratio == pytest.approx(4.9231)
    # as in open_clip, a head may be wider than it is said to be
    assert config_of(tmp_path, vision={"width": 99, "head_width": 30}).vision.n_heads == 3


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"vision": {"pool_type": "map"}}, "model_cfg.vision_cfg.pool_type"),
        ({"vision": {"norm_kwargs": {"bias": False}}}, "model_cfg.vision_cfg.norm_kwargs"),
        ({"vision": {"image_size": [8, 16]}}, "model_cfg.vision_cfg.image_size"),
        ({"vision": {"qk_norm": True}}, "model_cfg.vision_cfg.qk_norm"),
        ({"vision": {"new_part": 3}}, "model_cfg.vision_cfg.new_part"),
        ({"text": {"no_causal_mask": True}}, "model_cfg.text_cfg.pool_type"),
        ({"text": {"pool_type": "last"}}, "model_cfg.text_cfg.pool_type"),
        ({"text": {"tokenizer_kwargs": {"new": 1}}}, "model_cfg.text_cfg.tokenizer_kwargs"),
        ({"text": {"act_kwargs": {"approximate": "other"}}}, "model_cfg.text_cfg.act_kwargs"),
        (
            {"vision": {"act_kwargs": {"approximate": "tanh"}}, "quick_gelu": True},
            "model_cfg.vision_cfg.act_kwargs",
        ),
        ({"preprocess": {"mode": "L"}}, "preprocess_cfg.mode"),
    ],
)
def test_what_is_not_supported_is_named_by_its_key(tmp_path, changes, key):
    with pytest.raises(ValueError, match=re.escape(f": {key} = ")) as error:
        config_of(tmp_path, changes.pop("preprocess", None), **changes)
    assert "is not supported" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"vision": {"width": "64"}}, 'model_cfg.vision_cfg.width = "64" must be a whole number'),
        ({"vision": {"width": 12, "head_width": 2.5}}, "model_cfg.vision_cfg.head_width = 2.5 must be"),
        (
            {"vision": {"width": 101, "head_width": 50}},
            "model_cfg.vision_cfg.width = 101 must be a multiple of its 2 heads",
        ),
        ({"vision": {"layers": True}}, "model_cfg.vision_cfg.layers = true must be"),
        ({"vision": {"image_size": "big"}}, 'model_cfg.vision_cfg.image_size = "big" must be'),
        ({"vision": {"image_size": []}}, "model_cfg.vision_cfg.image_size = [] must be"),
        ({"vision": {"patch_size": 0}}, "model_cfg.vision_cfg.patch_size = 0 must be"),
        ({"vision": {"mlp_ratio": float("nan")}}, "model_cfg.vision_cfg.mlp_ratio = NaN must be"),
        ({"text": {"heads": 0}}, "model_cfg.text_cfg.heads = 0 must be"),
        ({"text": {"heads": 3}}, "model_cfg.text_cfg.width = 4 must be a multiple of its 3 heads"),
        ({"text": {"context_length": None}}, "model_cfg.text_cfg.context_length = null must be"),
        ({"embed_dim": None}, "model_cfg.embed_dim = null must be"),
        ({"vision_cfg": None}, "model_cfg.vision_cfg = null must be"),
        ({"text_cfg": "ViT"}, 'model_cfg.text_cfg = "ViT" must be'),
        ({"quick_gelu": "false"}, 'model_cfg.quick_gelu = "false" must be'),
        ({"preprocess": [1]}, "preprocess_cfg = [1] must be"),
        ({"preprocess": {"mean": [0.5, None, 0.5]}}, "preprocess_cfg: [0.5, null, 0.5] must be the mean"),
        ({"preprocess": {"mean": float("nan")}}, "preprocess_cfg: NaN must be the mean"),
        (
            {"preprocess": {"std": [0.5, 0.0, 0.5]}},
            "preprocess_cfg: [0.5, 0.0, 0.5] must be the means or standard deviations",
        ),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_by_its_key(tmp_path, changes, key):
    with pytest.raises(ValueError, match="^" + re.escape(f"{tmp_path / 'config'}: {key}")) as error:
        config_of(tmp_path, changes.pop("preprocess", None), **changes)
    assert "\n" not in str(error.value)


def test_a_damaged_config_is_named(tmp_path):
    for text, told in (("{", "cannot be read as JSON"), ("{}", "has no model_cfg"), ("[]", "has no model_cfg")):
        (tmp_path / "config").write_text(text)
        with pytest.raises(ValueError, match=told):
            read_config(tmp_path / "config")


# --- Weights


def refusal(directory, error=ValueError, name="") -> str:
    with pytest.raises(error) as raised:
        load_model(f"{directory}{name}")
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_weights_that_do_not_fit_the_config_are_named(copy):
    lacking = copy(lambda arrays: {name: value for name, value in arrays.items() if name != "visual.ln_pre.bias"})
    assert "lacks 1 weights" in refusal(lacking)
    assert "visual.ln_pre.bias" in refusal(lacking)
    more = copy(lambda arrays: arrays | {"visual.transformer.resblocks.0.ls_1.gamma": np.ones(16, np.float32)})
    assert "ls_1.gamma" in refusal(more)
    sigmoid = copy(lambda arrays: arrays | {"logit_bias": np.zeros(1, np.float32)})
    assert "SigLIP" in refusal(sigmoid)
    misshapen = copy(lambda arrays: arrays | {"visual.proj": np.zeros((16, 7), np.float32)})
    with pytest.raises(ValueError, match=r"image encoder weights.*projection \(16, 7\) instead of \(16, 6\)"):
        load_model(str(misshapen)).encode_images(np.zeros((1, 8, 8, 3), np.uint8))


def test_a_folder_without_weights_or_with_damaged_ones_is_named(copy):
    directory = copy()
    content = (directory / WEIGHTS).read_bytes()
    for damaged in (content[:-1], b"<html>not found</html>", b""):
        (directory / WEIGHTS).write_bytes(damaged)
        assert "is not a complete safetensors file" in refusal(directory)
    (directory / WEIGHTS).unlink()
    assert "no weights" in refusal(directory, FileNotFoundError)


def test_another_vocabulary_is_refused(copy):
    config = SMALL | {"text_cfg": SMALL["text_cfg"] | {"vocab_size": 100}}
    assert "vocab_size = 100" in refusal(copy(model_cfg=config))


def test_a_second_projector_that_is_not_there_is_refused(copy, random_model_dir):
    assert "omit #second" in refusal(copy(), name="#second")
    assert "is not an open_clip checkpoint" in refusal(random_model_dir, name="#second")


def test_weights_behind_a_link_are_read_where_they_lie(copy, tmp_path_factory):
    directory, linked = copy(), tmp_path_factory.mktemp("links") / "linked"
    linked.mkdir()
    (linked / OPEN_CLIP_CONFIG).symlink_to(directory / OPEN_CLIP_CONFIG)
    (linked / WEIGHTS).symlink_to((directory / WEIGHTS).rename(directory / "f00d"))
    model = load_model(str(linked))
    assert model.encode_images(images(model)).shape == (3, 6)


def test_the_hash_follows_the_weights_and_the_config(copy, checkpoint):
    first = load_model(str(checkpoint(SMALL))).card.hash
    assert load_model(str(copy())).card.hash == first
    assert load_model(str(copy(preprocess_cfg={"mean": [0.5, 0.5, 0.5]}))).card.hash != first
    assert (
        load_model(str(copy(lambda arrays: arrays | {"ln_final.bias": arrays["ln_final.bias"] + 1}))).card.hash != first
    )


# --- As a model


def test_a_text_after_its_prefix_has_the_vector_of_the_whole_text(checkpoint):
    model = OpenClipModel(checkpoint(SMALL))
    ids = model.tokenizer.ids
    prefix = model.extend_prefix(ids(["Aves Passer", "Rosa"], end=False))
    pieced = model.encode_tokens(ids(["domesticus", "montanus", "canina"], start=False), prefix, np.array([0, 0, 1]))
    whole = model.encode_texts(["Aves Passer domesticus", "Aves Passer montanus", "Rosa canina"])
    np.testing.assert_allclose(pieced, whole, atol=2e-6)


def test_labels_of_the_users_own_are_averaged_over_the_80_sentences(checkpoint):
    model = OpenClipModel(checkpoint(SMALL))
    found = embed_labels(model, [Label(name="cat"), Label(name="Felis catus", rank="species")])
    for name, vector in zip(("cat", "Felis catus"), found, strict=True):
        mean = model.encode_texts([template.format(name) for template in IMAGENET_TEMPLATES]).mean(0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)
    assert len(IMAGENET_TEMPLATES) == 80
    assert model.card.templates == ("an image of {}.",)


def test_standard_operators_alone_compute_the_same(checkpoint):
    model = OpenClipModel(checkpoint(SMALL))
    whole = {name: np.array(tensor.array()) for name, tensor in model.image_source.weights.items()}
    graph = build_vision_graph(whole, model.config.vision, fused=False)
    assert {node.domain for node in graph.graph.node} == {""}
    np.testing.assert_allclose(
        OnnxImageEncoder(graph).encode(images(model)), model.encode_images(images(model)), atol=1e-6
    )


def test_names_of_the_hub_are_suggested():
    for name in ("bioclip-2", "imageomics/bioclip2", "BioCAP"):
        with pytest.raises(ValueError, match="did you mean hf-hub:imageomics/bio"):
            load_model(name)


@pytest.mark.skipif("LINNAEA_PEERS" not in os.environ, reason="LINNAEA_PEERS is the folder of benchmarks/peers.py")
def test_the_golden_file_is_what_open_clip_gives(tmp_path):
    program = "import json, golden_open_clip as g; print(json.dumps(g.vectors(g.ARCHITECTURES['tiny'], g.TEXTS)))"
    python = Path(os.environ["LINNAEA_PEERS"]) / "bin" / "python"
    done = subprocess.run(
        [python, "-c", program], cwd=ROOT / "benchmarks", capture_output=True, text=True, check=True, timeout=300
    )
    for key, value in json.loads(done.stdout).items():
        np.testing.assert_allclose(value, GOLDEN["tiny"][key], atol=1e-6)


def test_a_checkpoint_is_asked_in_the_words_that_it_was_trained_with_and_says_whom_it_knows(copy):
    directory = copy()
    plain = OpenClipModel(directory)
    assert (plain.card.text_type, plain.card.templates) == ("taxonomic_common", ("an image of {}.",))
    assert plain.familiar == []
    (directory / "naming.json").write_text('{"template": "a photo of {}.", "text_type": "scientific"}')
    (directory / "familiar.txt").write_text("Animalia|Chordata|Mammalia|Carnivora|Felidae|Felis|Felis catus\n")
    model = OpenClipModel(directory)
    assert (model.card.text_type, model.card.templates, model.card.label_templates) == (
        "scientific",
        *[("a photo of {}.",)] * 2,
    )
    assert [lineage[-1] for lineage in model.familiar] == ["Felis catus"]
    # vectors of images are the same, and a calibration counts for both
    assert model.card.hash == plain.card.hash


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"template": "a photo", "text_type": "common"}', '{"template": "{}", "text_type": "latin"}']
)
def test_a_damaged_word_of_how_names_were_written_is_named(copy, text):
    directory = copy()
    (directory / "naming.json").write_text(text)
    with pytest.raises(ValueError, match=r"naming\.json must have a template with one \{\} and a text_type of"):
        OpenClipModel(directory)


def calibration_of(model, **changes):
    ranks = {"species": {"weights": [0.0] * 5, "bias": 2.0}}
    traits = ["mass", "lead", "organism", "similarity", "clarity"]
    return {
        "traits": traits,
        "ranks": ranks,
        "floor": 0.7,
        "model_hash": model.card.hash,
        "fitted_on": "made",
        **changes,
    }


def test_a_calibration_beside_the_weights_is_read_and_one_of_other_weights_refused(checkpoint, tmp_path):
    directory = tmp_path / "calibrated"
    shutil.copytree(checkpoint(SMALL), directory)
    bare = OpenClipModel(directory)
    assert bare.card.calibration == {}
    path = directory / "calibration.json"
    path.write_text(json.dumps(calibration_of(bare)))
    calibrated = OpenClipModel(directory)
    assert calibrated.card.calibration["floor"] == pytest.approx(0.7)
    assert calibrated.card.hash == bare.card.hash
    path.write_text(json.dumps(calibration_of(bare, model_hash="0123")))
    with pytest.raises(ValueError, match=r"fitted to other weights.*0123.*move it away"):
        OpenClipModel(directory)
    for other in ("[]", "{", '{"temperature": 1.5}'):
        path.write_text(other)
        with pytest.raises(ValueError, match="is not a calibration of a checkpoint"):
            OpenClipModel(directory)
