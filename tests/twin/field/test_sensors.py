"""Sensors: what they see of animals whose place and way are known, and that their counts give the density back."""

import math

import numpy as np
import pytest

from linnaea.census.confusion import UNIDENTIFIED, Confusion
from linnaea.census.detection import (
    DetectionFunction,
    FieldOfView,
    compute_effective_half_width_m,
)
from linnaea.census.survey_file import parse_survey
from linnaea.twin.engine.checkpoint import load_checkpoint, save_checkpoint
from linnaea.twin.engine.neighbours import Space
from linnaea.twin.engine.step import advance, step
from linnaea.twin.engine.world import World
from linnaea.twin.field.sensors import CameraTraps, Collars, StripCounts, attach_survey, count_reported, get_records
from linnaea.twin.rules.motion import Move, Walk

SPACE = Space(width_m=4000, height_m=4000)


def meadow(*sensors, n=4000, seed=1, rules=(), space=SPACE, dt_h=1.0, mass=50.0) -> World:
    """Animals of two species spread evenly by chance; three in four are hares, the others foxes."""
    world = World(space=space, rules=[*rules, *sensors], seed=seed, dt_h=dt_h, species=("hare", "fox"), capacity=n)
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * math.pi, n)
    world.agents.add(
        n,
        species=(np.arange(n) % 4 == 0),
        x=rng.uniform(0, space.width_m, n),
        y=rng.uniform(0, space.height_m, n),
        dir_x=np.cos(angle),
        dir_y=np.sin(angle),
        mass=mass,
    )
    return world


def test_strip_counts_recover_the_density():
    lines = tuple((x, 0.0, x, 4000.0) for x in (700.0, 2000.0, 3300.0))
    sensor = StripCounts(
        lines_m=lines, half_width_m=150, available=0.6, detection=DetectionFunction(sigma_m=80), every_h=1, start_h=0
    )
    world = meadow(sensor)
    advance(world, 40)
    rows = get_records(world, "strip")
    area_km2 = 3 * 4 * 2 * compute_effective_half_width_m(80, 150) / 1000
    estimate = len(rows) / 40 / (0.6 * area_km2)
    true = 4000 / 16
    assert estimate == pytest.approx(true, rel=0.06)
    # Close to the line nearly all of the available are seen.
    assert (rows["distance_m"] < 20).sum() > 4 * (rows["distance_m"] > 130).sum()
    assert count_reported(world, sensor) == {
        "hare": (rows["reported"] == 0).sum(),
        "fox": (rows["reported"] == 1).sum(),
    }


def test_camera_pictures_recover_the_density_of_walking_animals():
    places = tuple((x, y) for x in (800.0, 1600.0, 2400.0, 3200.0) for y in (800.0, 1600.0, 2400.0, 3200.0))
    sensor = CameraTraps(
        places_m=places,
        view=FieldOfView(range_m=15, angle_deg=60, delay_s=0.5),
        detection=DetectionFunction(sigma_m=10),
        rest_s=0,
    )
    walk = [Walk(speed_m_h=400.0, mean_cosine=0.5), Move()]
    world = meadow(sensor, rules=walk, space=Space(width_m=4000, height_m=4000, torus=True))
    advance(world, 72)
    width_km = sensor.view.compute_width_m(sensor.detection, 50, 400 / 3600) / 1000
    expected = 250 * 0.4 * 72 * 16 * width_km
    found = len(get_records(world, "camera"))
    assert found == pytest.approx(expected, rel=4 / math.sqrt(expected))
    assert expected > 700


def test_a_resting_camera_misses_who_passes_and_shows_who_is_in_view():
    camera = CameraTraps(
        places_m=((500.0, 500.0),),
        headings_rad=(0.0,),
        view=FieldOfView(range_m=10, angle_deg=90, delay_s=0),
        rest_s=600.0,
    )
    world = World(space=Space(width_m=1000, height_m=1000), rules=[camera], species=("hare",))
    # Across the view at 5 m, at 360 m/h: in view for 100 s each; two overlap, the third comes 5 minutes later.
    world.agents.add(3, x=505.0, y=[485.0, 483.0, 451.0], mass=2.0)
    step(world)
    world.agents.y[:3] += 360
    step(world)
    rows = get_records(world, "camera")
    assert rows["animal"].tolist() == [1]
    assert (rows["time_h"][0] - 1) * 3600 == pytest.approx(100, abs=0.1)
    quick = CameraTraps(
        name="quick",
        places_m=((500.0, 500.0),),
        headings_rad=(0.0,),
        view=FieldOfView(range_m=10, angle_deg=90, delay_s=0),
        rest_s=1.0,
    )
    world = World(space=Space(width_m=1000, height_m=1000), rules=[quick], species=("hare",))
    world.agents.add(3, x=505.0, y=[485.0, 483.0, 451.0], mass=2.0)
    step(world)
    world.agents.y[:3] += 360
    step(world)
    assert get_records(world, "quick")["animal"].tolist() == [1, 2, 3]


