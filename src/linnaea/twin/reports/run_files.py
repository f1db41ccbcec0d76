"""Everything that a run leaves for other programs: its tables and its NetCDF files."""

from __future__ import annotations

from pathlib import Path

from linnaea.store import atomic_path
from linnaea.twin.reports.netcdf import write_grids, write_paths
from linnaea.twin.reports.tables import build_tables
from linnaea.twin.runs.results import Run


def write_outputs(run: Run, form: str = "csv") -> list[Path]:
    """Write all tables (`form` "csv" or "parquet") and the NetCDF files into the run's folder; return their paths."""
    written = []
    for name, frame in build_tables(run).items():
        path = run.run_dir / f"{name}.{form}"
        with atomic_path(path) as temporary:
            frame.write_csv(temporary) if form == "csv" else frame.write_parquet(temporary)
        written.append(path)
    with atomic_path(run.run_dir / "world.nc") as temporary:
        write_grids(run, temporary)
    written.append(run.run_dir / "world.nc")
    if run.frames.get("followed") is not None and (run.frames["followed"] > 0).any():
        with atomic_path(run.run_dir / "paths.nc") as temporary:
            write_paths(run, temporary)
        written.append(run.run_dir / "paths.nc")
    return written
