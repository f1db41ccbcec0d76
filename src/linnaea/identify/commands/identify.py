"""`linnaea identify`: photographs in, one table out. `identify(paths)` does the same for programs, without files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from linnaea.identify.commands.batch_run import run_batches
from linnaea.identify.commands.config import IdentifyConfig
from linnaea.identify.commands.pipeline import (
    load_boxes_if_given,
    load_model_if_named,
    make_jobs,
    name_batches,
    select_runtime_for_run,
)
from linnaea.identify.detection.detection_jobs import Detector
from linnaea.identify.naming.namer import Namer, load_namer
from linnaea.model.core.contract import Model
from linnaea.photos.photo_files import find_images
from linnaea.records import Prediction

__all__ = ["IdentifyConfig", "identify", "main"]


def identify(
    paths: Iterable[str | os.PathLike],
    *,
    model: str | Model = "bundled",
    detector: Detector | str | os.PathLike | None = None,
    namer: Namer | None = None,
    **options,
) -> Iterator[Prediction]:
    """Yield predictions for photographs and folders, one batch in memory at a time; nothing is written.

    `options` are the fields of `IdentifyConfig`. `detector` is an ONNX file, or returns boxes (pixels) for an upright
    PIL image; each box is named separately. `namer` replaces the vocabulary (see `linnaea.identify.load_namer`), so
    that several calls can share it.
    """
    if isinstance(detector, str | os.PathLike):
        options["detector"], detector = Path(detector), None
    config = IdentifyConfig(
        paths=tuple(Path(path) for path in paths), model=model if isinstance(model, str) else "", **options
    )
    loaded = load_model_if_named(model)
    namer = namer or load_namer(config, loaded)
    files = find_images(config.paths, videos=True)
    boxes = load_boxes_if_given(config)
    select_runtime_for_run(config, loaded, namer, files.files, boxes)
    batches = name_batches(config, loaded, namer, make_jobs(config, files.files, boxes, detector))
    return (prediction for batch in batches for _path, prediction in batch)


def main(config: IdentifyConfig, *, namer: Namer | None = None, model: Model | None = None) -> int:
    """Return 0 if a photograph could be read, 1 if there was none or none could be read."""
    config = config.choose_unmatched_path()
    if config.watch:
        from linnaea.identify.commands.watch import run_watch

        return run_watch(config, namer=namer, model=model)
    return run_batches(config, namer=namer, model=model)
