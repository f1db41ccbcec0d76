import pytest
import xlsxwriter

from linnaea.standards.name_lists import read_name_list


def names_of(path) -> list[tuple[str, int]]:
    return [tuple(listed) for listed in read_name_list(path)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_list_has_one_name_on_each_line(tmp_path, encoding):
    text = "Parus major Linnaeus, 1758\r\n# a remark\r\n\r\nMésange bleue # seen\r\nFelis  catus;\r\nFelis catus\r\n"
    (tmp_path / "list.txt").write_bytes(text.encode(encoding))
    assert names_of(tmp_path / "list.txt") == [
        ("Parus major Linnaeus, 1758", 1),
        ("Mésange bleue", 4),
        ("Felis catus", 5),
    ]


def test_a_table_gives_its_column_of_names_whatever_its_delimiter(tmp_path):
    for delimiter in ",;\t":
        rows = [["n", "Scientific Name", "species"], ["1", "Parus major", ""], ["2", "", "Felis catus"], ["3", "", ""]]
        (tmp_path / "list.txt").write_text("".join(delimiter.join(row) + "\n" for row in rows))
        assert names_of(tmp_path / "list.txt") == [("Parus major", 2), ("Felis catus", 3)]


def test_a_table_of_one_column_without_a_heading_is_a_list(tmp_path):
    (tmp_path / "list.csv").write_text("Parus major\nFelis catus\n")
    assert names_of(tmp_path / "list.csv") == [("Parus major", 1), ("Felis catus", 2)]
    (tmp_path / "list.csv").write_text("Species\nFelis catus\n")
    assert names_of(tmp_path / "list.csv") == [("Felis catus", 2)]


@pytest.mark.parametrize("heading", ["scientificName", None])
def test_a_workbook_is_a_list(tmp_path, heading):
    with xlsxwriter.Workbook(tmp_path / "list.xlsx") as book:
        sheet = book.add_worksheet()
        for row, cell in enumerate(
            [heading, "Parus major", "Felis catus"] if heading else ["Parus major", "Felis catus"]
        ):
            sheet.write(row, 0, cell)
    first = 2 if heading else 1
    assert names_of(tmp_path / "list.xlsx") == [("Parus major", first), ("Felis catus", first + 1)]


def test_a_table_without_names_is_refused_with_its_columns(tmp_path):
    (tmp_path / "list.csv").write_text("id,n\n1,2\n")
    with pytest.raises(ValueError, match=r"list\.csv has no column scientificName, species or name; it has id, n"):
        read_name_list(tmp_path / "list.csv")
