"""Everyday names in six languages: each means its group, in the singular and the plural."""

import csv
from importlib.resources import files

import pytest

from linnaea.taxonomy import everyday_names
from linnaea.taxonomy.name_index import name_key

EXPECTED = {
    "dog": "Canis familiaris",
    "cats": "Felis catus",
    "deer": "Cervidae",
    "white-tailed deer": "Odocoileus virginianus",
    "White tailed Deer": "Odocoileus virginianus",
    "bears": "Ursidae",
    "owl": "Strigiformes",
    "oak": "Quercus",
    "beetles": "Coleoptera",
    "birds": "Aves",
    "wolves": "Canis lupus",
    "ladybugs": "Coccinellidae",
    "songbird": "Passeriformes",
    "spider": "Araneae",
    "ferns": "Polypodiopsida",
    "orchids": "Orchidaceae",
    "tortoises": "Testudines",
    "cacti": "Cactaceae",
    "leones": "Panthera leo",
    "perros": "Canis familiaris",
    "oiseaux": "Aves",
    "écureuil": "Sciuridae",
    "ecureuils": "Sciuridae",
    "Vögel": "Aves",
    "Wölfe": "Canis lupus",
    "Hunde": "Canis familiaris",
    "leões": "Panthera leo",
    "coruja": "Strigiformes",
    "simba": "Panthera leo",
    "tembo": "Proboscidea",
    "twiga": "Giraffa",
    "fisi": "Hyaenidae",
    "nyumbu": "Connochaetes",
    "Felis concolor": "Puma concolor",
    "Felis concolor Linnaeus, 1771": "Puma concolor",
    "Parus caeruleus": "Cyanistes caeruleus",
    "Dendroica petechia": "Setophaga petechia",
    "Acacia tortilis": "Vachellia tortilis",
}
GROUPS = {
    "bee": {"Apidae", "Halictidae", "Andrenidae", "Megachilidae", "Colletidae", "Melittidae", "Stenotritidae"},
    "fish": {"Actinopterygii", "Chondrichthyes"},
    "mice": {"Muridae", "Cricetidae"},
    "zebras": {"Equus quagga", "Equus zebra", "Equus grevyi"},
}


def read_rows():
    text = files("linnaea.taxonomy").joinpath("tables", "everyday_names.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@pytest.mark.parametrize(("name", "taxon"), EXPECTED.items())
def test_what_people_call_a_taxon_means_it(inat, name, taxon):
    assert [found.name for found in inat.resolve(name).taxa] == [taxon]


@pytest.mark.parametrize(("name", "taxa"), GROUPS.items())
def test_a_group_that_is_not_one_taxon_means_all_of_its_taxa(inat, name, taxa):
    resolution = inat.resolve(name)
    assert (resolution.matched_by, {taxon.name for taxon in resolution.taxa}) == ("everyday", taxa)
    leaves = inat.leaves_within([name])
    assert len(leaves) == len(inat.leaves_within(sorted(taxa)))
    with pytest.raises(ValueError, match=f"'{name}' is a group of {len(taxa)} taxa; write one of"):
        inat.resolve_one(name)


def test_more_than_a_thousand_names_mean_the_taxa_of_their_row(inat):
    """A scientific name, or another language's name, may come first; then its taxa are those of that name."""
    wrong, n_checked = [], 0
    for row in read_rows():
        taxa = {name.split(">")[-1].split(":")[-1] for name in row["taxa"].split("|")}
        for language in everyday_names.LANGUAGES:
            for name in filter(None, row[language].split(";")):
                found = inat.resolve(name, suggest=False)
                means_another = len(everyday_names.load_groups()[name_key(name)]) > 1 or language != "en"
                n_checked += 1
                if taxa <= {taxon.name for taxon in found.taxa} or found.matched_by == "scientific":
                    continue
                if not (means_another and found.taxa):
                    wrong.append((name, [taxon.name for taxon in found.taxa]))
    assert not wrong
    assert n_checked > 2000


def test_every_taxon_of_the_tables_is_in_the_vocabulary(inat):
    missing = [name for row in read_rows() for name in row["taxa"].split("|") if not inat.resolve(name).taxa]
    former = everyday_names.load_former_names()
    missing += [current for current in former.values() if inat.resolve(current).matched_by != "scientific"]
    assert not missing
    assert len(former) > 100


def test_a_name_of_two_languages_is_a_question_and_english_comes_first(inat):
    assert inat.resolve("papa").matched_by == "common"  # a potato in Spanish, a shark in Swahili
    assert [taxon.name for taxon in inat.resolve("robin").taxa] == ["Erithacus rubecula"]


def test_of_homonyms_the_one_with_the_everyday_name_is_meant(inat):
    assert [taxon.kingdom for taxon in inat.resolve("dahlia").taxa] == ["Plantae"]
    assert len(inat.resolve("Oenanthe").taxa) == 2


def test_a_misspelt_everyday_name_suggests_its_taxon(inat):
    assert inat.resolve("elefant").taxa  # German
    assert inat.resolve("elephannt").suggestions[0].name == "Proboscidea"
    assert not inat.resolve("zzqx").suggestions
