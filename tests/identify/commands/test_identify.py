import csv
import json
import os
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from linnaea.embed.journal import Journal, get_journal_dir
from linnaea.identify.commands import pipeline
from linnaea.identify.commands.config import IdentifyConfig
from linnaea.identify.commands.identify import identify, main
from linnaea.identify.commands.run_summary import count_statuses, format_run_summary
from linnaea.identify.naming.namer import load_namer
from linnaea.identify.naming.namer_config import NamerConfig
from linnaea.records import RANKS, Box
from linnaea.standards.table_reading import read_table
from onnx_networks import list_candidates, write_network


@pytest.fixture
def go(model, vocabulary_path):
    def run_main(*paths, **options):
        settings = {"vocabulary": str(vocabulary_path), "quiet": True, "model": "placeholder"} | options
        return main(IdentifyConfig(paths=paths, **settings))

    return run_main


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_a_folder_becomes_a_table_with_a_row_for_each_file(go, photos, tmp_path):
    assert go(photos, out=tmp_path / "names.csv") == 0
    rows = read_csv(tmp_path / "names.csv")
    assert [os.path.relpath(row["file"], photos) for row in rows] == [
        "a/cat, 猫.png",
        "a/line\nbreak.png",
        "b/agaric.png",
        "b/chair.png",
        "wolf.png",
        "zero.jpg",
    ]
    assert [row["name"] for row in rows] == ["Felis catus", "Rosa canina", "Amanita muscaria", "", "Canis lupus", ""]
    assert rows[0]["common_name"] == "cat"
    assert rows[3]["status"] == "unidentified"
    assert rows[3]["reason"].startswith("no organism likely")
    assert (rows[5]["status"], rows[5]["reason"]) == ("unreadable", "the file is empty")
    assert not get_journal_dir(tmp_path / "names.csv").exists()
    manifest = json.loads((tmp_path / "names.csv.manifest.json").read_text())
    assert manifest["counts"]["identified"] == 4
    assert manifest["model"] == "placeholder-64"
    assert manifest["calibration"] == "none: confidence is a bare softmax"


def test_a_fast_run_says_how_it_went_and_counts_what_a_killed_one_did(go, photos, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "linnaea")
    out = tmp_path / "names.csv"

    class KilledError(Exception):
        pass

    append, appended = Journal.append, []

    def killed(self, batch):
        append(self, batch)
        appended.append(batch)
        raise KilledError

    monkeypatch.setattr(Journal, "append", killed)
    with pytest.raises(KilledError):
        go(photos, out=out, scoring="fast", batch_size=2)
    monkeypatch.undo()
    assert go(photos, out=out, scoring="fast", batch_size=2, resume=True, quiet=False) == 0
    told = json.loads((tmp_path / "names.csv.manifest.json").read_text())["scoring"]
    # so small a table goes the dense way; the empty file is not scored
    assert (told["fast"], told["dense"], told["largest_unread"]) == (0, 5, 0)
    assert appended[0]["scoring"]["dense"] == 2
    assert "--scoring fast: 0 photographs scored fast, 5 exactly" in caplog.text
    caplog.clear()
    assert go(photos, scoring="fast", quiet=False) == 0
    assert "--scoring fast: 0 photographs scored fast, 5 exactly" in caplog.text


