"""Scenarios: what a file may say, what is refused, and what interventions do to a world, by hand-countable examples."""

import json

import numpy as np
import pytest

from linnaea.twin.commands.docs_writer import fill_tables
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.neighbours import Space
from linnaea.twin.engine.step import step
from linnaea.twin.engine.world import CAUSE, World
from linnaea.twin.scenarios.interventions import KINDS, Intervene, find_first_step
from linnaea.twin.scenarios.regions import Region, read_region
from linnaea.twin.scenarios.scenario_file import attach, format_duration, parse_scenario, read_scenario

DAY = 24.0


def meadow(seed: int = 1, dt_h: float = DAY) -> World:
    """40 hares in the west, 10 lynxes in the east of 10 x 10 km, with all hooks and no rule."""
    shape = (10, 10)
    world = World(
        space=Space(width_m=10_000, height_m=10_000),
        rules=[],
        seed=seed,
        dt_h=dt_h,
        species=("hare", "lynx"),
        fields={name: np.ones(shape) for name in ("rain_factor", "growth_factor", "fire_factor")}
        | {"water": np.zeros(shape)},
        arrays={"warming_c": np.zeros(1), "fences": np.zeros((0, 5)), "arrivals_per_y": np.ones(2)},
    )
    y = np.linspace(100, 9900, 40)
    world.agents.add(40, species=0, x=2000.0, y=y)
    world.agents.add(10, species=1, x=8000.0, y=y[::4])
    return world


def scenario(*tables: dict):
    return parse_scenario({"version": 1, "name": "try", "intervention": list(tables)}, "try.toml")


def run(world: World, days: int, *tables: dict) -> World:
    attach(world, scenario(*tables), 1000 * DAY)
    for _ in range(days):
        step(world)
    return world


def test_all_of_a_species_go_on_the_day_and_no_newcomers_follow():
    world = meadow()
    attach(world, scenario({"kind": "remove", "species": "lynx", "from_day": 2}), 10 * DAY)
    seen = []
    for _ in range(4):
        step(world)
        seen.append(world.counts().tolist())
    assert seen == [[40, 10], [40, 10], [40, 0], [40, 0]]
    assert world.tallies.died[1, CAUSE["removal"]] == 10
    assert world.arrays.arrivals_per_y.tolist() == [1, 0]


def test_only_those_in_the_place_go():
    world = run(meadow(), 1, {"kind": "remove", "species": "hare", "from_day": 0, "box_km": [0, 0, 10, 5]})
    assert world.counts().tolist() == [20, 10]
    assert world.agents.y[world.agents.slots()].min() >= 0


def test_who_goes_depends_on_the_animal_and_the_seed_alone():
    def left(world: World) -> set[int]:
        run(world, 1, {"kind": "remove", "species": "hare", "share": 0.5, "from_day": 0})
        return set(world.agents.key[world.agents.slots()].tolist())

    first, shuffled = meadow(), meadow()
    shuffled.agents.sort(np.random.default_rng(0).permutation(50))
    assert left(first) == left(shuffled)
    assert left(meadow()) != left(meadow(seed=2))
    assert 10 < len(left(meadow())) < 45


def test_a_drought_ends_and_gives_the_rain_back():
    world = meadow()
    attach(
        world, scenario({"kind": "drought", "rain": 0.5, "from_day": 1, "to_day": 3, "box_km": [0, 0, 5, 10]}), 10 * DAY
    )
    seen = []
    for _ in range(4):
        step(world)
        seen.append(world.fields.rain_factor[0, [0, 9]].tolist())
    assert seen == [[1, 1], [0.5, 1], [0.5, 1], [1, 1]]


def test_two_droughts_multiply_where_they_overlap():
    tables = [
        {"kind": "drought", "rain": 0.5, "from_day": 0},
        {"kind": "drought", "rain": 0.4, "from_day": 0, "circle_km": [5, 5, 1]},
    ]
    world = run(meadow(), 1, *tables)
    assert sorted(set(world.fields.rain_factor.ravel().round(6))) == [0.2, 0.5]


