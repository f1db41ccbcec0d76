"""Videos from file to table: a row for each frame, one event for each clip."""

import csv

import numpy as np
import pytest
from PIL import Image

from linnaea.identify.commands.config import IdentifyConfig
from linnaea.identify.commands.identify import main
from linnaea.photos import photo_files
from photos.video_samples import make_video

pytest.importorskip("av")


@pytest.fixture
def go(model, vocabulary_path):
    def run_main(*paths, **options):
        settings = {"vocabulary": str(vocabulary_path), "quiet": True, "model": "placeholder"} | options
        return main(IdentifyConfig(paths=paths, **settings))

    return run_main


@pytest.fixture
def cards(tmp_path, paint):
    """A wolf for two seconds and a cat for four, without loss; beside it a photograph and a damaged video."""
    pixels = {
        name: np.asarray(Image.open(paint(tmp_path / f"{name}.png", name)).convert("RGB")) for name in ("wolf", "cat")
    }
    folder = tmp_path / "cards"
    paint(folder / "z.png", "wolf")
    height, width = pixels["cat"].shape[:2]
    make_video(
        folder / "clip.mkv",
        size=(width, height),
        codec="ffv1",
        pix_fmt="bgr0",
        paint=lambda second: pixels["wolf" if second < 2 else "cat"],
        creation_time="2024-05-01T10:00:00Z",
    )
    (folder / "broken.mp4").write_bytes(bytes(99))
    return folder


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_each_frame_has_a_row_and_the_clip_one_event(go, cards, tmp_path):
    assert go(cards, out=tmp_path / "t.csv") == 0
    broken, *frames, photograph = read_csv(tmp_path / "t.csv")
    assert (broken["status"], broken["frame_time_s"]) == ("unreadable", "")
    assert [float(row["frame_time_s"]) for row in frames] == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]
    assert [row["name"] for row in frames] == ["Canis lupus"] * 2 + ["Felis catus"] * 4
    assert {row["file"] for row in frames} == {str(cards / "clip.mkv")}
    assert {row["captured_at"] for row in frames} == {"2024-05-01T10:00:00+00:00"}
    assert len({row["event"] for row in frames}) == 1
    assert photograph["frame_time_s"] == ""
    assert go(cards, out=tmp_path / "u.csv", frames=2) == 0
    assert [row["frame_time_s"] for row in read_csv(tmp_path / "u.csv")] == ["", "1.5", "4.5", ""]


def test_one_frame_against_all_others_is_an_error_of_naming_and_no_second_animal(go, cards, tmp_path):
    assert go(cards, out=tmp_path / "t.csv", frames=3) == 0  # 1.0 wolf, 3.0 and 5.0 cat
    frames = [row for row in read_csv(tmp_path / "t.csv") if row["frame_time_s"]]
    assert [row["name"] for row in frames] == ["Canis lupus", "Felis catus", "Felis catus"]
    assert len({(row["event_rank"], row["event_name"]) for row in frames}) == 1


def test_a_run_that_is_stopped_within_a_clip_goes_on_to_the_same_bytes(go, cards, tmp_path, monkeypatch):
    from linnaea.embed.journal import Journal

    assert go(cards, out=tmp_path / "whole.csv", batch_size=2) == 0
    append = Journal.append

    def stop(self, value):
        if self.n_batches == 2:
            raise RuntimeError("stopped")
        append(self, value)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", stop)
        with pytest.raises(RuntimeError):
            go(cards, out=tmp_path / "t.csv", batch_size=2)
    assert go(cards, out=tmp_path / "t.csv", batch_size=2, resume=True) == 0
    assert (tmp_path / "t.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_package_has_one_medium_for_a_clip_and_an_observation_for_each_frame(go, cards, tmp_path):
    assert go(cards / "clip.mkv", out=tmp_path / "p", as_="camtrap-dp") == 0
    (medium,) = read_csv(tmp_path / "p" / "media.csv")
    assert medium["fileMediatype"] == "video/x-matroska"
    assert medium["timestamp"] == "2024-05-01T10:00:00Z"
    observations = read_csv(tmp_path / "p" / "observations.csv")
    assert len({row["observationID"] for row in observations}) == len(observations)
    assert [row["observationLevel"] for row in observations].count("media") == 6


def test_without_the_extra_videos_are_left_out_by_name(go, cards, tmp_path, monkeypatch):
    monkeypatch.setattr(photo_files, "can_read_videos", lambda: False)
    assert go(cards, out=tmp_path / "t.csv") == 0
    assert len(read_csv(tmp_path / "t.csv")) == 1
    left_out = read_csv(tmp_path / "t.csv.left_out.csv")
    assert [row["file"].rpartition("/")[2] for row in left_out] == ["broken.mp4", "clip.mkv"]
    assert all("linnaea[video]" in row["reason"] for row in left_out)


def test_zero_frames_are_refused():
    with pytest.raises(ValueError, match="--frames 0 must be 1 or more"):
        IdentifyConfig(paths=("a",), frames=0)


def test_the_report_shows_each_frame_of_a_clip_with_its_time(go, cards, tmp_path):
    assert go(cards / "clip.mkv", out=tmp_path / "t.csv", frames=2, report=tmp_path / "r.html", top=2) == 0
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert text.count('"note":"1.5 s from the start"') == text.count('"note":"4.5 s from the start"') == 1
