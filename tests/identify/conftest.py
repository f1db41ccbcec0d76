"""A vocabulary of ten species, a model that can be shown any of them, and photographs of some."""

import csv

import pytest
from PIL import Image

from linnaea.model.core.placeholder import PlaceholderModel
from linnaea.records import RANKS
from linnaea.taxonomy.name_text import taxon_text

CHORDATES = ("Animalia", "Chordata")
SPECIES = {
    "cat": (*CHORDATES, "Mammalia", "Carnivora", "Felidae", "Felis", "Felis catus"),
    "wildcat": (*CHORDATES, "Mammalia", "Carnivora", "Felidae", "Felis", "Felis silvestris"),
    "lion": (*CHORDATES, "Mammalia", "Carnivora", "Felidae", "Panthera", "Panthera leo"),
    "wolf": (*CHORDATES, "Mammalia", "Carnivora", "Canidae", "Canis", "Canis lupus"),
    "human": (*CHORDATES, "Mammalia", "Primates", "Hominidae", "Homo", "Homo sapiens"),
    "magnolia warbler": (*CHORDATES, "Aves", "Passeriformes", "Parulidae", "Setophaga", "Setophaga magnolia"),
    "oenanthe wheatear": (*CHORDATES, "Aves", "Passeriformes", "Muscicapidae", "Oenanthe", "Oenanthe oenanthe"),
    "dog rose": ("Plantae", "Tracheophyta", "Magnoliopsida", "Rosales", "Rosaceae", "Rosa", "Rosa canina"),
    "water dropwort": (
        "Plantae",
        "Tracheophyta",
        "Magnoliopsida",
        "Apiales",
        "Apiaceae",
        "Oenanthe",
        "Oenanthe crocata",
    ),
    "fly agaric": (
        "Fungi",
        "Basidiomycota",
        "Agaricomycetes",
        "Agaricales",
        "Amanitaceae",
        "Amanita",
        "Amanita muscaria",
    ),
}


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(shared_cache, monkeypatch):
    """The small vocabulary is made once a session, and not in the cache that other tests keep."""
    monkeypatch.setenv("LINNAEA_CACHE", str(shared_cache))


@pytest.fixture
def model():
    return PlaceholderModel()


@pytest.fixture(scope="session")
def vocabulary_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.csv"
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow([*RANKS, "common_name"])
        writer.writerows([*lineage, common] for common, lineage in SPECIES.items())
    return path


@pytest.fixture
def vocabulary(vocabulary_path):
    from linnaea.taxonomy.vocabulary_factory import load_vocabulary

    return load_vocabulary(vocabulary_path)


@pytest.fixture
def paint(model):
    """Writes a photograph of one of SPECIES, or of any other text."""

    def write(path, what, **save):
        text = taxon_text(SPECIES[what], "taxonomic") if what in SPECIES else what
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(model.paint(text)).save(path, **save)
        return path

    return write


@pytest.fixture
def photos(tmp_path, paint):
    """Six photographs in folders: three species, one of no organism, one empty file, one with an awkward name."""
    root = tmp_path / "photos"
    paint(root / "a" / "cat, 猫.png", "cat")
    paint(root / "a" / "line\nbreak.png", "dog rose")
    paint(root / "b" / "agaric.png", "fly agaric")
    paint(root / "b" / "chair.png", "no organism")
    paint(root / "wolf.png", "wolf")
    (root / "zero.jpg").touch()
    return root
