import gzip
import json
import tarfile
import zipfile

import polars as pl
import pytest
import xlsxwriter

from linnaea.standards.table_reading import read_table

HEADER = ["scientificName", "decimalLatitude", "remarks"]
ROWS = [["Passerina ciris", "30.1", "Mésange; bleue"], ["Parus major", "-7", ""]]


def as_cells(path, **options) -> list[list[str]]:
    table = read_table(path, **options)
    found = [list(row.cells.values()) for row in table.rows()]
    # the frame of a table holds what its rows hold
    frame = table.frame()
    assert frame.columns == list(table.columns)
    assert [[cell or "" for cell in row] for row in frame.iter_rows()] == found
    return found


def write_text(path, delimiter, encoding="utf-8", line_end="\n"):
    lines = [delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in row) for row in [HEADER, *ROWS]]
    path.write_bytes((line_end.join(lines) + line_end).encode(encoding))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["t.csv", "t.txt", "t"])
def test_delimiter_and_encoding_are_found_from_the_content(tmp_path, delimiter, encoding, name):
    write_text(tmp_path / name, delimiter, encoding)
    assert read_table(tmp_path / name).columns == tuple(HEADER)
    assert as_cells(tmp_path / name) == ROWS


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_any_line_end_ends_a_line(tmp_path, line_end):
    write_text(tmp_path / "t.csv", ",", line_end=line_end)
    assert as_cells(tmp_path / "t.csv") == ROWS


def test_latin_1_is_read_where_windows_has_no_such_byte(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"name,n\nM\xe9sange\x81,1\n")
    assert as_cells(tmp_path / "t.csv") == [["Mésange\x81", "1"]]


def test_a_mark_of_gbif_is_text_and_does_not_begin_a_quoted_cell(tmp_path):
    (tmp_path / "t.tsv").write_text('a\tb\n1\tthe "old farm\n2\tx"\n3\t"un" paired\n')
    assert as_cells(tmp_path / "t.tsv") == [["1", 'the "old farm'], ["2", 'x"'], ["3", '"un" paired']]


def test_quoted_cells_may_hold_delimiters_line_ends_and_marks(tmp_path):
    (tmp_path / "t.csv").write_text('a,b\n"1, 2","two\nlines"\n"say ""hi""",z\n')
    table = read_table(tmp_path / "t.csv")
    assert [(row.line, list(row.cells.values())) for row in table.rows()] == [
        (2, ["1, 2", "two\nlines"]),
        (4, ['say "hi"', "z"]),
    ]


@pytest.mark.parametrize(
    "text",
    [
        '"species" "lat"\n"1" "Passerina ciris" 30.1\n"2" "Parus major" -7\n',
        '"species"\t"lat"\n"1"\t"Passerina ciris"\t30.1\n"2"\t"Parus major"\t-7\n',
        '"","species","lat"\n"1","Passerina ciris",30.1\n"2","Parus major",-7\n',
        "species;lat\n1;Passerina ciris;30.1\n2;Parus major;-7\n",
    ],
)
def test_tables_of_r_keep_their_row_names_apart(tmp_path, text):
    (tmp_path / "t.txt").write_text(text)
    table = read_table(tmp_path / "t.txt")
    found = [(row.cells[table.find("species")], row.cells[table.find("lat")]) for row in table.rows()]
    assert found == [("Passerina ciris", "30.1"), ("Parus major", "-7")]


def test_comments_blank_lines_and_excels_first_line_are_no_rows(tmp_path):
    (tmp_path / "t.csv").write_text("# made by hand\n\na;b\n\n1;2\n# more\n;\n#3;4\n")
    assert [(row.line, row.cells) for row in read_table(tmp_path / "t.csv").rows()] == [
        (5, {"a": "1", "b": "2"}),
        (8, {"a": "#3", "b": "4"}),
    ]
    (tmp_path / "e.csv").write_text("sep=|\na|b\n1|2\n")
    assert as_cells(tmp_path / "e.csv") == [["1", "2"]]


def test_a_row_with_too_many_cells_is_named_with_its_line(tmp_path):
    (tmp_path / "t.csv").write_text("name,n\nlion,1\nleopard, spotted,2\n")
    with pytest.raises(ValueError, match=r"t\.csv, line 3: 3 cells, but the heading row has 2 columns; put a cell"):
        list(read_table(tmp_path / "t.csv").rows())


