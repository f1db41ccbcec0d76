"""What a recipe of a two-tower model may say: the towers, the samples, the objective, the optimisation, the machine.

A recipe gives batches of the whole run, whatever it runs on: each of R ranks takes an R-th of them, and the run is the
same. The fields of `MACHINE` say how it is computed, not what; a run may be resumed with other ones.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from linnaea.datasets.manifests import check_text_types
from linnaea.datasets.samples import TEMPLATE
from linnaea.taxonomy.name_text import TEXT_TYPES
from linnaea.train.data.augmentation import AugmentConfig
from linnaea.train.data.sample_stream import DRAWS
from linnaea.train.runtime.overrides import read_plain
from linnaea.train.runtime.range_checks import NO_END, check_bounds

LOSSES = ("infonce", "sigmoid", "levels")
PRECISIONS = ("fp32", "bf16")
PARALLEL = ("ddp", "fsdp")
# Least and most of each number, both included. AdamW's memories must end below 1.
SAMPLES_BOUNDS = {"drawn": (0, NO_END), "window": (1, NO_END), "balance": (0, 1)}
BOUNDS = (
    dict.fromkeys(("batch", "steps", "keep", "log_every", "n_threads", "tile", "max_scale", "timeout_s"), (1, NO_END))
    | dict.fromkeys(("replay_batch", "micro_batch", "warm_up", "n_ahead"), (0, NO_END))
    | dict.fromkeys(("checkpoint_every", "validate_every", "stop_after"), (0, NO_END))
    | dict.fromkeys(("teacher_weight", "learning_rate", "weight_decay", "epsilon", "clip_norm"), (0, NO_END))
    | dict.fromkeys(("genus_share", "family_share", "final_rate"), (0, 1))
    | dict.fromkeys(("beta1", "beta2"), (0, 0.999999))
)
# May differ between a run and the run that it resumes; all else may not.
MACHINE = (
    "device",
    "micro_batch",
    "tile",
    "compile",
    "activation_checkpointing",
    "parallel",
    "n_threads",
    "n_ahead",
    "checkpoint_every",
    "keep",
    "log_every",
    "validate_every",
    "tensorboard",
    "timeout_s",
    "stop_after",
)


@dataclass(frozen=True, kw_only=True)
class SamplesConfig:
    """Where images with names come from, and in which order. One of `shards`, `table` and `drawn` says it."""

    shards: tuple[str, ...] = ()
    "tar shards in webdataset form: files, or patterns such as train/shard-*.tar"
    table: Path | None = None
    "CSV or Parquet table of images in files or in shards"
    root: Path | None = None
    "folder in which the table's files or shards lie; by default the table's own"
    split: str = ""
    "only the table's rows with this value of `split`"
    drawn: int = 0
    "this many drawn pictures of made-up species instead of photographs, for trials"
    template: str = TEMPLATE
    "what surrounds a name"
    keep_truncated: bool = False
    "use the whole samples of shards that break off, rather than stop"
    window: int = 64
    "shards that are shuffled together"
    balance: float = 0.0
    "how much rare taxa are drawn more often: 0 as they come, 1 all taxa equally often"
    types: tuple[str, ...] = TEXT_TYPES
    "text types, of which one is drawn"
    draw: str = field(default="sample", metadata={"choices": DRAWS})
    "`sample` draws a text type for each sample, `step` one for each global batch, as BioCLIP 2 did"

    def __post_init__(self):
        read_plain(self)
        given = [name for name in ("shards", "table", "drawn") if getattr(self, name)]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"samples come from shards, a table or drawn pictures, but {found} is given; give one")
        check_bounds(self, SAMPLES_BOUNDS)
        check_text_types(self.types)
        if self.draw not in DRAWS:
            raise ValueError(f"unknown draw {self.draw!r}; choose one of {', '.join(DRAWS)}")
        before, mark, after = self.template.partition("{}")
        if not mark or set("{}") & set(before + after):
            raise ValueError(
                f"template {self.template!r} has not exactly one {{}}, where the name goes; as in {TEMPLATE!r}"
            )
        self._check_meant()

    @property
    def fullest_type(self) -> str:
        """Of its text types the one that says most."""
        return max(self.types, key=TEXT_TYPES.index)

    def _check_meant(self) -> None:
        """ValueError where a field is given that would change nothing."""
        for name in ("split", "root"):
            if getattr(self, name) and not self.table:
                raise ValueError(
                    f"{name} {str(getattr(self, name))!r} is of a table, and none is given; give table, or no {name}"
                )
        if self.drawn and (self.keep_truncated or self.window != SamplesConfig.window):
            raise ValueError(
                "keep_truncated and window are of shards and tables, not of drawn pictures; leave them out"
            )


@dataclass(frozen=True, kw_only=True)
class ClipRecipe:
    """Everything that makes a two-tower model, data included."""

    name: str
    "name of the model"
    towers: Path
    "an open_clip_config.json, which describes both towers and the pixels"
    start: Path | None = None
    "folder in open_clip's format to start from; without it weights are drawn"
    organisms: SamplesConfig
    "images of organisms"
    replay: SamplesConfig | None = field(default=None, metadata={"takes_along": ("replay_batch",)})
    "images of anything, which keep their place through a second projector"
    crop: AugmentConfig = field(default_factory=AugmentConfig)
    "how training crops are drawn"
    batch: int
    "pairs of organisms in a step, over all ranks"
    replay_batch: int = 0
    "replayed pairs in a step, over all ranks"
    loss: str = field(default="infonce", metadata={"choices": LOSSES})
    "`infonce`, `sigmoid` or `levels` (relatives are partial positives)"
    genus_share: float = 0.0
    "for `levels`: share of the target that goes to the same genus, 0..1"
    family_share: float = 0.0
    "for `levels`: share of the target that goes to the same family, 0..1"
    teacher: Path | None = None
    "folder in open_clip's format whose towers are distilled, too"
    teacher_weight: float = 1.0
    "weight of the distillation, beside 1 for the contrast"
    steps: int
    "optimizer steps"
    warm_up: int = 0
    "steps of linear warm-up before the cosine"
    learning_rate: float = 1e-4
    "AdamW's, at its peak"
    final_rate: float = 0.0
    "the last learning rate as a share of the peak"
    weight_decay: float = 0.2
    "AdamW's, on matrices only: never on norms, biases and the logit scale"
    beta1: float = 0.9
    "AdamW's memory of gradients"
    beta2: float = 0.98
    "AdamW's memory of squared gradients"
    epsilon: float = 1e-6
    "AdamW's"
    clip_norm: float = 0.0
    "gradients longer than this are shortened to it; 0 leaves them"
    max_scale: float = 100.0
    "the learned logit scale is held below this"
    seed: int = 0
    "of drawn weights, of the order, the texts and the crops"
    precision: str = field(default="fp32", metadata={"choices": PRECISIONS})
    "`fp32`, or `bf16` for products in bfloat16 with weights in float32"
    device: str = "auto"
    "`auto` is a GPU where there is one; or cpu, cuda"
    micro_batch: int = 0
    "pairs of a rank whose activations are held at once (gradient caching); 0 holds all"
    tile: int = 1024
    "side of the squares in which the loss is computed"
    compile: bool = False
    "compile the blocks of the towers"
    activation_checkpointing: bool = False
    "keep the inputs of blocks alone and compute the rest again"
    parallel: str = field(default="ddp", metadata={"choices": PARALLEL})
    "`ddp` holds the model on every rank, `fsdp` shares it among them"
    n_threads: int = 4
    "threads of a rank that read and decode"
    n_ahead: int = 2
    "batches made before they are asked for"
    checkpoint_every: int = 1000
    "steps from one checkpoint to the next; 0 keeps the last alone"
    keep: int = 2
    "checkpoints to keep, the newest"
    log_every: int = 10
    "steps from one line of the terminal to the next"
    validate_every: int = 0
    "steps from one validation, on the table's rows whose split is `val`, to the next, and at the end; 0 leaves it out"
    tensorboard: bool = False
    "write TensorBoard's event files, too"
    timeout_s: float = 1800.0
    "seconds after which a rank that does not answer is taken for lost"
    stop_after: int = 0
    "stop at this step with a checkpoint, as if interrupted; 0 goes on to the end"

    def __post_init__(self):
        read_plain(self)
        _check_choices(self)
        check_bounds(self, BOUNDS)
        if self.replay and not self.replay_batch:
            raise ValueError(
                "replay is given and replay_batch is 0; give --replay-batch, or --replay none to train without"
            )
        if self.replay_batch and not self.replay:
            raise ValueError(
                f"replay_batch is {self.replay_batch} and there is no replay; say of what with --replay.shards or "
                "--replay.table, or give --replay-batch 0"
            )
        if self.warm_up > self.steps:
            raise ValueError(f"warm_up {self.warm_up} is longer than the run of {self.steps} steps; shorten it")
        if self.loss != "levels" and (self.genus_share or self.family_share):
            raise ValueError(f"genus_share and family_share need loss levels, not {self.loss}")
        if self.loss == "sigmoid" and self.replay:
            raise ValueError(
                "loss sigmoid has no replay; use --loss infonce or levels, or leave replay out with --replay none"
            )

    @property
    def second(self) -> bool:
        """Whether there is a second image projector."""
        return self.replay is not None


def _check_choices(recipe: ClipRecipe) -> None:
    for name, choices in (("loss", LOSSES), ("precision", PRECISIONS), ("parallel", PARALLEL)):
        if getattr(recipe, name) not in choices:
            raise ValueError(f"unknown {name} {getattr(recipe, name)!r}; choose one of {', '.join(choices)}")


def describe(recipe: ClipRecipe) -> dict:
    """A recipe as JSON values, whole."""
    return json.loads(json.dumps(asdict(recipe), default=str))


def defining(recipe: ClipRecipe) -> dict:
    """What of a recipe decides about the result, as JSON values: without `MACHINE`, the towers as their file's text has
    them, and of other paths the last name alone, as folders may move."""
    kept = {name: value for name, value in asdict(recipe).items() if name not in MACHINE}
    kept["towers"] = json.loads(recipe.towers.read_text(encoding="utf-8"))
    return json.loads(json.dumps(kept, default=lambda path: path.name))
