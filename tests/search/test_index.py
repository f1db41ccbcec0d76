"""One contract for exact and approximate indexes, and the products below them."""

import importlib
import sys

import numpy as np
import pytest
from PIL import Image

from linnaea import cli
from linnaea.search import cosine_blocks
from linnaea.search.cosine_blocks import decode_float16, multiply_blocks
from linnaea.search.faiss_index import FaissIndex, load_faiss_index
from linnaea.search.index import ExactIndex

N, DIM = 3000, 24


@pytest.fixture(scope="module")
def vectors():
    """Unit vectors in clusters of ten."""
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.normal(size=(N // 10, DIM)), 10, axis=0)
    vectors_nd = centres + 0.3 * rng.normal(size=(N, DIM))
    return (vectors_nd / np.linalg.norm(vectors_nd, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(params=["exact", "faiss"])
def build(request):
    if request.param == "exact":
        return ExactIndex
    pytest.importorskip("faiss")
    return FaissIndex.build


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_an_index_finds_the_nearest_vectors_nearest_first(build, vectors, dtype):
    index, queries_bd = build(vectors.astype(dtype)), vectors[5:45]
    ids_bk, scores_bk = index.search(queries_bd, 7)
    assert ids_bk.shape == scores_bk.shape == (40, 7)
    assert (ids_bk.dtype, scores_bk.dtype) == (np.int64, np.float32)
    exact_bn = queries_bd.astype(np.float64) @ vectors.T.astype(np.float64)
    np.testing.assert_allclose(scores_bk, np.take_along_axis(exact_bn, ids_bk, axis=1), atol=1e-3)
    assert (np.diff(scores_bk, axis=1) <= 0).all()
    assert ids_bk[:, 0].tolist() == list(range(5, 45))
    true_bk = np.argsort(-exact_bn, axis=1)[:, :7]
    recall = np.mean([len(set(ids) & set(true)) / 7 for ids, true in zip(ids_bk, true_bk, strict=True)])
    assert recall > 0.95


def test_more_neighbours_than_vectors_are_padded(build, vectors):
    ids_bk, scores_bk = build(vectors[:20]).search(vectors[:2], 30)
    assert (np.sort(ids_bk[:, :20], axis=1) == np.arange(20)).all()
    assert (ids_bk[:, 20:] == -1).all()
    assert (scores_bk[:, 20:] == -np.inf).all()


def test_no_query_has_no_neighbour(build, vectors):
    ids_bk, scores_bk = build(vectors).search(np.zeros((0, DIM), np.float32), 3)
    assert ids_bk.shape == scores_bk.shape == (0, 3)


def test_exact_ties_are_in_the_order_of_ids():
    vectors_nd = np.ones((50, 4), np.float16) / 2
    ids_bk, _ = ExactIndex(vectors_nd).search(np.ones((1, 4), np.float32), 20)
    assert ids_bk[0].tolist() == list(range(20))


def test_an_index_is_built_once_and_read_from_the_cache(vectors, tmp_path, caplog):
    pytest.importorskip("faiss")
    caplog.set_level("INFO", "linnaea")
    np.save(tmp_path / "v.npy", vectors.astype(np.float16))
    found = []
    for _ in range(2):
        mapped_nd = np.load(tmp_path / "v.npy", mmap_mode="r")
        index = load_faiss_index(mapped_nd, tmp_path / "v.npy", cache_dir=tmp_path / "cache")
        found.append(index.search(vectors[:5], 4))
    assert len(caplog.messages) == 1
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_every_finite_float16_is_decoded_exactly():
    bits = np.arange(1 << 16, dtype=np.uint16)
    values = bits.view(np.float16)
    values = values[np.isfinite(values)].reshape(-1, 32)
    decoded = decode_float16(values, np.empty(values.shape, np.float32))
    expected = values.astype(np.float32)
    np.testing.assert_array_equal(decoded.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("chosen", ["all", "neighbours", "scattered", "one"])
def test_blocks_of_a_mapped_table_give_the_cosines_of_one_product(vectors, dtype, chosen, tmp_path, monkeypatch):
    monkeypatch.setattr(cosine_blocks, "BLOCK_BYTES", 4 * DIM * 100)
    monkeypatch.setattr(cosine_blocks, "BLOCKS_BETWEEN_RELEASES", 2)
    rows = {"all": None, "neighbours": np.arange(90, 800), "scattered": np.arange(3, N, 7), "one": np.array([7])}
    np.save(tmp_path / "v.npy", vectors.astype(dtype))
    mapped_nd = np.load(tmp_path / "v.npy", mmap_mode="r")
    found_bm = multiply_blocks(mapped_nd, vectors[:5], rows[chosen])
    table_nd = vectors.astype(dtype).astype(np.float64)
    expected_bm = vectors[:5].astype(np.float64) @ (table_nd if chosen == "all" else table_nd[rows[chosen]]).T
    np.testing.assert_allclose(found_bm, expected_bm, atol=1e-6)


def test_the_threads_of_blas_are_as_before_after_a_product(vectors):
    from threadpoolctl import threadpool_info

    def blas_threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = blas_threads()
    multiply_blocks(vectors, vectors[:2])
    assert blas_threads() == before


@pytest.mark.parametrize("room", ["linnaea.search", "linnaea.embed.names"])
def test_every_public_name_of_a_room_can_be_imported(room):
    module = importlib.import_module(room)
    for name in module.__all__:
        assert getattr(module, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        module.nothing  # noqa: B018


def test_fast_scoring_without_faiss_names_the_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr("linnaea.search.scorer.FEW_CANDIDATES", 0)
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "v.csv").write_text("genus,species\nRosa,Rosa canina\nRosa,Rosa gallica\n", encoding="utf-8")
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    given = ["identify", str(tmp_path / "a.png"), "--model", "placeholder", "--vocabulary", str(tmp_path / "v.csv")]
    assert cli.main([*given, "--names", "full", "--scoring", "fast"]) != 0
    assert "pip install 'linnaea[search]'" in capsys.readouterr().err
