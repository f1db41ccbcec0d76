"""Darwin Core and Camtrap DP."""

import csv
import dataclasses
import json
import re
from datetime import datetime

import pytest
from PIL import Image

from linnaea.records import Box, Prediction, RankedName
from linnaea.standards import camtrap_deployments, camtrap_observations, darwin_core
from linnaea.standards import camtrap_dp as camtrap
from linnaea.standards.camtrap_dp import PackageMetadata, write_package
from linnaea.standards.camtrap_observations import classify_observation
from linnaea.standards.captures import CaptureIndex
from linnaea.standards.darwin_core import make_occurrence_rows
from linnaea.standards.exif import PhotoMetadata, read_photo_metadata
from made_events import join_events

CAT = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Felis", "Felis catus")


def identified(file, lineage=CAT, **more):
    fields = {"rank": "species", "name": lineage[-1], "confidence": 0.91, "similarity": 0.3} | more
    return Prediction(file=file, status="identified", lineage=lineage, **fields)


@pytest.fixture
def photo(tmp_path):
    exif = Image.Exif()
    exif[0x0110] = "HC500"
    exif.get_ifd(0x8769).update({0x9003: "2021:05:03 06:07:08", 0x9011: "+02:00"})
    exif.get_ifd(0x8825).update({1: "S", 2: (2.0, 30.0, 0.0), 3: "E", 4: (34.0, 45.0, 36.0)})
    path = tmp_path / "site A" / "cat, 1.jpg"
    path.parent.mkdir()
    Image.new("RGB", (200, 100)).save(path, exif=exif)
    return path


@pytest.fixture
def bare(tmp_path):
    path = tmp_path / "bare.png"
    Image.new("RGB", (20, 10)).save(path)
    return path


@pytest.fixture
def unplaced(tmp_path):
    """A photograph with a time without zone, and without a place."""
    exif = Image.Exif()
    exif[0x0110] = "HC500"
    exif.get_ifd(0x8769).update({0x9003: "2021:05:04 06:07:08"})
    path = tmp_path / "loose" / "unplaced.png"
    path.parent.mkdir()
    Image.new("RGB", (20, 10)).save(path, exif=exif)
    return path


def find_captures(rows):
    return CaptureIndex(dict.fromkeys(path for path, _prediction in rows)).find


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_time_and_place_come_from_the_photograph(photo, bare, tmp_path):
    facts = read_photo_metadata(photo)
    assert (facts.event_date, facts.latitude, facts.longitude) == ("2021-05-03T06:07:08+02:00", -2.5, 34.76)
    assert facts.camera == "HC500"
    assert facts.media_type == "image/jpeg"
    assert read_photo_metadata(bare).event_date == ""
    assert read_photo_metadata(tmp_path / "gone").media_type == ""


def test_an_occurrence_has_the_terms_of_the_standard(photo, bare):
    file = str(photo)
    predictions = [
        (file, identified(file, common_name="cat")),
        (file, identified(file, position=2)),
        (str(bare), identified(str(bare), ("Plantae", *[""] * 6), rank="kingdom", name="Plantae")),
        (str(bare), Prediction(file="x", status="unidentified", outcome="no_organism")),
    ]
    rows = list(make_occurrence_rows(predictions, "Linnaea", find_captures(predictions), near=(1.0, 2.0)))
    assert len(rows) == 2
    assert all(tuple(row) == darwin_core.COLUMNS for row in rows)
    cat, plant = rows
    assert cat["basisOfRecord"] == "MachineObservation"
    assert cat["identificationVerificationStatus"] == "unverified"
    assert (cat["scientificName"], cat["taxonRank"], cat["genus"], cat["specificEpithet"]) == (
        "Felis catus",
        "species",
        "Felis",
        "catus",
    )
    assert (cat["eventDate"], cat["decimalLatitude"]) == ("2021-05-03T06:07:08+02:00", -2.5)
    assert (plant["decimalLatitude"], plant["decimalLongitude"], plant["specificEpithet"]) == (1.0, 2.0, "")


