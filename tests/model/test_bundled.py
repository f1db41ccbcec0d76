"""The model as shipped: complete, small, licensed, and right about the photographs of the demo."""

from __future__ import annotations

import json

import numpy as np
import pytest

from linnaea.identify import identify
from linnaea.model.formats.model_folder import load_card
from linnaea.model.loading import BUNDLED_DIR, load_model
from linnaea.taxonomy.name_text import TEXT_TYPES

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def model():
    return load_model("bundled")


@pytest.fixture(scope="module")
def photographs(root):
    folder = root / "build" / "demo" / "photos"
    if not folder.is_dir():
        pytest.skip("the demo's photographs are not here: make demo fetches them")
    return folder


def test_the_folder_is_whole_and_at_most_25_mib():
    names = {path.name for path in BUNDLED_DIR.iterdir()}
    assert {"image.onnx", "text.onnx", "tokenizer.json", "config.json", "calibration.json", "familiar.txt"} <= names
    assert {"LICENSE-WEIGHTS.md", "MODEL_CARD.md", "training.json"} <= names
    assert sum(path.stat().st_size for path in BUNDLED_DIR.iterdir()) <= 25 * MIB


def test_the_card_says_what_the_stages_need():
    card = load_card(BUNDLED_DIR)
    assert card.text_type in TEXT_TYPES
    assert card.logit_scale > 1
    assert 0.5 <= card.calibration["floor"] < 1
    assert set(card.calibration["ranks"]) == {"kingdom", "phylum", "class", "order", "family", "genus", "species"}
    assert len(card.negative_prompts) > 500


def test_every_familiar_species_and_common_name_is_in_the_vocabulary(model, inat):
    assert len(model.familiar) > 2000
    for lineage in model.familiar[::40]:
        assert inat.resolve_one(f"{lineage[0]}>{lineage[-1]}").lineage == lineage
    names = list(model.card.common_names.values())
    assert len(names) > 2000
    for qualified in names[::60]:
        assert qualified.partition(":")[2] in {taxon.name for taxon in inat.resolve(qualified).taxa}


def test_nothing_was_held_out_of_the_shipped_model():
    assert json.loads((BUNDLED_DIR / "training.json").read_text())["held_out"] == []


def test_vectors_are_unit_and_do_not_depend_on_the_batch(model):
    images = np.random.default_rng(0).integers(0, 256, (5, 224, 224, 3), dtype=np.uint8)
    together = model.encode_images(images)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(together[3:4], model.encode_images(images[3:4]), atol=2e-5)
    assert model.encode_images(images[:0]).shape == (0, model.card.dim)
    texts = ["Felis catus", "Animalia Chordata Mammalia Carnivora Felidae Felis catus"]
    np.testing.assert_allclose(model.encode_texts(texts)[1], model.encode_texts(texts[1:])[0], atol=2e-6)


def test_the_demo_is_named_rightly_against_the_whole_vocabulary(photographs):
    answers = {p.file.rpartition("/")[2]: p for p in identify([photographs], min_confidence=0.5)}
    cat = answers["cat.png"]
    assert cat.status == "identified"
    assert cat.lineage[4] == "Felidae"
    assert answers["temple.jpg"].status == "unidentified"
    assert "no organism" in answers["temple.jpg"].reason
    flower = answers["flower.jpg"]
    assert flower.status == "unidentified" or flower.lineage[0] == "Plantae"


def test_the_demo_is_named_among_labels_of_ones_own(photographs):
    answers = identify([photographs / "cat.png"], labels="cat,dog,lion,flower")
    assert next(iter(answers)).name == "cat"
