"""Rows of photographs with their events, as a run makes them."""

from functools import partial

from linnaea.identify.naming.event_pooling import pool_event
from linnaea.identify.output.event_index import EventIndex
from linnaea.photos.photo_files import format_path
from linnaea.standards.exif import read_photo_metadata


def index_rows(rows, gap_s=60, floor=0.5, find_capture=None):
    """The events of (path, prediction); a station is a folder, times come from the photographs.

    `find_capture` returns station and time, or deployment, station and time.
    """

    def find(path):
        if find_capture is None:
            found = format_path(path).rpartition("/")[0], read_photo_metadata(path).event_date
        else:
            found = find_capture(path)
        return found if len(found) == 3 else (found[0], *found)

    return EventIndex(lambda: iter(rows), find, partial(pool_event, floor=floor), gap_s)


def join_events(rows, gap_s=60, floor=0.5, find_capture=None):
    """(path, prediction) with the event of each, for `write_package`."""
    index = index_rows(rows, gap_s, floor, find_capture)
    return [(path, prediction, event) for path, prediction, event, _observation in index.join(rows)]
