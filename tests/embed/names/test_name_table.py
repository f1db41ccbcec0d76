"""The name table: exact through shared prefixes, and staged where it may be."""

from __future__ import annotations

import numpy as np
import pytest

from linnaea.embed.names.genus_first_table import GenusFirstTable
from linnaea.embed.names.name_table import FullTable, load_name_table, make_table, table_dir
from linnaea.embed.names.text_embedding import embed_leaves, embed_texts
from linnaea.model.core.placeholder import PlaceholderModel
from linnaea.model.formats.model_folder import FolderModel
from linnaea.store import load_vectors
from linnaea.taxonomy.name_text import taxon_text
from linnaea.taxonomy.tree import Tree

ROWS = [
    ("Animalia", "Chordata", "Aves", "Passeriformes", "Passeridae", "Passer", "Passer domesticus"),
    ("Animalia", "Chordata", "Aves", "Passeriformes", "Passeridae", "Passer", "Passer montanus"),
    ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Felis", "Felis catus"),
    ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "", "Incertus solus"),
    ("Plantae", "Tracheophyta", "Magnoliopsida", "Rosales", "Rosaceae", "Rosa", "Rosa canina"),
    ("Plantae", "Tracheophyta", "Magnoliopsida", "Rosales", "Rosaceae", "", ""),
    ("Fungi", "", "", "", "", "", ""),
]
RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")


class Vocabulary:
    """As much of a vocabulary as a table needs."""

    hash = "seven-taxa"

    def __init__(self):
        self.tree, _ = Tree.from_lineages(dict(zip(RANKS, zip(*ROWS, strict=True), strict=True)))


@pytest.fixture
def vocabulary():
    return Vocabulary()


@pytest.fixture(scope="module")
def packaged(random_model_dir):
    return FolderModel(random_model_dir)


def texts_of(tree):
    return [taxon_text(tree.lineage(int(node)), "taxonomic") for node in tree.leaf_node_n]


def test_leaves_through_shared_prefixes_equal_whole_texts(packaged, vocabulary):
    tree = vocabulary.tree
    vectors = embed_leaves(packaged, tree, np.arange(tree.n_leaves))
    np.testing.assert_allclose(vectors, packaged.encode_texts(texts_of(tree)), atol=3e-6)


def test_any_subset_of_leaves_has_the_vectors_it_has_in_the_whole(packaged, vocabulary):
    tree = vocabulary.tree
    whole = embed_leaves(packaged, tree, np.arange(tree.n_leaves))
    np.testing.assert_allclose(embed_leaves(packaged, tree, np.array([1, 4])), whole[[1, 4]], atol=3e-6)


def test_templates_are_averaged_as_unit_vectors():
    model = PlaceholderModel()
    object.__setattr__(model.card, "templates", ("a photo of {}", "{} in the wild"))
    one, two = model.encode_texts(["a photo of Rosa"])[0], model.encode_texts(["Rosa in the wild"])[0]
    expected = (one + two) / np.linalg.norm(one + two)
    np.testing.assert_allclose(embed_texts(model, ["Rosa"])[0], expected, atol=1e-6)


def test_the_full_table_is_kept_and_read_back_as_a_vectors_artifact(vocabulary, tmp_path, caplog):
    model = PlaceholderModel()
    caplog.set_level("INFO", "linnaea")
    table = load_name_table(model, vocabulary, cache_dir=tmp_path)
    assert caplog.messages == [f"{model.card.name}: embedding {len(ROWS)} names"]
    kept = load_vectors(table_dir(model, vocabulary, tmp_path))
    assert kept.rows["name"].to_list() == [vocabulary.tree.name(int(node)) for node in vocabulary.tree.leaf_node_n]
    assert kept.manifest["model_hash"] == model.card.hash
    caplog.clear()
    again = load_name_table(model, vocabulary, cache_dir=tmp_path)
    assert not caplog.messages
    images = model.encode_texts(["Animalia Chordata Aves", "Rosa"])
    np.testing.assert_array_equal(table.similarities(images), again.similarities(images))


