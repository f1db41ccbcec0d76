"""Writes the rows of a run as a table, Darwin Core or Camtrap DP, and packs rows for the journal."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from linnaea.identify.output.event_index import EVENT_COLUMNS_OF_ROWS, EventIndex, make_event_cells
from linnaea.records import PREDICTION_COLUMNS, Box, Prediction, RankedName, make_prediction_row
from linnaea.standards import darwin_core, tables
from linnaea.standards.camtrap_dp import LEFT_OUT_FILE, PackageGaps, PackageMetadata, write_package
from linnaea.standards.captures import CAPTURE_COLUMNS, CaptureIndex, make_capture_cells
from linnaea.standards.events import Event
from linnaea.standards.exif import PhotoMetadata, read_photo_metadata
from linnaea.store import atomic_path

logger = logging.getLogger(__name__)

# The columns of a table in a file. Rows on stdout have PREDICTION_COLUMNS only: an event is known when it is over.
TABLE_COLUMNS = (*PREDICTION_COLUMNS, *CAPTURE_COLUMNS, *EVENT_COLUMNS_OF_ROWS)
OUTPUT_FORMATS = ("table", "darwin-core", "camtrap-dp")

Rows = Callable[[], Iterator[tuple[str, Prediction]]]


def check_output(out_path: Path | None, form: str) -> None:
    """Raise ValueError if `out` cannot hold the output format `form`."""
    if out_path is None or str(out_path) == "-":
        if form != "table":
            raise ValueError(f"--as {form} needs --out {'FOLDER' if form == 'camtrap-dp' else 'FILE'}")
        return
    suffix = out_path.suffix.lower()
    if form == "camtrap-dp":
        if suffix in tables.SUFFIXES:
            raise ValueError(f"--out {out_path}: a Camtrap DP package is a folder; give a name without {suffix}")
        return
    if suffix not in tables.SUFFIXES:
        raise ValueError(
            f"--out {out_path}: unknown kind of table {suffix!r}; choose one of {', '.join(tables.SUFFIXES)}"
        )
    if out_path.is_dir():
        raise ValueError(f"--out {out_path} is a folder; give the name of a file")


def write_output(
    out_path: Path,
    form: str,
    rows: Rows,
    *,
    identified_by: str,
    created: str,
    near: tuple[float, float] | None,
    index: EventIndex,
    captures: CaptureIndex,
    read_metadata: Callable[[str], PhotoMetadata] = read_photo_metadata,
) -> PackageGaps:
    """Write the rows to a temporary path and move the complete result into place.

    `index` has the events of the rows, `captures` time, place and deployment of the photographs. `read_metadata`
    returns the metadata of the photograph at a path. Returns what a Camtrap DP package lacks (nothing for tables).
    """
    suffix = out_path.suffix.lower()
    if form == "table":
        with atomic_path(out_path) as path:
            tables.write_table(path, TABLE_COLUMNS, _make_table_rows(rows, index, captures), suffix)
    elif form == "darwin-core":
        with atomic_path(out_path) as path:
            occurrences = darwin_core.make_occurrence_rows(rows(), identified_by, captures.find, near)
            tables.write_table(path, darwin_core.COLUMNS, occurrences, suffix)
    else:
        facts = PackageMetadata(
            classified_by=identified_by, created=created, near=near, read=read_metadata, captures=captures
        )
        in_events = ((path, prediction, event) for path, prediction, event, _observation in index.join(rows()))
        return _write_folder(out_path, in_events, facts)
    return PackageGaps(0, 0)


def _make_table_rows(rows: Rows, index: EventIndex, captures: CaptureIndex) -> Iterator[dict]:
    for path, prediction, event, observation in index.join(rows()):
        cells = make_capture_cells(captures.find(path)) | make_event_cells(event, observation)
        yield make_prediction_row(prediction) | cells


def log_package_gaps(out_path: Path, gaps: PackageGaps) -> None:
    """Log warnings if deployments of the package at `out` have no coordinates, or if photographs are left out."""
    if gaps.n_left_out:
        logger.warning(
            "%s: %s without capture time, which Camtrap DP requires; what they show is in %s, not in the package's "
            "tables",
            out_path,
            "1 photograph" if gaps.n_left_out == 1 else f"{gaps.n_left_out:,} photographs",
            LEFT_OUT_FILE,
        )
    if gaps.n_unplaced:
        logger.warning(
            "%s/deployments.csv: %s no coordinates; fill in latitude and longitude before you publish, or give "
            "--deployments FILE or --near LAT,LON",
            out_path,
            "1 deployment has" if gaps.n_unplaced == 1 else f"{gaps.n_unplaced:,} deployments have",
        )


def _write_folder(out_path: Path, rows: Iterable[tuple[str, Prediction, Event]], facts: PackageMetadata) -> PackageGaps:
    """Write a Camtrap DP package and swap it in; return what it lacks."""
    out_path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out_path.name}.", dir=out_path.parent))
    try:
        temporary.chmod(0o755)
        gaps = write_package(temporary, rows, facts)
        if out_path.exists():
            retired = temporary.with_name(temporary.name + ".old")
            out_path.rename(retired)
            temporary.rename(out_path)
            shutil.rmtree(retired, ignore_errors=True)
        else:
            temporary.rename(out_path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return gaps


def pack(prediction: Prediction) -> list:
    """The prediction as a list that JSON can hold."""
    box = prediction.box
    return [
        prediction.file,
        prediction.status,
        prediction.outcome,
        prediction.reason,
        prediction.position,
        prediction.rank,
        prediction.name,
        prediction.common_name,
        prediction.confidence,
        prediction.similarity,
        list(prediction.lineage),
        [prediction.guess_rank, prediction.guess_name, prediction.guess_confidence],
        None if box is None else [box.left, box.top, box.right, box.bottom, box.confidence, box.label],
        [[best.rank, best.name, best.confidence, best.node] for best in prediction.path_confidence],
        prediction.frame_time_s,
    ]


def unpack(packed: list) -> Prediction:
    """The prediction that `pack` turned into a list."""
    file, status, outcome, reason, position, rank, name, common_name, confidence, similarity, *rest = packed
    lineage, guess, box, path, frame_time_s = rest
    return Prediction(
        file=file,
        status=status,
        outcome=outcome,
        reason=reason,
        position=position,
        rank=rank,
        name=name,
        common_name=common_name,
        confidence=confidence,
        similarity=similarity,
        lineage=tuple(lineage),
        guess_rank=guess[0],
        guess_name=guess[1],
        guess_confidence=guess[2],
        box=None
        if box is None
        else Box(left=box[0], top=box[1], right=box[2], bottom=box[3], confidence=box[4], label=box[5]),
        frame_time_s=frame_time_s,
        path_confidence=tuple(RankedName(rank=r, name=n, confidence=c, node=k) for r, n, c, k in path),
    )
