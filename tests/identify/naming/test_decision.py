import numpy as np
import pytest

from linnaea.identify.naming.decision import DecisionRules, LabelNamer, TaxonNamer, find_deepest_rank, raise_floor
from linnaea.identify.naming.label_set import Label, LabelSet
from linnaea.records import RANKS
from linnaea.search.scorer import Scorer


class PerfectTable:
    """Cosines that a test sets by species name; all others are low."""

    def __init__(self, tree, **cosines):
        self.row = np.full(tree.n_leaves, -1.0, np.float32)
        for name, cosine in cosines.items():
            for leaf, node in enumerate(tree.leaf_node_n):
                if tree.name(int(node)) == name.replace("_", " "):
                    self.row[leaf] = cosine

    def similarities(self, image_vectors_bd, leaves=None):
        row = self.row if leaves is None else self.row[leaves]
        return np.tile(row, (len(image_vectors_bd), 1))


ONE = np.ones((1, 1), np.float32)


def rows(vocabulary, decision, refusal=-1.0, **cosines):
    scorer = Scorer(
        vocabulary.tree, PerfectTable(vocabulary.tree, **cosines), 20.0, np.full((1, 1), refusal, np.float32)
    )
    namer = TaxonNamer(vocabulary, scorer, lambda scores: scores.probability_br, decision)
    return namer.name(ONE, ["photo.jpg"])[0]


def test_a_clear_species_is_named_with_its_lineage_and_common_name(vocabulary):
    (row,) = rows(vocabulary, DecisionRules(), Felis_catus=0.9)
    assert (row.status, row.rank, row.name, row.common_name) == ("identified", "species", "Felis catus", "cat")
    assert row.lineage[4:] == ("Felidae", "Felis", "Felis catus")
    assert row.confidence > 0.99
    assert row.similarity == pytest.approx(0.9)
    assert [best.rank for best in row.path_confidence] == list(RANKS)


def test_doubt_between_species_gives_their_genus_and_between_genera_their_family(vocabulary):
    (genus,) = rows(vocabulary, DecisionRules(floor=0.7), Felis_catus=0.5, Felis_silvestris=0.5)
    assert (genus.rank, genus.name, genus.lineage[-1]) == ("genus", "Felis", "")
    (family,) = rows(vocabulary, DecisionRules(floor=0.7), Felis_catus=0.5, Panthera_leo=0.5)
    assert (family.rank, family.name) == ("family", "Felidae")


def test_a_photograph_of_nothing_is_refused_with_the_chance_of_that(vocabulary):
    (row,) = rows(vocabulary, DecisionRules(), refusal=0.9, Felis_catus=0.5)
    assert row.status == "unidentified"
    assert row.reason == "no organism likely (p=1.00)"
    assert row.name == ""
    assert row.confidence is None


def test_what_clears_no_floor_is_refused_with_the_best_guess(vocabulary):
    (row,) = rows(vocabulary, DecisionRules(floor=0.9), Felis_catus=0.5, Rosa_canina=0.5)
    assert (row.outcome, row.reason) == ("unsure", "probably a chordate; too unsure for a name")
    assert (row.guess_rank, row.guess_name) == ("phylum", "Chordata")
    assert row.guess_confidence == pytest.approx(0.5, abs=1e-3)


def test_a_rank_that_is_asked_for_is_always_given_unless_a_floor_is_set(vocabulary):
    doubt = {"Felis_catus": 0.5, "Rosa_canina": 0.5}
    (row,) = rows(vocabulary, DecisionRules(rank="family", floor=None), **doubt)
    assert (row.rank, row.name) == ("family", "Felidae")
    assert row.confidence == pytest.approx(0.5, abs=1e-3)
    (refused,) = rows(vocabulary, DecisionRules(rank="family", floor=0.8), **doubt)
    assert refused.reason == "probably Felidae (cat family); too unsure for a family"
    assert (refused.guess_name, refused.path_confidence[4].name) == ("Felidae", "Felidae")


def test_what_an_even_softmax_gives_to_a_large_group_is_no_evidence(vocabulary):
    """Seven of ten species are animals; without a calibration, a floor of 0.5 means halfway from 0.7 to 1 for them."""
    bare = DecisionRules(above_share=True)
    (row,) = rows(vocabulary, bare)
    assert row.reason == "probably a chordate; too unsure for a name"
    assert row.path_confidence[0].confidence == pytest.approx(0.64, abs=0.005)
    (loose,) = rows(vocabulary, DecisionRules())
    assert (loose.status, loose.name) == ("identified", "Chordata")
    (sure,) = rows(vocabulary, bare, Felis_catus=0.9)
    assert (sure.rank, sure.name) == ("species", "Felis catus")


def test_a_floor_is_raised_by_the_share_but_not_for_what_holds_all():
    np.testing.assert_allclose(raise_floor(0.5, np.array([[0.0, 0.6, 1.0]])), [[0.5, 0.8, 0.5]])


