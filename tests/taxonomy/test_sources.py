"""Vocabularies from files, and the cache they are kept in."""

import json
import subprocess
import sys

import polars as pl
import pytest

from linnaea.store import default_cache_dir
from linnaea.taxonomy import vocabulary_factory
from linnaea.taxonomy.vocabulary import Vocabulary
from linnaea.taxonomy.vocabulary_factory import load_vocabulary

CAT = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Felis", "Felis catus")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A cache of its own, without the names of the extra, so that a file alone decides."""
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("linnaea.taxonomy.common_names.EXTRAS", {})


def species(vocabulary):
    return [vocabulary.tree.name(int(node)) for node in vocabulary.tree.leaf_node_n]


def test_a_csv_with_rank_columns_in_any_case_and_bare_epithets(tmp_path):
    path = tmp_path / "names.csv"
    path.write_text(
        "Kingdom,Family,Genus,Species,common_name\n"
        "Animalia,Felidae,Panthera,leo,lion\n"
        "Animalia,Felidae,Felis,Felis catus,\n"
        "Plantae,,Quercus,,\n"
        ",,,,nothing\n"
    )
    vocabulary = load_vocabulary(path)
    assert species(vocabulary) == ["Felis catus", "Panthera leo", "Quercus"]
    assert vocabulary.leaf_of_row.tolist() == [1, 0, 2, -1]
    assert vocabulary.resolve_one("lion").name == "Panthera leo"
    assert vocabulary.resolve_one("Quercus").rank == "genus"


def test_a_list_of_scientific_names_alone_gets_its_genera(tmp_path):
    path = tmp_path / "names.tsv"
    path.write_text("scientificName\nFelis catus\nFelis silvestris\n")
    vocabulary = load_vocabulary(path)
    assert vocabulary.leaves_within("genus:Felis").tolist() == [0, 1]


def test_a_scientific_name_column_that_repeats_a_higher_taxon_makes_no_species(tmp_path):
    path = tmp_path / "names.csv"
    path.write_text("scientificName,family,genus\nFelidae,Felidae,\nFelis catus,Felidae,Felis\n")
    vocabulary = load_vocabulary(path)
    assert species(vocabulary) == ["Felidae", "Felis catus"]
    assert vocabulary.resolve_one("Felidae").rank == "family"


def test_parquet_and_csv_of_one_table_give_one_hash(tmp_path):
    frame = pl.DataFrame({"family": ["Felidae", "Felidae"], "species": ["Felis catus", "Panthera leo"]})
    frame.write_csv(tmp_path / "a.csv")
    frame.write_parquet(tmp_path / "b.parquet")
    assert load_vocabulary(tmp_path / "a.csv").hash == load_vocabulary(tmp_path / "b.parquet").hash


def test_text_embedding_names_keep_the_columns_of_their_matrix(tmp_path):
    entries = [
        [["Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Panthera", "leo"], "Lion"],
        [["Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Felis", "catus"], ""],
        [["Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Panthera", "leo"], "African lion"],
        [["Plantae", None, "", "", "", "", ""], None],
    ]
    path = tmp_path / "txt_emb_species.json"
    path.write_text(json.dumps(entries))
    vocabulary = load_vocabulary(path)
    assert species(vocabulary) == ["Felis catus", "Panthera leo", "Plantae"]
    assert vocabulary.leaf_of_row.tolist() == [1, 0, 1, 2]
    assert vocabulary.row_of_leaf.tolist() == [1, 0, 3]
    assert vocabulary.common_name(vocabulary.resolve_one("african LION").node) == "Lion"
    path.write_text('{"a": 1}')
    with pytest.raises(ValueError, match=r"txt_emb_species.json must be a list"):
        load_vocabulary(path)


def test_the_second_load_reads_the_cache_and_a_changed_file_does_not(tmp_path, monkeypatch):
    path = tmp_path / "names.csv"
    path.write_text("genus,species\nFelis,catus\n")
    first = load_vocabulary(path)
    with monkeypatch.context() as patch:
        patch.setattr(vocabulary_factory, "build_vocabulary", lambda *_: pytest.fail("built again"))
        again = load_vocabulary(path)
    assert (again.hash, species(again), again.source) == (first.hash, species(first), str(path))
    path.write_text("genus,species\nFelis,catus\nPanthera,leo\n")
    assert load_vocabulary(path).tree.n_leaves == 2


def test_processes_that_build_at_once_all_get_the_vocabulary(tmp_path):
    path = tmp_path / "names.csv"
    path.write_text("genus,species\n" + "".join(f"G{i},s{i}\n" for i in range(2000)))
    code = (
        "import sys\nfrom linnaea.taxonomy.vocabulary_factory import load_vocabulary\n"
        "print(load_vocabulary(sys.argv[1]).hash)"
    )
    command = [sys.executable, "-c", code, str(path)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [worker.communicate(timeout=120) for worker in workers]
    assert {out.strip() for out, _ in answers} == {load_vocabulary(path).hash}, answers
    folders = list((default_cache_dir() / "vocabulary").iterdir())
    assert len(folders) == 1
    assert (folders[0] / "manifest.json").exists()


def test_a_cache_that_cannot_be_written_costs_a_warning_not_the_vocabulary(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "file"))
    path = tmp_path / "names.csv"
    path.write_text("genus,species\nFelis,catus\n")
    with pytest.warns(UserWarning, match="LINNAEA_CACHE"):
        assert species(load_vocabulary(path)) == ["Felis catus"]


def test_an_unfinished_cache_folder_is_made_again(tmp_path):
    path = tmp_path / "names.csv"
    path.write_text("genus,species\nFelis,catus\n")
    load_vocabulary(path)
    (folder,) = (default_cache_dir() / "vocabulary").iterdir()
    (folder / "manifest.json").unlink()
    (folder / "rank_k.npy").write_bytes(b"half")
    with pytest.raises(FileNotFoundError, match="no finished vocabulary"):
        Vocabulary.load(folder)
    assert species(load_vocabulary(path)) == ["Felis catus"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("inatt", "did you mean inat?"),
        ("iNat", "did you mean inat?"),
        ("brids.csv", "did you mean birds.csv?"),
        ("birds.cvs", "did you mean birds.csv?"),
        ("nothing like it", "give a file or folder that exists, or inat"),
    ],
)
def test_an_unknown_vocabulary_gives_the_nearest_that_exists(tmp_path, monkeypatch, given, said):
    (tmp_path / "birds.csv").touch()
    (tmp_path / "inatt.jpg").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        load_vocabulary(given)
    assert str(caught.value) == f"no vocabulary {given!r}; {said}"


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("none.csv", None, FileNotFoundError, "none.csv"),
        ("names.docx", "x", ValueError, "names.docx has none of the columns kingdom"),
        ("names.csv", "a,b\n1,2\n", ValueError, "kingdom"),
        ("names.csv", "genus,species\n,\n", ValueError, "no row has a name"),
        ("names.json", "[", ValueError, "pybioclip"),
        ("names.zip", "no zip", ValueError, "zip archive"),
    ],
)
def test_an_unusable_source_is_named_in_one_line(tmp_path, name, content, error, said):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(error, match=said) as raised:
        load_vocabulary(tmp_path / name)
    assert "\n" not in str(raised.value)
