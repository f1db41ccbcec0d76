"""One entrance to all readers: which format a file or folder has, from its names and columns."""

from __future__ import annotations

from pathlib import Path

from linnaea.census.observations import Observations
from linnaea.census.readers.camtrap_dp import read_camtrap
from linnaea.census.readers.cells import read_table_rows
from linnaea.census.readers.darwin_core import read_darwin_core
from linnaea.census.readers.identified import read_identified, read_target_taxa
from linnaea.census.readers.movebank import read_movebank


def read_observations(path: Path | str, camera_days: float = 0.0) -> Observations:
    """Read the observations of a file or folder.

    It may be a Camtrap DP folder (of cameras, of `linnaea identify --as camtrap-dp`, of a simulated survey), a table of
    `linnaea identify`, of Darwin Core occurrences (beside its events.csv) or of Movebank, or a folder of these.
    `camera_days` is the effort of a camera whose data do not give it; 0 rejects the camera.

    Raise FileNotFoundError or ValueError for a path in none of these formats. Single bad rows go to `rejected`.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no observations; give a Camtrap DP folder, or a table of identify, Darwin Core or Movebank"
        )
    return _read_folder(path, camera_days) if path.is_dir() else _read_file(path, camera_days)


def _read_file(path: Path, camera_days: float) -> Observations:
    rows = read_table_rows(path)
    columns = set(rows[0]) if rows else set()
    if {"timestamp", "location-long", "location-lat"} <= columns:
        return read_movebank(rows, path.name)
    if {"file", "status", "name"} <= columns:
        found = read_identified(rows, path, camera_days)
        found.set_target_taxa(read_target_taxa(path, found))
        return found
    if {"occurrenceID", "scientificName"} <= columns:
        events_path = path.with_name("events.csv")
        return read_darwin_core(read_table_rows(events_path) if events_path.is_file() else [], rows, path.name)
    if not rows:
        return Observations(rejected=[(path.name, "the table has no rows")])
    raise ValueError(
        f"{path}: columns {', '.join(sorted(columns)[:6])} … are not those of a known format; give a table of linnaea "
        "identify, Darwin Core occurrences or Movebank, or a Camtrap DP folder"
    )


def _read_folder(source_dir: Path, camera_days: float) -> Observations:
    if (source_dir / "deployments.csv").is_file():
        return _read_package(source_dir, camera_days)
    found, known = Observations(), False
    for name in ("occurrences.csv", "movebank.csv"):
        if (source_dir / name).is_file():
            found.add(read_observations(source_dir / name))
            known = True
    for deployments_path in sorted(source_dir.rglob("deployments.csv")):
        found.add(_read_package(deployments_path.parent, camera_days))
        known = True
    if not known:
        raise ValueError(
            f"{source_dir}: it holds neither deployments.csv, occurrences.csv nor movebank.csv; give the folder that "
            "holds them, or for photographs the table that linnaea identify makes of them"
        )
    return found


def _read_package(source_dir: Path, camera_days: float) -> Observations:
    paths = [source_dir / f"{name}.csv" for name in ("deployments", "observations")]
    if not paths[1].is_file():
        raise FileNotFoundError(f"{source_dir}: no observations.csv beside deployments.csv; give the whole package")
    package = read_camtrap(*[read_table_rows(path) for path in paths], source_dir.name, camera_days)
    package.set_target_taxa(read_target_taxa(source_dir, package))
    return package
