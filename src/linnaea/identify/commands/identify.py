"""`linnaea identify`: photographs in, one table out, a batch at a time.

1. Find the photographs, each once. 2. Load the model, the vocabulary and the name table, or the labels. 3. For each
batch: decode, embed, name, append the rows to a journal beside the output. 4. Write the output from the journal and
move it into place. A run that is killed in step 3 or 4 goes on from the journal; with the same options and the same
journal the output is the same to the byte.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType

import numpy as np

from linnaea import __version__
from linnaea.embed.images.image_vectors import EmbeddedBatch, embed_batches, read_pixels
from linnaea.embed.journal import Journal, get_journal_dir, read_state
from linnaea.identify.commands.config import IdentifyConfig
from linnaea.identify.commands.run_identity import (
    check_free,
    difference,
    get_finished_exit_code,
    make_run_identity,
    read_finished_manifest,
)
from linnaea.identify.naming.detections import (
    BoxList,
    Detector,
    Job,
    load_boxes,
    make_box_jobs,
    make_detector_jobs,
    make_file_jobs,
)
from linnaea.identify.naming.namer import Namer, describe_namer, format_calibration_warning, load_namer
from linnaea.identify.output.terminal_table import TerminalTable
from linnaea.identify.output.writers import log_missing_places, pack, unpack, write_output
from linnaea.model.core.contract import Model, Preprocess
from linnaea.model.runtimes.runtime_names import DEFAULT_RUNTIME
from linnaea.photos.decoding import Unreadable
from linnaea.photos.photo_files import FoundFile, FoundFiles, find_images
from linnaea.records import PREDICTION_COLUMNS, RANKS, ImageRecord, Prediction, make_prediction_row
from linnaea.search.scorer import METHODS, Scorer, merge_summaries
from linnaea.store import get_manifest_path, write_json
from linnaea.terminal import Progress, format_duration

# Up to so many photographs are named from the staged table while the full one is not there; for more, the minute that the
# full one takes is well spent first.
STAGED_IMAGES = 1000
# Of what makes a run what it is, that which is told beside its output.
MANIFEST_KEYS = (
    "options",
    "model",
    "runtime",
    "runtime_check",
    "names",
    "name_vectors",
    "vocabulary",
    "version",
    "hash",
    "created",
    "calibration",
)
# Rows kept for the report of a run that writes no file.
REPORT_ROWS = 5000


def identify(
    paths: Iterable[str | os.PathLike],
    *,
    model: str | Model = "bundled",
    detector: Detector | None = None,
    namer: Namer | None = None,
    **options,
) -> Iterator[Prediction]:
    """Predictions of photographs and folders, one batch in memory at a time; nothing is written.

    `options` are the fields of `IdentifyConfig`. `detector` gives boxes (pixels) for an upright PIL image; each is then
    named apart. `namer` replaces the vocabulary (see `linnaea.identify.naming.namer.load_namer`), so that several calls can
    share one.
    """
    config = IdentifyConfig(
        paths=tuple(Path(path) for path in paths), model=model if isinstance(model, str) else "", **options
    )
    loaded = load_model_if_named(model)
    namer = namer or load_namer(config.make_namer_config(), loaded)
    files = find_images(config.paths)
    boxes = load_boxes(config.boxes, config.box_confidence) if config.boxes else None
    select_runtime_for_run(config, loaded, namer, files.files, boxes)
    batches = name_batches(config, loaded, namer, make_jobs(config, files.files, boxes, detector))
    return (prediction for batch in batches for _path, prediction in batch)


def load_model_if_named(model: str | Model) -> Model:
    """The model itself, or the one that the text names, loaded."""
    if not isinstance(model, str):
        return model
    from linnaea.model.loading import load_model

    return load_model(model)


def make_jobs(
    config: IdentifyConfig, files: Iterable[FoundFile], boxes: BoxList | None, detector: Detector | None = None
) -> Iterator[Job]:
    """What there is to name in files: each whole, or what is in its boxes."""
    if boxes is not None:
        return make_box_jobs(files, boxes, [os.fspath(path) for path in config.paths if path.is_dir()])
    return make_file_jobs(files) if detector is None else make_detector_jobs(files, detector)


def _read_job(job: ImageRecord, preprocess: Preprocess, decoding: str):
    return Unreadable(job.reason) if isinstance(job, Job) and job.status else read_pixels(job, preprocess, decoding)


def name_batches(
    config: IdentifyConfig, model: Model, namer: Namer, jobs: Iterator[Job]
) -> Iterator[list[tuple[str, Prediction]]]:
    """The rows of each batch in input order, each with the path of its photograph."""
    decode = partial(_read_job, preprocess=model.card.preprocess, decoding=config.decoding)
    for batch in embed_batches(model, jobs, batch_size=config.batch_size, decode=decode):
        yield _name_batch(namer, batch)


def select_runtime_for_run(
    config: IdentifyConfig,
    model: Model,
    namer: Namer,
    files: Sequence[FoundFile],
    boxes: BoxList | None = None,
    *,
    before: Mapping = MappingProxyType({}),
) -> dict:
    """Gives the model the runtime that is asked for, checked on photographs among `files`; what came of it, for manifests.

    `before` is the identity of the run to go on with: `auto` then means what it came to be there.
    """
    from linnaea.embed.images.runtime_sample import sample_evenly, select_runtime_for_records

    check = select_runtime_for_records(
        model,
        before.get("runtime", "auto").partition(":")[0] if config.runtime == "auto" else config.runtime,
        lambda n: list(make_jobs(config, sample_evenly(files, n), boxes)),
        len(files),
        decode=partial(_read_job, preprocess=model.card.preprocess, decoding=config.decoding),
        label=partial(first_names, namer),
        names=namer.hash,
        say=say_for(config),
    )
    learnt_with, runtime = getattr(namer, "learnt_with", ""), getattr(model, "runtime", DEFAULT_RUNTIME)
    if learnt_with and learnt_with != runtime:
        say_for(config)(
            f"{config.labels} was learnt with --runtime {learnt_with} and is used with {runtime}: confidences differ a "
            "little; learn it again with the same one"
        )
    return check


def first_names(namer: Namer, vectors_bd: np.ndarray) -> list[str]:
    """The best name of each image at the deepest rank, however unlikely; "" where a label set refuses it."""
    rows = [named[0] for named in namer.name(vectors_bd, [""] * len(vectors_bd))]
    return [row.path_confidence[-1].name if row.path_confidence else row.name for row in rows]


def _name_batch(namer: Namer, batch: EmbeddedBatch) -> list[tuple[str, Prediction]]:
    named = iter(namer.name(batch.vectors_bd, [j.file for i, j in enumerate(batch.records) if i not in batch.failures]))
    rows = []
    for i, job in enumerate(batch.records):
        if i in batch.failures:
            row = Prediction(file=job.file, status=job.status or "unreadable", reason=batch.failures[i], box=job.box)
            rows.append((job.path, row))
        else:
            rows += [(job.path, dataclasses.replace(prediction, box=job.box)) for prediction in next(named)]
    return rows


# --- The command


def main(config: IdentifyConfig, *, namer: Namer | None = None, model: Model | None = None) -> int:
    """0 when something could be done, 1 when there was no photograph or none could be read."""
    if config.watch:
        from linnaea.identify.commands.watch import watch

        return watch(config, namer=namer, model=model)
    start = time.monotonic()
    if config.writes_file:
        check_free(config)
    boxes = load_boxes(config.boxes, config.box_confidence) if config.boxes else None
    model = model or load_model_if_named(config.model)
    waiting = read_state(get_journal_dir(config.out)) if config.writes_file and config.resume else None
    files = _restore_files(waiting) if waiting else find_images(config.paths)
    mode = config.names
    if mode == "auto" and config.writes_file and config.resume:
        # A full table that was made since would be another run than the one to go on with, or that is finished.
        before = (waiting or read_finished_manifest(config.out)).get("names", mode)
        mode = before if before in ("full", "staged") else mode
    if mode == "auto" and len(files.files) > STAGED_IMAGES:
        mode = "full"
    if namer is None:
        options = dataclasses.replace(config.make_namer_config(), names=mode)
        namer = load_namer(options, model, say=say_for(config), report=name_progress(config))
    before = waiting or (read_finished_manifest(config.out) if config.writes_file and config.resume else {})
    check = select_runtime_for_run(config, model, namer, files.files, boxes, before=before) if files.files else {}
    identity = make_run_identity(config, model, namer) | {"runtime_check": check} | describe_namer(namer)
    if waiting is not None and waiting["hash"] != identity["hash"]:
        raise ValueError(difference(get_journal_dir(config.out), waiting, identity))
    if config.writes_file and config.resume and waiting is None and config.out.exists():
        code = get_finished_exit_code(config, identity)
        say_for(config)(f"{config.out} is finished already")
        return code

    _say_found(config, files)
    if not files.files:
        print(f"linnaea: no photograph in {', '.join(map(str, config.paths))}", file=sys.stderr)
        return 1
    _check_boxes(config, boxes, files)
    total = len(files.files) if boxes is None else _count_boxes(config, boxes, files)
    if config.writes_file:
        counts = _run_to_file(config, model, namer, files, boxes, total, waiting, identity)
    else:
        counts = _run_to_stdout(config, model, namer, files, boxes, total)
    if not config.quiet:
        if warning := format_calibration_warning(namer, model):
            print(warning, file=sys.stderr)
        print(summary(counts, time.monotonic() - start, config.out if config.writes_file else None), file=sys.stderr)
    if config.names == "auto" and namer.kind == "staged":
        _make_table_for_later(config, model, namer)
    return 0 if counts["identified"] + counts["unidentified"] else 1


def _make_table_for_later(config: IdentifyConfig, model: Model, namer: Namer) -> None:
    """Embeds every name once, now that the answers are out, so that later runs begin with the exact table."""
    from linnaea.embed.names.name_table import make_table

    say = say_for(config)
    say("Embedding every name once, so that later runs start at once (the answers are complete: Ctrl-C does no harm)")
    try:
        make_table(model, namer.vocabulary)
    except KeyboardInterrupt:
        say("stopped; a later run will embed the names")
    except OSError as error:
        say(f"the table of names could not be kept ({error}); the answers are complete")


def say_for(config: IdentifyConfig):
    """What tells the user a line, on stderr unless --quiet."""
    return (lambda line: None) if config.quiet else (lambda line: print(line, file=sys.stderr))


def name_progress(config: IdentifyConfig):
    """What shows how far the embedding of names has come, where that is needed."""
    progress: Progress | None = None

    def report(done: int, total: int) -> None:
        nonlocal progress
        progress = progress or Progress(total, "names", done=done, quiet=config.quiet)
        progress.advance(done - progress.done)
        if done >= total:
            progress.close()

    return report


def _restore_files(state: dict) -> FoundFiles:
    return FoundFiles(tuple(FoundFile(path, reason) for path, reason in state["files"]))


def _say_found(config: IdentifyConfig, files: FoundFiles) -> None:
    say = say_for(config)
    if files.n_duplicates:
        say(f"{files.n_duplicates:,} paths came twice; each has one row")
    for folder in files.empty_folders[:3]:
        say(f"no photograph in {folder}")


def _check_boxes(config: IdentifyConfig, boxes: BoxList | None, files: FoundFiles) -> None:
    if boxes is None:
        return
    roots = [os.fspath(path) for path in config.paths if path.is_dir()]
    if not any(boxes.find(file.path, roots) is not None for file in files.files):
        first = next(iter(boxes.boxes), "nothing")
        raise ValueError(
            f"{boxes.path} names none of the {len(files.files)} photographs (it begins with {first!r}); "
            "give the folder its paths are relative to"
        )


def _count_boxes(config: IdentifyConfig, boxes: BoxList, files: FoundFiles) -> int:
    roots = [os.fspath(path) for path in config.paths if path.is_dir()]
    return sum(max(1, len(boxes.find(file.path, roots) or ())) for file in files.files)


def _run_to_file(
    config: IdentifyConfig,
    model: Model,
    namer: Namer,
    files: FoundFiles,
    boxes: BoxList | None,
    total: int,
    waiting: dict | None,
    identity: dict,
) -> Counter:
    folder = get_journal_dir(config.out)
    if waiting is not None:
        journal, state = Journal.reopen(folder), waiting
    else:
        state = json.loads(json.dumps(identity, default=str)) | {
            "created": now(),
            "files": [(file.path, file.reason) for file in files.files],
        }
        journal = Journal.create(folder, state)
    n_done = journal.n_batches * config.batch_size
    progress = Progress(total, done=min(n_done, total), quiet=config.quiet)
    jobs = islice(make_jobs(config, files.files, boxes), n_done, None)
    scorer = fast_scorer(config, namer)
    for rows in name_batches(config, model, namer, jobs):
        batch = {"rows": [[path, pack(prediction)] for path, prediction in rows]}
        journal.append(batch | ({"scoring": scorer.take_summary()} if scorer else {}))
        first = [prediction for _path, prediction in rows if prediction.position == 1]
        progress.advance(len(first), sum(prediction.status == "unreadable" for prediction in first))
    progress.close()

    def rows() -> Iterator[tuple[str, Prediction]]:
        return ((path, unpack(packed)) for batch in journal.read() for path, packed in batch["rows"])

    say = say_for(config)
    by = identified_by(model)
    n_unplaced = write_output(
        config.out, config.as_, rows, identified_by=by, created=state["created"], near=config.near
    )
    log_missing_places(config.out, n_unplaced)
    counts = count(prediction for _path, prediction in rows())
    _write_extras(config, rows, counts, model, namer)
    facts = {key: state[key] for key in MANIFEST_KEYS if key in state} | {"counts": dict(counts)}
    if scorer:
        facts["scoring"] = merge_summaries(batch["scoring"] for batch in journal.read())
        say(format_scoring_summary(facts["scoring"]))
    write_json(get_manifest_path(config.out), facts)
    journal.remove()
    return counts


def fast_scorer(config: IdentifyConfig, namer: Namer) -> Scorer | None:
    """The scorer of a run with `--scoring fast`, None for other runs. What the check of a runtime asked of it does not count."""
    scorer = getattr(namer, "scorer", None) if config.scoring == "fast" else None
    if scorer is not None:
        scorer.take_summary()
    return scorer


def format_scoring_summary(summary: Mapping[str, int | float]) -> str:
    """One line of what the fast way did, and what it left unread."""
    exact = sum(summary[method] for method in METHODS) - summary["fast"]
    line = f"--scoring fast: {summary['fast']:,} photographs the fast way, {exact:,} exactly"
    return line + (
        f"; at most {summary['largest_unread']:.2g} of a photograph's mass was left unread" if summary["fast"] else ""
    )


def now() -> str:
    """The time in UTC, as tables of observations write it."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def identified_by(model: Model) -> str:
    """Who named the photographs, for tables that others read."""
    return f"Linnaea {__version__} (model {model.card.name}, {model.card.hash})"


