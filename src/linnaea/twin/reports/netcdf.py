"""Maps, series and paths of a run as NetCDF with CF attributes.

NetCDF is version 4 (HDF5), every variable compressed: xarray, R and QGIS read it.

Shape suffixes: m members, k records, s species.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from linnaea import __version__
from linnaea.twin.reports.tables import find_hosts
from linnaea.twin.runs.recorder import HEALTH, WEATHER
from linnaea.twin.runs.results import Run

# Shuffled bytes deflate to a fraction because maps are mostly zeros. A higher level costs time and saves little.
COMPRESSION = {"zlib": True, "shuffle": True, "complevel": 4}
CF_UNITS = {"°C": "degree_Celsius", "": "1"}


def write_grids(run: Run, path: Path) -> None:
    """Write the series of all members, mean maps, and the frames of the first member through time."""
    file = _open(path, run.title, run)
    try:
        file.createDimension("member", len(run.members))
        members = np.array(run.members) + 1
        _put(file, "member", ("member",), members, "i4", long_name="member of the ensemble", units="1")
        _put_time(file, "time", run.records["time_h"][0])
        _put_names(file, "species", run.species, "species")
        _put_series(file, run)
        _put_maps(file, run)
    finally:
        file.close()


def write_paths(run: Run, path: Path) -> None:
    """Write the paths of the animals followed in the first member, as CF trajectories; nan after death."""
    followed, paths = run.frames["followed"], run.frames["paths_m"]
    kept = np.argsort(followed, kind="stable")
    kept = kept[followed[kept] > 0]
    file = _open(path, f"{run.title}: paths", run, featureType="trajectory")
    try:
        file.createDimension("trajectory", len(kept))
        attributes = {"cf_role": "trajectory_id", "long_name": "animal", "units": "1"}
        _put(file, "trajectory", ("trajectory",), followed[kept], "i4", **attributes)
        _put_time(file, "obs", run.records["time_h"][0])
        for index, name, direction in ((0, "x", "east"), (1, "y", "north")):
            attributes = {
                "units": "m",
                "standard_name": f"projection_{name}_coordinate",
                "long_name": f"metres {direction} of the south-western corner",
            }
            _put(file, name, ("trajectory", "obs"), paths[:, kept, index].T, "f4", fill=np.nan, **attributes)
    finally:
        file.close()


def _open(path: Path, title: str, run: Run, **attributes: str):
    """A new file with the attributes that CF asks for."""
    from h5netcdf.legacyapi import Dataset

    file = Dataset(path, "w")
    about = {
        "Conventions": "CF-1.8",
        "title": title,
        "history": f"written by linnaea {__version__}",
        "source": f"simulation of world {run.data.name}, seed {run.plan.seed}",
    }
    for name, text in (about | attributes).items():
        file.setncattr(name, text)
    return file


def _put_names(file, dimension: str, names: Iterable[str], long_name: str) -> None:
    """Add a dimension with a label, as characters, for each of its places."""
    encoded = [name.encode() for name in names]
    width = max(map(len, encoded), default=1)
    file.createDimension(dimension, len(encoded))
    file.createDimension(f"{dimension}_length", width)
    variable = file.createVariable(f"{dimension}_name", "S1", (dimension, f"{dimension}_length"), **COMPRESSION)
    variable.setncattr("long_name", long_name)
    for row, name in enumerate(encoded):
        variable[row] = np.frombuffer(name.ljust(width, b"\0"), "S1")


def _put(
    file,
    name: str,
    dims: tuple[str, ...],
    values: np.ndarray,
    dtype: str = "f8",
    fill: float | None = None,
    **attributes,
) -> None:
    """Add a variable with its values and attributes."""
    variable = file.createVariable(name, dtype, dims, fill_value=fill, **COMPRESSION)
    variable[:] = np.asarray(values).astype(dtype)
    for key, value in attributes.items():
        variable.setncattr(key, value)


def _put_time(file, name: str, hours: np.ndarray) -> None:
    """Add a time axis of hours since the start."""
    file.createDimension(name, len(hours))
    _put(
        file,
        name,
        (name,),
        np.asarray(hours) / 24,
        units="days since 2001-01-01 00:00:00",
        calendar="standard",
        standard_name="time",
        axis="T",
        long_name="time since the start; the world's year has 365.25 days",
    )


def _put_ground(file, run: Run, shape: tuple[int, int]) -> tuple[float, float]:
    """Add the axes y and x, cell centres in metres; return the area's width and height in metres."""
    side = np.sqrt(run.plan.area_share) * 1000
    width, height = run.data.ground.width_km * side, run.data.ground.height_km * side
    for name, length, n_cells, direction in (("y", height, shape[0], "north"), ("x", width, shape[1], "east")):
        file.createDimension(name, n_cells)
        _put(
            file,
            name,
            (name,),
            (np.arange(n_cells) + 0.5) * length / n_cells,
            units="m",
            axis=name.upper(),
            standard_name=f"projection_{name}_coordinate",
            long_name=f"metres {direction} of the south-western corner",
        )
    return width, height


def _put_series(file, run: Run) -> None:
    """Add numbers, biomass, health, foods and weather through time, of all members."""
    records, dims = run.records, ("member", "species", "time")
    counts, mass = (np.swapaxes(records[name], 1, 2) for name in ("counts", "mass_kg"))
    labels = {"coordinates": "species_name"}
    _put(file, "animals", dims, counts, "i4", units="1", long_name="number of animals", **labels)
    _put(file, "biomass", dims, mass, units="kg", long_name="mass of all animals", **labels)
    if find_hosts(run):
        _put_names(file, "state", HEALTH, "state of health; the recovered and the vaccinated are immune")
        states = records["health"].transpose(0, 2, 3, 1)
        attributes = {"long_name": "number of animals by state of health", "coordinates": "species_name state_name"}
        _put(file, "health", ("member", "species", "state", "time"), states, "i4", units="1", **attributes)
    if run.foods:
        _put_names(file, "food", run.foods, "plants, dead matter and animals kept as biomass")
        foods = np.swapaxes(records["food_kg"], 1, 2)
        attributes = {"units": "kg", "coordinates": "food_name", "long_name": "biomass of foods"}
        _put(file, "food_biomass", ("member", "food", "time"), foods, **attributes)
    for index, (name, (long_name, unit)) in enumerate(WEATHER.items()):
        values = records["weather"][..., index]
        if not np.isnan(values).all():
            _put(file, name, ("member", "time"), values, units=CF_UNITS.get(unit, unit), long_name=long_name)


def _put_maps(file, run: Run) -> None:
    """Add mean densities of all members and the frames of the first one."""
    shape = run.records["map"].shape[2:]
    width, height = _put_ground(file, run, shape)
    cell_km2 = width * height / 1e6 / (shape[0] * shape[1])
    density = run.records["map"] / cell_km2
    units, labels = {"units": "km-2"}, {"coordinates": "species_name"}
    dims = ("member", "species", "y", "x")
    _put(file, "density", dims, density, "f4", **units, long_name="animals, mean over the records", **labels)
    if "frames" in run.frames:
        _put_time(file, "frame", run.frames["frame_h"])
        frames = np.swapaxes(run.frames["frames"], 0, 1) / cell_km2
        dims = ("species", "frame", "y", "x")
        _put(file, "density_frames", dims, frames, "f4", **units, long_name="animals of the first member", **labels)
