"""Tables as CSV, TSV, .xlsx, JSON lines and Parquet, written as a stream.

A spreadsheet takes a cell that begins with =, +, - or @ as a formula. In CSV and TSV such a path gets ./ before it, and
other text an apostrophe; in .xlsx text is text.
"""

from __future__ import annotations

import csv
import datetime
import itertools
import json
import math
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from linnaea.records import RANKS
from linnaea.store import atomic_path

# Columns of any table that are numbers in Parquet; all others are text.
NUMBERS = {
    "position": int,
    "confidence": float,
    "similarity": float,
    "guess_confidence": float,
    **{f"confidence_{rank}": float for rank in RANKS},
    **{f"box_{part}": float for part in ("left", "top", "right", "bottom", "confidence")},
    "event_confidence": float,
    **dict.fromkeys(("event_count", "count", "n_events", "n_photographs"), int),
    "seconds_since_last": float,
    "latitude": float,
    "longitude": float,
    "decimalLatitude": float,
    "decimalLongitude": float,
}
SUFFIXES = (".csv", ".tsv", ".xlsx", ".jsonl", ".parquet")
ROWS_A_PART = 50_000
# Columns of paths.
PATHS = ("file",)
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
# What a sheet of .xlsx can hold.
SHEET_ROWS = 1_048_576
SHEET_LETTERS = 32_767

Row = Mapping[str, "str | int | float | None"]


def write_table(path: Path, columns: tuple[str, ...], rows: Iterable[Row], suffix: str = "") -> None:
    """Write rows in the format of the suffix, in bounded memory; the same rows give the same bytes."""
    writers: dict[str, Callable] = {
        ".csv": _write_csv,
        ".tsv": _write_tsv,
        ".xlsx": _write_xlsx,
        ".jsonl": _write_jsonl,
        ".parquet": _write_parquet,
    }
    writers[suffix or path.suffix.lower()](path, columns, rows)


def write_csv(path: Path, columns: tuple[str, ...], rows: Iterable[Row]) -> None:
    """Write rows as CSV and move the complete file into place."""
    with atomic_path(path) as temporary:
        _write_csv(temporary, columns, rows)


def _write_csv(path: Path, columns: tuple[str, ...], rows: Iterable[Row]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as handle:
        write_csv_rows(handle, columns, rows)


def _write_tsv(path: Path, columns: tuple[str, ...], rows: Iterable[Row]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as handle:
        write_csv_rows(handle, columns, rows, delimiter="\t")


def write_csv_rows(
    handle, columns: tuple[str, ...], rows: Iterable[Row], *, header: bool = True, delimiter: str = ","
) -> None:
    """Write rows to an open text file; None becomes an empty cell."""
    writer = csv.writer(handle, lineterminator="\n", delimiter=delimiter)
    if header:
        writer.writerow(columns)
    for row in rows:
        writer.writerow([_make_plain(row[column], column) for column in columns])


def _make_plain(value: str | float | None, column: str) -> str | int | float:
    """A cell that no spreadsheet takes as a formula."""
    if value is None:
        return ""
    if not isinstance(value, str) or not value.startswith(FORMULA_SIGNS) or _is_number(value):
        return value
    return f"./{value}" if column in PATHS else f"'{value}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _write_xlsx(path: Path, columns: tuple[str, ...], rows: Iterable[Row]) -> None:
    """Write a workbook of one sheet, row by row. Raise ValueError for more rows than a sheet holds."""
    import xlsxwriter

    options = {"constant_memory": True, "tmpdir": str(path.parent), "strings_to_urls": False}
    with xlsxwriter.Workbook(str(path), options) as book:
        # The same rows give the same bytes, whenever they are written.
        book.set_properties({"created": datetime.datetime(2000, 1, 1)})
        sheet = book.add_worksheet("Linnaea")
        sheet.freeze_panes(1, 0)
        for at, column in enumerate(columns):
            sheet.write_string(0, at, column)
        for number, row in enumerate(rows, 1):
            if number >= SHEET_ROWS:
                raise ValueError(f"a sheet holds {SHEET_ROWS - 1:,} rows, and there are more; write .csv or .parquet")
            for at, column in enumerate(columns):
                _write_cell(sheet, number, at, row[column])


def _write_cell(sheet, number: int, at: int, value: str | float | None) -> None:
    if isinstance(value, str):
        if value:
            sheet.write_string(number, at, value[:SHEET_LETTERS])
    elif value is not None and math.isfinite(value):
        sheet.write_number(number, at, value)


def _write_jsonl(path: Path, columns: tuple[str, ...], rows: Iterable[Row]) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as handle:
        chosen = ({column: row[column] for column in columns} for row in rows)
        handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in chosen)


def _write_parquet(path: Path, columns: tuple[str, ...], rows: Iterable[Row]) -> None:
    import polars as pl

    types = {int: pl.Int32, float: pl.Float64}
    schema = {column: types.get(NUMBERS.get(column), pl.String) for column in columns}
    remaining = iter(rows)
    # Parts keep the memory bounded; their frames are concatenated lazily, in order.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        parts: list[Path] = []
        while (chunk := list(itertools.islice(remaining, ROWS_A_PART))) or not parts:
            frame = pl.DataFrame(
                {column: [row[column] for row in chunk] for column in columns}, schema=schema, strict=False
            )
            parts.append(Path(folder) / f"{len(parts):06}.parquet")
            frame.write_parquet(parts[-1])
        if len(parts) == 1:
            parts[0].replace(path)
        else:
            pl.scan_parquet(parts).sink_parquet(path, row_group_size=ROWS_A_PART, maintain_order=True)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a small table in any format that `read_table` reads, as dictionaries; missing cells are ""."""
    from linnaea.standards.table_reading import read_table

    return [row.cells for row in read_table(path).rows()]
