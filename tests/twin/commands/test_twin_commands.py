"""The commands of the twin, from a user's side: what they print, write and refuse; sensitivity and calibration."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from linnaea import cli
from linnaea.twin.assembly.parameters import (
    compute_defaults,
    describe_out_of_range,
    get_grade,
    get_value,
    list_parameters,
    read_range,
    read_setting,
    replace_values,
)
from linnaea.twin.commands.calibrate import ObservedCount, compute_distance, read_observations
from linnaea.twin.commands.sensitivity import analyse, sample_points
from linnaea.twin.data.world_file import list_bundled_worlds, load_world
from linnaea.twin.inference.abc_smc import infer_posterior
from linnaea.twin.runs import member
from linnaea.twin.runs.paired_differences import compare_paired
from linnaea.twin.runs.plan import derive_member_seed
from linnaea.twin.runs.results import load_run
from made_runs import GONE, make_run

SMALL = ["--days", "3", "--every-days", "1", "--area", "0.15", "--processes", "1"]


def call(*words) -> int:
    return cli.main(["twin", *map(str, words)])


def refused(capsys, *words) -> str:
    """The one line of an error, less the program's name."""
    assert call(*words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_worlds_are_listed_and_shown(capsys):
    assert call("worlds") == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in list_bundled_worlds())
    assert call("worlds", "tutorial") == 0
    assert "Oryctolagus cuniculus" in capsys.readouterr().out
    assert call("worlds", "tutorial", "--parameters") == 0
    data, listed = load_world("tutorial"), capsys.readouterr().out.splitlines()
    own, grade = data.settings.catch_margin, get_grade(data, "settings.catch_margin")
    assert f"settings.catch_margin\t{own:g}\t{grade}" in listed
    assert len(listed) == len(list_parameters(data))


def test_a_run_and_a_comparison_end_with_their_answer(tmp_path, capsys):
    (tmp_path / "gone.toml").write_text(GONE)
    base, gone = tmp_path / "base", tmp_path / "gone"
    assert call("run", "tutorial", *SMALL, "--ensemble", 2, "--out", base) == 0
    assert "never checked against a source" in capsys.readouterr().out
    assert call("run", "tutorial", *SMALL, "--ensemble", 2, "--out", gone, "--scenario", tmp_path / "gone.toml") == 0
    assert call("compare", base, gone, "--last-years", "0.001") == 0
    assert "(-100 %)" in capsys.readouterr().out
    frame = pl.read_csv(gone / "compared" / "comparison.csv")
    assert frame.filter(pl.col("species") == "red fox")["difference"].item() == -2.0
    assert {"report.html", "odd.md", "world.nc", "manifest.json", "summary.csv"} <= {
        path.name for path in base.iterdir()
    }


def test_a_run_in_which_all_members_failed_leaves_what_they_wrote_down_and_says_so(tmp_path, capsys, monkeypatch):
    whole, folder = member.step, tmp_path / "run"

    def broken(world):
        if world.step == (40 if world.seed == derive_member_seed(0, 1) else 100):
            world.agents.energy[world.agents.slots()[0]] = np.nan
        whole(world)

    asked = (
        "tutorial",
        "--days",
        6,
        "--every-days",
        1,
        "--area",
        "0.15",
        "--ensemble",
        2,
        "--processes",
        1,
        "--out",
        folder,
    )
    with monkeypatch.context() as patch:
        patch.setattr(member, "step", broken)
        assert call("run", *asked) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        "warning: 2 of 2 members failed; no member reached its end, means go to 4 days; --resume goes on from the last "
        "good checkpoints, or from the start"
    )
    frame = pl.read_csv(folder / "series.csv")
    assert frame["member"].to_list() == [1] * 5 * 2 + [2] * 2 * 2
    assert pl.read_csv(folder / "summary.csv").height == 5 * 2
    table = pl.read_csv(folder / "members.csv")
    assert table["status"].to_list() == ["failed"] * 2
    assert table["until_year"].to_list() == pytest.approx([4 / 365.25, 1 / 365.25])
    assert table["in_means"].to_list() == [True, False]
    assert all("is nan" in reason for reason in table["reason"])
    page = (folder / "report.html").read_text("utf-8")
    assert "No member reached the end: 2 of 2" in page
    assert "<td>1 day</td><td>no</td>" in page
    assert "no member reached its end; the first said: step 112: energy of" in refused(
        capsys, "compare", folder, tmp_path / "run"
    )
    assert call("run", *asked, "--resume") == 0
    assert "Members that failed" not in (folder / "report.html").read_text("utf-8")


