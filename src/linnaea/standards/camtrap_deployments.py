"""The deployments of a Camera Trap Data Package: which camera stood where, from its first to its last photograph.

Nothing is made up. A deployment without a known place has empty coordinates, to be filled in before publication.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from linnaea.standards.capture.capture import Deployment

# In the order of the standard's table schema.
_COLUMNS = (
    "deploymentID locationID locationName latitude longitude coordinateUncertainty deploymentStart deploymentEnd "
    "setupBy cameraID cameraModel cameraDelay cameraHeight cameraDepth cameraTilt cameraHeading detectionDistance "
    "timestampIssues baitUse featureType habitat deploymentGroups deploymentTags deploymentComments"
)
DEPLOYMENTS = tuple(_COLUMNS.split())
NO_ZONE = "time zone not recorded; UTC assumed"
CORRECTED = "times corrected by the offset of the camera's clock"


def format_timestamp(captured_at: str) -> tuple[str, str]:
    """A capture time (ISO 8601) as the standard requires it, with zone and whole seconds; an issue with it, or ""."""
    when = datetime.fromisoformat(captured_at).replace(microsecond=0)
    issue = "" if when.tzinfo else NO_ZONE
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).isoformat().replace("+00:00", "Z"), issue


@dataclass(kw_only=True)
class DeploymentPeriod:
    """A deployment, the times of its first and last photograph, and the issues with them."""

    deployment: Deployment
    first: str = ""
    last: str = ""
    issues: set[str] = field(default_factory=set)
    camera_model: str = ""

    def add(self, timestamp: str, issue: str, camera_model: str) -> None:
        """Add a photograph at a time (`format_timestamp`)."""
        when = datetime.fromisoformat(timestamp)
        if not self.first or when < datetime.fromisoformat(self.first):
            self.first = timestamp
        if not self.last or when > datetime.fromisoformat(self.last):
            self.last = timestamp
        if issue:
            self.issues.add(issue)
        self.camera_model = self.camera_model or self.deployment.camera_model or camera_model

    def list_bounds(self) -> tuple[str, str]:
        """Start and end: those of the user's table, else the first and the last photograph."""
        given = self.deployment.start, self.deployment.end
        return tuple(
            format_timestamp(text)[0] if text else seen
            for text, seen in zip(given, (self.first, self.last), strict=True)
        )

    def find_place(self, near: tuple[float, float] | None) -> tuple[float, float] | None:
        """The place of the deployment, `near` if it is unknown."""
        return self.deployment.place or near

    def make_row(self, near: tuple[float, float] | None) -> dict[str, str | float]:
        """The row in deployments.csv."""
        deployment, issues = self.deployment, set(self.issues)
        issues |= {
            issue for text in (deployment.start, deployment.end) if text and (issue := format_timestamp(text)[1])
        }
        comments = issues | ({CORRECTED} if deployment.has_corrected_clock else set())
        place = self.find_place(near)
        latitude, longitude = place or ("", "")
        start, end = self.list_bounds()
        return {
            "deploymentID": deployment.id,
            "locationName": deployment.station,
            "latitude": latitude,
            "longitude": longitude,
            "deploymentStart": start,
            "deploymentEnd": end,
            "cameraID": deployment.camera,
            "cameraModel": self.camera_model,
            "timestampIssues": str(bool(issues)).lower(),
            "deploymentComments": "; ".join(sorted(comments)),
        }


def write_deployments(package_dir: Path, periods: list[DeploymentPeriod], near: tuple[float, float] | None) -> int:
    """Write deployments.csv; return the number of deployments without place."""
    with open(package_dir / "deployments.csv", "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, DEPLOYMENTS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(period.make_row(near) for period in periods)
    return sum(period.find_place(near) is None for period in periods)