def test_an_occurrence_keeps_its_identifier_from_run_to_run_and_none_shares_it(tmp_path, monkeypatch):
    boxes = [None, *(Box(left=0, top=0, right=right, bottom=1) for right in (1.1, 1.2))]  # two that round to one
    rows = [("a.jpg", identified("a.jpg", box=box)) for box in boxes]
    first, again = (
        [row["occurrenceID"] for row in make_occurrence_rows(rows, "x", find_captures(rows))] for _ in range(2)
    )
    assert first == again
    assert len(set(first)) == 3
    monkeypatch.chdir(tmp_path)
    elsewhere = [row["occurrenceID"] for row in make_occurrence_rows(rows, "x", find_captures(rows))]
    assert not set(first) & set(elsewhere)


def test_labels_that_are_no_taxa_are_no_scientific_names(tmp_path, unplaced):
    none = ("",) * 7
    rows = [
        (str(unplaced), identified(str(unplaced), CAT, name="house cat")),
        (str(unplaced), identified(str(unplaced), none, name="fur | left", rank="")),
        (str(unplaced), identified(str(unplaced), CAT)),
        (str(unplaced), identified(str(unplaced), (*CAT[:5], "", ""), rank="family", name="cats")),
    ]
    occurrences = list(make_occurrence_rows(rows, "x", find_captures(rows)))
    terms = ("scientificName", "taxonRank", "verbatimIdentification")
    assert [tuple(row[term] for term in terms) for row in occurrences] == [
        ("Felis catus", "species", "house cat"),
        ("", "", "fur | left"),
        ("Felis catus", "species", ""),
        ("Felidae", "family", "cats"),
    ]
    folder = tmp_path / "labels"
    folder.mkdir()
    write_package(folder, join_events(rows), PackageMetadata(classified_by="x", created="2024-01-02T03:04:05Z"))
    observations = [row for row in rows_of(folder / "observations.csv") if row["observationLevel"] == "media"]
    assert [(row["scientificName"], row["observationTags"]) for row in observations] == [
        ("Felis catus", "label:house cat"),
        ("", "label:fur / left"),
        ("Felis catus", ""),
        ("Felidae", "label:cats"),
    ]
    taxonomic = json.loads((folder / "datapackage.json").read_text())["taxonomic"]
    assert [taxon["scientificName"] for taxon in taxonomic] == ["Felis catus", "Felidae"]


# The constraints of version 1.0.2's table schemas that concern the columns we fill.
REQUIRED = {
    "deployments": ("deploymentID", "latitude", "longitude", "deploymentStart", "deploymentEnd"),
    "media": ("mediaID", "deploymentID", "timestamp", "filePath", "filePublic", "fileMediatype"),
    "observations": (
        "observationID",
        "deploymentID",
        "eventStart",
        "eventEnd",
        "observationLevel",
        "observationType",
    ),
}
FILE_PATH = re.compile(r"^(?=^[^./~])(^((?!\.{2}).)*$).*$")
TYPES = {"animal", "human", "vehicle", "blank", "unknown", "unclassified"}


@pytest.fixture
def package(tmp_path, photo, unplaced, bare):
    box = Box(left=50, top=20, right=210, bottom=100, confidence=0.9, label="animal")
    rows = [
        (str(photo), identified(str(photo), box=box, common_name="cat")),
        (str(photo), identified(str(photo), position=2, box=box)),
        (str(photo), Prediction(file=str(photo), status="unidentified", outcome="no_organism")),
        (str(unplaced), Prediction(file=str(unplaced), status="unreadable", reason="damaged")),
        (str(bare), identified(str(bare))),
    ]
    folder = tmp_path / "package"
    folder.mkdir()
    facts = PackageMetadata(classified_by="Linnaea", created="2024-01-02T03:04:05Z", near=(1.0, 2.0))
    assert write_package(folder, join_events(rows), facts) == (0, 1)
    return folder


def test_every_table_of_the_package_fills_what_the_standard_requires(package):
    modules = {"deployments": camtrap_deployments, "media": camtrap, "observations": camtrap_observations}
    for name, columns in REQUIRED.items():
        rows = rows_of(package / f"{name}.csv")
        assert rows and all(row[column] for row in rows for column in columns), name
        assert tuple(rows[0]) == getattr(modules[name], name.upper())
        identifiers = [row[columns[0]] for row in rows]
        assert len(identifiers) == len(set(identifiers))


