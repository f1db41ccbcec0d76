import random

import pytest

from linnaea.photos import decoding, photo_files, video
from linnaea.photos.decoding import Unreadable, decode_image, read_size
from linnaea.photos.photo_files import find_images
from linnaea.photos.video import VideoError, plan_frames, read_frame
from linnaea.standards.exif import read_photo_metadata
from photos.video_samples import make_video

pytest.importorskip("av")


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv", "mov"])
def test_each_frame_is_that_which_is_shown_at_its_time(tmp_path, suffix):
    path = make_video(tmp_path / f"a.{suffix}")
    times = plan_frames(path, 10)
    assert times == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]
    reds = [read_frame(path, time_s, 10**6).getpixel((9, 9))[0] for time_s in times]
    assert all(abs(red - 40 * second) <= 8 for second, red in enumerate(reds))
    assert abs(decode_image(path).getpixel((9, 9))[0] - 120) <= 8
    assert read_size(path) == (320, 240)


def test_frames_are_spread_evenly_and_at_most_one_a_second(tmp_path):
    path = make_video(tmp_path / "a.mp4")
    assert plan_frames(path, 3) == [1.0, 3.0, 5.0]
    assert plan_frames(path, 1) == [3.0]
    assert plan_frames(make_video(tmp_path / "short.mp4", seconds=0.4), 10) == [0.2]


def test_a_video_says_when_and_where_it_was_taken(tmp_path):
    path = make_video(tmp_path / "a.mp4", creation_time="2024-05-01T10:00:00.000000Z", location="+12.5000-034.2500/")
    found = read_photo_metadata(path)
    assert (found.event_date, found.latitude, found.longitude) == ("2024-05-01T10:00:00+00:00", 12.5, -34.25)
    assert (found.width, found.height, found.media_type) == (320, 240, "video/mp4")
    nowhere = make_video(tmp_path / "b.mp4", creation_time="2038-05-01T10:00:00Z", location="+00.0000+000.0000/")
    found = read_photo_metadata(nowhere)
    assert not found.event_date
    assert found.rejected_date.startswith("2038")
    assert found.latitude is None
    assert found.rejected_place


def test_what_is_no_video_has_its_reason(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(4000))
    (tmp_path / "b.avi").write_text("no video")
    (tmp_path / "c.mp4").touch()
    for name in ("a.mp4", "b.avi"):
        assert decode_image(tmp_path / name) == Unreadable(video.DAMAGED_VIDEO)
        with pytest.raises(VideoError):
            plan_frames(tmp_path / name, 3)
    assert decode_image(tmp_path / "c.mp4") == Unreadable(decoding.EMPTY)
    with pytest.raises(FileNotFoundError):
        plan_frames(tmp_path / "gone.mp4", 3)
    monkeypatch.setattr(decoding, "can_read_videos", lambda: False)
    assert decode_image(tmp_path / "a.mp4") == Unreadable(decoding.VIDEO)
    assert "linnaea[video]" in decoding.VIDEO


def test_a_playlist_opens_no_other_file(tmp_path):
    make_video(tmp_path / "secret.mkv")
    (tmp_path / "a.mp4").write_text(f"#EXTM3U\n#EXTINF:5,\n{tmp_path / 'secret.mkv'}\n#EXT-X-ENDLIST\n")
    (tmp_path / "b.mp4").write_text(f"ffconcat version 1.0\nfile '{tmp_path / 'secret.mkv'}'\n")
    for name in ("a.mp4", "b.mp4"):
        assert decode_image(tmp_path / name) == Unreadable(video.DAMAGED_VIDEO)


def test_a_frame_over_the_limit_is_refused_before_it_is_decoded(tmp_path):
    path = make_video(tmp_path / "a.mp4", seconds=1)
    with pytest.raises(VideoError, match="76,800 pixels, over the limit of 1,000"):
        read_frame(path, 0.0, 1000)


def test_videos_count_as_photographs_only_where_they_are_asked_for_and_can_be_read(tmp_path, monkeypatch):
    path = make_video(tmp_path / "a.MP4".lower(), seconds=1)
    assert [file.path for file in find_images([tmp_path], videos=True).files] == [str(path)]
    assert find_images([tmp_path]).left_out[0].reason == photo_files.VIDEO
    monkeypatch.setattr(photo_files, "can_read_videos", lambda: False)
    assert find_images([tmp_path], videos=True).left_out[0].reason == photo_files.VIDEO


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
def test_damaged_videos_give_a_frame_or_a_reason(tmp_path, suffix):
    whole = make_video(tmp_path / f"whole.{suffix}", seconds=3).read_bytes()
    dice = random.Random(7)
    damaged = tmp_path / f"damaged.{suffix}"
    outcomes = set()
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(dice.randrange(12)):
            content[dice.randrange(len(content))] = dice.randrange(256)
        del content[dice.randrange(len(content) // 4, len(content) + 1) :]
        damaged.write_bytes(content)
        found = decode_image(damaged)
        outcomes.add(type(found))
        assert isinstance(found, Unreadable) or found.mode == "RGB"
        read_photo_metadata(damaged)
    assert Unreadable in outcomes
