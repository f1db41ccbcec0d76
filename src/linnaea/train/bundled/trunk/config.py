"""Options of the fine-tuning of the trunk."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class FinetuneStage:
    """One stage of fine-tuning: its length, the size of crops, and the first part of the trunk that is trained."""

    images: int
    "number of crops"
    size: int
    "side of the crops in pixels, a multiple of 32"
    first: int
    "first trained part of the trunk: 0 is the stem, 17 the last convolution, 18 none"


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """How the trunk is fine-tuned."""

    stages: tuple[FinetuneStage, ...] = field(
        default_factory=lambda: (
            FinetuneStage(images=12_800, size=160, first=18),
            FinetuneStage(images=70_400, size=160, first=7),
            FinetuneStage(images=4_096, size=224, first=7),
        )
    )
    "only the head, then later parts on small crops, then at full size"
    batch: int = 64
    "crops per step"
    trunk_rate: float = 0.004
    "peak learning rate of the trunk, times the root mean square of the tensor"
    part_decay: float = 0.9
    "learning rate of each part as a share of that of the part above it"
    head_rate: float = 2e-3
    "peak learning rate of projector and prototypes"
    warm_up: int = 100
    "steps of the warm-up, of the head and again of the trunk"
    within_set: float = 0.5
    "weight of naming among the labels of the photograph's own set; naming among all labels has 1"
    keep: float = 0.5
    "weight of keeping the answers of the original trunk, on sets of ordinary photographs"
    teach: float = 0.5
    "weight of matching the answers of the teachers"
    temperature: float = 2.0
    "temperature of the answers of the original trunk and of the teachers"
    average: float = 0.998
    "decay of the moving average of the weights"
    drawn: tuple[tuple[str, float], ...] = ()
    "sets whose photographs are drawn this many times as often as others"
    least_area: float = 0.35
    "smallest crop as a share of the photograph's area"
    most_aspect: float = 1.33
    "largest change of the ratio of a crop's sides"
    jitter: float = 0.35
    "brightness, contrast and saturation are multiplied by 1 ± this"
    grey: float = 0.05
    "share of crops turned to grey"
