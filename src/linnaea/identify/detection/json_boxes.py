"""Boxes in JSON: MegaDetector's batch output, Microsoft's list, PyTorch-Wildlife, SpeciesNet, COCO Camera Traps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from linnaea.identify.detection.box_categories import find_outcome, is_blank, name_category
from linnaea.identify.detection.box_collector import BoxCollector, parse_box_number
from linnaea.identify.detection.box_list import BoxList
from linnaea.standards.table_reading.text_encoding import find_encoding

KINDS = "MegaDetector's or SpeciesNet's output, Microsoft's list of detections, or COCO Camera Traps"


def read_json(path: Path) -> object:
    """The content of a JSON file in any usual encoding. Raise ValueError with the line if it is not JSON."""
    encoding = find_encoding(path, whole=True)
    if not encoding:
        raise ValueError(f"{path} is not a text file; give {KINDS}")
    try:
        text = path.read_text(encoding=encoding)
    except UnicodeError:
        raise ValueError(f"{path} is not readable text; save it as UTF-8") from None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if not text[error.pos :].strip() or text.count('"') % 2:
            raise ValueError(f"{path}, line {error.lineno}: the file ends before its JSON does; get it again") from None
        raise ValueError(
            f"{path}, line {error.lineno}, column {error.colno} is not JSON; correct it or get it again"
        ) from None
    except RecursionError:
        raise ValueError(f"{path} is not {KINDS}") from None


def load_json_boxes(path: Path, least_confidence: float, units: str) -> BoxList:
    """The boxes in a JSON file. Raise ValueError for another form."""
    content = read_json(path)
    if isinstance(content, list):
        return _read_list(path, content, least_confidence, units)
    if isinstance(content, dict):
        for key, read in (
            ("predictions", _read_speciesnet),
            ("annotations", _read_annotations),
            ("images", _read_megadetector),
        ):
            if isinstance(content.get(key), list):
                return read(path, content, least_confidence, units)
    raise ValueError(f"{path} is not {KINDS}")


def _check_object(value: object, place: str) -> dict:
    if isinstance(value, dict):
        return value
    raise ValueError(f"{place} must be an object with the file and its detections")


def _list_detections(image: dict, place: str) -> list:
    detections = image.get("detections")
    if detections is None:
        return []
    if isinstance(detections, list):
        return [_check_object(one, f"{place}, detection {number}") for number, one in enumerate(detections, 1)]
    raise ValueError(f"{place}: detections must be a list")


def _get_sides(detection: dict, place: str) -> tuple[object, object, object, object]:
    sides = detection.get("bbox")
    if not isinstance(sides, list) or len(sides) != 4:
        raise ValueError(f"{place}: bbox {sides!r} must have four numbers")
    return tuple(sides)


def _add_size(sides: Sequence[object], place: str) -> tuple:
    """Left, top, right and bottom of a box that is given by left, top, width and height."""
    left, top, width, height = (
        parse_box_number(side, name, place)
        for side, name in zip(sides, ("left", "top", "width", "height"), strict=True)
    )
    return left, top, left + width, top + height


def _read_names(content: dict, key: str, path: Path) -> dict[str, str]:
    names = content.get(key)
    if names is not None and not isinstance(names, dict):
        raise ValueError(f"{path}: {key} must be an object, such as {{'1': 'animal', '2': 'person'}}")
    return {str(number): str(name) for number, name in (names or {}).items()}


def _add_fractions(boxes: BoxCollector, key: str, image: dict, names: dict[str, str], place: str) -> None:
    """Add the detections of MegaDetector or SpeciesNet: fractions, left, top, width and height."""
    for number, detection in enumerate(_list_detections(image, place), 1):
        where = f"{place}, detection {number}"
        label = detection.get("label") or name_category(detection.get("category"), names)
        if detection.get("frame_number") is not None:
            boxes.add_video(key)
        confidence = detection.get("conf", detection.get("confidence"))
        boxes.add_box(key, _add_size(_get_sides(detection, where), where), where, confidence=confidence, label=label)


def _read_megadetector(path: Path, content: dict, least_confidence: float, units: str) -> BoxList:
    """https://lila.science/megadetector-output-format, format versions 1.0 to 1.6."""
    boxes = BoxCollector(path, least_confidence, units=units, stated="fractions")
    names = _read_names(content, "detection_categories", path)
    for number, one in enumerate(content["images"], 1):
        image = _check_object(one, f"{path}, image {number}")
        key = boxes.add_file(image.get("file"), f"{path}, image {number}", failure=image.get("failure"))
        if "frame_rate" in image or "frames_processed" in image:
            boxes.add_video(key)
        _add_fractions(boxes, key, image, names, f"{path}, image {number} ({key})")
    return boxes.finish()


def _read_speciesnet(path: Path, content: dict, least_confidence: float, units: str) -> BoxList:
    """https://github.com/google/cameratrapai: predictions with `filepath`, `detections` and perhaps `failures`."""
    boxes = BoxCollector(path, least_confidence, units=units, stated="fractions")
    for number, one in enumerate(content["predictions"], 1):
        image = _check_object(one, f"{path}, prediction {number}")
        failures = [str(failure).lower() for failure in image.get("failures") or ()]
        failure = ", ".join(failures) if "detections" not in image else ""
        key = boxes.add_file(image.get("filepath"), f"{path}, prediction {number}", failure=failure)
        _add_fractions(boxes, key, image, {}, f"{path}, prediction {number} ({key})")
    return boxes.finish()


