"""A small table of names that a model folder carries: a vector for each genus and for each species that was learned.

What a text encoder says about a species that it never learned is the genus and noise: among the species of a genus, the
true one is not nearer to a photograph than chance (LOG.md). In this table such a species has the vector of its genus,
which is the mean of the text vectors of the genus's species that were not learned. A learned species has its own text
vector. The table is 7 MB for a million names, so every run uses it, the first one too.

The vectors of genera are stored as whole numbers of one byte on their principal axes; the vectors of learned species
as float16.

Shape suffixes: b images, n leaves, m chosen leaves, g genera (parents of leaves), t learned leaves, k axes, d vector
dimensions.
"""

from __future__ import annotations

import json
import logging
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from linnaea.embed.names.genus_first_table import find_trained_leaves, group_leaves
from linnaea.embed.names.name_table import make_table, map_vectors
from linnaea.model.core.contract import Model
from linnaea.search.cosine_blocks import count_threads, multiply_blocks, release_pages
from linnaea.store import VECTORS, atomic_path, hash_bytes

logger = logging.getLogger(__name__)

FORMAT = 1
# The file in a model folder.
COMPACT = "names.npz"
LARGEST_CODE = 127
# Share of the squared length, summed over genera, that may be lost with the last axes.
MAX_LOST = 1e-6
# Rows of the full table that are read at once.
BLOCK = 65536


class CompactTable:
    """The vectors of genera and of learned species."""

    kind = "compact"

    def __init__(
        self, genera_gd: np.ndarray, genus_n: np.ndarray, trained: np.ndarray, trained_td: np.ndarray, manifest: dict
    ):
        self.manifest = manifest
        self._genera_gd, self._genus_n = genera_gd, genus_n.astype(np.int32)
        self._trained, self._trained_td = trained, trained_td.astype(np.float32)
        self._chosen: _ChosenLeaves | None = None
        self._cosine_bm: np.ndarray | None = None

    @property
    def n_leaves(self) -> int:
        """Leaves of the tree."""
        return len(self._genus_n)

    def similarities(self, image_vectors_bd: np.ndarray, leaves: np.ndarray | None = None) -> np.ndarray:
        """Cosines float32 [b, n] with all leaves, or with the sorted `leaves`, valid until the next call."""
        if self._chosen is None or self._chosen.leaves is not leaves:
            self._chosen = _ChosenLeaves(self._genus_n, self._trained, leaves)
        chosen, b = self._chosen, len(image_vectors_bd)
        genus_bg = multiply_blocks(self._genera_gd, image_vectors_bd, chosen.genera)
        trained_bt = image_vectors_bd.astype(np.float32, copy=False) @ self._trained_td[chosen.trained_row].T
        if self._cosine_bm is None or self._cosine_bm.shape != (b, len(chosen.genus_row_m)):
            self._cosine_bm = np.empty((b, len(chosen.genus_row_m)), np.float32)
        out_bm = self._cosine_bm

        def fill(image: int) -> None:
            # Without `mode`, numpy copies `out` first.
            np.take(genus_bg[image], chosen.genus_row_m, out=out_bm[image], mode="clip")
            out_bm[image, chosen.trained_position] = trained_bt[image]

        with ThreadPoolExecutor(count_threads()) as pool:
            list(pool.map(fill, range(b)))
        return out_bm


class _ChosenLeaves:
    """Where the cosines of chosen leaves (None: all) come from.

    `genera` are the rows of the genera that are needed (None: all), `genus_row_m` the row of each leaf among them;
    `trained_position` are the positions of the learned leaves, `trained_row` their rows.
    """

    def __init__(self, genus_n: np.ndarray, trained: np.ndarray, leaves: np.ndarray | None):
        self.leaves = leaves
        if leaves is None:
            self.genera, self.genus_row_m = None, genus_n
            self.trained_position, self.trained_row = trained, np.arange(len(trained))
        else:
            self.genera, self.genus_row_m = np.unique(genus_n[leaves], return_inverse=True)
            _, self.trained_position, self.trained_row = np.intersect1d(
                leaves, trained, assume_unique=True, return_indices=True
            )


