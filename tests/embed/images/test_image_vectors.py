import json
import threading

import numpy as np
import pytest
from PIL import Image

from linnaea.embed.images.embed_command import EmbedConfig, embed_images
from linnaea.embed.images.image_vectors import LOOK_AHEAD, embed_batches
from linnaea.embed.images.pixel_reader import read_pixels
from linnaea.embed.journal import get_journal_dir
from linnaea.model.core.contract import Preprocess
from linnaea.model.core.placeholder import PlaceholderModel
from linnaea.records import Box, ImageRecord


@pytest.fixture
def model():
    return PlaceholderModel()


@pytest.fixture
def folder(tmp_path, model):
    root = tmp_path / "photos"
    root.mkdir()
    for i in range(11):
        Image.fromarray(model.paint(f"word{i}")).save(root / f"{i:02}.png")
    (root / "04.png").write_bytes(b"")
    return root


def paths(folder):
    return sorted(str(path) for path in folder.iterdir())


def test_batches_keep_the_input_order_and_failures_their_places(model, folder):
    batches = list(embed_batches(model, (ImageRecord(path=p) for p in paths(folder)), batch_size=4))
    assert [[record.path for record in batch.records] for batch in batches] == [
        paths(folder)[:4],
        paths(folder)[4:8],
        paths(folder)[8:],
    ]
    assert [list(batch.failures) for batch in batches] == [[], [0], []]
    vectors = np.concatenate([batch.vectors_bd for batch in batches])
    expected = model.encode_texts([f"word{i}" for i in range(11) if i != 4])
    assert (vectors * expected).sum(1).min() > 0.99


def test_a_batch_of_failures_alone_has_no_vector(model, tmp_path):
    (batch,) = embed_batches(model, [ImageRecord(path=str(tmp_path / "gone.jpg"))])
    assert batch.vectors_bd.shape == (0, model.card.dim)
    assert list(batch.failures) == [0]


def test_what_the_model_gives_no_numbers_for_is_a_failure_in_its_place(model, folder, monkeypatch):
    good = model.encode_images

    def damaged(images_bhwc):
        vectors_bd = good(images_bhwc)
        vectors_bd[1, 3] = np.nan
        return vectors_bd

    monkeypatch.setattr(model, "encode_images", damaged)
    batches = list(embed_batches(model, [ImageRecord(path=p) for p in paths(folder)], batch_size=8))
    # the fifth cannot be read at all; of each batch the second that can be read has no numbers
    assert [list(batch.failures) for batch in batches] == [[4, 1], [1]]
    assert batches[0].failures[1].startswith("the model gives no numbers")
    assert [len(batch.vectors_bd) for batch in batches] == [6, 2]
    assert all(np.isfinite(batch.vectors_bd).all() for batch in batches)


def test_no_more_than_the_look_ahead_is_taken_from_the_input(model):
    taken = 0

    def records():
        nonlocal taken
        for i in range(1000):
            taken += 1
            yield ImageRecord(path=str(i))

    pixels = np.zeros((16, 16, 3), np.uint8)
    batches = embed_batches(model, records(), batch_size=5, decode=lambda record: pixels)
    next(batches)
    assert taken == 5 * LOOK_AHEAD
    next(batches)
    assert taken == 5 * (LOOK_AHEAD + 1)
    batches.close()


def test_the_model_is_called_from_one_thread_while_others_decode(model):
    threads = {"model": set(), "decode": set()}
    encode = model.encode_images

    def watched(images):
        threads["model"].add(threading.get_ident())
        return encode(images)

    def decode(_record):
        threads["decode"].add(threading.get_ident())
        return np.zeros((16, 16, 3), np.uint8)

    model.encode_images = watched
    list(embed_batches(model, (ImageRecord(path="x") for _ in range(64)), batch_size=4, decode=decode))
    assert len(threads["model"]) == 1
    assert not threads["model"] & threads["decode"]


