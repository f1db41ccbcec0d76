"""Writes the tables of a scenario's and of a world's keys into a document again: `python -m linnaea.twin.commands.docs_writer docs/twin.md`."""

from __future__ import annotations

import math
import sys
from dataclasses import MISSING, Field, fields
from pathlib import Path

from linnaea.options import field_help
from linnaea.twin.data.landscape import Landscape
from linnaea.twin.data.world_file import TOP_KEYS
from linnaea.twin.data.world_settings import Animal, Food, Ground, Settings
from linnaea.twin.scenarios.scenario_file import format_schema

TABLES = {"ground": Ground, "landscape": Landscape, "settings": Settings, "foods.NAME": Food, "animals.NAME": Animal}


def make_world_table() -> str:
    """What a world's file may hold, as Markdown; made from the classes."""
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
        every = len(value) > 2 and len(set(value)) == 1
        return f"{len(value)} times {value[0]:g}" if every else ", ".join(f"{v:g}" for v in value) or "none"
    if isinstance(value, float) and math.isnan(value):
        return "computed"
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else f"{value}" or "none"


MARKED = {"schema": format_schema, "keys": make_world_table}


def fill_tables(text: str) -> str:
    """The document with the present tables between their marks."""
    for name, table in MARKED.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(
                f"the document lacks the marks {begin.strip()} and {end}; write them where the table belongs"
            )
        text = before + begin + table() + end + after
    return text


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(fill_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