def test_missing_and_empty_last_cells_are_taken_as_empty_and_named(tmp_path, caplog):
    (tmp_path / "t.csv").write_text("a,b,c\n1,2,3\n4\n5,6,7,,\n8,9\n")
    assert as_cells(tmp_path / "t.csv") == [["1", "2", "3"], ["4", "", ""], ["5", "6", "7"], ["8", "9", ""]]
    assert "2 rows have fewer cells than the heading row (the first in line 3)" in caplog.text


@pytest.mark.parametrize(
    "spelling",
    [
        "scientificName",
        "ScientificName",
        "SCIENTIFIC NAME",
        "scientific_name",
        "dwc:scientificName",
        "http://rs.tdwg.org/dwc/terms/scientificName",
        " scientificName ",
        '"scientificName"',
    ],
)
def test_a_column_is_found_in_any_spelling(tmp_path, spelling):
    (tmp_path / "t.csv").write_text(f"{spelling},n\nParus major,1\n")
    table = read_table(tmp_path / "t.csv")
    assert [row.cells[table.require("scientificName")] for row in table.rows()] == ["Parus major"]


def test_a_workbook_is_read_with_the_numbers_of_its_rows(tmp_path, caplog):
    with xlsxwriter.Workbook(tmp_path / "t.xlsx") as book:
        sheet = book.add_worksheet("birds")
        for number, cells in {1: ["species", "n", "share"], 2: ["Parus major", 5, 0.25], 4: ["=x", True, ""]}.items():
            for column, cell in enumerate(cells):
                write = sheet.write_string if isinstance(cell, str) else sheet.write
                write(number, column, cell)
        other = book.add_worksheet("notes")
        other.write_row(0, 0, ["a"])
        other.write_row(1, 0, ["b"])
    table = read_table(tmp_path / "t.xlsx")
    assert [(row.line, list(row.cells.values())) for row in table.rows()] == [
        (3, ["Parus major", "5", "0.25"]),
        (5, ["=x", "true", ""]),
    ]
    assert "only the sheet 'birds' is read, not 'notes'" in caplog.text


def test_parquet_and_json_hold_the_same_rows(tmp_path):
    rows = [{"name": "Parus major", "n": 1, "x": [1]}, {"name": "Felis catus", "n": None, "x": []}]
    pl.DataFrame(rows).write_parquet(tmp_path / "p")
    (tmp_path / "j").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "l").write_text(json.dumps(rows))
    assert as_cells(tmp_path / "p") == [["Parus major", "1"], ["Felis catus", ""]]
    assert as_cells(tmp_path / "j") == [["Parus major", "1", "[1]"], ["Felis catus", "", "[]"]]
    assert as_cells(tmp_path / "l") == as_cells(tmp_path / "j")


def test_one_packed_table_is_that_table(tmp_path):
    write_text(tmp_path / "t.csv", ",")
    with gzip.open(tmp_path / "t.csv.gz", "wb") as packed:
        packed.write((tmp_path / "t.csv").read_bytes())
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.write(tmp_path / "t.csv", "t.csv")
        archive.writestr("__MACOSX/._t.csv", b"\0\5\26\7")
    with tarfile.open(tmp_path / "t.tgz", "w:gz") as archive:
        archive.add(tmp_path / "t.csv", "./t.csv")
    for name in ("t.csv.gz", "t.zip", "t.tgz"):
        assert as_cells(tmp_path / name) == ROWS


def test_what_is_not_there_or_empty_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"list .*none\.csv does not exist; give CSV"):
        read_table(tmp_path / "none.csv", what="list")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match=r"empty\.csv is empty"):
        read_table(tmp_path / "empty.csv")
    (tmp_path / "blank.csv").write_text("\n\n# nothing\n")
    with pytest.raises(ValueError, match=r"blank\.csv is empty"):
        read_table(tmp_path / "blank.csv")
    (tmp_path / "image.csv").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 9)
    with pytest.raises(ValueError, match=r"image\.csv is not a table of text"):
        read_table(tmp_path / "image.csv")
