"""Tables in text files: CSV, TSV and their relatives, in any usual encoding.

A small table is parsed row by row, and every row that does not fit is named. A large one (millions of records) is
scanned by polars with the layout of its first lines. If that fails, every line is checked and the scan repeated.
"""

from __future__ import annotations

import codecs
import csv
import io
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from linnaea.standards.table_reading.table import Table, TableRow, pad_rows
from linnaea.standards.table_reading.text_encoding import BLOCK_BYTES, find_encoding, read_blocks
from linnaea.standards.table_reading.text_layout import (
    LONGEST_CELL_LINES,
    TextLayout,
    encloses_cells,
    find_layout,
    split_records,
)

logger = logging.getLogger(__name__)

LARGE_BYTES = 1 << 24
SAMPLE_LETTERS = 1 << 20
REMEDY = "put a cell that holds the delimiter or a line break into quotation marks, and close every quotation mark"


@dataclass(kw_only=True)
class TextTable(Table):
    """A table in one text file, or in several with the same layout."""

    layout: TextLayout
    file_paths: list[Path]
    encodings: list[str]
    file_names: list[str] = field(default_factory=list)
    "how errors name each of the files, if there are several"
    careful: bool = False
    "whether `scan` takes lines of any length and any bytes"

    def rows(self) -> Iterator[TableRow]:
        for number, (path, encoding) in enumerate(zip(self.file_paths, self.encodings, strict=True)):
            name = self.file_names[number] if self.file_names else self.name
            yield from self._read_file(path, encoding, name)

    def _read_file(self, path: Path, encoding: str, name: str) -> Iterator[TableRow]:
        layout = self.layout
        part = self if name == self.name else _Named(path=self.path, name=name, columns=self.columns)
        with _open_text(path, encoding) as lines:
            for _skipped in range(layout.n_header_lines):
                lines.readline()
            records = ((line + layout.n_header_lines, cells) for line, cells in split_records(lines, layout))
            try:
                yield from pad_rows(self._select(records, part), part, REMEDY)
            except csv.Error:
                raise ValueError(f"{name} cannot be split into cells; {REMEDY}") from None

    def _select(self, records: Iterator[tuple[int, list[str]]], part: Table) -> Iterator[tuple[int, list[str]]]:
        """The records without comments, their cells in the order of the columns."""
        width = self.layout.width
        for line, cells in records:
            # A cell may begin with #; a line of another width that does is a comment.
            if cells and cells[0].startswith("#") and (len(cells) != width or width == 1):
                continue
            yield (line, self._pick(cells, part.place(line))) if self.layout.positions and any(cells) else (line, cells)

    def _pick(self, cells: list[str], place: str) -> list[str]:
        """The cells of the columns in a line that has others too, with the defaults of empty ones."""
        layout, width = self.layout, self.layout.width
        if any(cell.strip() for cell in cells[width:]):
            raise ValueError(f"{place}: {len(cells)} cells, but there are {width} columns; {REMEDY}")
        chosen = [cells[at] if 0 <= at < len(cells) else "" for at in layout.positions]
        defaults = layout.defaults or ("",) * len(chosen)
        return [cell if cell.strip() else default for cell, default in zip(chosen, defaults, strict=True)]

    def read_lines(self) -> Iterator[tuple[int, str]]:
        """Yield the lines of the first file as they are, with their numbers."""
        with _open_text(self.file_paths[0], self.encodings[0]) as lines:
            for number, line in enumerate(lines, 1):
                yield number, line.rstrip("\r\n").lstrip("\ufeff")

    def scan(self):
        layout = self.layout
        is_small = sum(path.stat().st_size for path in self.file_paths) < LARGE_BYTES
        if is_small or not layout.delimiter or layout.blank_delimited:
            return super().scan()
        import polars as pl

        files = zip(self.file_paths, self.encodings, strict=True)
        return pl.concat([self._scan_file(self._make_plain(path, encoding)) for path, encoding in files])

    def prepare_careful_scan(self) -> bool:
        if self.careful:
            return False
        self.careful = True
        self.encodings = [find_encoding(path, whole=True) or "utf-8" for path in self.file_paths]
        for path in self.file_paths:
            self._check_lines(path)
        return True

    def _make_plain(self, path: Path, encoding: str) -> Path:
        """The path of the file in UTF-8 with lines that end in a line feed, which is what polars reads."""
        if encoding in ("utf-8", "utf-8-sig") and not _has_old_line_ends(path):
            return path
        folder = tempfile.TemporaryDirectory()
        self.held.append(folder)
        plain = Path(folder.name) / "table.txt"
        # The universal line ends of the reader become line feeds.
        with path.open(encoding=encoding, errors="replace") as source, plain.open("w", encoding="utf-8") as target:
            while block := source.read(BLOCK_BYTES):
                target.write(block)
        return plain

    def _scan_file(self, path: Path):
        import polars as pl

        layout = self.layout
        positions = layout.positions or tuple(range(len(self.columns)))
        frame = pl.scan_csv(
            path,
            separator=layout.delimiter,
            quote_char=layout.quote or None,
            has_header=False,
            skip_lines=layout.n_header_lines,
            schema={f"{at}": pl.String for at in range(layout.width)},
            encoding="utf8-lossy" if self.careful else "utf8",
            truncate_ragged_lines=self.careful,
        )
        cells = []
        defaults = layout.defaults or ("",) * len(positions)
        for column, at, default in zip(self.columns, positions, defaults, strict=True):
            cell = pl.col(f"{at}") if at >= 0 else pl.lit(default)
            cells.append((cell.fill_null(default) if default and at >= 0 else cell).alias(column))
        return frame.select(cells)

    def _check_lines(self, path: Path) -> None:
        """Log a warning if lines have too many or too few cells, and raise ValueError for a mark that is not closed."""
        if quote := self.layout.quote.encode():
            if sum(block.count(quote) for block in read_blocks(path)) % 2:
                raise ValueError(f"{self.name}: a quotation mark is opened and never closed; close it")
            return
        mark, expected = self.layout.delimiter.encode(), self.layout.width - 1
        n_ragged, first = 0, 0
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if number > self.layout.n_header_lines and line.strip() and line.count(mark) != expected:
                    n_ragged, first = n_ragged + 1, first or number
        if n_ragged:
            logger.warning(
                f"{self.name}: {n_ragged:,} lines do not have {expected + 1} cells (the first is line {first}); "
                "missing cells are taken as empty, cells too many are left out"
            )


