"""What a run leaves for others: tables (CSV or Parquet) and maps and paths (NetCDF with CF attributes).

NetCDF is version 4 (HDF5), every variable compressed: xarray, R and QGIS read it.

Shape suffixes: m members, k records, s species, h states of health, l foods, q quantiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from linnaea import __version__
from linnaea.store import atomic_path
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.world import CAUSES
from linnaea.twin.rules.energy_budget import TISSUE_KJ_PER_KG
from linnaea.twin.runs.recorder import HEALTH, WEATHER
from linnaea.twin.runs.results import Run

BAND = (0.05, 0.5, 0.95)
"quantiles of the members that tables and pictures show"
# Shuffled bytes deflate to a fraction, as maps are mostly zeros; more than this level costs time and saves little.
COMPRESSION = {"zlib": True, "shuffle": True, "complevel": 4}


def write_outputs(run: Run, form: str = "csv") -> list[Path]:
    """Writes all tables and the NetCDF files into the run's folder: their paths."""
    written = []
    for name, frame in build_tables(run).items():
        path = run.folder / f"{name}.{form}"
        with atomic_path(path) as temporary:
            frame.write_csv(temporary) if form == "csv" else frame.write_parquet(temporary)
        written.append(path)
    with atomic_path(run.folder / "world.nc") as temporary:
        write_grids(run, temporary)
    written.append(run.folder / "world.nc")
    if run.frames.get("followed") is not None and (run.frames["followed"] > 0).any():
        with atomic_path(run.folder / "paths.nc") as temporary:
            write_paths(run, temporary)
        written.append(run.folder / "paths.nc")
    return written


def build_tables(run: Run) -> dict[str, object]:
    """The tables of a run by name, as polars frames."""
    found = {
        "series": build_series(run),
        "summary": build_summary(run),
        "deaths": build_deaths(run),
        "flows": build_flows(run),
    }
    if run.records["traits"].shape[3]:
        found["traits"] = build_traits(run)
    if run.foods:
        found["foods"] = build_foods(run)
    if find_hosts(run):
        found["health"] = build_health(run)
    return {"members": build_members(run), **found, "unverified": build_unverified(run)}


def _long(
    run: Run, names: Iterable[str], label: str, columns: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
):
    """A frame with a row a member, record and name, of what `columns` makes of records, [m, k, x] each.

    Members that failed have rows as far as they went.
    """
    import polars as pl

    names, parts = list(names), []
    for members, records in run.blocks:
        m, k = records["time_h"].shape
        part = {
            "member": np.repeat(np.array(members) + 1, k * len(names)),
            "year": np.repeat(records["time_h"].ravel() / HOURS_A_YEAR, len(names)),
            label: np.tile(np.arange(len(names)), m * k),
        }
        parts.append(part | {name: values.ravel() for name, values in columns(records).items()})
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    joined[label] = pl.Series([names[index] for index in joined[label]], dtype=pl.Categorical)
    return pl.DataFrame(joined).sort("member", maintain_order=True)


def build_series(run: Run):
    """Numbers and biomass, births and deaths since the start, of every member, record and species."""
    return _long(
        run,
        run.species,
        "species",
        lambda r: {
            "animals": r["counts"],
            "biomass_kg": r["mass_kg"],
            "born_since_start": r["born"],
            "died_since_start": r["died"].sum(3),
        },
    )


def compute_bands(values_mks: np.ndarray, quantiles: tuple[float, ...] = BAND) -> np.ndarray:
    """Quantiles over the members: float64 [q, k, s]."""
    return np.quantile(values_mks, quantiles, axis=0)


def build_summary(run: Run):
    """Mean and quantiles over the members at every record, and the share of members in which the species is gone."""
    import polars as pl

    counts = run.records["counts"]
    low, middle, high = compute_bands(counts)
    k, s = len(run.time_y), len(run.species)
    return pl.DataFrame(
        {
            "year": np.repeat(run.time_y, s),
            "species": pl.Series(list(run.species) * k, dtype=pl.Categorical),
            "mean": counts.mean(0).ravel(),
            "median": middle.ravel(),
            f"q{round(100 * BAND[0]):02}": low.ravel(),
            f"q{round(100 * BAND[2]):02}": high.ravel(),
            "gone": (counts == 0).mean(0).ravel(),
            "members": np.full(k * s, len(run.members)),
        }
    )


