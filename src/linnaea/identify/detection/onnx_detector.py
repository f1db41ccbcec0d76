"""A detector's network in ONNX: any export of YOLO, such as MegaDetector's.

Three layouts of the output are read: YOLOv5 [1, n, 5 + c] (centre, sides, objectness, classes), YOLOv8 and later
[1, 4 + c, n] (centre, sides, classes), and networks with the suppression inside [1, n, 6] (corners, confidence, class).

Shape suffixes: n candidates, c classes, h w pixels.
"""

from __future__ import annotations

import ast
import functools
import os
from pathlib import Path

import numpy as np
from PIL import Image

from linnaea.identify.detection.box_categories import NETWORK_CATEGORIES
from linnaea.records import Box

# As MegaDetector and YOLO use them.
DEFAULT_SIDE = 640
PADDING = 114
MOST_OVERLAP = 0.45
MOST_BOXES = 300
# A network with the suppression inside gives few boxes; others give thousands of candidates.
MOST_FINAL_BOXES = 1000


class OnnxDetector:
    """Finds boxes in upright images. Raise ValueError for a file that is not such a network."""

    def __init__(self, path: str | os.PathLike, least_confidence: float):
        import onnxruntime

        self._path, self._least_confidence = Path(path), least_confidence
        if not self._path.is_file():
            raise FileNotFoundError(f"file {path} does not exist; give the ONNX export of a YOLO detector")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001 (onnxruntime raises a class for each of its states)
            raise ValueError(f"{path} is not an ONNX network that can be loaded; export the detector again") from None
        (source, *others) = self._session.get_inputs()
        if others or len(source.shape) != 4 or source.type not in ("tensor(float)", "tensor(float16)"):
            shapes = ", ".join(f"{one.name} {one.shape} {one.type}" for one in self._session.get_inputs())
            raise ValueError(f"{path} takes {shapes}; a YOLO export takes one float image [1, 3, height, width]")
        self._input, self._type = source.name, np.float16 if source.type == "tensor(float16)" else np.float32
        self._size = tuple(side if isinstance(side, int) else DEFAULT_SIDE for side in source.shape[2:])
        names = self._session.get_modelmeta().custom_metadata_map.get("names", "")
        self.categories = _read_names(names) or dict(enumerate(NETWORK_CATEGORIES))

    def __call__(self, image: Image.Image) -> list[Box]:
        """Boxes of the image in pixels, the most confident first."""
        pixels, scale, offset = self._letterbox(image)
        (output, *_) = self._session.run(None, {self._input: pixels})
        corners_n4, confidence_n, class_n = self._read_output(np.asarray(output, np.float32))
        kept = confidence_n >= self._least_confidence
        corners_n4, confidence_n, class_n = corners_n4[kept], confidence_n[kept], class_n[kept]
        corners_n4 = (corners_n4 - np.tile(offset, 2)) / scale
        corners_n4 = np.clip(corners_n4, 0, np.tile(image.size, 2))
        boxes = []
        for i in suppress_overlaps(corners_n4, confidence_n, class_n):
            left, top, right, bottom = map(float, corners_n4[i])
            if right > left and bottom > top:
                label = self.categories.get(int(class_n[i]), str(int(class_n[i])))
                confidence = round(float(confidence_n[i]), 4)
                boxes.append(Box(left=left, top=top, right=right, bottom=bottom, confidence=confidence, label=label))
        return boxes

    def _letterbox(self, image: Image.Image) -> tuple[np.ndarray, float, np.ndarray]:
        """The image in the middle of the network's input, with its scale and its offset (x, y) in pixels."""
        height, width = self._size
        scale = min(width / image.width, height / image.height)
        inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
        canvas = Image.new("RGB", (width, height), (PADDING,) * 3)
        canvas.paste(image.convert("RGB").resize(inner, Image.Resampling.BILINEAR), (left, top))
        pixels = np.asarray(canvas, np.float32).transpose(2, 0, 1)[None] / 255
        return pixels.astype(self._type), scale, np.array([left, top], np.float64)

    def _read_output(self, output: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Corners [n, 4] in pixels of the input, confidence [n] and class [n] of each candidate."""
        n_classes = len(self.categories)
        if output.ndim == 3 and output.shape[0] == 1:
            _one, rows, columns = output.shape
            if columns == 6 and rows <= MOST_FINAL_BOXES and n_classes != 1:
                return output[0, :, :4], output[0, :, 4], output[0, :, 5].astype(int)
            if columns == 5 + n_classes:
                score_nc = output[0, :, 4:5] * output[0, :, 5:]
                return self._find_best(output[0, :, :4], score_nc)
            if rows == 4 + n_classes:
                return self._find_best(output[0, :4].T, output[0, 4:].T)
        raise ValueError(
            f"{self._path}: the output {list(output.shape)} fits no layout for {n_classes} classes; known are "
            f"[1, n, {5 + n_classes}], [1, {4 + n_classes}, n] and [1, n, 6]"
        )

    def _find_best(self, sides_n4: np.ndarray, score_nc: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Corners, the score of the best class, and that class, from centres and sides."""
        if sides_n4.max(initial=0) <= 2:  # fractions of the input
            sides_n4 = sides_n4 * np.array([*self._size[::-1], *self._size[::-1]], np.float32)
        half = sides_n4[:, 2:] / 2
        corners_n4 = np.concatenate([sides_n4[:, :2] - half, sides_n4[:, :2] + half], axis=1)
        class_n = score_nc.argmax(axis=1)
        return corners_n4, score_nc[np.arange(len(class_n)), class_n], class_n


def _read_names(text: str) -> dict[int, str]:
    """The classes in the metadata of an export, {0: 'animal', …}; empty if there are none."""
    try:
        found = ast.literal_eval(text) if text else {}
    except (ValueError, SyntaxError):
        return {}
    pairs = enumerate(found) if isinstance(found, list) else dict(found).items()
    return {int(number): str(name) for number, name in pairs}


def suppress_overlaps(corners_n4: np.ndarray, confidence_n: np.ndarray, class_n: np.ndarray) -> list[int]:
    """Indices of the boxes that no more confident box of their class overlaps by MOST_OVERLAP, the best first."""
    order = np.argsort(-confidence_n, kind="stable")
    area_n = np.prod(np.maximum(corners_n4[:, 2:] - corners_n4[:, :2], 0), axis=1)
    kept: list[int] = []
    while len(order) and len(kept) < MOST_BOXES:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        low = np.maximum(corners_n4[order, :2], corners_n4[best, :2])
        high = np.minimum(corners_n4[order, 2:], corners_n4[best, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        union = area_n[order] + area_n[best] - shared
        overlaps = shared > MOST_OVERLAP * np.maximum(union, 1e-9)
        order = order[~(overlaps & (class_n[order] == class_n[best]))]
    return kept


@functools.lru_cache(maxsize=1)
def load_detector(path: Path, least_confidence: float) -> OnnxDetector:
    """The detector of a file; the last one is kept."""
    return OnnxDetector(path, least_confidence)
