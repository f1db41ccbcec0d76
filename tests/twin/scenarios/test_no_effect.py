"""Interventions that cannot act: each is named with its reason, and none that can is."""

import json

import pytest

from linnaea.twin.commands.compare import CompareConfig
from linnaea.twin.commands.compare import main as compare
from linnaea.twin.scenarios.no_effect import interventions_without_effect
from linnaea.twin.scenarios.scenario_file import attach, parse_scenario
from made_runs import make_run
from made_worlds import changed, small

POX = {
    "kind": "disease",
    "species": "rabbit",
    "infections_per_day": 1,
    "illness_days": 9,
    "lethality": 0.5,
    "from_day": 0,
}
VACCINE = {"kind": "vaccination", "species": "rabbit", "share": 0.5, "from_day": 1}
FOXES = {"kind": "remove", "species": "red fox", "from_day": 1}
HOURS = 10 * 24.0


def told(*tables: dict, world="tutorial", **options) -> list[str]:
    built = small(world, **({"dt_h": 24.0} | options))
    attach(built, parse_scenario({"version": 1, "intervention": list(tables)}), HOURS)
    return interventions_without_effect(built, HOURS)


@pytest.mark.parametrize(
    ("tables", "why"),
    [
        ([{"kind": "fire", "factor": 3, "from_day": 0}], "no fire starts in this world; settings.fires_per_km2_y is 0"),
        ([{"kind": "water", "points_m": [[500, 500]], "from_day": 0}], "no animal of this world needs to drink"),
        ([{"kind": "drought", "rain": 1, "from_day": 0}], "its rain is 1"),
        ([{"kind": "growth", "factor": 1, "from_day": 0}], "its factor is 1"),
        ([{"kind": "warming", "celsius": 0, "from_day": 0}], "its celsius is 0"),
        ([{"kind": "fence", "line_m": [[0, 500], [1000, 500]], "passes": 1, "from_day": 0}], "its passes is 1"),
        ([{"kind": "remove", "species": "rabbit", "share": 0, "from_day": 0}], "its share is 0"),
        ([{"kind": "poaching", "species": "rabbit", "share_per_year": 0, "from_day": 0}], "its share_per_year is 0"),
        ([POX | {"lethality": 0}], "its lethality is 0 and ill animals live like healthy ones"),
        ([POX | {"share": 0}], "no animal is ill at first"),
        ([VACCINE], "no disease of this scenario kills rabbit, and the world has no disease of its own"),
        ([POX, VACCINE | {"share": 0}], "its share is 0"),
        (
            [{"kind": "drought", "rain": 0.5, "from_day": 1.2, "to_day": 1.8}],
            "no step of 24 h in which it could act begins",
        ),
        (
            [FOXES, FOXES | {"kind": "poaching", "share_per_year": 0.5, "from_day": 2}],
            "there are no red fox then, and none can come",
        ),
    ],
)
def test_what_cannot_act_is_named_with_the_reason(tables, why):
    (line,) = told(*tables)
    assert line.startswith(
        f"intervention {len(tables)} ({tables[-1]['kind']}) cannot change how many animals and plants there are: "
    )
    assert why in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "tables",
    [
        [{"kind": "drought", "rain": 0.5, "from_day": 0}],
        [{"kind": "growth", "factor": 0, "from_day": 0}],
        [{"kind": "warming", "celsius": 2, "from_day": 0}],
        [{"kind": "fence", "line_m": [[0, 500], [1000, 500]], "from_day": 0}],
        [POX, VACCINE],
        [POX | {"from_day": 5}, VACCINE],
        [FOXES],
        [FOXES | {"newcomers": True}, FOXES | {"from_day": 5}],
        [FOXES, {"kind": "introduce", "species": "red fox", "count": 2, "from_day": 3}, FOXES | {"from_day": 5}],
        [
            FOXES,
            FOXES | {"kind": "poaching", "share_per_year": 0.5, "from_day": 2},
            {"kind": "introduce", "species": "red fox", "count": 2, "from_day": 3},
        ],
    ],
)
def test_what_can_act_is_not_named(tables):
    assert told(*tables) == []


def test_fire_and_water_act_where_something_burns_and_someone_drinks():
    fire, water = (
        {"kind": "fire", "factor": 0, "from_day": 0},
        {"kind": "water", "points_m": [[3000, 3000]], "from_day": 0},
    )
    assert told(fire, water, world="savanna", area_share=0.03) == []
    dry = {"kind": "water", "box_m": [0, 0, 3000, 3000], "filled": False, "from_day": 0}
    fireless = changed("savanna", settings={"fires_per_km2_y": 0.0})
    lit, closed = told(fire, dry, world=fireless, area_share=0.03)
    assert lit.endswith("no fire starts in this world; settings.fires_per_km2_y is 0")
    assert closed.endswith("there is no water in its region")


def test_animals_that_are_not_there_are_named_beside_those_that_are():
    foxless = changed(animals={"red fox": {"count": 0.0, "arrivals_per_y": 0.0}})
    both = {"kind": "poaching", "species": ["red fox", "rabbit"], "share_per_year": 0.5, "from_day": 0}
    assert told(both, world=foxless) == [
        (
            "intervention 1 (poaching) changes nothing for some of its species: there are no red fox then, "
            "and none can come"
        )
    ]
    assert "cannot change how many" in told(both | {"species": "red fox"}, world=foxless)[0]
    # Where newcomers come from beyond the borders, some may be there.
    assert told(both, world=changed(animals={"red fox": {"count": 0.0}})) == []


def test_the_run_its_report_its_manifest_and_the_comparison_say_so(tmp_path, capsys, caplog):
    caplog.set_level("INFO", "linnaea")
    scenario = 'version = 1\n[[intervention]]\nkind = "fire"\nfactor = 5\nfrom_day = 0\n'
    settings = {"days": 2.0, "ensemble": 2, "step_h": 24.0}
    base, burnt = make_run(tmp_path / "base", **settings), make_run(tmp_path / "burnt", scenario=scenario, **settings)
    line = (
        "intervention 1 (fire) cannot change how many animals and plants there are: no fire starts in this world; "
        "settings.fires_per_km2_y is 0"
    )
    assert f"burnt.toml: {line}" in caplog.messages
    assert json.loads((burnt / "manifest.json").read_text())["without_effect"] == [line]
    assert json.loads((base / "manifest.json").read_text())["without_effect"] == []
    assert f"<p>{line}.</p>" in (burnt / "report.html").read_text("utf-8")
    assert "Without effect" not in (base / "report.html").read_text("utf-8")
    assert compare(CompareConfig(base=base, whatif=burnt, last_years=0.01)) == 0
    assert f"burnt.toml: {line}." in capsys.readouterr().out
    assert f"burnt.toml: {line}." in (burnt / "compared" / "report.html").read_text("utf-8")
