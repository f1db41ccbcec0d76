"""Writes the table of a scenario's keys into a document again: `python -m linnaea.twin.reference docs/twin.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from linnaea.twin.scenario import schema_table

BEGIN, END = "<!-- schema -->\n", "<!-- /schema -->"


def fill(text: str) -> str:
    """The document with the present table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the document lacks the marks {BEGIN.strip()} and {END}; write them where the table belongs")
    return before + BEGIN + schema_table() + END + after


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(fill(path.read_text(encoding="utf-8")), encoding="utf-8")
