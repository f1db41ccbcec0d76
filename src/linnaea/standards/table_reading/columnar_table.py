"""Tables in Parquet files and in JSON: lines with an object each, or one list of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from linnaea.standards.table_reading.table import Table, TableRow
from linnaea.standards.table_reading.text_encoding import find_encoding

DAMAGED = "the file is damaged or not complete, get it again"


@dataclass(kw_only=True)
class ParquetTable(Table):
    """Parquet files with the same columns; those with lists or structures in their cells are left out."""

    file_paths: list[Path]

    def rows(self) -> Iterator[TableRow]:
        frame = self.collect()
        for line, cells in enumerate(frame.iter_rows(), 1):
            values = ["" if cell is None else cell.strip() for cell in cells]
            if any(values):
                yield TableRow(line, dict(zip(self.columns, values, strict=True)))

    def scan(self):
        import polars as pl

        return pl.scan_parquet(self.file_paths).select(
            pl.col(column).cast(pl.String, strict=False) for column in self.columns
        )


def open_parquet_table(path: Path, name: str, file_paths: list[Path]) -> ParquetTable:
    """Return the table in Parquet files. Raise ValueError if they are damaged."""
    import polars as pl

    try:
        schema = pl.scan_parquet(file_paths).collect_schema()
    except (pl.exceptions.PolarsError, OSError):
        raise ValueError(f"{name} cannot be read as Parquet; {DAMAGED}") from None
    columns = tuple(column for column, dtype in schema.items() if not dtype.is_nested() and dtype != pl.Binary)
    return ParquetTable(path=path, name=name, columns=columns, file_paths=file_paths)


@dataclass(kw_only=True)
class JsonTable(Table):
    """Objects with the same keys; a nested value is JSON text."""

    file_path: Path
    encoding: str

    def rows(self) -> Iterator[TableRow]:
        for line, found in _read_objects(self.file_path, self.encoding, self.name):
            cells = {str(key): _format_value(value) for key, value in found.items()}
            yield TableRow(line, {column: cells.get(column, "") for column in self.columns})


def open_json_table(path: Path, name: str, file_path: Path) -> JsonTable:
    """Return the table in a file of JSON lines or with one JSON list. Raise ValueError for other JSON."""
    encoding = find_encoding(file_path) or "utf-8"
    columns: dict[str, None] = {}
    for _line, found in _read_objects(file_path, encoding, name):
        columns.update(dict.fromkeys(map(str, found)))
    if not columns:
        raise ValueError(f"{name} holds no objects; write one object with the columns as keys on each line")
    return JsonTable(path=path, name=name, columns=tuple(columns), file_path=file_path, encoding=encoding)


def _read_objects(path: Path, encoding: str, name: str) -> Iterator[tuple[int, dict]]:
    with path.open(encoding=encoding, errors="replace") as lines:
        if lines.read(64).lstrip("\ufeff \r\n\t").startswith("["):
            lines.seek(0)
            yield from enumerate(_parse_list(lines.read(), name), 1)
            return
        lines.seek(0)
        for number, line in enumerate(lines, 1):
            text = line.strip().lstrip("\ufeff")
            if not text:
                continue
            if (found := _parse_object(text)) is None:
                raise ValueError(f"{name}, line {number}: not a JSON object; write one object on each line")
            yield number, found


def _parse_object(text: str) -> dict | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _parse_list(text: str, name: str) -> list[dict]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{name} is not complete JSON; {DAMAGED}") from None
    if not all(isinstance(entry, dict) for entry in found):
        raise ValueError(f"{name} is a list of other things than objects; a table is a list of objects")
    return found


def _format_value(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value).strip()