def test_what_a_camera_sees_does_not_hang_on_the_others():
    def seen(places):
        sensor = CameraTraps(
            places_m=places,
            view=FieldOfView(range_m=20, angle_deg=60),
            detection=DetectionFunction(sigma_m=12),
            rest_s=3600,
        )
        space = Space(width_m=1000, height_m=1000)
        world = meadow(sensor, n=900, rules=[Walk(speed_m_h=200.0, mean_cosine=0.5), Move()], space=space)
        advance(world, 24)
        return get_records(world, "camera")

    places = ((300.0, 300.0), (310.0, 305.0), (700.0, 500.0))
    rows = seen(places)
    for n in (1, 2):
        assert rows[rows["site"] < n].tobytes() == seen(places[:n]).tobytes()
    assert min(np.bincount(rows["site"])) > 5
    assert not len(seen(()))


def test_a_herd_is_seen_or_missed_together():
    sensor = StripCounts(
        lines_m=((0.0, 2000.0, 4000.0, 2000.0),), half_width_m=2000, available=0.5, together=True, every_h=1, start_h=0
    )
    world = meadow(sensor, n=400)
    world.agents.herd[:400] = np.arange(400) // 10
    ids = world.agents.id[:400].copy()
    step(world)
    seen = np.isin(ids, get_records(world, "strip")["animal"]).reshape(40, 10)
    assert (seen.all(1) | ~seen.any(1)).all()
    assert 8 < seen.all(1).sum() < 32


def test_confusion_is_applied_in_expectation():
    confusion = Confusion(
        true=("hare",), reported=("hare", "fox", "rabbit", UNIDENTIFIED), share=((0.6, 0.1, 0.2, 0.1),)
    )
    sensor = StripCounts(
        lines_m=((0.0, 2000.0, 4000.0, 2000.0),), half_width_m=2000, every_h=1, start_h=0, confusion=confusion
    )
    world = meadow(sensor)
    advance(world, 4)
    assert confusion.build_matrix(("hare", "fox")).tolist() == [[0.6, 0.1, 0.2, 0.1], [0, 1, 0, 0]]
    expected = np.array([3000, 1000]) * 4 @ confusion.build_matrix(("hare", "fox"))
    got = count_reported(world, sensor)
    assert list(got) == ["hare", "fox", "rabbit", UNIDENTIFIED]
    assert list(got.values()) == pytest.approx(expected, rel=0.06)


def test_collars_follow_their_animals_with_error_and_gaps():
    collar = Collars(species="fox", count=20, fix_h=2, error_m=15, missed=0.25, failures_per_y=0)
    world = meadow(collar, n=400)
    advance(world, 100)
    fixes = get_records(world, "collar")
    assert len(fixes) == 50 * 20
    assert set(fixes["species"]) == {1}
    slots = {int(i): s for s, i in enumerate(world.agents.id[:400])}
    there = world.agents.x[[slots[int(one)] for one in fixes["animal"]]]
    errors = (fixes["x"] - there)[np.isfinite(fixes["x"])]
    assert errors.std() == pytest.approx(15, rel=0.1)
    assert np.isnan(fixes["x"]).mean() == pytest.approx(0.25, abs=0.05)
    world.agents.remove(np.array([slots[int(fixes["animal"][0])]]))
    advance(world, 2)
    assert (get_records(world, "collar")["time_h"] == 100).sum() == 19


