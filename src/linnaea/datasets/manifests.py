"""Tables that name what images show: CSV or Parquet, over image files or over tar shards.

Shape suffixes: p parts, n rows of the table or of a part.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from linnaea.datasets.group_ids import stable_id
from linnaea.datasets.samples import (
    NO_TEXT,
    NOTHING_ABOVE,
    TEMPLATE,
    RawSample,
    Reject,
)
from linnaea.datasets.webdataset import TarSource
from linnaea.records import RANKS
from linnaea.standards.table_reading import read_table
from linnaea.standards.table_reading.column_names import match_columns
from linnaea.store import hash_bytes
from linnaea.taxonomy.name_text import TEXT_TYPES, taxon_text

FILE_COLUMNS = ("file", "path", "image_path")
SHARD_COLUMNS = ("shard_file_path", "shard_filename")
KEY = "uuid"
SCIENTIFIC_COLUMNS = ("scientific_name", "scientific")
COMMON = "common"
COMMON_COLUMNS = (COMMON, "common_name")
NOT_IN_SHARD = "the shard has no such image"
ROWS_A_PART = 100_000


def read_image_table(path: Path, *, split: str = ""):
    """Read a table (see `read_table`) as a polars frame of text columns; with `split` only the rows with that value.

    Raises ValueError that names the fault if the file is not such a table.
    """
    import polars as pl

    wanted = {*RANKS, *FILE_COLUMNS, *SHARD_COLUMNS, KEY, *SCIENTIFIC_COLUMNS, *COMMON_COLUMNS, "split"}
    table = read_table(Path(path))
    names = match_columns(table.columns, wanted)
    columns = [names.get(own, own) for own in table.columns]
    check_columns(table.path.name, columns)
    frame = table.collect(lambda whole: whole.select(pl.col(own).alias(name) for own, name in names.items()))
    if split:
        if "split" not in frame.columns:
            found = ", ".join(columns)
            raise ValueError(
                f"{table.path.name} has no column split (it has {found}), so {split!r} cannot be chosen; "
                "add the column, or leave split empty"
            )
        frame = frame.filter(pl.col("split") == split)
        if frame.height == 0:
            raise ValueError(f"{table.path.name} has no row whose split is {split!r}; check its column split")
    return frame


def check_columns(name: str, columns: Sequence[str]) -> None:
    """Raise ValueError if a table has no column with the images, or none with their names."""
    found = ", ".join(columns) or "no column"
    if not any(column in columns for column in FILE_COLUMNS) and not (
        KEY in columns and any(column in columns for column in SHARD_COLUMNS)
    ):
        files, shards = " or ".join(FILE_COLUMNS), " or ".join(SHARD_COLUMNS)
        raise ValueError(
            f"{name} has neither a column of files ({files}) nor of shards ({shards}) with {KEY}; it has {found}; "
            "rename the column with the images"
        )
    if not any(column in columns for column in (*RANKS, *SCIENTIFIC_COLUMNS, *COMMON_COLUMNS)):
        known = ", ".join((*RANKS, *SCIENTIFIC_COLUMNS, *COMMON_COLUMNS))
        raise ValueError(
            f"{name} has no column of names ({known}); it has {found}; "
            "rename the column that names what the images show"
        )


class TableSource:
    """Samples whose texts come from the ranks and the common name in a table.

    See `linnaea.datasets.samples.SampleSource`. With a column `file` (or `path`, `image_path`) the images are files
    below `root_dir`, and each 100,000 rows are a part. Otherwise `shard_file_path` (or `shard_filename`) and `uuid`
    give the tar file below `root_dir` and the key of an image, and a part is a shard. Rows without any name are
    rejects; names without a rank above genus are notices. `shard_options` are passed to `TarSource`.
    """

    def __init__(self, frame, root_dir: Path, *, template: str = TEMPLATE, name: str = "table", **shard_options):
        self._root_dir, self._template, self._name = Path(root_dir), template, name
        self._file = next((column for column in FILE_COLUMNS if column in frame.columns), "")
        shard = next((column for column in SHARD_COLUMNS if column in frame.columns), "")
        check_columns(name, frame.columns)
        if frame.height == 0:
            raise ValueError(f"{name} has no rows; name a table with images")
        if self._file and shard_options.get("keep_truncated"):
            raise ValueError(f"{name} names files, but keep_truncated is for shards; leave keep_truncated out")
        self._key = self._file or KEY
        self.rejects, self.notices, self._tars = [], [], None
        kept = self._check_names(normalize_names(frame))
        self._keys = kept[self._key].fill_null("").to_list()
        self._names = kept.select(*RANKS, COMMON)
        if self._file:
            starts = range(0, kept.height, ROWS_A_PART)
            self._rows_p = [np.arange(start, min(start + ROWS_A_PART, kept.height)) for start in starts]
        else:
            self._rows_p = self._find_members(kept[shard].fill_null("").to_list(), shard_options)
        self.sizes_p = np.array([len(rows) for rows in self._rows_p], np.int64)
        self.fingerprint = self._compute_fingerprint(kept, shard)
        self._taxon_n = _number_taxa(kept)

    def _compute_fingerprint(self, kept, shard: str) -> str:
        """Hash the keys, names and shards of the kept rows, and the index of the shards."""
        whole = kept.select(_join_columns(self._key, *RANKS, COMMON, *([shard] if shard else [])))
        of_shards = self._tars.fingerprint if self._tars else ""
        return hash_bytes("\n".join(whole.to_series().to_list()), *map(str, self.sizes_p), of_shards)

    def _check_names(self, frame):
        """Return the rows with a name. The others become rejects, and names without a rank above genus notices."""
        import polars as pl

        named = pl.any_horizontal(pl.col(*RANKS, COMMON) != "")
        above = pl.any_horizontal(pl.col(*RANKS[:-2]) != "")
        for rows, found, reason in (
            (frame.filter(~named), self.rejects, NO_TEXT),
            (frame.filter(named & ~above), self.notices, NOTHING_ABOVE),
        ):
            found += [Reject(part=self._name, key=key or "", reason=reason) for key in rows[self._key].to_list()]
        return frame.filter(named)

    def _find_members(self, names: list[str], options: dict) -> list[np.ndarray]:
        """Return the kept rows of each shard. Rows whose image is not in its shard become rejects."""
        order = {name: part for part, name in enumerate(sorted(set(names)))}
        self._tars = TarSource([self._root_dir / name for name in order], **options)
        self.rejects += [reject for reject in self._tars.rejects if not reject.key]
        part_n, keys_n = np.array([order[name] for name in names]), np.array(self._keys, np.str_)
        self._member_n = np.full(len(keys_n), -1, np.int64)
        rows_p = []
        for part in range(len(order)):
            rows, member_of = np.flatnonzero(part_n == part), {key: at for at, key in enumerate(self._tars.keys(part))}
            self._member_n[rows] = [member_of.get(key, -1) for key in keys_n[rows]]
            found = self._member_n[rows] >= 0
            name = self._tars.paths[part].name
            self.rejects += [Reject(part=name, key=str(keys_n[row]), reason=NOT_IN_SHARD) for row in rows[~found]]
            rows_p.append(rows[found])
        return rows_p

    def part_name(self, part: int) -> str:
        """Name of a part: its shard, or the table."""
        return self._tars.paths[part].name if self._tars else self._name

    def taxa(self, part: int) -> np.ndarray:
        """An int64 [n] for the rows of a part, equal for equal lineages."""
        return self._taxon_n[self._rows_p[part]]

    def names(self, part: int, row: int) -> tuple[tuple[str, ...], str]:
        """Lineage and common name of a sample."""
        *lineage, common = self._names.row(int(self._rows_p[part][row]))
        return tuple(lineage), common

    def lineages(self) -> set[tuple[str, ...]]:
        """The lineages of the rows with a name."""
        return set(self._names.select(*RANKS).unique().iter_rows())

    def read(self, part: int, row: int, text_type: str) -> RawSample | Reject:
        """Read one sample with its text of the given type."""
        at = int(self._rows_p[part][row])
        key, (lineage, common) = self._keys[at], self.names(part, row)
        text = self._template.format(taxon_text(lineage, text_type, common) if any(lineage) else common)
        if self._tars is not None:
            data = self._tars.read_image(part, int(self._member_n[at]))
        else:
            try:
                data = (self._root_dir / key).read_bytes()
            except OSError as error:
                reason = f"the file cannot be read: {(error.strerror or str(error)).lower()}"
                data = Reject(part=self._name, key=key, reason=reason)
        return data if isinstance(data, Reject) else RawSample(key=key, data=data, text=text, lineage=lineage)


def _number_taxa(frame) -> np.ndarray:
    """Return an int64 [n] for the rows of a frame, equal for equal lineages."""
    lineages = frame.select(_join_columns(*RANKS)).to_series()
    number_of = {lineage: stable_id(lineage) for lineage in lineages.unique().to_list()}
    return np.array([number_of[lineage] for lineage in lineages.to_list()], np.int64)


def _join_columns(*columns: str):
    import polars as pl

    return pl.concat_str(columns, separator="\0", ignore_nulls=True).alias("joined")


def normalize_names(frame):
    """Return the frame with all seven ranks and `common` ("" where unknown), and with species as binomials.

    The genus is put before a bare epithet. If the species is missing, a scientific name that begins with the genus
    becomes the species; if all ranks are missing, any scientific name does.
    """
    import polars as pl

    def text(*columns: str):
        found = [pl.col(column).str.strip_chars().fill_null("") for column in columns if column in frame.columns]
        return found[0] if found else pl.lit("")

    frame = frame.with_columns(
        *(text(rank).alias(rank) for rank in RANKS),
        text(*COMMON_COLUMNS).alias(COMMON),
        text(*SCIENTIFIC_COLUMNS).alias("scientific"),
    )
    genus, species, scientific = pl.col("genus"), pl.col("species"), pl.col("scientific")
    of_genus = (genus != "") & scientific.str.starts_with(genus + " ")
    nothing = pl.all_horizontal(pl.col(*RANKS) == "")
    is_epithet = (species != "") & (genus != "") & ~species.str.contains(" ", literal=True)
    full = pl.when((species == "") & (of_genus | nothing)).then(scientific)
    full = full.when(is_epithet).then(genus + " " + species)
    return frame.with_columns(full.otherwise(species).alias("species"))


def check_text_types(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names as a tuple. Raise ValueError if one of them is not a text type."""
    for name in names:
        if name not in TEXT_TYPES:
            raise ValueError(f"unknown text type {name!r}; choose from {', '.join(TEXT_TYPES)}")
    if not names:
        raise ValueError(f"no text type was given; choose from {', '.join(TEXT_TYPES)}")
    return tuple(names)
