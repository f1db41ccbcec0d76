"""The training towers are open_clip's in vectors, gradients and files, with less arithmetic."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from linnaea.model.core.safetensors import read_safetensors
from linnaea.model.formats.open_clip import OpenClipModel
from linnaea.model.graphs.text_transformer import TextConfig
from linnaea.model.graphs.vision_transformer import VisionConfig
from linnaea.train.clip.losses import info_nce, replay_loss
from linnaea.train.clip.open_clip_io import load_open_clip, make_model, save_open_clip
from linnaea.train.clip.towers import ClipModel, pack_texts

TESTS = Path(__file__).parents[2]
GOLDEN = json.loads((TESTS / "golden" / "open_clip_towers.json").read_text(encoding="utf-8"))
IDS = GOLDEN["ids"]
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def drawn():
    """The module that draws weights from their names."""
    path = TESTS.parent / "benchmarks" / "random_checkpoint.py"
    spec = importlib.util.spec_from_file_location("random_checkpoint", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(drawn, tmp_path):
    """A checkpoint with the weights of the golden model, activation GELU."""
    drawn.write_checkpoint(tmp_path / "given", GOLDEN["models"]["gelu"]["model_cfg"])
    return tmp_path / "given"


def made_images(n=6, seed=0):
    side = GOLDEN["size"]
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), np.uint8))


def small(replay=False, seed=0, **more):
    torch.manual_seed(seed)
    vision = VisionConfig(size=32, patch=8, width=16, n_layers=2, n_heads=2, dim=20, **more)
    text = TextConfig(n_tokens=100, context=12, width=24, n_layers=3, n_heads=3, mlp_ratio=4, dim=20, **more)
    return ClipModel(vision, text, replay=replay)


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_vectors_loss_and_every_gradient_are_those_of_open_clip(drawn, tmp_path, activation, checkpointing):
    wanted = GOLDEN["models"][activation]
    drawn.write_checkpoint(tmp_path, wanted["model_cfg"])
    model = load_open_clip(tmp_path)
    with torch.no_grad():
        model.logit_scale.fill_(2.0)
    model.set_checkpointing(checkpointing)
    image, text, scale = model(made_images(), pack_texts(IDS))
    np.testing.assert_allclose(image.detach(), wanted["images"], atol=TOLERANCE)
    np.testing.assert_allclose(text.detach(), wanted["texts"], atol=TOLERANCE)
    loss = info_nce(image, text, scale)
    loss.backward()
    assert loss.item() == pytest.approx(wanted["loss"], abs=TOLERANCE)
    parameters = dict(model.named_parameters())
    assert parameters.keys() == wanted["grads"].keys()
    for name, (norm, along) in wanted["grads"].items():
        grad = parameters[name].grad
        direction = torch.from_numpy(drawn.draw_tensor(name, tuple(grad.shape), 1))
        assert grad.norm().item() == pytest.approx(norm, abs=TOLERANCE, rel=1e-4), name
        assert (grad * direction).sum().item() == pytest.approx(along, abs=1e-4, rel=1e-4), name


def test_what_is_saved_is_what_was_loaded_and_the_rest_of_the_package_reads_it(folder, tmp_path):
    model = load_open_clip(folder, replay=True)
    out = save_open_clip(model, folder / "open_clip_config.json", tmp_path / "out")
    configs = [json.loads((path / "open_clip_config.json").read_text()) for path in (out, folder)]
    assert configs[0] == configs[1]
    again = load_open_clip(out)
    for name, value in again.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    assert "visual.continual_proj" not in again.state_dict()


def test_the_exported_model_names_images_as_the_trained_one(drawn, tmp_path):
    config = GOLDEN["models"]["gelu"]["model_cfg"]
    config = {**config, "text_cfg": {**config["text_cfg"], "vocab_size": 49408, "width": 6}}
    drawn.write_checkpoint(tmp_path / "given", config)
    model = load_open_clip(tmp_path / "given")
    with torch.no_grad():
        model.visual.proj.add_(0.1)
        wanted = model.encode_images(made_images()).numpy()
    out = save_open_clip(model, tmp_path / "given" / "open_clip_config.json", tmp_path / "out")
    np.testing.assert_allclose(OpenClipModel(out).encode_images(made_images().numpy()), wanted, atol=1e-4)


@pytest.fixture
def exported(drawn, tmp_path):
    """A model of CLIP's whole vocabulary, once through training's towers and out again, and its config."""
    config = drawn.ARCHITECTURES["tiny"]
    drawn.write_checkpoint(tmp_path / "given", config)
    model = load_open_clip(tmp_path / "given", replay=True)
    return save_open_clip(model, tmp_path / "given" / "open_clip_config.json", tmp_path / "out"), config


def golden_images():
    """The images of tests/golden/open_clip.json, as benchmarks/golden_open_clip.py draws them."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, 7, 7, 3), np.uint8).repeat(32, 1).repeat(32, 2)
    coarse[0] = rng.integers(0, 256, (224, 224, 3), np.uint8)
    return coarse


def test_the_exported_folder_holds_open_clips_tensors_and_gives_its_golden_vectors(drawn, exported):
    out, config = exported
    assert sorted(path.name for path in out.iterdir()) == ["open_clip_config.json", "open_clip_model.safetensors"]
    stored = read_safetensors(out / "open_clip_model.safetensors")
    shapes = drawn.tensor_shapes(config)  # of open_clip's own state dict
    assert {name: tensor.shape for name, tensor in stored.items()} == shapes
    for name, shape in shapes.items():
        np.testing.assert_array_equal(stored[name].array(), drawn.draw_tensor(name, shape), err_msg=name)
    golden = json.loads((TESTS / "golden" / "open_clip.json").read_text(encoding="utf-8"))["tiny"]
    np.testing.assert_allclose(OpenClipModel(out).encode_images(golden_images()), golden["images"], atol=TOLERANCE)


