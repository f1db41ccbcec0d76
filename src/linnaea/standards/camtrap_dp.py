"""Predictions as a Camera Trap Data Package, version 1.0.2 (https://camtrap-dp.tdwg.org).

Missing data is not invented. The standard requires a time for every photograph, so photographs without a capture time
are listed in left_out.csv with what was seen, and are not in the package's tables. Without a place the coordinates stay
empty, to be filled in before publication.
"""

from __future__ import annotations

import csv
import mimetypes
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from linnaea.photos.photo_files import format_path
from linnaea.photos.video import MEDIA_TYPES, is_video
from linnaea.records import RANKS, Prediction
from linnaea.standards.camtrap_deployments import DeploymentPeriod, format_timestamp, write_deployments
from linnaea.standards.camtrap_observations import OBSERVATIONS, make_event_observations, make_media_observation
from linnaea.standards.captures import CaptureIndex
from linnaea.standards.darwin_core import find_scientific_name, make_stable_id
from linnaea.standards.events import Event
from linnaea.standards.exif import PhotoMetadata, read_photo_metadata
from linnaea.store import write_json

VERSION = "1.0.2"
SCHEMAS = f"https://raw.githubusercontent.com/tdwg/camtrap-dp/{VERSION}"
# In the order of the standard's table schema.
_COLUMNS = (
    "mediaID deploymentID captureMethod timestamp filePath filePublic fileName fileMediatype exifData favorite "
    "mediaComments"
)
MEDIA = tuple(_COLUMNS.split())
# Photographs that the standard has no place for, with what was seen in them.
LEFT_OUT_FILE = "left_out.csv"
LEFT_OUT = ("file", "why", "station", "status", "outcome", "reason", "rank", "name", "common_name", "confidence")
NO_TIME = "no capture time"


class PackageGaps(NamedTuple):
    """How many deployments have no coordinates, and how many photographs are left out for want of a time."""

    n_unplaced: int
    n_left_out: int


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

    `read` returns the metadata of the photograph at a path. `captures` has time, place and deployment of the
    photographs; by default they are those that the photographs record.
    """

    classified_by: str
    created: str
    near: tuple[float, float] | None = None
    read: Callable[[str], PhotoMetadata] = read_photo_metadata
    captures: CaptureIndex | None = None


class _Package:
    """The rows of a package's tables, written as they come."""

    def __init__(self, facts: PackageMetadata, captures: CaptureIndex, media, observations, left_out):
        self._facts, self._captures = facts, captures
        self._media, self._observations, self._left_out = (
            _write_header(handle, columns)
            for handle, columns in ((media, MEDIA), (observations, OBSERVATIONS), (left_out, LEFT_OUT))
        )
        self._classified = {"classifiedBy": facts.classified_by, "classificationTimestamp": facts.created}
        self.periods: dict[str, DeploymentPeriod] = {}
        self.taxa: dict[str, Prediction] = {}
        self._stays: dict[str, _Stay] = {}
        self.n_left_out = 0
        self._path: str | None = None
        self._media_row, self._photo = {}, PhotoMetadata()

    def add(self, path: str, prediction: Prediction, event: Event) -> None:
        """Write the observation of an image, and before it, once, its photograph."""
        is_new, self._path = path != self._path, path
        capture = self._captures.find(path)
        if not capture.captured_at:
            self.n_left_out += is_new
            row = {column: getattr(prediction, column, "") for column in LEFT_OUT}
            self._left_out.writerow(row | {"file": format_path(path), "why": NO_TIME, "station": capture.station})
            return
        if is_new:
            self._photo = self._facts.read(path)
            timestamp, issue = format_timestamp(capture.captured_at)
            deployment = capture.deployment
            period = self.periods.setdefault(deployment.id, DeploymentPeriod(deployment=deployment))
            period.add(timestamp, issue, self._photo.camera)
            self._media_row = _make_media_row(deployment.id, path, self._photo, timestamp, issue)
            self._media.writerow(self._media_row)
            self._stays.setdefault(event.id, _Stay(event, deployment.id, timestamp, timestamp)).add(timestamp)
        row = make_media_observation(path, prediction, event, self._media_row, self._photo)
        self._observations.writerow(row | self._classified)
        self._add_taxon(prediction)

    def add_events(self) -> None:
        """Write the observations of the events."""
        for stay in self._stays.values():
            for row in make_event_observations(stay.event, stay.deployment_id, stay.start, stay.end):
                self._observations.writerow(row | self._classified)
            for observation in stay.event.observations:
                self._add_taxon(observation.prediction)

    def _add_taxon(self, prediction: Prediction) -> None:
        if prediction.status == "identified" and (name := find_scientific_name(prediction)):
            self.taxa.setdefault(name, prediction)


