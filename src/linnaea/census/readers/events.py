"""Independent events from single pictures: pictures of one name at one camera within half an hour are one event."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from linnaea.census.observations import Sighting

INDEPENDENT_S = 1800.0
"""pictures of one name at one camera closer together than this are one event"""


def group_pictures(pictures: list[tuple[str, Sighting]]) -> list[Sighting]:
    """Return the independent events among (picture, sighting).

    The count of an event is the largest number of animals of the name in one of its pictures.
    """
    per_picture: Counter[tuple[str, str, datetime, str]] = Counter()
    for picture, one in pictures:
        per_picture[one.visit, one.name, one.time, picture] += one.count
    events: list[Sighting] = []
    last: tuple[str, str, datetime] | None = None
    most = 0
    for (visit, name, time, _picture), count in sorted(per_picture.items()):
        if last and last[:2] == (visit, name) and (time - last[2]).total_seconds() < INDEPENDENT_S:
            most = max(most, count)
            events[-1] = Sighting(visit=visit, name=name, time=events[-1].time, count=most)
        else:
            most = count
            events.append(Sighting(visit=visit, name=name, time=time, count=count))
        last = (visit, name, time)
    return events
