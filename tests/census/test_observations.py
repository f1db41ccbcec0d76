"""Observations: tables of simulated sensors and of `linnaea identify` come back as recorded; bad rows say why."""

import csv
import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from linnaea.census.animals import find_species_within
from linnaea.census.confusion import CERTAIN, UNIDENTIFIED, Confusion, estimate_confusion
from linnaea.census.detection import FieldOfView
from linnaea.census.detection_rates import estimate_daily_paths
from linnaea.census.georeference import Georeference, parse_time
from linnaea.census.observation_model import build_counts
from linnaea.census.observations import COLUMNS, Observations, Sighting, Visit
from linnaea.census.readers.camtrap_dp import read_camtrap
from linnaea.census.readers.cells import read_table_rows
from linnaea.census.readers.darwin_core import read_darwin_core
from linnaea.census.readers.dispatch import read_observations
from linnaea.census.readers.events import group_pictures
from linnaea.census.readers.identified import read_identified
from linnaea.census.readers.movebank import read_movebank
from linnaea.census.survey_file import Survey
from linnaea.records import PREDICTION_COLUMNS, Prediction, make_prediction_row
from linnaea.standards.camtrap_deployments import DEPLOYMENTS
from linnaea.standards.camtrap_dp import MEDIA, PackageMetadata, write_package
from linnaea.standards.camtrap_observations import OBSERVATIONS
from linnaea.standards.exif import PhotoMetadata
from linnaea.standards.tables import write_table
from linnaea.twin.data.species import load_bundled_species
from linnaea.twin.engine.neighbours import Space
from linnaea.twin.engine.step import advance
from linnaea.twin.engine.world import World
from linnaea.twin.field.sensors import CameraTraps, Collars, StripCounts, get_records
from linnaea.twin.field.survey_tables import DatasetMetadata, write_survey
from linnaea.twin.rules.motion import Move, Walk
from made_events import join_events