def test_warming_rises_evenly_and_then_stays():
    world = meadow()
    attach(world, scenario({"kind": "warming", "celsius": 2, "over_years": 10 / 365.25, "from_day": 0}), 100 * DAY)
    seen = []
    for _ in range(13):
        step(world)
        seen.append(float(world.arrays.warming_c[0]))
    np.testing.assert_allclose(seen, [min(2.0, 0.2 * day) for day in range(13)])


def test_a_fence_stands_while_it_lasts():
    line = {"kind": "fence", "line_km": [[5, 0], [5, 5], [7, 10]], "passes": 0.25, "from_day": 1, "to_day": 2}
    world = meadow()
    attach(world, scenario(line), 10 * DAY)
    rows = []
    for _ in range(3):
        step(world)
        rows.append(world.arrays.fences.tolist())
    assert rows == [[], [[5000, 0, 5000, 5000, 0.25], [5000, 5000, 7000, 10000, 0.25]], []]


def test_water_points_fire_and_growth_change_their_layers():
    world = run(
        meadow(),
        1,
        {"kind": "water", "points_km": [[0.5, 9.5]], "from_day": 0},
        {"kind": "fire", "factor": 0, "from_day": 0},
        {"kind": "growth", "factor": 3, "from_day": 0},
    )
    assert world.fields.water.sum() == 1 == world.fields.water[9, 0]
    assert world.fields.fire_factor.max() == 0
    assert world.fields.growth_factor.min() == 3


def test_poaching_takes_its_share_in_a_year():
    world = meadow(dt_h=HOURS_A_YEAR / 100)
    world.agents.add(20_000, species=0, x=1.0, y=1.0)
    attach(
        world, scenario({"kind": "poaching", "species": "hare", "share_per_year": 0.4, "from_year": 0}), HOURS_A_YEAR
    )
    for _ in range(100):
        step(world)
    # Binomial: standard deviation below .0035.
    assert abs(world.counts()[0] / 20_040 - 0.6) < 0.0105
    assert world.counts()[1] == 10


def test_a_campaign_vaccinates_again_and_again():
    world = meadow(dt_h=HOURS_A_YEAR / 4)
    attach(
        world,
        scenario({"kind": "vaccination", "species": ["hare", "lynx"], "share": 0.5, "every_years": 1, "from_year": 0}),
        9e9,
    )
    shares = []
    for _ in range(12):
        step(world)
        shares.append(float((world.agents.health[:50] == 3).mean()))
    assert shares[0] == shares[3] < shares[4] == shares[7] < shares[8]


def test_what_an_intervention_does_not_touch_draws_the_same_numbers():
    world, other = meadow(), run(meadow(), 3, {"kind": "remove", "species": "lynx", "share": 0.3, "from_day": 0})
    for _ in range(3):
        step(world)
    kept = other.agents.key[other.agents.slots()]
    assert set(kept) <= set(world.agents.key[world.agents.slots()])


def test_a_scenario_of_nothing_adds_nothing():
    world = meadow()
    attach(world, scenario(), DAY)
    assert world.rules == []


def test_toml_and_json_say_the_same(tmp_path):
    table = {"kind": "drought", "rain": 0.4, "from_year": 5, "to_year": 7, "box_km": [0, 5, 10, 10]}
    (tmp_path / "a.json").write_text(json.dumps({"version": 1, "name": "dry", "intervention": [table]}))
    (tmp_path / "a.toml").write_text(
        'version = 1\nname = "dry"\n[[intervention]]\nkind = "drought"\nrain = 0.4\nfrom_year = 5\nto_year = 7\n'
        "box_km = [0, 5, 10, 10]\n"
    )
    a, b = (read_scenario(tmp_path / name) for name in ("a.json", "a.toml"))
    assert a.interventions == b.interventions
    assert a.interventions[0].start_h == 5 * HOURS_A_YEAR


