"""A restriction never changes the question: organisms outside a list are told apart from nothing and from doubt."""

import json
from pathlib import Path

import numpy as np
import pytest

from linnaea.embed.names.contrast_table import ContrastTable
from linnaea.identify import identify
from linnaea.identify.naming.restriction import RestrictionGate, compute_inside_traits, estimate_inside

SCALE = 10.0
NEGATIVE_FD = np.array([[0.0, 0.0, 1.0]], np.float32)


@pytest.fixture
def gate_of(vocabulary):
    """A gate for the cat family in three dimensions: Carnivora along the first, Rosales along the second."""
    tree = vocabulary.tree
    nodes = [vocabulary.resolve_one(name).node for name in ("Carnivora", "Rosales")]
    contrast = ContrastTable(
        node_c=np.array(nodes),
        vectors_cd=np.eye(2, 3, dtype=np.float32),
        is_general_c=np.ones(2, bool),
        is_outside_c=np.array([False, True]),
    )

    def make(negative_fd=NEGATIVE_FD, parameters=None):
        return RestrictionGate(tree, contrast, SCALE, 3, negative_fd, parameters)

    return make


def judge(gate, image, best_cosine):
    vectors_bd = np.array([image], np.float32)
    return gate.judge(vectors_bd, np.array([SCALE * best_cosine]), np.array([best_cosine]))


def test_an_image_nearer_to_the_rest_than_to_the_candidates_is_outside(gate_of):
    rose = judge(gate_of(), [0.0, 1.0, 0.0], 0.2)
    assert rose.find_outcome(0) == "outside_list"
    assert rose.inside_b[0] == pytest.approx(1 / (1 + np.exp(8.0)))
    assert judge(gate_of(), [1.0, 0.0, 0.0], 0.9).find_outcome(0) == ""
    assert judge(gate_of(), [0.0, 0.0, 1.0], 0.2).find_outcome(0) == "no_organism"


def test_a_model_without_negative_prompts_sees_an_organism_everywhere(gate_of):
    assert judge(gate_of(None), [0.0, 0.0, 1.0], 0.9).organism_b[0] > 0.99


def test_whether_there_is_an_organism_does_not_depend_on_the_candidates(gate_of):
    image = [0.5, 0.5, 0.6]
    chances = {float(judge(gate_of(), image, cosine).organism_b[0]) for cosine in (-1.0, 0.0, 0.99)}
    assert len(chances) == 1


def test_fitted_regressions_replace_the_bare_log_odds(gate_of):
    fitted = {"inside": {"weights": [0.0, 0.0, 0.0], "bias": 3.0}, "organism": {"weights": [0.0], "bias": -3.0}}
    verdicts = judge(gate_of(parameters=fitted), [0.0, 1.0, 0.0], 0.2)
    assert verdicts.inside_b[0] == pytest.approx(0.9526, abs=1e-4)
    assert verdicts.organism_b[0] == pytest.approx(0.0474, abs=1e-4)


def test_traits_are_limited_and_hold_the_size_of_the_list():
    traits_bt = compute_inside_traits(np.array([100.0]), np.array([-100.0]), 8)
    np.testing.assert_allclose(traits_bt, [[30.0, -30.0, np.log(8)]])
    np.testing.assert_allclose(estimate_inside({"weights": [0.1, 0.1, 1.0], "bias": -np.log(8)}, traits_bt), [0.5])


def test_guesses_outside_are_made_among_all_organisms(gate_of):
    gate = gate_of()
    verdicts = judge(gate, [0.0, 1.0, 0.0], 0.2)
    guesses = gate.list_guesses(verdicts, 0, 2)
    assert [[one.name for one in ranked] for ranked in guesses] == [
        ["Plantae", "Animalia"],
        ["Tracheophyta", "Chordata"],
        ["Magnoliopsida", "Mammalia"],
        ["Rosales", "Carnivora"],
    ]
    assert guesses[0][0].confidence > 0.99