def _write_header(handle, columns: tuple[str, ...]) -> csv.DictWriter:
    writer = csv.DictWriter(handle, columns, restval="", lineterminator="\n")
    writer.writeheader()
    return writer


def write_package(
    package_dir: Path, rows: Iterable[tuple[str, Prediction, Event]], facts: PackageMetadata
) -> PackageGaps:
    """Write datapackage.json, deployments.csv, media.csv and observations.csv, and left_out.csv if it has rows.

    `rows` are predictions with the path of their photograph and its event; those of one photograph are consecutive.
    Only the first name of each image or box counts. The observations of events follow those of photographs.
    """
    captures = facts.captures
    if captures is None:
        rows = list(rows)
        captures = CaptureIndex(dict.fromkeys(path for path, _prediction, _event in rows), facts.read)
    left_out_path = package_dir / LEFT_OUT_FILE
    with (
        open(package_dir / "media.csv", "w", newline="", encoding="utf-8") as media,
        open(package_dir / "observations.csv", "w", newline="", encoding="utf-8") as observations,
        open(left_out_path, "w", newline="", encoding="utf-8") as left_out,
    ):
        package = _Package(facts, captures, media, observations, left_out)
        for path, prediction, event in rows:
            if prediction.position == 1:
                package.add(path, prediction, event)
        package.add_events()
    if not package.n_left_out:
        left_out_path.unlink()
    periods = list(package.periods.values())
    n_unplaced = write_deployments(package_dir, periods, facts.near)
    write_json(package_dir / "datapackage.json", _make_descriptor(periods, package.taxa.values(), facts))
    return PackageGaps(n_unplaced, package.n_left_out)


def _make_media_row(deployment_id: str, path: str, photo: PhotoMetadata, timestamp: str, issue: str) -> dict:
    return {
        "mediaID": make_stable_id("media", format_path(path)),
        "deploymentID": deployment_id,
        "timestamp": timestamp,
        "filePath": _make_package_path(path),
        "filePublic": "false",
        "fileName": format_path(os.path.basename(path)),
        "fileMediatype": photo.media_type or _guess_image_type(path),
        "mediaComments": issue,
    }


def _guess_image_type(path: str) -> str:
    """The media type for the file's suffix: an image, or a video."""
    if is_video(path):
        return MEDIA_TYPES[os.path.splitext(path)[1].lower()]
    guess = mimetypes.guess_type(path)[0] or ""
    return guess if guess.startswith("image/") else "image/jpeg"


def _make_package_path(path: str) -> str:
    """The path as the standard allows it: relative, without a leading dot; other paths become file: addresses."""
    text = format_path(path).replace(os.sep, "/").removeprefix("./")
    if text.startswith(("/", ".", "~")) or ".." in text:
        return "file://" + format_path(os.path.abspath(path)).replace(os.sep, "/")
    return text


def _make_descriptor(periods: list[DeploymentPeriod], taxa: Iterable[Prediction], facts: PackageMetadata) -> dict:
    places = [place for period in periods if (place := period.find_place(facts.near)) is not None]
    points = [[longitude, latitude] for latitude, longitude in dict.fromkeys(places)]
    days = sorted(time[:10] for period in periods for time in period.list_bounds())
    return {
        "profile": f"{SCHEMAS}/camtrap-dp-profile.json",
        "name": "linnaea-observations",
        "id": make_stable_id("package", *(period.deployment.id for period in periods)),
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
