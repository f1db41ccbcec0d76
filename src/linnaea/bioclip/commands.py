"""`linnaea bioclip predict|embed|list-models|list-tol-taxa`: the options and the output of pybioclip's command."""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import TextIO

from linnaea.bioclip.ranks import BATCH_SIZE, BIOCLIP_MODEL_STR, PIXELS, TOL_MODELS, Rank, list_name_keys
from linnaea.model.runtimes.runtime_names import RUNTIME_CHOICES
from linnaea.records import RANKS
from linnaea.terminal import Progress

logger = logging.getLogger(__name__)

STDOUT = "stdout"


@dataclass(frozen=True, kw_only=True)
class _ModelConfig:
    """The options of every command that runs a model."""

    model: str = BIOCLIP_MODEL_STR
    "a name on the hub, an open_clip folder, a model folder, or `bundled`"
    pretrained: str = ""
    "not supported: give the folder of the checkpoint as --model"
    device: str = "cpu"
    "`cpu`, or a device of torch such as `cuda`, on which torch then runs the model (a transformer; the extra [torch])"


@dataclass(frozen=True, kw_only=True)
class _ImagesConfig(_ModelConfig):
    """The options of every command that reads photographs."""

    image_file: tuple[str, ...] = field(metadata={"positional": True, "metavar": "IMAGE_FILE"})
    "photographs"
    output: str = STDOUT
    "a file, or `stdout`"
    batch_size: int = BATCH_SIZE
    "photographs that the model sees at once"
    pixels: str = field(default="auto", metadata={"choices": PIXELS})
    "`squash`: the whole photograph without its proportions; `model`: as the model's config says; `auto`: what "
    "pybioclip shows to this model"
    runtime: str = field(default="onnxruntime", metadata={"choices": RUNTIME_CHOICES})
    "where the model runs, see `linnaea identify`; runtimes other than onnxruntime and torch need --pixels model"

    def __post_init__(self):
        if not self.image_file:
            raise ValueError("no photograph given; name at least one")
        if self.batch_size < 1:
            raise ValueError(f"--batch-size {self.batch_size} is too small; give 1 or more")