def _run_to_stdout(
    config: IdentifyConfig, model: Model, namer: Namer, files: FoundFiles, boxes: BoxList | None, total: int
) -> Counter:
    from linnaea.standards.tables import write_csv_rows

    csv_wanted, printer = config.out is not None, TerminalTable()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal or a locale without UTF-8 must not end the run
        sys.stdout.reconfigure(**({"encoding": "utf-8"} if csv_wanted else {"errors": "replace"}))
    progress = Progress(total, quiet=config.quiet)
    counts: Counter = Counter()
    kept: list[tuple[str, Prediction]] = []
    scorer = fast_scorer(config, namer)
    for number, rows in enumerate(name_batches(config, model, namer, make_jobs(config, files.files, boxes))):
        predictions = [prediction for _path, prediction in rows]
        progress.close()
        if csv_wanted:
            write_csv_rows(sys.stdout, PREDICTION_COLUMNS, map(make_prediction_row, predictions), header=number == 0)
        else:
            print("\n".join(chain([printer.format_header()] if number == 0 else [], printer.format_rows(predictions))))
        sys.stdout.flush()
        counts += count(predictions)
        if config.report is not None and len(kept) < REPORT_ROWS:
            kept += rows
        first = [prediction for prediction in predictions if prediction.position == 1]
        progress.advance(len(first), sum(prediction.status == "unreadable" for prediction in first))
    progress.close()
    if scorer:
        say_for(config)(format_scoring_summary(scorer.summary()))
    _write_extras(dataclasses.replace(config, table=False), lambda: iter(kept), counts, model, namer)
    return counts


