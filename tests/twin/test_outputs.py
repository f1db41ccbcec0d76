"""Tables and NetCDF of a run: what they hold is what was recorded, and others can read it."""

import json

import numpy as np
import polars as pl
import pytest
from h5netcdf.legacyapi import Dataset

from linnaea.twin.ensemble import load_run
from linnaea.twin.outputs import bands, flows, tables, write_outputs
from made_runs import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return load_run(make_run(tmp_path_factory.mktemp("out") / "run"))


def text(variable) -> list[str]:
    return [b"".join(row).rstrip(b"\0").decode() for row in variable[:]]


def test_the_series_is_every_member_record_and_species(run):
    frame = pl.read_csv(run.folder / "series.csv")
    assert frame.height == 3 * 7 * 2
    one = frame.filter((pl.col("member") == 2) & (pl.col("species") == "rabbit"))
    assert one["animals"].to_list() == run.records["counts"][1, :, 0].tolist()
    assert one["died"].to_list() == run.records["died"][1, :, 0].sum(1).tolist()


def test_the_summary_is_the_mean_and_the_quantiles_of_the_members(run):
    frame = pl.read_csv(run.folder / "summary.csv").filter(pl.col("species") == "rabbit")
    counts = run.records["counts"][:, :, 0]
    np.testing.assert_allclose(frame["mean"], counts.mean(0))
    np.testing.assert_allclose(frame["median"], np.median(counts, 0))
    assert bands(np.array([[[1]], [[2]], [[3]]]), (0.5,)).tolist() == [[[2.0]]]


def test_deaths_by_cause_add_up(run):
    frame = pl.read_csv(run.folder / "deaths.csv")
    years = 6 * 24 / 8766
    assert frame["deaths_per_year"].sum() * years == pytest.approx(run.records["died"][:, -1].sum() / 3)


def test_flows_go_from_clover_to_rabbit_and_are_what_was_grazed(run):
    found = flows(run)
    grazed = run.records["tally_grazed_kj"][:, 0, 0].mean() / (6 * 24 / 8766)
    assert found["rabbit", "clover"] == pytest.approx(grazed)
    assert set(found) <= {("rabbit", "clover"), ("red fox", "rabbit")}


def test_tables_can_be_parquet(run, tmp_path):
    write_outputs(run, "parquet")
    for name, frame in tables(run).items():
        assert pl.read_parquet(run.folder / f"{name}.parquet").height == frame.height


def test_the_grids_hold_the_records_with_units_and_names(run):
    with Dataset(run.folder / "world.nc") as file:
        assert file.Conventions == "CF-1.8"
        assert text(file.variables["species_name"]) == list(run.species)
        np.testing.assert_array_equal(file.variables["animals"][:].swapaxes(1, 2), run.records["counts"])
        np.testing.assert_allclose(file.variables["time"][:], run.records["time_h"][0] / 24)
        density, x = file.variables["density"], file.variables["x"]
        area_km2 = 9 * 0.15
        np.testing.assert_allclose(density[:].mean((2, 3)) * area_km2, run.records["counts"].mean(1), rtol=1e-5)
        assert float(x[0] + x[-1]) == pytest.approx(1000 * np.sqrt(area_km2))
        for name, variable in file.variables.items():
            assert name.endswith("_name") or hasattr(variable, "units"), name
            assert variable.filters()["zlib"] and variable.filters()["shuffle"], name


def test_paths_are_trajectories(run):
    with Dataset(run.folder / "paths.nc") as file:
        assert file.featureType == "trajectory"
        assert file.variables["trajectory"].cf_role == "trajectory_id"
        order = np.argsort(run.frames["followed"])
        np.testing.assert_array_equal(file.variables["x"][:].T, run.frames["paths_m"][:, order, 0])
        assert (np.diff(file.variables["trajectory"][:]) > 0).all()


def test_the_crate_names_every_file_that_is_there_and_what_made_it(run):
    graph = json.loads((run.folder / "ro-crate-metadata.json").read_text("utf-8"))["@graph"]
    by_id = {one["@id"]: one for one in graph}
    parts = {one["@id"] for one in by_id["./"]["hasPart"]}
    there = {path.name for path in run.folder.iterdir() if path.is_file()} - {"manifest.json", "ro-crate-metadata.json"}
    assert parts <= there | {"plan.json"}
    assert {"series.csv", "world.nc", "odd.md", "report.html", "plan.json"} <= parts
    assert all(by_id[part]["@type"] == "File" for part in parts)
    assert by_id["#run"]["instrument"]["@id"] == "#linnaea"


def test_what_is_unverified_is_listed(run):
    listed = pl.read_csv(run.folder / "unverified.csv")["value"].to_list()
    assert listed == list(run.data.unmeasured())
    assert "settings.catch_margin" in listed
