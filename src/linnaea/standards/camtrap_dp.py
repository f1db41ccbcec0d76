"""Predictions as a Camera Trap Data Package, version 1.0.2 (https://camtrap-dp.tdwg.org).

Each folder is one deployment. Missing data is not invented: without a place the coordinates stay empty, to be filled in
before publication; a missing capture time is replaced by the time of the file, and marked as an issue.
"""

from __future__ import annotations

import csv
import mimetypes
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from linnaea.photos.photo_files import format_path
from linnaea.records import RANKS, Prediction
from linnaea.standards.camtrap_observations import OBSERVATIONS, make_event_observations, make_media_observation
from linnaea.standards.darwin_core import find_scientific_name, make_stable_id
from linnaea.standards.events import Event
from linnaea.standards.exif import PhotoMetadata, read_photo_metadata
from linnaea.store import write_json

VERSION = "1.0.2"
SCHEMAS = f"https://raw.githubusercontent.com/tdwg/camtrap-dp/{VERSION}"


def _columns(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# In the order of the standard's table schemas.
DEPLOYMENTS = _columns(
    "deploymentID locationID locationName latitude longitude coordinateUncertainty deploymentStart deploymentEnd "
    "setupBy cameraID cameraModel cameraDelay cameraHeight cameraDepth cameraTilt cameraHeading detectionDistance "
    "timestampIssues baitUse featureType habitat deploymentGroups deploymentTags deploymentComments"
)
MEDIA = _columns(
    "mediaID deploymentID captureMethod timestamp filePath filePublic fileName fileMediatype exifData favorite "
    "mediaComments"
)
NO_TIME = "no capture time recorded; the time is that of the file"
NO_ZONE = "time zone not recorded; UTC assumed"


@dataclass
class _Deployment:
    """What the photographs of one folder have in common."""

    id: str
    folder: str
    first: str = ""
    last: str = ""
    issues: set[str] = field(default_factory=set)
    latitudes: list[float] = field(default_factory=list)
    longitudes: list[float] = field(default_factory=list)
    camera: str = ""


@dataclass(slots=True)
class _Stay:
    """An event with its deployment and the times of its first and last photograph."""

    event: Event
    deployment_id: str
    start: str
    end: str

    def add(self, timestamp: str) -> None:
        when = datetime.fromisoformat(timestamp)
        if when < datetime.fromisoformat(self.start):
            self.start = timestamp
        if when > datetime.fromisoformat(self.end):
            self.end = timestamp


@dataclass(frozen=True, kw_only=True)
class PackageMetadata:
    """Who named the photographs, when (ISO 8601), and the place of photographs that record none.

    `read` returns the metadata of the photograph at a path.
    """

    classified_by: str
    created: str
    near: tuple[float, float] | None = None
    read: Callable[[str], PhotoMetadata] = read_photo_metadata


def write_package(package_dir: Path, rows: Iterable[tuple[str, Prediction, Event]], facts: PackageMetadata) -> int:
    """Write datapackage.json, deployments.csv, media.csv and observations.csv.

    Returns the number of deployments without place. `rows` are predictions with the path of their photograph and its
    event; those of one photograph are consecutive. Only the first name of each image or box counts. The observations of
    events follow those of photographs.
    """
    deployments: dict[str, _Deployment] = {}
    taxa: dict[str, Prediction] = {}
    stays: dict[str, _Stay] = {}
    media_row, photo = {}, PhotoMetadata()
    last_path = None
    with (
        open(package_dir / "media.csv", "w", newline="", encoding="utf-8") as media_file,
        open(package_dir / "observations.csv", "w", newline="", encoding="utf-8") as observation_file,
    ):
        media = csv.DictWriter(media_file, MEDIA, restval="", lineterminator="\n")
        observations = csv.DictWriter(observation_file, OBSERVATIONS, restval="", lineterminator="\n")
        media.writeheader()
        observations.writeheader()
        classified = {"classifiedBy": facts.classified_by, "classificationTimestamp": facts.created}
        for path, prediction, event in rows:
            if prediction.position != 1:
                continue
            parent = format_path(os.path.dirname(path)) or "."
            deployment = deployments.setdefault(
                parent, _Deployment(id=make_stable_id("deployment", parent), folder=parent)
            )
            if path != last_path:
                last_path, photo = path, facts.read(path)
                timestamp, issue = _find_timestamp(photo)
                _add_to(deployment, photo, timestamp, issue)
                media_id = make_stable_id("media", format_path(path))
                media_row = _make_media_row(media_id, deployment, path, photo, timestamp, issue)
                media.writerow(media_row)
                stays.setdefault(event.id, _Stay(event, deployment.id, timestamp, timestamp)).add(timestamp)
            observations.writerow(make_media_observation(path, prediction, event, media_row, photo) | classified)
            _add_taxon(taxa, prediction)
        for stay in stays.values():
            for row in make_event_observations(stay.event, stay.deployment_id, stay.start, stay.end):
                observations.writerow(row | classified)
            for observation in stay.event.observations:
                _add_taxon(taxa, observation.prediction)
    n_unplaced = _write_deployments(package_dir, deployments.values(), facts)
    write_json(package_dir / "datapackage.json", _make_descriptor(deployments.values(), taxa.values(), facts))
    return n_unplaced


def _add_taxon(taxa: dict[str, Prediction], prediction: Prediction) -> None:
    if prediction.status == "identified" and (name := find_scientific_name(prediction)):
        taxa.setdefault(name, prediction)


def _find_timestamp(photo: PhotoMetadata) -> tuple[str, str]:
    """The capture time with its offset, as the standard requires, and an issue with it or ""."""
    if photo.event_date:
        when = datetime.fromisoformat(photo.event_date)
        issue = "" if when.tzinfo else NO_ZONE
    else:
        when, issue = datetime.fromtimestamp(photo.modified_s, UTC), NO_TIME
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    return when.isoformat().replace("+00:00", "Z"), issue


def _add_to(deployment: _Deployment, photo: PhotoMetadata, timestamp: str, issue: str) -> None:
    when = datetime.fromisoformat(timestamp)
    if not deployment.first or when < datetime.fromisoformat(deployment.first):
        deployment.first = timestamp
    if not deployment.last or when > datetime.fromisoformat(deployment.last):
        deployment.last = timestamp
    if issue:
        deployment.issues.add(issue)
    if photo.latitude is not None and photo.longitude is not None:
        deployment.latitudes.append(photo.latitude)
        deployment.longitudes.append(photo.longitude)
    deployment.camera = deployment.camera or photo.camera


def _make_media_row(
    media_id: str, deployment: _Deployment, path: str, photo: PhotoMetadata, timestamp: str, issue: str
) -> dict:
    return {
        "mediaID": media_id,
        "deploymentID": deployment.id,
        "timestamp": timestamp,
        "filePath": _make_package_path(path),
        "filePublic": "false",
        "fileName": format_path(os.path.basename(path)),
        "fileMediatype": photo.media_type or _guess_image_type(path),
        "mediaComments": issue,
    }


def _guess_image_type(path: str) -> str:
    """The media type for the file's suffix; the standard allows images only."""
    guess = mimetypes.guess_type(path)[0] or ""
    return guess if guess.startswith("image/") else "image/jpeg"


def _make_package_path(path: str) -> str:
    """The path as the standard allows it: relative, without a leading dot; other paths become file: addresses."""
    text = format_path(path).replace(os.sep, "/").removeprefix("./")
    if text.startswith(("/", ".", "~")) or ".." in text:
        return "file://" + format_path(os.path.abspath(path)).replace(os.sep, "/")
    return text


def _write_deployments(package_dir: Path, deployments: Iterable[_Deployment], facts: PackageMetadata) -> int:
    n_unplaced = 0
    with open(package_dir / "deployments.csv", "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, DEPLOYMENTS, restval="", lineterminator="\n")
        writer.writeheader()
        for deployment in deployments:
            place = _find_place(deployment, facts)
            n_unplaced += place is None
            latitude, longitude = place or ("", "")
            writer.writerow(
                {
                    "deploymentID": deployment.id,
                    "locationName": deployment.folder,
                    "latitude": latitude,
                    "longitude": longitude,
                    "deploymentStart": deployment.first,
                    "deploymentEnd": deployment.last,
                    "cameraModel": deployment.camera,
                    "timestampIssues": str(bool(deployment.issues)).lower(),
                    "deploymentComments": "; ".join(sorted(deployment.issues)),
                }
            )
    return n_unplaced


def _find_place(deployment: _Deployment, facts: PackageMetadata) -> tuple[float, float] | None:
    """The median place of the photographs, `facts.near` without any."""
    if not deployment.latitudes:
        return facts.near
    middle = len(deployment.latitudes) // 2
    return sorted(deployment.latitudes)[middle], sorted(deployment.longitudes)[middle]


def _make_descriptor(deployments: Iterable[_Deployment], taxa: Iterable[Prediction], facts: PackageMetadata) -> dict:
    deployments = list(deployments)
    places = [place for deployment in deployments if (place := _find_place(deployment, facts)) is not None]
    points = [[longitude, latitude] for latitude, longitude in dict.fromkeys(places)]
    days = sorted(time[:10] for deployment in deployments for time in (deployment.first, deployment.last))
    return {
        "profile": f"{SCHEMAS}/camtrap-dp-profile.json",
        "name": "linnaea-observations",
        "id": make_stable_id("package", *(deployment.id for deployment in deployments)),
        "created": facts.created,
        "contributors": [{"title": facts.classified_by, "role": "contributor"}],
        "resources": describe_resources(),
        "project": {
            "title": "Photographs named by Linnaea",
            "samplingDesign": "opportunistic",
            "captureMethod": ["activityDetection"],
            "individualAnimals": False,
            "observationLevel": ["media", "event"],
        },
        "spatial": {"type": "MultiPoint", "coordinates": points},
        "temporal": {"start": days[0] if days else facts.created[:10], "end": days[-1] if days else facts.created[:10]},
        "taxonomic": [_describe_taxon(taxon) for taxon in taxa],
    }


def describe_resources() -> list[dict]:
    """The part of a package's descriptor about its three tables."""
    return [
        {
            "name": name,
            "path": f"{name}.csv",
            "profile": "tabular-data-resource",
            "format": "csv",
            "mediatype": "text/csv",
            "encoding": "utf-8",
            "schema": f"{SCHEMAS}/{name}-table-schema.json",
        }
        for name in ("deployments", "media", "observations")
    ]


def _describe_taxon(taxon: Prediction) -> dict:
    lineage = dict(zip(RANKS, taxon.lineage, strict=True))
    entry = {"scientificName": find_scientific_name(taxon), "taxonRank": taxon.rank}
    entry |= {rank: lineage[rank] for rank in RANKS[:-1] if lineage[rank]}
    return entry | ({"vernacularNames": {"eng": taxon.common_name}} if taxon.common_name else {})
