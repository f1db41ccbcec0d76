"""Fields of a CLIP recipe: towers, samples, objective, optimization and machine.

Batch sizes are those of all ranks together: each of R ranks takes an R-th, and the run is the same for any R. The
fields in `MACHINE` decide how a run is computed but not its result, so that a run may be resumed with other values of
them.
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
from linnaea.train.runtime.overrides import convert_plain_values
from linnaea.train.runtime.range_checks import NO_END, check_bounds

LOSSES = ("infonce", "sigmoid", "levels")
PRECISIONS = ("fp32", "bf16")
PARALLEL = ("ddp", "fsdp")
# Least and most of each number, both included. The decay rates of AdamW must be below 1.
SAMPLES_BOUNDS = {"drawn": (0, NO_END), "window": (1, NO_END), "balance": (0, 1)}
BOUNDS = (
    dict.fromkeys(("batch", "steps", "keep", "log_every", "n_threads", "tile", "max_scale", "timeout_s"), (1, NO_END))
    | dict.fromkeys(("replay_batch", "micro_batch", "warm_up", "n_ahead"), (0, NO_END))
    | dict.fromkeys(("checkpoint_every", "validate_every", "stop_after"), (0, NO_END))
    | dict.fromkeys(("teacher_weight", "learning_rate", "weight_decay", "epsilon", "clip_norm"), (0, NO_END))
    | dict.fromkeys(("genus_share", "family_share", "final_rate"), (0, 1))
    | dict.fromkeys(("beta1", "beta2"), (0, 0.999999))
)
# The only fields that may differ between a run and its resumption.
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
    """Where images with names come from (one of `shards`, `table` and `drawn`), and their order."""

    shards: tuple[str, ...] = ()
    "tar shards in webdataset form: files, or patterns such as train/shard-*.tar"
    table: Path | None = None
    "CSV or Parquet table of images in files or in shards"
    root: Path | None = None
    "folder of the table's files or shards; by default the folder of the table"
    split: str = ""
    "use only the rows of the table with this value of `split`"
    drawn: int = 0
    "number of drawn pictures of made-up species, instead of photographs, for trials"
    template: str = TEMPLATE
    "text around a name"
    keep_truncated: bool = False
    "use the complete samples of truncated shards instead of stopping"
    window: int = 64
    "shards that are shuffled together"
    balance: float = 0.0
    "how much more often rare taxa are drawn: 0 every sample once, 1 all taxa equally often"
    types: tuple[str, ...] = TEXT_TYPES
    "text types, one of which is drawn"
    draw: str = field(default="sample", metadata={"choices": DRAWS})
    "`sample` draws a text type for each sample, `step` one for each global batch, as BioCLIP 2 did"

    def __post_init__(self):
        convert_plain_values(self)
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
                f"template {self.template!r} must have exactly one {{}}, which stands for the name, as in {TEMPLATE!r}"
            )
        self._check_effect()

    @property
    def fullest_type(self) -> str:
        """The text type that says most."""
        return max(self.types, key=TEXT_TYPES.index)

    def _check_effect(self) -> None:
        """Raise ValueError if a field is given that would have no effect."""
        for name in ("split", "root"):
            if getattr(self, name) and not self.table:
                raise ValueError(
                    f"{name} {str(getattr(self, name))!r} needs a table, and none is given; "
                    f"give table, or leave {name} out"
                )
        if self.drawn and (self.keep_truncated or self.window != SamplesConfig.window):
            raise ValueError(
                "keep_truncated and window apply to shards and tables, not to drawn pictures; leave them out"
            )


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """Everything that makes a CLIP model, data included."""

    name: str
    "name of the model"
    towers: Path
    "an open_clip_config.json, which describes both towers and the preprocessing"
    start: Path | None = None
    "folder in open_clip's format to start from; without it weights are random"
    organisms: SamplesConfig
    "images of organisms"
    replay: SamplesConfig | None = field(default=None, metadata={"takes_along": ("replay_batch",)})
    "images of anything, trained through a second projector, so that the model does not forget them"
    crop: AugmentConfig = field(default_factory=AugmentConfig)
    "how training crops are drawn"
    batch: int
    "pairs of organisms per step, over all ranks"
    replay_batch: int = 0
    "replayed pairs per step, over all ranks"
    loss: str = field(default="infonce", metadata={"choices": LOSSES})
    "`infonce`, `sigmoid` or `levels` (relatives are partial positives)"
    genus_share: float = 0.0
    "for `levels`: share of the target for the same genus, 0..1"
    family_share: float = 0.0
    "for `levels`: share of the target for the same family, 0..1"
    teacher: Path | None = None
    "folder in open_clip's format whose towers are distilled, too"
    teacher_weight: float = 1.0
    "weight of the distillation loss; the contrastive loss has 1"
    steps: int
    "optimizer steps"
    warm_up: int = 0
    "steps of linear warm-up before the cosine decay"
    learning_rate: float = 1e-4
    "peak learning rate of AdamW"
    final_rate: float = 0.0
    "last learning rate as a share of the peak"
    weight_decay: float = 0.2
    "weight decay of AdamW, on matrices only: not on norms, biases and the logit scale"
    beta1: float = 0.9
    "decay rate of AdamW's mean of gradients"
    beta2: float = 0.98
    "decay rate of AdamW's mean of squared gradients"
    epsilon: float = 1e-6
    "epsilon of AdamW"
    clip_norm: float = 0.0
    "largest norm of the gradient; longer ones are scaled down; 0 does not clip"
    max_scale: float = 100.0
    "largest value of the learned logit scale"
    seed: int = 0
    "seed of the random weights, the order, the texts and the crops"
    precision: str = field(default="fp32", metadata={"choices": PRECISIONS})
    "`fp32`, or `bf16` for products in bfloat16 with weights in float32"
    device: str = "auto"
    "`auto` (a GPU if there is one), `cpu` or `cuda`"
    micro_batch: int = 0
    "pairs of a rank whose activations are in memory at once (gradient caching); 0 for all"
    tile: int = 1024
    "side of the tiles in which the loss is computed"
    compile: bool = False
    "compile the blocks of the towers"
    activation_checkpointing: bool = False
    "keep only the inputs of blocks and compute the rest again"
    parallel: str = field(default="ddp", metadata={"choices": PARALLEL})
    "`ddp` keeps the whole model on every rank, `fsdp` shards it"
    n_threads: int = 4
    "threads of a rank that read and decode"
    n_ahead: int = 2
    "batches prepared in advance"
    checkpoint_every: int = 1000
    "steps between checkpoints; 0 writes only the last"
    keep: int = 2
    "number of checkpoints to keep"
    log_every: int = 10
    "steps between lines on the terminal"
    validate_every: int = 0
    "steps between validations, on the table's rows whose split is `val`, and at the end; 0 for none"
    tensorboard: bool = False
    "write TensorBoard event files, too"
    timeout_s: float = 1800.0
    "seconds after which a rank that does not answer counts as lost"
    stop_after: int = 0
    "stop after this step with a checkpoint, as if interrupted; 0 continues to the end"

    def __post_init__(self):
        convert_plain_values(self)
        _check_choices(self)
        check_bounds(self, BOUNDS)
        if self.replay and not self.replay_batch:
            raise ValueError(
                "replay is given and replay_batch is 0; give --replay-batch, or --replay none to train without"
            )
        if self.replay_batch and not self.replay:
            raise ValueError(
                f"replay_batch is {self.replay_batch} and there is no replay; give --replay.shards or --replay.table, "
                "or --replay-batch 0"
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
    def has_replay(self) -> bool:
        """Whether there is a second image projector, for replay."""
        return self.replay is not None


def _check_choices(recipe: ClipConfig) -> None:
    for name, choices in (("loss", LOSSES), ("precision", PRECISIONS), ("parallel", PARALLEL)):
        if getattr(recipe, name) not in choices:
            raise ValueError(f"unknown {name} {getattr(recipe, name)!r}; choose one of {', '.join(choices)}")


def describe_recipe(recipe: ClipConfig) -> dict:
    """Return all fields of a recipe as JSON values."""
    return json.loads(json.dumps(asdict(recipe), default=str))


def defining_fields(recipe: ClipConfig) -> dict:
    """Return the fields that decide the result, as JSON values.

    They are all but `MACHINE`. The towers are given by the content of their file, other paths by their last name,
    because folders may move.
    """
    kept = {name: value for name, value in asdict(recipe).items() if name not in MACHINE}
    kept["towers"] = json.loads(recipe.towers.read_text(encoding="utf-8"))
    return json.loads(json.dumps(kept, default=lambda path: path.name))
