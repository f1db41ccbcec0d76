"""The layout of a text table, found from its first lines: delimiter, quoting, heading row, row names."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from linnaea.standards.table_reading.column_names import clean_header

DELIMITERS = ("\t", ";", "|", ",")
# Excel's first line for a delimiter that differs from the country's.
EXCEL_DELIMITER = re.compile(r"^\"?sep=(.)\"?\s*$", re.IGNORECASE)
SAMPLE_RECORDS = 200
# A quoted cell does not span more lines; a mark that is open for longer is part of a text.
LONGEST_CELL_LINES = 500
# A cell may hold the outline of a country.
MOST_LETTERS = 1 << 30


@dataclass(frozen=True, kw_only=True)
class TextLayout:
    """How the lines of a text table become cells."""

    delimiter: str
    "one character; empty for a table of one column, whose lines are cells"
    quote: str
    "the mark that encloses cells; empty if none does"
    columns: tuple[str, ...]
    n_header_lines: int
    "lines up to the end of the heading row"
    positions: tuple[int, ...] = ()
    "the index of each column in a line; empty for 0, 1, 2, …"
    defaults: tuple[str, ...] = ()
    "what an empty cell of each column stands for; empty for no such values"
    blank_delimited: bool = False
    "whether any number of blanks separates cells, as in R's write.table"
    n_cells: int = 0
    "cells of a line, if the table has more than its named columns"

    @property
    def width(self) -> int:
        """The number of cells in a complete line."""
        return self.n_cells or len(self.columns)


def split_records(lines: Iterable[str], layout: TextLayout) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each record and the number of its first line, counted from 1."""
    if not layout.delimiter:
        for number, line in enumerate(lines, 1):
            yield number, [_unquote(line.rstrip("\r\n"))]
        return
    csv.field_size_limit(MOST_LETTERS)
    reader = csv.reader(
        (line.replace("\0", "") for line in lines),
        delimiter=layout.delimiter,
        quotechar=layout.quote or None,
        quoting=csv.QUOTE_MINIMAL if layout.quote else csv.QUOTE_NONE,
        skipinitialspace=layout.blank_delimited,
    )
    before = 0
    for cells in reader:
        yield before + 1, cells
        before = reader.line_num


def _unquote(cell: str) -> str:
    cell = cell.strip()
    if len(cell) > 1 and cell[0] == cell[-1] == '"':
        return cell[1:-1].replace('""', '"')
    return cell


def find_layout(lines: Sequence[str]) -> TextLayout | None:
    """Return the layout of a table whose first lines are given; None if there is nothing but comments and blanks.

    The delimiter is the one by which most lines have as many cells as the heading row. Lines of comments (#) may stand
    before the heading row.
    """
    skipped, forced = _count_preface(lines)
    body = [line for line in lines[skipped:] if line.strip()]
    if not body:
        return None
    layouts = [layout for mark in ([forced] if forced else DELIMITERS) for layout in _try_delimiter(body, mark)]
    scored = [(score, layout) for layout in layouts if (score := _score(body, layout)) > 0]
    if not scored and '"' in body[0]:
        blanks = TextLayout(delimiter=" ", quote='"', columns=(), n_header_lines=0, blank_delimited=True)
        scored = [(score, blanks) for score in [_score(body, blanks)] if score > 0]
    # max keeps the first of equals, and DELIMITERS are in the order of preference.
    best = max(scored, key=lambda pair: pair[0])[1] if scored else None
    if best is None:
        best = TextLayout(delimiter="", quote="", columns=(), n_header_lines=0)
    return read_header(lines, best, skipped)


