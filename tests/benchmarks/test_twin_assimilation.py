"""The twin experiments of assimilation: a page is written, and a stopped run continues without repeating anything."""

import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"
SMALL = ["--seeds", "2", "--months", "2", "--ensemble", "12", "--animal-seeds", "0", "--processes", "1"]


@pytest.fixture
def script(monkeypatch):
    """Return the script, imported as if it were run from its folder."""
    monkeypatch.setattr(sys, "path", [str(SCRIPTS / "validation"), str(SCRIPTS), *sys.path])
    return __import__("assimilation")


@pytest.fixture
def few(script, monkeypatch):
    """Restrict the script to experiments of the smallest world."""
    every = script.all_jobs
    monkeypatch.setattr(script, "all_jobs", lambda o: [job for job in every(o) if job.case.get("world") == "tutorial"])


def test_a_stopped_run_goes_on_and_ends_with_the_same_page(script, few, tmp_path, monkeypatch):
    def table(name, *more):
        script.main([*SMALL, *more, "--results", str(tmp_path / name)])
        (path,) = (tmp_path / name).iterdir()
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]

    whole = table("whole")
    assert sum("| map, tutorial | loss of red fox doubled" in line for line in whole) == 2
    assert len(whole) == 5
    work, ran = ["--work", str(tmp_path / "work")], []
    run = script.Job.run

    def until_the_third(job, months, size):
        ran.append(job)
        if len(ran) == 3:
            raise KeyboardInterrupt
        return run(job, months, size)

    monkeypatch.setattr(script.Job, "run", until_the_third)
    with pytest.raises(KeyboardInterrupt):
        table("stopped", *work)
    assert table("resumed", *work) == whole
    # Two before the stop, the third that was stopped, then it again and the three that were left.
    assert len(ran) == 7
    assert table("again", *work) == whole
    assert len(ran) == 7
    table("other", *work, "--first-seed", "5")
    assert len(ran) == 13


def test_a_row_is_as_expected_only_with_intervals_and_gain_in_range(script):
    fields = dict.fromkeys(script.Score.__dataclass_fields__, 1.0)
    good = script.Score(**fields | {"crps": 0.6, "crps_log": 0.6, "held": 0.9})
    for change, fine in (({}, True), ({"held": 0.79}, False), ({"held": 0.98}, False), ({"crps_log": 0.8}, False)):
        one = script.Score(**{name: getattr(good, name) for name in fields} | change)
        assert script.line("a", "b", [one, one])[1] is fine
        assert script.line("a", script.NEVER_COUNTED, [one])[1]


def test_counts_of_a_map_know_their_truth(script):
    truths = sys.modules["assimilation_truths"]
    found = truths.map_experiment(3, 2, 12, "savanna", share=1 / 3)
    assert set(found) == {truths.A_THIRD, truths.NEVER_COUNTED}
    assert all(np.isfinite(list(vars(one).values())).all() for one in found.values())
