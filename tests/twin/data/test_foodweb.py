"""Food webs: what they refuse, levels by hand, rings by name, and the web that comes with the program."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from linnaea.twin.data.allometry import NETWORK
from linnaea.twin.data.foodweb import (
    Feeding,
    FoodWeb,
    build_web_from_masses,
    compute_trophic_levels,
    find_rings,
    lay_out_web,
    load_bundled_web,
    parse_links,
    read_web,
)
from linnaea.twin.data.species import load_bundled_species, parse_species

DATA = Path(__file__).resolve().parents[4] / "shared/data/ecology"
WORLDS = ("savanna", "island", "galapagos", "post", "tutorial")
SPECIES = parse_species(
    "name,diet,body_mass_kg,grade\n"
    "grass,grass,0.01,unverified\n"
    "carrion,dead,1,unverified\n"
    "hare,grazer,2,unverified\n"
    "fox,carnivore,6,unverified\n"
    "wolf,carnivore,35,unverified\n"
)
HEAD = "predator,prey,preference,loop,grade\n"


def web(text: str) -> FoodWeb:
    return FoodWeb(species=SPECIES, links=parse_links(HEAD + text))


GOOD = "hare,grass,,,unverified\nfox,hare,,,unverified\nwolf,hare,1,,unverified\nwolf,fox,3,,unverified\n"


def test_levels_are_one_above_the_mean_of_the_food():
    assert compute_trophic_levels(web(GOOD)) == pytest.approx(
        {"grass": 1, "carrion": 1, "hare": 2, "fox": 3, "wolf": 1 + (2 + 9) / 4}
    )
    flows = {("hare", "grass"): 10, ("fox", "hare"): 2, ("wolf", "hare"): 1, ("wolf", "fox"): 0}
    assert compute_trophic_levels(web(GOOD), flows)["wolf"] == pytest.approx(3)


def test_who_feeds_on_carcasses_stands_above_those_who_died():
    species = parse_species(
        "name,diet,body_mass_kg,grade\ngrass,grass,0.01,unverified\ncarcass,dead,1,unverified\n"
        "hare,grazer,2,unverified\nfox,carnivore,6,unverified\nvulture,scavenger,5,unverified\n"
    )
    links = "hare,grass,,,unverified\nfox,hare,,,unverified\nvulture,carcass,,,unverified\n"
    levels = compute_trophic_levels(FoodWeb(species=species, links=parse_links(HEAD + links)))
    # The dead are hares, at 2, and foxes, at 3.
    assert levels == pytest.approx({"grass": 1, "hare": 2, "fox": 3, "carcass": 2.5, "vulture": 3.5})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace("fox,hare,,,unverified\n", ""), ("'fox'", "nothing to eat", "add a link")),
        (GOOD + "wolf,hars,,,unverified\n", ("'hars'", "unknown", "did you mean hare")),
        (GOOD + "wolf,dragon,,,unverified\n", ("'dragon'", "unknown", "add it to the species table")),
        (GOOD + "wolf,hare,,,unverified\n", ("wolf eats hare", "two rows")),
        (GOOD + "grass,hare,,,unverified\n", ("grass eats hare", "eats nothing")),
        (GOOD + "hare,fox,,,unverified\n", ("hare eats fox", "grazer does not eat animals")),
        (GOOD + "wolf,wolf,,,unverified\n", ("a cycle", "wolf eats wolf", "loop = yes")),
        (GOOD + "fox,wolf,,,unverified\n", ("a cycle", "fox eats wolf eats fox", "loop = yes")),
        (
            "hare,grass,,,unverified\nfox,wolf,,yes,unverified\nwolf,fox,,,unverified\n",
            ("'fox'", "leads to a plant"),
        ),
        (GOOD.replace("fox,3", "fox,-3"), ("wolf eats fox", "preference", "-3", "write a value")),
        (GOOD.replace("fox,3", "fox,x"), ("wolf eats fox", "preference", "'x'", "must be a number")),
        (GOOD + "wolf,carrion,,maybe,unverified\n", ("loop", "'maybe'", "yes")),
        (GOOD + "wolf,carrion,,,\n", ("wolf eats carrion", "grade")),
    ],
)
def test_a_web_that_cannot_be_is_one_line_with_names_and_remedy(text, words):
    with pytest.raises(ValueError, match="food web") as error:
        web(text)
    message = str(error.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


def test_a_declared_ring_is_a_web_and_is_found_by_name():
    ringed = web(GOOD + "fox,wolf,0.1,yes,unverified\nwolf,wolf,0.1,yes,unverified\n")
    assert sorted(map(sorted, find_rings(ringed.links))) == [["fox", "wolf"], ["wolf"]]
    assert compute_trophic_levels(ringed)["wolf"] > 3


def test_a_long_ring_is_named_in_the_order_of_eating():
    links = [Feeding(predator=a, prey=b) for a, b in ("ab", "bc", "cd", "da", "xa")]
    assert find_rings(links) == [["a", "b", "c", "d"]]


def test_who_loses_all_food_goes_with_it():
    assert set(web(GOOD).remove_species("hare").species) == {"grass", "carrion"}
    assert set(web(GOOD).remove_species("fox").species) == {"grass", "carrion", "hare", "wolf"}
    with pytest.raises(ValueError, match="'hase' is unknown"):
        web(GOOD).remove_species("hase")


def test_a_web_of_masses_follows_diet_and_mass():
    made = build_web_from_masses(SPECIES, replace(NETWORK, optimal_ratio=10.0))
    pairs = {(link.predator, link.prey) for link in made.links}
    assert {("hare", "grass"), ("fox", "hare"), ("wolf", "fox"), ("wolf", "carrion")} <= pairs
    assert ("fox", "wolf") not in pairs
    assert ("fox", "grass") not in pairs
    with pytest.raises(ValueError, match="nothing to eat"):
        build_web_from_masses(
            {name: SPECIES[name] for name in ("grass", "hare", "wolf")}, replace(NETWORK, optimal_ratio=1e5)
        )


def test_rings_of_masses_are_declared():
    made = build_web_from_masses(SPECIES, replace(NETWORK, optimal_ratio=1.0))
    assert ("wolf", "wolf") in {(link.predator, link.prey) for link in made.links if link.loop}
    assert find_rings(link for link in made.links if not link.loop) == []


@pytest.mark.parametrize("world", WORLDS)
def test_the_webs_that_come_with_the_program_are_whole(world):
    whole = load_bundled_web(world, load_bundled_species())
    drawing = lay_out_web(whole)
    assert {node.name for node in drawing.nodes} == set(whole.species)
    assert len(drawing.edges) == len(whole.links)
    for node in drawing.nodes:
        assert 0 <= node.x <= 1
        assert 0 <= node.y <= 1
        basal = whole.species[node.name].basal and node.name != "carcass"
        assert (node.level == pytest.approx(1)) == basal


def test_a_drawing_shows_flows_and_biomass_by_area():
    flows = {("hare", "grass"): 100, ("fox", "hare"): 25, ("wolf", "hare"): 0, ("wolf", "fox"): 1}
    drawing = lay_out_web(web(GOOD), flows, {"grass": 400, "hare": 100})
    width = {(edge.predator, edge.prey): edge.width for edge in drawing.edges}
    size = {node.name: node.size for node in drawing.nodes}
    assert width == pytest.approx(
        {("hare", "grass"): 1, ("fox", "hare"): 0.5, ("wolf", "hare"): 0, ("wolf", "fox"): 0.1}
    )
    assert size == pytest.approx({"grass": 1, "hare": 0.5, "fox": 0, "wolf": 0, "carrion": 0})


def test_a_web_takes_of_the_table_what_it_names(tmp_path):
    (tmp_path / "web.csv").write_text("predator,prey,grade\nrabbit,clover,unverified\nred fox,rabbit,unverified\n")
    found = read_web(tmp_path / "web.csv", load_bundled_species())
    assert set(found.species) == {"clover", "rabbit", "red fox"}


def test_a_missing_table_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no food web"):
        read_web(tmp_path / "web.csv", SPECIES)
    with pytest.raises(ValueError, match="'atlantis' is not bundled"):
        load_bundled_web("atlantis", SPECIES)
    with pytest.raises(ValueError, match="column 'grade' is missing"):
        parse_links("predator,prey\n")


@pytest.mark.skipif(not (DATA / "SerengetiFW.csv").exists(), reason="the observed food web is not at hand")
def test_the_savanna_hunts_as_an_observed_food_web_says():
    with (DATA / "SerengetiFW.csv").open(encoding="utf-8") as file:
        seen = {(row["Consumer_Species"], row["Resource_Species"]) for row in csv.DictReader(file)}
    there = {name for pair in seen for name in pair}
    savanna = load_bundled_web("savanna", load_bundled_species())
    name = {key: species.scientific_name for key, species in savanna.species.items()}
    pairs = [(name[link.predator], name[link.prey]) for link in savanna.links]
    both = [pair for pair in pairs if set(pair) <= there]
    assert len(both) >= 25
    # The observed web has no giraffe among the lion's prey.
    assert len(set(both) - seen) <= 1, set(both) - seen
