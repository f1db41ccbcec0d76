"""Tables written by hand: a heading row, and comments in lines that begin with #."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from linnaea.standards.table_reading import read_table
from linnaea.standards.table_reading.packed_files import find_kind
from linnaea.standards.table_reading.text_encoding import read_text
from linnaea.standards.table_reading.text_layout import find_layout


def read_csv_text(path: Path, what: str, columns: str) -> str:
    """Return the text of a table of text, or of a workbook as CSV.

    `what` names the table and `columns` its columns in errors. Raise FileNotFoundError if there is no file and
    ValueError if it is no such table.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no {what} found; give a CSV file with the columns {columns}")
    if find_kind(path) in ("text", "json"):
        return read_text(path)
    table = read_table(path, what=what)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(table.columns)
    writer.writerows(row.cells.values() for row in table.rows())
    return text.getvalue()


def parse_rows(text: str) -> csv.DictReader:
    """Return the rows of a table's text without comments and empty lines, whatever its delimiter."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    layout = find_layout(lines)
    delimiter = layout.delimiter if layout is not None and len(layout.delimiter) == 1 else ","
    return csv.DictReader(io.StringIO("\n".join(lines)), restkey="", restval="", delimiter=delimiter)


def check_width(row: Mapping[str, str], where: str) -> None:
    """Raise ValueError for a row with more cells than columns; an unquoted comma in a name causes it."""
    if "" in row:
        first = next(iter(row.values()))
        raise ValueError(
            f"{where}: the row of {first!r} has more cells than columns; put a value with a comma into quotes"
        )