def test_values_obey_the_standards_constraints_and_keys_meet(package):
    deployments, media, observations = (rows_of(package / f"{n}.csv") for n in ("deployments", "media", "observations"))
    assert len(deployments) == 2
    assert len(media) == 2
    of_media = [row for row in observations if row["observationLevel"] == "media"]
    assert len(of_media) == 3
    assert all(FILE_PATH.match(row["filePath"]) for row in media)
    for row in media:
        assert datetime.strptime(row["timestamp"], "%Y-%m-%dT%H:%M:%S%z")
    assert {row["mediaID"] for row in of_media} <= {row["mediaID"] for row in media}
    assert {row["deploymentID"] for row in media} <= {row["deploymentID"] for row in deployments}
    assert {row["observationType"] for row in observations} <= TYPES
    cat, blank, broken = of_media
    assert (cat["scientificName"], cat["classificationMethod"], cat["classificationProbability"]) == (
        "Felis catus",
        "machine",
        "0.91",
    )
    assert [float(cat[c]) for c in ("bboxX", "bboxY", "bboxWidth", "bboxHeight")] == [0.25, 0.2, 0.75, 0.8]
    assert (blank["observationType"], broken["observationType"]) == ("blank", "unclassified")
    site, loose = deployments
    assert (site["latitude"], site["timestampIssues"]) == ("-2.5", "false")
    assert (loose["latitude"], loose["timestampIssues"]) == ("1.0", "true")
    assert "UTC assumed" in loose["deploymentComments"]


def test_a_photograph_without_a_time_gets_none_and_is_listed_apart(package, bare):
    (row,) = rows_of(package / "left_out.csv")
    assert (row["file"], row["why"], row["name"]) == (str(bare), "no capture time", "Felis catus")
    assert "bare.png" not in (package / "media.csv").read_text(encoding="utf-8")


def test_an_event_has_one_observation_for_each_taxon_and_its_count_from_boxes(tmp_path):
    root = tmp_path / "site"
    root.mkdir()
    paths = [str(root / f"{k}.jpg") for k in range(4)]
    for k, path in enumerate(paths):
        exif = Image.Exif()
        # Three photographs within four seconds, one an hour later.
        exif.get_ifd(0x8769).update({0x9003: f"2021:05:03 {6 + k // 3:02}:07:{2 * (k % 3):02}", 0x9011: "+02:00"})
        Image.new("RGB", (200, 100)).save(path, exif=exif)
    boxes = [Box(left=x, top=0, right=x + 50, bottom=50) for x in (0, 60, 120)]
    rows = [
        (paths[0], identified(paths[0], box=boxes[0])),
        (paths[1], identified(paths[1], box=boxes[0])),
        (paths[1], identified(paths[1], box=boxes[1])),
        (paths[2], Prediction(file=paths[2], status="unidentified", outcome="no_detection", reason="nothing")),
        (paths[3], Prediction(file=paths[3], status="unidentified", outcome="human", reason="a person", box=boxes[2])),
    ]
    facts = PackageMetadata(classified_by="Linnaea", created="2024-01-02T03:04:05Z", near=(1.0, 2.0))
    write_package(tmp_path, join_events(rows), facts)
    observations = rows_of(tmp_path / "observations.csv")
    media = [row for row in observations if row["observationLevel"] == "media"]
    events = [row for row in observations if row["observationLevel"] == "event"]
    assert [(row["observationType"], row["count"]) for row in media] == [
        ("animal", "1"),
        ("animal", "1"),
        ("animal", "1"),
        ("blank", ""),
        ("human", "1"),
    ]
    assert [row["eventID"] for row in media] == [events[0]["eventID"]] * 4 + [events[1]["eventID"]]
    columns = ("observationType", "scientificName", "count", "eventStart", "eventEnd", "mediaID", "bboxX")
    assert [tuple(row[column] for column in columns) for row in events] == [
        ("animal", "Felis catus", "2", "2021-05-03T06:07:00+02:00", "2021-05-03T06:07:04+02:00", "", ""),
        ("human", "", "1", "2021-05-03T07:07:00+02:00", "2021-05-03T07:07:00+02:00", "", ""),
    ]
    assert len({row["observationID"] for row in observations}) == 7
    assert {row["deploymentID"] for row in events} == {row["deploymentID"] for row in rows_of(tmp_path / "media.csv")}
    project = json.loads((tmp_path / "datapackage.json").read_text(encoding="utf-8"))["project"]
    assert project["observationLevel"] == ["media", "event"]


