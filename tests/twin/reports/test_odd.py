"""The ODD description against what runs: every phase, every rule, in order, with parameters and state variables."""

import inspect
import re
import sys
from dataclasses import fields

import pytest

from linnaea.twin.assembly.world_builder import build_world
from linnaea.twin.commands.worlds import WorldsConfig, main
from linnaea.twin.data.world_file import list_bundled_worlds, load_world
from linnaea.twin.engine.rng import MOVEMENT
from linnaea.twin.engine.step import step
from linnaea.twin.engine.world import PHASES
from linnaea.twin.reports.odd import describe_model
from linnaea.twin.reports.rule_facts import find_columns, find_streams, list_phases
from linnaea.twin.scenarios.scenario_file import attach, parse_scenario


@pytest.fixture(scope="module")
def world():
    return build_world("tutorial", area_share=0.15)


@pytest.fixture(scope="module")
def text(world):
    return describe_model(world, load_world("tutorial"), "tutorial")


def scheduled(text: str) -> list[str]:
    """ "2. environment: Weather" … in the order of part 3."""
    part = text.split("## 3. Process")[1].split("## 4.")[0]
    found, phase = [], ""
    for line in part.splitlines():
        if named := re.match(r"(\d+\. )\*\*(\w+)\*\*", line):
            phase = named.group(1) + named.group(2)
        elif rule := re.match(r"    - `(\w+)`", line):
            found.append(f"{phase}: {rule.group(1)}")
    return found


def test_the_moments_are_the_loops():
    assert tuple(name for _, name, _ in list_phases()) == PHASES
    assert [number for number, _, _ in list_phases()] == list(range(1, len(PHASES) + 1))


def test_the_schedule_is_what_ran(world, text):
    world.trace = []
    step(world)
    own = {"index", "steer", "bury", "sort", "clock"}
    ran = [line for line in world.trace if line.split(": ")[1] not in own]
    world.trace = None
    assert scheduled(text) == ran
    assert len(ran) == len(world.rules)


def test_every_rule_is_a_submodel_with_its_parameters(world, text):
    part = text.split("## 7. Submodels")[1]
    for rule in world.rules:
        section = part.split(f"### {type(rule).__name__} (")[1].split("\n### ")[0]
        assert " ".join(rule.__doc__.split()) in section
        assert all(f"`{field.name}`" in section for field in fields(rule))


def test_every_state_variable_and_layer_is_listed(world, text):
    part = text.split("## 2.")[1].split("## 3.")[0]
    assert all(f"`{name}`" in part for name in (*world.agents.columns, *world.fields))


def test_the_seven_parts_stand_in_the_protocols_order(text):
    heads = re.findall(r"^## (\d)\.", text, flags=re.MULTILINE)
    assert heads == list("1234567")
    concepts = (
        "Basic principles",
        "Emergence",
        "Adaptation",
        "Objectives",
        "Learning",
        "Prediction",
        "Sensing",
        "Interaction",
        "Stochasticity",
        "Collectives",
        "Observation",
    )
    places = [text.index(f"**{name}**") for name in concepts]
    assert places == sorted(places)


def test_a_scenario_stands_in_the_input_and_the_schedule():
    world = build_world("tutorial", area_share=0.15)
    table = {"kind": "drought", "rain": 0.3, "from_year": 1, "to_year": 2}
    attach(world, parse_scenario({"version": 1, "intervention": [table]}), 1e9)
    text = describe_model(world, load_world("tutorial"), "dry")
    assert scheduled(text)[0] == "1. intervene: Intervene"
    assert "**drought** from year 1 to 2, everywhere: rain 0.3" in text


def test_random_processes_and_columns_are_read_from_the_code(world):
    by_name = {type(rule).__name__: rule for rule in world.rules}
    assert find_streams(by_name["Roam"]) == ["movement", "migration"]
    assert MOVEMENT == 3
    assert find_streams(by_name["UpdateHerds"]) == []
    assert {"herd", "x", "y"} <= set(find_columns(by_name["UpdateHerds"], world))
    assert "litter" not in find_columns(by_name["UpdateHerds"], world)


@pytest.mark.parametrize("name", list_bundled_worlds())
def test_every_bundled_world_can_be_described(name, tmp_path):
    main(WorldsConfig(world=name, odd=tmp_path / "odd.md"))
    text = (tmp_path / "odd.md").read_text("utf-8")
    for species in load_world(name).web.species:
        assert species in text


def test_what_rules_leave_out_is_said_and_true(world, text):
    for rule in world.rules:
        assert all(sentence in text for sentence in rule.leaves_out)
    for said in (
        "born weaned",
        "Any grown male",
        "one disease at a time",
        "Fires kill no animals",
        "Nobody dies of thirst",
    ):
        assert text.count(said) >= 2, said
    code = "".join(inspect.getsource(sys.modules[type(rule).__module__]) for rule in world.rules)
    assert 'CAUSE["predation"]' in code
    assert 'CAUSE["thirst"]' not in code
    assert 'CAUSE["fire"]' not in code


def test_values_of_the_worlds_file_stand_with_their_grades(text):
    rows = dict(
        line.strip("| ").split(" | ", 1)
        for line in text.split("### The world's file")[1].splitlines()
        if line.startswith("| `")
    )
    assert rows["`landscape.season`"].endswith("tuned until rabbits lived through the winter")
    assert rows["`settings.maintenance`"] == "0.85 | unverified"
    assert rows["`animals.red fox.arrivals_per_y`"].startswith("1 | tuned")


def test_the_purpose_names_no_pattern_of_rules_that_the_world_does_not_have(text, world):
    purpose = " ".join(text.split("## 1. Purpose")[1].split("## 2.")[0].split())
    assert "same rules and this same loop" not in purpose
    judged, others = purpose.split("Population cycles, walks, flocks")
    assert "they do not test the rules below" in others
    # Each pattern of the first kind stands on rules that are there.
    patterns = {
        "grazers": "Graze",
        "hunters": "ResolveKills",
        "epidemics": "ProgressDisease",
        "life table": "GiveBirth",
        "respiration": "Metabolise",
    }
    own = {type(rule).__name__ for rule in world.rules}
    assert all(word in judged and rule in own for word, rule in patterns.items())