def test_a_journal_of_another_form_is_refused(go, photos, tmp_path, monkeypatch):
    out = tmp_path / "names.csv"
    monkeypatch.setattr(Journal, "append", lambda self, batch: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        go(photos, out=out)
    monkeypatch.undo()
    monkeypatch.setattr("linnaea.identify.commands.run_identity.JOURNAL_FORMAT", 99)
    with pytest.raises(ValueError, match="the versions of Linnaea differ"):
        go(photos, out=out, resume=True)


def test_all_forms_say_the_same(go, photos, tmp_path):
    for suffix in ("csv", "jsonl", "parquet"):
        go(photos, out=tmp_path / f"t.{suffix}", top=2)
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == pl.read_parquet(tmp_path / "t.parquet").to_dicts()
    as_text = [{k: "" if v is None else str(v) for k, v in line.items()} for line in lines]
    assert as_text == read_csv(tmp_path / "t.csv")


def test_a_photograph_that_is_named_like_a_formula_stays_text(go, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (photos / "wolf.png").rename(tmp_path / "=SUM(1,2).png")
    for suffix in ("csv", "tsv", "xlsx"):
        assert go(Path("=SUM(1,2).png"), out=tmp_path / f"t.{suffix}") == 0
    first = (tmp_path / "t.csv").read_text(encoding="utf-8").splitlines()[1]
    assert first.startswith('"./=SUM(1,2).png",identified')
    assert (tmp_path / "t.tsv").read_text(encoding="utf-8").splitlines()[1].startswith("./=SUM(1,2).png\tidentified")
    (row,) = read_table(tmp_path / "t.xlsx").rows()
    assert (row.cells["file"], row.cells["name"]) == ("=SUM(1,2).png", "Canis lupus")


def test_options_narrow_the_candidates(model, vocabulary_path, photos, tmp_path):
    cat = photos / "a" / "cat, 猫.png"

    def name(**options):
        (row,) = identify([cat], model=model, vocabulary=str(vocabulary_path), rank="species", **options)
        return row.name

    assert name() == "Felis catus"
    assert name(within=("Canidae", "Aves")) == ""
    others = {"min_confidence": 0.0}
    assert name(within=("Canidae", "Aves"), **others) in {"Canis lupus", "Setophaga magnolia", "Oenanthe oenanthe"}
    assert name(within=("Plantae>Oenanthe",), **others) == "Oenanthe crocata"
    (tmp_path / "list.txt").write_text("Rosa canina\nPanthera\nNo such thing\n")
    assert name(among=tmp_path / "list.txt", **others) in {"Rosa canina", "Panthera leo"}
    (tmp_path / "o.csv").write_text("scientificName,decimalLatitude,decimalLongitude\nFelis silvestris,48,11\n")
    # A clear photograph outweighs the prior.
    assert name(near=(48.0, 11.0), occurrences=tmp_path / "o.csv") == "Felis catus"
    (row,) = identify([cat], model=model, labels="chair,Felis catus", vocabulary=str(vocabulary_path))
    assert row.name == "Felis catus"
    assert row.confidence > 0.5


FELIS = "Animalia Chordata Mammalia Carnivora Felidae Felis"


@pytest.fixture
def cat_records(tmp_path):
    """Records of domestic cats, in one place and one month."""
    lines = ["scientificName,month,decimalLatitude,decimalLongitude", "Felis catus,5,48,11"]
    (tmp_path / "records.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "records.csv"


def test_a_prior_decides_where_the_photograph_does_not(model, vocabulary, tmp_path, paint, cat_records):
    photo = paint(tmp_path / "f.png", FELIS)

    def best(**options):
        namer = load_namer(NamerConfig(rank="species", min_confidence=0.0, **options), model, vocabulary=vocabulary)
        (row,) = identify([photo], model=model, namer=namer)
        return row.name, row.confidence

    without, confidence = best()
    assert without == "Felis silvestris"
    assert best(month=5, occurrences=cat_records)[0] == "Felis catus"
    assert best(near=(48.0, 11.0), occurrences=cat_records)[0] == "Felis catus"
    # Half a year away and on another continent the same records say nothing: the prior is flat.
    assert best(near=(-33.0, 151.0), month=11, occurrences=cat_records) == (without, confidence)


@pytest.mark.parametrize("options", [{"month": 5}, {"near": (48.0, 11.0)}, {"near": (48.0, 11.0), "month": 5}])
def test_place_and_season_change_the_table_of_a_run(go, tmp_path, paint, cat_records, options):
    photo = paint(tmp_path / "f.png", FELIS)
    settings = {"rank": "species", "min_confidence": 0.0}
    go(photo, out=tmp_path / "without.csv", **settings)
    go(photo, out=tmp_path / "with.csv", occurrences=cat_records, **settings, **options)
    names = [read_csv(tmp_path / f"{run}.csv")[0]["name"] for run in ("without", "with")]
    assert names == ["Felis silvestris", "Felis catus"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"within": ("Felidea",)}, "Felidae"),
        ({"within": ("Oenanthe",)}, "Plantae"),
        ({"rank": "genius"}, "genius"),
        ({"top": 0}, "--top 0"),
        ({"min_confidence": 1.5}, "1.5"),
        ({"month": 5}, "--occurrences"),
        ({"near": (95.0, 0.0), "as_": "darwin-core"}, "not on Earth"),
        ({"labels": "a,b", "within": ("Aves",)}, "--within"),
        ({"labels": "a,b", "rank": "genus"}, "--rank"),
        ({"resume": True}, "--out"),
        ({"report": "x.pdf"}, ".html"),
    ],
)
def test_a_wrong_option_is_one_line_that_names_it(go, photos, tmp_path, options, message):
    if "report" in options:
        options = {"report": tmp_path / "x.pdf"}
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        go(photos, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("out", "form", "message"),
    [
        ("t.docx", "table", ".parquet"),
        ("t", "table", "unknown kind"),
        ("t.csv", "camtrap-dp", "folder"),
        (None, "darwin-core", "--out"),
    ],
)
def test_an_output_of_no_known_kind_is_refused_before_any_work(out, form, message):
    with pytest.raises(ValueError, match=message):
        IdentifyConfig(paths=(Path("x"),), out=out and Path(out), as_=form)


