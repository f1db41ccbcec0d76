"""One answer from all photographs of an event."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaea.identify.naming.event_pooling import pool_event, pool_names
from linnaea.records import RANKS, Box, Prediction, RankedName

CAT = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Felis", "Felis catus")
WILDCAT = (*CAT[:6], "Felis silvestris")
LION = (*CAT[:5], "Panthera", "Panthera leo")
DEER = ("Animalia", "Chordata", "Mammalia", "Artiodactyla", "Cervidae", "Cervus", "Cervus elaphus")
BOX = Box(left=0, top=0, right=10, bottom=10, confidence=0.9, label="animal")
FLOOR = 0.8


def see(lineage, rank="species", confidence=0.95, *, below=0.3, box=None):
    """An image named at a rank; its best names of deeper ranks have the probability `below`."""
    r = RANKS.index(rank)
    path = tuple(
        RankedName(rank=one, name=name, confidence=confidence if k <= r else below, node=k)
        for k, (one, name) in enumerate(zip(RANKS, lineage, strict=True))
    )
    given_lineage = (*lineage[: r + 1], *("",) * (6 - r))
    return Prediction(
        file="x",
        status="identified",
        rank=rank,
        name=lineage[r],
        common_name=f"common {lineage[r]}",
        confidence=confidence,
        lineage=given_lineage,
        box=box,
        path_confidence=path,
    )


def doubt(lineage, confidence=0.5, *, box=None, outcome="unsure"):
    path = tuple(
        RankedName(rank=one, name=name, confidence=confidence) for one, name in zip(RANKS, lineage, strict=True)
    )
    guess = {"guess_rank": "species", "guess_name": lineage[-1], "guess_confidence": confidence}
    return Prediction(file="x", status="unidentified", outcome=outcome, box=box, path_confidence=path, **guess)


def empty(outcome="no_organism", box=None):
    status = "unreadable" if outcome == "unreadable" else "unidentified"
    return Prediction(file="x", status=status, outcome=outcome, reason=f"it is {outcome}", box=box)


def pool(*photographs, floor=FLOOR):
    """The observations of photographs, each an image or a list of boxes, as (outcome, rank, name, count)."""
    images = [
        (number, image)
        for number, photograph in enumerate(photographs)
        for image in (photograph if isinstance(photograph, list) else [photograph])
    ]
    observations, places = pool_event(images, floor)
    assert len(places) == len(images)
    assert all(place < len(observations) for place in places)
    return [(o.prediction.outcome, o.prediction.rank, o.prediction.name, o.count) for o in observations]


def test_the_probability_is_a_mean_in_which_sure_images_weigh_more():
    assert pool_names([("cat", 0.9)]) == {"cat": pytest.approx(0.9)}
    assert pool_names([("cat", 0.9), ("cat", 0.9)]) == {"cat": pytest.approx(0.9)}
    # By hand, power 1: (0.9 * 0.9 + 0.1 * 0.1) / (0.9 + 0.1).
    assert pool_names([("cat", 0.9), ("cat", 0.1)], 1.0) == {"cat": pytest.approx(0.82)}
    # An image that is as sure of another taxon counts in full.
    assert pool_names([("cat", 0.9), ("dog", 0.9)]) == {"cat": pytest.approx(0.45), "dog": pytest.approx(0.45)}
    # An image that is unsure which taxon it shows says little: its weight is 0.3 ** 5 beside 0.9 ** 5.
    assert pool_names([("cat", 0.9), ("dog", 0.3)])["cat"] == pytest.approx(0.9 * 243 / 244)
    assert pool_names([("cat", 0.0)]) == {"cat": 0.0}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1)), min_size=1, max_size=6))
def test_pooling_adds_no_certainty_and_the_order_of_images_does_not_matter(answers):
    pooled = pool_names(answers)
    assert all(0 <= chance <= max(best for _name, best in answers) + 1e-12 for chance in pooled.values())
    assert sum(pooled.values()) <= 1 + 1e-9
    assert pool_names(answers[::-1]) == pytest.approx(pooled)


def test_images_that_agree_give_one_name_with_its_lineage_and_common_name():
    (one,), _places = pool_event([(0, see(CAT)), (1, see(CAT, confidence=0.9))], FLOOR)
    answer = one.prediction
    assert (answer.rank, answer.name, answer.lineage, answer.common_name) == (
        "species",
        "Felis catus",
        CAT,
        "common Felis catus",
    )
    assert 0.9 < answer.confidence < 0.95
    assert (one.n_photographs, one.count, answer.file) == (2, None, "")


def test_a_name_above_those_of_the_images_gets_its_own_common_name():
    images = [(0, see(CAT)), (1, see(LION))]
    (one,), _places = pool_event(images, FLOOR)
    assert (one.prediction.name, one.prediction.common_name) == ("Felidae", "")
    (one,), _places = pool_event(images, FLOOR, lambda node: f"common name of {node}")
    assert one.prediction.common_name == "common name of 4"


def test_the_name_goes_as_deep_as_the_images_agree():
    assert pool(see(CAT), see(WILDCAT)) == [("named", "genus", "Felis", None)]
    assert pool(see(CAT), see(LION)) == [("named", "family", "Felidae", None)]
    assert pool(see(CAT, "family"), see(CAT), see(CAT)) == [("named", "species", "Felis catus", None)]


def test_a_rank_that_no_image_was_named_at_is_not_given():
    assert pool(see(CAT, "genus", below=0.79), see(CAT, "genus", below=0.79), floor=0.5) == [
        ("named", "genus", "Felis", None)
    ]


def test_blank_photographs_do_not_blank_an_event():
    assert pool(empty(), see(CAT), empty(), empty("unreadable")) == [("named", "species", "Felis catus", None)]
    observations, places = pool_event([(0, empty()), (1, see(CAT))], FLOOR)
    assert places == [0, 0]
    assert observations[0].n_photographs == 1


@pytest.mark.parametrize(
    ("photographs", "outcome"),
    [
        (["no_organism", "no_organism"], "no_organism"),
        (["unreadable", "no_organism"], "no_organism"),
        (["unreadable", "no_detection"], "no_detection"),
        (["unreadable", "not_in_boxes"], "not_in_boxes"),
        (["unreadable"], "unreadable"),
    ],
)
def test_an_event_in_which_nothing_was_seen_has_one_outcome(photographs, outcome):
    assert pool(*map(empty, photographs)) == [(outcome, "", "", None)]


def test_an_organism_outside_the_list_or_unsure_never_becomes_blank():
    assert pool(empty(), doubt(CAT)) == [("unsure", "", "", None)]
    assert pool(empty(), doubt(CAT, outcome="outside_list")) == [("outside_list", "", "", None)]


def outsider(confidence=0.98, box=None):
    """A monkey where cats were asked for; its best names end at the order."""
    path = [("kingdom", "Animalia"), ("phylum", "Chordata"), ("class", "Mammalia"), ("order", "Primates")]
    ranked = tuple(RankedName(rank=rank, name=name, confidence=confidence) for rank, name in path)
    return Prediction(file="x", status="unidentified", outcome="outside_list", path_confidence=ranked, box=box)


def test_organisms_outside_the_list_count_against_a_name():
    assert pool(outsider(), see(CAT), outsider()) == [("outside_list", "", "", None)]
    assert pool(see(CAT), see(CAT), outsider(), see(CAT)) == [("named", "class", "Mammalia", None)]
    assert pool(see(CAT), see(CAT), outsider(0.4)) == [("named", "species", "Felis catus", None)]


def test_an_organism_outside_the_list_beside_a_named_one_is_an_observation_of_its_own():
    photograph = [outsider(box=BOX), see(CAT, box=BOX), outsider(box=BOX)]
    assert pool(photograph) == [("named", "species", "Felis catus", 1), ("outside_list", "", "", 2)]


def test_photographs_that_disagree_keep_what_they_agree_on_for_the_type_of_the_observation():
    (one,), _places = pool_event([(0, see(CAT, "species", 0.85)), (1, doubt(DEER, 0.83))], 0.999)
    kingdom = one.prediction.path_confidence[0]
    assert (one.prediction.outcome, kingdom.name) == ("unsure", "Animalia")
    assert kingdom.confidence == pytest.approx(0.84, abs=0.002)


def test_an_unsure_event_keeps_the_surest_guess():
    (one,), _places = pool_event([(0, doubt(CAT, 0.4)), (1, doubt(LION, 0.6))], FLOOR)
    assert (one.prediction.guess_name, one.prediction.guess_confidence) == ("Panthera leo", 0.6)


def test_photographs_that_disagree_even_on_the_kingdom_give_no_name():
    rose = ("Plantae", "Tracheophyta", "Magnoliopsida", "Rosales", "Rosaceae", "Rosa", "Rosa canina")
    (one,), _places = pool_event([(0, see(CAT)), (1, see(rose))], FLOOR)
    assert one.prediction.outcome == "unsure"
    assert "disagree" in one.prediction.reason


def test_the_count_is_the_largest_number_of_boxes_of_the_name_in_one_photograph():
    cats = [see(CAT, box=BOX) for _ in range(3)]
    assert pool(cats[:1], cats, cats[:2]) == [("named", "species", "Felis catus", 3)]


def test_a_box_that_is_too_unsure_for_a_name_counts_among_the_animals_beside_it():
    assert pool([see(CAT, box=BOX), doubt(CAT, box=BOX)]) == [("named", "species", "Felis catus", 2)]


def test_a_box_without_an_organism_does_not_count():
    assert pool([see(CAT, box=BOX), empty(box=BOX)]) == [("named", "species", "Felis catus", 1)]


def test_two_species_in_one_photograph_are_two_observations():
    photograph = [see(CAT, box=BOX), see(DEER, box=BOX), see(DEER, box=BOX)]
    assert pool(photograph) == [("named", "species", "Cervus elaphus", 2), ("named", "species", "Felis catus", 1)]
    _observations, places = pool_event([(0, image) for image in photograph], FLOOR)
    assert places == [1, 0, 0]


def test_one_contradicting_photograph_is_an_error_and_two_are_a_second_species():
    assert pool(see(CAT), see(CAT), see(CAT), see(DEER, confidence=0.82)) == [("named", "species", "Felis catus", None)]
    assert pool(see(CAT), see(CAT), see(DEER)) == [("named", "class", "Mammalia", None)]
    assert [name for _o, _r, name, _c in pool(see(CAT), see(CAT), see(CAT), see(DEER), see(DEER))] == [
        "Felis catus",
        "Cervus elaphus",
    ]


def test_two_species_of_one_family_in_single_photographs_are_taken_for_one_animal():
    assert pool(see(CAT), see(CAT), see(LION), see(LION)) == [("named", "family", "Felidae", None)]


def test_people_and_vehicles_are_observations_of_their_own():
    people = [empty("human", BOX), empty("human", BOX)]
    assert pool(people, see(CAT, box=BOX), [empty("vehicle", BOX)]) == [
        ("named", "species", "Felis catus", 1),
        ("human", "", "", 2),
        ("vehicle", "", "", 1),
    ]


def test_labels_that_are_not_taxa_are_pooled_by_name():
    def label(name, confidence):
        return Prediction(file="x", status="identified", name=name, confidence=confidence)

    assert pool(label("spotted", 0.9), label("spotted", 0.95)) == [("named", "", "spotted", None)]
    assert pool(label("spotted", 0.9), label("striped", 0.9)) == [("unsure", "", "", None)]
    assert pool(label("spotted", 0.9), label("striped", 0.6), floor=0.0)[0][2] == "spotted"


def test_without_a_floor_every_event_with_a_name_has_one():
    assert pool(see(CAT, confidence=0.2), see(LION, confidence=0.1), floor=0.0) == [
        ("named", "species", "Felis catus", None)
    ]
