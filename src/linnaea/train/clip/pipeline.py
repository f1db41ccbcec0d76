"""From a recipe of a two-tower model to a folder in open_clip's format, which open_clip and `linnaea identify` read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from linnaea.datasets.write_errors import writing
from linnaea.model.formats.model_folder import CONFIG
from linnaea.store import write_json
from linnaea.train.clip.recipe import ClipRecipe, describe

RECORD = "training.json"
RUN = "training"


def run_clip(
    recipe: ClipRecipe,
    out: Path,
    work: Path | None = None,
    *,
    resume: bool = False,
    validate: Callable | None = None,
    report: Callable[[str], None] = print,
) -> Path:
    """Trains a recipe on the ranks that there are and writes the model folder; returns the folder.

    Checkpoints, curves and the journals of samples that could not be used lie in `work`, by default `out`/training. With
    `validate_every` and no `validate` the towers are validated as `linnaea.train.clip.validation` does it.
    """
    from linnaea.train.clip.input_checks import check_model_folders
    from linnaea.train.clip.loop import train_clip
    from linnaea.train.clip.naming_card import save_names
    from linnaea.train.clip.open_clip_io import save_open_clip
    from linnaea.train.distributed.process_group import join

    if (out / CONFIG).exists():
        raise ValueError(f"{out} holds a model of another kind ({CONFIG}); choose another --out")
    check_model_folders(recipe)
    work = work or out / RUN
    with join(recipe.device, timeout_s=recipe.timeout_s) as processes:
        if processes.is_first:
            report(
                f"{recipe.name}: {processes.world_size} {'rank' if processes.world_size == 1 else 'ranks'} on {processes.device.type}, {work}"
            )
        own = None
        if recipe.validate_every and validate is None:
            from linnaea.train.clip.validation import Validation

            validate = own = Validation(recipe, work, processes)
        towers = train_clip(recipe, work, processes=processes, resume=resume, validate=validate, report=report)
        if processes.is_first and own is not None and own.rejects.counts:
            report(f"validation: not used: {own.rejects.summary()}")
        stopped = 0 < recipe.stop_after < recipe.steps
        if processes.is_first and not stopped:
            with writing(out, "the model"):
                save_open_clip(towers, recipe.towers, out)
                write_json(
                    out / RECORD, {"recipe": describe(recipe), "ranks": processes.world_size, "curve": _figures(work)}
                )
        if processes.is_first and stopped:
            report(f"stopped after step {recipe.stop_after} as asked; --resume with stop_after 0 goes on")
    # No other rank waits for it: many shards take minutes to look through.
    if processes.is_first and not stopped:
        with writing(out, "the model"):
            save_names(recipe, out, report)
    return out


def _figures(work: Path) -> list[list[float]]:
    """Step and loss, a hundred of them at most."""
    from linnaea.train.runtime.metrics_log import CURVE, read_curve

    with suppress(FileNotFoundError):
        rows = read_curve(work / CURVE)
        return [[int(row["step"]), row["loss"]] for row in rows[:: -(-len(rows) // 100) or 1]]
    return []
