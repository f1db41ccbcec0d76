"""The what-ifs of the Serengeti, convergence of animals to equations, and invariants, with small numbers."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

from linnaea.twin.runs.paired_differences import compare_paired
from linnaea.twin.scenarios.scenario_file import read_scenario

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Return a function that imports a script as if it ran from its folder."""
    monkeypatch.setattr(sys, "path", [str(SCRIPTS / "validation"), str(SCRIPTS), *sys.path])
    return lambda name: __import__(name)


@pytest.mark.parametrize("name", ["serengeti", "convergence", "invariants", "worlds_live"])
def test_a_script_has_its_help_and_its_line(script, name, capsys):
    with pytest.raises(SystemExit) as stop:
        script(name).main(["--help"])
    assert stop.value.code == 0
    assert "--results" in capsys.readouterr().out
    assert f"`validation/{name}.py`" in (SCRIPTS / "README.md").read_text(encoding="utf-8")


def test_what_lives_in_a_world_is_told_over_all_seeds_and_kept(script, tmp_path, monkeypatch, capsys):
    live = script("worlds_live")
    monkeypatch.setattr(
        live, "RUNS", {"tutorial": live.Lived(years=0.5, area=0.05, step_h=24, seeds=(0, 1), every_y=1 / 12)}
    )
    assert live.main(["--work", str(tmp_path), "--only", "tutorial"]) == 0
    page = capsys.readouterr().out
    assert "of 12 |" in page
    assert "| rabbit | 90 |" in page
    assert "clover" in page
    monkeypatch.setattr(live, "live", None)  # what is there is not run again
    assert live.main(["--work", str(tmp_path), "--only", "tutorial"]) == 0
    assert capsys.readouterr().out == page.split("\n", 2)[2]


def test_the_scenarios_are_files_that_the_command_reads(script, tmp_path):
    serengeti, found = script("serengeti"), {}
    for name, text in (
        ("fence", serengeti.barrier(12.0, 9.0)),
        ("ill", serengeti.rinderpest(3)),
        ("well", serengeti.rinderpest(0)),
    ):
        path = tmp_path / f"{name}.toml"
        path.write_text(text, encoding="utf-8")
        found[name] = read_scenario(path).interventions
    (fence,) = found["fence"]
    (x0, y0), (x1, y1) = fence.place.points_m
    assert (x0, y0, y1) == pytest.approx((0, 6000, 6000))
    assert 11_999 < x1 < 12_000
    assert [one.kind for one in found["ill"]] == ["remove", "disease", "disease", "disease"]
    assert [one.kind for one in found["well"]] == ["remove"]
    assert found["well"][0] == found["ill"][0]
    assert found["well"][0].share == pytest.approx(1 - 260 / 1400, abs=1e-4)


def test_a_line_says_whether_sign_and_size_are_as_expected(script):
    line = script("serengeti").Line(
        claim="herd", sign=-1, size="about −33 %", found=compare_paired([90, 110, 100], [70, 72, 68])
    )
    assert "100 → 70" in line.text()
    assert "-30 %" in line.text()
    assert line.text().endswith("| yes, beyond chance |")
    none = script("serengeti").Line(claim="fires", sign=-1, size="", found=compare_paired([0, 0], [0, 0]))
    assert "| – | no, within chance |" in none.text()


def test_the_page_is_written_as_it_comes_and_the_runs_are_kept(script, tmp_path, capsys):
    command = [
        "--runs",
        str(tmp_path / "runs"),
        "--area",
        "0.002",
        "--members",
        "2",
        "--barrier-years",
        "1.05",
        "--rinderpest-years",
        "1",
        "--last-years",
        "0.2",
        "--results",
        str(tmp_path / "results"),
    ]
    assert script("serengeti").main(command) == 0
    (page,) = (tmp_path / "results").iterdir()
    text = page.read_text(encoding="utf-8")
    assert text.count("| yes, ") + text.count("| no, ") == 5
    assert str(tmp_path) not in text
    said = capsys.readouterr().out
    assert script("serengeti").main(command) == 0
    assert page.read_text(encoding="utf-8") == text
    assert "compil" not in capsys.readouterr().out, said


def test_a_fenced_run_is_its_baseline_until_the_fence_stands(script, tmp_path):
    serengeti = script("serengeti")
    parse = serengeti.argparse.Namespace(
        runs=tmp_path, world="savanna", members=1, area=0.002, step_h=24.0, seed=3, processes=1
    )
    side = 36 * 0.002**0.5
    base, fenced = (
        serengeti.run(parse, name, 1.1, text) for name, text in (("a", ""), ("b", serengeti.barrier(side, side)))
    )
    before = base.time_y < 1
    assert before.any()
    assert np.array_equal(base.records["counts"][:, before], fenced.records["counts"][:, before])


def test_animals_approach_the_equations_as_numbers_grow_and_as_they_mix(script):
    page = script("convergence")
    web, mass = page.make_rosenzweig_macarthur(1.5), page.HARES
    few, many = page.gap(web, 40, mass=mass, seeds=3), page.gap(web, 640, mass=mass, seeds=2)
    # Sixteen times the numbers: a quarter of the gap, but for chance.
    assert many < 0.12
    assert few > 1.8 * many
    unmixed = page.gap(web, 640, mass=mass, mixing=0.003)
    assert unmixed > 4 * many


def test_invariants_hold_and_a_world_that_breaks_one_is_seen(script, monkeypatch):
    page = script("invariants")
    monkeypatch.setattr(page, "SHARE", 0.003)
    lines = [
        *page.kept("tutorial", 20, seed=2, area_share=0.2, dt_h=6.0),
        *page.poached(n=3000, days=10),
        page.no_look_ahead(4),
    ]
    lines += [page.pair("slots", page.shuffled, 10), page.pair("disk", page.resumed, 34)]
    assert [line.claim for line in lines if not line.holds] == []

    def ill(world, turn):
        world.agents.health[world.agents.slots()[turn]] = 1

    assert not page.pair("ill", ill, 3).holds