@dataclass(frozen=True, kw_only=True)
class PredictConfig(_ImagesConfig):
    """Name photographs with the options and the table of `bioclip predict`."""

    format: str = field(default="csv", metadata={"choices": ("table", "csv")})
    "`csv` or `table`"
    rank: str = field(default="", metadata={"choices": RANKS})
    "rank of the answer in the tree of life (default: species, unless --cls, --bins or --subset is given)"
    cls: str | None = None
    "labels to choose from, a,b,c or a text file with one on each line"
    bins: str | None = None
    "a CSV file with two columns, label and bin: the score of a bin is the sum of the scores of its labels"
    subset: str | None = None
    "a CSV file whose first column is named for a rank: only these taxa of the tree of life are candidates"
    k: int | None = None
    "answers for each photograph (5; all labels with --cls and --bins)"
    log: str = ""
    "a file for a record of the run: JSON if it ends in .json, else text that is appended"
    table: str = ""
    "names of the tree of life: a txt_emb_species file or its folder, or `inat`; the model's published ones by default"

    def __post_init__(self):
        super().__post_init__()
        for name in ("cls", "bins", "subset"):
            if getattr(self, name) == "":
                raise ValueError(f"--{name} is empty; leave it out for the whole tree of life")
        given = [f"--{name}" for name in ("rank", "cls", "bins", "subset") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; give one of them")
        if self.table and (self.cls or self.bins):
            raise ValueError("--table is for the tree of life; leave it out with --cls and --bins")
        if self.k is not None and self.k < 1:
            raise ValueError(f"--k {self.k} is too small; give 1 or more")


@dataclass(frozen=True, kw_only=True)
class BioclipEmbedConfig(_ImagesConfig):
    """Write the features of photographs as the JSON of `bioclip embed`."""


@dataclass(frozen=True, kw_only=True)
class ListModelsConfig:
    """List the models that have a published tree of life, and the one that needs no download."""

    model: str = ""
    "list the pretrained tags of this model instead: there are none, as a checkpoint is a folder"


@dataclass(frozen=True, kw_only=True)
class ListTaxaConfig(_ModelConfig):
    """Write the names of a model's tree of life as the CSV of `bioclip list-tol-taxa`."""

    table: str = ""
    "a txt_emb_species file or its folder, or `inat`; the model's published names by default"


def predict(config: PredictConfig) -> int:
    """Return 0 if a photograph could be read, else 1. Rows are written as they come, a batch in memory at a time."""
    from linnaea.bioclip.base_classifier import CLASSIFICATION
    from linnaea.bioclip.recorder import attach_prediction_recorder, save_recorded_predictions, verify_recorder_path

    if config.log:
        verify_recorder_path(config.log)
    rank = Rank[(config.rank or "species").upper()]
    columns = [CLASSIFICATION] if config.cls or config.bins else list_name_keys(rank)
    classifier, settings = _load_classifier(config)
    if config.log:
        attach_prediction_recorder(classifier, **settings)
    details = {"k": config.k, "batch_size": config.batch_size}
    if not (config.cls or config.bins):
        details |= {"rank": rank, "k": config.k or 5}
    rows = _ReadableRows(classifier.predict_each(list(config.image_file), callback=_make_progress(), **details))
    with _open_output(config.output) as file:
        write = write_table if config.format == "table" else write_csv
        write(file, ["file_name", *columns, "score"], rows)
    if config.log:
        shown = details | ({"rank": rank.get_label()} if "rank" in details else {})
        classifier.record_event(images=list(config.image_file), **shown)
        save_recorded_predictions(classifier, config.log)
    return 0 if rows.n_read else 1


class _ReadableRows:
    """Passes rows on; logs photographs that could not be read, and counts the rows of the others."""

    def __init__(self, rows: Iterable[dict]):
        self._rows, self.n_read = rows, 0

    def __iter__(self) -> Iterator[dict]:
        for row in self._rows:
            if "reason" in row:
                logger.warning(f"{row['file_name']}: {row['reason']}")
            else:
                self.n_read += 1
            yield row


def _load_classifier(config: PredictConfig) -> tuple[object, dict]:
    """The classifier for the options, and its settings for the log."""
    from linnaea.bioclip import label_classifiers
    from linnaea.bioclip.tree_classifier import TreeOfLifeClassifier

    options = _make_model_options(config) | {"pixels": config.pixels, "runtime": config.runtime}
    if config.cls:
        labels = read_labels(config.cls)
        return label_classifiers.CustomLabelsClassifier(labels, **options), {"classes": ",".join(labels)}
    if config.bins:
        return label_classifiers.CustomLabelsBinningClassifier(parse_bins_csv(config.bins), **options), {
            "bins_path": config.bins
        }
    classifier = TreeOfLifeClassifier(table=config.table or None, **options)
    if config.subset:
        classifier.apply_filter(classifier.create_taxa_filter_from_csv(config.subset))
    return classifier, {"tree_of_life_version": classifier.vocabulary.source, "subset": config.subset or None}


def _make_model_options(config: _ModelConfig) -> dict:
    return {"model_str": config.model, "pretrained_str": config.pretrained or None, "device": config.device}


def read_labels(labels: str) -> list[str]:
    """The labels in `a,b,c`, or in a text file with one on each line."""
    return (create_classes_str(labels) if os.path.isfile(labels) else labels).split(",")


def create_classes_str(cls_path: str) -> str:
    """The labels of a text file with one on each line, joined by commas."""
    with open(cls_path, encoding="utf-8-sig") as handle:
        return ",".join(line.strip() for line in handle if line.strip())


def parse_bins_csv(bins_path: str) -> dict[str, str | int | float]:
    """Label -> bin from a CSV file with a heading and two columns.

    Raise FileNotFoundError if there is no file, ValueError for another format.
    """
    if not os.path.exists(bins_path):
        raise FileNotFoundError(f"File not found: {bins_path}")
    with open(bins_path, newline="", encoding="utf-8-sig") as handle:
        rows = [[cell.strip() for cell in row] for row in csv.reader(handle) if any(row)]
    if len(rows) < 2 or any(len(row) < 2 for row in rows):
        raise ValueError(
            f"CSV file must have at least two columns. {bins_path} needs a heading and, in each row, label and bin"
        )
    bins = [row[1] for row in rows[1:]]
    # As pandas reads a column: numbers if all of it is numbers.
    for convert in (int, float):
        with suppress(ValueError):
            bins = [convert(bin_) for bin_ in bins]
            break
    return dict(zip((row[0] for row in rows[1:]), bins, strict=True))


def embed(config: BioclipEmbedConfig) -> int:
    """Return 0 if a photograph could be read, else 1. Like pybioclip's, features are not scaled to unit length."""
    from linnaea.bioclip.base_classifier import BaseClassifier

    classifier = BaseClassifier(**_make_model_options(config), pixels=config.pixels, runtime=config.runtime)
    batches = classifier.embed(list(config.image_file), batch_size=config.batch_size, normalize=False)
    n_read, report, done = 0, _make_progress(), 0
    with _open_output(config.output) as file:
        file.write(f'{{\n    "model": {json.dumps(classifier.model_str)},\n    "embeddings": {{')
        for keys, features_bd, failures in batches:
            for i, reason in failures.items():
                logger.warning(f"{keys[i]}: {reason}")
            read = [key for i, key in enumerate(keys) if i not in failures]
            for key, features_d in zip(read, features_bd.tolist(), strict=True):
                file.write(f"{',' if n_read else ''}\n        {json.dumps(key)}: {json.dumps(features_d)}")
                n_read += 1
            done += len(keys)
            report(done, len(config.image_file))
        file.write("\n    }\n}\n")
    return 0 if n_read else 1


def list_models(config: ListModelsConfig) -> int:
    """Print one model on each line; return 0."""
    for model in () if config.model else (*TOL_MODELS, "bundled"):
        print(f"\t{model}")
    return 0


def list_tol_taxa(config: ListTaxaConfig) -> int:
    """Print a row for each column of the name table; return 0."""
    from linnaea.bioclip.tree_classifier import TreeOfLifeClassifier

    classifier = TreeOfLifeClassifier(table=config.table or None, **_make_model_options(config))
    frame = classifier.make_label_frame()
    write_csv(sys.stdout, frame.columns, frame.iter_rows(named=True))
    return 0


def write_csv(file: TextIO, columns: list[str], rows: Iterable[dict]) -> None:
    """Write the rows as CSV; a photograph that could not be read has empty cells."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_format_cell(row[column]) for column in columns] for row in rows)


def write_table(file: TextIO, columns: list[str], rows: Iterable[dict]) -> None:
    """Write the rows as a table with rules and centred cells.

    All rows are held in memory, since the widest cell sets the width of a column.
    """
    cells = [[str(_format_cell(row[column])) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+\n"
    file.write(rule)
    for number, line in enumerate(chain([columns], cells)):
        file.write(
            "|" + "|".join(f" {_centre(cell, width)} " for cell, width in zip(line, widths, strict=True)) + "|\n"
        )
        file.write(rule if number == 0 else "")
    file.write(rule if cells else "")


def _centre(cell: str, width: int) -> str:
    left = (width - len(cell)) // 2
    return " " * left + cell + " " * (width - len(cell) - left)


def _format_cell(value: object) -> object:
    return "" if isinstance(value, float) and math.isnan(value) else value


@contextmanager
def _open_output(output: str) -> Iterator[TextIO]:
    """An open text file. It gets the rows as they come, like stdout, so that a stopped run keeps its answers."""
    if output == STDOUT:
        yield sys.stdout
    else:
        with open(output, "w", encoding="utf-8", newline="") as file:
            yield file


def _make_progress() -> Callable[[int, int], None]:
    """A callback `(done, total)` that shows the progress."""
    progress: Progress | None = None

    def report(done: int, total: int) -> None:
        nonlocal progress
        progress = progress or Progress(total)
        progress.advance(done - progress.done)
        if done >= total:
            progress.close()

    return report


MAINS = {
    PredictConfig: predict,
    BioclipEmbedConfig: embed,
    ListModelsConfig: list_models,
    ListTaxaConfig: list_tol_taxa,
}


def main(config: PredictConfig | BioclipEmbedConfig | ListModelsConfig | ListTaxaConfig) -> int:
    """Run the command of the Config; return its exit code."""
    return MAINS[type(config)](config)
