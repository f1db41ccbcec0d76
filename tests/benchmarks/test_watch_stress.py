"""What the stress test of a watch counts as right, lost, wrong and double."""

import random
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the script reads /proc")


@pytest.fixture
def stress(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(sys, "path", [*sys.path])
    return __import__("watch_stress")


def row(name, confidence="0.9000"):
    values = {"status": "identified", "reason": "", "rank": "species", "name": name}
    return values | {"confidence": confidence, "similarity": "0.5"}


def test_every_script_has_its_line(stress, capsys):
    with pytest.raises(SystemExit):
        stress.main(["--help"])
    assert "--results" in capsys.readouterr().out
    assert "`watch_stress.py`" in (SCRIPTS / "README.md").read_text(encoding="utf-8")


def test_only_the_last_decimal_may_differ(stress):
    assert stress.is_same(row("a"), row("a", "0.9001"))
    assert not stress.is_same(row("a"), row("a", "0.9100"))
    assert not stress.is_same(row("a"), row("b"))
    assert not stress.is_same(row("a"), row("a", ""))


def test_rows_that_are_lost_or_of_another_content_are_counted(stress, tmp_path):
    writer = stress.Writer(folder=tmp_path, archive=tmp_path, chance=random.Random(0), rate_hz=1.0)

    def had(name, content, **times):
        writer.paths[tmp_path / name] = stress.PathHistory(content=content, since=0.0, had=times)

    had("right", "a", a=0.0)
    had("lost", "a", a=0.0)
    had("stale", "b", a=0.0, b=9.0)
    had("gone", None, a=0.0, b=100.0)
    had("gone, an older one", None, a=0.0, b=100.0)
    had("gone, unread", None, a=0.0)
    had("gone at once", None, a=0.0)
    gone_s = {tmp_path / name: 200.0 for name in writer.paths} | {tmp_path / "gone at once": 1.0}
    gone_s |= dict.fromkeys((tmp_path / name for name in ("gone", "gone, an older one", "gone, unread")), 200.0)
    expected = {"a": row("a"), "b": row("b")}
    table = {"right": "a", "stale": "a", "gone": "b", "gone, an older one": "a", "of nothing": "a"}
    rows = {str(tmp_path / name): row(content) for name, content in table.items()}
    assert stress.compare(rows, writer, expected, gone_s) == {
        "present: right": 1,
        "present: LOST": 1,
        "present: WRONG": 1,
        "vanished: right": 1,
        "vanished: WRONG": 1,
        "vanished: LOST": 1,
        "vanished soon: no row": 1,
        "row of no photograph: WRONG": 1,
    }


def test_two_rows_of_one_file_are_found(stress, tmp_path):
    (tmp_path / "t.csv").write_text("file,name\na,x\na,x\n")
    with pytest.raises(AssertionError, match="1 files have two rows"):
        stress.read_table(tmp_path / "t.csv")


def test_the_slope_is_that_of_what_stays(stress):
    """100 MB that come and go on 500 MB that grow by 60 MB per hour."""
    memory = stress.Memory()
    for second in range(1200):
        size = int(500e6 + 60e6 * second / 3600 + 100e6 * (second % 3 == 0))
        memory.course.append((float(second), size, size))
    slope, error = memory.slope(2)
    assert slope == pytest.approx(60, abs=2)
    assert error < 3
    first, second = memory.peaks()
    assert 600e6 < first < second < 621e6


def course(stress, mb_an_hour):
    """1.3 GB that grow at this rate over 20 minutes; for a third of them an allocator holds a large image."""
    memory = stress.Memory()
    for second in range(1200):
        size = int(1300e6 + mb_an_hour * 1e6 * second / 3600 + 40e6 * (560 <= second < 880) + 20e6 * (second % 3 == 0))
        memory.course.append((float(second), size + 100_000_000, size))
    return memory


def test_a_steady_growth_that_slope_and_peaks_let_pass_is_found_between_the_thirds(stress):
    growing = course(stress, 100)
    slope, error = growing.slope(2)
    first, second = growing.peaks()
    assert slope - error < 0
    assert second <= stress.MOST_PEAK * first
    begun, ended = growing.thirds(2)
    assert (ended - begun) / 1e6 == pytest.approx(100 * 640 / 3600, abs=1)
    assert not growing.is_flat()
    # 13 MB between thirds that lie 640 s apart
    assert growing.least_told() == pytest.approx(13 / (640 / 3600), rel=0.05)
    assert growing.least_told() < 100
    slower = course(stress, 0.5 * growing.least_told())
    assert slower.thirds(2)[1] < stress.MOST_MEDIAN * slower.thirds(2)[0]


def test_memory_that_stays_or_shrinks_is_flat_and_a_jump_of_the_peak_is_not(stress):
    assert course(stress, 0).is_flat()
    assert course(stress, -100).is_flat()
    peaked = course(stress, 0)
    seconds, resident, anonymous = peaked.course[900]
    peaked.course[900] = (seconds, resident + 200_000_000, anonymous)
    assert not peaked.is_flat()
