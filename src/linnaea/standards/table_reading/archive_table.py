"""Tables in archives and folders: Darwin Core archives, GBIF's downloads, data packages, a zip around one table."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from linnaea.standards.table_reading.archive_descriptor import ArchiveDescriptor, ArchiveFile, read_descriptor
from linnaea.standards.table_reading.column_names import clean_header, make_key
from linnaea.standards.table_reading.columnar_table import open_parquet_table
from linnaea.standards.table_reading.packed_files import PackedFiles, iterate_parquet_parts
from linnaea.standards.table_reading.table import Table, TableRow
from linnaea.standards.table_reading.text_layout import TextLayout, encloses_cells, find_layout
from linnaea.standards.table_reading.text_table import TextTable, check_text, open_text_table, read_sample

logger = logging.getLogger(__name__)

# The column by which the core and the extensions of an archive belong together.
ID_COLUMN = "archive id"
DESCRIPTOR = "meta.xml"
PACKAGE = "datapackage.json"
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".psv")
# Names of files that hold a kind of record, where no descriptor says it.
STEMS = {
    "Occurrence": ("occurrence", "occurrences", "observations"),
    "Taxon": ("taxon", "taxa", "taxons", "taxonconcept"),
    "Event": ("event", "events"),
    "VernacularName": ("vernacularname", "vernacularnames", "vernacular"),
}
PLURALS = {"Occurrence": "occurrences", "Taxon": "taxa", "Event": "events"}
# Names of files that hold something about the records.
OTHER_STEMS = (
    "verbatim",
    "multimedia",
    "media",
    "citations",
    "rights",
    "images",
    "image",
    "identification",
    "readme",
    "description",
    "eml",
    *STEMS["Event"],
    *STEMS["VernacularName"],
)
# Where the records of a child table belong: the columns that both have, and the kind of the parent.
PARENT_KEYS = ("eventID", "deploymentID", "coreid")


@dataclass(kw_only=True)
class JoinedTable(Table):
    """Records with the columns of what they belong to: occurrences with place and date of their events."""

    child: Table
    parent: Table
    child_key: str
    parent_key: str

    @property
    def _added(self) -> list[str]:
        own = {make_key(column) for column in self.child.columns}
        return [column for column in self.parent.columns if make_key(column) not in own and column != self.parent_key]

    def rows(self) -> Iterator[TableRow]:
        added = self._added
        parents = {
            row.cells[self.parent_key]: {column: row.cells[column] for column in added} for row in self.parent.rows()
        }
        nothing = dict.fromkeys(added, "")
        for row in self.child.rows():
            yield TableRow(row.line, row.cells | parents.get(row.cells[self.child_key], nothing))

    def scan(self):
        import polars as pl

        parents = self.parent.scan().select(pl.col(self.parent_key).alias("parent key"), *self._added)
        parents = parents.unique("parent key", keep="first")
        return self.child.scan().join(parents, left_on=self.child_key, right_on="parent key", how="left")


def join_tables(child: Table, parent: Table, child_key: str, parent_key: str) -> JoinedTable:
    """Return the rows of `child`, each with the columns of its row in `parent` that it lacks itself."""
    joined = JoinedTable(
        path=child.path,
        name=child.name,
        columns=child.columns,
        held=[*child.held, *parent.held],
        child=child,
        parent=parent,
        child_key=child_key,
        parent_key=parent_key,
    )
    joined.columns = (*child.columns, *joined._added)
    return joined


def open_archive_table(packed: PackedFiles, name: str, row_types: Sequence[str]) -> Table:
    """Return the first table of a wanted kind in an archive or folder; without `row_types`, its main table.

    Raise ValueError that lists what it holds if there is none.
    """
    table = _find_table(packed, name, row_types)
    table.held += packed.held
    return table


def _find_table(packed: PackedFiles, name: str, row_types: Sequence[str]) -> Table:
    # A descriptor in a folder of its own is usual; of several the one nearest to the root counts.
    depth = sorted(packed.members, key=lambda member: (member.count("/"), member))
    descriptor = next((member for member in depth if PurePosixPath(member).name.lower() == DESCRIPTOR), None)
    package = next((member for member in depth if PurePosixPath(member).name.lower() == PACKAGE), None)
    if descriptor is not None:
        try:
            described = read_descriptor(packed.unpack(descriptor), packed.name(descriptor))
        except ValueError as error:
            if not _list_candidates(packed, row_types):
                raise
            logger.warning(f"{error}; its tables are read without it")
        else:
            return _open_described(packed, name, described, str(PurePosixPath(descriptor).parent), row_types)
    if package is not None:
        return _open_resource(packed, name, package, row_types)
    if parts := sorted(iterate_parquet_parts(packed)):
        return open_parquet_table(packed.path, name, [packed.unpack(part) for part in parts])
    return _open_undescribed(packed, name, row_types)


# --- Darwin Core archives


def _open_described(
    packed: PackedFiles, name: str, described: ArchiveDescriptor, folder: str, row_types: Sequence[str]
) -> Table:
    files = [described.find(row_type) for row_type in row_types] if row_types else [described.core]
    chosen = next((file for file in files if file is not None), None)
    if chosen is None:
        held = ", ".join(file.row_type for file in (described.core, *described.extensions))
        raise ValueError(f"{name} holds {held}, but no {_describe(row_types)}")
    table = _open_archive_file(packed, chosen, folder)
    unread = [file.row_type for file in (described.core, *described.extensions) if file is not chosen]
    if chosen is not described.core:
        core = _open_archive_file(packed, described.core, folder)
        unread.remove(described.core.row_type)
        table = join_tables(table, core, _key_column(table), _key_column(core))
    if unread:
        logger.info(f"{name}: {chosen.row_type} is read, not its tables of {', '.join(unread)}")
    return table


def _key_column(table: Table) -> str:
    """The column by which core and extensions of an archive belong together."""
    return ID_COLUMN if ID_COLUMN in table.columns else table.columns[0]


def _open_archive_file(packed: PackedFiles, file: ArchiveFile, folder: str) -> TextTable:
    prefix = "" if folder == "." else f"{folder}/"
    by_lower = {member.lower(): member for member in packed.members}
    members = []
    for location in file.locations:
        member = by_lower.get(f"{prefix}{location}".lower())
        if member is None:
            raise ValueError(
                f"{packed.path}: its {DESCRIPTOR} names the file {location}, which is not there; get the archive again"
            )
        members.append(member)
    paths = [packed.unpack(member) for member in members]
    names = [packed.name(member) for member in members]
    encodings = [_choose_encoding(check_text(path, own), file) for path, own in zip(paths, names, strict=True)]
    layout = _make_layout(paths[0], encodings[0], file)
    return TextTable(
        path=packed.path,
        name=names[0],
        columns=layout.columns,
        layout=layout,
        file_paths=paths,
        encodings=encodings,
        file_names=names,
    )


def _choose_encoding(found: str, file: ArchiveFile) -> str:
    """The encoding that the bytes show; the declared one decides only between those of one byte a letter."""
    if found in ("cp1252", "latin-1") and file.encoding.lower().replace("_", "-") not in ("utf-8", "utf8", "utf-16"):
        try:
            b"".decode(file.encoding)
        except LookupError:
            return found
        return file.encoding
    return found


def _make_layout(path: Path, encoding: str, file: ArchiveFile) -> TextLayout:
    """The declared layout, corrected where the file plainly has another: a delimiter that is nowhere, quoted cells."""
    lines, _is_whole = read_sample(path, encoding)
    body = [line for line in lines[file.n_header_lines :] if line.strip()]
    delimiter = _choose_delimiter(body, file)
    columns: list[tuple[str, int, str]] = [(term, index, default) for index, term, default in file.terms]
    if file.id_index >= 0:
        columns.append((ID_COLUMN, file.id_index, ""))
    return TextLayout(
        delimiter=delimiter,
        quote=_choose_quote(body, delimiter, file),
        columns=clean_header([column for column, _index, _default in columns]),
        n_header_lines=file.n_header_lines,
        positions=tuple(index for _column, index, _default in columns),
        defaults=tuple(default for _column, _index, default in columns),
        n_cells=max([file.width, *(line.count(delimiter) + 1 for line in body[:20] if '"' not in line)]),
    )


def _choose_delimiter(body: list[str], file: ArchiveFile) -> str:
    """The declared delimiter, unless it is not one character or the file does not have it."""
    declared = file.delimiter
    if len(declared) == 1 and (not body or declared in body[0] or file.width == 1):
        return declared
    found = find_layout(body) if body else None
    return (found.delimiter if found is not None else "") or declared[:1] or ","


def _choose_quote(body: list[str], delimiter: str, file: ArchiveFile) -> str:
    """The declared mark or the usual one, if it encloses cells; otherwise ""."""
    marks = [mark for mark in dict.fromkeys((file.quote, '"')) if len(mark) == 1]
    return next((mark for mark in marks if encloses_cells(body, delimiter, mark)), "")


# --- Data packages


def _open_resource(packed: PackedFiles, name: str, package: str, row_types: Sequence[str]) -> Table:
    """The table of a resource in datapackage.json, joined with what its records belong to."""
    try:
        content = json.loads(packed.unpack(package).read_text(encoding="utf-8-sig"))
        resources = {
            str(resource["name"]): _list_paths(resource) for resource in content["resources"] if "path" in resource
        }
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{packed.name(package)} does not list its resources; it must follow the Data Package standard"
        ) from None
    prefix = str(PurePosixPath(package).parent)
    prefix = "" if prefix == "." else f"{prefix}/"
    chosen = _choose_resource(resources, row_types)
    if chosen is None:
        raise ValueError(f"{name} holds {', '.join(resources)}, but no table of {_describe(row_types)}")
    table = _open_resource_file(packed, prefix, resources[chosen])
    for key in PARENT_KEYS:
        parents = {"eventID": STEMS["Event"], "deploymentID": ("deployments", "deployment")}.get(key, ())
        parent = next((resource for resource in resources if resource.lower() in parents), None)
        if parent is not None and parent != chosen and (own := table.find(key)) is not None:
            other = _open_resource_file(packed, prefix, resources[parent])
            if (parent_key := other.find(key)) is not None:
                return join_tables(table, other, own, parent_key)
    return table


def _list_paths(resource: dict) -> list[str]:
    paths = resource["path"]
    return [paths] if isinstance(paths, str) else [str(path) for path in paths]


def _choose_resource(resources: dict[str, list[str]], row_types: Sequence[str]) -> str | None:
    if not row_types:
        return next(iter(resources), None)
    stems = [stem for row_type in row_types for stem in STEMS.get(row_type, (row_type.lower(),))]
    return next((resource for stem in stems for resource in resources if resource.lower() == stem), None)


def _open_resource_file(packed: PackedFiles, prefix: str, paths: list[str]) -> Table:
    members = [f"{prefix}{path.removeprefix('./')}" for path in paths]
    for member in members:
        if member not in packed.members:
            raise ValueError(
                f"{packed.path}: its {PACKAGE} names the file {member}, which is not there; get the package again"
            )
    if all(member.lower().endswith(".parquet") for member in members):
        return open_parquet_table(packed.path, packed.name(members[0]), [packed.unpack(member) for member in members])
    return _open_member(packed, members[0])


# --- Archives and folders without a descriptor


def _open_undescribed(packed: PackedFiles, name: str, row_types: Sequence[str]) -> Table:
    """The table whose name says that it holds the wanted records, else the largest that holds nothing else."""
    chosen = _list_candidates(packed, row_types)
    if not chosen:
        held = ", ".join(list(packed.members)[:5]) or "nothing"
        what = f"of {_describe(row_types)}" if row_types else "as CSV, TSV or Parquet"
        raise ValueError(f"{name} holds no table {what} (it holds {held})")
    return _open_member(packed, chosen[0])


def _list_candidates(packed: PackedFiles, row_types: Sequence[str]) -> list[str]:
    """The members that may be the wanted table, the likeliest first."""
    tables = [
        member
        for member in packed.members
        if PurePosixPath(member).suffix.lower() in TABLE_SUFFIXES and packed.sizes[member]
    ]
    stems = [stem for row_type in row_types for stem in STEMS.get(row_type, ())]
    known = {stem for own in STEMS.values() for stem in own} - set(stems) if row_types else set()
    named = [member for member in tables if _stem(member) in stems]
    others = [member for member in tables if _stem(member) not in OTHER_STEMS and _stem(member) not in known]
    return named or sorted(others, key=lambda member: -packed.sizes[member])


def _describe(row_types: Sequence[str]) -> str:
    return " or ".join(PLURALS.get(row_type, row_type) for row_type in row_types)


def _stem(member: str) -> str:
    return PurePosixPath(member).stem.lower()


def _open_member(packed: PackedFiles, member: str) -> Table:
    table = open_text_table(packed.unpack(member), packed.name(member))
    return replace(table, path=packed.path)