MISTAKES = [
    ({"kind": "drougth", "rain": 0.4, "from_year": 0}, "did you mean drought"),
    ({"kind": "drought", "from_year": 0}, "rain is missing"),
    ({"kind": "drought", "rain": "dry", "from_year": 0}, "must be a number, not 'dry'"),
    ({"kind": "drought", "rain": -1, "from_year": 0}, "must be between 0 and 10"),
    ({"kind": "drought", "rain": True, "from_year": 0}, "must be a number, not True"),
    ({"kind": "drought", "rain": 0.4}, "beginning is missing"),
    ({"kind": "drought", "rain": 0.4, "from_year": 0, "from_day": 1}, "keep one"),
    ({"kind": "drought", "rain": 0.4, "from_year": -1}, "must be a time"),
    ({"kind": "drought", "rain": 0.4, "from_year": 3, "to_year": 3}, "not after"),
    ({"kind": "drought", "rain": 0.4, "from_year": 0, "box_km": [0, 1]}, "must be a box"),
    ({"kind": "drought", "rain": 0.4, "from_year": 0, "box_km": [0, 0, 0, 1]}, "no area"),
    ({"kind": "drought", "rain": 0.4, "from_year": 0, "circle_km": [1, 1, 0]}, "radius 0"),
    ({"kind": "drought", "rain": 0.4, "from_year": 0, "line_km": [[0, 0], [1, 1]]}, "key 'line_km' is unknown"),
    ({"kind": "remove", "species": "hare", "from_year": 0, "to_year": 2}, "key 'to_year' is unknown"),
    ({"kind": "remove", "species": [], "from_year": 0}, "must name species"),
    ({"kind": "fence", "from_year": 0}, "its region is missing"),
    ({"kind": "fence", "from_year": 0, "line_km": [[1, 1], [1, 1]]}, "a line without length"),
    (
        {"kind": "drought", "rain": 0.4, "from_year": 0, "polygon_km": [[0, 0], [2, 2], [2, 0], [0, 2]]},
        "side 1 crosses side 3",
    ),
    ({"kind": "drought", "rain": 0.4, "from_year": 0, "polygon_km": [[0, 0], [1, 1], [2, 2]]}, "has no area"),
    ({"kind": "introduce", "species": "hare", "count": 1.5, "from_year": 0}, "must be a whole number, not 1.5"),
    ({"kind": "water", "points_km": [[1, 1]], "filled": "no", "from_year": 0}, "must be true or false, not 'no'"),
]


@pytest.mark.parametrize(("table", "message"), MISTAKES)
def test_a_mistake_is_one_line_that_names_file_intervention_and_remedy(table, message):
    with pytest.raises(ValueError, match=r"^try\.toml: intervention 1") as error:
        scenario(table)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "remove", "species": "hair", "from_day": 0}, "did you mean hare"),
        ({"kind": "remove", "species": "hare", "from_day": 100}, "after the end of the run"),
        ({"kind": "drought", "rain": 0.1, "from_day": 0, "circle_km": [11, 5, 1]}, "outside the map"),
        (
            {
                "kind": "disease",
                "species": "hare",
                "from_day": 0,
                "infections_per_day": 1,
                "illness_days": 9,
                "lethality": 0.5,
            },
            "no 'disease'",
        ),
        ({"kind": "introduce", "species": "hare", "count": 5, "from_day": 0}, "no 'food'"),
    ],
)
def test_what_the_world_does_not_have_is_refused_before_it_begins(table, message):
    world = meadow()
    with pytest.raises(ValueError, match=r"try.toml: intervention 1") as error:
        attach(world, scenario(table), 10 * DAY)
    assert message in str(error.value)
    assert world.step == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "version is missing"),
        ({"version": 2}, "version 2"),
        ({"version": 1, "interventions": []}, "did you mean intervention"),
        ({"version": 1, "intervention": {}}, "list of tables"),
        ({"version": 1, "name": 3}, "name must be text, not 3"),
        ([], "must be a table"),
    ],
)
def test_the_head_of_a_file_is_checked(content, message):
    with pytest.raises(ValueError, match=message):
        parse_scenario(content, "try.toml")