def build_deaths(run: Run):
    """Deaths of each species by cause over the whole run, a member's mean a year."""
    import polars as pl

    years = max(run.hours / HOURS_A_YEAR, 1e-9)
    total = run.records["died"][:, -1].mean(0) / years
    rows = [(name, cause, total[i, j]) for i, name in enumerate(run.species) for j, cause in enumerate(CAUSES) if j]
    return pl.DataFrame(rows, schema=["species", "cause", "deaths_per_year"], orient="row")


def compute_flows(run: Run) -> dict[tuple[str, str], float]:
    """Energy that goes from the eaten to the eater, kJ a year, mean of the members: by (eater, eaten).

    Of prey the bodies killed at the adults' mass, as the killed are counted and not weighed. Empty where no member reached
    the end.
    """
    years, found = max(run.hours / HOURS_A_YEAR, 1e-9), {}
    if (grazed := run.records.get("tally_grazed_kj")) is not None:
        for i, j in np.argwhere(grazed.sum(0) > 0):
            found[run.species[i], run.foods[j]] = float(grazed[:, i, j].mean()) / years
    if (killed := run.records.get("tally_killed")) is not None:
        for i, j in np.argwhere(killed.sum(0) > 0):
            mass = run.data.web.species[run.species[j]].body_mass_kg
            found[run.species[i], run.species[j]] = float(killed[:, i, j].mean()) * mass * TISSUE_KJ_PER_KG / years
    return found


def build_flows(run: Run):
    """The flows as a table."""
    import polars as pl

    rows = [(eater, eaten, amount) for (eater, eaten), amount in sorted(compute_flows(run).items())]
    return pl.DataFrame(rows, schema={"eater": pl.String, "eaten": pl.String, "kj_per_year": pl.Float64}, orient="row")


def build_traits(run: Run):
    """Mean and standard deviation of the heritable traits, every member, record and species that is there."""
    import polars as pl

    parts = []
    for index, name in enumerate(list_trait_columns(run)):
        frame = _long(
            run,
            run.species,
            "species",
            lambda r, index=index: {"mean": r["traits"][..., index, 0], "sd": r["traits"][..., index, 1]},
        )
        parts.append(frame.with_columns(pl.lit(name).alias("trait")).filter(pl.col("mean").is_not_nan()))
    return pl.concat(parts)


def find_hosts(run: Run) -> list[int]:
    """Rows of the species of which an animal was ever seen ill, recovered or vaccinated."""
    found = run.records.get("health")
    return [] if found is None else [int(row) for row in np.flatnonzero(found[..., 1:].sum((0, 1, 3)))]


def build_health(run: Run):
    """Susceptible, ill, recovered (immune) and vaccinated animals of the hosts, every member and record."""
    rows = find_hosts(run)
    return _long(
        run,
        [run.species[row] for row in rows],
        "species",
        lambda r: {name: r["health"][:, :, rows, index] for index, name in enumerate(HEALTH)},
    )


def list_trait_columns(run: Run) -> list[str]:
    """The traits in the order of the animals' columns: of each its phenotype, then its breeding value."""
    return [name for trait in run.data.traits for name in (trait, f"{trait}_value")]


def build_foods(run: Run):
    """Biomass of plants, dead matter and pools over the whole map, every member and record."""
    return _long(run, run.foods, "food", lambda r: {"biomass_kg": r["food_kg"]})


def build_members(run: Run):
    """Every member with its seed, how far it was written down, whether means use it, and the reason of those that failed."""
    import polars as pl

    from linnaea.twin.runs.ensemble import derive_member_seed

    numbers = range(run.plan.members)
    return pl.DataFrame(
        {
            "member": [member + 1 for member in numbers],
            "seed": pl.Series([derive_member_seed(run.plan.seed, member) for member in numbers], dtype=pl.UInt64),
            "status": ["failed" if member in run.failures else "done" for member in numbers],
            "until_year": [run.lived_h(member) / HOURS_A_YEAR for member in numbers],
            "in_means": [member in run.members for member in numbers],
            "reason": [run.failures.get(member, "") for member in numbers],
        }
    )


def build_unverified(run: Run):
    """The values of the world that no source stands behind."""
    import polars as pl

    return pl.DataFrame({"value": list(run.data.unmeasured())}, schema={"value": pl.String})


def _open(path: Path, title: str, run: Run, **attributes: str):
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


def _names(file, dimension: str, names: Iterable[str], long_name: str) -> None:
    """A dimension with a label for each of its places, as characters."""
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
    variable = file.createVariable(name, dtype, dims, fill_value=fill, **COMPRESSION)
    variable[:] = np.asarray(values).astype(dtype)
    for key, value in attributes.items():
        variable.setncattr(key, value)


