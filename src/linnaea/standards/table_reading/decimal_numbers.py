"""Numbers in the cells of tables: decimal point or comma, any minus sign."""

from __future__ import annotations

import math
import re

DECIMAL_COMMA = r"^\s*([+-]?\d+),(\d+)\s*$"
MINUS_SIGNS = "−–‒"


def parse_decimal(text: str) -> float:
    """Return the number in a cell, nan for an empty cell or other text; "30,1" and "30.1" are the same."""
    text = text.strip()
    for sign in MINUS_SIGNS:
        text = text.replace(sign, "-")
    try:
        return float(re.sub(DECIMAL_COMMA, r"\1.\2", text)) if text else math.nan
    except ValueError:
        return math.nan


def cast_decimals(column):
    """Return a polars expression: the numbers in a column of text, null where a cell holds none."""
    import polars as pl

    return column.map_batches(_cast_series, return_dtype=pl.Float64, is_elementwise=True)


def _cast_series(text):
    """The numbers in a polars series. Only if a cell is no plain number are the other spellings tried, at a cost."""
    import polars as pl

    plain = text.cast(pl.Float64, strict=False)
    if plain.null_count() == text.null_count():
        return plain
    text = text.str.replace_all(f"[{MINUS_SIGNS}]", "-").str.strip_chars()
    return text.str.replace(DECIMAL_COMMA, "${1}.${2}").cast(pl.Float64, strict=False)
