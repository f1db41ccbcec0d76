"""What a run or a watch writes about events: the index of events, their tables, and sorted folders."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby, islice
from operator import itemgetter

from linnaea.identify.commands.config import IdentifyConfig
from linnaea.identify.naming.event_pooling import pool_event
from linnaea.identify.naming.namer import Namer
from linnaea.identify.output.event_index import EventIndex, Rows
from linnaea.identify.output.report.html_report import MAX_PHOTOS
from linnaea.identify.output.report.photo_cards import PhotoContext
from linnaea.identify.output.sorted_folders import SortedPhotograph, sort_photographs
from linnaea.standards.captures import CaptureIndex
from linnaea.standards.events import EVENT_COLUMNS, RECORD_COLUMNS, make_event_rows, make_record_rows, parse_duration
from linnaea.standards.exif import PhotoMetadata, read_photo_metadata
from linnaea.standards.tables import write_table
from linnaea.store import atomic_path

logger = logging.getLogger(__name__)


def index_captures(
    config: IdentifyConfig, rows: Rows, read_metadata: Callable[[str], PhotoMetadata] = read_photo_metadata
) -> CaptureIndex:
    """When, where and by which deployment the photographs of the rows were taken."""
    paths = (path for path, _rows in groupby(rows(), key=itemgetter(0)))
    return CaptureIndex(paths, read_metadata, zone=config.find_zone(), table=config.read_deployments())


def index_events(config: IdentifyConfig, rows: Rows, namer: Namer, captures: CaptureIndex) -> EventIndex:
    """The events of the rows: photographs grouped by station and time, each event with its pooled names."""
    floor = getattr(getattr(namer, "rules", None), "floor", None) or 0.0

    def find_capture(path: str) -> tuple[str, str, str]:
        capture = captures.find(path)
        return capture.deployment.id, capture.station, capture.captured_at

    pool = partial(pool_event, floor=floor, find_common_name=partial(_find_common_name, namer))
    return EventIndex(rows, find_capture, pool, config.event_gap_s)


def _find_common_name(namer: Namer, node: int) -> str:
    """The common name of a taxon; "" for -1, and for names that are not in a vocabulary."""
    vocabulary = getattr(namer, "vocabulary", None)
    return vocabulary.common_name(node) if vocabulary is not None and node >= 0 else ""


def write_event_files(config: IdentifyConfig, index: EventIndex, rows: Rows, *, sort: bool = True) -> None:
    """Write the tables of events and of independent records, and sort the photographs, if that was asked for."""
    if config.events is not None:
        with atomic_path(config.events) as path:
            write_table(path, EVENT_COLUMNS, make_event_rows(index.events), config.events.suffix.lower())
    if config.independent_events is not None:
        _write_records(config, index)
    if sort and config.sort_into is not None:
        sort_photographs(config.sort_into, list_places(index, rows, config.sort_by), config.sort_with)


def _write_records(config: IdentifyConfig, index: EventIndex) -> None:
    records = make_record_rows(index.events, parse_duration(config.independent_after), config.independent_of)
    with atomic_path(config.independent_events) as path:
        write_table(path, RECORD_COLUMNS, records, config.independent_events.suffix.lower())
    n_untimed = sum(not event.start for event in index.events)
    if n_untimed:
        logger.warning(
            f"{config.independent_events}: {n_untimed:,} events have no capture time and are not in the table"
        )


def list_places(index: EventIndex, rows: Rows, by: str) -> Iterator[SortedPhotograph]:
    """Yield each photograph once for each name that it has: those of its event, or its own."""
    last_path, seen = None, set()
    for path, prediction, event, observation in index.join(rows()):
        if prediction.position != 1:
            continue
        if path != last_path:
            last_path, seen = path, set()
        answer = observation.prediction if by == "event" else prediction
        if (answer.outcome, answer.name) not in seen:
            seen.add((answer.outcome, answer.name))
            yield SortedPhotograph(path=path, prediction=answer, event=event.id)


def make_describer(index: EventIndex, rows: Rows, captures: CaptureIndex) -> Callable[[str], PhotoContext]:
    """A function that returns time, place, station and event of one of the photographs that a report shows."""
    shown = islice(groupby(index.join(rows()), key=itemgetter(0)), MAX_PHOTOS)
    event_of = {path: next(group)[2] for path, group in shown}

    def describe(path: str) -> PhotoContext:
        capture, event = captures.find(path), event_of[path]
        return PhotoContext(
            captured_at=capture.captured_at,
            latitude=capture.latitude,
            longitude=capture.longitude,
            station=event.station,
            event=event.id,
        )

    return describe


def describe_events(index: EventIndex) -> dict[str, dict]:
    """The names of each event for a report, by the id of the event."""
    return {
        event.id: {
            "names": [
                {
                    "name": seen.prediction.name,
                    "rank": seen.prediction.rank,
                    "common": seen.prediction.common_name,
                    "confidence": seen.prediction.confidence,
                    "count": seen.count,
                }
                for seen in event.observations
                if seen.prediction.outcome == "named"
            ]
        }
        for event in index.events[:MAX_PHOTOS]
    }