def test_full_similarities_are_cosines_with_all_leaves_or_those_asked_for(vocabulary, tmp_path):
    model = PlaceholderModel()
    table = load_name_table(model, vocabulary, cache_dir=tmp_path)
    images = model.encode_texts(["Passer domesticus", "Felis catus", "Rosa"])
    expected = images @ model.encode_texts(texts_of(vocabulary.tree)).T
    np.testing.assert_allclose(table.similarities(images), expected, atol=2e-3)
    leaves = np.array([0, 3, 5])
    np.testing.assert_allclose(table.similarities(images, leaves), table.similarities(images)[:, leaves], atol=1e-6)


def test_the_staged_table_is_exact_near_the_image_and_for_familiar_species(packaged, vocabulary):
    tree = vocabulary.tree
    exact = packaged.encode_texts(texts_of(tree))
    staged = GenusFirstTable(packaged, tree, n_genera=1)
    for leaf in range(tree.n_leaves):
        image = exact[leaf : leaf + 1]
        genera = tree.parent_k[tree.leaf_node_n]
        cosine = staged.similarities(image)[0]
        familiar = [i for i, row in enumerate(texts_of(tree)) if row.endswith("Passer domesticus")]
        np.testing.assert_allclose(cosine[familiar], exact[familiar] @ image[0], atol=1e-5)
        # whatever is not exact stands on a vector that is shared by all leaves of one parent
        off = np.abs(cosine - exact @ image[0]) > 1e-5
        assert not off[familiar].any()
        assert len(set(genera[off])) < len(set(genera))


def test_the_staged_table_with_all_genera_near_is_the_full_one(packaged, vocabulary):
    tree = vocabulary.tree
    staged = GenusFirstTable(packaged, tree, n_genera=100)
    images = packaged.encode_texts(["Rosa canina", "Felis", "Aves"])
    np.testing.assert_allclose(staged.similarities(images), images @ packaged.encode_texts(texts_of(tree)).T, atol=1e-5)
    leaves = np.array([1, 2])
    np.testing.assert_allclose(staged.similarities(images, leaves), staged.similarities(images)[:, leaves], atol=1e-6)


def test_auto_makes_the_full_table_of_a_small_text_encoder(packaged, vocabulary, tmp_path):
    assert isinstance(load_name_table(packaged, vocabulary, mode="auto", cache_dir=tmp_path), FullTable)


def test_auto_takes_the_full_table_of_a_large_text_encoder_only_if_it_exists(
    packaged, vocabulary, tmp_path, monkeypatch
):
    monkeypatch.setattr("linnaea.embed.names.name_table.CHUNK_WEIGHTS", 1)
    for _ in range(2):
        assert isinstance(load_name_table(packaged, vocabulary, mode="auto", cache_dir=tmp_path), GenusFirstTable)
    assert isinstance(load_name_table(packaged, vocabulary, mode="full", cache_dir=tmp_path), FullTable)
    assert isinstance(load_name_table(packaged, vocabulary, mode="auto", cache_dir=tmp_path), FullTable)


def test_an_unknown_mode_is_named(packaged, vocabulary):
    with pytest.raises(ValueError, match=r"'fast'.*staged"):
        load_name_table(packaged, vocabulary, mode="fast")


def test_any_choice_of_leaves_has_the_cosines_of_the_whole_table(vocabulary, tmp_path):
    model = PlaceholderModel()
    table = load_name_table(model, vocabulary, cache_dir=tmp_path)
    images = model.encode_texts(["Passer domesticus", "Felis catus"])
    whole, n = table.similarities(images), table.n_leaves
    clade, most, few = np.arange(1, 4), np.delete(np.arange(n), 1), np.array([0, n - 1])
    for leaves in (clade, most, few, few):
        np.testing.assert_allclose(table.similarities(images, leaves), whole[:, leaves], atol=1e-6)


def test_a_staged_table_forgets_what_it_has_no_room_for_and_answers_the_same(packaged, vocabulary, monkeypatch):
    images = packaged.encode_texts(["Rosa canina", "Felis", "Aves"])
    roomy = GenusFirstTable(packaged, vocabulary.tree, n_genera=2).similarities(images)
    monkeypatch.setattr("linnaea.embed.names.genus_first_table.CACHE_BYTES", 1)
    tight = GenusFirstTable(packaged, vocabulary.tree, n_genera=2)
    for _ in range(2):
        np.testing.assert_array_equal(tight.similarities(images), roomy)
    assert len(tight._species_cache) == 1


