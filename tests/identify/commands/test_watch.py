"""Folders under a watch: each photograph has one row, of what it holds now, whatever happens around it."""

import csv
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from linnaea.embed.journal import get_journal_dir
from linnaea.identify.commands import pipeline, watch_output
from linnaea.identify.commands.config import IdentifyConfig
from linnaea.identify.commands.identify import main
from linnaea.identify.commands.pipeline import name_batches
from linnaea.identify.commands.run_identity import make_run_identity
from linnaea.identify.commands.run_summary import format_identified_by
from linnaea.identify.commands.watch import run_watch
from linnaea.identify.commands.watch_journal import WatchJournal, get_watch_path, remove_unfinished
from linnaea.identify.commands.watch_loop import Pace, Watch
from linnaea.identify.commands.watch_output import WatchOutput
from linnaea.identify.naming.namer import load_namer
from linnaea.photos import decoding
from linnaea.store import get_manifest_path

# Nothing is old enough to be named at the first look, and no pause ends by itself: the tests look when they like.
BY_HAND = Pace(interval_s=1e6, grace_s=1e6)
FAST = Pace(interval_s=0.02, grace_s=0.3, write_every_s=0.02)
SOURCE = Path(__file__).resolve().parents[3] / "src"
# No process takes this long, even on a busy machine.
LIMIT_S = 120


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


class Station:
    """A watch whose looks are made by hand; `rows` is what its output would hold."""

    def __init__(self, config, model, namer, pace):
        self.journal, self.stop, self.shown = WatchJournal(None), threading.Event(), []
        self.config, self.model = config, model
        self.state = make_run_identity(config, model, namer) | {"created": "2025-01-01T00:00:00Z"}
        self.journal.begin(self.state)
        self.output = WatchOutput(config, self.journal, self.state, format_identified_by(model), namer, 5.0)
        self.namer, self.pace = namer, pace
        self.watch = self.make(partial(name_batches, config, model, namer))

    def make(self, name):
        return Watch(
            self.config, name, self.journal, self.output, stop=self.stop, show=self.shown.append, pace=self.pace
        )

    def look(self, times=1):
        for _ in range(times):
            self.watch.look()
        return self.rows()

    def rows(self):
        return {os.path.basename(p.file): p.name or p.reason for _path, p in self.journal.rows()}


@pytest.fixture
def station(model, vocabulary_path, tmp_path):
    def make(*paths, pace=BY_HAND, **options):
        (tmp_path / "in").mkdir(exist_ok=True)
        settings = {"vocabulary": str(vocabulary_path), "quiet": True, "watch": True, "names": "full"} | options
        config = IdentifyConfig(paths=paths or (tmp_path / "in",), **settings)
        return Station(config, model, load_namer(config, model), pace)

    return make


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir(exist_ok=True)
    return tmp_path / "in"


def test_a_photograph_is_named_once_it_stands_still_and_only_once(station, folder, paint):
    here = station()
    paint(folder / "a.png", "cat")
    assert here.look() == {}
    assert here.look() == {"a.png": "Felis catus"}
    here.look(3)
    assert len(here.shown) == 1
    assert not here.watch._waiting
    paint(folder / "new" / "deep" / "b.png", "wolf")
    assert here.look(2) == {"a.png": "Felis catus", "b.png": "Canis lupus"}


def test_what_was_there_long_before_the_watch_is_named_at_the_first_look(station, folder, paint):
    old, new = paint(folder / "old.png", "cat"), paint(folder / "new.png", "wolf")
    os.utime(old, (1e9, 1e9))
    os.utime(new, (4e9, 4e9))  # a camera whose clock is ahead
    (folder / "cut.jpg").write_bytes(b"\xff\xd8 no more came")
    os.utime(folder / "cut.jpg", (1e9, 1e9))
    here = station(pace=Pace(interval_s=60, grace_s=3600))
    assert here.look() == {"cut.jpg": "damaged: the image data cannot be decoded", "old.png": "Felis catus"}
    assert here.look()["new.png"] == "Canis lupus"