def load_compact_table(model: Model, vocabulary) -> CompactTable | None:
    """The table in the model's folder; None if there is none or if it is of other weights or of another vocabulary."""
    directory = getattr(model, "model_dir", None)
    path = None if directory is None else Path(directory) / COMPACT
    if path is None or not path.is_file():
        return None
    try:
        with np.load(path) as stored:
            manifest = json.loads(str(stored["manifest"]))
            if manifest != _describe(model, vocabulary):
                logger.info(f"{path.name} of {model.card.name} was made for other weights or names and is not used")
                return None
            arrays = {key: stored[key] for key in ("codes_kg", "step", "axes_kd", "mean_d", "trained", "trained_td")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        raise ValueError(
            f"{path} is damaged; install Linnaea again, or make it with `linnaea names --compact`"
        ) from None
    genera_gd = _decode(arrays["codes_kg"], arrays["step"], arrays["axes_kd"], arrays["mean_d"])
    _, genus_n = group_leaves(vocabulary.tree)
    return CompactTable(genera_gd, genus_n, arrays["trained"], arrays["trained_td"], manifest)


def _describe(model: Model, vocabulary) -> dict:
    """The facts on which the vectors depend."""
    card, familiar = model.card, getattr(model, "familiar", ())
    return {
        "format": FORMAT,
        "model_hash": card.hash,
        "vocabulary": vocabulary.hash,
        "text": [card.text_type, *card.templates],
        "learned": hash_bytes(*("|".join(lineage) for lineage in sorted(familiar))),
    }


def _decode(codes_kg: np.ndarray, step: np.ndarray, axes_kd: np.ndarray, mean_d: np.ndarray) -> np.ndarray:
    """Unit vectors float32 [g, d] of the genera."""
    genera_gd = codes_kg.T.astype(np.float32) @ (axes_kd * step) + mean_d
    return genera_gd / np.linalg.norm(genera_gd, axis=1, keepdims=True)


def _encode(genera_gd: np.ndarray) -> dict[str, np.ndarray]:
    """The arguments of `_decode` for unit vectors."""
    mean_d = genera_gd.mean(0)
    centred_gd = genera_gd - mean_d
    variances, axes_dk = np.linalg.eigh(centred_gd.T @ centred_gd)
    variances, axes_kd = variances[::-1], axes_dk.T[::-1]
    lost = variances.sum() - np.cumsum(variances)
    n_axes = 1 + int(np.argmax(lost <= MAX_LOST * variances.sum()))
    coordinates_gk = centred_gd @ axes_kd[:n_axes].T
    step = np.abs(coordinates_gk).max() / LARGEST_CODE
    # One axis after the other: numbers of one size are neighbours, and compress better.
    codes_kg = np.ascontiguousarray(np.rint(coordinates_gk / step).astype(np.int8).T)
    return {
        "codes_kg": codes_kg,
        "step": np.float32(step),
        "axes_kd": axes_kd[:n_axes].astype(np.float32),
        "mean_d": mean_d.astype(np.float32),
    }


def write_compact_table(model: Model, vocabulary, cache_dir: Path | None = None) -> Path:
    """Write the table into the model's folder; return its path. Embeds every name unless the full table is cached."""
    path = Path(model.model_dir) / COMPACT
    vectors_nd = map_vectors(make_table(model, vocabulary, cache_dir) / VECTORS)
    genera, genus_n = group_leaves(vocabulary.tree)
    trained = find_trained_leaves(model, vocabulary.tree)
    genera_gd = _average_genera(vectors_nd, genus_n, trained, len(genera))
    arrays = _encode(genera_gd) | {"trained": trained.astype(np.int32), "trained_td": np.asarray(vectors_nd[trained])}
    manifest = np.array(json.dumps(_describe(model, vocabulary), sort_keys=True))
    with atomic_path(path) as temporary_path, temporary_path.open("wb") as handle:
        np.savez_compressed(handle, manifest=manifest, **arrays)
    return path


def _average_genera(vectors_nd: np.ndarray, genus_n: np.ndarray, trained: np.ndarray, n_genera: int) -> np.ndarray:
    """Unit means float64 [g, d] of the leaves of each genus that were not learned; of all leaves if all were."""
    is_trained_n = np.zeros(len(genus_n), bool)
    is_trained_n[trained] = True
    n_own_g = np.bincount(genus_n[~is_trained_n], minlength=n_genera)
    counted_n = ~is_trained_n | (n_own_g[genus_n] == 0)
    sum_gd = np.zeros((n_genera, vectors_nd.shape[1]))
    for start in range(0, len(genus_n), BLOCK):
        rows = start + np.flatnonzero(counted_n[start : start + BLOCK])
        np.add.at(sum_gd, genus_n[rows], vectors_nd[rows].astype(np.float64))
        release_pages(vectors_nd)
    return sum_gd / np.linalg.norm(sum_gd, axis=1, keepdims=True)
