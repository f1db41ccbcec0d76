"""Boxes of motion: generated bursts of a still camera."""

from datetime import datetime, timedelta

import numpy as np
import pytest
from PIL import Image

from linnaea.identify.commands.config import IdentifyConfig
from linnaea.identify.detection.motion import find_motion, make_motion_jobs
from linnaea.photos.photo_files import FoundFile

HEIGHT, WIDTH = 240, 320


def make_scene(seed=0):
    """A smooth background with a few large shapes, levels of grey [h, w]."""
    rng = np.random.default_rng(seed)
    return np.kron(rng.uniform(60, 180, (6, 8)), np.ones((40, 40)))


def plant(scene, *places, side=48, level=20):
    frame = scene.copy()
    for left, top in places:
        frame[top : top + side, left : left + side] = level
    return frame


def add_noise(frames, seed=1):
    rng = np.random.default_rng(seed)
    return np.stack([np.clip(frame + rng.normal(0, 3, frame.shape), 0, 255) for frame in frames])


def assert_near(box, left, top, side=48):
    wanted = np.array([left / WIDTH, top / HEIGHT, (left + side) / WIDTH, (top + side) / HEIGHT])
    assert np.abs(np.array(box[:4]) - wanted).max() < 0.05


def test_what_moves_gets_a_box_in_each_photograph():
    scene = make_scene()
    places = [(20, 40), (120, 100), (240, 160)]
    found = find_motion(add_noise([plant(scene, place) for place in places]))
    for boxes, place in zip(found, places, strict=True):
        (box,) = boxes
        assert_near(box, *place)
        assert 0.5 <= box[4] <= 1


def test_noise_exposure_and_a_shaken_camera_are_no_motion():
    scene = make_scene()
    frames = [scene, 1.1 * scene + 8, np.roll(0.9 * scene - 5, 1, axis=1), np.roll(scene, 1, axis=0)]
    assert find_motion(add_noise(frames)) == [[], [], [], []]


def test_two_animals_get_two_boxes_and_a_sitting_one_none():
    scene = plant(make_scene(), (140, 20), level=230)  # it sits in every photograph
    found = find_motion(add_noise([scene, plant(scene, (20, 150), (240, 150)), scene]))
    assert (found[0], found[2]) == ([], [])
    left, right = sorted(found[1])
    assert_near(left, 20, 150)
    assert_near(right, 240, 150)


def test_a_change_of_the_whole_picture_is_not_an_animal():
    assert find_motion(add_noise([make_scene(0), make_scene(0), make_scene(5)])) == [[], [], []]


@pytest.fixture
def burst(tmp_path):
    """Four photographs of 1280 × 960; an animal crosses the last three."""
    scene = make_scene()
    frames = [scene, plant(scene, (20, 40)), plant(scene, (120, 100)), plant(scene, (240, 160))]
    files = []
    for i, frame in enumerate(add_noise(frames)):
        path = tmp_path / f"{i}.png"
        Image.fromarray(frame.astype(np.uint8)).resize((1280, 960)).save(path)
        files.append(FoundFile(str(path)))
    return files


def list_times(n, step_s=1):
    start = datetime(2024, 5, 1, 10)
    return [("camera", (start + timedelta(seconds=step_s * i)).isoformat()) for i in range(n)]


def test_a_burst_gives_boxes_and_photographs_without_motion_are_named_whole(burst):
    jobs = list(make_motion_jobs(burst, list_times(4), 60.0, 1))
    assert [job.path for job in jobs] == [file.path for file in burst]
    assert jobs[0].box is None
    assert jobs[0].outcome == ""
    for job, left in zip(jobs[1:], (80, 480, 960), strict=True):
        assert job.box.left == pytest.approx(left, abs=60)
        assert job.box.right == pytest.approx(left + 192, abs=60)
        assert job.box.label == "animal"


@pytest.mark.parametrize(("n", "step_s"), [(2, 1), (4, 120)])
def test_too_few_photographs_at_a_time_are_named_whole(burst, n, step_s):
    jobs = list(make_motion_jobs(burst[:n], list_times(n, step_s), 60.0, 1))
    assert [job.box for job in jobs] == [None] * n


def test_a_damaged_photograph_and_another_size_do_not_spoil_a_burst(burst, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"")
    Image.new("L", (300, 300)).save(tmp_path / "other.png")
    files = [*burst, FoundFile(str(tmp_path / "broken.png")), FoundFile(str(tmp_path / "other.png"))]
    jobs = list(make_motion_jobs(files, list_times(6), 60.0, 1))
    assert [job.box is None for job in jobs] == [True, False, False, False, True, True]


def test_a_watch_cannot_seek_motion(tmp_path):
    with pytest.raises(ValueError, match="--boxes motion needs whole bursts"):
        IdentifyConfig(paths=(tmp_path,), boxes="motion", watch=True)
