"""The compact table: one vector for a genus, exact vectors for learned species, the same answers at every run."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from linnaea.embed.names.compact_table import COMPACT, CompactTable, load_compact_table, write_compact_table
from linnaea.embed.names.name_table import FullTable, make_table
from linnaea.embed.names.precomputed_names import NamesConfig, main, resolve_name_table
from linnaea.embed.names.text_embedding import embed_leaves
from linnaea.model.formats.model_folder import FolderModel, write_familiar
from linnaea.model.loading import load_model
from linnaea.taxonomy.vocabulary import Vocabulary
from linnaea.taxonomy.vocabulary_factory import load_vocabulary

FAMILY = "Animalia,Chordata,Aves,Passeriformes,Passeridae"
SPARROWS = ["domesticus", "montanus", "italiae", "hispaniolensis"]
# Rounding to one byte on each axis and to float16.
CLOSE = 0.01


@pytest.fixture
def vocabulary(tmp_path) -> Vocabulary:
    """Four sparrows, a snowfinch, a cat and a rose, of which the house sparrow and the snowfinch are learned."""
    rows = [f"{FAMILY},Passer,Passer {epithet}" for epithet in SPARROWS]
    rows += [f"{FAMILY},Montifringilla,Montifringilla nivalis"]
    rows += ["Animalia,Chordata,Mammalia,Carnivora,Felidae,Felis,Felis catus", "Plantae,,,,,Rosa,Rosa canina"]
    path = tmp_path / "v.csv"
    path.write_text("\n".join(["kingdom,phylum,class,order,family,genus,species", *rows]), encoding="utf-8")
    return load_vocabulary(path)


@pytest.fixture
def model(random_model_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))
    folder = shutil.copytree(random_model_dir, tmp_path / "model")
    learned = ((*FAMILY.split(","), genus, name) for genus, name in (
        ("Passer", "Passer domesticus"), ("Montifringilla", "Montifringilla nivalis")
    ))  # fmt: skip
    write_familiar(folder, learned)
    return FolderModel(folder)


def find_leaves(vocabulary, *names):
    tree = vocabulary.tree
    by_name = {tree.name(int(node)): leaf for leaf, node in enumerate(tree.leaf_node_n)}
    return np.array([by_name[name] for name in names])


def test_a_species_that_was_not_learned_has_the_mean_of_its_genus(model, vocabulary):
    write_compact_table(model, vocabulary)
    table = load_compact_table(model, vocabulary)
    exact_nd = embed_leaves(model, vocabulary.tree, np.arange(vocabulary.tree.n_leaves))
    images_bd = model.encode_texts(["Passer", "Rosa canina", "Felis"])
    cosine_bn = table.similarities(images_bd)
    assert cosine_bn.shape == (3, vocabulary.tree.n_leaves)
    others = find_leaves(vocabulary, *(f"Passer {epithet}" for epithet in SPARROWS[1:]))
    mean_d = exact_nd[others].sum(0)
    mean_d /= np.linalg.norm(mean_d)
    assert (cosine_bn[:, others] == cosine_bn[:, others[:1]]).all()
    np.testing.assert_allclose(cosine_bn[:, others[0]], images_bd @ mean_d, atol=CLOSE)
    own = find_leaves(vocabulary, "Passer domesticus", "Montifringilla nivalis", "Felis catus", "Rosa canina")
    np.testing.assert_allclose(cosine_bn[:, own], images_bd @ exact_nd[own].T, atol=CLOSE)
    learned = own[:2]
    np.testing.assert_allclose(cosine_bn[:, learned], images_bd @ exact_nd[learned].T, atol=1e-3)
    assert np.abs(cosine_bn[:, own[0]] - cosine_bn[:, others[0]]).max() > CLOSE


def test_a_restriction_takes_the_same_cosines(model, vocabulary):
    write_compact_table(model, vocabulary)
    table = load_compact_table(model, vocabulary)
    images_bd = model.encode_texts(["Passer", "Rosa canina"])
    whole_bn = table.similarities(images_bd).copy()
    for leaves in (np.array([0, 1]), np.array([1, 3, 4]), find_leaves(vocabulary, "Rosa canina"), None, np.array([2])):
        chosen = np.arange(table.n_leaves) if leaves is None else leaves
        np.testing.assert_allclose(table.similarities(images_bd, leaves), whole_bn[:, chosen], atol=1e-6)


def test_the_table_of_a_model_folder_is_used_whatever_is_in_the_cache(model, vocabulary):
    assert resolve_name_table(None, model, vocabulary, mode="auto").kind == "full"
    write_compact_table(model, vocabulary)
    make_table(model, vocabulary)
    for leaves in (None, np.array([0, 1])):
        assert isinstance(resolve_name_table(None, model, vocabulary, mode="auto", leaves=leaves), CompactTable)
    assert isinstance(resolve_name_table(None, model, vocabulary, mode="full"), FullTable)
    assert resolve_name_table(None, model, vocabulary, mode="staged").kind == "staged"


def test_a_table_of_other_weights_names_or_learned_species_is_not_used(model, vocabulary, tmp_path, caplog):
    path = write_compact_table(model, vocabulary)
    assert load_compact_table(model, vocabulary).kind == "compact"
    caplog.set_level("INFO", "linnaea")
    (tmp_path / "w.csv").write_text("genus,species\nRosa,Rosa canina\n", encoding="utf-8")
    assert load_compact_table(model, load_vocabulary(tmp_path / "w.csv")) is None
    assert "made for other weights or names" in caplog.text
    write_familiar(path.parent, [])
    assert load_compact_table(FolderModel(path.parent), vocabulary) is None


@pytest.mark.parametrize("content", [b"", b"PK no archive", None])
def test_a_damaged_table_is_named(model, vocabulary, content):
    path = write_compact_table(model, vocabulary)
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)
    with pytest.raises(ValueError, match=rf"{COMPACT} is damaged; install Linnaea again"):
        load_compact_table(model, vocabulary)


def test_the_same_names_give_the_same_bytes(model, vocabulary):
    first = write_compact_table(model, vocabulary).read_bytes()
    assert write_compact_table(model, vocabulary).read_bytes() == first


def test_the_command_needs_a_model_folder_and_the_default_names(tmp_path):
    with pytest.raises(ValueError, match="--vocabulary"):
        NamesConfig(compact=True, vocabulary=str(tmp_path / "v.csv"))
    with pytest.raises(ValueError, match="model folder"):
        main(NamesConfig(compact=True, model="placeholder"))


def test_the_bundled_model_carries_a_table_of_its_weights_and_of_the_default_names(inat):
    model = load_model("bundled")
    table = load_compact_table(model, inat)
    assert table is not None, "make it again: linnaea names --compact"
    assert table.n_leaves == inat.tree.n_leaves
    with np.load(model.model_dir / COMPACT) as stored:
        learned = {inat.tree.lineage(int(inat.tree.leaf_node_n[leaf])) for leaf in stored["trained"].tolist()}
        assert json.loads(str(stored["manifest"]))["model_hash"] == model.card.hash
    assert learned <= set(model.familiar)
    assert len(learned) > 2000
    leaves = np.sort(np.random.default_rng(0).choice(inat.tree.n_leaves, 40, replace=False))
    cosine_n = np.diagonal(table.similarities(embed_leaves(model, inat.tree, leaves), leaves))
    assert cosine_n.mean() > 0.95
    assert cosine_n.min() > 0.8