def test_what_is_there_already_is_not_overwritten_unasked(go, photos, tmp_path):
    out = tmp_path / "t.csv"
    go(photos, out=out)
    before = out.read_bytes()
    with pytest.raises(FileExistsError, match="--overwrite"):
        go(photos, out=out)
    with pytest.raises(FileExistsError, match="other options"):
        go(photos, out=out, top=3, resume=True)
    assert go(photos, out=out, resume=True) == 0
    assert out.read_bytes() == before
    assert go(photos, out=out, overwrite=True, top=3) == 0
    assert out.read_bytes() != before


def test_nothing_to_do_is_an_error_code_and_no_table(go, tmp_path, caplog):
    (tmp_path / "empty").mkdir()
    assert go(tmp_path / "empty", out=tmp_path / "t.csv") == 1
    assert "no photograph" in caplog.text
    assert not (tmp_path / "t.csv").exists()
    (tmp_path / "zero.jpg").touch()
    assert go(tmp_path / "zero.jpg", tmp_path / "gone.jpg", out=tmp_path / "t.csv") == 1
    assert [row["status"] for row in read_csv(tmp_path / "t.csv")] == ["unreadable", "unreadable"]


def test_a_path_given_twice_has_one_row_and_that_is_said(go, photos, capsys, caplog):
    caplog.set_level("INFO", "linnaea")
    assert go(photos / "wolf.png", photos, photos / "wolf.png", quiet=False, out=None) == 0
    assert capsys.readouterr().out.count("wolf.png") == 1
    assert "2 left out" in caplog.text
    assert "given more than once" in caplog.text
    assert not [record for record in caplog.records if "given" in record.message and record.levelname != "INFO"]


def test_what_is_left_out_is_listed_beside_the_output_and_said_although_quiet(go, photos, tmp_path, caplog):
    for name in ("sound.wav", "notes.txt", ".DS_Store"):
        (photos / name).write_bytes(b"x")
    out = tmp_path / "t.csv"
    assert go(photos, out=out, quiet=True) == 0
    assert {Path(row["file"]).name for row in read_csv(tmp_path / "t.csv.left_out.csv")} == {
        "sound.wav",
        "notes.txt",
        ".DS_Store",
    }
    n = len(read_csv(out))
    said = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert any(f"{n + 3} given = {n} photographs + 3 left out" in line for line in said)
    assert any("sound.wav: .wav is not" in line for line in said)
    assert sum(json.loads((tmp_path / "t.csv.manifest.json").read_text())["left_out"].values()) == 3
    for name in ("sound.wav", "notes.txt", ".DS_Store"):
        (photos / name).unlink()
    assert go(photos, out=out, quiet=True, overwrite=True) == 0
    assert not (tmp_path / "t.csv.left_out.csv").exists()


def test_a_resumed_run_leaves_out_what_the_first_one_did(go, photos, tmp_path, monkeypatch):
    (photos / "sound.wav").write_bytes(b"x")
    out = tmp_path / "t.csv"
    with monkeypatch.context() as patch:
        patch.setattr("linnaea.identify.commands.batch_run.write_output", _stop)
        with pytest.raises(RuntimeError):
            go(photos, out=out)
    (photos / "late.wav").write_bytes(b"x")
    assert go(photos, out=out, resume=True) == 0
    assert [Path(row["file"]).name for row in read_csv(tmp_path / "t.csv.left_out.csv")] == ["sound.wav"]


