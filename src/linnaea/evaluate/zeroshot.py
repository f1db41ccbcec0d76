"""`linnaea evaluate zeroshot`: names labelled photographs without training on their labels, and counts the right ones.

Shape suffixes: n photographs, d vector dimensions.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np

from linnaea.embed.images.image_vectors import embed_batches
from linnaea.embed.images.runtime_sample import sample_evenly, select_runtime_for_records
from linnaea.evaluate.label_evaluation import evaluate_labels
from linnaea.evaluate.truth import Example, read_examples, to_examples
from linnaea.evaluate.vocabulary_evaluation import evaluate_full
from linnaea.evaluate.zeroshot_config import ZeroshotConfig
from linnaea.model.core.contract import Model
from linnaea.model.loading import load_model
from linnaea.model.runtimes.runtime_names import DEFAULT_RUNTIME
from linnaea.records import ImageRecord
from linnaea.store import atomic_path
from linnaea.taxonomy.vocabulary_factory import load_vocabulary

__all__ = ["ZeroshotConfig", "benchmark", "embed_examples", "main"]

logger = logging.getLogger(__name__)


def embed_examples(
    model: Model, examples: list[Example], root_dir: Path, batch_size: int
) -> tuple[np.ndarray, dict[int, str]]:
    """Vectors float32 [n, d], and reasons by row for images that could not be read (their rows are zero)."""
    vectors_nd = np.zeros((len(examples), model.card.dim), np.float32)
    failures: dict[int, str] = {}
    start = 0
    records = (ImageRecord(path=str(root_dir / example.file)) for example in examples)
    for batch in embed_batches(model, records, batch_size=batch_size):
        rows = [start + i for i in range(len(batch.records)) if i not in batch.failures]
        vectors_nd[rows] = batch.vectors_bd
        failures |= {start + i: reason for i, reason in batch.failures.items()}
        start += len(batch.records)
    return vectors_nd, failures


def benchmark(config: ZeroshotConfig) -> tuple[dict, list[dict]]:
    """The report of a run, and a row for each photograph that could be read."""
    model = load_model(config.model)
    vocabulary = load_vocabulary("inat", common_names=model.card.common_names)
    rows_given = read_examples(config.manifest, config.where)
    labelled = [row for row in rows_given if row["label"].strip()]
    if not labelled:
        raise ValueError(
            f"no row of {config.manifest} says what its photograph shows; fill the column label or species"
        )
    examples, unresolved = to_examples(labelled, vocabulary)
    check = {}
    if config.runtime != DEFAULT_RUNTIME:
        records = [ImageRecord(path=str(config.root / example.file)) for example in examples]
        check = select_runtime_for_records(model, config.runtime, lambda n: sample_evenly(records, n), len(records))
    vectors_nd, failures = embed_examples(model, examples, config.root, config.batch_size)
    readable = [i for i in range(len(examples)) if i not in failures]
    if not readable:
        raise FileNotFoundError(
            f"none of the {len(examples)} files below {config.root} could be read; is --root right?"
        )
    examples, vectors_nd = [examples[i] for i in readable], vectors_nd[readable]
    if config.vocabulary == "labels":
        report, rows = evaluate_labels(model, examples, vectors_nd, config.text)
    else:
        report, rows = evaluate_full(model, vocabulary, examples, vectors_nd, config)
    head = {
        "task": "zeroshot",
        "model": model.card.name,
        "model_hash": model.card.hash,
        "runtime": getattr(model, "runtime", DEFAULT_RUNTIME),
        "runtime_check": check,
        "vocabulary": config.vocabulary,
        "text": config.text if config.vocabulary == "labels" else model.card.text_type,
        "where": list(config.where),
        "n": len(examples),
        "unreadable": len(failures),
        "unlabelled": len(rows_given) - len(labelled),
        "unresolved_labels": unresolved,
    }
    return {**head, **report}, rows


def main(config: ZeroshotConfig) -> int:
    """Print the report as one JSON line; return 0."""
    report, rows = benchmark(config)
    if report["unreadable"]:
        logger.warning(f"{report['unreadable']} files could not be read and are left out")
    if report["unlabelled"]:
        logger.warning(f"{report['unlabelled']} rows have no label and are left out")
    for note in report.get("notes", ()):
        logger.warning(note)
    if config.predictions:
        import polars as pl

        with atomic_path(config.predictions) as temporary_path:
            pl.DataFrame(rows).write_parquet(temporary_path)
    print(json.dumps(report, ensure_ascii=False))
    return 0