def test_open_clip_itself_loads_the_exported_folder_and_gives_the_same_vectors(exported):
    open_clip = pytest.importorskip("open_clip")
    out, _ = exported
    theirs, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{out}")
    tokens = open_clip.get_tokenizer(f"local-dir:{out}")(["a photo of Felis catus.", "Rosa canina"])
    ours, images = OpenClipModel(out), golden_images()
    with torch.no_grad():
        pixels = torch.stack([preprocess(Image.fromarray(image)) for image in images])
        image_bd = theirs.encode_image(pixels, normalize=True).numpy()
        text_bd = theirs.encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(ours.encode_images(images), image_bd, atol=TOLERANCE)
    np.testing.assert_allclose(ours.encode_texts(["a photo of Felis catus.", "Rosa canina"]), text_bd, atol=TOLERANCE)


def test_the_second_projector_begins_as_a_copy_and_comes_back_as_it_was_saved(folder, tmp_path):
    model = load_open_clip(folder, replay=True)
    assert torch.equal(model.visual.continual_proj, model.visual.proj)
    with torch.no_grad():
        model.visual.continual_proj.add_(1.0)
    out = save_open_clip(model, folder / "open_clip_config.json", tmp_path / "out", replay=True)
    assert torch.equal(load_open_clip(out, replay=True).visual.continual_proj, model.visual.continual_proj)
    assert load_open_clip(out).visual.continual_proj is None


def test_weights_of_another_shape_are_refused_by_name(folder):
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["layers"] = 4
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"lacks 12 weights, such as transformer.resblocks.3.attn.in_proj_bias"):
        load_open_clip(folder)
    config["model_cfg"]["text_cfg"] |= {"layers": 3, "context_length": 13}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"positional_embedding has shape \(12, 24\).*requires \(13, 24\)"):
        load_open_clip(folder)


def test_packed_texts_hold_no_padding_and_the_same_text_once():
    packed = pack_texts([[1, 2, 9], [1, 9], [3, 2, 9], [1, 9], [4, 5, 6, 9]])
    assert packed.token_r.tolist() == [1, 9, 1, 2, 9, 3, 2, 9, 4, 5, 6, 9]
    assert packed.position_r.tolist() == [0, 1, 0, 1, 2, 0, 1, 2, 0, 1, 2, 3]
    assert packed.groups == [(1, 2), (2, 3), (1, 4)]
    assert packed.end_n.tolist() == [1, 4, 7, 11]
    assert packed.text_b.tolist() == [1, 0, 2, 0, 3]


def test_a_text_gets_the_same_vector_alone_and_in_any_company():
    model = small()
    together = model.encode_texts(pack_texts(IDS))
    for row, text in enumerate(IDS):
        torch.testing.assert_close(model.encode_texts(pack_texts([text]))[0], together[row], atol=1e-6, rtol=1e-5)


def test_replayed_pairs_go_through_the_second_projector_and_share_the_rest():
    model = small(replay=True)
    replay_images, replay_ids = made_images(3, seed=1), [[98, 3, 99], [98, 4, 4, 99], [98, 3, 99]]
    features = model(made_images(), pack_texts(IDS), (replay_images, pack_texts(replay_ids)))
    assert torch.allclose(features[2], model.encode_images(replay_images), atol=1e-6)
    image, text, replay_image, replay_text, scale = features
    replay_loss(image, text, replay_image, replay_text, scale).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert not torch.equal(model.visual.continual_proj.grad, model.visual.proj.grad)
    with pytest.raises(ValueError, match="replay needs a second image projector"):
        small()(made_images(), pack_texts(IDS), (replay_images, pack_texts(replay_ids)))


def test_a_fresh_model_has_open_clips_names_and_finite_vectors_under_autocast(folder):
    model = make_model(folder / "open_clip_config.json")
    assert model.state_dict().keys() == load_open_clip(folder).state_dict().keys()
    with torch.autocast("cpu", torch.bfloat16):
        image, text, _ = model(made_images(), pack_texts(IDS))
    assert torch.isfinite(image).all()
    assert torch.isfinite(text).all()
    exact, _, _ = model(made_images(), pack_texts(IDS))
    torch.testing.assert_close(image.float(), exact, atol=0.05, rtol=0)


def test_images_in_parts_give_the_same_vectors_and_gradients(monkeypatch):
    from linnaea.train.clip import towers as clip_towers

    model, texts = small(), pack_texts([[1, 5, 2], [1, 2], [1, 9, 9, 2], [1, 3, 2], [1, 4, 2]])
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8))
    found = []
    for part in (512, 2):
        monkeypatch.setattr(clip_towers, "PART", part)
        model.set_checkpointing(True)
        model.zero_grad()
        vectors = model(images, texts)
        info_nce(*vectors).backward()
        found.append([vectors[0].detach(), *(p.grad.clone() for p in model.parameters())])
    for whole, in_parts in zip(*found, strict=True):
        torch.testing.assert_close(whole, in_parts, atol=1e-6, rtol=1e-4)


def test_in_bfloat16_the_image_stream_is_as_wide_as_the_products():
    model, seen = small(), []
    model.visual.transformer.resblocks[1].register_forward_pre_hook(lambda _, given: seen.append(given[0].dtype))
    images = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        model.encode_images(images)
    model.encode_images(images)
    assert seen == [torch.bfloat16, torch.float32]
