"""The fields of a two-tower recipe as Markdown: the last part of docs/training.md, which `make docs` writes again.

python -m linnaea.train.commands.docs_writer docs/training.md
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from linnaea.options import field_help
from linnaea.train.clip.recipe import ClipRecipe, SamplesConfig
from linnaea.train.data.augmentation import AugmentConfig

HEADING = "## Every field of a recipe"
PARTS = {
    "": (ClipRecipe, "Of the recipe:"),
    "organisms.": (SamplesConfig, "Of `organisms`, and of `replay` where it is given:"),
    "crop.": (AugmentConfig, "Of `crop`:"),
}


def default_of(field: dataclasses.Field) -> str:
    """A field's default as people read it; "required" where it has none."""
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


def reference() -> str:
    """The part of the document, from its heading on."""
    lines = [HEADING, "", "Made from the fields themselves by `make docs`; a test proves that it is current."]
    for prefix, (owner, about) in PARTS.items():
        lines += ["", about, "", "| option | default | what it says |", "| --- | --- | --- |"]
        help_texts = field_help(owner)
        for field in dataclasses.fields(owner):
            is_part = any(part == f"{field.name}." for part in PARTS) or field.name == "replay"
            name = field.name if is_part else f"--{prefix}{field.name}".replace("_", "-")
            help_text = help_texts[field.name].replace("|", "\\|")
            lines.append(f"| `{name}` | {default_of(field)} | {help_text} |")
    return "\n".join(lines) + "\n"


def rewrite(document: str) -> str:
    """The document with its last part made anew. ValueError where it has no such heading."""
    before, heading, _ = document.partition(HEADING)
    if not heading:
        raise ValueError(f"the document has no line {HEADING!r}; write it where the tables shall begin")
    return before + reference()


def main(argv: list[str]) -> int:
    """Writes a document again; exit code 0."""
    path = Path(argv[0])
    path.write_text(rewrite(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
