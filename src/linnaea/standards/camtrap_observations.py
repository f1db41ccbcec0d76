"""The observations of a Camera Trap Data Package: what each photograph shows, and what each event does.

Observations of photographs (`media`) have the box and the name of one image; observations of events have the name that
all photographs of the event give together and the number of animals. Only the latter may be summed.
"""

from __future__ import annotations

from linnaea.records import Box, Prediction
from linnaea.standards.darwin_core import find_scientific_name, make_photograph_id, make_stable_id
from linnaea.standards.events import Event, EventObservation
from linnaea.standards.exif import PhotoMetadata

# In the order of the standard's table schema.
_COLUMNS = (
    "observationID deploymentID mediaID eventID eventStart eventEnd observationLevel observationType cameraSetupType "
    "scientificName count lifeStage sex behavior individualID individualPositionRadius individualPositionAngle "
    "individualSpeed bboxX bboxY bboxWidth bboxHeight classificationMethod classifiedBy classificationTimestamp "
    "classificationProbability observationTags observationComments"
)
OBSERVATIONS = tuple(_COLUMNS.split())
# The standard's type of an observation for each outcome without a name.
OBSERVATION_TYPES = {
    "no_organism": "blank",
    "no_detection": "blank",
    "human": "human",
    "vehicle": "vehicle",
    "not_in_boxes": "unclassified",
    "unreadable": "unclassified",
}
# The kingdom of animals, and how certain it must be for an organism without a name.
ANIMALS = ("Animalia", "Metazoa")
LEAST_ANIMAL = 0.9
# Types of observations that are of single animals or people.
COUNTED = ("animal", "human", "unknown")


def make_media_observation(
    path: str, prediction: Prediction, event: Event, media: dict[str, str], photo: PhotoMetadata
) -> dict:
    """The observation of a photograph or of a box in it; `media` is the row of the photograph."""
    row = _describe(prediction) | {
        "observationID": make_photograph_id("observation", path, prediction.box, prediction.frame_time_s),
        "deploymentID": media["deploymentID"],
        "mediaID": media["mediaID"],
        "eventID": event.id,
        "eventStart": media["timestamp"],
        "eventEnd": media["timestamp"],
        "observationLevel": "media",
    }
    if prediction.box is not None:
        row["count"] = 1 if row["observationType"] in COUNTED else ""
        if photo.width and photo.height:
            row |= _make_box_columns(prediction.box, photo)
    return row


def make_event_observations(event: Event, deployment_id: str, start: str, end: str) -> list[dict]:
    """The observations of an event; `start` and `end` are the times of its first and last photograph."""
    return [
        _describe(observation.prediction)
        | {
            "observationID": make_stable_id("observation", event.id, str(number)),
            "deploymentID": deployment_id,
            "eventID": event.id,
            "eventStart": start,
            "eventEnd": end,
            "observationLevel": "event",
            "count": _format_count(observation),
        }
        for number, observation in enumerate(event.observations)
    ]


def _format_count(observation: EventObservation) -> int | str:
    """The number of animals, "" if it is unknown or the observation is not of animals."""
    is_counted = classify_observation(observation.prediction) in COUNTED
    return observation.count if is_counted and observation.count is not None else ""


def _describe(prediction: Prediction) -> dict:
    """The columns about what was seen."""
    row = {
        "observationType": classify_observation(prediction),
        "classificationMethod": "machine",
        "observationComments": "; ".join(filter(None, (prediction.reason, _describe_frame(prediction)))),
    }
    if prediction.status == "identified":
        row["scientificName"] = scientific = find_scientific_name(prediction)
        # A label of the user; the standard separates tags by |.
        row["observationTags"] = "" if prediction.name == scientific else f"label:{prediction.name.replace('|', '/')}"
        row["classificationProbability"] = prediction.confidence
    return row


def _describe_frame(prediction: Prediction) -> str:
    return (
        "" if prediction.frame_time_s is None else f"frame {prediction.frame_time_s:g} s after the start of the video"
    )


def _make_box_columns(box: Box, photo: PhotoMetadata) -> dict:
    """The box as fractions of the image, clipped to it, as the standard requires; empty if nothing is left."""
    left, right = (min(max(x / photo.width, 0.0), 1.0) for x in (box.left, box.right))
    top, bottom = (min(max(y / photo.height, 0.0), 1.0) for y in (box.top, box.bottom))
    if right - left < 1e-15 or bottom - top < 1e-15:
        return {}
    return {
        "bboxX": round(left, 6),
        "bboxY": round(top, 6),
        "bboxWidth": round(right - left, 6),
        "bboxHeight": round(bottom - top, 6),
    }


def classify_observation(prediction: Prediction) -> str:
    """The standard's type of an observation: animal, human, vehicle, blank, unknown or unclassified.

    A plant or a fungus is `unknown` in a standard about animals; its name is written all the same. An organism without
    a name is an animal if its best kingdom is that of animals, with a probability of at least LEAST_ANIMAL.
    """
    if prediction.status != "identified":
        return OBSERVATION_TYPES.get(prediction.outcome, "animal" if _is_probably_animal(prediction) else "unknown")
    if prediction.lineage[-1] == "Homo sapiens":
        return "human"
    return "animal" if prediction.lineage[0] in ANIMALS else "unknown"


def _is_probably_animal(prediction: Prediction) -> bool:
    return any(
        best.rank == "kingdom" and best.name in ANIMALS and best.confidence >= LEAST_ANIMAL
        for best in prediction.path_confidence
    )