def test_a_photograph_that_grows_is_waited_for(station, folder, paint, tmp_path):
    whole = paint(tmp_path / "whole.png", "cat").read_bytes()
    here = station()
    for n_bytes in range(1, len(whole), len(whole) // 4):
        (folder / "a.png").write_bytes(whole[:n_bytes])
        assert here.look() == {}
    (folder / "a.png").write_bytes(whole)
    assert here.look(2) == {"a.png": "Felis catus"}


def test_a_half_written_photograph_gets_its_reason_late_and_its_name_when_it_is_whole(station, folder, paint, tmp_path):
    whole = paint(tmp_path / "whole.jpg", "cat", quality=95).read_bytes()
    (folder / "a.jpg").write_bytes(whole[: len(whole) // 2])
    here = station()
    assert here.look(4) == {}
    here.watch._pace = Pace(interval_s=1e6, grace_s=0.0)
    assert here.look() == {"a.jpg": "truncated: the file ends before its image does"}
    assert here.look(3)
    assert len(here.shown) == 1
    (folder / "a.jpg").write_bytes(whole)
    assert here.look(2) == {"a.jpg": "Felis catus"}


def test_what_no_patience_would_change_has_its_reason_at_once(station, folder, monkeypatch):
    monkeypatch.setattr(decoding, "list_readable_formats", lambda: ("JPEG",))
    (folder / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    (folder / "b.cr2").write_bytes(b"II*\0 raw")  # its preview may still come
    here = station()
    assert here.look(2) == {"a.heic": decoding.HEIC}
    assert set(here.watch._waiting) == {str(folder / "b.cr2")}


def test_a_rewritten_photograph_has_the_row_of_what_it_holds_now_and_a_vanished_one_keeps_its_row(
    station, folder, paint
):
    here = station(top=3)
    paint(folder / "a.png", "cat")
    paint(folder / "b.png", "wolf")
    here.look(2)
    paint(folder / "a.png", "dog rose")
    (folder / "b.png").unlink()
    here.look(2)
    assert [p.name for _path, p in here.journal.rows() if p.position == 1] == ["Rosa canina", "Canis lupus"]
    assert here.journal.n == 2
    positions = [(os.path.basename(p.file), p.position) for _path, p in here.journal.rows()]
    assert len(positions) == len(set(positions))


def test_touched_but_equal_changes_nothing_in_the_output(station, folder, paint):
    here = station()
    path = paint(folder / "a.png", "cat")
    here.look(2)
    here.output.is_stale = False
    os.utime(path, (1e9, 1e9))
    here.look(2)
    assert not here.output.is_stale
    assert not here.watch._waiting


def test_a_photograph_that_changes_while_it_is_named_is_named_again(station, folder, paint):
    here = station()
    path = paint(folder / "a.png", "cat")
    here.look()

    def slow(jobs):
        for batch in name_batches(here.config, here.model, here.namer, jobs):
            paint(path, "wolf")
            os.utime(path, (1e9, 1e9))
            yield batch

    here.watch._name, as_ever = slow, here.watch._name
    assert here.look() == {}
    here.watch._name = as_ever
    assert here.look() == {"a.png": "Canis lupus"}


def test_a_photograph_that_vanishes_unread_has_no_row_and_one_that_was_read_has(station, folder, paint):
    here = station()
    unread, read = paint(folder / "a.png", "cat"), paint(folder / "b.png", "wolf")
    here.look()

    def name(jobs):
        jobs = list(jobs)
        unread.unlink()
        for batch in name_batches(here.config, here.model, here.namer, iter(jobs)):
            read.unlink()
            yield batch

    here.watch._name = name
    assert here.look() == {"b.png": "Canis lupus"}


@pytest.mark.parametrize(
    "name", [".a.png", "a.png.part", "a.png.tmp", "a.png~", "~a.png", "a.png.crdownload", ".syncthing.a.png.tmp"]
)
def test_names_of_what_is_still_coming_are_left_alone_until_they_are_renamed(station, folder, paint, tmp_path, name):
    here = station()
    paint(tmp_path / "a.png", "cat").rename(folder / name)
    assert here.look(3) == {}
    (folder / name).rename(folder / "a.png")
    assert here.look(2) == {"a.png": "Felis catus"}


def test_each_box_of_a_photograph_has_its_row_and_all_are_replaced_together(station, folder, paint):
    def scene(left, right):
        picture = Image.new("RGB", (400, 160), "gray")
        for what, x in ((left, 0), (right, 240)):
            picture.paste(Image.open(paint(folder.parent / "x.png", what)).resize((160, 160), 0), (x, 0))
        picture.save(folder / "two.png")

    sides = ("0,0,160,160", "240,0,400,160")
    (folder / "boxes.csv").write_text("file,left,top,right,bottom\n" + "".join(f"two.png,{s}\n" for s in sides))
    here = station(boxes=folder / "boxes.csv", batch_size=1, rank="species", min_confidence=0.0)
    scene("cat", "cat")
    here.look(2)
    assert [(p.box.left, p.box.right) for _path, p in here.journal.rows()] == [(0, 160), (240, 400)]
    before = [p.name for _path, p in here.journal.rows()]
    scene("dog rose", "fly agaric")
    here.look(2)
    after = [p.name for _path, p in here.journal.rows()]
    assert len(after) == 2
    assert before[0] == before[1]
    assert after[0] != before[0]


def test_a_folder_that_goes_away_is_said_once_and_waited_for(station, folder, paint, tmp_path, caplog):
    caplog.set_level("INFO", "linnaea")
    paint(folder / "card" / "a.png", "cat")
    here = station(folder / "card", quiet=False)
    here.look(2)
    (folder / "card").rename(tmp_path / "pocket")
    here.look(3)
    paint(tmp_path / "pocket" / "b.png", "wolf")
    (tmp_path / "pocket").rename(folder / "card")
    assert here.look(2) == {"a.png": "Felis catus", "b.png": "Canis lupus"}
    assert caplog.text.count("cannot be read now") == 1
    assert caplog.text.count("is back") == 1


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user who may not read everything")
def test_what_may_not_be_read_is_tried_again_though_it_does_not_change(station, folder, paint):
    paint(folder / "a.png", "cat").chmod(0)
    here = station(pace=Pace(interval_s=1e6, grace_s=0.0))
    assert here.look(2) == {"a.png": "no permission to read it"}
    (folder / "a.png").chmod(0o600)
    assert here.look(2) == {"a.png": "Felis catus"}


def test_what_could_not_be_read_for_now_is_tried_again_though_it_does_not_change(station, folder, paint, monkeypatch):
    from linnaea.photos.decoding import Unreadable

    paint(folder / "a.png", "cat")
    here = station(pace=Pace(interval_s=1e6, grace_s=0.0))
    with monkeypatch.context() as context:
        context.setattr(pipeline, "read_pixels", lambda *_: Unreadable("no permission to read it"))
        assert here.look(4) == {"a.png": "no permission to read it"}
    assert len(here.shown) == 1
    assert here.look(2) == {"a.png": "Felis catus"}


def test_a_folder_given_twice_or_within_another_has_its_rows_once(station, folder, paint):
    paint(folder / "sub" / "a.png", "cat")
    paint(folder / "b.png", "wolf")
    here = station(folder, folder / "sub", folder / "..", Path(f"{folder}/"))
    here.look(2)
    assert len([p for _path, p in here.journal.rows() if p.file.endswith("a.png")]) == 1
    assert here.journal.n == 2


# --- The whole command


@pytest.fixture
def run(model, vocabulary_path, folder):
    """Starts a watch in a thread; leaving the block ends it. `finish` waits until a test on its output is true."""
    running = []

    def start(*paths, **options):
        settings = {"vocabulary": str(vocabulary_path), "quiet": True, "model": "placeholder", "watch": True} | options
        config = IdentifyConfig(paths=paths or (folder,), **settings)
        stop, code = threading.Event(), []

        def target():
            code.append(run_watch(config, model=model, stop=stop, pace=FAST))

        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        running.append((thread, stop))

        def finish(is_there=lambda: True):
            deadline = time.monotonic() + 20
            while not is_there() and thread.is_alive() and time.monotonic() < deadline:
                time.sleep(0.01)
            stop.set()
            thread.join(LIMIT_S)
            assert code == [0]

        return finish

    yield start
    for thread, stop in running:
        stop.set()
        thread.join(LIMIT_S)
        assert not thread.is_alive()


def has_rows(path, n):
    return lambda: path.exists() and path.read_text(encoding="utf-8").count("\n") == n + 1


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_watch_leaves_what_a_run_over_its_folder_would_write(run, photos, model, vocabulary_path, tmp_path, suffix):
    out, plain = tmp_path / f"watched.{suffix}", tmp_path / f"plain.{suffix}"
    finish = run(photos, out=out, top=2)
    manifest = get_manifest_path(out)
    finish(lambda: manifest.exists() and json.loads(manifest.read_text())["counts"].get("unreadable"))
    settings = {"vocabulary": str(vocabulary_path), "quiet": True, "top": 2, "names": "full"}
    assert main(IdentifyConfig(paths=(photos,), out=plain, **settings), model=model) == 0
    assert out.read_bytes() == plain.read_bytes()
    assert json.loads(manifest.read_text())["counts"] == {"identified": 4, "unidentified": 1, "unreadable": 1} | {
        "rank:species": 4
    }


def test_a_watch_that_ended_goes_on_and_names_nothing_twice(run, folder, paint, tmp_path, model):
    out = tmp_path / "t.csv"
    paint(folder / "a.png", "cat")
    run(out=out)(has_rows(out, 1))
    with pytest.raises(FileExistsError, match="--resume"):
        run_watch(IdentifyConfig(paths=(folder,), out=out, watch=True), model=model)
    named = []
    encode, model.encode_images = model.encode_images, lambda images: (named.append(len(images)), encode(images))[1]
    paint(folder / "b.png", "wolf")
    run(out=out, resume=True)(has_rows(out, 2))
    assert named == [1]
    assert [row["name"] for row in read_csv(out)] == ["Felis catus", "Canis lupus"]
    (folder / "a.png").unlink()
    run(out=out, overwrite=True)(has_rows(out, 1))
    assert [row["name"] for row in read_csv(out)] == ["Canis lupus"]


def test_other_options_do_not_go_on(run, folder, paint, tmp_path, model, vocabulary_path):
    out = tmp_path / "t.csv"
    paint(folder / "a.png", "cat")
    run(out=out)(has_rows(out, 1))
    config = IdentifyConfig(
        paths=(folder,), out=out, watch=True, resume=True, vocabulary=str(vocabulary_path), top=2, model="placeholder"
    )
    with pytest.raises(ValueError, match=r"t\.csv\.watch belongs to a run with other options \(--top differ\)"):
        run_watch(config, model=model)


def test_dates_outlive_the_card_they_were_on(run, folder, paint, tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    path = paint(folder / "a.jpg", "cat", quality=95, exif=exif)
    out, package = tmp_path / "t.csv", tmp_path / "package"
    run(out=out, as_="darwin-core")(has_rows(out, 1))
    media = package / "media.csv"
    run(out=package, as_="camtrap-dp")(has_rows(media, 1))
    before = media.read_text(encoding="utf-8")
    path.unlink()
    paint(folder / "b.png", "wolf")
    run(out=out, as_="darwin-core", resume=True)(has_rows(out, 2))
    run(out=package, as_="camtrap-dp", resume=True)(has_rows(media, 2))
    assert read_csv(out)[0]["eventDate"] == "2024-05-06T07:08:09"
    assert read_csv(out)[1]["eventDate"] == ""
    assert before.splitlines()[1] in media.read_text(encoding="utf-8")


def test_an_output_that_cannot_be_written_is_said_and_tried_again(run, folder, paint, tmp_path, monkeypatch, caplog):
    out, broken = tmp_path / "t.csv", threading.Event()
    write = watch_output.write_output

    def refuse(*arguments, **options):
        if not broken.is_set():
            raise PermissionError(13, "the process cannot access the file", str(out))
        write(*arguments, **options)

    monkeypatch.setattr(watch_output, "write_output", refuse)
    paint(folder / "a.png", "cat")
    finish = run(out=out, quiet=False)
    deadline = time.monotonic() + 20
    while "cannot be written now" not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.05)
    broken.set()
    finish(has_rows(out, 1))
    assert caplog.text.count("cannot be written now") == 1
    assert len(read_csv(out)) == 1


def test_without_a_file_rows_are_printed_as_they_come(run, folder, paint, capsys):
    paint(folder / "a.png", "cat")
    seen = []

    def has(text):
        seen.append(capsys.readouterr().out)
        return text in "".join(seen)

    finish = run()
    deadline = time.monotonic() + 20
    while not has("Felis catus") and time.monotonic() < deadline:
        time.sleep(0.01)
    paint(folder / "b.png", "wolf")
    finish(lambda: has("Canis lupus"))
    assert "".join(seen).count("photograph ") == 1
    seen.clear()
    run(out=Path("-"))(lambda: has("Canis lupus"))
    assert [row["name"] for row in csv.DictReader(io.StringIO("".join(seen)))] == ["Felis catus", "Canis lupus"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"report": Path("r.html")}, "--report"),
        ({"resume": True}, "--out"),
        ({"paths": (Path("nowhere"),)}, "folder nowhere does not exist"),
        ({"paths": (Path(__file__),)}, "give its folder"),
    ],
)
def test_what_makes_no_sense_with_a_watch_is_one_line(folder, model, options, message):
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        run_watch(IdentifyConfig(**{"paths": (folder,), "watch": True} | options), model=model)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_no_watch_wrote_is_not_taken_for_one(folder, model, tmp_path):
    out = tmp_path / "t.csv"
    out.write_text("mine")
    config = partial(IdentifyConfig, paths=(folder,), out=out, watch=True)
    with pytest.raises(FileExistsError, match="--overwrite"):
        run_watch(config(), model=model)
    with pytest.raises(FileExistsError, match="not written by a watch"):
        run_watch(config(resume=True), model=model)
    assert not get_watch_path(out).exists()
    get_watch_path(out).write_text("no database, but rather long " * 100)
    with pytest.raises(ValueError, match="not the journal of a watch"):
        run_watch(config(resume=True), model=model)
    assert out.read_text() == "mine"


def test_a_watch_that_was_stopped_before_it_began_can_begin(run, folder, paint, tmp_path):
    out = tmp_path / "t.csv"
    WatchJournal(get_watch_path(out)).close()
    paint(folder / "a.png", "cat")
    run(out=out)(has_rows(out, 1))


def test_left_overs_of_a_killed_writer_go_and_nothing_else(tmp_path):
    out = tmp_path / "t.csv"
    gone = [".t.csv.0123abcd.unfinished", "..t.csv.0123abcd.unfinished.x1y2z3"]
    kept = [".t.csv.swp", ".other.csv.0123abcd.unfinished", "t.csv", ".t.csv.backup12"]
    for name in (gone[0], *kept):
        (tmp_path / name).touch()
    (tmp_path / gone[1]).mkdir()
    remove_unfinished(out)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


# --- The program itself


# A shell without job control starts background jobs, and with them their children, with SIGINT ignored.
SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
import linnaea.identify.commands.watch as watch
from linnaea.model.core.placeholder import PlaceholderModel
encode = PlaceholderModel.encode_images
log = open(sys.argv.pop(1), "a")
def slow(self, images):
    time.sleep(0.02)
    print(len(images), file=log, flush=True)
    return encode(self, images)
PlaceholderModel.encode_images = slow
watch.PACE = watch.Pace(interval_s=0.02, grace_s=0.2, write_every_s=0.02)
from linnaea.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def start(vocabulary_path, tmp_path):
    started = []

    def command(*arguments):
        settings = ["--model", "placeholder", "--vocabulary", str(vocabulary_path), "--batch-size", "2", "--watch"]
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW, str(tmp_path / "log"), "identify", *map(str, arguments), *settings],
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield command
    for process in started:
        process.kill()
        process.communicate(timeout=LIMIT_S)