def test_a_file_that_cannot_be_read_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no scenario file"):
        read_scenario(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("version = ")
    with pytest.raises(ValueError, match="not valid TOML"):
        read_scenario(tmp_path / "bad.toml")


def test_a_polygon_holds_what_lies_in_it():
    place = read_region("polygon", "m", [[0, 0], [4, 0], [4, 4], [2, 2], [0, 4]], "here")
    inside = place.contains(np.array([1.0, 2.0, 2.0, 3.5, 5.0]), np.array([1.0, 1.0, 3.0, 3.0, 1.0]))
    assert inside.tolist() == [True, True, False, True, False]


def test_a_polygon_may_be_closed_by_its_first_corner_and_touch_itself():
    closed = read_region("polygon", "m", [[0, 0], [4, 0], [4, 4], [0, 0]], "here")
    assert closed.contains(np.array([3.0]), np.array([1.0])).all()
    read_region("polygon", "m", [[0, 0], [2, 2], [4, 0], [4, 4], [2, 2], [0, 4]], "here")


def test_species_go_by_their_scientific_names_too():
    world = meadow()
    attach(
        world,
        scenario({"kind": "remove", "species": ["Lepus europaeus", "hare"], "from_day": 0}),
        10 * DAY,
        {"Lepus europaeus": "hare"},
    )
    step(world)
    assert world.counts()[world.species.index("hare")] == 0


def test_a_length_of_time_is_told_as_one_asks_for_it():
    told = [
        format_duration(hours)
        for hours in (
            24,
            2 * DAY,
            40 * DAY,
            HOURS_A_YEAR,
            2.5 * HOURS_A_YEAR,
            1.1 * HOURS_A_YEAR,
            400 * DAY,
            29_190 * DAY,
        )
    ]
    assert told == ["1 day", "2 days", "40 days", "1 year", "2.5 years", "1.1 years", "400 days", "79.92 years"]


def test_a_place_smaller_than_a_cell_is_the_cell_it_lies_in():
    place = Region(form="circle", points_m=((130.0, 10.0),), radius_m=5.0)
    mask = place.make_mask(Space(width_m=400, height_m=400), (4, 4))
    assert np.argwhere(mask).tolist() == [[0, 1]]


def test_steps_are_counted_from_the_hour():
    assert [find_first_step(h, 24.0) for h in (0, 24, 25, 48)] == [0, 1, 2, 2]


def test_the_hooks_are_given_back_after_a_stop_too(tmp_path):
    from linnaea.twin.engine.checkpoint import load_checkpoint, save_checkpoint

    table = {"kind": "drought", "rain": 0.5, "from_day": 1, "to_day": 3}
    world = run(meadow(), 2, table)
    save_checkpoint(world, tmp_path / "at")
    again = meadow()
    attach(again, scenario(table), 1000 * DAY)
    load_checkpoint(again, tmp_path / "at")
    assert again.fields.rain_factor.max() == 0.5
    step(again), step(again)
    assert again.fields.rain_factor.min() == 1


def test_every_kind_is_documented(root):
    text = (root / "docs" / "twin.md").read_text(encoding="utf-8")
    assert fill_tables(text) == text, "run `make docs`"
    assert all(f"| `{kind}` |" in text for kind in KINDS)


def test_the_scenarios_of_the_documents_can_be_read(root):
    import re
    import tomllib

    text = (root / "docs" / "twin.md").read_text("utf-8").replace("   ", "")
    blocks = [one for one in re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL) if one.startswith("version")]
    assert len(blocks) == 2
    for block in blocks:
        assert parse_scenario(tomllib.loads(block), "docs").interventions


def test_the_rule_says_what_it_does():
    assert Intervene.phase == "intervene"
    assert all(kind.__doc__ for kind in KINDS.values())


