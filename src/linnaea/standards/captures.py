"""When, where and by which deployment each photograph of a run was taken. What is unknown stays empty and is counted.

Without a table of deployments, each station (`stations.find_station`) is one deployment. If its photographs record
places that are further apart than a receiver's error, each place is a station and a deployment of its own; places are
never averaged.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, tzinfo

from linnaea.photos.photo_files import format_path
from linnaea.standards.capture.capture import Capture, Deployment
from linnaea.standards.capture.clocks import format_time
from linnaea.standards.capture.deployment_table import DeploymentTable, correct_clock
from linnaea.standards.capture.places import PLACE_NOISE_M, PlaceGroups, measure_distance_m
from linnaea.standards.darwin_core import make_stable_id
from linnaea.standards.exif import PhotoMetadata, read_photo_metadata
from linnaea.standards.stations import find_station

logger = logging.getLogger(__name__)

# Photographs, stations or deployments that a warning names.
SHOWN = 3
CAPTURE_COLUMNS = ("captured_at", "latitude", "longitude", "station")


class _Problems:
    """How many photographs have each problem, and the first ones."""

    def __init__(self):
        self.counts: Counter[str] = Counter()
        self.shown: dict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, what: str) -> None:
        self.counts[kind] += 1
        if len(self.shown[kind]) < SHOWN:
            self.shown[kind].append(what)

    def log(self, kind: str, one: str, many: str) -> None:
        """Log a warning if there are any; `one` and `many` say what is wrong."""
        n = self.counts[kind]
        if n:
            examples = ", ".join(map(_make_printable, self.shown[kind])) + (", …" if n > len(self.shown[kind]) else "")
            what = f"1 photograph {one}" if n == 1 else f"{n:,} photographs {many}"
            logger.warning(f"{what}: {examples}")


def _make_printable(text: str) -> str:
    """The text without line breaks and other control characters, which a file name may hold."""
    return "".join(character if character.isprintable() else "·" for character in text)


class CaptureIndex:
    """The captures of photographs.

    `zone` is that of clocks without one. `table` has the user's deployments, which override folders and places.
    """

    def __init__(
        self,
        paths: Iterable[str],
        read_metadata: Callable[[str], PhotoMetadata] = read_photo_metadata,
        *,
        zone: tzinfo | None = None,
        table: DeploymentTable | None = None,
    ):
        self._zone, self._table = zone, table
        self._problems = _Problems()
        self._groups: dict[tuple[str, str], PlaceGroups] = defaultdict(PlaceGroups)
        self._used: set[str] = set()
        self.n_without_zone = 0
        found = [(path, *self._locate(path, read_metadata(path))) for path in paths]
        self._deployments: dict[tuple[Deployment, int], Deployment] = {}
        self._captures = {
            path: Capture(captured_at, latitude, longitude, self._finish(deployment, group))
            for path, captured_at, latitude, longitude, deployment, group in found
        }

    def find(self, path: str) -> Capture:
        """The capture of one of the photographs."""
        return self._captures[path]

    def _locate(self, path: str, photo: PhotoMetadata) -> tuple[str, float | None, float | None, Deployment, int]:
        """Time and place of a photograph, its deployment, and the number of its place among those of the deployment."""
        station, name = find_station(path), format_path(path)
        when = self._parse_time(photo.event_date)
        clock = when or self._parse_time(photo.rejected_date)
        entry, reason = self._table.match(station, clock) if self._table is not None else (None, "")
        if reason:
            self._problems.add("unmatched", f"{name} ({reason})")
        if entry is not None:
            self._used.add(entry.deployment.id)
            if clock is not None and entry.offset:
                when = correct_clock(clock, entry.offset)
        self._judge_time(name, photo, when)
        if photo.rejected_place:
            self._problems.add("place", f"{name} ({photo.rejected_place})")
        deployment = entry.deployment if entry is not None else Deployment(id="", station=station)
        place = deployment.place
        latitude, longitude = place or (photo.latitude, photo.longitude)
        group = -1
        if place is None and latitude is not None and longitude is not None:
            group = self._groups[deployment.id, deployment.station].add((latitude, longitude))
        return format_time(when) if when else "", latitude, longitude, deployment, group

    def _parse_time(self, text: str) -> datetime | None:
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            return None
        return when.replace(tzinfo=self._zone) if when.tzinfo is None and self._zone is not None else when

    def _judge_time(self, name: str, photo: PhotoMetadata, when: datetime | None) -> None:
        if when is not None:
            self.n_without_zone += when.tzinfo is None
        elif photo.rejected_date or photo.event_date:
            clock = (photo.rejected_date or photo.event_date).replace("T", " ")
            self._problems.add("clock", f"{name} ({clock})")
        else:
            self._problems.add("time", name)

    def _finish(self, deployment: Deployment, group: int) -> Deployment:
        """The deployment with its place; without a table, one for each place of the station."""
        key = deployment, group
        if key not in self._deployments:
            self._deployments[key] = self._place(deployment, group)
        return self._deployments[key]

    def _place(self, deployment: Deployment, group: int) -> Deployment:
        places = self._groups[deployment.id, deployment.station].places
        if deployment.id:
            is_sure = deployment.place is None and len(places) == 1
            latitude, longitude = places[0] if is_sure else (deployment.latitude, deployment.longitude)
            return dataclasses.replace(deployment, latitude=latitude, longitude=longitude)
        station = deployment.station
        if len(places) <= 1:
            latitude, longitude = places[0] if places else (None, None)
            identifier = make_stable_id("deployment", station)
            return Deployment(id=identifier, station=station, latitude=latitude, longitude=longitude)
        if group < 0:
            return Deployment(id=make_stable_id("deployment", station), station=station)
        latitude, longitude = places[group]
        at = f"{latitude:.5f},{longitude:.5f}"
        return Deployment(
            id=make_stable_id("deployment", station, at),
            station=f"{station} @ {at}",
            latitude=latitude,
            longitude=longitude,
        )

    def log_unknown(self) -> None:
        """Log what is unknown or cannot be right, with counts and the first photographs."""
        log = self._problems.log
        log("time", "has no capture time", "have no capture time")
        log("clock", "has an implausible clock", "have implausible clocks")
        log("place", "has coordinates that are no place", "have coordinates that are no place")
        for (identifier, station), groups in self._groups.items():
            if len(groups.places) > 1:
                self._log_places(identifier, station, groups.places)
        if self._table is not None:
            log("unmatched", "matches no deployment and keeps its folder", "match no deployment and keep their folders")
            unused = [entry for entry in self._table.entries if entry.deployment.id not in self._used]
            if unused:
                shown = ", ".join(f"{one.deployment.station} (line {one.line})" for one in unused[:SHOWN])
                what = "1 deployment has" if len(unused) == 1 else f"{len(unused):,} deployments have"
                more = ", …" if len(unused) > SHOWN else ""
                logger.warning(f"{self._table.name}: {what} no photographs: {shown}{more}")

    def _log_places(self, identifier: str, station: str, places: list[tuple[float, float]]) -> None:
        furthest_m = max(measure_distance_m(places[0], place) for place in places)
        distance = f"{furthest_m / 1000:,.0f} km" if furthest_m >= 10_000 else f"{furthest_m:,.0f} m"
        result = "the deployment has no place" if identifier else "each place is a station of its own"
        logger.warning(
            f"{station}: its photographs were taken at {len(places):,} places more than {PLACE_NOISE_M:.0f} m apart "
            f"(up to {distance} from the first); {result}"
        )


def make_capture_cells(capture: Capture) -> dict[str, str | float | None]:
    """The cells that a capture adds to a row (`CAPTURE_COLUMNS`)."""
    return {column: getattr(capture, column) for column in CAPTURE_COLUMNS}