def test_shares_are_those_of_an_image_that_is_like_every_name(vocabulary):
    tree = vocabulary.tree
    table, leaves = PerfectTable(tree), np.array([0, 2, 3, 5, 8], np.int32)
    prior_n = np.log(np.arange(1, tree.n_leaves + 1)).astype(np.float32)
    for given, prior, refusals in ((None, None, 3), (leaves, None, 0), (leaves, prior_n, 2)):
        refusal_fd = np.full((refusals, 1), -1.0, np.float32)
        scorer = Scorer(tree, table, 20.0, refusal_fd, given, prior)
        scores = scorer.score(ONE)
        np.testing.assert_allclose(scorer.uniform_mass(scores.node_br), scores.probability_br, rtol=1e-5)
    assert (scorer.uniform_mass(np.full((1, 7), -1)) == 0).all()


def test_alternatives_are_of_the_same_rank_and_share_the_rest(vocabulary):
    found = rows(vocabulary, DecisionRules(top=3), Felis_catus=0.5, Felis_silvestris=0.4, Canis_lupus=0.3)
    assert [row.name for row in found] == ["Felis catus", "Felis silvestris", "Canis lupus"]
    assert [row.position for row in found] == [1, 2, 3]
    assert {row.rank for row in found} == {"species"}
    assert sum(row.confidence for row in found) <= 1.001
    assert found[0].confidence > found[1].confidence > found[2].confidence


def test_calibration_moves_the_alternatives_with_the_best(vocabulary):
    scorer = Scorer(vocabulary.tree, PerfectTable(vocabulary.tree, Felis_catus=0.5, Canis_lupus=0.45), 20.0)
    namer = TaxonNamer(vocabulary, scorer, lambda s: np.full((1, 7), 0.9), DecisionRules(top=2))
    best, other = namer.name(ONE, ["x"])[0]
    assert best.confidence == 0.9
    assert 0 < other.confidence <= 0.1001


def test_more_alternatives_than_taxa_give_all_taxa(vocabulary):
    assert len(rows(vocabulary, DecisionRules(rank="kingdom", floor=None, top=50), Felis_catus=0.5)) == 3


def test_auto_never_names_a_taxon_outside_the_best_of_a_rank_above(vocabulary):
    tree = vocabulary.tree
    node = {rank: int(tree.nodes_at(rank)[0]) for rank in RANKS}
    rose = vocabulary.resolve_one("Rosa canina").node
    cat = vocabulary.resolve_one("Felis catus").node
    node_r = np.array([tree.ancestor_at(cat, rank) for rank in RANKS[:-1]] + [rose])
    assert find_deepest_rank(tree, node_r, np.full(7, 0.9), 0.5) == 5
    assert find_deepest_rank(tree, node_r, np.full(7, 0.4), 0.5) == -1
    assert node["kingdom"] >= 0


def labels(least=-1.0):
    return LabelSet(
        labels=(Label(name="cat"), Label(name="rose", rank="genus", lineage=("Plantae", "", "", "", "", "Rosa", ""))),
        vectors_ld=np.eye(2, dtype=np.float32),
        logit_scale=10.0,
        centre_d=np.zeros(2, np.float32),
        least_similarity=least,
    )


def test_labels_are_a_softmax_over_themselves():
    image = np.array([[0.6, 0.8]], np.float32)
    (best, other) = LabelNamer(labels(), DecisionRules(floor=None, top=2)).name(image, ["x"])[0]
    assert (best.name, best.rank, best.lineage[5]) == ("rose", "genus", "Rosa")
    assert best.confidence == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-4)
    assert best.confidence + other.confidence == pytest.approx(1, abs=1e-3)
    assert best.similarity == pytest.approx(0.8)


def test_labels_refuse_below_their_floor_and_what_is_unlike_all():
    image = np.array([[0.6, 0.8]], np.float32)
    (row,) = LabelNamer(labels(), DecisionRules(floor=0.99)).name(image, ["x"])[0]
    assert (row.outcome, row.reason) == ("unsure", "probably rose; too unsure for a name")
    assert (row.guess_rank, row.guess_name, row.guess_confidence) == ("genus", "rose", 0.8808)
    (row,) = LabelNamer(labels(least=0.9), DecisionRules(floor=None)).name(image, ["x"])[0]
    assert row.outcome == "outside_list"
    assert row.reason == "unlike every label: nearest rose (similarity 0.80, least 0.90)"


def test_photographs_without_a_name_have_as_many_candidates_as_asked_for(vocabulary):
    found = rows(vocabulary, DecisionRules(floor=0.9, top=3), Felis_catus=0.5, Rosa_canina=0.5)
    assert [row.guess_name for row in found] == ["Chordata", "Tracheophyta", "Basidiomycota"]
    assert [row.position for row in found] == [1, 2, 3]
    assert {(row.status, row.name, row.guess_rank) for row in found} == {("unidentified", "", "phylum")}
    image = np.array([[0.6, 0.8]], np.float32)
    among_labels = LabelNamer(labels(), DecisionRules(floor=0.99, top=2)).name(image, ["x"])[0]
    assert [row.guess_name for row in among_labels] == ["rose", "cat"]
