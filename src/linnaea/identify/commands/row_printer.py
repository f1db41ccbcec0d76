"""Rows on stdout as they come."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable

from linnaea.identify.output.terminal_table import TerminalTable
from linnaea.records import PREDICTION_COLUMNS, Prediction, make_prediction_row
from linnaea.standards.tables import write_csv_rows


class RowPrinter:
    """Prints rows to stdout, CSV or an aligned table, with the header before the first row."""

    def __init__(self, *, as_csv: bool):
        self._as_csv, self._table, self._has_header = as_csv, TerminalTable(), False
        # A terminal or a locale without UTF-8 must not end the run.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(**({"encoding": "utf-8"} if as_csv else {"errors": "replace"}))

    def print_rows(self, predictions: Iterable[Prediction]) -> None:
        """Print the rows and flush."""
        if self._as_csv:
            rows = map(make_prediction_row, predictions)
            write_csv_rows(sys.stdout, PREDICTION_COLUMNS, rows, header=not self._has_header)
        else:
            header = [] if self._has_header else [self._table.format_header()]
            print("\n".join(header + self._table.format_rows(predictions)))
        sys.stdout.flush()
        self._has_header = True
