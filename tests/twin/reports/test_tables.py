"""Tables and NetCDF of a run: what they hold is what was recorded, and others can read it."""

import json

import numpy as np
import polars as pl
import pytest
from h5netcdf.legacyapi import Dataset

from linnaea.twin.reports.run_files import write_outputs
from linnaea.twin.reports.tables import build_tables, compute_bands, compute_flows
from linnaea.twin.runs.results import load_run
from made_runs import make_run

ILL = """version = 1
[[intervention]]
kind = "disease"
species = "rabbit"
infections_per_day = 0.05
illness_days = 3
lethality = 0.5
share = 0.1
from_day = 1
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return load_run(make_run(tmp_path_factory.mktemp("out") / "run"))


@pytest.fixture(scope="module")
def ill(tmp_path_factory):
    return load_run(make_run(tmp_path_factory.mktemp("ill") / "run", scenario=ILL, ensemble=2, days=4.0))


def text(variable) -> list[str]:
    return [b"".join(row).rstrip(b"\0").decode() for row in variable[:]]


def test_the_series_is_every_member_record_and_species(run):
    frame = pl.read_csv(run.run_dir / "series.csv")
    assert frame.height == 3 * 7 * 2
    one = frame.filter((pl.col("member") == 2) & (pl.col("species") == "rabbit"))
    assert one["animals"].to_list() == run.records["counts"][1, :, 0].tolist()
    assert one["died_since_start"].to_list() == run.records["died"][1, :, 0].sum(1).tolist()


def test_the_summary_is_the_mean_and_the_quantiles_of_the_members(run):
    frame = pl.read_csv(run.run_dir / "summary.csv").filter(pl.col("species") == "rabbit")
    counts = run.records["counts"][:, :, 0]
    np.testing.assert_allclose(frame["mean"], counts.mean(0))
    np.testing.assert_allclose(frame["median"], np.median(counts, 0))
    assert compute_bands(np.array([[[1]], [[2]], [[3]]]), (0.5,)).tolist() == [[[2.0]]]


def test_deaths_by_cause_add_up(run):
    frame = pl.read_csv(run.run_dir / "deaths.csv")
    years = 6 * 24 / 8766
    assert frame["deaths_per_year"].sum() * years == pytest.approx(run.records["died"][:, -1].sum() / 3)


def test_flows_go_from_clover_to_rabbit_and_are_what_was_grazed(run):
    found = compute_flows(run)
    grazed = run.records["tally_grazed_kj"][:, 0, 0].mean() / (6 * 24 / 8766)
    assert found["rabbit", "clover"] == pytest.approx(grazed)
    assert set(found) <= {("rabbit", "clover"), ("red fox", "rabbit")}


def test_tables_can_be_parquet(run, tmp_path):
    write_outputs(run, "parquet")
    for name, frame in build_tables(run).items():
        assert pl.read_parquet(run.run_dir / f"{name}.parquet").height == frame.height


def test_the_grids_hold_the_records_with_units_and_names(run):
    with Dataset(run.run_dir / "world.nc") as file:
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
            assert variable.filters()["zlib"], name
            assert variable.filters()["shuffle"], name


def test_paths_are_trajectories(run):
    with Dataset(run.run_dir / "paths.nc") as file:
        assert file.featureType == "trajectory"
        assert file.variables["trajectory"].cf_role == "trajectory_id"
        order = np.argsort(run.frames["followed"])
        np.testing.assert_array_equal(file.variables["x"][:].T, run.frames["paths_m"][:, order, 0])
        assert (np.diff(file.variables["trajectory"][:]) > 0).all()


def test_the_crate_names_every_file_that_is_there_and_what_made_it(run):
    graph = json.loads((run.run_dir / "ro-crate-metadata.json").read_text("utf-8"))["@graph"]
    by_id = {one["@id"]: one for one in graph}
    parts = {one["@id"] for one in by_id["./"]["hasPart"]}
    there = {path.name for path in run.run_dir.iterdir() if path.is_file()} - {
        "manifest.json",
        "ro-crate-metadata.json",
    }
    assert parts <= there | {"plan.json"}
    assert {"series.csv", "world.nc", "odd.md", "report.html", "plan.json"} <= parts
    assert all(by_id[part]["@type"] == "File" for part in parts)
    assert by_id["#run"]["instrument"]["@id"] == "#linnaea"


def test_what_is_unverified_is_listed(run):
    listed = pl.read_csv(run.run_dir / "unverified.csv")["value"].to_list()
    assert listed == list(run.data.unmeasured())
    assert "settings.catch_margin" in listed


def test_only_causes_that_a_rule_can_set_are_listed(run):
    assert set(pl.read_csv(run.run_dir / "deaths.csv")["cause"]) == {
        "starvation",
        "age",
        "predation",
        "disease",
        "poaching",
        "removal",
        "background",
    }


def test_a_disease_leaves_its_curve_in_the_tables_and_the_grids(ill):
    frame = pl.read_csv(ill.run_dir / "health.csv")
    assert set(frame["species"]) == {"rabbit"}
    states = frame.select("susceptible", "ill", "recovered", "vaccinated").sum_horizontal()
    assert states.to_list() == ill.records["counts"][:, :, 0].ravel().tolist()
    assert frame.filter(pl.col("year") == 0)["ill"].sum() == 0
    assert frame["ill"].max() > 0
    assert frame["recovered"].max() > 0
    with Dataset(ill.run_dir / "world.nc") as file:
        assert text(file.variables["state_name"]) == ["susceptible", "ill", "recovered", "vaccinated"]
        np.testing.assert_array_equal(file.variables["health"][:, 0, 1].ravel(), frame["ill"])
    assert "<h2>Health</h2>" in (ill.run_dir / "report.html").read_text("utf-8")


def test_without_a_disease_there_is_no_table_of_health(run):
    assert not (run.run_dir / "health.csv").exists()
    assert "<h2>Health</h2>" not in (run.run_dir / "report.html").read_text("utf-8")


def test_the_first_record_has_the_weather_of_its_month_and_height(run):
    degrees, rain = (run.records["weather"][:, :, index] for index in (2, 0))
    # All six days lie in January.
    np.testing.assert_allclose(degrees, degrees[0, 0])
    np.testing.assert_allclose(rain, np.repeat(rain[:, :1], rain.shape[1], axis=1))
