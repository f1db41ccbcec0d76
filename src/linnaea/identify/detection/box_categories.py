"""Categories of detectors: people and vehicles are never named, and MegaDetector's numbers have fixed meanings."""

from __future__ import annotations

from collections.abc import Mapping

# https://lila.science/megadetector-output-format; the network itself counts from 0.
MEGADETECTOR_CATEGORIES = {"1": "animal", "2": "person", "3": "vehicle"}
NETWORK_CATEGORIES = ("animal", "person", "vehicle")

_HUMAN = (
    "person",
    "people",
    "persons",
    "human",
    "humans",
    "human being",
    "homo sapiens",
    "man",
    "woman",
    "child",
    "pedestrian",
    "hiker",
    "rider",
    "personne",
    "humain",
    "persona",
    "humano",
    "pessoa",
    "mensch",
)
_VEHICLE = (
    "vehicle",
    "vehicles",
    "car",
    "truck",
    "bus",
    "van",
    "motorcycle",
    "motorbike",
    "bicycle",
    "bike",
    "tractor",
    "train",
    "boat",
    "airplane",
    "atv",
    "vehicule",
    "véhicule",
    "vehículo",
    "vehiculo",
    "veículo",
    "fahrzeug",
)
_OUTCOMES = dict.fromkeys(_HUMAN, "human") | dict.fromkeys(_VEHICLE, "vehicle")
_BLANK = ("empty", "blank", "nothing", "background", "none")


def find_outcome(label: str) -> str:
    """Return the outcome of a box that is not named, `human` or `vehicle`; "" for any other category."""
    return _OUTCOMES.get(_normalize(label), "")


def is_blank(label: str) -> bool:
    """Return whether a category says that there is nothing."""
    return _normalize(label) in _BLANK


def _normalize(label: str) -> str:
    return " ".join(label.replace("_", " ").replace("-", " ").casefold().split())


def name_category(category: object, names: Mapping[str, str]) -> str:
    """Return the name of a category of MegaDetector's output.

    A number that `names` lacks has MegaDetector's fixed meaning, unless `names` gives other meanings to its numbers.
    """
    number = str(category if category is not None else "").strip()
    number = number.removesuffix(".0")
    if number in names:
        return names[number]
    differs = any(_normalize(names[key]) != MEGADETECTOR_CATEGORIES.get(key) for key in names)
    return number if differs else MEGADETECTOR_CATEGORIES.get(number, number)
