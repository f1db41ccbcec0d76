"""Lists of names in files: one name on each line, or the column of names of any table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from linnaea.standards.table_reading import Table, read_table
from linnaea.standards.table_reading.column_names import list_columns
from linnaea.standards.table_reading.text_table import TextTable

NAME_COLUMNS = ("scientificName", "species", "canonicalName", "name", "taxon", "vernacularName")
# The name of a table says that it has columns, even if none is known.
TABLE_SUFFIXES = (".csv", ".tsv", ".tab")


class ListedName(NamedTuple):
    """A name and the line of its file."""

    name: str
    line: int


def read_name_list(path: Path, columns: Sequence[str] = NAME_COLUMNS) -> list[ListedName]:
    """Return the names in a file, in order, each once.

    A text file with one name on each line (# starts a comment), or a table in any format that `read_table` reads; of
    its columns the first of `columns` that a row fills counts. Raise FileNotFoundError if there is no file, ValueError
    if a table has no column of names.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no list of names {str(path)!r}")
    if path.is_file() and not path.stat().st_size:
        return []
    table = read_table(path, row_types=("Taxon", "Occurrence"), what="list of names")
    found = list(dict.fromkeys(own for column in columns if (own := table.find(column)) is not None))
    if found:
        names = _read_columns(table, found)
    elif len(table.columns) == 1 or _is_plain_list(table):
        names = _read_lines(table)
    else:
        raise ValueError(
            f"{table.name} has no column scientificName, species or name; it has {list_columns(table.columns)}"
        )
    first: dict[str, ListedName] = {}
    for listed in names:
        first.setdefault(listed.name, listed)
    return list(first.values())


def _is_plain_list(table: Table) -> bool:
    """Whether the lines of a text are names, some of which hold a comma ("Parus major Linnaeus, 1758")."""
    return isinstance(table, TextTable) and table.path.suffix.lower() not in TABLE_SUFFIXES


def _read_columns(table: Table, columns: Sequence[str]) -> Iterator[ListedName]:
    for row in table.rows():
        name = next((row.cells[column] for column in columns if row.cells[column]), "")
        if name:
            yield ListedName(" ".join(name.split()), row.line)


def _read_lines(table: Table) -> Iterator[ListedName]:
    """The lines of a list, the first one too, because it is no heading."""
    if isinstance(table, TextTable):
        lines = table.read_lines()
    else:
        heading = iter([(1, table.columns[0])])
        lines = [*heading, *((row.line, row.cells[table.columns[0]]) for row in table.rows())]
    for number, line in lines:
        name = re.sub(r"[,;\s]+$", "", line.split("#")[0].strip().strip('"'))
        if name:
            yield ListedName(" ".join(name.split()), number)
