"""Rewrites the tables of a scenario's and of a world's keys in a document.

Run it as `python -m linnaea.twin.commands.docs_writer docs/twin.md`.
"""

from __future__ import annotations

import math
import sys
from dataclasses import MISSING, Field, fields
from pathlib import Path

from linnaea.options import field_help
from linnaea.store import atomic_path
from linnaea.twin.data.landscape import Landscape
from linnaea.twin.data.world_file import TOP_KEYS
from linnaea.twin.data.world_settings import Animal, Food, Ground, Settings
from linnaea.twin.scenarios.scenario_file import format_schema

TABLES = {"ground": Ground, "landscape": Landscape, "settings": Settings, "foods.NAME": Food, "animals.NAME": Animal}


def make_world_table() -> str:
    """Return the keys of a world's file as Markdown tables, made from the classes."""
    lines = ["| key | what |", "| --- | --- |", *[f"| `{key}` | {text} |" for key, text in TOP_KEYS.items()]]
    lines += ["", "| table | key | what | default |", "| --- | --- | --- | --- |"]
    for table, kind in TABLES.items():
        about = field_help(kind)
        lines += [f"| `{table}` | `{one.name}` | {about[one.name]} | {_format_default(one)} |" for one in fields(kind)]
    return "\n".join(lines) + "\n"


def _format_default(one: Field) -> str:
    if one.default_factory is not MISSING:
        return "none"
    value = one.default
    if value is MISSING:
        return "required"
    if isinstance(value, tuple):
        is_uniform = len(value) > 2 and len(set(value)) == 1
        return f"{len(value)} times {value[0]:g}" if is_uniform else ", ".join(f"{v:g}" for v in value) or "none"
    if isinstance(value, float) and math.isnan(value):
        return "computed"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value}" or "none"


MARKED = {"schema": format_schema, "keys": make_world_table}
"""name of a mark in the document -> the function that makes the table there"""


def fill_tables(text: str) -> str:
    """Return the document with the present tables between their marks. Raise ValueError if a mark is missing."""
    for name, make_table in MARKED.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(
                f"the document lacks the marks {begin.strip()} and {end}; write them where the table belongs"
            )
        text = before + begin + make_table() + end + after
    return text


if __name__ == "__main__":
    document_path = Path(sys.argv[1])
    filled = fill_tables(document_path.read_text(encoding="utf-8"))
    with atomic_path(document_path) as temporary_path:
        temporary_path.write_text(filled, encoding="utf-8")
