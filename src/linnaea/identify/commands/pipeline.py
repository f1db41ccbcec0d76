"""From files to rows, a batch at a time: what a run over photographs and a watch over folders have in common."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import numpy as np

from linnaea.embed.images.image_vectors import EmbeddedBatch, embed_batches
from linnaea.embed.images.pixel_reader import NotedPixels, read_pixels
from linnaea.identify.commands.config import IdentifyConfig
from linnaea.identify.detection.box_file import load_boxes
from linnaea.identify.detection.box_list import BoxList
from linnaea.identify.detection.detection_jobs import (
    Detector,
    Job,
    make_box_jobs,
    make_detector_jobs,
    make_file_jobs,
)
from linnaea.identify.naming.namer import Namer
from linnaea.model.core.contract import Model, Preprocess
from linnaea.model.runtimes.runtime_names import DEFAULT_RUNTIME
from linnaea.photos.decoding import Unreadable
from linnaea.photos.photo_files import FoundFile
from linnaea.records import OUTCOMES, ImageRecord, Prediction
from linnaea.standards.captures import CaptureIndex

logger = logging.getLogger(__name__)


def load_model_if_named(model: str | Model) -> Model:
    """The model itself, or the loaded model if a name is given."""
    if not isinstance(model, str):
        return model
    from linnaea.model.loading import load_model

    return load_model(model)


def load_boxes_if_given(config: IdentifyConfig) -> BoxList | None:
    """The boxes of the file `--boxes`, None without a file."""
    if config.boxes is None or config.seeks_motion:
        return None
    return load_boxes(config.boxes, config.box_confidence, config.box_units)


def list_roots(config: IdentifyConfig) -> list[str]:
    """The folders among the paths of a run: paths in a list of boxes may be relative to them."""
    return [os.fspath(path) for path in config.paths if path.is_dir()]


def make_jobs(
    config: IdentifyConfig, files: Iterable[FoundFile], boxes: BoxList | None, detector: Detector | None = None
) -> Iterator[Job]:
    """Yield what to name in the files: each photograph as a whole, or what is in its boxes."""
    if boxes is not None:
        return make_box_jobs(files, boxes, list_roots(config))
    if config.seeks_motion:
        return _make_motion_jobs(config, list(files))
    if config.detector is not None:
        from linnaea.identify.detection.onnx_detector import load_detector

        detector = load_detector(config.detector, config.box_confidence)
    return make_file_jobs(files, config.frames) if detector is None else make_detector_jobs(files, detector)


def _make_motion_jobs(config: IdentifyConfig, files: list[FoundFile]) -> Iterator[Job]:
    from linnaea.identify.detection.motion import make_motion_jobs

    captures = CaptureIndex([file.path for file in files], zone=config.find_zone(), table=config.read_deployments())
    found = [captures.find(file.path) for file in files]
    places = [(capture.deployment.id, capture.captured_at) for capture in found]
    return make_motion_jobs(files, places, config.event_gap_s, config.frames)


def read_job(job: ImageRecord, preprocess: Preprocess, decoding: str) -> np.ndarray | NotedPixels | Unreadable:
    """The pixels of a job; the file of a job that has its outcome already is not opened."""
    return Unreadable(job.reason) if isinstance(job, Job) and job.outcome else read_pixels(job, preprocess, decoding)


def name_batches(
    config: IdentifyConfig, model: Model, namer: Namer, jobs: Iterator[Job]
) -> Iterator[list[tuple[str, Prediction]]]:
    """Yield the rows of each batch in input order, each with the path of its photograph."""
    decode = partial(read_job, preprocess=model.card.preprocess, decoding=config.decoding)
    for batch in embed_batches(model, jobs, batch_size=config.batch_size, decode=decode):
        yield _name_batch(namer, batch)


def _name_batch(namer: Namer, batch: EmbeddedBatch) -> list[tuple[str, Prediction]]:
    named = iter(namer.name(batch.vectors_bd, [j.file for i, j in enumerate(batch.records) if i not in batch.failures]))
    rows = []
    for i, job in enumerate(batch.records):
        if i in batch.failures:
            outcome = job.outcome or "unreadable"
            row = Prediction(
                file=job.file,
                status=OUTCOMES[outcome],
                outcome=outcome,
                reason=batch.failures[i],
                box=job.box,
                frame_time_s=job.frame_time_s,
            )
            rows.append((job.path, row))
        else:
            note = batch.notes.get(i, "")
            rows += [(job.path, _complete(prediction, job, note)) for prediction in next(named)]
    return rows


def _complete(prediction: Prediction, job: Job, note: str) -> Prediction:
    """The prediction with the box of its job, and with a note on its photograph."""
    reason = "; ".join(part for part in (prediction.reason, note) if part)
    return dataclasses.replace(prediction, box=job.box, frame_time_s=job.frame_time_s, reason=reason)


def select_runtime_for_run(
    config: IdentifyConfig,
    model: Model,
    namer: Namer,
    files: Sequence[FoundFile],
    boxes: BoxList | None = None,
    *,
    before: Mapping = MappingProxyType({}),
) -> dict:
    """Give the model the runtime of the options, checked on photographs among `files`; returns the record of the check.

    `before` is the identity of the run to resume: `auto` then means the runtime that was selected there.
    """
    from linnaea.embed.images.runtime_sample import sample_evenly, select_runtime_for_records

    check = select_runtime_for_records(
        model,
        before.get("runtime", "auto").partition(":")[0] if config.runtime == "auto" else config.runtime,
        lambda n: list(make_jobs(config, sample_evenly(files, n), boxes)),
        len(files),
        decode=partial(read_job, preprocess=model.card.preprocess, decoding=config.decoding),
        label=partial(find_best_names, namer),
        names=namer.hash,
    )
    learnt_with, runtime = getattr(namer, "learnt_with", ""), getattr(model, "runtime", DEFAULT_RUNTIME)
    if learnt_with and learnt_with != runtime:
        logger.warning(
            f"{config.labels} was learnt with --runtime {learnt_with} and is used with {runtime}: confidences differ a "
            "little; learn it again with the same runtime"
        )
    return check


def find_best_names(namer: Namer, vectors_bd: np.ndarray) -> list[str]:
    """The best name of each image at the deepest rank, however unlikely; "" if a label set refuses the image."""
    rows = [named[0] for named in namer.name(vectors_bd, [""] * len(vectors_bd))]
    return [row.path_confidence[-1].name if row.path_confidence else row.name for row in rows]
