"""CSV tables written by hand: a heading row, and comments in lines that begin with #."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path


def read_csv_text(path: Path, what: str, columns: str) -> str:
    """Return the text of a CSV file.

    `what` names the table and `columns` its columns in errors. Raise FileNotFoundError if there is no file and
    ValueError if it is not UTF-8.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no {what} found; give a CSV file with the columns {columns}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not UTF-8; save the {what} as CSV in UTF-8") from None


def parse_rows(text: str) -> csv.DictReader:
    """Return the rows of a table's text without comments and empty lines."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return csv.DictReader(io.StringIO("\n".join(lines)), restkey="", restval="")


def check_width(row: Mapping[str, str], where: str) -> None:
    """Raise ValueError for a row with more cells than columns; an unquoted comma in a name causes it."""
    if "" in row:
        first = next(iter(row.values()))
        raise ValueError(
            f"{where}: the row of {first!r} has more cells than columns; put a value with a comma into quotes"
        )
