"""`linnaea learn`: names of the user's own from a folder of class folders.

SimpleShot (Wang et al. 2019, arXiv 1911.04623): subtract the mean of the examples, make unit, take the nearest mean of
a class. What it adds: the temperature of the softmax and the least similarity are fitted by leaving each example out of
its own class's mean, so that a confidence means what it says and what belongs to no class is refused.

Shape suffixes: n examples, l labels, d vector dimensions.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from linnaea.embed.images.image_vectors import BATCH_SIZE, embed_batches, make_image_manifest
from linnaea.embed.images.runtime_sample import select_runtime_for_files
from linnaea.identify.naming.label_set import Label, centred, clean_folder_name, resolve_labels
from linnaea.model.core.contract import Model
from linnaea.model.runtimes.runtime_names import DEFAULT_RUNTIME, RUNTIME_CHOICES, check_runtime
from linnaea.photos.photo_files import find_images
from linnaea.records import RANKS, ImageRecord
from linnaea.store import Vectors, read_manifest, save_vectors
from linnaea.terminal import Progress

# The share of the examples, each left out once, that the least similarity may refuse.
REFUSED = 0.02
# Vectors are kept as float16, so that a copy of an example may come out a little less like it.
ROUNDING = 1e-3
SCALES = np.geomspace(1.0, 200.0, 120)


@dataclass(frozen=True, kw_only=True)
class LearnConfig:
    """Learns names from examples: each folder in FOLDER is a class, its name the label, its photographs examples."""

    folder: Path = field(metadata={"positional": True, "metavar": "FOLDER"})
    "folder whose folders are the classes"
    out: Path = field(metadata={"short": "-o"})
    "folder for the labels, to be given to `linnaea identify --labels`"
    model: str = "bundled"
    "`bundled`, the folder of a model or of an open_clip checkpoint, or one on the hub, e.g. hf-hub:imageomics/bioclip-2"
    vocabulary: str = "inat"
    "where class names are looked up, to fill in the lineage"
    batch_size: int = BATCH_SIZE
    "photographs that the model sees at once"
    runtime: str = field(default="onnxruntime", metadata={"choices": RUNTIME_CHOICES})
    "where the model runs: `onnxruntime` in full precision; `auto` takes the fastest that passes a check on 32 photographs"
    overwrite: bool = False
    "replace --out if it is there already"
    quiet: bool = False
    "no progress line and no summary"

    def __post_init__(self):
        check_runtime(self.runtime)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Centroids float32 [l, d] and what leaving one out says: `accuracy` is NaN where no class has two examples."""

    centroid_ld: np.ndarray
    centre_d: np.ndarray
    logit_scale: float
    least_similarity: float
    accuracy: float


def fit_centroids(vectors_nd: np.ndarray, label_n: np.ndarray, n_labels: int, default_scale: float = 20.0) -> Fit:
    """Centroids of unit vectors by class, with temperature and least similarity from leaving one out.

    Examples that are alone in their class have no centroid without themselves; only the others are fitted on. Where
    there is none, the scale is `default_scale` and nothing is refused.
    """
    centre_d = vectors_nd.astype(np.float64).mean(0).astype(np.float32)
    unit_nd = centred(vectors_nd, centre_d).astype(np.float64)
    sum_ld = np.zeros((n_labels, unit_nd.shape[1]))
    np.add.at(sum_ld, label_n, unit_nd)
    centroid_ld = _unit(sum_ld)
    has_company_n = np.bincount(label_n, minlength=n_labels)[label_n] > 1
    if not has_company_n.any():
        return Fit(
            centroid_ld=centroid_ld.astype(np.float32),
            centre_d=centre_d,
            logit_scale=default_scale,
            least_similarity=-1.0,
            accuracy=float("nan"),
        )
    kept_nd, kept_label_n = unit_nd[has_company_n], label_n[has_company_n]
    rows = np.arange(len(kept_nd))
    cosine_nl = kept_nd @ centroid_ld.T
    own_n = (kept_nd * _unit(sum_ld[kept_label_n] - kept_nd)).sum(1)
    cosine_nl[rows, kept_label_n] = own_n
    losses = [_negative_log_likelihood(scale * cosine_nl, kept_label_n) for scale in SCALES]
    return Fit(
        centroid_ld=centroid_ld.astype(np.float32),
        centre_d=centre_d,
        logit_scale=float(SCALES[int(np.argmin(losses))]),
        least_similarity=float(np.quantile(cosine_nl.max(1), REFUSED, method="lower")) - ROUNDING,
        accuracy=float((cosine_nl.argmax(1) == kept_label_n).mean()),
    )


def _unit(rows_ld: np.ndarray) -> np.ndarray:
    return rows_ld / np.maximum(np.linalg.norm(rows_ld, axis=1, keepdims=True), 1e-12)