def test_the_same_seed_gives_the_same_run_and_another_another(tmp_path):
    one, two, other = (make_run(tmp_path / n, days=3.0, ensemble=1, seed=s) for n, s in (("a", 5), ("b", 5), ("c", 6)))
    a, b, c = (load_run(folder).records["mass_kg"] for folder in (one, two, other))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


def test_more_members_are_added_to_a_finished_run(tmp_path):
    folder = make_run(tmp_path / "run", days=3.0, ensemble=1)
    before = load_run(folder).records["counts"]
    make_run(tmp_path / "run", days=3.0, ensemble=2, resume=True)
    after = load_run(folder).records["counts"]
    assert after.shape[0] == 2
    np.testing.assert_array_equal(after[:1], before)


def test_what_is_not_asked_of_a_run_that_goes_on_is_as_it_was(tmp_path, capsys):
    folder = make_run(tmp_path / "run", days=3.0, ensemble=2)
    made = (folder / "members" / "0000" / "records.npz").stat().st_mtime_ns
    capsys.readouterr()
    assert call("run", "tutorial", "--area", "0.15", "--follow", 4, "--resume", "--out", folder) == 0
    said = capsys.readouterr()
    assert "holds this run already" in said.err
    assert "tutorial: as it is, 3 days, 2 members" in said.out
    assert (folder / "members" / "0000" / "records.npz").stat().st_mtime_ns == made
    assert "holds a finished run (tutorial, seed 0, 2 members of 3 days)" in refused(
        capsys, "run", "tutorial", *SMALL, "--out", folder
    )
    assert call("run", "tutorial", *SMALL, "--replace", "--out", folder) == 0
    assert load_run(folder).members == (0,)


def test_steps_may_be_longer_than_the_worlds_own(tmp_path):
    run = load_run(make_run(tmp_path / "run", days=6.0, every_days=2.0, ensemble=1, step_h=24.0))
    assert dict(run.plan.settings) == {"ground.dt_h": 24.0}
    assert run.data.ground.dt_h == 24
    assert run.records["time_h"].tolist() == [[0, 48, 96, 144]]


def test_species_that_an_area_leaves_without_a_group_are_named(tmp_path, caplog):
    caplog.set_level("INFO", "linnaea")
    make_run(tmp_path / "run", days=1.0, ensemble=1, area=0.001)
    assert "species start with fewer animals than one group has: rabbit 2 of 4, red fox 0 of 1" in caplog.text


def documented(root, task: str) -> list[str]:
    """The ranges that the documents' examples of a task on the tutorial's world give."""
    text = "".join(
        (root / name).read_text(encoding="utf-8").replace("\\\n", " ") for name in ("README.md", "docs/twin.md")
    )
    lines = [line for line in text.splitlines() if line.startswith(f"linnaea twin {task} tutorial ")]
    return [word for line in lines for word in line.split() if ":" in word and "=" in word]


