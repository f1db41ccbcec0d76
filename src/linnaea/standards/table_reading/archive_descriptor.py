"""The descriptor of a Darwin Core archive, meta.xml: which file is the core, how it is written, what its columns are.

https://dwc.tdwg.org/text/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from linnaea.standards.table_reading.text_encoding import find_encoding

ESCAPES = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\r\\n": "\r\n", "\\\\": "\\", "tab": "\t"}


@dataclass(frozen=True, kw_only=True)
class ArchiveFile:
    """The core or an extension of an archive."""

    row_type: str
    "the last part of its address: Occurrence, Taxon, Event …"
    locations: tuple[str, ...]
    delimiter: str
    "empty if the descriptor does not give it"
    quote: str
    encoding: str
    n_header_lines: int
    id_index: int
    terms: tuple[tuple[int, str, str], ...]
    "index (-1 for a constant), term, default"

    @property
    def width(self) -> int:
        """The least number of cells that a line must have."""
        return max([self.id_index, *(index for index, _term, _default in self.terms)]) + 1


@dataclass(frozen=True, kw_only=True)
class ArchiveDescriptor:
    """The core of an archive and its extensions."""

    core: ArchiveFile
    extensions: tuple[ArchiveFile, ...]

    def find(self, row_type: str) -> ArchiveFile | None:
        """Return the core or else the first extension with a row type, in any case of its letters."""
        files = (self.core, *self.extensions)
        return next((file for file in files if file.row_type.casefold() == row_type.casefold()), None)


def read_descriptor(path: Path, name: str) -> ArchiveDescriptor:
    """Return what meta.xml says. Raise ValueError if it is not the descriptor of a Darwin Core archive."""
    try:
        root = ElementTree.fromstring(_read_xml(path))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        line = getattr(error, "position", (0, 0))[0]
        place = f", line {line}" if line else ""
        raise ValueError(f"{name}{place}: not valid XML; ask the publisher for the archive again") from None
    children = [(_local(child.tag), child) for child in root]
    core = next((child for tag, child in children if tag == "core"), None)
    if _local(root.tag) != "archive" or core is None:
        raise ValueError(f"{name} describes no core; it is not the descriptor of a Darwin Core archive")
    return ArchiveDescriptor(
        core=_read_file(core, name),
        extensions=tuple(_read_file(child, name) for tag, child in children if tag == "extension"),
    )


def _read_xml(path: Path) -> bytes:
    """The descriptor in UTF-8, whatever encoding it has or claims."""
    encoding = find_encoding(path) or "utf-16"
    text = path.read_bytes().decode(encoding, errors="replace")
    return re.sub(r"^\s*<\?xml[^>]*\?>", "", text.lstrip("\ufeff")).encode()


def _local(tag: str) -> str:
    return tag.rpartition("}")[2].lower()


def _read_file(element: ElementTree.Element, name: str) -> ArchiveFile:
    locations: list[str] = []
    terms: list[tuple[int, str, str]] = []
    id_index = -1
    for child in element.iter():
        tag = _local(child.tag)
        if tag == "location" and (child.text or "").strip():
            locations.append(child.text.strip().replace("\\", "/").removeprefix("./").lstrip("/"))
        elif tag in ("id", "coreid"):
            id_index = _read_index(child, name)
        elif tag == "field":
            term = re.split(r"[/#]", child.get("term", "").rstrip("/#"))[-1]
            terms.append((_read_index(child, name), term, child.get("default", "")))
    if not locations:
        raise ValueError(f"{name} names no file for its {_local(element.tag)}; ask the publisher for the archive again")
    n_header_lines = element.get("ignoreHeaderLines", "0").strip() or "0"
    return ArchiveFile(
        row_type=re.split(r"[/#]", element.get("rowType", "").rstrip("/#"))[-1],
        locations=tuple(locations),
        delimiter=_unescape(element.get("fieldsTerminatedBy", "")),
        quote=element.get("fieldsEnclosedBy", '"'),
        encoding=element.get("encoding", "UTF-8"),
        n_header_lines=int(n_header_lines) if n_header_lines.isdigit() else 1 if n_header_lines == "true" else 0,
        id_index=id_index,
        terms=tuple(terms),
    )


def _read_index(element: ElementTree.Element, name: str) -> int:
    text = element.get("index", "").strip()
    if text and not text.isdigit():
        raise ValueError(f"{name}: index {text!r} must be a whole number from 0 up")
    return int(text) if text else -1


def _unescape(text: str) -> str:
    return ESCAPES.get(text.lower(), text)
