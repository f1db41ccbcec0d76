"""Tables in workbooks: .xlsx, .xls, .xlsb and .ods, read with python-calamine."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from linnaea.standards.table_reading.column_names import clean_header
from linnaea.standards.table_reading.table import Table, TableRow, pad_rows

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class WorkbookTable(Table):
    """A sheet of a workbook. Its lines are the rows that the program for spreadsheets shows."""

    records: list[tuple[int, list[str]]]

    def rows(self) -> Iterator[TableRow]:
        return pad_rows(self.records, self, "give every column that is used a heading")


def open_workbook_table(path: Path, name: str, sheet: str = "") -> WorkbookTable:
    """Return a sheet of a workbook as a table: the first with cells, or the named one.

    Raise ValueError for a file that is no workbook, is protected, or has no cells.
    """
    sheets = _read_sheets(path, name)
    filled = [(title, records) for title, records in sheets if records and sheet in ("", title)]
    if not filled:
        raise ValueError(f"{name} has no cells{f' in a sheet {sheet!r}' if sheet else ''}; it needs a heading row")
    title, records = filled[0]
    others = [other for other, cells in filled[1:] if len(cells) > 1]
    if others:
        logger.warning(f"{name}: only the sheet {title!r} is read, not {', '.join(map(repr, others))}")
    skipped = next((at for at, (_line, cells) in enumerate(records) if not cells[0].startswith("#")), 0)
    header = records[skipped][1]
    while len(header) > 1 and not header[-1]:
        header.pop()
    return WorkbookTable(
        path=path, name=name, columns=clean_header(header), records=[*_drop_comments(records[skipped + 1 :])]
    )


def _drop_comments(records: list[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    return ((line, cells) for line, cells in records if not (cells[0].startswith("#") and not any(cells[1:])))


def _read_sheets(path: Path, name: str) -> list[tuple[str, list[tuple[int, list[str]]]]]:
    """The filled rows of each visible sheet, with their numbers."""
    import python_calamine

    try:
        with python_calamine.CalamineWorkbook.from_path(path) as workbook:
            visible = [
                about.name
                for about in workbook.sheets_metadata
                if about.typ == python_calamine.SheetTypeEnum.WorkSheet
                and about.visible == python_calamine.SheetVisibleEnum.Visible
            ]
            return [(title, _read_records(workbook.get_sheet_by_name(title))) for title in visible]
    except (python_calamine.CalamineError, OSError, ValueError):
        raise ValueError(
            f"{name} cannot be opened as a workbook; it is damaged or protected by a password: open it and save it as "
            "CSV or without the password"
        ) from None


def _read_records(sheet) -> list[tuple[int, list[str]]]:
    rows = ((number, [format_cell(cell) for cell in row]) for number, row in enumerate(sheet.to_python(False), 1))
    return [(number, cells) for number, cells in rows if any(cells)]


def format_cell(value: object) -> str:
    """Return a cell as text: 5.0 as "5", a date as ISO 8601."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value).strip()