def wait_for(is_there, process):
    deadline = time.monotonic() + 60
    while not is_there() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)


def n_named(out):
    """Photographs that are safe in the journal of a watch that was killed."""
    with closing(sqlite3.connect(get_watch_path(out))) as db:
        return db.execute("SELECT count(*) FROM files").fetchone()[0]


def n_encoded(log):
    return sum(map(int, log.read_text().split())) if log.exists() else 0


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_killed_at_any_moment_a_watch_goes_on_and_names_nothing_twice(start, folder, paint, tmp_path, suffix):
    names = ["cat", "wolf", "lion", "dog rose"]
    paths = [paint(folder / f"{i:02}.png", names[i % 4]) for i in range(40)]
    out, log = tmp_path / f"t.{suffix}", tmp_path / "log"
    n_before, kills = 0, 0
    for more in (2, 9, 17):
        process = start(folder, "--out", out, "--resume")
        wait_for(lambda more=more, before=n_before: n_encoded(log) >= before + more, process)
        process.send_signal(signal.SIGKILL)
        kills += process.wait(timeout=LIMIT_S) == -signal.SIGKILL
        if out.exists() and suffix == "csv":
            assert len({row["file"] for row in read_csv(out)}) == len(read_csv(out))
        n_before = n_encoded(log)
    assert kills == 3
    n_safe, n_before = n_named(out), n_encoded(log)
    assert 0 < n_safe < 40
    process = start(folder, "--out", out, "--resume")
    manifest = get_manifest_path(out)
    wait_for(lambda: manifest.exists() and json.loads(manifest.read_text())["counts"].get("identified") == 40, process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, said
    assert n_encoded(log) == n_before + 40 - n_safe
    import polars as pl

    table = pl.read_csv(out) if suffix == "csv" else pl.read_parquet(out)
    assert table["file"].to_list() == [str(path) for path in paths]
    right = {"cat": "Felis catus", "wolf": "Canis lupus", "lion": "Panthera leo", "dog rose": "Rosa canina"}
    assert table["name"].to_list() == [right[names[i % 4]] for i in range(40)]


@pytest.mark.skipif(os.name == "nt", reason="signals as on Unix")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_a_watch_with_its_table_whole_and_a_summary(start, folder, paint, tmp_path, name):
    out = tmp_path / "t.csv"
    paint(folder / "a.png", "cat")
    process = start(folder, "--out", out, "--table")
    wait_for(lambda: out.exists() and "Felis" in out.read_text(), process)
    again = start(folder, "--out", out, "--resume")
    _, refused = again.communicate(timeout=LIMIT_S)
    assert again.returncode == 2
    assert "another watch is running" in refused
    assert refused.count("\n") == 1
    process.send_signal(getattr(signal, name))
    shown, said = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
    assert "Felis catus" in shown
    assert f"watching {folder} … (Ctrl-C ends)" in said
    assert said.splitlines()[-1].startswith("1 in ")
    assert "1 identified" in said
    assert len(read_csv(out)) == 1
    assert not get_journal_dir(out).exists()


def test_looking_and_waiting_keep_nothing_of_what_is_named(station, folder, paint):
    here = station(batch_size=8)
    for i in range(60):
        paint(folder / f"{i}.png", "cat")
    here.look(2)
    assert here.journal.n == 60
    assert here.watch._waiting == {}


def test_what_a_watch_leaves_out_is_listed_beside_its_output_while_it_is_there(station, folder, paint, tmp_path):
    here = station(out=tmp_path / "t.csv")
    table = tmp_path / "t.csv.left_out.csv"
    paint(folder / "a.png", "cat")
    (folder / "sound.wav").write_bytes(b"x")
    here.look(2)
    here.output.write()
    assert [os.path.basename(row["file"]) for row in read_csv(table)] == ["sound.wav"]
    (folder / "sound.wav").unlink()
    here.look()
    assert here.output.is_stale
    here.output.write()
    assert not table.exists()
