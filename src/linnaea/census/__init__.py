"""From observations to numbers: how well animals are detected, what counts say about densities, and survey files.

- `observations`: visits, sightings, collar fixes. `readers`: their readers, for Camtrap DP, Darwin Core, Movebank and
  tables of `linnaea identify`.
- `detection`, `detection_rates`: detection functions, fields of view, and detections per unit of effort.
- `confusion`: under which names a classifier reports each species; `animals`: names and traits of species.
- `sensor_designs`, `survey_file`: camera traps, strip counts and collars, and the TOML file that describes them.
- `observation_model`: the counts of a survey and the densities that make them likely.
- `georeference`: positions and times on earth.
"""

_EXPORTS = {
    "CollarFix": "observations",
    "Confusion": "confusion",
    "Counts": "observation_model",
    "DetectionFunction": "detection",
    "FieldOfView": "detection",
    "Georeference": "georeference",
    "Observations": "observations",
    "Sighting": "observations",
    "Survey": "survey_file",
    "Visit": "observations",
    "build_counts": "observation_model",
    "estimate_daily_paths": "detection_rates",
    "read_confusion": "confusion",
    "read_observations": "readers.dispatch",
    "read_survey": "survey_file",
}
__all__ = [
    "CollarFix",
    "Confusion",
    "Counts",
    "DetectionFunction",
    "FieldOfView",
    "Georeference",
    "Observations",
    "Sighting",
    "Survey",
    "Visit",
    "build_counts",
    "estimate_daily_paths",
    "read_confusion",
    "read_observations",
    "read_survey",
]


def __getattr__(name: str) -> object:
    """Load a public name on first use."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"linnaea.census.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