def test_sensors_change_nothing_and_a_checkpoint_holds_their_records(tmp_path):
    walk = [Walk(speed_m_h=300.0), Move()]
    sensors = [CameraTraps(places_m=((2000.0, 2000.0),), view=FieldOfView(range_m=100)), Collars(species="hare")]
    watched, free = meadow(*sensors, rules=walk, n=500), meadow(rules=walk, n=500)
    advance(watched, 10)
    advance(free, 10)
    assert np.array_equal(watched.agents.x, free.agents.x)
    save_checkpoint(watched, tmp_path / "there")
    again = meadow(*sensors, rules=walk, n=500)
    load_checkpoint(again, tmp_path / "there")
    for world in (watched, again):
        advance(world, 10)
    assert len(get_records(watched, "camera"))
    assert np.array_equal(get_records(watched, "camera"), get_records(again, "camera"))


def test_records_do_not_depend_on_the_order_of_slots():
    worlds = [
        meadow(
            CameraTraps(places_m=((2000.0, 2000.0),), view=FieldOfView(range_m=200)),
            rules=[Walk(speed_m_h=300.0), Move()],
        )
        for _ in range(2)
    ]
    worlds[1].agents.sort(np.random.default_rng(0).permutation(4000))
    for world in worlds:
        advance(world, 5)
    assert np.array_equal(get_records(worlds[0], "camera"), get_records(worlds[1], "camera"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"camera": [{"points_km": [[9, 1]]}]}, r"\(9000, 1000\) m is outside the map"),
        ({"camera": [{"grid": [2, 2], "rang_m": 3}]}, "camera 1: key 'rang_m' is unknown; did you mean range_m"),
        ({"camera": [{"range_m": 3}]}, "give either grid"),
        ({"count": [{"n_lines": 2, "kind": "boat"}]}, "kind 'boat' is unknown"),
        ({"collar": [{"species": "wolf"}]}, "species 'wolf' is not in the world"),
        ({"collar": [{"species": "fox", "name": "a"}, {"species": "fox", "name": "a"}]}, "two sensors are called 'a'"),
        ({"count": [{"n_lines": 2, "by_night": 3}]}, "by_night: 3 must be a probability"),
        ({"camera": [{"grid": [-4, 5]}]}, r"camera 1: grid \[-4, 5\] must be \[rows, columns\]"),
        ({"camera": [{"grid": [0, 0]}]}, r"grid \[0, 0\] must be"),
        ({"camera": [{"grid": [4]}]}, r"grid \[4\] must be"),
        ({"camera": [{"grid": [2.5, 2]}]}, r"grid \[2.5, 2\] must be"),
        ({"camera": [{"grid": 4}]}, "grid 4 must be"),
        ({"camera": [{"grid": [10000, 10000]}]}, r"grid \[10000, 10000\] must be .* with at most 5000 cameras"),
        ({"camera": [{"points_km": []}]}, r"points_km \[\] must be \[\[x, y\], …\]"),
        ({"camera": [{"points_km": [1, 2]}]}, r"points_km \[1, 2\] must be"),
        ({"camera": [{"points_km": [[1, 1]] * 5001}]}, "points_km with 5001 entries must be"),
        ({"camera": [{"grid": [1, 1], "range_m": "far"}]}, "camera 1: range_m must be a number, not 'far'; write it"),
        ({"camera": [{"grid": [1, 1], "from_day": "3"}]}, "camera 1: from_day '3' must be a number"),
        ({"camera": {"grid": [1, 1]}}, r"camera must be a list of tables; begin each with \[\[camera\]\]"),
        ({"count": [{"n_lines": -1}]}, "count 1: n_lines -1 must be a whole number from 1 to 5000"),
        ({"count": [{"n_lines": 5001}]}, "n_lines 5001 must be"),
        ({"count": [{"n_lines": 2.0}]}, "n_lines 2.0 must be"),
        ({"count": [{"lines_km": [[1, 1, 2]]}]}, r"lines_km \[\[1, 1, 2\]\] must be"),
        ({"collar": [{"species": "fox", "count": 2.5}]}, "collar 1: count must be a whole number, not 2.5"),
        (
            {"collar": [{"species": "fox", "count": 10**7}]},
            "collar 1: count 10000000 must be a whole number",
        ),
        ({"latitude": "north"}, "the survey: latitude must be a number, not 'north'"),
        ({"confusion": 3}, "confusion 3 must be the name of a file"),
    ],
)
def test_a_survey_that_cannot_be_is_refused_in_one_line(table, message):
    world = meadow(n=4)
    with pytest.raises(ValueError, match=message) as error:
        attach_survey(world, parse_survey({"version": 1} | table, SPACE))
    assert "\n" not in str(error.value)
