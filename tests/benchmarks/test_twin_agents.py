"""The validation of the animals on small numbers, and the speed script's own arithmetic."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Return a function that imports a script as if it ran from its folder."""
    monkeypatch.setattr(sys, "path", [str(SCRIPTS / "validation"), str(SCRIPTS), *sys.path])
    return lambda name: __import__(name)


@pytest.mark.parametrize(
    ("name", "line"),
    [("agents", "validation/agents.py"), ("twin_speed", "twin_speed.py"), ("cuda_flock", "cuda_flock.py")],
)
def test_a_script_has_its_help_and_its_line(script, name, line, capsys):
    with pytest.raises(SystemExit) as stop:
        script(name).main(["--help"])
    assert stop.value.code == 0
    assert "--results" in capsys.readouterr().out
    assert f"`{line}`" in (SCRIPTS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("part", "settings"),
    [
        ("extinction", {"n_lines": 1500}),
        ("random_walk", {"n": 20_000}),
        ("marginal_value", {"hours": 400}),
        ("free_distribution", {"n": 600}),
        ("logistic_growth", {"n_seeds": 5}),
        ("epidemics", {"n": 3000, "ratios": (3.0,)}),
        ("metabolic_scaling", {"days": 5, "area_share": 0.02}),
        ("alignment", {"widths": (1,), "n_seeds": 1, "steps": 300}),
        ("grazing", {"days": 1, "area_share": 0.5}),
        ("kills", {"densities": (20.0,), "days": 20}),
        ("contagion", {"n": 1500, "n_seeds": 6}),
        ("cascade", {"n_seeds": 2, "years": 0.5, "area_share": 0.2}),
    ],
)
def test_the_animals_give_what_the_textbook_says(script, part, settings):
    results = list(getattr(script("agents"), part)(**settings))
    assert results
    assert [(result.claim, result.obtained) for result in results if not result.holds] == []


def test_predators_eat_what_the_disc_equation_says(script):
    """400 m², 200 prey, a strike of 0.3 m, 20 hours of handling: 1.9 kills in 100 hours of a predator."""
    attack, prey, handling = np.pi * 0.3**2, 200 / 400, 20.0
    expected = attack * prey / (1 + attack * prey * handling)
    got = script("agents").eaten_per_hour(300, 200, 20.0, 0.3, handling, 300)
    assert got == pytest.approx(expected, rel=0.08)


def test_only_the_named_rules_of_a_world_act_and_they_are_its_own(script):
    from linnaea.twin.assembly.world_builder import build_world

    world = build_world("tutorial", area_share=0.05)
    own = {type(rule).__name__: rule for rule in world.rules}
    kept = script("world_rules").only(world, "Graze", "Eat")
    assert [rule is own[name] for rule, name in zip(kept.rules, ("Graze", "Eat"), strict=True)] == [True, True]
    assert sum(map(len, kept.by_phase.values())) == 2


def test_the_final_size_of_an_epidemic_is_the_root_of_its_equation(script):
    size = script("world_rules").final_size
    assert size(2.0, 1e-9) == pytest.approx(0.796812, abs=1e-6)
    assert size(0.0, 0.1) == pytest.approx(0.1)


class Recorded:
    """A replacement of Mesa: our own sequential runs with other seeds, shifted by a constant."""

    def __init__(self, model, moved):
        self.model, self.moved, self.runs = model, moved, 0

    def run(self, kind, steps, seed, settings):
        self.runs += 1
        series = replace(self.model, order="sequential", seed=50_000 + seed).run(steps)
        return 1.0, (np.asarray(series, float) + self.moved).tolist()


def test_populations_of_large_worlds_rest_on_many_runs_of_both(script):
    speed = script("twin_speed")
    model = replace(speed.SMALL_SHEEP, side=12)
    same, moved = Recorded(model, 0.0), Recorded(model, 30.0)
    rows = [line.split(" | ") for line in speed.populations("WolfSheep large", model, same)]
    assert same.runs == speed.MESA_RUNS == 30
    assert [row[1] for row in rows] == list(speed.ORDERS)
    sequential = rows[0]
    assert len(sequential[4].split(" / ")) == 8
    assert float(sequential[5]) < 4
    assert float(speed.populations("WolfSheep large", model, moved)[0].split(" | ")[5]) > 10


def test_a_difference_is_told_in_standard_errors_of_both_means(script):
    speed = script("twin_speed")
    ours, theirs = np.array([[1.0], [3.0], [1.0], [3.0]]), np.array([[4.0], [6.0]])
    # Means 2 and 5, variances 4/3 and 2: standard error sqrt(1/3 + 1).
    assert speed.differences(ours, theirs) == pytest.approx(-3 / np.sqrt(4 / 3))
    assert speed.by_chance(1) == pytest.approx(1.96, abs=0.005)
    assert speed.by_chance(8) == pytest.approx(2.73, abs=0.01)