def _put_time(file, name: str, hours: np.ndarray) -> None:
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
    """The axes y and x, cell middles in metres; the area's width and height in metres."""
    side = np.sqrt(run.plan.area_share) * 1000
    width, height = run.data.ground.width_km * side, run.data.ground.height_km * side
    for name, length, cells, way in (("y", height, shape[0], "north"), ("x", width, shape[1], "east")):
        file.createDimension(name, cells)
        _put(
            file,
            name,
            (name,),
            (np.arange(cells) + 0.5) * length / cells,
            units="m",
            axis=name.upper(),
            standard_name=f"projection_{name}_coordinate",
            long_name=f"metres {way} of the south-western corner",
        )
    return width, height


def write_grids(run: Run, path: Path) -> None:
    """Series of all members, mean maps, and the frames of the first member through time."""
    r = run.records
    file = _open(path, run.title, run)
    try:
        file.createDimension("member", len(run.members))
        _put(
            file, "member", ("member",), np.array(run.members) + 1, "i4", long_name="member of the ensemble", units="1"
        )
        _put_time(file, "time", r["time_h"][0])
        _names(file, "species", run.species, "species")
        dims = ("member", "species", "time")
        counts, mass = (np.swapaxes(r[name], 1, 2) for name in ("counts", "mass_kg"))
        _put(file, "animals", dims, counts, "i4", units="1", long_name="number of animals", coordinates="species_name")
        _put(file, "biomass", dims, mass, units="kg", long_name="mass of all animals", coordinates="species_name")
        if find_hosts(run):
            _names(file, "state", HEALTH, "state of health; the recovered and the vaccinated are immune")
            states = r["health"].transpose(0, 2, 3, 1)
            _put(
                file,
                "health",
                ("member", "species", "state", "time"),
                states,
                "i4",
                units="1",
                long_name="number of animals by state of health",
                coordinates="species_name state_name",
            )
        if run.foods:
            _names(file, "food", run.foods, "plants, dead matter and animals kept as biomass")
            _put(
                file,
                "food_biomass",
                ("member", "food", "time"),
                np.swapaxes(r["food_kg"], 1, 2),
                units="kg",
                coordinates="food_name",
                long_name="biomass of foods",
            )
        for index, (name, (long_name, unit)) in enumerate(WEATHER.items()):
            if not np.isnan(r["weather"][..., index]).all():
                units = {"°C": "degree_Celsius", "": "1"}.get(unit, unit)
                _put(file, name, ("member", "time"), r["weather"][..., index], units=units, long_name=long_name)
        shape = r["map"].shape[2:]
        width, height = _put_ground(file, run, shape)
        cell_km2 = width * height / 1e6 / (shape[0] * shape[1])
        _put(
            file,
            "density",
            ("member", "species", "y", "x"),
            r["map"] / cell_km2,
            "f4",
            units="km-2",
            long_name="animals, mean over the records",
            coordinates="species_name",
        )
        if "frames" in run.frames:
            _put_time(file, "frame", run.frames["frame_h"])
            frames = np.swapaxes(run.frames["frames"], 0, 1) / cell_km2
            _put(
                file,
                "density_frames",
                ("species", "frame", "y", "x"),
                frames,
                "f4",
                units="km-2",
                long_name="animals of the first member",
                coordinates="species_name",
            )
    finally:
        file.close()


def write_paths(run: Run, path: Path) -> None:
    """The paths of the animals followed in the first member, as CF trajectories; nan after death."""
    followed, paths = run.frames["followed"], run.frames["paths_m"]
    kept = np.argsort(followed, kind="stable")
    kept = kept[followed[kept] > 0]
    file = _open(path, f"{run.title}: paths", run, featureType="trajectory")
    try:
        file.createDimension("trajectory", len(kept))
        _put(
            file,
            "trajectory",
            ("trajectory",),
            followed[kept],
            "i4",
            cf_role="trajectory_id",
            long_name="animal",
            units="1",
        )
        _put_time(file, "obs", run.records["time_h"][0])
        for index, name, way in ((0, "x", "east"), (1, "y", "north")):
            _put(
                file,
                name,
                ("trajectory", "obs"),
                paths[:, kept, index].T,
                "f4",
                units="m",
                fill=np.nan,
                standard_name=f"projection_{name}_coordinate",
                long_name=f"metres {way} of the south-western corner",
            )
    finally:
        file.close()