def _write_extras(config: IdentifyConfig, rows, counts: Counter, model: Model, namer: Namer) -> None:
    """The HTML report and the printed table, where they are wanted."""
    if config.report is not None:
        from linnaea.identify.output.html_report import write_report

        write_report(config.report, rows(), counts, identified_by(model), format_calibration_warning(namer, model))
        say_for(config)(f"report: {config.report}")
    if config.table:
        printer = TerminalTable()
        print(printer.format_header())
        for _path, prediction in rows():
            print(*printer.format_rows([prediction]))


def count(predictions: Iterable[Prediction]) -> Counter:
    """How many images (or boxes) have each status, and how many were identified at each rank."""
    counts: Counter = Counter()
    for prediction in predictions:
        if prediction.position == 1:
            counts[prediction.status] += 1
            if prediction.status == "identified":
                counts[f"rank:{prediction.rank}"] += 1
    return counts


def summary(counts: Counter, duration_s: float, out: Path | None) -> str:
    """One line that says how the run went."""
    total = counts["identified"] + counts["unidentified"] + counts["unreadable"]
    ranks = ", ".join(f"{counts[f'rank:{rank}']:,} {rank}" for rank in reversed(RANKS) if counts[f"rank:{rank}"])
    line = f"{total:,} in {format_duration(duration_s)}: {counts['identified']:,} identified"
    line += f" ({ranks})" if ranks else ""
    line += f", {counts['unidentified']:,} unidentified, {counts['unreadable']:,} unreadable"
    return line + (f" → {out}" if out is not None else "")
