"""The validation of the animals on small numbers, and the speed script's own arithmetic."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Imports a script as if it were run from its folder."""
    monkeypatch.setattr(sys, "path", [str(SCRIPTS / "validation"), str(SCRIPTS), *sys.path])
    return lambda name: __import__(name)


@pytest.mark.parametrize("name, line", [("agents", "validation/agents.py"), ("twin_speed", "twin_speed.py"), ("cuda_flock", "cuda_flock.py")])
def test_a_script_has_its_help_and_its_line(script, name, line, capsys):
    with pytest.raises(SystemExit) as stop:
        script(name).main(["--help"])
    assert stop.value.code == 0
    assert "--results" in capsys.readouterr().out
    assert f"`{line}`" in (SCRIPTS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "part, settings",
    [
        ("extinction", {"n_lines": 1500}),
        ("random_walk", {"n": 20_000}),
        ("marginal_value", {"hours": 400}),
        ("free_distribution", {"n": 600}),
        ("logistic_growth", {"n_seeds": 5}),
        ("epidemics", {"n": 3000, "ratios": (3.0,)}),
        ("metabolic_scaling", {"days": 5, "area_share": 0.02}),
        ("alignment", {"widths": (1,), "n_seeds": 1, "steps": 300}),
    ],
)
def test_the_animals_give_what_the_textbook_says(script, part, settings):
    results = list(getattr(script("agents"), part)(**settings))
    assert results
    assert [(result.claim, result.obtained) for result in results if not result.holds] == []


def test_predators_eat_what_the_disc_equation_says(script):
    """400 m², 200 prey, a strike of .3 m, 20 hours of handling: 1.9 kills in 100 hours of a predator."""
    attack, prey, handling = np.pi * 0.3**2, 200 / 400, 20.0
    expected = attack * prey / (1 + attack * prey * handling)
    got = script("agents").eaten_per_hour(300, 200, 20.0, 0.3, handling, 300)
    assert got == pytest.approx(expected, rel=0.08)
