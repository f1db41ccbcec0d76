"""The options of `linnaea identify` about when and where photographs were taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path

from linnaea.standards.capture.clocks import parse_zone
from linnaea.standards.capture.deployment_table import DeploymentTable, read_deployments


@dataclass(frozen=True, kw_only=True)
class CaptureConfig:
    """The zone of the cameras' clocks, and which camera stood where."""

    utc_offset: str = field(default="", metadata={"metavar": "+HH:MM"})
    "the offset from UTC of clocks of cameras that record none, e.g. +02:00"
    time_zone: str = field(default="", metadata={"metavar": "ZONE"})
    "the time zone of clocks of cameras that record none, with its summer time, e.g. Europe/Brussels"
    deployments: Path | None = field(default=None, metadata={"metavar": "FILE"})
    "a table of deployments: station, latitude, longitude, start, end, camera, offset (what to add to a wrong clock), "
    "or Camtrap DP's deployments.csv; it overrides folders and recorded places"

    def __post_init__(self):
        self.find_zone()
        if self.deployments is not None and not self.deployments.exists():
            raise FileNotFoundError(f"--deployments {self.deployments} does not exist; give a table of deployments")

    def find_zone(self) -> tzinfo | None:
        """The zone of clocks without one, None if it is unknown."""
        return parse_zone(self.utc_offset, self.time_zone)

    def read_deployments(self) -> DeploymentTable | None:
        """The table of deployments, None if none was given. Raise ValueError if it cannot be used."""
        return None if self.deployments is None else read_deployments(self.deployments, self.find_zone())
