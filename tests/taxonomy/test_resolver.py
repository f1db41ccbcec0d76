"""Names to taxa on a small vocabulary made by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaea.records import RANKS
from linnaea.taxonomy.name_suggestions import edit_distances, tolerance_for
from linnaea.taxonomy.sources import TaxonomySource
from linnaea.taxonomy.strings import Strings
from linnaea.taxonomy.vocabulary_factory import build_vocabulary

BIRDS = "Animalia Chordata Aves Passeriformes"
MAMMALS = "Animalia Chordata Mammalia Carnivora"
LINEAGES = [
    f"{MAMMALS} Felidae Felis catus",
    f"{MAMMALS} Felidae Felis silvestris",
    f"{MAMMALS} Felidae Panthera leo",
    f"{MAMMALS} Canidae Canis lupus",
    f"{BIRDS} Muscicapidae Oenanthe oenanthe",
    f"{BIRDS} Parulidae Setophaga magnolia",
    f"{BIRDS} Fringillidae Hesperiphona vespertina",
    f"{BIRDS} Fringillidae Coccothraustes coccothraustes",
    f"{BIRDS} Vespertidae Vespertia vespertina",
    "Animalia Chordata Actinopterygii Perciformes Labridae Scarus frenatus",
    "Plantae Tracheophyta Magnoliopsida Apiales Apiaceae Oenanthe crocata",
    "Plantae Tracheophyta Magnoliopsida Brassicales Brassicaceae Mutarda arvensis",
    "Plantae Tracheophyta Magnoliopsida Brassicales Brassicaceae Sinapis alba",
    "Plantae Tracheophyta Magnoliopsida Fagales Fagaceae Quercus rosacea",
    "Plantae Tracheophyta Magnoliopsida Asterales Asteraceae Bidens alba",
    "Plantae Tracheophyta Magnoliopsida Lamiales Lamiaceae Bidens alba",
]
COMMON = [("Domestic Cat", 0), ("house cat", 0), ("Lion", 2), ("Wildcat", 1), ("white one", 12), ("white one", 14)]


@pytest.fixture(scope="module")
def vocabulary():
    rows = [line.split() for line in LINEAGES]
    columns = {rank: [row[i] for row in rows] for i, rank in enumerate(RANKS)}
    columns["species"] = [f"{row[5]} {row[6]}" for row in rows]
    source = TaxonomySource(
        kind="table",
        rows=columns,
        synonyms=[("Leo leo", 2), ("Felis leo", 2)],
        higher_synonyms=[("Sylvicolidae", "family", "Parulidae")],
        common=COMMON,
        higher_common=[("cats", "family", "Felidae")],
    )
    return build_vocabulary(source, "by hand")


def found(resolution):
    return [taxon.name for taxon in resolution.taxa]


def near(resolution):
    return [taxon.name for taxon in resolution.suggestions]


@pytest.mark.parametrize(
    ("text", "name", "matched_by"),
    [
        ("Felis catus", "Felis catus", "scientific"),
        ("  felis CATUS ", "Felis catus", "scientific"),
        ("Felis catus Linnaeus, 1758", "Felis catus", "scientific"),
        ("Felidae Fischer von Waldheim, 1817", "Felidae", "scientific"),
        ("Quercus × rosacea", "Quercus rosacea", "scientific"),
        ("Quercus x rosacea", "Quercus rosacea", "scientific"),
        ("Felis sp.", "Felis", "scientific"),
        ("Leo leo", "Panthera leo", "synonym"),
        ("Felis leo (Linnaeus, 1758)", "Panthera leo", "synonym"),
        ("Sylvicolidae", "Parulidae", "synonym"),
        ("lion", "Panthera leo", "common"),
        ("House-Cat", "Felis catus", "common"),
        ("CATS", "Felidae", "common"),
    ],
)
def test_a_name_leads_to_its_taxon(vocabulary, text, name, matched_by):
    resolution = vocabulary.resolve(text)
    assert (found(resolution), resolution.matched_by, resolution.suggestions) == ([name], matched_by, [])
    assert vocabulary.resolve_one(text).name == name


def test_homonyms_are_all_returned_and_can_be_told_apart(vocabulary):
    assert [taxon.kingdom for taxon in vocabulary.resolve("Oenanthe").taxa] == ["Animalia", "Plantae"]
    assert vocabulary.resolve_one("Plantae>Oenanthe").lineage[4] == "Apiaceae"
    assert vocabulary.resolve_one("genus:Animalia>Oenanthe").lineage[4] == "Muscicapidae"
    assert vocabulary.resolve_one("Oenanthe", within="Aves").kingdom == "Animalia"
    with pytest.raises(ValueError, match="'Animalia>Oenanthe', 'Plantae>Oenanthe'"):
        vocabulary.resolve_one("Oenanthe")


def test_one_binomial_in_two_families_is_two_taxa_that_the_message_tells_apart(vocabulary):
    with pytest.raises(ValueError, match="names 2 taxa") as error:
        vocabulary.resolve_one("Bidens alba")
    choices = ["Asterales>Bidens alba", "Lamiales>Bidens alba"]
    assert all(repr(choice) in str(error.value) for choice in choices)
    assert "\n" not in str(error.value)
    assert [vocabulary.resolve_one(choice).lineage[3] for choice in choices] == ["Asterales", "Lamiales"]


def test_a_common_name_of_two_species_returns_both(vocabulary):
    assert found(vocabulary.resolve("White One")) == ["Bidens alba", "Sinapis alba"]


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("Setophaga magnola", "Setophaga magnolia"),
        ("Stephaga magnolia", "Setophaga magnolia"),
        ("Felis cattus", "Felis catus"),
        ("Fellidae", "Felidae"),
        ("Canis lupus familiaris", "Canis lupus"),
        ("Sinapis arvensis", "Mutarda arvensis"),
        ("Coccothraustes vespertinus", "Hesperiphona vespertina"),
        ("Scaridae", "Labridae"),
        ("Felis cf. catus", "Felis catus"),
        ("hose cat", "Felis catus"),
        ("Felis silvestris × Felis catus", "Felis catus"),
        ("family:Felis catus", "Felidae"),
    ],
)
def test_near_misses_are_suggested_and_never_taken(vocabulary, text, nearest):
    resolution = vocabulary.resolve(text)
    assert resolution.taxa == []
    assert resolution.matched_by == ""
    assert resolution.reason
    assert near(resolution)[0] == nearest
    with pytest.raises(ValueError, match=r"nearest: .*") as error:
        vocabulary.resolve_one(text)
    assert nearest in str(error.value)
    assert repr(text) in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "   ", "xyzzy plugh", "Tobacco mosaic virus", "12345", "×", "日本", "a:b>c", "x" * 500]
)
def test_what_is_no_name_gives_a_reason_and_nothing_else(vocabulary, text):
    resolution = vocabulary.resolve(text)
    assert resolution.taxa == []
    assert resolution.suggestions == []
    assert resolution.reason


def test_a_longer_word_may_have_more_edits_up_to_three():
    lengths = {3: 0, 4: 1, 7: 1, 8: 2, 11: 2, 12: 3, 30: 3}
    assert {n: tolerance_for("x" * n) for n in lengths} == lengths


def test_kin_in_the_family_is_nearer_than_kin_in_the_order(vocabulary):
    index = vocabulary.name_index
    scores = index.near_misses.find("coccothraustes vespertina", index.scientific.nodes("Coccothraustes"))
    by_name = {index.tree.name(node): score for node, score in scores.items()}
    assert (by_name["Hesperiphona vespertina"], by_name["Vespertia vespertina"]) == (1, 3)
    # another ending of the epithet costs half an edit
    scores = index.near_misses.find("coccothraustes vespertinus", index.scientific.nodes("Coccothraustes"))
    assert scores[vocabulary.resolve_one("Hesperiphona vespertina").node] == pytest.approx(1.5)


def test_at_most_five_near_misses_are_suggested():
    names = [f"Felis cat{letter}s" for letter in "abcdefgh"]
    source = TaxonomySource(kind="table", rows={"genus": ["Felis"] * 8, "species": names})
    assert len(build_vocabulary(source, "cats").resolve("Felis catzs").suggestions) == 5


def test_rank_and_clade_narrow_a_name(vocabulary):
    assert found(vocabulary.resolve("Felidae", rank="family")) == ["Felidae"]
    elsewhere = vocabulary.resolve("Felis catus", within=["Aves", "Plantae"])
    assert elsewhere.taxa == []
    assert "within the clade" in elsewhere.reason
    assert found(vocabulary.resolve("Felis catus", within=["Plantae", "Mammalia"])) == ["Felis catus"]
    with pytest.raises(ValueError, match=r"'tribe'.*family"):
        vocabulary.resolve("Felidae", rank="tribe")
    with pytest.raises(ValueError, match="unknown taxon 'Avez'"):
        vocabulary.resolve("Felidae", within="Avez")


def test_the_models_common_names_come_first_and_leave_the_vocabulary_as_it_was(vocabulary):
    named = vocabulary.with_common_names(
        {"kitty": "species:Felis catus", "dragon": "species:Draco draco", "x": "Bidens alba"}
    )
    cat = vocabulary.resolve_one("Felis catus").node
    assert (named.common_name(cat), vocabulary.common_name(cat)) == ("kitty", "Domestic Cat")
    assert found(named.resolve("kitty")) == found(named.resolve("domestic cat")) == ["Felis catus"]
    assert named.resolve("dragon").taxa == []
    assert named.resolve("x").taxa == []
    assert vocabulary.common_name(0) == ""
    assert named.hash == vocabulary.hash
    assert named.common_names_hash != vocabulary.common_names_hash


def test_a_common_name_of_a_higher_taxon_is_found_and_not_shown(vocabulary):
    named = vocabulary.with_common_names({"small cats": "genus:Felis"})
    assert found(named.resolve("small cats")) == ["Felis"]
    assert named.common_name(named.resolve_one("Felis").node) == ""


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Felis catus/silvestris", ["Felis catus", "Felis silvestris"]),
        ("Felis catus / silvestris", ["Felis catus", "Felis silvestris"]),
        ("Felis catus/F. silvestris", ["Felis catus", "Felis silvestris"]),
        ("Felis catus/Panthera leo", ["Felis catus", "Panthera leo"]),
        ("Felis catus/silvestris/Panthera leo", ["Felis catus", "Felis silvestris", "Panthera leo"]),
        ("Felis/Panthera", ["Felis", "Panthera"]),
        ("Domestic/House Cat", ["Felis catus"]),
        ("Felis sp./Panthera sp.", ["Felis", "Panthera"]),
    ],
)
def test_a_name_with_slashes_means_all_its_alternatives(vocabulary, text, names):
    resolution = vocabulary.resolve(text)
    assert (found(resolution), resolution.matched_by) == (names, "alternatives")


def test_a_name_with_slashes_is_refused_if_one_alternative_is_unknown(vocabulary):
    resolution = vocabulary.resolve("Felis catus/margarita")
    assert resolution.taxa == []
    assert "lacks 'Felis margarita', one of its alternatives" in resolution.reason
    with pytest.raises(ValueError, match="names 2 taxa"):
        vocabulary.resolve_one("Felis catus/silvestris")
    # the limits of the name hold for each alternative
    assert found(vocabulary.resolve("Animalia>Oenanthe/Felis")) == ["Oenanthe", "Felis"]
    assert vocabulary.resolve("Plantae>Oenanthe/Felis").taxa == []


def test_leaves_of_clades_and_of_lists(vocabulary, tmp_path):
    tree = vocabulary.tree
    wanted = sorted(
        int(tree.start_k[vocabulary.resolve_one(name).node]) for name in ("Felis catus", "Felis silvestris")
    )
    assert vocabulary.leaves_within("Felis").tolist() == wanted
    (tmp_path / "list.txt").write_text("Felis\n\n# a remark\nFelis catus # again\nDraco draco\nSetophaga magnola\n")
    leaves, failed = vocabulary.leaves_from_list(tmp_path / "list.txt")
    assert leaves.tolist() == wanted
    assert [resolution.query for resolution in failed] == ["Draco draco", "Setophaga magnola"]
    assert failed[0].reason
    assert near(failed[1])[0] == "Setophaga magnolia"
    (tmp_path / "list.csv").write_text('id,scientificName\n1,"Felis catus Linnaeus, 1758"\n2,Felis silvestris\n3,\n')
    assert vocabulary.leaves_from_list(tmp_path / "list.csv")[0].tolist() == wanted
    (tmp_path / "other.csv").write_text("id,label\n1,2\n")
    with pytest.raises(ValueError, match="scientificName"):
        vocabulary.leaves_from_list(tmp_path / "other.csv")
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        vocabulary.leaves_from_list(tmp_path / "none.txt")


def optimal_string_alignment(a, b):
    """The edit distance by the textbook, one cell at a time."""
    table = {(i, 0): i for i in range(len(a) + 1)} | {(0, j): j for j in range(len(b) + 1)}
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            change = table[i - 1, j - 1] + (a[i - 1] != b[j - 1])
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, change)
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                table[i, j] = min(table[i, j], table[i - 2, j - 2] + 1)
    return table[len(a), len(b)]


words = st.text("abc", min_size=1, max_size=7)


@settings(deadline=None)
@given(words, st.lists(words, min_size=1, max_size=10), st.integers(0, 4))
def test_edit_distances_are_those_of_the_textbook(word, others, tolerance):
    entries, distances = edit_distances(word, Strings.from_list(others), range(len(others)), tolerance)
    expected = {i: d for i, other in enumerate(others) if (d := optimal_string_alignment(word, other)) <= tolerance}
    assert dict(zip(entries.tolist(), distances.tolist(), strict=True)) == expected


def test_near_misses_may_be_left_out(vocabulary):
    found = vocabulary.resolve("Felis cattus", suggest=False)
    assert not found.taxa
    assert not found.suggestions
    assert found.reason


@pytest.mark.parametrize(
    ("query", "reason", "nearest"),
    [
        ("kingdm:Felis", "unknown rank 'kingdm'; did you mean kingdom?", ["Felis"]),
        ("gneus: Oenanthe", "unknown rank 'gneus'; did you mean genus?", ["Oenanthe", "Oenanthe"]),
        ("famly:Felidea", "unknown rank 'famly'; did you mean family?", ["Felidae"]),
        (
            "tribe:Felis",
            "unknown rank 'tribe'; choose one of kingdom, phylum, class, order, family, genus, species",
            ["Felis"],
        ),
    ],
)
def test_a_misspelt_rank_is_named_with_the_rank_and_the_taxa_that_may_be_meant(vocabulary, query, reason, nearest):
    resolution = vocabulary.resolve(query)
    assert (resolution.taxa, resolution.reason) == ([], reason)
    assert near(resolution)[: len(nearest)] == nearest
    with pytest.raises(ValueError, match=f"unknown taxon '{query}': unknown rank .*nearest: {nearest[0]}"):
        vocabulary.leaves_within(query)


def test_a_name_with_a_colon_that_is_no_qualifier_stays_a_name(vocabulary):
    assert "unknown rank" not in vocabulary.resolve("BOLD:AAA1234").reason
    assert "unknown rank" not in vocabulary.resolve("http://felis.org").reason
    assert found(vocabulary.resolve("Genus:Felis")) == ["Felis"]