def _read_list(path: Path, content: list, least_confidence: float, units: str) -> BoxList:
    """A list of photographs: Microsoft's (`confidence`; pixels; left, top, right, bottom) or MegaDetector's (`conf`).

    https://microsoft.github.io/MegaDetector/output_format/
    """
    images = [_check_object(one, f"{path}, image {number}") for number, one in enumerate(content, 1)]
    if images and "image_id" in images[0]:
        raise ValueError(f"{path} holds COCO results without file names; give a file with images and annotations")
    every = [
        one for number, image in enumerate(images, 1) for one in _list_detections(image, f"{path}, image {number}")
    ]
    is_short = any("conf" in detection for detection in every)
    boxes = BoxCollector(path, least_confidence, units=units, stated="fractions" if is_short else "")
    for number, image in enumerate(images, 1):
        place = f"{path}, image {number}"
        key = boxes.add_file(image.get("file", image.get("filepath")), place, failure=image.get("failure"))
        if is_short:
            _add_fractions(boxes, key, image, {}, f"{place} ({key})")
            continue
        for n, detection in enumerate(_list_detections(image, place), 1):
            where = f"{place} ({key}), detection {n}"
            label = name_category(detection.get("category"), {})
            sides = _get_sides(detection, where)
            boxes.add_box(key, sides, where, confidence=detection.get("confidence"), label=label)
    return boxes.finish()


def _read_annotations(path: Path, content: dict, least_confidence: float, units: str) -> BoxList:
    annotations = [_check_object(one, f"{path}, annotation {n}") for n, one in enumerate(content["annotations"], 1)]
    categories = content.get("categories") or []
    if isinstance(categories, dict):
        names = {str(number): str(name) for number, name in categories.items()}
    else:
        every = [_check_object(one, f"{path}, category {number}") for number, one in enumerate(categories, 1)]
        names = {str(one.get("id")): str(one.get("name", "")) for one in every}
    if isinstance(content.get("images"), list):
        return _read_coco(path, content["images"], annotations, names, least_confidence, units)
    return _read_wildlife(path, annotations, names, least_confidence, units)


def _read_coco(
    path: Path, images: list, annotations: list[dict], names: dict[str, str], least_confidence: float, units: str
) -> BoxList:
    """COCO Camera Traps: pixels; left, top, width and height; a photograph as a whole may have a category, too."""
    boxes = BoxCollector(path, least_confidence, units=units)
    by_image: dict[str, list[tuple[int, dict]]] = {}
    for number, annotation in enumerate(annotations, 1):
        by_image.setdefault(str(annotation.get("image_id")), []).append((number, annotation))
    for n, one in enumerate(images, 1):
        image = _check_object(one, f"{path}, image {n}")
        own = by_image.pop(str(image.get("id")), [])
        known = [(number, annotation, names.get(str(annotation.get("category_id")), "")) for number, annotation in own]
        labels = [label for _number, annotation, label in known if not annotation.get("bbox")]
        key = _add_coco_image(boxes, image, labels, f"{path}, image {n}")
        for number, annotation, label in known:
            if annotation.get("bbox"):
                _add_coco_box(boxes, key, annotation, label, f"{path}, annotation {number} ({key})")
    if by_image:
        first = next(iter(by_image))
        raise ValueError(
            f"{path}: {len(by_image)} images of annotations are not in its images (the first is {first!r})"
        )
    return boxes.finish()


def _add_coco_image(boxes: BoxCollector, image: dict, labels: list[str], place: str) -> str:
    """Add an image with the categories that it has as a whole; returns its key.

    Without a box, an organism may be anywhere: such an image is not listed as one without a detection.
    """
    whole = [label for label in labels if not is_blank(label)]
    size = None
    if image.get("width") and image.get("height"):
        size = tuple(parse_box_number(image[side], side, place) for side in ("width", "height"))
    people = next((label for label in whole if find_outcome(label)), "") if size else ""
    failure = "it is labelled as a whole, without a box" if whole and not people else ""
    key = boxes.add_file(image.get("file_name"), place, failure=failure, size=size)
    if people:
        boxes.add_box(key, (0, 0, *size), place, label=people)
    return key


def _add_coco_box(boxes: BoxCollector, key: str, annotation: dict, label: str, place: str) -> None:
    confidence = annotation.get("score", annotation.get("confidence", 1.0))
    boxes.add_box(key, _add_size(_get_sides(annotation, place), place), place, confidence=confidence, label=label)


def _read_wildlife(
    path: Path, annotations: list[dict], names: dict[str, str], least_confidence: float, units: str
) -> BoxList:
    """PyTorch-Wildlife: for each photograph lists of boxes (pixels; left, top, right, bottom) and categories."""
    boxes = BoxCollector(path, least_confidence, units=units)
    for number, image in enumerate(annotations, 1):
        place = f"{path}, annotation {number}"
        key = boxes.add_file(image.get("img_id"), place)
        every = [image.get(column) for column in ("bbox", "category", "confidence")]
        if not all(isinstance(one, list) for one in every) or len({len(one) for one in every}) != 1:
            raise ValueError(f"{place} ({key}): bbox, category and confidence must be lists of one length")
        for sides, category, confidence in zip(*every, strict=True):
            label = names.get(str(category), str(category))
            boxes.add_box(key, _get_sides({"bbox": sides}, place), place, confidence=confidence, label=label)
    return boxes.finish()
