"""A table that was opened: its columns, its rows with their line numbers, and the same as a polars frame."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from linnaea.standards.table_reading.column_names import find_column, list_columns

logger = logging.getLogger(__name__)

ROWS_A_BLOCK = 50_000


class TableRow(NamedTuple):
    """A row of a table: the number of its line (of a workbook, of its row), and its cells by column."""

    line: int
    cells: dict[str, str]


@dataclass(kw_only=True)
class Table(ABC):
    """A table of text cells; a missing cell is "".

    `name` says in errors which table it is: the path, with the member of an archive.
    """

    path: Path
    name: str
    columns: tuple[str, ...]
    held: list = field(default_factory=list, repr=False)
    "temporary folders that live as long as the table"

    @abstractmethod
    def rows(self) -> Iterator[TableRow]:
        """Yield the rows that are not empty. Raise ValueError with the line for a row that does not fit."""

    def scan(self):
        """Return a polars LazyFrame of text with all columns, null or "" where a cell is empty."""
        import polars as pl

        schema = dict.fromkeys(self.columns, pl.String)
        blocks = [pl.DataFrame(block, schema=schema, orient="row") for block in self._cut_blocks()]
        return pl.concat(blocks).lazy() if blocks else pl.LazyFrame(schema=schema)

    def collect(self, query: Callable | None = None):
        """Return the result of a query, a function from the LazyFrame of `scan` to another; without it, all of it.

        Raise ValueError if a damaged file ends it.
        """
        import polars as pl

        frame = self.scan()
        try:
            return (frame if query is None else query(frame)).collect(engine="streaming")
        except (pl.exceptions.PolarsError, OSError):
            if self.prepare_careful_scan():
                return self.collect(query)
            raise ValueError(f"{self.name} cannot be read to its end; the file is damaged, get it again") from None

    def prepare_careful_scan(self) -> bool:
        """Make the next `scan` one that takes longer and reads more, after one that failed; False if there is none."""
        return False

    def frame(self):
        """Return a polars DataFrame of text with all columns."""
        return self.collect()

    def _cut_blocks(self) -> Iterator[list[tuple[str, ...]]]:
        block: list[tuple[str, ...]] = []
        for row in self.rows():
            block.append(tuple(row.cells.values()))
            if len(block) == ROWS_A_BLOCK:
                yield block
                block = []
        if block:
            yield block

    def find(self, *wanted: str) -> str | None:
        """Return the first of the wanted columns, in whatever spelling the table has it; None without any."""
        return find_column(self.columns, *wanted)

    def require(self, *wanted: str, what: str = "") -> str:
        """Return the first of the wanted columns. Raise ValueError if the table has none of them."""
        found = self.find(*wanted)
        if found is None:
            raise ValueError(
                f"{self.name} has no column {what or ', '.join(wanted)}; it has {list_columns(self.columns)}"
            )
        return found

    def place(self, line: int) -> str:
        """Return how an error names a line of this table."""
        return f"{self.name}, line {line}"


def pad_rows(
    records: Iterable[tuple[int, Sequence[str]]], table: Table, remedy: str = "put a cell that holds the delimiter "
) -> Iterator[TableRow]:
    """Yield records as rows of the table: empty ones are left out, missing cells are "", empty cells too many too.

    Raise ValueError for a record with more cells than columns. Log how many records have too few cells.
    """
    columns = table.columns
    n_short, first_short = 0, 0
    for line, cells in records:
        if len(cells) != len(columns):
            if not any(cell.strip() for cell in cells):
                continue
            if any(cell.strip() for cell in cells[len(columns) :]):
                raise ValueError(
                    f"{table.place(line)}: {len(cells)} cells, but the heading row has {len(columns)} columns; {remedy}"
                )
            if len(cells) < len(columns):
                n_short, first_short = n_short + 1, first_short or line
        elif not any(cells):
            continue
        yield TableRow(line, dict.fromkeys(columns, "") | dict(zip(columns, (c.strip() for c in cells), strict=False)))
    if n_short:
        logger.warning(
            f"{table.name}: {n_short:,} rows have fewer cells than the heading row (the first in line {first_short}); "
            "their last columns are taken as empty"
        )


def rename_row(row: TableRow, names: Mapping[str, str]) -> TableRow:
    """Return the row with other column names: names[old] = new; columns that it does not name are kept."""
    return TableRow(row.line, {names.get(column, column): cell for column, cell in row.cells.items()})