def test_a_killed_table_goes_on_with_the_chunks_that_were_kept(vocabulary, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("linnaea.embed.names.chunked_embedding.CHUNK_LEAVES", 2)
    monkeypatch.setattr("linnaea.embed.names.chunked_embedding.MIN_CHUNK_LEAVES", 1)
    model, calls = PlaceholderModel(), []
    encode = model.encode_texts

    def dies_at_the_third(texts):
        calls.append(texts)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(texts)

    model.encode_texts = dies_at_the_third
    with pytest.raises(KeyboardInterrupt):
        make_table(model, vocabulary, tmp_path)
    caplog.set_level("INFO", "linnaea")
    directory = make_table(model, vocabulary, tmp_path)
    assert caplog.messages == [f"{model.card.name}: embedding {len(ROWS)} names; 4 are done already"]
    assert sum(map(len, calls)) == len(ROWS) + 2, "only the chunk that was lost is embedded again"
    whole = make_table(PlaceholderModel(), vocabulary, tmp_path / "other")
    np.testing.assert_array_equal(np.load(directory / "vectors.npy"), np.load(whole / "vectors.npy"))
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("text_type", ["scientific", "common", "taxonomic_common", "scientific_common"])
def test_every_text_type_is_written_with_its_common_names(vocabulary, tmp_path, text_type):
    model, tree = PlaceholderModel(), vocabulary.tree
    object.__setattr__(model.card, "text_type", text_type)
    vocabulary.common_name = lambda node: "house sparrow" if tree.name(node) == "Passer domesticus" else ""
    vocabulary.common_names_hash = "one sparrow"
    table = load_name_table(model, vocabulary, cache_dir=tmp_path)
    nodes = [int(node) for node in tree.leaf_node_n]
    texts = [taxon_text(tree.lineage(node), text_type, vocabulary.common_name(node)) for node in nodes]
    np.testing.assert_allclose(table.vectors_nd, model.encode_texts(texts), atol=1e-3)
    assert any("house sparrow" in text for text in texts) == (text_type != "scientific")
    staged = load_name_table(model, vocabulary, mode="staged", cache_dir=tmp_path)
    images = model.encode_texts(["house sparrow"])
    np.testing.assert_allclose(staged.similarities(images), images @ model.encode_texts(texts).T, atol=1e-5)
    before = table_dir(model, vocabulary, tmp_path)
    vocabulary.common_names_hash = "two sparrows"
    assert (table_dir(model, vocabulary, tmp_path) != before) == (text_type != "scientific")


def test_the_raw_vectors_of_the_full_table_are_in_leaf_order(vocabulary, tmp_path):
    model = PlaceholderModel()
    table = load_name_table(model, vocabulary, cache_dir=tmp_path)
    assert isinstance(table.vectors_nd, np.memmap)
    assert not table.vectors_nd.flags.writeable
    np.testing.assert_allclose(table.vectors_nd, model.encode_texts(texts_of(vocabulary.tree)), atol=1e-3)


def test_a_chunk_of_a_large_tower_is_smaller():
    from types import SimpleNamespace

    from linnaea.embed.names.chunked_embedding import CHUNK_LEAVES, chunk_size

    def model(n_layers, width, n_templates=1):
        card = SimpleNamespace(templates=("{}",) * n_templates)
        return SimpleNamespace(card=card, text_config=SimpleNamespace(n_layers=n_layers, width=width))

    assert chunk_size(SimpleNamespace(card=model(1, 1).card)) == CHUNK_LEAVES
    sizes = [chunk_size(model(2, 128)), chunk_size(model(12, 768)), chunk_size(model(24, 1024))]
    assert sizes[0] == CHUNK_LEAVES
    assert sizes[0] > sizes[1] > sizes[2] >= 256
    assert chunk_size(model(2, 128, 80)) == 256
