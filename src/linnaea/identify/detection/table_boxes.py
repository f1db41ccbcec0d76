"""Boxes in tables: CSV in any dialect and spelling of its columns, workbooks, observations of Camtrap DP."""

from __future__ import annotations

from pathlib import Path

from linnaea.identify.detection.box_categories import MEGADETECTOR_CATEGORIES, find_outcome, is_blank, name_category
from linnaea.identify.detection.box_collector import BoxCollector, parse_box_number
from linnaea.identify.detection.box_list import BoxList
from linnaea.standards.table_reading import read_table
from linnaea.standards.table_reading.table import Table, TableRow

COLUMNS = "file,left,top,right,bottom"
FILE_COLUMNS = ("file", "file_path", "filepath", "path", "image_path", "file_name", "filename", "image", "img", "photo")
FOLDER_COLUMNS = ("relative_path", "folder", "directory")
SIDE_COLUMNS = {
    "left": ("box_left", "left", "xmin", "x_min", "x1", "minx", "bbox_left", "bbox_x", "bbox1", "x"),
    "top": ("box_top", "top", "ymin", "y_min", "y1", "miny", "bbox_top", "bbox_y", "bbox2", "y"),
    "right": ("box_right", "right", "xmax", "x_max", "x2", "maxx", "bbox_right"),
    "bottom": ("box_bottom", "bottom", "ymax", "y_max", "y2", "maxy", "bbox_bottom"),
    "width": ("bbox_width", "box_width", "bbox_w", "bbox3", "width", "w"),
    "height": ("bbox_height", "box_height", "bbox_h", "bbox4", "height", "h"),
}
CONFIDENCE_COLUMNS = (
    "box_confidence",
    "detection_confidence",
    "detection_conf",
    "confidence",
    "conf",
    "score",
    "bbox_confidence",
)
LABEL_COLUMNS = ("box_category", "detection_category", "category", "label", "class", "class_name", "observation_type")
PACKAGE = "datapackage.json"


def load_table_boxes(path: Path, least_confidence: float, units: str) -> BoxList:
    """The boxes in a table. Raise ValueError for one without the columns of a box."""
    table = read_table(path, what="list of boxes")
    file_column = table.require(*FILE_COLUMNS, what="file")
    sides = _find_sides(table)
    folder, confidence, label = (table.find(*names) for names in (FOLDER_COLUMNS, CONFIDENCE_COLUMNS, LABEL_COLUMNS))
    boxes = BoxCollector(path, least_confidence, units=units)
    rows = list(table.rows())
    _check_numbered(table, rows, label)
    for row in rows:
        place = table.place(row.line)
        file = row.cells[file_column]
        if folder is not None and row.cells[folder] and "/" not in file.replace("\\", "/"):
            file = f"{row.cells[folder]}/{file}"
        key = boxes.add_file(file, place)
        if any(row.cells[column] for column in sides.values()):
            own_label = name_category(row.cells[label], {}) if label else ""
            own_confidence = (row.cells[confidence] if confidence else "") or 1.0
            boxes.add_box(key, _parse_sides(row, sides, place), place, confidence=own_confidence, label=own_label)
    return boxes.finish()


def _find_sides(table: Table) -> dict[str, str]:
    """The columns of left, top, right and bottom, or of left, top, width and height."""
    found = {side: table.find(*names) for side, names in SIDE_COLUMNS.items()}
    by_size = found["right"] is None or found["bottom"] is None
    wanted = ("left", "top", "width", "height") if by_size else ("left", "top", "right", "bottom")
    for side in wanted:
        if found[side] is None:
            column = {"width": "right", "height": "bottom"}.get(side, side)
            raise ValueError(f"{table.name} has no column {column}; it needs {COLUMNS}[,confidence,label]")
    return {side: found[side] for side in wanted}


