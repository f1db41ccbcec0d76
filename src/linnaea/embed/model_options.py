"""The command-line options that several commands share: which model, in which runtime, how a long run may restart."""

from __future__ import annotations

from dataclasses import dataclass, field

from linnaea.model.runtimes.runtime_names import RUNTIME_CHOICES, check_runtime

BATCH_SIZE = 32
DECODING = ("exact", "scaled")


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The model of a command that embeds photographs, its batch size and its runtime."""

    model: str = "bundled"
    "`bundled`, the folder of a model or of an open_clip checkpoint, or one on the hub, e.g. "
    "hf-hub:imageomics/bioclip-2"
    batch_size: int = BATCH_SIZE
    "photographs that the model sees at once"
    runtime: str = field(default="onnxruntime", metadata={"choices": RUNTIME_CHOICES})
    "where the model runs: `onnxruntime` in full precision; `auto` takes the fastest that passes a check on 32 "
    "photographs"

    def __post_init__(self):
        if self.batch_size < 1:
            raise ValueError(f"--batch-size {self.batch_size} is too small; give 1 or more")
        check_runtime(self.runtime)


@dataclass(frozen=True, kw_only=True)
class RunOptions(ModelOptions):
    """The options of a run over many photographs that keeps a journal, so that it can be resumed."""

    decoding: str = field(default="exact", metadata={"choices": DECODING})
    "`exact` takes every pixel; `scaled` shrinks photographs while it decodes them: large ones twice as fast"
    resume: bool = False
    "continue an interrupted run that had the same options"
    overwrite: bool = False
    "replace --out if it exists, and discard an interrupted run"
    quiet: bool = False
    "show warnings only: no progress and no summary"

    def __post_init__(self):
        super().__post_init__()
        check_decoding(self.decoding)


def check_decoding(decoding: str) -> None:
    """Raise ValueError for an unknown way of decoding."""
    if decoding not in DECODING:
        raise ValueError(f"unknown --decoding {decoding!r}; choose {' or '.join(DECODING)}")
