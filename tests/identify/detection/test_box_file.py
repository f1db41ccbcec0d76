import json
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from linnaea.identify.detection.box_file import load_boxes
from linnaea.identify.detection.box_list import GONE, NOT_GIVEN, VIDEO
from linnaea.identify.detection.detection_jobs import make_box_jobs
from linnaea.photos.photo_files import find_images

CASES = Path(__file__).resolve().parents[4] / "shared" / "cases" / "naming" / "boxes"
REFUSED = ("md_nan.json", "trunc.json")
ANIMAL = {"category": "1", "conf": 0.9, "bbox": [0.1, 0.2, 0.5, 0.5]}


@pytest.fixture
def photos(tmp_path):
    for name in ("camA/a.png", "camA/b.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 100), "green").save(tmp_path / "photos" / name)
    return tmp_path / "photos"


@pytest.fixture
def jobs(tmp_path, photos):
    """Writes content to a file and returns the jobs for the photographs."""

    def make(name, content, **options):
        path = tmp_path / name
        content = content if isinstance(content, str | bytes) else json.dumps(content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return list(make_box_jobs(find_images([photos]).files, load_boxes(path, **options), [str(photos)]))

    return make


def sides(job):
    return tuple(round(side) for side in (job.box.left, job.box.top, job.box.right, job.box.bottom))


def megadetector(*detections, file="camA/a.png", **more):
    return {"images": [{"file": file, "detections": list(detections)}], "info": {"format_version": "1.5"}} | more


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_of_any_encoding_is_read(jobs, encoding):
    first = jobs("md.json", json.dumps(megadetector(ANIMAL)).encode(encoding))[0]
    assert sides(first) == (20, 20, 120, 70)


def test_without_category_names_megadetectors_numbers_hold_and_a_person_is_never_named(jobs):
    person, vehicle = ({**ANIMAL, "category": number} for number in ("2", 3))
    made = jobs("md.json", megadetector(ANIMAL, person, vehicle))
    assert [job.outcome for job in made[:3]] == ["", "human", "vehicle"]
    assert [job.box.label for job in made[:3]] == ["animal", "person", "vehicle"]
    other = jobs("md.json", megadetector(person, detection_categories={"0": "animal", "2": "deer"}))
    assert (other[0].outcome, other[0].box.label) == ("", "deer")


@pytest.mark.parametrize("word", ["person", "People", "HUMAN", "homo_sapiens", "pedestrian"])
def test_people_are_recognised_by_any_usual_word(jobs, word):
    person = {**ANIMAL, "category": "7"}
    assert jobs("md.json", megadetector(person, detection_categories={"7": word}))[0].outcome == "human"


def test_numbers_may_be_text(jobs):
    text = {"category": "1", "conf": "0.95", "bbox": ["0.1", "0.2", "0,5", "0.5"]}
    assert sides(jobs("md.json", megadetector(text))[0]) == (20, 20, 120, 70)


def test_the_other_forms_of_json(jobs):
    person = {"category": "person", "confidence": 0.9, "bbox": [10.5, 10.5, 60.4, 50.6]}
    microsoft = [{"file": "camA/a.png", "detections": [person]}, {"file": "camA/b.png", "detections": []}]
    first, blank = jobs("ms.json", microsoft)
    assert (sides(first), first.outcome, blank.outcome) == ((10, 10, 60, 51), "human", "no_detection")
    speciesnet = {"predictions": [{"filepath": "photos/camA/a.png", "detections": [{**ANIMAL, "label": "animal"}]}]}
    speciesnet["predictions"].append({"filepath": "photos/camA/b.png", "failures": ["DETECTOR"]})
    animal, failed = jobs("sn.json", speciesnet)
    assert sides(animal) == (20, 20, 120, 70)
    assert failed.reason == "the detector could not look at it: detector"
    wildlife = {
        "annotations": [{"img_id": "camA/a.png", "bbox": [[1, 2, 30, 40]], "category": [1], "confidence": [0.8]}],
        "categories": [{"id": 0, "name": "animal"}, {"id": 1, "name": "person"}],
    }
    first = jobs("pw.json", wildlife)[0]
    assert (first.outcome, sides(first)) == ("human", (1, 2, 30, 40))


def coco(bbox, category="deer", **image):
    return {
        "images": [{"id": "i", "file_name": "camA/a.png", **image}, {"id": "j", "file_name": "camA/b.png"}],
        "annotations": [{"image_id": "i", "category_id": 4, **bbox}],
        "categories": [{"id": 4, "name": category}],
    }


def test_coco_holds_pixels_of_the_picture_that_it_describes(jobs):
    assert sides(jobs("c.json", coco({"bbox": [10, 20, 50, 30]}))[0]) == (10, 20, 60, 50)
    large = {"width": 2000, "height": 1000}
    assert sides(jobs("c.json", coco({"bbox": [100, 200, 500, 300]}, **large))[0]) == (10, 20, 60, 50)
    turned = jobs("c.json", coco({"bbox": [10, 20, 50, 30]}, width=100, height=200))[0]
    assert (turned.outcome, turned.reason) == (
        "not_in_boxes",
        "its boxes are for a picture of 100 × 200 pixels, not 200 × 100",
    )


def test_a_label_of_the_whole_picture_in_coco_is_not_a_blank(jobs):
    organism, blank = jobs("c.json", coco({}))
    assert (organism.outcome, blank.outcome) == ("not_in_boxes", "no_detection")
    person = jobs("c.json", coco({}, category="human", width=200, height=100))[0]
    assert (person.outcome, sides(person)) == ("human", (0, 0, 200, 100))
    assert jobs("c.json", coco({}, category="empty"))[0].outcome == "no_detection"


@pytest.mark.parametrize("form", ["folder", "zip", "descriptor", "plain"])
def test_a_camtrap_dp_package_gives_its_boxes(tmp_path, photos, form):
    folder = tmp_path / "package"
    folder.mkdir()
    media = "mediaID,deploymentID,filePath,fileName\nm1,d,camA/a.png,a.png\nm2,d,camA/b.png,b.png\n"
    observations = (
        "observationID,mediaID,observationLevel,observationType,bboxX,bboxY,bboxWidth,bboxHeight\n"
        "1,m1,media,animal,0.1,0.2,0.5,0.5\n2,m2,media,human,,,,\n3,,event,animal,,,,\n"
    )
    (folder / "media.csv").write_text(media)
    (folder / "observations.csv").write_text(observations)
    package = {"resources": [{"name": n, "path": f"{n}.csv"} for n in ("media", "observations")]}
    if form != "plain":
        (folder / "datapackage.json").write_text(json.dumps(package))
    path = {"descriptor": folder / "datapackage.json", "zip": tmp_path / "p.zip"}.get(form, folder)
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in folder.iterdir():
                archive.write(file, file.name)
    animal, human = make_box_jobs(find_images([photos]).files, load_boxes(path), [str(photos)])
    assert (sides(animal), animal.outcome) == ((20, 20, 120, 70), "")
    assert (human.outcome, sides(human)) == ("human", (0, 0, 200, 100))


@pytest.mark.parametrize(
    "text",
    [
        "file,left,top,right,bottom\ncamA/a.png,20,20,120,70\n",
        "file;left;top;right;bottom\ncamA/a.png;20,0;20,0;120,0;70,0\n",
        "\ufeffFilePath\txmin\tymin\txmax\tymax\ncamA\\a.png\t20\t20\t120\t70\n",
        "RelativePath,File,x,y,width,height\ncamA,a.png,20,20,100,50\n",
        "path,bbox1,bbox2,bbox3,bbox4,category\ncamA/a.png,0.1,0.2,0.5,0.5,1\n",
        "file,x1,y1,x2,y2,width,height\ncamA/a.png,0.1,0.2,0.6,0.7,200,100\n",
    ],
)
def test_tables_in_any_dialect_spelling_and_units(jobs, text):
    assert sides(jobs("b.csv", text)[0]) == (20, 20, 120, 70)


def test_our_own_table_is_a_list_of_boxes(jobs):
    text = (
        "file,status,confidence,box_left,box_top,box_right,box_bottom,box_confidence,box_category\n"
        "camA/a.png,identified,0.1,20,20,120,70,0.9,animal\ncamA/b.png,unidentified,,,,,,,\n"
    )
    boxed, without = jobs("t.csv", text)
    assert (sides(boxed), boxed.box.confidence, without.outcome) == ((20, 20, 120, 70), 0.9, "no_detection")


def test_the_user_may_state_the_units(jobs):
    text = "file,left,top,right,bottom\ncamA/a.png,0,0,1,1\n"
    assert sides(jobs("b.csv", text)[0]) == (0, 0, 200, 100)
    assert sides(jobs("b.csv", text, units="pixels")[0]) == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("b.csv", "file,left,top,right,bottom\na,0,0,3,4\n", "line 2: sides up to 4 .* --box-units"),
        ("b.csv", "file,left,top,right,bottom\na,0.1,0,0.5,0.5\nb,1,1,90,90\n", "line 2: fractions"),
        ("b.csv", "file,left,top,right,bottom,category\na,1,1,90,90,0\n", "line 2: the meaning of category 0"),
        ("b.csv", "file,left,top,right,bottom,confidence\na,1,1,90,90,95\n", "line 2: confidence 95"),
        ("b.json", megadetector({**ANIMAL, "bbox": [10, 20, 300, 200]}), "--box-units pixels"),
        ("b.json", megadetector({**ANIMAL, "bbox": [1, 2]}), "four numbers"),
        ("b.json", megadetector({**ANIMAL, "conf": None}), "detection 1: confidence None"),
        ("b.json", {"images": [{"detections": []}]}, "image 1 names no file"),
        ("b.json", {"images": ["x"]}, "image 1 must be an object"),
        ("b.json", '{"images": [{"file": "camA/a.png", "det', "ends before its JSON does"),
        ("b.json", [{"image_id": 1, "bbox": [1, 2, 3, 4]}], "COCO results"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line_with_its_place(jobs, name, content, message):
    with pytest.raises(ValueError, match=message) as refused:
        jobs(name, content)
    assert "\n" not in str(refused.value)
    assert "Error" not in str(refused.value)


def test_boxes_are_clipped_and_counted_if_nothing_is_left(jobs, caplog):
    over = {**ANIMAL, "bbox": [-0.02, -0.02, 1.05, 1.05]}
    flat = {**ANIMAL, "bbox": [0.5, 0.5, 0, 0]}
    assert sides(jobs("md.json", megadetector(over))[0]) == (0, 0, 200, 100)
    clipped, other = jobs("md.json", megadetector(over, flat))
    assert (clipped.outcome, other.outcome) == ("", "not_in_boxes")
    assert "within their picture: 1" in caplog.text
    assert jobs("md.json", megadetector(flat))[0].outcome == "not_in_boxes"
    caplog.clear()
    outside = jobs("b.csv", "file,left,top,right,bottom\ncamA/a.png,300,1,400,50\n")[0]
    assert outside.reason == "nothing of its boxes lies within the picture"
    assert "outside their picture: 1" in caplog.text


def test_a_file_that_is_listed_twice_keeps_all_its_boxes_and_each_once(jobs):
    content = megadetector(ANIMAL)
    content["images"].append({"file": "camA/a.png", "detections": [ANIMAL, {**ANIMAL, "bbox": [0.2, 0.2, 0.3, 0.3]}]})
    assert [sides(job) for job in jobs("md.json", content)[:2]] == [(20, 20, 120, 70), (40, 20, 100, 50)]


@pytest.mark.parametrize("file", ["D:\\survey\\photos\\camA\\a.png", "/old/place/camA/a.png", "old/camA/a.png"])
def test_paths_of_another_computer_are_matched_by_their_ends(jobs, file):
    found, other = jobs("md.json", megadetector(ANIMAL, file=file))
    assert sides(found) == (20, 20, 120, 70)
    assert other.outcome == "not_in_boxes"


@pytest.mark.parametrize("file", ["D:\\survey\\camB\\a.png", "camB/a.png", "/x/a.png"])
def test_equal_names_in_other_folders_are_not_the_same_file(jobs, file):
    assert jobs("md.json", megadetector(ANIMAL, file=file))[0].outcome == "not_in_boxes"


def test_entries_without_a_photograph_are_listed_with_the_reason(tmp_path, photos):
    content = megadetector(ANIMAL)
    content["images"] += [{"file": f"camA/{name}", "detections": []} for name in ("b.png", "gone.png", "clip.mp4")]
    (tmp_path / "md.json").write_text(json.dumps(content))
    boxes = load_boxes(tmp_path / "md.json")
    files = find_images([photos / "camA" / "a.png"]).files
    listed = boxes.list_unmatched(files, [str(photos)])
    assert [(one.file, one.reason) for one in listed] == [
        ("camA/b.png", NOT_GIVEN),
        ("camA/gone.png", GONE),
        ("camA/clip.mp4", VIDEO),
    ]


@pytest.mark.skipif(not CASES.exists(), reason="needs ../shared")
def test_every_case_gives_boxes_or_one_clear_line():
    files = find_images([CASES / "photos"]).files
    for path in sorted(path for path in CASES.iterdir() if path.is_file()):
        if path.name in REFUSED:
            with pytest.raises(ValueError, match=path.name):
                load_boxes(path)
            continue
        made = list(make_box_jobs(files, load_boxes(path), [str(CASES / "photos")]))
        first = next(job for job in made if job.path.endswith("camA/a.jpg"))
        assert first.box is not None, path.name
        assert first.box.right - first.box.left >= 100, path.name
        assert 0 <= first.box.left < first.box.right <= 227, path.name