def _stop(*_args, **_kwargs):
    raise RuntimeError("stopped")


def test_names_that_are_no_utf8_have_a_row_in_every_form(go, tmp_path, paint):
    try:
        os.rename(paint(tmp_path / "p" / "x.png", "cat"), os.fsdecode(os.fsencode(tmp_path / "p") + b"/caf\xe9.png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    for suffix in ("csv", "jsonl", "parquet"):
        assert go(tmp_path / "p", out=tmp_path / f"t.{suffix}") == 0
    (row,) = read_csv(tmp_path / "t.csv")
    assert row["file"].endswith("caf\\xe9.png")
    assert row["name"] == "Felis catus"
    assert pl.read_parquet(tmp_path / "t.parquet")["file"][0] == row["file"]


def test_stdout_gets_csv_on_request_and_a_table_otherwise(go, photos, capsys):
    go(photos, out=Path("-"), batch_size=2)
    lines = capsys.readouterr().out
    assert lines.startswith("file,status,outcome,reason")
    assert lines.count("file,status") == 1
    assert len(list(csv.DictReader(lines.splitlines(keepends=True)))) == 6
    go(photos, batch_size=2)
    table = capsys.readouterr().out
    assert "Felis catus" in table
    assert table.count("photograph ") == 1


def test_a_report_and_a_printed_table_come_beside_the_file(go, photos, tmp_path, capsys):
    go(photos, out=tmp_path / "t.csv", report=tmp_path / "r.html", table=True)
    assert (tmp_path / "r.html").read_text(encoding="utf-8").count('"file":') == 6
    assert "Canis lupus" in capsys.readouterr().out


def test_standards_are_written_whole(go, photos, tmp_path):
    go(photos, out=tmp_path / "o.csv", as_="darwin-core")
    assert {row["basisOfRecord"] for row in read_csv(tmp_path / "o.csv")} == {"MachineObservation"}
    exif = Image.Exif()
    exif[0x0110] = "HC500"
    exif.get_ifd(0x8769)[0x9003] = "2024:05:01 10:00:00"
    for path in photos.rglob("*.png"):
        Image.open(path).save(path, exif=exif)
    go(photos, out=tmp_path / "camtrap", as_="camtrap-dp", near=(1.0, 2.0), event_gap="0")
    observations = read_csv(tmp_path / "camtrap" / "observations.csv")
    for level in ("media", "event"):
        kinds = Counter(row["observationType"] for row in observations if row["observationLevel"] == level)
        assert kinds == {"animal": 2, "unknown": 2, "blank": 1}
    (left_out,) = read_csv(tmp_path / "camtrap" / "left_out.csv")
    assert (left_out["file"], left_out["outcome"]) == (str(photos / "zero.jpg"), "unreadable")
    with pytest.raises(FileExistsError, match="something else"):
        go(photos, out=photos, as_="camtrap-dp", overwrite=True)
    assert photos.is_dir()
    assert sorted(p.name for p in (tmp_path / "camtrap").iterdir()) == [
        "datapackage.json",
        "deployments.csv",
        "left_out.csv",
        "media.csv",
        "observations.csv",
    ]


@pytest.fixture
def scene(tmp_path, model, photos):
    """A cat on the left, a wolf on the right."""
    left, right = (Image.open(p).resize((160, 160), 0) for p in (photos / "a" / "cat, 猫.png", photos / "wolf.png"))
    picture = Image.new("RGB", (400, 160), "gray")
    picture.paste(left, (0, 0))
    picture.paste(right, (240, 0))
    (tmp_path / "scene").mkdir()
    picture.save(tmp_path / "scene" / "two.png")
    return tmp_path / "scene"


BOXES = ((0, 0, 160, 160), (240, 0, 400, 160))


@pytest.fixture
def exact_boxes(monkeypatch):
    """Without the margin, which the placeholder's painted pixels do not survive."""
    from linnaea.embed.images import pixel_reader as images

    use = images.use_image
    monkeypatch.setattr(images, "use_image", lambda path, f, box, **_how: use(path, f, box, margin=0))


def test_each_box_has_its_row(go, scene, tmp_path, exact_boxes):
    lines = "".join(f"two.png,{','.join(map(str, box))}\n" for box in BOXES)
    (tmp_path / "boxes.csv").write_text("file,left,top,right,bottom\n" + lines)
    go(scene, out=tmp_path / "t.csv", boxes=tmp_path / "boxes.csv", rank="species")
    rows = read_csv(tmp_path / "t.csv")
    assert [row["name"] for row in rows] == ["Felis catus", "Canis lupus"]
    assert [(row["box_left"], row["box_right"]) for row in rows] == [("0.0", "160.0"), ("240.0", "400.0")]
    with pytest.raises(ValueError, match="names none of"):
        go(tmp_path / "photos", out=tmp_path / "u.csv", boxes=tmp_path / "boxes.csv")


def test_a_detector_of_ones_own_goes_first(model, vocabulary_path, scene, exact_boxes):
    def detector(image):
        return [Box(left=left, top=top, right=right, bottom=bottom) for left, top, right, bottom in BOXES]

    found = identify([scene], model=model, vocabulary=str(vocabulary_path), detector=detector, rank="species")
    assert [row.name for row in found] == ["Felis catus", "Canis lupus"]


def test_a_detector_in_a_file_finds_the_boxes_of_a_run(go, model, vocabulary_path, scene, tmp_path, exact_boxes):
    from linnaea.identify.detection.onnx_detector import OnnxDetector

    def find(self, image):
        return [
            Box(left=left, top=top, right=right, bottom=bottom, label="animal") for left, top, right, bottom in BOXES
        ]

    network = tmp_path / "detector.onnx"
    write_network(network, list_candidates("v5"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OnnxDetector, "__call__", find)
        go(scene, out=tmp_path / "t.csv", detector=network, rank="species")
    rows = read_csv(tmp_path / "t.csv")
    assert [(row["name"], row["box_category"]) for row in rows] == [
        ("Felis catus", "animal"),
        ("Canis lupus", "animal"),
    ]
    with pytest.raises(ValueError, match="--boxes and --detector both say where to look"):
        go(scene, out=tmp_path / "u.csv", detector=network, boxes=tmp_path / "boxes.csv")
    found = identify([scene], model=model, vocabulary=str(vocabulary_path), detector=network, rank="species")
    assert len(list(found)) == 2  # the network's own boxes: an animal and a person
    with pytest.raises(FileNotFoundError, match=r"gone.onnx does not exist"):
        go(scene, out=tmp_path / "v.csv", detector=tmp_path / "gone.onnx")


def test_the_api_streams_and_holds_few_images(model, vocabulary, tmp_path, monkeypatch):
    asked = []

    def read(record, preprocess, decoding):
        asked.append(record.path)
        import numpy as np

        return np.zeros((16, 16, 3), np.uint8)

    monkeypatch.setattr(pipeline, "read_pixels", read)
    files = [tmp_path / f"{i}.jpg" for i in range(200)]
    namer = load_namer(NamerConfig(), model, vocabulary=vocabulary)
    stream = identify(files, model=model, namer=namer, batch_size=4)
    next(stream)
    assert len(asked) <= 4 * 4
    stream.close()


def test_the_room_offers_its_main_function_by_name():
    import linnaea.identify

    assert linnaea.identify.identify is identify
    assert linnaea.identify.IdentifyConfig is IdentifyConfig
    with pytest.raises(AttributeError):
        linnaea.identify.nonsense  # noqa: B018


def test_the_config_says_what_every_option_does():
    from linnaea.embed.images.embed_command import EmbedConfig
    from linnaea.identify.commands.learn import LearnConfig
    from linnaea.options import field_help

    for config in (IdentifyConfig, EmbedConfig, LearnConfig):
        assert all(field_help(config).values()), config


def test_a_summary_counts_images_and_not_alternatives(model, vocabulary_path, photos):
    rows = list(identify([photos], model=model, vocabulary=str(vocabulary_path), top=3))
    counts = count_statuses(rows)
    assert (counts["identified"], counts["unidentified"], counts["unreadable"]) == (4, 1, 1)
    assert (
        format_run_summary(counts, 61, None) == "6 in 1 min 1 s: 4 identified (4 species), 1 unidentified, 1 unreadable"
    )
    assert all(len(row.lineage) == len(RANKS) for row in rows)


def test_a_run_from_the_staged_table_makes_no_other_and_gives_the_same_again(go, photos, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "linnaea")
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("linnaea.embed.names.precomputed_names.MAX_CANDIDATES", 0)
    monkeypatch.setattr("linnaea.embed.names.name_table.CHUNK_WEIGHTS", -1)  # as if the text encoder were large
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    for out in (first, second):
        assert go(photos, out=out, quiet=False) == 0
        assert "name table incomplete" in caplog.text
        assert caplog.messages[-1].count(" identified"), "the summary is the last line: the command ends with its work"
        assert json.loads(out.with_name(f"{out.name}.manifest.json").read_text())["names"] == "staged"
        caplog.clear()
    assert first.read_bytes() == second.read_bytes()
    assert not (tmp_path / "cache" / "names").exists()


def test_a_finished_run_is_finished_even_if_the_full_table_came_after_it(go, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("linnaea.embed.names.precomputed_names.MAX_CANDIDATES", 0)
    monkeypatch.setattr("linnaea.embed.names.name_table.CHUNK_WEIGHTS", -1)
    out = tmp_path / "t.csv"
    assert go(photos, out=out) == 0
    assert go(photos, out=tmp_path / "full.csv", names="full") == 0
    assert list((tmp_path / "cache" / "names").iterdir())
    before = out.stat().st_mtime_ns
    assert go(photos, out=out, resume=True) == 0
    assert out.stat().st_mtime_ns == before
    assert go(photos, out=out, overwrite=True, labels="Felis catus,chair") == 0
    with pytest.raises(FileExistsError, match="other options"):
        go(photos, out=out, resume=True)


def test_a_small_text_encoder_embeds_every_name_before_the_first_answer(go, photos, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "linnaea")
    monkeypatch.setenv("LINNAEA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("linnaea.embed.names.precomputed_names.MAX_CANDIDATES", 0)
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    assert go(photos, out=first, quiet=False) == 0
    assert caplog.messages[0].startswith("placeholder: embedding")
    assert go(photos, out=second) == 0
    assert first.read_bytes() == second.read_bytes()
    assert json.loads((tmp_path / "1.csv.manifest.json").read_text())["names"] == "full"


def test_labels_may_be_longer_than_the_name_of_a_file(go, photos, tmp_path):
    many = ",".join(["Felis catus", *(f"thing number {i}" for i in range(40))])
    assert go(photos / "a" / "cat, 猫.png", labels=many, out=tmp_path / "t.csv") == 0
    assert read_csv(tmp_path / "t.csv")[0]["name"] == "Felis catus"


def test_names_that_match_nothing_are_listed_beside_the_output_or_the_list(go, photos, tmp_path, capsys):
    (tmp_path / "list.txt").write_text("Felis catus\nNo such thing\n")
    for options, listed in (({"out": tmp_path / "t.csv"}, "t.csv"), ({}, "list.txt"), ({"out": Path("-")}, "list.txt")):
        go(photos, among=tmp_path / "list.txt", **options)
        assert "No such thing,2," in (tmp_path / f"{listed}.unmatched.csv").read_text()
        (tmp_path / f"{listed}.unmatched.csv").unlink()
    assert not list(tmp_path.glob("*unmatched*"))


@pytest.mark.parametrize("option", ["among", "occurrences", "boxes", "vocabulary", "labels"])
@pytest.mark.parametrize(
    ("name", "content"), [("empty.csv", b""), ("bytes.csv", bytes(range(256)) * 9), ("bad.parquet", b"PAR1 no")]
)
def test_a_table_that_cannot_be_read_is_named(go, photos, tmp_path, option, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    value = path if option in ("among", "occurrences", "boxes") else str(path)
    more = {"month": 5} if option == "occurrences" else {}
    with pytest.raises(ValueError, match=name):
        go(photos, **{option: value, **more})


def test_summary_and_report_of_a_model_without_calibration_say_so(go, photos, tmp_path, caplog):
    caplog.set_level("INFO", "linnaea")
    go(photos, quiet=False, report=tmp_path / "r.html")
    assert "carries no calibration" in (tmp_path / "r.html").read_text(encoding="utf-8")
    warning, summed = caplog.messages[-2:]
    assert warning.startswith("placeholder carries no calibration: confidence is a bare softmax")
    assert " identified" in summed
    caplog.clear()
    go(photos, quiet=False, labels="Felis catus,Rosa canina", report=tmp_path / "r.html")
    assert "calibration" not in caplog.text + (tmp_path / "r.html").read_text(encoding="utf-8")
