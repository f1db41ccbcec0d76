"""The Python face of the twin: runs and comparisons give what the commands give."""

import numpy as np
import pytest

from linnaea import twin
from made_runs import GONE, make_run

SMALL = {"days": 3.0, "every_days": 1.0, "area": 0.15, "processes": 1}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A baseline and a what-if of the tutorial's world, made from Python."""
    folder = tmp_path_factory.mktemp("modelling")
    (folder / "gone.toml").write_text(GONE, encoding="utf-8")
    base = twin.run("tutorial", ensemble=2, out_dir=folder / "base", **SMALL)
    whatif = twin.run("tutorial", ensemble=2, out_dir=folder / "gone", scenario_path=folder / "gone.toml", **SMALL)
    return base, whatif


def test_a_run_from_python_is_that_of_the_command(pair, tmp_path):
    made = twin.load_run(make_run(tmp_path / "made", ensemble=2, follow=0, **SMALL))
    np.testing.assert_array_equal(pair[0].records["counts"], made.records["counts"])
    assert (pair[0].run_dir / "report.html").is_file()


def test_a_comparison_takes_runs_or_their_folders_and_writes_only_on_request(pair, tmp_path):
    base, whatif = pair
    found = twin.compare(base, whatif, last_years=0.001)
    assert found["red fox"].whatif_end == 0 < found["red fox"].base_end
    assert not (whatif.run_dir / "compared").exists()
    again = twin.compare(base.run_dir, whatif.run_dir, last_years=0.001, out_dir=tmp_path / "compared")
    assert {name: one.difference for name, one in again.items()} == {
        name: one.difference for name, one in found.items()
    }
    assert {path.name for path in (tmp_path / "compared").iterdir()} == {
        "comparison.csv",
        "differences.csv",
        "report.html",
    }
    with pytest.raises(ValueError, match="level 2 is not between 0 and 1"):
        twin.compare(base, whatif, level=2)


def test_mistakes_are_found_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="--years and --days"):
        twin.run("tutorial", years=1, out_dir=tmp_path / "out", days=3)
    assert not (tmp_path / "out").exists()