@pytest.fixture
def name(model, vocabulary_path, tmp_path, paint):
    """The rows of a photograph of one of the small vocabulary's species, or of another text."""

    def rows(what, **options):
        photo = paint(tmp_path / "q" / f"{what}.png", what)
        return list(identify([photo], model=model, vocabulary=str(vocabulary_path), **options))

    return rows


@pytest.mark.parametrize("options", [{}, {"rank": "species"}, {"min_confidence": 0.3}])
def test_who_is_not_of_the_clade_is_outside_the_list_and_not_nothing(name, options):
    assert name("cat", within=("Felidae",), **options)[0].outcome == "named"
    (wolf,) = name("wolf", within=("Felidae",), **options)
    assert (wolf.status, wolf.outcome, wolf.name) == ("unidentified", "outside_list", "")
    assert {best.rank: best.name for best in wolf.path_confidence}["class"] == "Mammalia"
    assert wolf.reason.endswith("not one of those asked for")
    assert name("no organism", within=("Felidae",), **options)[0].outcome == "no_organism"
    # Without the restriction the same photograph has its name.
    assert name("wolf", **options)[0].name == "Canis lupus"


def test_a_list_of_names_and_labels_do_the_same(name, tmp_path):
    (tmp_path / "list.txt").write_text("Felis catus\nPanthera leo\n")
    for options in ({"among": tmp_path / "list.txt"}, {"labels": "Felis catus,Panthera leo"}):
        assert name("cat", **options)[0].name == "Felis catus"
        (rose,) = name("dog rose", **options)
        assert (rose.outcome, rose.guess_name != "") == ("outside_list", True)


def test_min_confidence_zero_gives_every_photograph_a_name(name):
    (wolf,) = name("wolf", within=("Felidae",), rank="species", min_confidence=0.0)
    assert wolf.outcome == "named"
    (rose,) = name("dog rose", labels="Felis catus,Panthera leo", min_confidence=0.0)
    assert rose.outcome == "named"


def test_labels_that_are_not_all_taxa_are_always_given(name, caplog):
    caplog.set_level("INFO", "linnaea")
    assert name("wolf", labels="Felis catus,blue chair")[0].outcome == "named"
    assert "'blue chair' is not a known taxon" in caplog.text


def test_an_unidentified_photograph_has_as_many_candidates_as_asked_for(name):
    rows = name("dog rose", within=("Felidae",), top=2)
    assert [(row.position, row.outcome, row.guess_rank) for row in rows] == [
        (1, "outside_list", rows[0].guess_rank),
        (2, "outside_list", rows[0].guess_rank),
    ]
    assert len({row.guess_name for row in rows}) == 2
    assert rows[0].guess_confidence >= rows[1].guess_confidence


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"within": ("Felidae",)}, {"within": ("Aves",)}, {"among": "carnivores.csv"}])
def test_monkeys_are_never_nothing_under_a_restriction_without_them(root, inat, options, monkeypatch):
    cases = root.parent / "shared" / "cases" / "naming"
    if not cases.is_dir():
        pytest.skip("the cases beside the checkout are not here")
    if "among" in options:
        options = {"among": Path(cases / "lists" / options["among"])}
    rows = list(identify([cases / "restrict"], **options))
    assert {row.outcome for row in rows} <= {"outside_list", "unsure"}
    assert all({best.rank: best.name for best in row.path_confidence}["class"] == "Mammalia" for row in rows)


def test_the_bundled_model_has_the_regressions(root):
    card = json.loads((root / "src/linnaea/model/bundled/calibration.json").read_text())
    fitted = card["restriction"]
    assert {name: len(fitted[name]["weights"]) for name in ("inside", "labels", "organism")} == {
        "inside": 3,
        "labels": 3,
        "organism": 1,
    }
    assert set(fitted["ranks"]) == {"kingdom", "phylum", "class", "order"}
