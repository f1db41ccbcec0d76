"""Camera Trap Data Packages (Camtrap DP): deployments become visits, observations become sightings."""

from __future__ import annotations

from linnaea.census.confusion import UNIDENTIFIED
from linnaea.census.georeference import parse_time
from linnaea.census.observations import Observations, Sighting, Visit
from linnaea.census.readers.cells import parse_coordinates, parse_count, parse_number, read_each_row
from linnaea.census.readers.events import group_pictures

FIELD_OF_VIEW_TAG = "fieldOfView:"


def read_camtrap(
    deployments: list[dict], observations: list[dict], where: str, camera_days: float = 0.0
) -> Observations:
    """Read a package from the rows of its two tables.

    If there are observations of events, only those are used; otherwise observations of media are grouped into events.
    `camera_days` is the effort of a deployment without a duration; 0 rejects it.
    """
    found = Observations()

    def read_deployment(row: dict) -> None:
        found.visits[row["deploymentID"]] = _make_visit(row, camera_days)

    read_each_row(deployments, f"{where}/deployments.csv", found, read_deployment)
    has_events = any(row.get("observationLevel") == "event" for row in observations)
    pictures: list[tuple[str, Sighting]] = []

    def read_observation(row: dict) -> None:
        if has_events and row.get("observationLevel") != "event":
            return
        kind = row.get("observationType", "animal")
        name = row.get("scientificName", "") or UNIDENTIFIED
        if kind not in ("animal", "unknown") or name == "Homo sapiens":
            found.n_without_animal += 1
            return
        if row.get("deploymentID", "") not in found.visits:
            raise ValueError(f"deployment {row.get('deploymentID', '')!r} is not among those that could be read")
        sighting = Sighting(
            visit=row["deploymentID"],
            time=parse_time(row.get("eventStart", "")),
            name=name,
            count=parse_count(row.get("count", "")),
        )
        if has_events:
            found.sightings.append(sighting)
        else:
            pictures.append((row.get("mediaID", ""), sighting))

    read_each_row(observations, f"{where}/observations.csv", found, read_observation)
    found.sightings += group_pictures(pictures)
    return found


def _make_visit(row: dict, camera_days: float) -> Visit:
    """Return the visit of a deployment. Raise ValueError without a duration, and KeyError without an identifier."""
    start, end = parse_time(row.get("deploymentStart", "")), parse_time(row.get("deploymentEnd", ""))
    days = (end - start).total_seconds() / 86400 or camera_days
    if days <= 0:
        raise ValueError(
            f"deployment {row['deploymentID']!r} lasts {days:g} days; correct its times or give --camera-days"
        )
    latitude, longitude = parse_coordinates(row.get("latitude", ""), row.get("longitude", ""))
    tags = row.get("deploymentTags", "").split("|")
    angle = next((tag.removeprefix(FIELD_OF_VIEW_TAG) for tag in tags if tag.startswith(FIELD_OF_VIEW_TAG)), "")
    return Visit(
        id=row["deploymentID"],
        kind="camera",
        site=row.get("locationID", "") or row.get("locationName", ""),
        start=start,
        end=end,
        effort=days,
        latitude=latitude,
        longitude=longitude,
        angle_deg=parse_number(angle),
        range_m=parse_number(row.get("detectionDistance", "")),
    )
