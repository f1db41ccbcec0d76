import json

import pytest
from PIL import Image

from linnaea.identify.detection.box_file import load_boxes
from linnaea.identify.detection.detection_jobs import make_box_jobs, make_detector_jobs
from linnaea.photos.photo_files import find_images
from linnaea.records import Box


@pytest.fixture
def photos(tmp_path):
    for name in ("a/1.png", "a/2.png", "b.png"):
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 100), "green").save(tmp_path / "p" / name)
    return tmp_path / "p"


def megadetector(path, photos):
    detections = [
        {"category": "1", "conf": 0.91, "bbox": [0.1, 0.2, 0.5, 0.5]},
        {"category": "2", "conf": 0.8, "bbox": [0, 0, 0.5, 1]},
        {"category": "1", "conf": 0.05, "bbox": [0, 0, 1, 1]},
    ]
    images = [
        {"file": "a/1.png", "detections": detections},
        {"file": "a\\2.png", "detections": []},
        {"file": "gone.png", "failure": "Failure image access", "detections": None},
    ]
    categories = {"1": "animal", "2": "person", "3": "vehicle"}
    path.write_text(json.dumps({"images": images, "detection_categories": categories, "info": {}}))
    return path


def sides(box):
    return tuple(round(side) for side in (box.left, box.top, box.right, box.bottom))


def test_megadetectors_fractions_become_pixels_and_people_are_not_named(tmp_path, photos):
    boxes = load_boxes(megadetector(tmp_path / "md.json", photos))
    animal, person, blank, unlisted = make_box_jobs(find_images([photos]).files, boxes, [str(photos)])
    assert animal.file == f"{photos}/a/1.png"
    assert sides(animal.box) == (20, 20, 120, 70)
    assert animal.outcome == ""
    assert (person.outcome, person.reason) == ("human", "the detector sees a person (p=0.80)")
    assert (blank.file, blank.outcome, blank.reason) == (
        f"{photos}/a/2.png",
        "no_detection",
        "the detector found nothing",
    )
    assert (unlisted.outcome, unlisted.reason) == ("not_in_boxes", "no box for it in md.json")


def test_a_csv_counts_pixels_and_leaves_out_what_the_detector_doubts(tmp_path, photos):
    text = "file,left,top,right,bottom,confidence,label\na/1.png,1,2,31,42,0.9,bird\na/1.png,0,0,5,5,0.1,\n"
    (tmp_path / "boxes.csv").write_text(text)
    boxes = load_boxes(tmp_path / "boxes.csv", 0.5)
    (job,) = make_box_jobs(find_images([photos / "a" / "1.png"]).files, boxes, [str(photos)])
    assert sides(job.box) == (1, 2, 31, 42)
    assert job.box.label == "bird"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("b.csv", "file,left\nx,1\n", "no column top"),
        ("b.csv", "file,left,top,right,bottom\nx,1,2,three,4\n", "line 2"),
        ("b.json", "{}", "MegaDetector"),
        ("b.json", "nonsense", "line 1, column 1 is not JSON"),
    ],
)
def test_other_forms_are_refused_in_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        load_boxes(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        load_boxes(tmp_path / "gone.json")


def test_a_detector_is_called_with_the_upright_image(photos):
    seen = []

    def detector(image):
        seen.append((image.size, image.mode))
        return [Box(left=0, top=0, right=50, bottom=60)] if len(seen) == 1 else []

    boxed, nothing = make_detector_jobs(find_images([photos / "a"]).files, detector)
    assert seen == [((200, 100), "RGB")] * 2
    assert sides(boxed.box) == (0, 0, 50, 60)
    assert nothing.outcome == "no_detection"


def test_photographs_that_cannot_be_read_are_rows_too(tmp_path, photos):
    (photos / "a" / "1.png").write_bytes(b"")
    boxes = load_boxes(megadetector(tmp_path / "md.json", photos))
    job = next(iter(make_box_jobs(find_images([photos / "a"]).files, boxes, [str(photos)])))
    assert (job.outcome, job.reason) == ("unreadable", "the file is empty")
    (job,) = make_detector_jobs(find_images([photos / "a" / "1.png"]).files, lambda image: [])
    assert job.reason == "the file is empty"


def test_a_photograph_that_the_detector_could_not_look_at_is_not_called_empty(tmp_path, photos):
    Image.new("RGB", (200, 100), "green").save(photos / "gone.png")
    boxes = load_boxes(megadetector(tmp_path / "md.json", photos))
    (job,) = make_box_jobs(find_images([photos / "gone.png"]).files, boxes, [str(photos)])
    assert job.outcome == "not_in_boxes"
    assert job.reason == "the detector could not look at it: Failure image access"


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_boxes_without_finite_sides_are_refused_before_any_work(tmp_path, number):
    (tmp_path / "b.csv").write_text(f"file,left,top,right,bottom\nx,1,2,{number},4\n")
    with pytest.raises(ValueError, match="line 2"):
        load_boxes(tmp_path / "b.csv")
    number = {"nan": "NaN", "inf": "Infinity"}[number]
    (tmp_path / "b.json").write_text(
        f'{{"images": [{{"file": "x", "detections": [{{"category": "1", "conf": 1, "bbox": [0, 0, {number}, 1]}}]}}]}}'
    )
    with pytest.raises(ValueError, match=r"image 1 \(x\), detection 1: (width|left)"):
        load_boxes(tmp_path / "b.json")
