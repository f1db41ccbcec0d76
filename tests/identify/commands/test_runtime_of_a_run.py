import json

import numpy as np
import pytest
from PIL import Image

from linnaea.embed.images.embed_command import embed_images
from linnaea.embed.images.runtime_sample import sample_evenly, sample_pixels, select_runtime_for_files
from linnaea.identify.commands.config import IdentifyConfig
from linnaea.identify.commands.identify import main
from linnaea.model.core.contract import ModelCard, Preprocess
from linnaea.model.core.placeholder import PlaceholderModel
from linnaea.model.runtimes.encoder_factory import ImageEncoderMixin
from random_transformer import images_for, make_transformer

INT8 = "onnxruntime-int8"


class MixedModel(ImageEncoderMixin):
    """A transformer's image tower beside the placeholder's texts."""

    def __init__(self, source):
        self.image_source = source
        self.card = ModelCard(
            name="mixed", hash="mixed", dim=24, logit_scale=50.0, preprocess=Preprocess(size=source.config.size)
        )
        self.encode_texts = PlaceholderModel(dim=24).encode_texts


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))
    return make_transformer(tmp_path)


@pytest.fixture
def folder(tmp_path, source):
    (tmp_path / "photos").mkdir()
    for number, image in enumerate(images_for(source, 40)):
        Image.fromarray(image).save(tmp_path / "photos" / f"{number:02}.png")
    (tmp_path / "photos" / "00.png").write_bytes(b"no image")
    return tmp_path / "photos"


def go(source, folder, **options):
    settings = {"labels": "lion,leopard,cheetah", "quiet": True} | options
    return main(IdentifyConfig(paths=(folder,), **settings), model=MixedModel(source))


def manifest(path):
    return json.loads(path.with_name(path.name + ".manifest.json").read_text())


def test_the_manifest_says_what_ran_the_model_and_what_its_check_found(source, folder, tmp_path):
    assert go(source, folder, out=tmp_path / "full.csv") == 0
    assert manifest(tmp_path / "full.csv")["runtime"] == "onnxruntime"
    assert go(source, folder, out=tmp_path / "fast.csv", runtime=INT8) == 0
    told = manifest(tmp_path / "fast.csv")
    assert told["runtime"].startswith(f"{INT8}:")
    check = told["runtime_check"]["check"]
    assert check["n"] == 32
    assert check["cosine"] > 0.995
    assert 0.9 < check["same_names"] <= 1
    assert check["passes"] == (check["same_names"] >= 0.99)
    assert told["hash"] != manifest(tmp_path / "full.csv")["hash"]


def test_a_run_goes_on_in_the_runtime_that_it_began_in(source, folder, tmp_path):
    out = tmp_path / "names.csv"
    assert go(source, folder, out=out) == 0
    assert go(source, folder, out=out, resume=True, runtime="auto") == 0
    with pytest.raises(FileExistsError, match="with other options"):
        go(source, folder, out=out, resume=True, runtime=INT8)


def test_vectors_say_what_made_them(source, folder, tmp_path):
    model = MixedModel(source)
    assert embed_images([folder], model, tmp_path / "full").manifest["runtime"] == "onnxruntime"
    record = select_runtime_for_files(model, INT8, [folder])
    assert record["check"]["same_names"] is None
    made = embed_images([folder], model, tmp_path / "fast").manifest
    assert made["runtime"] == model.runtime
    assert made["runtime"].startswith(f"{INT8}:")
    with pytest.raises(FileExistsError, match="exists already"):
        embed_images([folder], model, tmp_path / "full", resume=True)


def test_a_sample_is_spread_over_the_run_and_leaves_out_what_cannot_be_read():
    from linnaea.photos.decoding import Unreadable

    assert sample_evenly(range(100), 5) == [0, 24, 49, 74, 99]
    assert sample_evenly("abc", 5) == ["a", "b", "c"]

    def decode(number):
        return Unreadable("bad") if number % 2 == 0 else np.full((2, 2, 3), number, np.uint8)

    taken = sample_pixels(range(100), 20, decode, 2)[:, 0, 0, 0]
    assert len(taken) == 20
    assert (taken % 2 == 1).all()
    assert len(set(taken.tolist())) == 20
    assert taken.min() < 10
    assert taken.max() > 90
    assert sample_pixels([0, 2], 20, decode, 2).shape == (0, 2, 2, 3)
