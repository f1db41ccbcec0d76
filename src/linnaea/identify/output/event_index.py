"""The events of a run and the columns that they add to its rows, in memory that grows with the number of events.

The rows of a run are read twice: first for station and time of each photograph, then to pool each event. An event is
pooled as soon as its last photograph was read, so that only the rows of unfinished events are in memory.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from linnaea.photos.photo_files import format_path
from linnaea.records import Prediction
from linnaea.standards.darwin_core import make_stable_id
from linnaea.standards.events import Event, EventObservation, group_events, parse_seconds

Row = tuple[str, Prediction]
Rows = Callable[[], Iterator[Row]]
# Deployment, station and capture time (ISO 8601 or "") of the photograph at a path.
FindCapture = Callable[[str], tuple[str, str, str]]
# The observations of an event's images, and for each image the number of its observation.
Pool = Callable[[Sequence[tuple[Hashable, Prediction]]], tuple[tuple[EventObservation, ...], list[int]]]

# The columns that events add to a table of predictions.
EVENT_COLUMNS_OF_ROWS = ("event", "event_rank", "event_name", "event_confidence", "event_count")


class EventIndex:
    """The events of the photographs in `rows`, in the order of their first photograph.

    The two cameras of a station have events of their own: a Camtrap DP event belongs to one deployment.
    """

    def __init__(self, rows: Rows, find_capture: FindCapture, pool: Pool, gap_s: float):
        """Read the rows twice; `pool` names an event."""
        deployments: dict[tuple[str, str], int] = {}
        deployment_n, time_n, captured_n = array("l"), array("d"), []
        for path in _read_paths(rows()):
            deployment, station, captured_at = find_capture(path)
            deployment_n.append(deployments.setdefault((deployment, station), len(deployments)))
            time_n.append(parse_seconds(captured_at))
            captured_n.append(captured_at)
        self._event_n, order = group_events(deployment_n, time_n, gap_s)
        stations = [station for _deployment, station in deployments]
        self.events: list[Event] = [None] * (int(self._event_n.max(initial=-1)) + 1)
        # The observation of each image: photographs in the order of the rows, their boxes in theirs.
        self._observation_n: list[bytes | tuple[int, ...]] = [b""] * len(captured_n)
        members = self._count_members(order)
        waiting: dict[int, dict[int, tuple[str, list[Prediction]]]] = defaultdict(dict)
        for number, (path, images) in enumerate(_read_photographs(rows())):
            event = int(self._event_n[number])
            waiting[event][number] = path, images
            if len(waiting[event]) < len(members[event]):
                continue
            photographs = waiting.pop(event)
            in_order = members.pop(event)
            images = [(number, image) for number in in_order for image in photographs[number][1]]
            # Frames of a video are photographs of their own: what they show did not stand side by side.
            observations, places = pool([((number, image.frame_time_s), image) for number, image in images])
            self._place(images, places)
            first, last = in_order[0], in_order[-1]
            self.events[event] = Event(
                id=make_stable_id("event", make_stable_id("media", format_path(photographs[first][0]))),
                station=stations[deployment_n[first]],
                start=captured_n[first],
                end=captured_n[last],
                n_photographs=len(in_order),
                observations=observations,
            )

    def _count_members(self, order) -> dict[int, list[int]]:
        """The photographs of each event in the order of time."""
        members: dict[int, list[int]] = defaultdict(list)
        for number in order.tolist():
            members[int(self._event_n[number])].append(number)
        return members

    def _place(self, images: Iterable[tuple[int, Prediction]], places: Iterable[int]) -> None:
        for number, group in groupby(zip(images, places, strict=True), key=lambda pair: pair[0][0]):
            numbers = [place for _image, place in group]
            if any(numbers):
                self._observation_n[number] = tuple(numbers)

    def join(self, rows: Iterable[Row]) -> Iterator[tuple[str, Prediction, Event, EventObservation]]:
        """Yield the rows, each with its event and the observation to which its image belongs.

        `rows` are those of the index, in the same order.
        """
        for number, (_path, photograph) in enumerate(groupby(rows, key=itemgetter(0))):
            event = self.events[self._event_n[number]]
            places, image = self._observation_n[number], -1
            for path, prediction in photograph:
                image += prediction.position == 1
                place = places[image] if places else 0
                yield path, prediction, event, event.observations[place]


def _read_paths(rows: Iterable[Row]) -> Iterator[str]:
    for path, _rows in groupby(rows, key=itemgetter(0)):
        yield path


def _read_photographs(rows: Iterable[Row]) -> Iterator[tuple[str, list[Prediction]]]:
    """Yield each photograph with the first row of each of its images."""
    for path, photograph in groupby(rows, key=itemgetter(0)):
        yield path, [prediction for _path, prediction in photograph if prediction.position == 1]


def make_event_cells(event: Event, observation: EventObservation) -> dict:
    """The cells that an event adds to a row (`EVENT_COLUMNS_OF_ROWS`)."""
    prediction = observation.prediction
    return {
        "event": event.id,
        "event_rank": prediction.rank,
        "event_name": prediction.name,
        "event_confidence": prediction.confidence,
        "event_count": observation.count,
    }