def test_a_range_without_the_worlds_own_value_is_told_and_those_of_the_documents_hold_it():
    data = load_world("tutorial")
    told = describe_out_of_range(
        data, [("settings.catch_margin", 1, 2), ("animals.rabbit.count", 1000, 2000), ("animals.rabbit.count", 1, 2)]
    )
    assert told[0] == "the range of settings.catch_margin, 1 to 2, does not hold the value of world 'tutorial', 6"
    assert len(told) == 2
    assert "1800" in told[1]
    root = Path(__file__).parents[3]
    for task in ("sensitivity", "calibrate"):
        ranges = documented(root, task)
        assert len(ranges) >= 2
        assert describe_out_of_range(data, map(read_range, ranges)) == []


def test_values_in_use_are_shown_where_a_world_computes_them(capsys):
    assert call("worlds", "tutorial", "--parameters") == 0
    listed = capsys.readouterr().out
    assert "\tnan" not in listed
    assert "animals.rabbit.count\t1800\tunverified; from density_per_km2" in listed
    for name in list_bundled_worlds():
        assert all(np.isfinite(value) for value, _ in compute_defaults(load_world(name)).values())
    assert get_value(load_world("tutorial"), "species.Vulpes vulpes.litter_size") == 4.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "tutoral"], "'tutoral' is not bundled"),
        (["run", "tutorial", "--years", "0"], "--years 0"),
        (["run", "tutorial", "--days", "0.01"], "less than a step"),
        (["run", "tutorial", "--ensemble", "0"], "--ensemble 0"),
        (["run", "tutorial", "--set", "settings.catch"], "sets nothing"),
        (["run", "tutorial", "--set", "settings.catch_margn=2"], "did you mean settings.catch_margin"),
        (["run", "tutorial", "--set", "species.rabbit.body_mass_kg=-1"], "impossible"),
        (["run", "tutorial", "--set", "settings.plant_efficiency=50"], "choose 0 to 1"),
        (["run", "tutorial", "--set", "landscape.cell_km=100"], "more than the map's 3 km"),
        (["run", "tutorial", "--set", "animals.rabbit.count=1e9"], "choose 0 to 1e+08"),
        (["run", "tutorial", "--years", "1e9"], "change --years or --every-days"),
        (["run", "tutorial", "--years", "1", "--days", "3"], "keep one of them"),
        (["run", "tutorial", "--resume", "--replace"], "give one of them"),
        (["run", "tutorial", "--step-h", "0"], "--step-h 0"),
        (["run", "savanna", "--area", "1e-9"], "holds not one animal"),
        (["worlds", "--copy", "x"], "need a world"),
        (["run", "tutorial", "--scenario", "none.toml"], "no scenario file"),
        (["compare", "nowhere", "nothing"], "nowhere: no run"),
        (["sensitivity", "tutorial"], "nothing to vary"),
        (["sensitivity", "tutorial", "--parameter", "settings.catch_margin=3:2"], "must be a range"),
        (
            ["sensitivity", "tutorial", "--parameter", "a=1:2", "--method", "sobol", "--samples", "6"],
            "must be a power of 2",
        ),
        (["sensitivity", "tutorial", "--parameter", "a=1:2", "--method", "pawn", "--samples", "49"], "50 or more"),
        (["calibrate", "tutorial", "none.csv", "--parameter", "settings.catch_margin=1:3"], "no observations"),
    ],
)
def test_a_mistake_is_one_line_with_its_remedy(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, *words)
    assert not (tmp_path / "build" / "twin").exists()


def test_a_scenario_that_does_not_fit_leaves_nothing_behind(tmp_path, capsys):
    (tmp_path / "far.toml").write_text(GONE.replace("from_day = 2", "from_day = 200"))
    line = refused(capsys, "run", "tutorial", *SMALL, "--out", tmp_path / "out", "--scenario", tmp_path / "far.toml")
    assert "far.toml: intervention 1 (remove)" in line
    assert "after the end of the run" in line
    assert not (tmp_path / "out").exists()


