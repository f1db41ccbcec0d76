"""One entrance to every table: `read_table` finds out from the content what a file or folder is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from linnaea.standards.table_reading.archive_table import open_archive_table
from linnaea.standards.table_reading.columnar_table import open_json_table, open_parquet_table
from linnaea.standards.table_reading.packed_files import find_kind, list_files, unpack_gzip
from linnaea.standards.table_reading.table import Table
from linnaea.standards.table_reading.text_table import open_text_table
from linnaea.standards.table_reading.workbook_table import open_workbook_table

# What a name claims that the content must then be.
BINARY_SUFFIXES = {
    ".zip": "zip archive",
    ".gz": "gzip file",
    ".tgz": "tar archive",
    ".xlsx": "workbook",
    ".xls": "workbook",
    ".ods": "workbook",
    ".parquet": "Parquet file",
}
FORMATS = "CSV, TSV, .xlsx, Parquet, JSON lines, a Darwin Core archive, or one of them as .gz or .zip"


def read_table(path: Path | str, *, row_types: Sequence[str] = (), what: str = "table") -> Table:
    """Open the table in a file or folder; the content decides on the format, not the name.

    It may be text with any usual delimiter, quoting and encoding, a workbook, Parquet, JSON lines, a Darwin Core
    archive, a download of GBIF, a data package, or one table in a .zip or .gz. `row_types` are the kinds of record that
    are wanted of an archive ("Occurrence", "Taxon"), the preferred one first. `what` names the table in errors.

    `Table.rows()` yields (line, cells by column), `Table.find` finds a column in any spelling, `Table.scan()` gives a
    polars LazyFrame of text. Raise FileNotFoundError if there is no file and ValueError, one line with the remedy, if
    it holds no table.
    """
    path = Path(path)
    name = str(path)
    try:
        if not path.exists():
            raise FileNotFoundError(f"{what} {path} does not exist; give {FORMATS}")
        if path.is_dir():
            return open_archive_table(list_files(path, name), name, row_types)
        if not path.stat().st_size:
            raise ValueError(f"{path} is empty; a table needs a heading row and rows below it")
        return _open_file(path, path, name, row_types)
    except PermissionError:
        raise ValueError(f"{path} may not be read; change its permissions or copy it") from None
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} cannot be read ({(error.strerror or 'input error').lower()})") from None


def _open_file(path: Path, file_path: Path, name: str, row_types: Sequence[str]) -> Table:
    """The table in a file; `path` is what the user gave, `file_path` the same or what was unpacked of it."""
    kind = find_kind(file_path)
    if kind in ("text", "json") and (claimed := BINARY_SUFFIXES.get(path.suffix.lower())) and file_path == path:
        raise ValueError(f"{name} is not a readable {claimed}; it is damaged, or its name has the wrong ending")
    if kind == "workbook":
        return open_workbook_table(file_path, name)
    if kind == "parquet":
        return open_parquet_table(path, name, [file_path])
    if kind == "json":
        return open_json_table(path, name, file_path)
    if kind in ("zip", "tar"):
        return open_archive_table(list_files(file_path, name), name, row_types)
    if kind == "gzip":
        held: list = []
        table = _open_file(path, unpack_gzip(file_path, name, held), name, row_types)
        table.held += held
        return table
    return open_text_table(file_path, name)
