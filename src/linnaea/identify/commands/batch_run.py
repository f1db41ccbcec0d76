"""One run over the photographs that exist when it starts: plan it, name batch after batch, write the output.

1. Find the photographs, each once. 2. Load the model, the vocabulary and the name table, or the labels. 3. For each
batch: decode, embed, name, append the rows to a journal beside the output. 4. Write the output from the journal and
move it into place. A run that is killed in step 3 or 4 is resumed from the journal; with the same options and the same
journal the output is the same to the byte.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from linnaea.embed.journal import Journal, RunOutput
from linnaea.embed.left_out import count_reasons, drop_own_files, report_left_out
from linnaea.identify.commands.config import IdentifyConfig
from linnaea.identify.commands.event_outputs import (
    describe_events,
    index_captures,
    index_events,
    make_describer,
    write_event_files,
)
from linnaea.identify.commands.pipeline import (
    list_roots,
    load_boxes_if_given,
    load_model_if_named,
    make_jobs,
    name_batches,
    select_runtime_for_run,
)
from linnaea.identify.commands.row_printer import RowPrinter
from linnaea.identify.commands.run_identity import (
    check_output_folder,
    choose_names_mode,
    list_differences,
    make_run_identity,
    read_finished_manifest,
)
from linnaea.identify.commands.run_summary import (
    count_statuses,
    format_identified_by,
    format_scoring_summary,
    format_utc_now,
    summarize_run,
    take_fast_scorer,
    write_run_manifest,
)
from linnaea.identify.detection.box_list import BoxList
from linnaea.identify.detection.detection_jobs import count_file_jobs
from linnaea.identify.detection.unmatched_boxes import check_boxes, report_unmatched
from linnaea.identify.naming.namer import Namer, describe_namer, format_calibration_warning, load_namer
from linnaea.identify.output.event_index import EventIndex
from linnaea.identify.output.writers import log_package_gaps, pack, unpack, write_output
from linnaea.model.core.contract import Model
from linnaea.photos.photo_files import FoundFile, FoundFiles, LeftOut, find_images
from linnaea.records import Prediction
from linnaea.search.scorer import Scorer, merge_summaries
from linnaea.standards.captures import CaptureIndex
from linnaea.terminal import Progress

logger = logging.getLogger(__name__)

Rows = Callable[[], Iterator[tuple[str, Prediction]]]


@dataclass(frozen=True, kw_only=True)
class IdentifyPlan:
    """What a run needs: options, model, names, photographs, boxes, its identity, and its output if it writes a file."""

    config: IdentifyConfig
    model: Model
    namer: Namer
    files: FoundFiles
    boxes: BoxList | None
    identity: dict
    output: RunOutput | None

    def count_images(self) -> int:
        """The number of photographs, or of boxes in them; a photograph without a box counts once."""
        if self.boxes is None:
            return sum(count_file_jobs(file, self.config.frames) for file in self.files.files)
        roots = list_roots(self.config)
        return sum(max(1, len(self.boxes.find(file.path, roots) or ())) for file in self.files.files)

    def name_batches(self, n_done: int = 0) -> Iterator[list[tuple[str, Prediction]]]:
        """Yield the rows of each batch after the first `n_done` images."""
        jobs = islice(make_jobs(self.config, self.files.files, self.boxes), n_done, None)
        return name_batches(self.config, self.model, self.namer, jobs)


def run_batches(config: IdentifyConfig, *, namer: Namer | None = None, model: Model | None = None) -> int:
    """Name the photographs; return 0 if one could be read, 1 if there was none or none could be read."""
    start_s = time.monotonic()
    config.read_deployments()  # its errors, before hours of naming
    output = _open_output(config)
    finished = read_finished_manifest(config.out) if output is not None and config.resume else {}
    plan = _plan_run(config, output, finished, namer, model)
    if output is not None:
        if output.is_finished(plan.identity["hash"], finished.get("hash")):
            logger.info(f"{config.out} is finished already")
            return _choose_exit_code(finished["counts"])
        output.check_free()
        output.check_same(
            plan.identity, list_differences(output.interrupted, plan.identity) if output.interrupted else ""
        )
    report_left_out(plan.files.left_out, len(plan.files.files), config.out if config.writes_file else None)
    if not plan.files.files:
        logger.warning(f"no photograph in {', '.join(map(str, config.paths))}")
        return 1
    _check_boxes(plan)
    counts = _run_to_file(plan) if output is not None else _run_to_stdout(plan)
    if warning := format_calibration_warning(plan.namer, plan.model):
        logger.warning(warning)
    logger.info(summarize_run(config, counts, start_s, len(plan.files.left_out)))
    return _choose_exit_code(counts)


def _choose_exit_code(counts: Mapping[str, int]) -> int:
    return 0 if counts.get("identified", 0) + counts.get("unidentified", 0) else 1


# --- Plan


def _open_output(config: IdentifyConfig) -> RunOutput | None:
    """The output of the run, None without a file. Raise FileExistsError for an output that a new run would replace."""
    if not config.writes_file:
        return None
    check_output_folder(config.out)
    # With both options a finished output of other options is kept.
    output = RunOutput(config.out, resume=config.resume, overwrite=config.overwrite and not config.resume)
    if not config.resume:
        output.check_free()
    return output


def _plan_run(
    config: IdentifyConfig, output: RunOutput | None, finished: dict, namer: Namer | None, model: Model | None
) -> IdentifyPlan:
    """Load what the run needs. `finished` is the manifest of a complete run to resume."""
    boxes = load_boxes_if_given(config)
    model = model or load_model_if_named(config.model)
    before = (output.interrupted if output is not None else None) or finished
    files = _find_files(config, output)
    if namer is None:
        mode = choose_names_mode(config.names, before)
        namer = load_namer(dataclasses.replace(config, names=mode), model)
    check = select_runtime_for_run(config, model, namer, files.files, boxes, before=before) if files.files else {}
    identity = make_run_identity(config, model, namer) | {"runtime_check": check} | describe_namer(namer)
    return IdentifyPlan(
        config=config, model=model, namer=namer, files=files, boxes=boxes, identity=identity, output=output
    )


def _find_files(config: IdentifyConfig, output: RunOutput | None) -> FoundFiles:
    """The photographs of the run to resume, or those that there are now."""
    if output is not None and (restored := output.read_files()):
        left_out = tuple(LeftOut(*one) for one in output.read_left_out())
        return FoundFiles(tuple(FoundFile(*file) for file in restored), left_out)
    found = find_images(config.paths, videos=True)
    return found if output is None else FoundFiles(found.files, drop_own_files(found.left_out, config.out))


def _check_boxes(plan: IdentifyPlan) -> None:
    """Raise ValueError if the list of boxes has none of the photographs; list its entries that have no photograph."""
    if plan.boxes is None:
        return
    config, roots = plan.config, list_roots(plan.config)
    check_boxes(plan.boxes, plan.files.files, roots)
    list_path = config.out.with_name(f"{config.out.name}.boxes_unmatched.csv") if config.writes_file else None
    report_unmatched(plan.boxes.list_unmatched(plan.files.files, roots), plan.boxes.path, list_path)


# --- Name and write


def _run_to_file(plan: IdentifyPlan) -> Counter:
    """Name the remaining photographs into the journal, write the output from it; the counts of all rows."""
    config = plan.config
    files = [(file.path, file.reason) for file in plan.files.files]
    left_out = [(one.path, one.reason) for one in plan.files.left_out]
    journal = plan.output.open(plan.identity | {"created": format_utc_now()}, files, left_out)
    scorer = take_fast_scorer(config, plan.namer)
    _name_into(journal, plan, scorer)
    rows = partial(_read_rows, journal)
    captures = index_captures(config, rows)
    index = index_events(config, rows, plan.namer, captures)
    gaps = write_output(
        config.out,
        config.as_,
        rows,
        identified_by=format_identified_by(plan.model),
        created=journal.state["created"],
        near=config.near,
        index=index,
        captures=captures,
    )
    captures.log_unknown()
    write_event_files(config, index, rows)
    log_package_gaps(config.out, gaps)
    counts = count_statuses(prediction for _path, prediction in rows())
    _write_report(plan, rows, counts, index, captures)
    if config.table:
        _print_table(rows)
    more: dict = {"left_out": count_reasons(plan.files.left_out)}
    if scorer:
        more["scoring"] = merge_summaries(batch["scoring"] for batch in journal.read())
        logger.info(format_scoring_summary(more["scoring"]))
    write_run_manifest(config.out, journal.state, counts, more)
    journal.remove()
    return counts


def _name_into(journal: Journal, plan: IdentifyPlan, scorer: Scorer | None) -> None:
    """Name the photographs that are not in the journal yet."""
    n_done, total = journal.n_batches * plan.config.batch_size, plan.count_images()
    progress = Progress(total, done=min(n_done, total), quiet=plan.config.quiet)
    for rows in plan.name_batches(n_done):
        journal.append(_pack_batch(rows) | ({"scoring": scorer.take_summary()} if scorer else {}))
        _advance(progress, [prediction for _path, prediction in rows])
    progress.close()


def _pack_batch(rows: list[tuple[str, Prediction]]) -> dict:
    return {"rows": [[path, pack(prediction)] for path, prediction in rows]}


def _read_rows(journal: Journal) -> Iterator[tuple[str, Prediction]]:
    return ((path, unpack(packed)) for batch in journal.read() for path, packed in batch["rows"])


def _advance(progress: Progress, predictions: list[Prediction]) -> None:
    first = [prediction for prediction in predictions if prediction.position == 1]
    progress.advance(len(first), sum(prediction.status == "unreadable" for prediction in first))


def _run_to_stdout(plan: IdentifyPlan) -> Counter:
    """Print the rows of each batch as they come; the counts of all rows."""
    config = plan.config
    printer = RowPrinter(as_csv=config.out is not None)
    progress = Progress(plan.count_images(), quiet=config.quiet)
    counts: Counter = Counter()
    scorer = take_fast_scorer(config, plan.namer)
    with _keep_rows(config) as journal:
        for rows in plan.name_batches():
            predictions = [prediction for _path, prediction in rows]
            progress.close()
            printer.print_rows(predictions)
            counts += count_statuses(predictions)
            if journal is not None:
                journal.append(_pack_batch(rows))
            _advance(progress, predictions)
        progress.close()
        if journal is not None:
            read = partial(_read_rows, journal)
            captures = index_captures(config, read)
            index = index_events(config, read, plan.namer, captures)
            captures.log_unknown()
            write_event_files(config, index, read)
            _write_report(plan, read, counts, index, captures)
    if scorer:
        logger.info(format_scoring_summary(scorer.summary()))
    return counts


@contextmanager
def _keep_rows(config: IdentifyConfig) -> Iterator[Journal | None]:
    """A journal in a temporary folder for a run on stdout that also writes a file; else None."""
    if not config.writes_event_files and config.report is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="linnaea-") as folder:
        journal = Journal.create(Path(folder) / "rows", {})
        try:
            yield journal
        finally:
            journal.close()


def _write_report(plan: IdentifyPlan, rows: Rows, counts: Counter, index: EventIndex, captures: CaptureIndex) -> None:
    """Write the HTML report if it was asked for."""
    if plan.config.report is None:
        return
    from linnaea.identify.output.report.html_report import write_report

    warning = format_calibration_warning(plan.namer, plan.model)
    write_report(
        plan.config.report,
        rows(),
        counts,
        format_identified_by(plan.model),
        warning,
        describe=make_describer(index, rows, captures),
        events=describe_events(index),
    )
    logger.info(f"report: {plan.config.report}")


def _print_table(rows: Rows) -> None:
    printer = RowPrinter(as_csv=False)
    for _path, prediction in rows():
        printer.print_rows([prediction])