def read_header(lines: Sequence[str], layout: TextLayout, skipped: int) -> TextLayout:
    """Return the layout with the columns of the first record after `skipped` lines."""
    records = split_records(lines[skipped:], layout)
    number, header = next((number, cells) for number, cells in records if any(cell.strip() for cell in cells))
    following = [cells for _number, cells in _take(records, SAMPLE_RECORDS) if any(cell.strip() for cell in cells)]
    next_line = next((start for start, _cells in split_records(lines[skipped:], layout) if start > number), None)
    end = skipped + (next_line - 1 if next_line else len(lines) - skipped)
    header = [cell.strip() for cell in header]
    widths = {len(cells) for cells in following}
    if widths == {len(header) + 1} and any(cells[-1].strip() for cells in following):
        # R's write.table gives no name to the column of row names.
        header = ["row", *header]
    columns = clean_header(header)
    return replace(layout, columns=columns, n_header_lines=end)


def _take(records: Iterator, count: int) -> Iterator:
    for _number, record in zip(range(count), records, strict=False):
        yield record


def _count_preface(lines: Sequence[str]) -> tuple[int, str]:
    """The number of lines before the heading row, and the delimiter that Excel's first line names, else ""."""
    for number, line in enumerate(lines):
        text = line.strip()
        if number == 0 and (named := EXCEL_DELIMITER.match(text.lstrip("\ufeff"))):
            return 1, named[1]
        if text and not text.startswith("#"):
            return number, ""
    return len(lines), ""


def _try_delimiter(body: Sequence[str], delimiter: str) -> list[TextLayout]:
    """The layouts with a delimiter that are worth a try; with quoting first if quotation marks enclose cells."""
    layout = TextLayout(delimiter=delimiter, quote='"', columns=(), n_header_lines=0)
    plain = replace(layout, quote="")
    has_quotes = any('"' in line for line in body)
    if not has_quotes:
        return [plain]
    return [layout] if encloses_cells(body, delimiter) else [plain]


def encloses_cells(lines: Sequence[str], delimiter: str, quote: str = '"') -> bool:
    """Return whether quotation marks enclose cells, so that every one that is opened is closed.

    GBIF's tables do not quote: a mark there is part of a name or of a remark.
    """
    opened, used, n_open_lines = False, False, 0
    for line in lines:
        at, text = 0, line.rstrip("\r\n")
        n_open_lines = n_open_lines + 1 if opened else 0
        if n_open_lines > LONGEST_CELL_LINES:
            return False
        while True:
            if opened:
                end = _find_end(text, at, quote)
                if end < 0:
                    break
                opened, at = False, end + 1
                if text[at:].strip() and not text[at:].lstrip(" ").startswith(delimiter):
                    return False
            start = _find_start(text, at, delimiter, quote)
            if start < 0:
                break
            opened, used, at = True, True, start + 1
    return used and not opened


def _find_start(text: str, at: int, delimiter: str, quote: str) -> int:
    """The index of the next mark that begins a cell at or after `at`; -1 if there is none."""
    if at == 0 and text.lstrip(" ").startswith(quote):
        return text.index(quote)
    found = re.compile(rf"{re.escape(delimiter)} *{re.escape(quote)}").search(text, at)
    return found.end() - 1 if found else -1


def _find_end(text: str, at: int, quote: str) -> int:
    """The index of the mark that ends a cell whose text begins at `at`; two marks in a row stand for one."""
    while (end := text.find(quote, at)) >= 0:
        if not text.startswith(2 * quote, end):
            return end
        at = end + 2
    return -1


def _score(body: Sequence[str], layout: TextLayout) -> float:
    """How well a layout fits the first records: 0 does not fit, 1 and more does."""
    try:
        widths = [len(cells) for _number, cells in _take(split_records(body, layout), SAMPLE_RECORDS)]
    except csv.Error:
        return 0.0
    header, others = widths[0], widths[1:]
    if header < 2:
        return 0.0
    if not others:
        return 1.0 + header / 1000
    usual, _count = Counter(others).most_common(1)[0]
    fitting = sum(width in (header, usual) for width in others) / len(others)
    same = usual in (header, header + 1)
    return (fitting + (1 if same else 0)) * (1 + header / 1000) if same or fitting > 0.5 else 0.01