@dataclass(kw_only=True)
class _Named(Table):
    """The name of one of several files, for errors."""

    def rows(self) -> Iterator[TableRow]:
        return iter(())


def _open_text(path: Path, encoding: str) -> io.TextIOWrapper:
    return path.open(encoding=encoding, errors="replace", newline="")


def _has_old_line_ends(path: Path) -> bool:
    """Whether lines end in a carriage return alone, as old programs on the Macintosh write them."""
    with path.open("rb") as handle:
        head = handle.read(SAMPLE_LETTERS)
    return b"\n" not in head and b"\r" in head


def read_sample(path: Path, encoding: str) -> tuple[list[str], bool]:
    """Return the first lines of a text file, and whether they are all of it. The last one may be cut."""
    with _open_text(path, encoding) as handle:
        text = handle.read(SAMPLE_LETTERS)
        is_whole = not handle.read(1)
    lines = io.StringIO(text, newline="").readlines()
    return (lines if is_whole or len(lines) < 2 else lines[:-1]), is_whole


def check_text(path: Path, name: str) -> str:
    """Return the encoding of a text file. Raise ValueError if it is not text."""
    encoding = find_encoding(path)
    if not encoding:
        raise ValueError(f"{name} is not a table of text; save it as CSV, TSV or .xlsx")
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise ValueError(f"{name}: unknown encoding {encoding!r}; save it in UTF-8") from None
    return encoding


def open_text_table(path: Path, name: str) -> TextTable:
    """Return the table in a text file. Raise ValueError if it is empty or not text."""
    encoding = check_text(path, name)
    lines, is_whole = read_sample(path, encoding)
    layout = find_layout(lines if is_whole else _close_last_cell(lines))
    if layout is None:
        raise ValueError(f"{name} is empty; a table needs a heading row and rows below it")
    if layout.quote and not is_whole and path.stat().st_size < LARGE_BYTES:
        with _open_text(path, encoding) as whole:
            if not encloses_cells(whole.readlines(), layout.delimiter):
                raise ValueError(f"{name}: a quotation mark is opened and never closed; {REMEDY}")
    return TextTable(
        path=path, name=name, columns=layout.columns, layout=layout, file_paths=[path], encodings=[encoding]
    )


def _close_last_cell(lines: list[str]) -> list[str]:
    """The lines up to the last one after which no quoted cell is open, if there is one near the end."""
    n_marks = 0
    last = len(lines)
    for number, line in enumerate(lines, 1):
        n_marks += line.count('"')
        if n_marks % 2 == 0:
            last = number
    return lines[:last] if len(lines) - last <= LONGEST_CELL_LINES else lines
