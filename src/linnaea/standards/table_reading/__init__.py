"""One reader for every table: `read_table(path)` gives its columns, its rows with line numbers, and a polars frame."""

from linnaea.standards.table_reading.column_names import find_column
from linnaea.standards.table_reading.decimal_numbers import cast_decimals, parse_decimal
from linnaea.standards.table_reading.reader import read_table
from linnaea.standards.table_reading.table import Table, TableRow

__all__ = ["Table", "TableRow", "cast_decimals", "find_column", "parse_decimal", "read_table"]
