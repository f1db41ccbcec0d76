"""Says which entries of a list of boxes belong to no photograph of the run."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from linnaea.identify.detection.box_list import NOT_GIVEN, BoxList, UnmatchedEntry
from linnaea.photos.photo_files import FoundFile
from linnaea.standards.tables import write_csv

logger = logging.getLogger(__name__)

SHOWN = 3


def check_boxes(boxes: BoxList, files: Sequence[FoundFile], roots: Sequence[str]) -> None:
    """Raise ValueError if the list has none of the photographs."""
    if any(boxes.find_key(file.path, roots) is not None for file in files):
        return
    first = next(iter(boxes.boxes), "nothing")
    raise ValueError(
        f"{boxes.path} names none of the {len(files)} photographs (it begins with {first!r}); "
        "give the folder its paths are relative to"
    )


def report_unmatched(unmatched: Sequence[UnmatchedEntry], boxes_path: Path, list_path: Path | None) -> None:
    """Log how many entries have no photograph, with the first few; write all to `list_path` (file, reason) if given.

    Files that exist and were not given are a notice only: a list may be of a whole survey.
    """
    if not unmatched:
        return
    if list_path is not None:
        write_csv(list_path, ("file", "reason"), ({"file": one.file, "reason": one.reason} for one in unmatched))
    where = f"; all of them are in {list_path}" if list_path is not None else ""
    for reason, number in Counter(one.reason for one in unmatched).items():
        of_reason = [one.file for one in unmatched if one.reason == reason]
        shown = of_reason if list_path is None and reason != NOT_GIVEN else of_reason[:SHOWN]
        more = ", …" if len(shown) < len(of_reason) else ""
        log = logger.info if reason == NOT_GIVEN else logger.warning
        log(f"{boxes_path}: {reason} ({number:,}): {', '.join(shown)}{more}{where}")