def _negative_log_likelihood(logit_nl: np.ndarray, label_n: np.ndarray) -> float:
    largest_n = logit_nl.max(1)
    log_total_n = largest_n + np.log(np.exp(logit_nl - largest_n[:, None]).sum(1))
    return float((log_total_n - logit_nl[np.arange(len(label_n)), label_n]).mean())


def learn_labels(
    folder: str | os.PathLike,
    out: str | os.PathLike,
    *,
    model: Model,
    load_vocabulary: Callable,
    batch_size: int = BATCH_SIZE,
    overwrite: bool = False,
    quiet: bool = True,
) -> dict:
    """Writes the labels of a folder of class folders and returns their manifest.

    Raises FileNotFoundError where there is no such folder, ValueError for fewer than two classes with a photograph that
    can be read, FileExistsError where `out` is there already.
    """
    import polars as pl

    folder, out = Path(folder), Path(out)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; give one whose folders are the classes")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} is there already; choose another --out or add --overwrite")
    if out.exists() and read_manifest(out) is None:
        raise FileExistsError(f"{out} holds something else than labels; choose another --out")
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    by_name: dict[str, str] = {}
    for path in classes:
        if (other := by_name.setdefault(clean_folder_name(path.name), path.name)) != path.name:
            raise ValueError(
                f"folders {other!r} and {path.name!r} of {folder} both mean {clean_folder_name(path.name)!r}; rename one"
            )
    files = [(file, index) for index, path in enumerate(classes) for file in find_images([path]).files]
    if not files:
        raise ValueError(f"{folder} has {len(classes)} class folders and no photograph in them; put some into each")
    vectors_nd, read = _embed([file.path for file, _index in files], model, batch_size, quiet)
    class_n = np.array([index for _file, index in files])[read]
    present, label_n = np.unique(class_n, return_inverse=True)
    if len(present) < 2:
        raise ValueError(f"{folder} has {len(present)} class with photographs that can be read; learning needs two")
    fit = fit_centroids(vectors_nd, label_n, len(present), default_scale=model.card.logit_scale)
    names = [clean_folder_name(classes[index].name) for index in present]
    labels = resolve_labels([Label(name=name) for name in names], load_vocabulary)
    rows = {
        "label": names,
        "rank": [label.rank for label in labels],
        "common_name": [label.common_name for label in labels],
        "n_examples": np.bincount(label_n).tolist(),
    } | {rank: [label.lineage[i] for label in labels] for i, rank in enumerate(RANKS)}
    manifest = make_image_manifest(model.card, getattr(model, "runtime", DEFAULT_RUNTIME)) | {
        "role": "labels",
        "logit_scale": fit.logit_scale,
        "least_similarity": fit.least_similarity,
        "centre": [float(x) for x in fit.centre_d],
        "accuracy_leave_one_out": None if np.isnan(fit.accuracy) else round(fit.accuracy, 4),
        "n_examples": len(label_n),
        "n_unreadable": int((~read).sum()),
        "without_photographs": [path.name for i, path in enumerate(classes) if i not in set(present.tolist())],
    }
    save_vectors(out, Vectors(vectors_nd=fit.centroid_ld, rows=pl.DataFrame(rows), manifest=manifest))
    return {**manifest, "n": len(names)}


def _embed(paths: list[str], model: Model, batch_size: int, quiet: bool) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of the photographs that can be read, and which these are."""
    read = np.ones(len(paths), bool)
    progress = Progress(len(paths), quiet=quiet)
    pieces = []
    done = 0
    for batch in embed_batches(model, (ImageRecord(path=path) for path in paths), batch_size=batch_size):
        pieces.append(batch.vectors_bd)
        read[[done + i for i in batch.failures]] = False
        for i, reason in batch.failures.items():
            if not quiet:
                progress.close()
                print(f"left out: {batch.records[i].path}: {reason}", file=sys.stderr)
        done += len(batch.records)
        progress.advance(len(batch.records), len(batch.failures))
    progress.close()
    return np.concatenate(pieces), read


def main(config: LearnConfig) -> int:
    """0 when the labels are written."""
    from linnaea.model.loading import load_model
    from linnaea.taxonomy.vocabulary_factory import load_vocabulary

    model = load_model(config.model)
    if config.runtime != DEFAULT_RUNTIME:
        select_runtime_for_files(model, config.runtime, [config.folder], quiet=config.quiet)
    manifest = learn_labels(
        config.folder,
        config.out,
        model=model,
        load_vocabulary=lambda: load_vocabulary(config.vocabulary, model.card.common_names),
        batch_size=config.batch_size,
        overwrite=config.overwrite,
        quiet=config.quiet,
    )
    if not config.quiet:
        accuracy = manifest["accuracy_leave_one_out"]
        line = f"{manifest['n']} labels from {manifest['n_examples']:,} photographs in {config.out}"
        line += "" if accuracy is None else f"; each left out once, {accuracy:.1%} are named right"
        for name in manifest["without_photographs"]:
            line += f"; {name} has no photograph that can be read"
        print(line, file=sys.stderr)
    return 0