def test_an_artifact_has_a_unit_vector_for_each_image_that_can_be_read(model, folder, tmp_path):
    vectors = embed_images([folder], model, tmp_path / "v", batch_size=4)
    assert vectors.vectors_nd.shape == (10, model.card.dim)
    assert vectors.vectors_nd.dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(vectors.vectors_nd.astype(np.float32), axis=1), 1, atol=2e-3)
    assert vectors.rows["file"].to_list() == [p for p in paths(folder) if not p.endswith("04.png")]
    assert vectors.manifest["model_hash"] == model.card.hash
    assert vectors.manifest["n_unreadable"] == 1
    (line,) = (tmp_path / "v" / "unreadable.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == "the file is empty"
    assert not get_journal_dir(tmp_path / "v").exists()


@pytest.fixture
def large(tmp_path):
    """A photograph of 900 x 700 with detail finer than a scaled decoding keeps, stored turned, and upright as PNG."""
    rng = np.random.default_rng(0)
    upright = Image.fromarray(rng.integers(0, 256, (700, 900, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "large.jpg", exif=exif, quality=95)
    Image.open(tmp_path / "large.jpg").transpose(Image.Transpose.ROTATE_270).save(tmp_path / "upright.png")
    return tmp_path


@pytest.mark.parametrize("resize", ["shortest", "squash", "longest"])
def test_a_turned_jpeg_gives_the_pixels_of_its_upright_copy(large, resize):
    preprocess = Preprocess(size=64, resize=resize)
    turned, upright = (read_pixels(ImageRecord(path=str(large / n)), preprocess) for n in ("large.jpg", "upright.png"))
    assert np.abs(turned.astype(int) - upright).max() <= 1


def test_scaled_decoding_comes_near_and_is_told_apart(large, model):
    preprocess, record = Preprocess(size=64, resize="shortest"), ImageRecord(path=str(large / "large.jpg"))
    exact, scaled = (read_pixels(record, preprocess, decoding).astype(int) for decoding in ("exact", "scaled"))
    assert 0 < np.abs(exact - scaled).mean() < 3
    (large / "photos").mkdir()
    (large / "large.jpg").rename(large / "photos" / "large.jpg")
    hashes = set()
    for decoding in ("exact", "scaled"):
        out = embed_images([large / "photos"], model, large / decoding, decoding=decoding)
        assert out.manifest["decoding"] == decoding
        hashes.add(out.manifest["run_hash"])
    assert len(hashes) == 2
    with pytest.raises(ValueError, match="--decoding"):
        EmbedConfig(paths=(large,), out=large / "v", decoding="fast")


def test_a_box_in_a_turned_jpeg_is_that_of_its_upright_copy(large):
    preprocess, box = Preprocess(size=64, resize="longest"), Box(left=100, top=50, right=700, bottom=350)
    turned, upright = (
        read_pixels(ImageRecord(path=str(large / name), box=box), preprocess) for name in ("large.jpg", "upright.png")
    )
    assert np.abs(turned.astype(int) - upright).max() <= 1


class StopError(Exception):
    pass


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_broken_run_goes_on_and_gives_the_same_bytes(model, folder, tmp_path, after):
    embed_images([folder], model, tmp_path / "whole", batch_size=3)
    calls = 0
    encode = model.encode_images

    def breaking(images):
        nonlocal calls
        calls += 1
        if calls > after:
            raise StopError
        return encode(images)

    model.encode_images = breaking
    with pytest.raises(StopError):
        embed_images([folder], model, tmp_path / "v", batch_size=3)
    model.encode_images = encode
    with pytest.raises(FileExistsError, match="--resume"):
        embed_images([folder], model, tmp_path / "v", batch_size=3)
    with pytest.raises(ValueError, match="other options"):
        embed_images([folder], model, tmp_path / "v", batch_size=2, resume=True)
    embed_images([folder], model, tmp_path / "v", batch_size=3, resume=True)
    for name in ("vectors.npy", "unreadable.jsonl"):
        assert (tmp_path / "v" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_finished_artifact_is_kept_unless_told_otherwise(model, folder, tmp_path):
    first = embed_images([folder], model, tmp_path / "v")
    with pytest.raises(FileExistsError, match="--overwrite"):
        embed_images([folder], model, tmp_path / "v")
    again = embed_images([folder], model, tmp_path / "v", resume=True)
    np.testing.assert_array_equal(first.vectors_nd, again.vectors_nd)
    with pytest.raises(ValueError, match="other content"):
        embed_images([folder], model, folder, overwrite=True)
    (folder / "00.png").unlink()
    assert embed_images([folder], model, tmp_path / "v", overwrite=True).manifest["n"] == 9