GEO = Georeference(latitude=-2.3, longitude=34.8, start="2024-03-01T00:00:00+03:00")
CONFUSION = Confusion(true=("rabbit",), reported=("rabbit", UNIDENTIFIED), share=((0.7, 0.3),))
FOX = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Canidae", "Vulpes", "Vulpes vulpes")


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A world of rabbits and foxes with all three kinds of sensors, and the folder of its tables."""
    survey = Survey(
        georeference=GEO,
        cameras=(
            CameraTraps(
                name="cam",
                places_m=((500.0, 500.0), (1500.0, 900.0)),
                view=FieldOfView(range_m=20),
                confusion=CONFUSION,
            ),
        ),
        counts=(
            StripCounts(
                name="flight", kind="aerial", lines_m=((0.0, 1000.0, 2000.0, 1000.0),), every_h=24, start_h=6.0
            ),
        ),
        collars=(Collars(name="tag", species="red fox", count=3, fix_h=1),),
        confusion=CONFUSION,
    )
    world = World(
        space=Space(width_m=2000, height_m=2000),
        rules=[Walk(speed_m_h=300.0), Move(), *survey.sensors],
        species=("rabbit", "red fox"),
        capacity=900,
        seed=4,
    )
    rng = np.random.default_rng(0)
    world.agents.add(
        900, species=np.arange(900) % 5 == 0, x=rng.uniform(0, 2000, 900), y=rng.uniform(0, 2000, 900), mass=3.0
    )
    advance(world, 60)
    folder = tmp_path_factory.mktemp("field")
    names = {name: one.scientific_name for name, one in load_bundled_species().items()}
    write_survey(world, survey, folder, DatasetMetadata(title="a test", scientific=names, georeference=GEO))
    return world, survey, folder


def test_a_place_and_a_time_come_back_through_degrees_and_dates():
    latitude, longitude = GEO.to_degrees(1234.0, 5678.0)
    assert GEO.to_metres(float(latitude), float(longitude)) == pytest.approx((1234, 5678))
    assert GEO.format_time(1.5) == "2024-02-29T22:30:00Z"
    assert GEO.parse_hour("2024-03-01T01:30:00+03:00") == 1.5
    with pytest.raises(ValueError, match="'yesterday' must be a time"):
        parse_time("yesterday")


def test_all_three_formats_come_back_as_what_was_recorded(watched):
    world, _, folder = watched
    found = read_observations(folder)
    assert not found.rejected
    cameras = [visit for visit in found.visits.values() if visit.kind == "camera"]
    assert [(v.site, v.effort, v.range_m, v.angle_deg) for v in cameras] == [
        ("cam-1", 2.5, 20, 42),
        ("cam-2", 2.5, 20, 42),
    ]
    assert GEO.to_metres(cameras[1].latitude, cameras[1].longitude) == pytest.approx((1500, 900), abs=0.2)
    flights = [visit for visit in found.visits.values() if visit.kind == "aerial"]
    assert [(GEO.parse_hour(v.start.isoformat()), v.effort, v.length_km) for v in flights] == [
        (h, 0.4, 2) for h in (6, 30, 54)
    ]
    rows, names = get_records(world, "flight"), ("Oryctolagus cuniculus", "Vulpes vulpes")
    for visit in flights:
        seen = {one.name: one.count for one in found.sightings if one.visit == visit.id}
        here = rows[rows["time_h"] == GEO.parse_hour(visit.start.isoformat())]["reported"]
        assert seen == {name: (here == row).sum() for row, name in enumerate(names)}
    fixes = get_records(world, "tag")
    good = fixes[np.isfinite(fixes["x"])]
    assert len(found.fixes) == len(good) > 100
    x, y = GEO.to_metres(found.fixes[0].latitude, found.fixes[0].longitude)
    assert (x, y) == pytest.approx((good["x"][0], good["y"][0]), abs=0.1)
    assert {fix.name for fix in found.fixes} == {"Vulpes vulpes"}


def test_camera_events_hold_every_animal_once_and_never_the_true_name(watched):
    world, _, folder = watched
    found = read_observations(folder / "camtrap" / "cam")
    rows = get_records(world, "cam")
    reported = {
        name: sum(s.count for s in found.sightings if s.name == name)
        for name in ("Oryctolagus cuniculus", "Vulpes vulpes", UNIDENTIFIED)
    }
    number = np.bincount(rows["reported"], minlength=3)
    # An animal that passes twice within one event is one animal.
    assert number.sum() - 5 <= sum(reported.values()) <= number.sum()
    assert 0.2 < reported[UNIDENTIFIED] / (reported[UNIDENTIFIED] + reported["Oryctolagus cuniculus"]) < 0.4
    unidentified = [
        s for s in read_table_rows(folder / "camtrap/cam/observations.csv") if s["observationType"] == "unknown"
    ]
    assert unidentified
    assert not any(row["scientificName"] for row in unidentified)


def test_a_simulated_package_has_the_shape_of_one_of_identify(watched, tmp_path):
    _, _, folder = watched
    made = folder / "camtrap" / "cam"
    photo = PhotoMetadata(event_date="2024-03-01T10:00:00", latitude=-2.3, longitude=34.8)
    facts = PackageMetadata(classified_by="a test", created="2024-03-02T00:00:00Z", read=lambda path: photo)
    fox = {"rank": "species", "name": "Vulpes vulpes", "confidence": 0.9, "lineage": FOX}
    rows = [("a/1.jpg", Prediction(file="a/1.jpg", status="identified", **fox))]
    write_package(tmp_path, join_events(rows), facts)
    for table, columns in (("deployments", DEPLOYMENTS), ("media", MEDIA), ("observations", OBSERVATIONS)):
        heads = [next(csv.reader((place / f"{table}.csv").open())) for place in (made, tmp_path)]
        assert heads[0] == heads[1] == list(columns)
    packages = [json.loads((place / "datapackage.json").read_text()) for place in (made, tmp_path)]
    assert set(packages[0]) == set(packages[1])
    assert packages[0]["profile"] == packages[1]["profile"]
    assert packages[0]["resources"] == packages[1]["resources"]
    media = {row["mediaID"] for row in read_table_rows(made / "media.csv")}
    assert {row["mediaID"] for row in read_table_rows(made / "observations.csv") if row["mediaID"]} == media


def photographs(tmp_path):
    """Predictions of four photographs of two cameras, and what their headers say."""
    times = {
        "a/1.jpg": "2024-05-01T10:00:00",
        "a/2.jpg": "2024-05-01T10:05:00",
        "a/3.jpg": "2024-05-03T10:00:00",
        "b/1.jpg": "",
    }
    fox = {"status": "identified", "rank": "species", "name": "Vulpes vulpes", "confidence": 0.9, "lineage": FOX}
    predictions = [Prediction(file=f, **fox) for f in times if f != "a/3.jpg"]
    predictions.insert(2, Prediction(file="a/3.jpg", status="unidentified", reason="not certain enough"))
    return predictions, lambda path: PhotoMetadata(event_date=times[str(path).removeprefix(f"{tmp_path}/")])


def test_the_package_of_identify_is_read_as_camera_visits(tmp_path):
    predictions, read = photographs(tmp_path)
    facts = PackageMetadata(classified_by="a test", created="2024-06-01T00:00:00Z", read=read)
    rows = [(p.file, p) for p in predictions[:3]]
    for gap_s, n_foxes in ((600, 1), (60, 2)):
        in_events = join_events(rows, gap_s, find_capture=lambda path: ("a", read(path).event_date))
        write_package(tmp_path, in_events, facts)
        found = read_observations(tmp_path)
        (visit,) = found.visits.values()
        assert (visit.kind, visit.effort) == ("camera", 2)
        # The observations of events are used, each once; those of photographs are not.
        expected = [("Vulpes vulpes", 1)] * n_foxes + [(UNIDENTIFIED, 1)]
        assert [(s.name, s.count) for s in found.sightings] == expected


def test_the_events_of_a_table_are_counted_once_with_their_count(tmp_path):
    times = {"a/1.jpg": "2024-05-01T10:00:05", "a/2.jpg": "2024-05-01T10:00:01", "a/3.jpg": "2024-05-03T10:00:00"}
    columns = ("file", "status", "outcome", "name", "event", "event_name", "event_count")
    rows = [
        ("a/1.jpg", "identified", "named", "Vulpes vulpes", "e1", "Vulpes vulpes", "3"),
        ("a/1.jpg", "identified", "named", "Vulpes", "e1", "Vulpes vulpes", "3"),
        ("a/2.jpg", "identified", "named", "Meles meles", "e1", "Meles meles", "1"),
        ("a/2.jpg", "unidentified", "no_organism", "", "e1", "Vulpes vulpes", "3"),
        ("a/3.jpg", "unidentified", "unsure", "", "e2", "", ""),
    ]
    found = read_identified(
        [dict(zip(columns, row, strict=True)) for row in rows],
        tmp_path / "t.csv",
        read_metadata=lambda path: PhotoMetadata(event_date=times[str(path).removeprefix(f"{tmp_path}/")]),
    )
    assert [(one.name, one.count, one.time.second) for one in found.sightings] == [
        ("Vulpes vulpes", 3, 5),
        ("Meles meles", 1, 1),
        (UNIDENTIFIED, 1, 0),
    ]
    assert found.n_without_animal == 1


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_table_of_identify_takes_times_from_the_photographs(tmp_path, suffix):
    predictions, read = photographs(tmp_path)
    path = tmp_path / f"names{suffix}"
    write_table(path, PREDICTION_COLUMNS, map(make_prediction_row, predictions))
    found = read_identified(read_table_rows(path), path, read_metadata=read)
    assert [visit.effort for visit in found.visits.values()] == [2]
    assert sorted((s.name, s.count) for s in found.sightings) == [("Vulpes vulpes", 1), (UNIDENTIFIED, 1)]
    reason = "b/1.jpg is not there, and the table has no times; use the package of --as camtrap-dp"
    assert found.rejected == [(f"names{suffix}, row 5", reason)]
    assert read_observations(path).rejected[0][1].startswith("a/1.jpg is not there")


def test_pictures_of_one_name_within_half_an_hour_are_one_event():
    start = parse_time("2024-05-01T10:00:00Z")

    def at(minutes, picture, name="fox"):
        return picture, Sighting(visit="v", time=start + timedelta(minutes=minutes), name=name, count=1)

    events = group_pictures([at(0, "a"), at(0, "a"), at(20, "b"), at(45, "c"), at(80, "d"), at(5, "e", "hare")])
    assert [(e.name, e.count, (e.time - start).seconds // 60) for e in events] == [
        ("fox", 2, 0),
        ("fox", 1, 80),
        ("hare", 1, 5),
    ]


def test_a_row_that_cannot_be_read_is_reported_with_its_reason():
    deployments = [
        {"deploymentID": "good", "deploymentStart": "2024-01-01T00:00:00Z", "deploymentEnd": "2024-01-03T00:00:00Z"},
        {"deploymentID": "late", "deploymentStart": "2024-01-03T00:00:00Z", "deploymentEnd": "2024-01-01T00:00:00Z"},
        {"deploymentID": "when", "deploymentStart": "spring", "deploymentEnd": ""},
        {
            "deploymentID": "mars",
            "deploymentStart": "2024-01-01T00:00:00Z",
            "deploymentEnd": "2024-01-03T00:00:00Z",
            "latitude": "123",
            "longitude": "4",
        },
    ]
    good = {
        "deploymentID": "good",
        "eventStart": "2024-01-01T05:00:00Z",
        "scientificName": "Vulpes vulpes",
        "observationType": "animal",
    }
    observations = [
        good,
        good | {"count": "-2", "eventStart": "2024-01-02T05:00:00Z"},
        good | {"deploymentID": "late"},
        good | {"observationType": "blank"},
        good | {"eventStart": ""},
    ]
    found = read_camtrap(deployments, observations, "p")
    assert list(found.visits) == ["good"]
    assert len(found.sightings) == 1
    assert found.n_without_animal == 1
    assert [where for where, _ in found.rejected] == [
        "p/deployments.csv, row 3",
        "p/deployments.csv, row 4",
        "p/deployments.csv, row 5",
        "p/observations.csv, row 3",
        "p/observations.csv, row 4",
        "p/observations.csv, row 6",
    ]
    reasons = [reason for _, reason in found.rejected]
    for reason, words in zip(
        reasons,
        (
            "lasts -2 days",
            "'spring' must be a time",
            "must be degrees north",
            "count '-2'",
            "'late' is not among",
            "'' must be a time",
        ),
        strict=True,
    ):
        assert words in reason
    assert (
        read_camtrap([deployments[0] | {"deploymentEnd": "2024-01-01T00:00:00Z"}], [], "p", camera_days=7)
        .visits["good"]
        .effort
        == 7
    )
    dwc = read_darwin_core(
        [{"eventID": "e", "eventDate": "2024-01-01", "totalAreaSampledValue": "50", "totalAreaSampledUnit": "ha"}],
        [{"eventID": "e", "scientificName": "x", "occurrenceID": "1"}, {"eventID": "", "scientificName": "x"}],
        "o",
    )
    assert dwc.visits["e"].effort == 0.5
    assert "no event with sampling effort" in dwc.rejected[0][1]
    assert read_camtrap(
        [{"id": "1", "deploymentStart": "2024-01-01", "deploymentEnd": "2024-01-02"}], [], "p"
    ).rejected == [("p/deployments.csv, row 2", "column 'deploymentID' is missing")]
    bank = read_movebank(
        [{"timestamp": "2024-01-01 00:00:00.000", "location-long": "", "location-lat": "", "visible": "true"}], "m"
    )
    assert "has no place" in bank.rejected[0][1]


def test_a_path_that_holds_nothing_known_is_an_error_of_one_line(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    for path, kind, words in (
        (tmp_path / "a.csv", ValueError, "not those of a known format"),
        (tmp_path, ValueError, "neither deployments"),
        (tmp_path / "b", FileNotFoundError, "no observations"),
    ):
        with pytest.raises(kind, match=words) as error:
            read_observations(path)
        assert "\n" not in str(error.value)
    (tmp_path / "a.csv").write_text("")
    assert read_observations(tmp_path / "a.csv").rejected


def test_the_table_has_a_row_for_every_sighting_and_every_empty_visit(watched):
    found = read_observations(watched[2])
    rows = found.to_rows()
    assert tuple(rows[0]) == COLUMNS
    assert sum(row["count"] for row in rows) == sum(one.count for one in found.sightings)
    assert {row["visit"] for row in rows} == set(found.visits)


def test_expected_counts_are_density_times_effort_times_detection_times_confusion(watched):
    _, survey, folder = watched
    species = {name: one for name, one in load_bundled_species().items() if name in ("rabbit", "red fox")}
    found = read_observations(folder)
    found.sightings.append(
        Sighting(visit=next(iter(found.visits)), time=GEO.parse_start(), name="Canis lupus", count=1)
    )
    counts = build_counts(found, survey, species, 30.0)
    assert counts.edges_h.tolist() == [0, 30, 60]
    assert [why for _, why in counts.rejected] == ["'Canis lupus' is neither in the world nor in the confusion table"]
    by_name = {(w, c.group, c.name): c for w, window in enumerate(counts.windows) for c in window}
    flight = by_name[0, "flight", "rabbit"]
    assert flight.per_density_s.tolist() == pytest.approx([0.4, 0])
    # At 30 h, the border of the spans, the second flight belongs to the later span.
    assert by_name[1, "flight", "rabbit"].per_density_s.tolist() == pytest.approx([0.8, 0])
    seen, missed = by_name[0, "cam", "rabbit"].per_density_s, by_name[0, "cam", UNIDENTIFIED].per_density_s
    assert missed[0] / (seen + missed)[0] == pytest.approx(0.3)
    assert missed[1] == 0
    fox = by_name[0, "cam", "red fox"].per_density_s[1]
    one = species["red fox"]
    width_km = (
        FieldOfView(range_m=20).compute_width_m(
            survey.cameras[0].detection, one.body_mass_kg, one.walk_speed_km_h / 3.6
        )
        / 1000
    )
    # Collars say 300 m an hour (less at the walls) instead of the table's path of a day.
    path = estimate_daily_paths(found.fixes)["Vulpes vulpes"]
    assert path.km == pytest.approx(7.2, rel=0.15)
    assert fox == pytest.approx(2 * 30 / 24 * width_km * path.km)
    # Where the animals walk is as unknown to all names alike; of a flight the path is no matter.
    stays = {name: by_name[0, "cam", name].stays_s for name in ("rabbit", "red fox")}
    assert all(one[1] - one[0] == pytest.approx(path.sd**2) for one in stays.values())
    assert flight.stays_s[0] == flight.stays_s[1]
    total = sum(c.y for window in counts.windows for c in window)
    assert total == sum(one.count for one in found.sightings) - 1


def test_a_name_above_species_stands_for_the_species_of_the_world_inside_it():
    species = {
        name: load_bundled_species()[name] for name in ("lion", "leopard", "spotted hyaena", "scrub hare", "termite")
    }
    found = find_species_within(
        ["Felidae", "Carnivora", "Panthera", "Lepus", "Canidae", "Canis lupus", "", "Nosuch"], species
    )
    assert found == {
        "Carnivora": {"lion", "leopard", "spotted hyaena"},
        "Felidae": {"lion", "leopard"},
        "Panthera": {"lion", "leopard"},
        # The vocabulary lacks Lepus victoriae; its genus says enough.
        "Lepus": {"scrub hare"},
    }


def test_reported_names_say_how_often_a_species_is_named_so():
    species = ("lion", "leopard", "hare")
    names = ["lion"] * 6 + ["leopard"] * 2 + ["Felidae"] * 2 + ["hare"] * 6 + [UNIDENTIFIED] * 4
    found = estimate_confusion(names, species, {"Felidae": {"lion", "leopard"}, "Canidae": {"hare"}})
    assert found.reported == (*species, UNIDENTIFIED, "Felidae")
    # A fifth of all stay unidentified; of the other cats two in ten are only known for cats.
    expected = [[0.64, 0, 0, 0.2, 0.16], [0, 0.64, 0, 0.2, 0.16], [0, 0, 0.8, 0.2, 0]]
    assert np.array(found.share) == pytest.approx(np.array(expected))
    assert estimate_confusion(["lion"], species, {}) == CERTAIN
    assert estimate_confusion([UNIDENTIFIED], species, {}).share[0][0] == pytest.approx(0.01)


def photographed(*sightings, start="2024-03-02T00:00:00+03:00"):
    """A camera of 30 days in a folder of its own and what it reported."""
    begin = parse_time(start)
    visit = Visit(id="d", kind="camera", site="photos/north", start=begin, end=begin + timedelta(days=30), effort=30)
    when = begin + timedelta(days=1)
    return Observations(
        visits={"d": visit}, sightings=[Sighting(visit="d", time=when, name=n, count=1) for n in sightings]
    )


def test_photographs_of_any_folder_are_those_of_the_surveys_cameras():
    species = {name: load_bundled_species()[name] for name in ("lion", "leopard")}
    near, far = (
        Survey(
            georeference=GEO,
            counts=(StripCounts(lines_m=((0, 0, 1, 0),)),),
            cameras=(CameraTraps(name="cam", places_m=((1.0, 1.0),), view=FieldOfView(range_m=range_m)),),
        )
        for range_m in (5, 20)
    )
    found = photographed("Panthera leo", "Panthera leo", "Felidae", "Vulpes vulpes")
    counts = [build_counts(found, survey, species, 24 * 40) for survey in (near, far)]
    lion = [next(one for one in c.windows[0] if one.name == "lion") for c in counts]
    assert [one.y for one in lion] == [2, 2]
    assert lion[1].per_density_s[0] > 2 * lion[0].per_density_s[0] > 0
    cats = next(one for one in counts[0].windows[0] if one.name == "Felidae")
    # Two lions in three are named so, and no leopard.
    assert cats.y == 1
    assert cats.per_density_s[0] == pytest.approx(lion[0].per_density_s[0] / 2)
    assert lion[0].per_density_s[1] == 0 < cats.per_density_s[1]
    assert any("Felidae may be any" in note for note in counts[0].notes)
    assert [why for _, why in counts[0].rejected] == [
        "'Vulpes vulpes' is neither in the world nor in the confusion table"
    ]


def test_only_what_a_visit_looked_for_can_have_been_missed():
    species = {name: load_bundled_species()[name] for name in ("lion", "leopard", "plains zebra")}
    survey = Survey(georeference=GEO)

    def told(found) -> np.ndarray:
        counts = build_counts(found, survey, species, 24 * 40)
        return np.sum([one.per_density_s for one in counts.windows[0]], axis=0) > 0, counts

    found = photographed("Panthera leo")
    where, counts = told(found)
    assert where.tolist() == [True, True, True]
    assert any("2 of the world's 3 animals were never reported" in note for note in counts.notes)
    for taxa, expected in (
        (("Panthera leo",), [1, 0, 0]),
        (("Felidae",), [1, 1, 0]),
        (("lion", "plains zebra"), [1, 0, 1]),
    ):
        found = photographed("Panthera leo", "Panthera pardus")
        found.set_target_taxa(taxa)
        where, counts = told(found)
        assert where.tolist() == list(map(bool, expected))
        strays = [why for _, why in counts.rejected]
        assert strays == ([] if expected[1] else ["'leopard' is not among the target taxa of its visit"])
        assert not any("never reported" in note for note in counts.notes)
        found.set_target_taxa(("plains zebra",))  # a visit that says it itself is asked no more
        assert next(iter(found.visits.values())).target_taxa == taxa
    elsewhere = photographed("Vulpes vulpes")
    elsewhere.set_target_taxa(("Vulpes vulpes",))
    with pytest.raises(ValueError, match="no visit looked for an animal of this world"):
        told(elsewhere)
    nobody = photographed("Vulpes vulpes")
    nobody.set_target_taxa(("lion",))
    assert told(nobody)[0].tolist() == [True, False, False]


def test_the_taxonomic_scope_of_an_event_says_what_it_looked_for():
    event = {
        "eventID": "e",
        "eventDate": "2024-03-02T00:00:00Z",
        "totalAreaSampledValue": "2",
        "totalAreaSampledUnit": "km2",
    }
    for scope, expected in (("Panthera leo | Equus quagga", ("Panthera leo", "Equus quagga")), ("", ())):
        found = read_darwin_core([event | {"targetTaxonomicScope": scope}], [], "o.csv")
        assert found.visits["e"].target_taxa == expected


def photograph(path: Path, taken: str) -> None:
    """A JPEG with its time."""
    path.parent.mkdir(exist_ok=True)
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = taken
    Image.new("RGB", (8, 8)).save(path, exif=exif)


@pytest.mark.parametrize(
    ("labels", "within", "expected"),
    [
        ("", [], ()),
        ("lion, leopard", [], ("lion", "leopard")),
        ("", ["Felidae"], ("Felidae",)),
        ("0f12ab", [], ("lion",)),
    ],
)
def test_the_manifest_of_identify_says_among_what_it_chose(tmp_path, labels, within, expected):
    rows = [f"north/{i}.jpg,identified,lion" for i in range(2)] + ["north/3.jpg,unidentified,"]
    (tmp_path / "t.csv").write_text("file,status,name\n" + "\n".join(rows) + "\n", encoding="utf-8")
    for i in (0, 1, 3):
        photograph(tmp_path / f"north/{i}.jpg", f"2024:03:0{i + 2} 10:00:00")
    manifest = tmp_path / "t.csv.manifest.json"
    manifest.write_text(json.dumps({"options": {"labels": labels, "within": within}}), encoding="utf-8")
    assert [visit.target_taxa for visit in read_observations(tmp_path / "t.csv").visits.values()] == [expected]
    manifest.write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="not a manifest of linnaea identify"):
        read_observations(tmp_path / "t.csv")


def test_observations_of_another_place_or_time_are_said():
    species = {"rabbit": load_bundled_species()["rabbit"]}
    with pytest.raises(
        ValueError, match=r"none of the 1 reported animals lives in this world.*'Panthera leo'.*--looked-for"
    ):
        build_counts(photographed("Panthera leo"), Survey(georeference=GEO), species, 24 * 30)
    early = Survey(georeference=Georeference(start="2020-01-01T00:00:00Z"))
    late = Survey(georeference=Georeference(start="2025-01-01T00:00:00Z"))
    assert any(
        "1522 days after the survey's start" in note
        for note in build_counts(photographed("rabbit"), early, species, 720).notes
    )
    for found, words in (
        (photographed("rabbit"), "began before the survey's start, 2025"),
        (Observations(), "collars alone"),
        (Observations(rejected=[("a.csv", "the table has no rows")]), "a.csv: the table has no rows"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            build_counts(found, late, species, 720)
        assert "\n" not in str(error.value)
