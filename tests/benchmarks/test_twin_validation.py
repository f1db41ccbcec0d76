"""The validation pages of the equations are written, hold, and use no forbidden data."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy")

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Return a function that imports a script of the validation as if it were run from its folder."""
    monkeypatch.setattr(sys, "path", [str(SCRIPTS / "validation"), str(SCRIPTS), *sys.path])
    return lambda name: __import__(name)


@pytest.fixture
def counts_path(script, tmp_path):
    """Return the path of counts with the shape of the real ones, made by the model."""
    isle = script("isle_royale")
    value = {name: median for name, (median, _) in isle.PRIORS.items()}
    moose, wolves = isle.iterate(isle.make_model(value, 700.0, 20.0), 60, 1, 5).state_tsc[:, :, 0].T.round()
    lines = [",WOLVES,MOOSE,", "year,wolves,moose,predation rate"]
    lines += [
        f"{1959 + t},{max(wolves[t], 1):.0f},{max(moose[t], 1):.0f},{'N/A' if t < 12 else 0.08}" for t in range(61)
    ]
    path = tmp_path / "counts.csv"
    path.write_text("\n".join([*lines, ",,,", ""]), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["mean_field", "isle_royale"])
def test_a_validation_script_has_its_help_and_its_line(script, name, capsys):
    with pytest.raises(SystemExit) as stop:
        script(name).main(["--help"])
    assert stop.value.code == 0
    assert "--results" in capsys.readouterr().out
    assert f"`validation/{name}.py`" in (SCRIPTS / "README.md").read_text(encoding="utf-8")


def test_the_island_page_says_where_the_counts_are_from_and_both_scores(script, counts_path, tmp_path):
    results = tmp_path / "results"
    assert script("isle_royale").main(["--counts", str(counts_path), "--draws", "5", "--results", str(results)]) == 0
    (page,) = results.iterdir()
    text = page.read_text(encoding="utf-8")
    assert "read from `counts.csv`" in text
    assert "fitted to 1959–1995 only" in text
    assert text.count("| 1996–2019 from 1995 |") == 4
    assert str(tmp_path) not in text


def test_nothing_after_1995_reaches_the_fit_or_the_forecast(script, counts_path):
    isle = script("isle_royale")
    counts = isle.read_counts(counts_path)
    late = counts.year_t > isle.LAST_FITTED
    other = replace(
        counts, animals_2t=np.where(late, 7.0, counts.animals_2t), kills_t=np.where(late, 9.0, counts.kills_t)
    )
    known = [one.until(isle.LAST_FITTED) for one in (counts, other)]
    mode, covariance = isle.fit(known[0])
    assert isle.misfit(mode, known[0]) == isle.misfit(mode, known[1])
    assert (known[1].animals_2t == known[0].animals_2t).all()
    assert known[1].year_t[-1] == 1995
    assert (np.linalg.eigvalsh(covariance) > 0).all()
    members = isle.forecast(mode, covariance, [2000.0, 16.0], 24, 4, 3, 1)
    assert members.shape == (12, 2, 24)
    assert np.isfinite(members).all()


def test_the_fit_finds_the_rates_that_made_the_counts(script):
    isle = script("isle_royale")
    truth = {name: median for name, (median, _) in isle.PRIORS.items()} | {"moose_noise": 0.03, "wolf_noise": 0.05}
    truth |= {"growth": 0.35, "capacity": 1800.0}
    animals_2t = isle.iterate(isle.make_model(truth, 900.0, 15.0), 300, 1, 1).state_tsc[:, :, 0].T
    error_t = np.exp(np.random.default_rng(1).normal(0, 0.1, animals_2t.shape[1]))
    kills_t = isle.Rates(isle.make_model(truth)).compute_feeding(animals_2t)[0] / animals_2t[1] * error_t
    counts = isle.Counts(year_t=np.arange(animals_2t.shape[1]), animals_2t=animals_2t, kills_t=kills_t)
    mode, covariance = isle.fit(counts)
    away = (mode - np.log([truth[name] for name in isle.PRIORS])) / np.sqrt(np.diag(covariance))
    assert np.abs(away[:-1]).max() < 3.5
    assert np.exp(mode[0]) == pytest.approx(0.35, rel=0.15)
    assert np.exp(mode[1]) == pytest.approx(1800, rel=0.1)


def test_a_missing_table_of_counts_says_so(script, tmp_path):
    with pytest.raises(FileNotFoundError, match="give --counts FILE"):
        script("isle_royale").main(["--counts", str(tmp_path / "none.csv")])


def test_every_line_of_the_mean_field_page_holds(script, tmp_path):
    page = script("mean_field")
    quick = [*page.growth(), *page.responses(), *page.patches(), *page.life_tables(), *page.winners(2), *page.balance()]
    assert len(quick) >= 10
    assert [result.claim for result in quick if not result.holds] == []
    assert not page.Result(claim="wrong", expected=1, obtained=1.2, tolerance=0.1).holds
