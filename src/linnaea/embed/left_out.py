"""What was given and has no row: a table beside the output, and lines in the log."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from linnaea.photos.photo_files import HARMLESS, LeftOut, format_path
from linnaea.standards.tables import write_csv

logger = logging.getLogger(__name__)

COLUMNS = ("file", "reason")
# Names that are shown for each reason.
SHOWN = 3


def get_left_out_path(out_path: Path) -> Path:
    """The path of the table of what the output `out_path` leaves out."""
    return out_path.with_name(f"{out_path.name}.left_out.csv")


def drop_own_files(left_out: Iterable[LeftOut], out_path: Path) -> tuple[LeftOut, ...]:
    """Without the files that runs write at and beside the output `out_path`: nobody gave them."""
    own = os.path.abspath(out_path)
    return tuple(one for one in left_out if not _is_own(os.path.abspath(one.path), own))


def _is_own(path: str, own: str) -> bool:
    return path == own or path.startswith((f"{own}.", f"{own}{os.sep}"))


def report_left_out(left_out: Sequence[LeftOut], n_taken: int, out_path: Path | None) -> None:
    """Write the table beside the output `out_path` (None: there is no file) and log how many have which reason.

    `n_taken` photographs have rows.
    """
    if out_path is not None:
        write_left_out(get_left_out_path(out_path), left_out)
    log_left_out(left_out, n_taken, get_left_out_path(out_path) if out_path is not None else None)


def log_left_out(left_out: Sequence[LeftOut], n_taken: int, table_path: Path | None = None) -> None:
    """Log how many are left out, and for each reason the first names: as warnings, if a photograph may be lost."""
    if not left_out:
        return
    level = logging.INFO if all(one.reason in HARMLESS for one in left_out) else logging.WARNING
    where = "" if table_path is None else f"; {table_path} lists them"
    n_given = n_taken + len(left_out)
    photographs = "1 photograph" if n_taken == 1 else f"{n_taken:,} photographs"
    logger.log(level, f"{n_given:,} given = {photographs} + {len(left_out):,} left out{where}")
    for line, is_harmless in _describe_reasons(left_out):
        logger.log(logging.INFO if is_harmless else logging.WARNING, line)


def write_left_out(table_path: Path, left_out: Sequence[LeftOut]) -> None:
    """Write the table with the columns `file` and `reason`, or remove that of an earlier run if nothing is left out."""
    if not left_out:
        table_path.unlink(missing_ok=True)
        return
    write_csv(table_path, COLUMNS, ({"file": format_path(one.path), "reason": one.reason} for one in left_out))


def count_reasons(left_out: Iterable[LeftOut]) -> dict[str, int]:
    """How many have each reason, the most frequent first."""
    counts: dict[str, int] = {}
    for one in left_out:
        counts[one.reason] = counts.get(one.reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _describe_reasons(left_out: Sequence[LeftOut]) -> list[tuple[str, bool]]:
    """A line for each reason with its number and first names, and whether it costs nothing."""
    lines = []
    for reason, n in count_reasons(left_out).items():
        names = [format_path(one.path) for one in left_out if one.reason == reason][:SHOWN]
        more = f" and {n - SHOWN:,} more" if n > SHOWN else ""
        lines.append((f"left out: {', '.join(names)}{more}: {reason}", reason in HARMLESS))
    return lines
