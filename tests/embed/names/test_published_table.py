"""Published name vectors: read as they are, put in the vocabulary's order, and completed by the model."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import polars as pl
import pytest

from linnaea.embed.names import published_table as published
from linnaea.embed.names.candidate_table import CandidateNameTable
from linnaea.embed.names.genus_first_table import GenusFirstTable
from linnaea.embed.names.name_table import load_name_table, make_table
from linnaea.embed.names.precomputed_names import NamesConfig, main, resolve_name_table
from linnaea.embed.names.published_table import (
    convert_published,
    load_published,
    match_columns,
    missing_leaves,
    open_matrix,
    published_files,
    zero_columns,
)
from linnaea.embed.names.text_embedding import embed_leaves
from linnaea.model.core.placeholder import PlaceholderModel
from linnaea.records import RANKS
from linnaea.taxonomy.common_names import CommonNames
from linnaea.taxonomy.tree import Tree
from linnaea.taxonomy.vocabulary_factory import load_vocabulary

SPARROW = ["Animalia", "Chordata", "Aves", "Passeriformes", "Passeridae", "Passer", "domesticus"]
TREE_SPARROW = [*SPARROW[:-1], "montanus"]
CAT = ["Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Felis", "catus"]
ROSE = ["Plantae", "Tracheophyta", "Magnoliopsida", "Rosales", "Rosaceae", "Rosa", "canina"]
DOG_FAMILY = ["Animalia", "Chordata", "Mammalia", "Carnivora", "Canidae", "", ""]
# The order of columns is not that of the tree, and the house sparrow stands there twice.
ENTRIES = [
    (ROSE, "dog rose"),
    (SPARROW, "house sparrow"),
    (CAT, ""),
    (SPARROW, ""),
    (DOG_FAMILY, "dogs"),
    (TREE_SPARROW, ""),
]


@pytest.fixture
def model():
    return PlaceholderModel()


def write_table(folder, dim, entries=ENTRIES, zero=()):
    rng = np.random.default_rng(0)
    matrix_dc = rng.normal(size=(dim, len(entries))).astype(np.float32)
    matrix_dc /= np.linalg.norm(matrix_dc, axis=0)
    matrix_dc[:, list(zero)] = 0
    folder.mkdir(exist_ok=True, parents=True)
    np.save(folder / "txt_emb_species.npy", matrix_dc)
    (folder / "txt_emb_species.json").write_text(json.dumps(entries), encoding="utf-8")
    return matrix_dc


def leaf_called(vocabulary, name):
    tree = vocabulary.tree
    (leaf,) = [leaf for leaf, node in enumerate(tree.leaf_node_n) if tree.name(int(node)) == name]
    return leaf


def test_columns_become_rows_in_the_order_of_the_leaves(model, tmp_path):
    matrix_dc = write_table(tmp_path / "p", model.card.dim)
    vocabulary = load_vocabulary(tmp_path / "p" / "txt_emb_species.json")
    table = load_published(tmp_path / "p", model, vocabulary, cache_dir=tmp_path / "cache")
    wanted = {"Rosa canina": 0, "Passer domesticus": 1, "Felis catus": 2, "Canidae": 4, "Passer montanus": 5}
    assert table.n_leaves == len(wanted)
    assert table.kind == "published"
    for name, column in wanted.items():
        np.testing.assert_array_equal(table.vectors_nd[leaf_called(vocabulary, name)], matrix_dc[:, column])
    image = matrix_dc[:, [2]].T
    assert table.similarities(image)[0].argmax() == leaf_called(vocabulary, "Felis catus")


def test_many_small_blocks_give_the_same_table(model, tmp_path, monkeypatch):
    write_table(tmp_path / "p", model.card.dim)
    vocabulary = load_vocabulary(tmp_path / "p" / "txt_emb_species.json")
    whole = load_published(tmp_path / "p", model, vocabulary, cache_dir=tmp_path / "one").vectors_nd
    monkeypatch.setattr(published, "BLOCK", 2)
    np.testing.assert_array_equal(
        load_published(tmp_path / "p", model, vocabulary, cache_dir=tmp_path / "two").vectors_nd, whole
    )


def test_columns_of_zeros_are_found_named_and_embedded(model, tmp_path, caplog):
    matrix_dc = write_table(tmp_path / "p", model.card.dim, zero=(2, 5))
    assert zero_columns(matrix_dc).tolist() == [2, 5]
    vocabulary = load_vocabulary(tmp_path / "p" / "txt_emb_species.json")
    caplog.set_level("INFO", "linnaea")
    table = load_published(tmp_path / "p", model, vocabulary, cache_dir=tmp_path / "c")
    said = [line for line in caplog.messages if "embedding" not in line]
    assert "zeros" in said[0]
    assert "Felis catus" in said[0]
    assert "Passer montanus" in said[0]
    assert "2 of 5" in said[1]
    leaves = np.sort([leaf_called(vocabulary, "Felis catus"), leaf_called(vocabulary, "Passer montanus")])
    np.testing.assert_allclose(table.vectors_nd[leaves], embed_leaves(model, vocabulary.tree, leaves), atol=1e-6)
    assert len(table.missing) == 0
    caplog.clear()
    table = load_published(tmp_path / "p", model, vocabulary, cache_dir=tmp_path / "c")
    assert len(caplog.messages) == 1
    assert "zeros" in caplog.text
    assert table.facts == {
        "published": "txt_emb_species.npy",
        "n_without_vector": 2,
        "without_vector": ["Felis catus", "Passer montanus"],
    }


def test_columns_that_are_no_numbers_are_named_and_embedded(model, tmp_path, caplog):
    matrix_dc = write_table(tmp_path / "p", model.card.dim)
    matrix_dc[3, 2], matrix_dc[5, 0] = np.nan, np.inf
    np.save(tmp_path / "p" / "txt_emb_species.npy", matrix_dc)
    vocabulary = load_vocabulary(tmp_path / "p" / "txt_emb_species.json")
    caplog.set_level("INFO", "linnaea")
    table = load_published(tmp_path / "p", model, vocabulary, cache_dir=tmp_path / "c")
    said = caplog.messages
    assert "not finite" in said[0]
    assert "Felis catus" in said[0]
    assert "Rosa canina" in said[0]
    assert "zeros" not in said[0]
    assert np.isfinite(table.vectors_nd).all()
    assert table.manifest["damaged_columns"] == [0, 2]
    leaves = np.sort([leaf_called(vocabulary, "Felis catus"), leaf_called(vocabulary, "Rosa canina")])
    np.testing.assert_allclose(table.vectors_nd[leaves], embed_leaves(model, vocabulary.tree, leaves), atol=1e-6)


def test_an_empty_matrix_and_one_damaged_in_the_cache_are_named(model, tmp_path):
    write_table(tmp_path / "p", model.card.dim)
    vocabulary = load_vocabulary(tmp_path / "p" / "txt_emb_species.json")
    directory = convert_published(tmp_path / "p", model, vocabulary, cache_dir=tmp_path / "c")
    with (directory / "vectors.npy").open("r+b") as handle:
        handle.truncate(300)
    with pytest.raises(
        ValueError, match=rf"{directory.name}.*vectors.npy is not a complete .npy file.*remove the folder"
    ):
        load_published(tmp_path / "p", model, vocabulary, cache_dir=tmp_path / "c").vectors_nd  # noqa: B018
    (tmp_path / "p" / "txt_emb_species.npy").write_bytes(b"")
    with pytest.raises(ValueError, match=r"txt_emb_species.npy is not a complete .npy file"):
        load_published(tmp_path / "p", model, vocabulary, cache_dir=tmp_path / "other")


def test_newer_names_of_files_are_found_in_a_folder(model, tmp_path):
    write_table(tmp_path / "p", model.card.dim)
    for end in ("npy", "json"):
        (tmp_path / "p" / f"txt_emb_species.{end}").rename(tmp_path / "p" / f"txt_emb_bioclip-2.{end}")
    assert published_files(tmp_path / "p")[0].name == "txt_emb_bioclip-2.npy"
    (tmp_path / "p" / "txt_emb_other.npy").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"txt_emb_bioclip-2.npy, txt_emb_other.npy; give one of these files"):
        published_files(tmp_path / "p")
    (tmp_path / "p" / "txt_emb_bioclip-2.txt").write_text("")
    with pytest.raises(FileNotFoundError, match="neither a folder"):
        published_files(tmp_path / "p" / "txt_emb_bioclip-2.txt")


def test_names_installed_aside_make_no_second_copy(model, tmp_path):
    write_table(tmp_path / "p", model.card.dim)
    vocabulary = load_vocabulary(tmp_path / "p" / "txt_emb_species.json")
    extra = CommonNames.from_pairs(
        [("kitty", int(vocabulary.tree.leaf_node_n[leaf_called(vocabulary, "Felis catus")]))]
    )
    model.card = dataclasses.replace(model.card, text_type="taxonomic_common")
    first = convert_published(tmp_path / "p", model, vocabulary, cache_dir=tmp_path / "c")
    vocabulary.common_names, vocabulary.extra_names = (*vocabulary.common_names, extra), extra
    assert convert_published(tmp_path / "p", model, vocabulary, cache_dir=tmp_path / "c") == first
    assert extra not in vocabulary.without_extra_names().common_names
    assert extra in vocabulary.common_names


def test_a_model_without_numbers_makes_no_table(model, tmp_path, monkeypatch):
    vocabulary = load_vocabulary(_names_file(tmp_path))
    monkeypatch.setattr(model, "encode_texts", lambda texts: np.full((len(texts), model.card.dim), np.nan, np.float32))
    with pytest.raises(ValueError, match="not finite for names"):
        make_table(model, vocabulary, tmp_path / "c")


def _names_file(folder):
    (folder / "txt_emb_species.json").write_text(json.dumps(ENTRIES), encoding="utf-8")
    return folder / "txt_emb_species.json"


def test_a_single_zero_in_a_column_does_not_make_it_empty():
    matrix_dc = np.ones((4, 3), np.float32)
    matrix_dc[0] = 0
    matrix_dc[:, 1] = 0
    assert zero_columns(matrix_dc).tolist() == [1]


def test_the_second_column_of_a_taxon_counts_where_the_first_is_zero(model, tmp_path):
    matrix_dc = write_table(tmp_path / "p", model.card.dim, zero=(1,))
    vocabulary = load_vocabulary(tmp_path / "p" / "txt_emb_species.json")
    table = load_published(tmp_path / "p", model, vocabulary, cache_dir=tmp_path / "c")
    np.testing.assert_array_equal(table.vectors_nd[leaf_called(vocabulary, "Passer domesticus")], matrix_dc[:, 3])


def test_another_vocabulary_is_matched_by_lineage_then_by_name_within_the_kingdom(model, tmp_path):
    """The rose is filed elsewhere; a plant called as the sparrow is no sparrow."""
    matrix_dc = write_table(tmp_path / "p", model.card.dim)
    lines = ["kingdom,phylum,class,order,family,genus,species"]
    lines += ["Plantae,Tracheophyta,Magnoliopsida,Rosales,Otheraceae,Rosa,Rosa canina"]
    lines += ["Plantae,Tracheophyta,Magnoliopsida,Rosales,Rosaceae,Passer,Passer domesticus"]
    lines += ["Animalia,Chordata,Aves,Passeriformes,Passeridae,Passer,Passer montanus"]
    (tmp_path / "v.csv").write_text("\n".join(lines), encoding="utf-8")
    vocabulary = load_vocabulary(tmp_path / "v.csv")
    directory = convert_published(tmp_path / "p", model, vocabulary, cache_dir=tmp_path / "c")
    rows_nd = np.load(directory / "vectors.npy")
    for name, column in (("Rosa canina", 0), ("Passer montanus", 5)):
        np.testing.assert_array_equal(rows_nd[leaf_called(vocabulary, name)], matrix_dc[:, column])
    assert missing_leaves(directory).tolist() == [leaf_called(vocabulary, "Passer domesticus")]


def test_a_binomial_that_did_not_follow_its_genus_is_matched_by_epithet_if_there_is_one_such():
    def frame(*species):
        return dict(zip(RANKS, zip(*[[*CAT[:-1], name] for name in species], strict=True), strict=True))

    tree, leaf_of_row = Tree.from_lineages(frame("Oldfelis catus", "Felis chaus", "Oldfelis nigra", "Elsefelis nigra"))
    names = pl.DataFrame(frame("Felis catus", "Felis chaus", "Felis nigra"))
    column_n = match_columns(tree, names, np.zeros(0, np.int64))
    assert column_n[leaf_of_row].tolist() == [0, 1, -1, -1]


def test_only_candidates_are_embedded_and_a_killed_run_goes_on(model, tmp_path, monkeypatch):
    write_table(tmp_path / "p", model.card.dim, zero=(0, 2, 5))
    vocabulary = load_vocabulary(tmp_path / "p" / "txt_emb_species.json")
    rose, sparrow = leaf_called(vocabulary, "Rosa canina"), leaf_called(vocabulary, "Passer montanus")
    quiet = {"cache_dir": tmp_path / "c"}
    birds = np.array(sorted({sparrow, leaf_called(vocabulary, "Passer domesticus")}))
    table = load_published(tmp_path / "p", model, vocabulary, leaves=birds, **quiet)
    assert sparrow not in table.missing
    assert rose in table.missing
    monkeypatch.setattr("linnaea.embed.names.chunked_embedding.MIN_CHUNK_LEAVES", 1)
    monkeypatch.setattr("linnaea.embed.names.chunked_embedding.CHUNK_LEAVES", 1)
    calls, encode = [], model.encode_texts

    def dies_at_the_second(texts):
        calls.append(texts)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode(texts)

    monkeypatch.setattr(model, "encode_texts", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        load_published(tmp_path / "p", model, vocabulary, **quiet)
    table = load_published(tmp_path / "p", model, vocabulary, **quiet)
    assert len(calls) == 3, "the first chunk was kept"
    assert len(table.missing) == 0
    expected = embed_leaves(model, vocabulary.tree, np.array([rose]))[0]
    np.testing.assert_allclose(table.vectors_nd[rose], expected, atol=1e-6)
    assert not list((tmp_path / "c").rglob("*.part"))


def test_what_does_not_fit_is_named_with_the_remedy(model, tmp_path):
    write_table(tmp_path / "p", model.card.dim + 1)
    vocabulary = load_vocabulary(tmp_path / "p" / "txt_emb_species.json")
    with pytest.raises(ValueError, match=rf"{model.card.dim + 1} dimensions.*{model.card.dim}.*belong to the model"):
        convert_published(tmp_path / "p", model, vocabulary, cache_dir=tmp_path / "c")
    with pytest.raises(FileNotFoundError, match="nothing"):
        convert_published(tmp_path / "nothing.npy", model, vocabulary)
    np.save(tmp_path / "m.npy", np.zeros((model.card.dim, 3), np.float32))
    with pytest.raises(ValueError, match=r"3 columns.*4 names"):
        open_matrix(tmp_path / "m.npy", 4, model)
    (tmp_path / "m.npy").write_bytes(b"no array at all")
    with pytest.raises(ValueError, match="download it again"):
        open_matrix(tmp_path / "m.npy", 4, model)


def test_vectors_in_the_models_own_folder_are_found_unless_they_lack_too_much(model, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))
    write_table(tmp_path / "model" / "embeddings", model.card.dim, zero=(2,))
    model.checkpoint_dir = tmp_path / "model"
    vocabulary = load_vocabulary(tmp_path / "model" / "embeddings" / "txt_emb_species.json")
    caplog.set_level("INFO", "linnaea")
    assert resolve_name_table(None, model, vocabulary, mode="auto").kind == "published"
    monkeypatch.setattr("linnaea.embed.names.name_table.CHUNK_WEIGHTS", -1)  # as if the text encoder were large
    monkeypatch.setattr("linnaea.embed.names.precomputed_names.MAX_MISSING", 0)
    monkeypatch.setattr("linnaea.embed.names.precomputed_names.MAX_CANDIDATES", 1)
    write_table(tmp_path / "model" / "embeddings", model.card.dim, zero=(2, 5))
    caplog.clear()
    assert isinstance(resolve_name_table(None, model, vocabulary, mode="auto"), GenusFirstTable)
    assert any("--vocabulary" in line and "txt_emb_species.json" in line for line in caplog.messages)
    rose = np.array([leaf_called(vocabulary, "Rosa canina")])
    assert resolve_name_table(None, model, vocabulary, mode="auto", leaves=rose).kind == "published"


def test_few_candidates_have_their_exact_vectors_where_no_table_is(model, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))
    write_table(tmp_path / "p", model.card.dim)
    vocabulary = load_vocabulary(tmp_path / "p" / "txt_emb_species.json")
    monkeypatch.setattr("linnaea.embed.names.name_table.CHUNK_WEIGHTS", -1)  # as if the text encoder were large
    monkeypatch.setattr("linnaea.embed.names.precomputed_names.MAX_CANDIDATES", 2)
    chosen = np.array(sorted(leaf_called(vocabulary, name) for name in ("Rosa canina", "Passer domesticus")), np.int32)
    caplog.set_level("INFO", "linnaea")
    images = np.eye(model.card.dim, dtype=np.float32)[:3]
    for mode in ("auto", "full"):  # the second finds what the first has kept
        table = resolve_name_table(None, model, vocabulary, mode=mode, leaves=chosen)
        assert isinstance(table, CandidateNameTable)
        assert table.n_leaves == 2
    assert caplog.messages == [f"{model.card.name}: embedding 2 names"]
    whole = load_name_table(model, vocabulary, cache_dir=tmp_path / "c")
    np.testing.assert_allclose(table.similarities(images, chosen), whole.similarities(images, chosen), atol=1e-3)
    np.testing.assert_array_equal(table.similarities(images, chosen[1:]), table.similarities(images)[:, 1:])
    assert isinstance(
        resolve_name_table(None, model, vocabulary, mode="auto"), GenusFirstTable
    )  # all of them are more than a few
    assert isinstance(resolve_name_table(None, model, vocabulary, mode="staged", leaves=chosen), GenusFirstTable)
    load_name_table(model, vocabulary)
    assert not isinstance(resolve_name_table(None, model, vocabulary, mode="auto", leaves=chosen), CandidateNameTable)


def test_a_table_made_elsewhere_is_taken_if_model_and_vocabulary_are_the_same(model, tmp_path):
    write_table(tmp_path / "p", model.card.dim)
    vocabulary = load_vocabulary(tmp_path / "p" / "txt_emb_species.json")
    made = make_table(model, vocabulary, out_dir=tmp_path / "made")
    table = resolve_name_table(made, model, vocabulary)
    own = load_name_table(model, vocabulary, cache_dir=tmp_path / "c")
    np.testing.assert_array_equal(table.vectors_nd, own.vectors_nd)
    (tmp_path / "v.csv").write_text("genus,species\nRosa,Rosa canina\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"another vocabulary.*linnaea names"):
        resolve_name_table(made, model, load_vocabulary(tmp_path / "v.csv"))


def test_the_command_makes_a_folder_and_replaces_nothing_else(tmp_path, caplog):
    (tmp_path / "v.csv").write_text("genus,species\nRosa,Rosa canina\nRosa,Rosa gallica\n", encoding="utf-8")
    caplog.set_level("INFO", "linnaea")
    config = NamesConfig(model="placeholder", vocabulary=str(tmp_path / "v.csv"), out=tmp_path / "made", quiet=True)
    assert main(config) == 0
    assert caplog.messages[-1].startswith("2 names in ")
    assert np.load(tmp_path / "made" / "vectors.npy").shape[0] == 2
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "diary.txt").write_text("mine")
    with pytest.raises(ValueError, match="taken"):
        main(NamesConfig(model="placeholder", vocabulary=str(tmp_path / "v.csv"), out=tmp_path / "taken", quiet=True))


def test_the_command_says_at_once_what_it_does_and_where_it_goes_on(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("linnaea.embed.names.chunked_embedding.MIN_CHUNK_LEAVES", 1)
    monkeypatch.setattr("linnaea.embed.names.chunked_embedding.CHUNK_LEAVES", 1)
    (tmp_path / "v.csv").write_text("genus,species\nRosa,Rosa canina\nRosa,Rosa gallica\n", encoding="utf-8")
    caplog.set_level("INFO", "linnaea")
    config = NamesConfig(model="placeholder", vocabulary=str(tmp_path / "v.csv"), out=tmp_path / "made")
    calls = []

    def stop_at_the_second(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return embed_leaves(*arguments)

    monkeypatch.setattr("linnaea.embed.names.chunked_embedding.embed_leaves", stop_at_the_second)
    assert main(config) == 130
    first, second, *_, last = caplog.messages
    assert first == "placeholder: reading the model and the names …"
    assert second == "placeholder: embedding 2 names"
    assert last == "stopped; the same command resumes the run"
    caplog.clear()
    assert main(config) == 0
    assert caplog.messages[1].endswith("; 1 are done already")


def test_a_stop_while_the_model_is_read_ends_in_the_same_line(monkeypatch, caplog):
    def stopped(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("linnaea.model.loading.load_model", stopped)
    assert main(NamesConfig(model="placeholder")) == 130
    assert caplog.messages[-1] == "stopped; the same command resumes the run"