def _parse_sides(row: TableRow, sides: dict[str, str], place: str) -> tuple[float, float, float, float]:
    left, top, third, fourth = (parse_box_number(row.cells[column], side, place) for side, column in sides.items())
    return (left, top, left + third, top + fourth) if "width" in sides else (left, top, third, fourth)


def _check_numbered(table: Table, rows: list[TableRow], label: str | None) -> None:
    """Raise ValueError for categories that are numbers from 0, whose meaning no table states."""
    if label is None:
        return
    numbered = {row.cells[label]: row.line for row in reversed(rows) if row.cells[label].isdigit()}
    if other := sorted(set(numbered) - set(MEGADETECTOR_CATEGORIES)):
        raise ValueError(
            f"{table.place(numbered[other[0]])}: the meaning of category {other[0]} is unknown, and a person must not "
            "be named; write words such as animal, person, vehicle"
        )


def is_package(path: Path) -> bool:
    """Whether a path is a Camtrap DP package: its descriptor, its folder, or a zip of it."""
    if path.is_dir():
        return (path / PACKAGE).is_file() or (path / "media.csv").is_file()
    return path.name == PACKAGE or path.suffix.lower() == ".zip"


def load_package_boxes(path: Path, least_confidence: float, units: str) -> BoxList:
    """The boxes of a Camtrap DP package: observations of media, with `bboxX` … `bboxHeight` as fractions."""
    folder = path.parent if path.name == PACKAGE else path
    media, observations = _open_tables(folder)
    key_column = media.require("mediaID", what="mediaID")
    path_column = media.require("filePath", "fileName", what="filePath")
    boxes = BoxCollector(path, least_confidence, units=units, stated="fractions")
    paths = {row.cells[key_column]: (row.cells[path_column], media.place(row.line)) for row in media.rows()}
    by_media = _read_observations(observations)
    for media_id, (file, place) in paths.items():
        own = by_media.pop(media_id, [])
        without = [label for _line, label, sides in own if not any(sides)]
        people = [label for label in without if find_outcome(label)]
        failure = "" if people or (own and all(map(is_blank, without))) else "its package has no box for it"
        key = boxes.add_file(file, place, failure=failure)
        for label in people:
            boxes.add_box(key, (0, 0, 1, 1), place, label=label)
        for line, label, sides in own:
            if any(sides):
                _add_observation(boxes, key, label, sides, observations.place(line))
    by_media.pop("", None)  # observations of events
    if by_media:
        raise ValueError(f"{observations.name}: mediaID {next(iter(by_media))!r} is not in {media.name}")
    return boxes.finish()


def _read_observations(observations: Table) -> dict[str, list[tuple[int, str, list[str]]]]:
    """The observations of each media file: line, type, and the four cells of the box."""
    media_column = observations.require("mediaID", what="mediaID")
    type_column = observations.require("observationType", what="observationType")
    columns = [observations.find(name) for name in ("bboxX", "bboxY", "bboxWidth", "bboxHeight")]
    by_media: dict[str, list[tuple[int, str, list[str]]]] = {}
    for row in observations.rows():
        sides = [row.cells[column] if column else "" for column in columns]
        by_media.setdefault(row.cells[media_column], []).append((row.line, row.cells[type_column], sides))
    return by_media


def _add_observation(boxes: BoxCollector, key: str, label: str, sides: list[str], place: str) -> None:
    left, top, width, height = (
        parse_box_number(side, name, place)
        for side, name in zip(sides, ("bboxX", "bboxY", "bboxWidth", "bboxHeight"), strict=True)
    )
    boxes.add_box(key, (left, top, left + width, top + height), place, label=label)


def _open_tables(path: Path) -> tuple[Table, Table]:
    """The media and the observations of a package."""
    if path.is_dir() and not (path / PACKAGE).is_file():
        return read_table(path / "media.csv", what="media"), read_table(path / "observations.csv", what="observations")
    return read_table(path, row_types=("media",)), read_table(path, row_types=("Occurrence",))
