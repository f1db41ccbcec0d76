"""Writer of the last part of docs/training.md, the fields of a CLIP recipe as Markdown tables. `make docs` calls it.

python -m linnaea.train.commands.docs_writer docs/training.md
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from linnaea.options import field_help
from linnaea.store import atomic_path
from linnaea.train.clip.config import ClipConfig, SamplesConfig
from linnaea.train.data.augmentation import AugmentConfig

HEADING = "## Every field of a recipe"
PARTS = {
    "": (ClipConfig, "Fields of the recipe:"),
    "organisms.": (SamplesConfig, "Fields of `organisms`, and of `replay` if it is given:"),
    "crop.": (AugmentConfig, "Fields of `crop`:"),
}


def format_default(field: dataclasses.Field) -> str:
    """Format the default of a field for reading; "required" if it has none."""
    if field.default is dataclasses.MISSING:
        return "required" if field.default_factory is dataclasses.MISSING else "see below"
    value = field.default
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None or value == () or value == "":
        return "none"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_tables() -> str:
    """Return the last part of the document, from its heading."""
    lines = [HEADING, "", "`make docs` writes these tables from the code; a test checks that they are current."]
    for prefix, (owner, about) in PARTS.items():
        lines += ["", about, "", "| option | default | meaning |", "| --- | --- | --- |"]
        help_texts = field_help(owner)
        for field in dataclasses.fields(owner):
            is_part = any(part == f"{field.name}." for part in PARTS) or field.name == "replay"
            name = field.name if is_part else f"--{prefix}{field.name}".replace("_", "-")
            help_text = help_texts[field.name].replace("|", "\\|")
            lines.append(f"| `{name}` | {format_default(field)} | {help_text} |")
    return "\n".join(lines) + "\n"


def rewrite(document: str) -> str:
    """Return the document with its last part written again. Raise ValueError if it lacks the heading."""
    before, heading, _ = document.partition(HEADING)
    if not heading:
        raise ValueError(f"the document has no line {HEADING!r}; add it where the tables begin")
    return before + write_tables()


def main(argv: list[str]) -> int:
    """Rewrite the document that `argv` names; exit code 0."""
    path = Path(argv[0])
    rewritten = rewrite(path.read_text(encoding="utf-8"))
    with atomic_path(path) as temporary:
        temporary.write_text(rewritten, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