def tutorial(*tables: dict, days: int) -> tuple[World, World]:
    """(as it was at the start, after some days) of a small tutorial world under interventions."""
    from linnaea.twin.assembly.world_builder import build_world

    start, world = (build_world("tutorial", seed=3, area_share=0.3) for _ in range(2))
    attach(world, scenario(*tables), 1000 * DAY)
    for _ in range(round(days * DAY / world.dt_h)):
        step(world)
    return start, world


def test_the_introduced_stand_where_they_were_brought_in_herds():
    table = {"kind": "introduce", "species": "red fox", "count": 7, "from_day": 0, "circle_m": [800, 800, 100]}
    start, _ = tutorial(days=0)
    attach(start, scenario(table), DAY)
    before, keys = start.counts(), set(start.agents.key[start.agents.slots()].tolist())
    start.by_phase["intervene"][0].apply(start)
    a = start.agents
    new = np.array([slot for slot in a.slots() if int(a.key[slot]) not in keys])
    assert (start.counts() - before).tolist() == [0, 7]
    far = np.hypot(a.home_x[new] - 800, a.home_y[new] - 800)
    assert far.max() <= 100
    assert len(np.unique(a.herd[new])) > 1
    assert (a.mass[new] > 0).all()
    assert (a.energy[new] > 0).all()


def test_more_animals_than_a_ground_can_hold_are_refused_before_the_run():
    start, _ = tutorial(days=0)
    table = {"kind": "introduce", "species": "red fox", "from_day": 0}
    with pytest.raises(
        ValueError, match=r"^try\.toml: intervention 1 \(introduce\): count 10000000 of 'red fox'"
    ) as error:
        attach(start, scenario(table | {"count": 10_000_000}), DAY)
    assert "give at most 20000, or" in str(error.value)
    assert "\n" not in str(error.value)
    # Where more are usual, more may come.
    start.parameters.life.usual_number[start.species.index("red fox")] = 1e6
    attach(start, scenario(table | {"count": 10_000_000}), DAY)


def test_many_herds_stand_each_at_its_own_place():
    start, _ = tutorial(days=0)
    known = set(start.agents.key[start.agents.slots()].tolist())
    attach(start, scenario({"kind": "introduce", "species": "rabbit", "count": 4001, "from_day": 0}), DAY)
    start.by_phase["intervene"][0].apply(start)
    a = start.agents
    new = np.array([slot for slot in a.slots() if int(a.key[slot]) not in known])
    herds, sizes = np.unique(a.herd[new], return_counts=True)
    # The table's rabbits live in groups of 4.
    assert sorted(set(sizes.tolist())) == [1, 4]
    assert len(herds) == 1001
    assert len(np.unique(start.herds.home[herds], axis=0)) == 1001


def test_a_disease_spreads_from_its_first_cases_and_the_vaccinated_are_spared():
    ill = {
        "kind": "disease",
        "species": "rabbit",
        "from_day": 1,
        "infections_per_day": 20,
        "illness_days": 30,
        "lethality": 0,
        "share": 0.05,
    }
    vaccine = {"kind": "vaccination", "species": "rabbit", "share": 0.5, "from_day": 0}
    (_, world), (_, spared) = tutorial(ill, days=6), tutorial(vaccine, ill, days=6)

    def met(world: World) -> float:
        slots = world.agents.slots()
        return float(np.isin(world.agents.health[slots], (1, 2)).mean())

    assert met(world) > 0.15
    assert met(spared) < 0.75 * met(world)


def test_nobody_crosses_a_fence_and_some_do_without():
    table = {"kind": "fence", "line_m": [[800, 0], [800, 1643]], "from_day": 0}

    def crossed(start: World, world: World) -> int:
        west = {int(k): x < 800 for k, x in zip(start.agents.key, start.agents.x, strict=True) if k}
        slots = world.agents.slots()
        slots = slots[world.agents.parent[slots] == 0]
        return sum(
            west.get(int(world.agents.key[s]), world.agents.x[s] < 800) != (world.agents.x[s] < 800) for s in slots
        )

    assert crossed(*tutorial(table, days=60)) == 0
    assert crossed(*tutorial(days=60)) > 3