def test_the_descriptor_names_the_three_tables_and_their_schemas(package):
    descriptor = json.loads((package / "datapackage.json").read_text(encoding="utf-8"))
    required = ("profile", "created", "contributors", "project", "spatial", "temporal", "taxonomic", "resources")
    assert all(descriptor[key] for key in required)
    assert [resource["path"] for resource in descriptor["resources"]] == [f"{name}.csv" for name in REQUIRED]
    assert all("/1.0.2/" in resource["schema"] for resource in descriptor["resources"])
    assert descriptor["taxonomic"][0]["scientificName"] == "Felis catus"
    assert descriptor["temporal"]["start"] == "2021-05-03"
    assert {"title", "samplingDesign", "captureMethod", "individualAnimals", "observationLevel"} <= set(
        descriptor["project"]
    )


def test_a_place_that_nothing_records_is_left_empty_and_told(tmp_path, unplaced):
    facts = PackageMetadata(classified_by="Linnaea", created="2024-01-02T03:04:05Z")
    assert write_package(tmp_path, join_events([(str(unplaced), identified(str(unplaced)))]), facts) == (1, 0)
    assert rows_of(tmp_path / "deployments.csv")[0]["latitude"] == ""


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        (identified("x"), "animal"),
        (identified("x", (*CAT[:3], "Primates", "Hominidae", "Homo", "Homo sapiens")), "human"),
        (identified("x", ("Plantae", *[""] * 6)), "unknown"),
        (Prediction(file="x", status="unidentified", outcome="vehicle"), "vehicle"),
        (Prediction(file="x", status="unidentified", outcome="no_detection"), "blank"),
        (Prediction(file="x", status="unidentified", reason="below the floor of 0.50: …"), "unknown"),
    ],
)
def test_the_kind_of_an_observation_follows_the_evidence(prediction, expected):
    assert classify_observation(prediction) == expected


@pytest.mark.parametrize("outcome", ["unsure", "outside_list"])
@pytest.mark.parametrize(
    ("kingdom", "confidence", "expected"),
    [("Animalia", 0.95, "animal"), ("Animalia", 0.6, "unknown"), ("Plantae", 0.99, "unknown")],
)
def test_an_organism_without_a_name_is_an_animal_if_its_kingdom_is_certain(outcome, kingdom, confidence, expected):
    best = RankedName(rank="kingdom", name=kingdom, confidence=confidence)
    row = Prediction(file="a.jpg", status="unidentified", outcome=outcome, path_confidence=(best,))
    assert classify_observation(row) == expected


@pytest.mark.parametrize(
    ("path", "kind"),
    [("a.png", "image/png"), ("notes.txt", "image/jpeg"), ("folder", "image/jpeg"), ("a.nef", "image/")],
)
def test_every_file_of_a_package_has_an_images_media_type(tmp_path, path, kind):
    row = Prediction(file=path, status="unreadable", reason="not an image: the content is text")
    facts = PackageMetadata(classified_by="x", created="2024-01-01T00:00:00Z")
    # A file that no reader opens, with the time that its events get.
    timed = CaptureIndex([str(tmp_path / path)], lambda path: PhotoMetadata(event_date="2024-01-01T00:00:00Z"))
    facts = dataclasses.replace(facts, captures=timed)
    write_package(tmp_path, join_events([(str(tmp_path / path), row)]), facts)
    (media,) = csv.DictReader((tmp_path / "media.csv").read_text(encoding="utf-8").splitlines())
    assert media["fileMediatype"].startswith(kind)
