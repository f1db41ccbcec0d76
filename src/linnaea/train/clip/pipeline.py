"""From a recipe of a CLIP model to a folder in open_clip's format, which open_clip and `linnaea identify` read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from linnaea.datasets.write_errors import explain_write_errors
from linnaea.model.formats.model_folder import CONFIG
from linnaea.store import write_json
from linnaea.train.clip.config import ClipConfig, describe_recipe

logger = logging.getLogger(__name__)

RECORD = "training.json"
RUN = "training"


def run_clip(
    recipe: ClipConfig,
    out_dir: Path,
    work_dir: Path | None = None,
    *,
    resume: bool = False,
    validate: Callable | None = None,
) -> Path:
    """Train a recipe on all ranks, write the model folder and return it.

    Checkpoints, curves and the journals of unusable samples are in `work_dir`, by default `out_dir`/training. With
    `validate_every` and no `validate` the towers are validated by `linnaea.train.clip.validation`.
    """
    from linnaea.train.clip.input_checks import check_model_folders
    from linnaea.train.clip.loop import train_clip
    from linnaea.train.clip.naming_card import save_names
    from linnaea.train.distributed.process_group import join

    if (out_dir / CONFIG).exists():
        raise ValueError(f"{out_dir} holds a model of another kind ({CONFIG}); choose another --out")
    check_model_folders(recipe)
    work_dir = work_dir or out_dir / RUN
    stopped = 0 < recipe.stop_after < recipe.steps
    with join(recipe.device, timeout_s=recipe.timeout_s) as processes:
        n_ranks = processes.world_size
        ranks = "rank" if n_ranks == 1 else "ranks"
        logger.info("%s: %d %s on %s, %s", recipe.name, n_ranks, ranks, processes.device.type, work_dir)
        own = None
        if recipe.validate_every and validate is None:
            from linnaea.train.clip.validation import Validation

            validate = own = Validation(recipe, work_dir, processes)
        towers = train_clip(recipe, work_dir, processes=processes, resume=resume, validate=validate)
        if own is not None and own.rejects.counts:
            logger.info("validation: not used: %s", own.rejects.summary())
        if stopped:
            logger.info("stopped after step %d as asked; --resume with stop_after 0 continues", recipe.stop_after)
        elif processes.is_first:
            _save_model(recipe, towers, out_dir, work_dir, n_ranks)
    # The other ranks have left: to look through many shards takes minutes.
    if processes.is_first and not stopped:
        with explain_write_errors(out_dir, "the model"):
            save_names(recipe, out_dir)
    return out_dir


def _save_model(recipe: ClipConfig, towers, out_dir: Path, work_dir: Path, n_ranks: int) -> None:
    from linnaea.train.clip.open_clip_io import save_open_clip

    with explain_write_errors(out_dir, "the model"):
        save_open_clip(towers, recipe.towers, out_dir)
        record = {"recipe": describe_recipe(recipe), "ranks": n_ranks, "curve": _sample_curve(work_dir)}
        write_json(out_dir / RECORD, record)


def _sample_curve(work_dir: Path) -> list[list[float]]:
    """Return step and loss of at most a hundred steps."""
    from linnaea.train.runtime.metrics_log import CURVE, read_curve

    with suppress(FileNotFoundError):
        rows = read_curve(work_dir / CURVE)
        return [[int(row["step"]), row["loss"]] for row in rows[:: -(-len(rows) // 100) or 1]]
    return []
