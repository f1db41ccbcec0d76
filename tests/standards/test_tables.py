import csv
import json
import zipfile

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaea.identify.output.writers import pack, unpack
from linnaea.records import PREDICTION_COLUMNS, Box, Prediction, RankedName, make_prediction_row
from linnaea.standards import tables
from linnaea.standards.table_reading import read_table
from linnaea.standards.tables import write_table

ISSUE_COLUMNS = (
    "file,status,outcome,reason,position,rank,name,common_name,confidence,similarity,"
    "kingdom,phylum,class,order,family,genus,species,guess_rank,guess_name,guess_confidence,"
    "best_kingdom,confidence_kingdom,best_phylum,confidence_phylum,best_class,confidence_class,best_order,"
    "confidence_order,best_family,confidence_family,best_genus,confidence_genus,best_species,confidence_species,"
    "box_left,box_top,box_right,box_bottom,box_confidence,box_category,frame_time_s"
)
AWKWARD = [
    "plain.jpg",
    'comma, "quote".jpg',
    "new\nline.jpg",
    "猫\t.jpg",
    "=1+1.jpg",
    " space .jpg",
    "caf\\xe9.jpg",
    "",
]


def prediction(file, **more):
    fields = {"status": "identified", "rank": "genus", "name": "Felis", "confidence": 0.5, "similarity": 0.25} | more
    return Prediction(file=file, lineage=("Animalia", "", "", "", "Felidae", "Felis", ""), **fields)


def test_the_columns_are_those_of_the_contract():
    assert ",".join(PREDICTION_COLUMNS) == ISSUE_COLUMNS


@pytest.mark.parametrize("suffix", tables.SUFFIXES)
def test_awkward_names_survive_in_every_form(tmp_path, suffix):
    predictions = [prediction(name) for name in AWKWARD]
    predictions.append(Prediction(file="z", status="unreadable", reason="the file is empty"))
    path = tmp_path / f"t{suffix}"
    write_table(path, PREDICTION_COLUMNS, map(make_prediction_row, predictions))
    if suffix == ".csv":
        with open(path, newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
    elif suffix in (".tsv", ".xlsx"):
        rows = [row.cells for row in read_table(path).rows()]
    elif suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    else:
        rows = pl.read_parquet(path).to_dicts()
    given = [*AWKWARD, "z"]
    if suffix in (".csv", ".tsv"):
        given = [name.replace("=1+1.jpg", "./=1+1.jpg") for name in given]
    if suffix in (".tsv", ".xlsx"):
        given = [name.strip() for name in given]
    assert [row["file"] for row in rows] == given
    assert list(rows[0]) == list(PREDICTION_COLUMNS)
    assert float(rows[0]["confidence"]) == 0.5
    assert rows[-1]["confidence"] in ("", None)
    assert rows[0]["family"] == "Felidae"
    assert rows[0]["class"] == ""


def test_many_parts_of_a_parquet_file_keep_their_order_and_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROWS_A_PART", 7)
    rows = [make_prediction_row(prediction(f"{i}.jpg", confidence=i / 100)) for i in range(60)]
    write_table(tmp_path / "a.parquet", PREDICTION_COLUMNS, rows)
    assert pl.read_parquet(tmp_path / "a.parquet")["file"].to_list() == [f"{i}.jpg" for i in range(60)]
    for _ in range(5):
        write_table(tmp_path / "b.parquet", PREDICTION_COLUMNS, rows)
        assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize("suffix", tables.SUFFIXES)
def test_a_table_without_rows_has_its_columns(tmp_path, suffix):
    write_table(tmp_path / f"t{suffix}", PREDICTION_COLUMNS, [])
    if suffix == ".parquet":
        assert tuple(pl.read_parquet(tmp_path / f"t{suffix}").columns) == PREDICTION_COLUMNS
    elif suffix == ".csv":
        assert (tmp_path / f"t{suffix}").read_text() == ISSUE_COLUMNS + "\n"


@given(st.text(max_size=30), st.none() | st.floats(0, 1))
def test_a_prediction_comes_back_from_the_journal_as_it_went_in(name, confidence):
    whole = prediction(
        name,
        confidence=confidence,
        box=Box(left=1, top=2.5, right=3, bottom=4, confidence=0.5, label="animal"),
        path_confidence=(RankedName(rank="kingdom", name=name, confidence=0.9, node=3),),
    )
    assert unpack(json.loads(json.dumps(pack(whole)))) == whole


FORMULAS = ["=SUM(1,2).jpg", "+1.jpg", "-x.jpg", "@home/a.jpg", "a=b.jpg"]


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_no_cell_of_text_is_a_formula(tmp_path, suffix, delimiter):
    rows = [{"file": name, "station": name, "latitude": -7.5, "offset": "-3"} for name in FORMULAS]
    write_table(tmp_path / f"t{suffix}", ("file", "station", "latitude", "offset"), rows)
    with open(tmp_path / f"t{suffix}", newline="", encoding="utf-8") as handle:
        _header, *cells = csv.reader(handle, delimiter=delimiter)
    assert [row[0] for row in cells] == [f"./{name}" for name in FORMULAS[:-1]] + ["a=b.jpg"]
    assert [row[1] for row in cells] == [f"'{name}" for name in FORMULAS[:-1]] + ["a=b.jpg"]
    assert {tuple(row[2:]) for row in cells} == {("-7.5", "-3")}


def test_a_workbook_holds_text_numbers_and_no_formula(tmp_path):
    rows = [{"file": name, "confidence": 0.25, "position": 1, "reason": None} for name in FORMULAS]
    columns = ("file", "confidence", "position", "reason")
    for name in ("a", "b"):
        write_table(tmp_path / f"{name}.xlsx", columns, iter(rows))
    assert (tmp_path / "a.xlsx").read_bytes() == (tmp_path / "b.xlsx").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.xlsx") as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in sheet
    assert "<v>0.25</v>" in sheet
    found = [list(row.cells.values()) for row in read_table(tmp_path / "a.xlsx").rows()]
    assert found == [[name, "0.25", "1", ""] for name in FORMULAS]


def test_more_rows_than_a_sheet_holds_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "SHEET_ROWS", 4)
    write_table(tmp_path / "t.xlsx", ("a",), ({"a": i} for i in range(3)))
    with pytest.raises(ValueError, match=r"a sheet holds 3 rows, and there are more; write \.csv"):
        write_table(tmp_path / "t.xlsx", ("a",), ({"a": i} for i in range(4)))