def test_runs_that_differ_in_more_than_the_scenario_are_not_compared(tmp_path, capsys):
    one = make_run(tmp_path / "a", days=3.0, ensemble=1, seed=1)
    two = make_run(tmp_path / "b", days=3.0, ensemble=1, seed=2)
    capsys.readouterr()
    assert "differ in seed" in refused(capsys, "compare", one, two)


def test_a_paired_difference_has_students_interval():
    found = compare_paired([10, 20, 30], [11, 22, 33], 0.9)
    assert (found.base, found.whatif, found.difference) == (20, 22, 2)
    # t(0.95, 2 degrees) = 2.91999, standard error 1 / √3.
    assert found.high - found.difference == pytest.approx(2.919986 / np.sqrt(3))
    assert found.unpaired_sd > found.paired_sd == 1
    assert np.isnan(compare_paired([1], [2]).low)


def test_values_are_found_set_and_graded_by_name():
    data = load_world("tutorial")
    changed = replace_values(
        data, [("settings.catch_margin", 1.75), ("species.rabbit.litter_size", 5), ("animals.rabbit.count", 90)]
    )
    assert get_value(changed, "settings.catch_margin") == 1.75
    assert changed.web.species["rabbit"].litter_size == 5
    assert changed.animals["rabbit"].count == 90
    assert get_value(data, "settings.catch_margin") == data.settings.catch_margin != 1.75
    assert get_grade(changed, "species.rabbit.litter_size").startswith("unverified set by hand")
    assert all(np.isnan(v) or np.isfinite(v) for v in (get_value(data, name) for name in list_parameters(data)))
    assert read_setting("a.b=1e3") == ("a.b", 1000)
    assert read_range("a.b=1:2.5") == ("a.b", 1, 2.5)


def test_setting_a_value_changes_the_run(tmp_path):
    few = load_run(make_run(tmp_path / "few", days=3.0, ensemble=1, set=("animals.rabbit.count=400",)))
    assert few.records["counts"][0, 0, 0] == 60


def test_indices_find_the_parameter_that_acts():
    pytest.importorskip("SALib")
    problem = {"num_vars": 3, "names": ["a", "b", "c"], "bounds": [[0, 1], [0, 2], [-1, 1]]}
    points = sample_points("morris", problem, 8, 0)
    found = analyse("morris", problem, points, 3 * points[:, 0] + points[:, 1], 0)
    np.testing.assert_allclose(found["mu_star"], [3, 2, 0], atol=1e-9)
    points = sample_points("sobol", problem, 256, 0)
    found = analyse("sobol", problem, points, 3 * points[:, 0] + points[:, 1], 0)
    # Variances 9/12 and 4/12.
    np.testing.assert_allclose(found["S1"], [9 / 13, 4 / 13, 0], atol=0.03)
    points = sample_points("pawn", problem, 400, 0)
    found = analyse("pawn", problem, points, 3 * points[:, 0] + points[:, 1], 0)
    assert found["median"][0] > found["median"][1] > found["chance"][1]
    assert found["median"][2] < found["chance"][2] * 1.3
    for method in ("morris", "sobol", "pawn"):
        assert set(map(tuple, analyse(method, problem, points, np.zeros(len(points)), 0).values())) == {(0, 0, 0)}


def test_sensitivity_of_a_world_names_the_species_and_does_nothing_twice(tmp_path, capsys):
    pytest.importorskip("SALib")
    words = [
        "sensitivity",
        "tutorial",
        "--parameter",
        "animals.rabbit.count=200:800",
        "--years",
        "0.004",
        "--last-years",
        "0.004",
        "--samples",
        "2",
        "--area",
        "0.15",
        "--processes",
        "1",
        "--out",
        tmp_path,
    ]
    assert call(*words) == 0
    said = capsys.readouterr()
    assert "4 of 4 runs done" in said.err
    rabbit = pl.read_csv(tmp_path / "sensitivity.csv").filter(pl.col("species") == "rabbit")
    # A share 0.15 of 200 to 800 rabbits, of which hardly any dies in a day and a half.
    assert rabbit["mu_star"].item() == pytest.approx(90, rel=0.05)
    assert call(*words) == 0
    assert "runs done" not in capsys.readouterr().err


