"""Opens a file of boxes of any kind; the content decides which."""

from __future__ import annotations

from pathlib import Path

from linnaea.identify.detection.box_list import BoxList
from linnaea.identify.detection.json_boxes import KINDS, load_json_boxes
from linnaea.identify.detection.table_boxes import COLUMNS, is_package, load_package_boxes, load_table_boxes

BOX_CONFIDENCE = 0.2


def load_boxes(path: Path, least_confidence: float = BOX_CONFIDENCE, units: str = "auto") -> BoxList:
    """The boxes of at least `least_confidence` in a file.

    It may be MegaDetector's output, Microsoft's list, SpeciesNet's, COCO Camera Traps, a Camtrap DP package, or a table
    with file,left,top,right,bottom. Sides are fractions of the upright image or its pixels; `units` states which
    ("auto": the format and the numbers tell). Raise FileNotFoundError if there is no file, ValueError for another
    format.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"file {path} does not exist; give {KINDS}, a Camtrap DP package, or CSV with {COLUMNS}"
        )
    if is_package(path):
        return load_package_boxes(path, least_confidence, units)
    return (load_json_boxes if _is_json(path) else load_table_boxes)(path, least_confidence, units)


def _is_json(path: Path) -> bool:
    """Whether a file is named or begins as JSON; JSON lines are tables."""
    if path.is_dir() or path.suffix.lower() in (".jsonl", ".ndjson"):
        return False
    with path.open("rb") as handle:
        head = handle.read(64).lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n")
    return path.suffix.lower() == ".json" or head[:1] in (b"{", b"[")
