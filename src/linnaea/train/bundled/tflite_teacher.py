"""Quantised classifiers as teachers: their class rows, and a linear map from their features to those of the trunk.

A teacher knows species for which there are no photographs. On photographs that both networks see, a ridge regression
maps the features of the teacher to those of the trunk. Mapped in this way, the teacher's class rows become classes of
the trunk.

Shape suffixes: n photographs, c classes, t teacher features, w trunk features.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from linnaea.model.core.contract import Preprocess
from linnaea.model.core.preprocessing import preprocess_image
from linnaea.store import atomic_path, hash_bytes
from linnaea.train.bundled.class_features import measure_margin

logger = logging.getLogger(__name__)

POOLED, WEIGHTS = "AvgPool/AvgPool", "weights_quant"


class TfliteTeacher:
    """A quantised TFLite classifier with global average pooling and one linear layer, with access to its tensors."""

    def __init__(self, path: Path, n_threads: int = 2):
        from ai_edge_litert.interpreter import Interpreter

        self._net = Interpreter(str(path), experimental_preserve_all_tensors=True, num_threads=n_threads)
        self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]
        self._size = int(self._input["shape"][1])
        details = self._net.get_tensor_details()
        self._pooled = next(d for d in details if d["name"].endswith(POOLED))
        matrix = next(d for d in details if WEIGHTS in d["name"] and len(d["shape"]) == 2)
        self.weight_ct = self._read(matrix).astype(np.float32)

    def _read(self, detail) -> np.ndarray:
        scale, zero = detail["quantization"]
        return (self._net.get_tensor(detail["index"]).astype(np.float32) - zero) * scale

    def features(self, paths: Sequence[Path]) -> np.ndarray:
        """Return pooled features float32 [n, t] of photographs."""
        preprocess = Preprocess(size=self._size, resize="squash", interpolation="bilinear")
        out = np.empty((len(paths), self.weight_ct.shape[1]), np.float32)
        for row, path in enumerate(paths):
            pixels = preprocess_image(Image.open(path).convert("RGB"), preprocess)
            self._net.set_tensor(self._input["index"], pixels[None])
            self._net.invoke()
            out[row] = self._read(self._pooled).reshape(-1)
        return out


def load_teacher_features(
    path: Path, root_dir: Path, files: Sequence[str], work_dir: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Return a teacher's features [n, t] of photographs below `root_dir`, and its class rows [c, t].

    Both are kept in `work_dir`.
    """
    kept_path = work_dir / f"{path.stem}-{hash_bytes(*files)}.npz"
    if not kept_path.exists():
        logger.info("%s: features of %d photographs", path.name, len(files))
        net = TfliteTeacher(path)
        features_nt = net.features([root_dir / file for file in files])
        with atomic_path(kept_path) as temporary, temporary.open("wb") as handle:
            np.savez(handle, features=features_nt, weight=net.weight_ct)
    arrays = np.load(kept_path)
    return arrays["features"], arrays["weight"]


def fit_feature_map(teacher_nt: np.ndarray, trunk_nw: np.ndarray, ridge: float) -> np.ndarray:
    """Return the matrix [t, w] that maps centred teacher features to centred trunk features, by ridge regression.

    `ridge` is relative to the mean variance of the teacher's features.
    """
    x = (teacher_nt - teacher_nt.mean(0)).astype(np.float64)
    y = (trunk_nw - trunk_nw.mean(0)).astype(np.float64)
    gram = x.T @ x
    gram[np.diag_indices_from(gram)] += ridge * np.trace(gram) / len(gram)
    return np.linalg.solve(gram, x.T @ y).astype(np.float32)


def map_class_means(
    weight_ct: np.ndarray, teacher_nt: np.ndarray, trunk_nw: np.ndarray, *, ridge: float = 1.0
) -> np.ndarray:
    """Return the mean trunk features float32 [c, w] expected of the teacher's classes."""
    margin = measure_margin(weight_ct, teacher_nt)
    direction_ct = weight_ct - weight_ct.mean(0)
    deviation_ct = margin * direction_ct / (direction_ct**2).sum(1, keepdims=True)
    return trunk_nw.mean(0) + deviation_ct @ fit_feature_map(teacher_nt, trunk_nw, ridge)