def test_inference_finds_the_mean_of_a_normal():
    rng = np.random.default_rng(0)
    observed = 2.0

    def distance(values_np):
        return np.abs(rng.normal(values_np[:, 0], 0.5) - observed)

    rounds = []
    found = infer_posterior(
        distance, [-10, -1], [10, 1], particles=200, rounds=6, seed=1, end_round=lambda: rounds.append(1)
    )
    low, high = found.quantile(0.05), found.quantile(0.95)
    # Exactly: 2 ± 1.645 · 0.5 of the first; the second does not act, and keeps its prior.
    assert found.mean[0] == pytest.approx(2, abs=0.25)
    assert high[0] - low[0] == pytest.approx(2 * 1.645 * 0.5, rel=0.35)
    assert high[1] - low[1] > 1.4
    assert found.weights_n.sum() == pytest.approx(1)
    assert list(found.tolerances) == sorted(found.tolerances, reverse=True)
    assert len(rounds) == 6


def test_one_round_is_rejection_and_failed_simulations_are_refused():
    found = infer_posterior(lambda v: v[:, 0], [0], [1], particles=10, rounds=1, keep=0.1, seed=0)
    assert found.simulated == 100
    assert found.values_np.max() < 0.25
    with pytest.raises(ValueError, match="narrow the ranges"):
        infer_posterior(lambda v: np.full(len(v), np.inf), [0], [1], particles=4, rounds=1)


def test_bad_rows_of_observations_are_named_and_left_out(tmp_path):
    path = tmp_path / "counts.csv"
    path.write_text("year,species,count\n0,rabbit,100\n1,rabit,90\nlast,rabbit,3\n2,rabbit,-4\n3,rabbit,80\n")
    found, left_out = read_observations(path, ("rabbit",))
    assert [(one.year, one.count) for one in found] == [(0, 100), (3, 80)]
    assert [reason.split(":")[0] for reason in left_out] == ["row 3", "row 4", "row 5"]
    path.write_text("year,species,count\n0,Oryctolagus cuniculus,7\n")
    assert read_observations(path, ("rabbit",), {"Oryctolagus cuniculus": "rabbit"})[0][0].species == "rabbit"
    path.write_text("year,count\n0,100\n")
    with pytest.raises(ValueError, match="column 'species' is missing"):
        read_observations(path, ("rabbit",))


def test_the_distance_compares_logarithms_between_records():
    years, counts = np.array([0.0, 1.0]), np.array([[0], [2 * (np.e - 1)]])
    observed = [ObservedCount(year=0.5, species="hare", count=0)]
    assert compute_distance(years, counts, ("hare",), observed) == pytest.approx(1.0)


def test_calibration_finds_the_number_that_was_there(tmp_path, capsys):
    (tmp_path / "counts.csv").write_text("year,species,count\n0.001,rabbit,75\n0.004,rabbit,75\n")
    assert (
        call(
            "calibrate",
            "tutorial",
            tmp_path / "counts.csv",
            "--parameter",
            "animals.rabbit.count=100:900",
            "--particles",
            8,
            "--rounds",
            2,
            "--area",
            "0.15",
            "--processes",
            1,
            "--out",
            tmp_path / "fit",
        )
        == 0
    )
    said = capsys.readouterr()
    assert "posterior.csv" in said.out
    assert "round 1, batch 1: 16 runs of 1.461 days, 1 at a time" in said.err
    assert "round 2, batch 1: 8 of 8 runs done" in said.err
    fitted = pl.read_csv(tmp_path / "fit" / "posterior.csv")
    mean = float((fitted["weight"] * fitted["animals.rabbit.count"]).sum())
    # 500 · 0.15 = 75.
    assert mean == pytest.approx(500, abs=120)
