"""`linnaea learn`: the user's own names from a folder of class folders; see `linnaea.identify.naming.centroids`.

Shape suffixes: n examples, l labels, d vector dimensions.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from linnaea.embed.images.embed_command import make_image_manifest
from linnaea.embed.images.image_vectors import embed_batches
from linnaea.embed.images.runtime_sample import select_runtime_for_files
from linnaea.embed.left_out import count_reasons, report_left_out
from linnaea.embed.model_options import BATCH_SIZE, ModelOptions
from linnaea.identify.naming.centroids import CentroidFit, fit_centroids
from linnaea.identify.naming.label_set import Label, clean_folder_name, resolve_labels
from linnaea.model.core.contract import Model
from linnaea.model.runtimes.runtime_names import DEFAULT_RUNTIME
from linnaea.photos.photo_files import LeftOut, explain_skip, find_images
from linnaea.records import RANKS, ImageRecord
from linnaea.store import Vectors, read_manifest, save_vectors
from linnaea.terminal import Progress

logger = logging.getLogger(__name__)

BESIDE_CLASSES = "it lies in no class folder; put it into the folder of its class"


@dataclass(frozen=True, kw_only=True)
class LearnConfig(ModelOptions):
    """Learn names from examples: each folder in FOLDER is a class, its name the label, its photographs examples."""

    folder: Path = field(metadata={"positional": True, "metavar": "FOLDER"})
    "folder whose folders are the classes"
    out: Path = field(metadata={"short": "-o"})
    "folder for the labels, to be given to `linnaea identify --labels`"
    vocabulary: str = "inat"
    "where class names are looked up, to fill in the lineage"
    overwrite: bool = False
    "replace --out if it exists"
    quiet: bool = False
    "show warnings only: no progress and no summary"


def learn(
    folder_dir: str | os.PathLike,
    out_dir: str | os.PathLike,
    *,
    model: str | Model = "bundled",
    vocabulary: str = "inat",
    overwrite: bool = False,
) -> dict:
    """Learn the labels of a folder of class folders, write them to `out_dir` and return their manifest.

    `out_dir` can then be given as `labels` to `identify`. Errors are those of `learn_labels`.
    """
    from linnaea.model.loading import load_model
    from linnaea.taxonomy.vocabulary_factory import load_vocabulary

    loaded = load_model(model) if isinstance(model, str) else model
    names = partial(load_vocabulary, vocabulary, loaded.card.common_names)
    return learn_labels(folder_dir, out_dir, model=loaded, load_vocabulary=names, overwrite=overwrite)


def learn_labels(
    folder_dir: str | os.PathLike,
    out_dir: str | os.PathLike,
    *,
    model: Model,
    load_vocabulary: Callable,
    batch_size: int = BATCH_SIZE,
    overwrite: bool = False,
    quiet: bool = True,
) -> dict:
    """Write the labels of a folder of class folders to `out_dir` and return their manifest.

    Raise FileNotFoundError if the folder does not exist, ValueError if fewer than two classes have a photograph that
    can be read, FileExistsError if `out_dir` exists already.
    """
    import polars as pl

    folder_dir, out_dir = Path(folder_dir), Path(out_dir)
    _check_out_dir(out_dir, overwrite=overwrite)
    classes = _list_classes(folder_dir)
    found = [find_images([path]) for path in classes]
    files = [(file, index) for index, one in enumerate(found) for file in one.files]
    left_out = _list_beside(folder_dir) + [other for one in found for other in one.left_out]
    report_left_out(left_out, len(files), out_dir)
    if not files:
        raise ValueError(f"{folder_dir} has {len(classes)} class folders and no photograph in them; put some into each")
    vectors_nd, is_read_n = _embed_files([file.path for file, _index in files], model, batch_size, quiet)
    class_n = np.array([index for _file, index in files])[is_read_n]
    present, label_n = np.unique(class_n, return_inverse=True)
    if len(present) < 2:
        raise ValueError(f"{folder_dir} has {len(present)} class with photographs that can be read; learning needs two")
    fit = fit_centroids(vectors_nd, label_n, len(present), default_scale=model.card.logit_scale)
    labels = resolve_labels([Label(name=clean_folder_name(classes[index].name)) for index in present], load_vocabulary)
    rows = pl.DataFrame(_make_label_columns(labels, label_n))
    missing = [path.name for i, path in enumerate(classes) if i not in set(present.tolist())]
    manifest = _make_labels_manifest(model, fit, len(label_n), int((~is_read_n).sum()), missing)
    manifest["left_out"] = count_reasons(left_out)
    save_vectors(out_dir, Vectors(vectors_nd=fit.centroid_ld, rows=rows, manifest=manifest))
    return {**manifest, "n": len(labels)}


def _check_out_dir(out_dir: Path, *, overwrite: bool) -> None:
    if out_dir.exists() and not overwrite:
        raise FileExistsError(f"{out_dir} exists already; choose another --out or add --overwrite")
    if out_dir.exists() and read_manifest(out_dir) is None:
        raise FileExistsError(f"{out_dir} holds something else than labels; choose another --out")


def _list_classes(folder_dir: Path) -> list[Path]:
    """The class folders, sorted. Raise ValueError if two of them mean the same label."""
    if not folder_dir.is_dir():
        raise FileNotFoundError(f"folder {folder_dir} does not exist; give one whose folders are the classes")
    classes = sorted(path for path in folder_dir.iterdir() if path.is_dir() and not path.name.startswith("."))
    by_label: dict[str, str] = {}
    for path in classes:
        label = clean_folder_name(path.name)
        if (other := by_label.setdefault(label, path.name)) != path.name:
            raise ValueError(f"folders {other!r} and {path.name!r} of {folder_dir} both mean {label!r}; rename one")
    return classes


def _list_beside(folder_dir: Path) -> list[LeftOut]:
    """What lies beside the class folders and belongs to no class."""
    with os.scandir(folder_dir) as entries:
        beside = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    return [
        LeftOut(entry.path, explain_skip(entry) or BESIDE_CLASSES)
        for entry in beside
        if entry.name.startswith(".") or not entry.is_dir()
    ]


def _make_label_columns(labels: list[Label], label_n: np.ndarray) -> dict[str, list]:
    columns = {
        "label": [label.name for label in labels],
        "rank": [label.rank for label in labels],
        "common_name": [label.common_name for label in labels],
        "n_examples": np.bincount(label_n).tolist(),
    }
    return columns | {rank: [label.lineage[i] for label in labels] for i, rank in enumerate(RANKS)}


def _make_labels_manifest(model: Model, fit: CentroidFit, n: int, n_unreadable: int, missing: list[str]) -> dict:
    """`n` examples were read; `missing` are the classes without one."""
    return make_image_manifest(model.card, getattr(model, "runtime", DEFAULT_RUNTIME)) | {
        "role": "labels",
        "logit_scale": fit.logit_scale,
        "least_similarity": fit.least_similarity,
        "centre": [float(x) for x in fit.centre_d],
        "accuracy_leave_one_out": None if np.isnan(fit.accuracy) else round(fit.accuracy, 4),
        "n_examples": n,
        "n_unreadable": n_unreadable,
        "without_photographs": missing,
    }


def _embed_files(paths: list[str], model: Model, batch_size: int, quiet: bool) -> tuple[np.ndarray, np.ndarray]:
    """The vectors [n, d] of the photographs that can be read, and which of the paths these are, bool."""
    is_read_n = np.ones(len(paths), bool)
    progress = Progress(len(paths), quiet=quiet)
    pieces = []
    done = 0
    for batch in embed_batches(model, (ImageRecord(path=path) for path in paths), batch_size=batch_size):
        pieces.append(batch.vectors_bd)
        is_read_n[[done + i for i in batch.failures]] = False
        for i, note in batch.notes.items():
            logger.warning(f"{batch.records[i].path}: {note}")
        for i, reason in batch.failures.items():
            logger.warning(f"left out: {batch.records[i].path}: {reason}")
        done += len(batch.records)
        progress.advance(len(batch.records), len(batch.failures))
    progress.close()
    return np.concatenate(pieces), is_read_n


def main(config: LearnConfig) -> int:
    """Return 0 when the labels are written."""
    from linnaea.model.loading import load_model
    from linnaea.taxonomy.vocabulary_factory import load_vocabulary

    model = load_model(config.model)
    if config.runtime != DEFAULT_RUNTIME:
        select_runtime_for_files(model, config.runtime, [config.folder])
    manifest = learn_labels(
        config.folder,
        config.out,
        model=model,
        load_vocabulary=lambda: load_vocabulary(config.vocabulary, model.card.common_names),
        batch_size=config.batch_size,
        overwrite=config.overwrite,
        quiet=config.quiet,
    )
    accuracy = manifest["accuracy_leave_one_out"]
    line = f"{manifest['n']} labels from {manifest['n_examples']:,} photographs in {config.out}"
    line += "" if accuracy is None else f"; with each photograph left out once, {accuracy:.1%} are named correctly"
    logger.info(line)
    for name in manifest["without_photographs"]:
        logger.warning(f"class {name} has no photograph that can be read")
    return 0
