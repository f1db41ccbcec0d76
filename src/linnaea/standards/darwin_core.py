"""Predictions as Darwin Core occurrences (https://dwc.tdwg.org/terms/)."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath

from linnaea.photos.photo_files import format_path
from linnaea.records import RANK_INDEX, RANKS, Box, Prediction
from linnaea.standards.capture.capture import Capture

COLUMNS = (
    "occurrenceID",
    "basisOfRecord",
    "occurrenceStatus",
    "scientificName",
    "taxonRank",
    "vernacularName",
    "kingdom",
    "phylum",
    "class",
    "order",
    "family",
    "genus",
    "specificEpithet",
    "verbatimIdentification",
    "eventDate",
    "decimalLatitude",
    "decimalLongitude",
    "geodeticDatum",
    "identifiedBy",
    "identificationVerificationStatus",
    "identificationRemarks",
    "associatedMedia",
)
NAMESPACE = uuid.UUID("6f0b5a38-5a0e-5e86-9c3d-0d2f6c1a7b11")


def make_stable_id(*parts: str) -> str:
    """A UUID that is always the same for the same parts."""
    return str(uuid.uuid5(NAMESPACE, "\0".join(parts)))


def make_photograph_id(kind: str, path: str, box: Box | None, frame_time_s: float | None = None) -> str:
    """A UUID of a photograph, of a box in it, or of a frame of a video, that does not depend on the working directory.

    It uses the whole path: "DCIM/IMG_0001.JPG" of two cameras must not become one occurrence when both are published.
    """
    sides = () if box is None else map(repr, (box.left, box.top, box.right, box.bottom))
    frame = () if frame_time_s is None else (f"frame {frame_time_s!r}",)
    return make_stable_id(kind, format_path(os.path.abspath(path)), *sides, *frame)


def find_scientific_name(prediction: Prediction) -> str:
    """The taxon name of a prediction; "" for a label of the user that is not a taxon.

    `scientificName` is for taxa. Other names of an organism belong in `verbatimIdentification`
    (https://dwc.tdwg.org/terms/#dwc:verbatimIdentification).
    """
    return prediction.lineage[RANK_INDEX[prediction.rank]] if prediction.rank in RANK_INDEX else ""


def make_occurrence_rows(
    predictions: Iterable[tuple[str, Prediction]],
    identified_by: str,
    find_capture: Callable[[str], Capture],
    near: tuple[float, float] | None = None,
) -> Iterator[dict]:
    """Yield one occurrence for each identified image or box, with its first name; a refused image gives no occurrence.

    `predictions` come with the path of their photograph. `find_capture` returns its time and place; `near` is the place
    of photographs whose place is unknown.
    """
    for path, prediction in predictions:
        if prediction.status != "identified" or prediction.position != 1:
            continue
        capture = find_capture(path)
        place = (capture.latitude, capture.longitude)
        if None in place:
            place = near or (None, None)
        scientific = find_scientific_name(prediction)
        lineage = dict(zip(RANKS, prediction.lineage, strict=True))
        genus, _, epithet = lineage.pop("species").partition(" ")
        occurrence_id = make_photograph_id("occurrence", path, prediction.box, prediction.frame_time_s)
        yield {
            "occurrenceID": f"urn:uuid:{occurrence_id}",
            "basisOfRecord": "MachineObservation",
            "occurrenceStatus": "present",
            "scientificName": scientific,
            "taxonRank": prediction.rank,
            "vernacularName": prediction.common_name,
            **lineage,
            "specificEpithet": epithet if genus == lineage["genus"] else "",
            "verbatimIdentification": "" if prediction.name == scientific else prediction.name,
            "eventDate": capture.captured_at,
            "decimalLatitude": place[0],
            "decimalLongitude": place[1],
            "geodeticDatum": "EPSG:4326" if place[0] is not None else "",
            "identifiedBy": identified_by,
            "identificationVerificationStatus": "unverified",
            "identificationRemarks": f"confidence {prediction.confidence:.4f}; similarity {prediction.similarity:.4f}",
            "associatedMedia": PurePath(prediction.file).as_posix(),
        }
