"""A run's figures: whole rows, none twice after a resume, the same numbers in TensorBoard's files."""

import errno
import threading
from pathlib import Path

import pytest

from linnaea.datasets.rejects import RejectJournal
from linnaea.datasets.samples import Reject
from linnaea.train.runtime.metrics_log import COLUMNS, MetricsLog, read_curve, truncate_log


@pytest.fixture(autouse=True)
def notices(caplog):
    caplog.set_level("INFO", "linnaea")


def made_curve(tmp_path, done=0, tensorboard=False):
    return MetricsLog(tmp_path, done=done, steps=4, log_every=2, tensorboard=tensorboard)


def values(loss):
    return {"loss": loss, "contrast": loss, "scale": 14.0, "learning_rate": 1e-3, "gradient": 1.0}


def test_a_resumed_curve_has_every_step_once(tmp_path):
    first = made_curve(tmp_path)
    for step in (1, 2, 3):
        first.add(step, values(1 / 3 + step), 8)
    first.add_validation(2, {"top-1, all": 0.5})
    first.add_validation(3, {"top-1, all": 0.6})
    path = tmp_path / "curve.csv"
    path.write_text(path.read_text() + "4,0.1")  # a kill tears the last row
    again = made_curve(tmp_path, done=2)
    for step in (3, 4):
        again.add(step, values(1 / 3 + step), 8)
    rows = read_curve(path)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert [row["loss"] for row in rows] == [1 / 3 + step for step in (1, 2, 3, 4)]
    assert "replay" not in rows[0]
    assert (tmp_path / "validation.csv").read_text().splitlines() == ["step,name,value", '2,"top-1, all",0.5']


FULL = Path("/dev/full")


def write_both(curve):
    curve.add(1, values(1.0), 8)
    curve.add_validation(1, {"top1": 0.5})


@pytest.mark.skipif(not FULL.exists(), reason="has no device that is always full")
@pytest.mark.parametrize("name", ["curve.csv", "validation.csv"])
def test_a_full_disk_is_named_with_the_file_and_the_remedy(tmp_path, name):
    curve = made_curve(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).symlink_to(FULL)
    with pytest.raises(
        OSError, match=r"figures cannot be written .*free space there, then continue with --resume"
    ) as found:
        write_both(curve)
    assert (found.value.errno, found.value.filename) == (errno.ENOSPC, str(tmp_path / name))


@pytest.mark.skipif(not FULL.exists(), reason="has no device that is always full")
def test_a_journal_on_a_full_disk_says_so_too(tmp_path):
    journal = RejectJournal(tmp_path / "rejects.csv")
    (tmp_path / "rejects.csv").unlink()
    (tmp_path / "rejects.csv").symlink_to(FULL)
    with pytest.raises(OSError, match=r"cannot be written .*free space there") as found:
        journal.add([Reject(part="p", key="k", reason="torn")])
    assert (found.value.errno, found.value.filename) == (errno.ENOSPC, str(tmp_path / "rejects.csv"))


def test_a_new_curve_drops_what_another_run_left(tmp_path):
    path = tmp_path / "curve.csv"
    path.write_text("step,loss\n1,2\n2,3\n")
    truncate_log(path, COLUMNS, 0)
    assert path.read_text() == ",".join(COLUMNS) + "\n"


def test_the_terminal_gets_a_line_every_so_often_and_at_the_end(tmp_path, caplog):
    curve = made_curve(tmp_path)
    for step in (1, 2, 3, 4):
        curve.add(step, values(float(step)) | {"replay": 0.5}, 8)
    assert [line.split("  ")[:3] for line in caplog.messages] == [
        [f"step {n}/4", f"loss {n}.0000", "replay 0.5000"] for n in (2, 4)
    ]


@pytest.mark.skipif(not FULL.exists(), reason="has no device that is always full")
def test_a_full_disk_ends_tensorboards_files_in_one_line_and_the_run_goes_on(tmp_path, monkeypatch, caplog):
    record_writer = pytest.importorskip("tensorboardX.record_writer")
    monkeypatch.setattr(record_writer, "open_file", lambda _path: FULL.open("wb"))
    steps = 60  # more figures than any buffer or queue holds

    def run():
        curve = made_curve(tmp_path, tensorboard=True)
        for step in range(1, steps + 1):
            curve.add(step, values(1.0), 8)
        curve.close()

    # in a thread, as what this guards against is a wait without end
    running = threading.Thread(target=run, daemon=True)
    running.start()
    running.join(60)
    assert not running.is_alive()
    assert len(read_curve(tmp_path / "curve.csv")) == steps
    (line,) = [line for line in caplog.messages if "TensorBoard" in line]
    assert line.startswith(
        f"{tmp_path / 'tensorboard'}: TensorBoard's files cannot be written any more (No space left on device)"
    )


@pytest.mark.skipif(not FULL.exists(), reason="has no device that is always full")
def test_a_disk_that_is_full_at_the_very_end_is_said_too(tmp_path, monkeypatch, caplog):
    record_writer = pytest.importorskip("tensorboardX.record_writer")
    monkeypatch.setattr(record_writer, "open_file", lambda _path: FULL.open("wb"))
    curve = made_curve(tmp_path, tensorboard=True)
    curve.add(1, values(1.0), 8)
    curve.close()
    assert sum("cannot be written any more" in line for line in caplog.messages) == 1


def test_tensorboards_folder_that_cannot_be_made_is_said_and_nothing_is_lost(tmp_path, caplog):
    pytest.importorskip("tensorboardX")
    (tmp_path / "tensorboard").write_text("a file where the folder should be")
    curve = made_curve(tmp_path, tensorboard=True)
    curve.add(1, values(1.0), 8)
    curve.close()
    assert len(read_curve(tmp_path / "curve.csv")) == 1
    assert "TensorBoard" in caplog.messages[0]


def test_tensorboards_files_hold_the_same_figures(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    curve = made_curve(tmp_path, tensorboard=True, done=1)
    curve.add(2, values(0.25), 8)
    curve.close()
    (path,) = (tmp_path / "tensorboard").iterdir()
    data, found, started = path.read_bytes(), {}, []
    while data:  # a record: length, its checksum, the event, its checksum
        length = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + length])
        found |= {value.tag: (event.step, value.simple_value) for value in event.summary.value}
        started += [event.step] if event.session_log.status == SessionLog.START else []
        data = data[16 + length :]
    assert found["training/loss"] == (2, 0.25)
    assert started == [2]  # the viewer drops what was there of this step and later ones
    assert "training/replay" not in found
