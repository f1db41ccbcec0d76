"""Fields of a recipe of the bundled model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from linnaea.model.core.contract import Preprocess
from linnaea.model.graphs.text_transformer import TextConfig
from linnaea.train.bundled.encoders.loop import LoopConfig
from linnaea.train.bundled.encoders.projector_tuning import ProjectorTuningConfig
from linnaea.train.bundled.encoders.prototypes import PrototypeConfig
from linnaea.train.bundled.trunk.config import FinetuneConfig
from linnaea.train.runtime.overrides import convert_plain_values


@dataclass(frozen=True, kw_only=True)
class PhotoSet:
    """A set of photographs and its label table."""

    name: str
    "value of the manifest's `set` column"
    table: str
    "file name of its label table, in the folder of label tables"
    key: str = "label"
    "manifest column that names the class: `label`, `scientific`, or `wnid` (the first part of the file name)"
    any_side_up: bool = False
    "whether its photographs may be rotated by quarter turns (plankton, views from above)"


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """A classifier whose classes become classes of the trunk."""

    path: Path
    "a quantised TFLite file"
    table: str
    "label table, with one row per class in the order of the output"
    taught_on: tuple[str, ...]
    "sets whose photographs map its features to those of the trunk"
    n_images: int = 48
    "images per batch drawn from its class rows"
    gain: float = 1.5
    "factor of the distance of its classes from their mean, because a ridge regression shrinks it"
    answers_on: tuple[str, ...] = ()
    "sets on whose photographs the trunk learns its answers"

    def __post_init__(self):
        convert_plain_values(self)


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Species kept out of all training: the first `count` species of a set in the order of a hash of their names."""

    set: str
    count: int


@dataclass(frozen=True, kw_only=True)
class BundledConfig:
    """Everything that makes the bundled model, data included."""

    name: str
    "name of the model"
    images: Path
    "folder of the photographs, with `manifest.csv`"
    labels: Path
    "folder of the label tables"
    photo_sets: tuple[PhotoSet, ...]
    "sets to train on"
    held_out: tuple[HeldOut, ...] = ()
    "species to keep out, for an ablation"
    finetune: tuple[FinetuneConfig, ...] = ()
    "rounds of fine-tuning of the trunk, each from the averaged weights of the last; none keeps the published trunk"
    held_out_of_trunk: tuple[HeldOut, ...] = ()
    "species to keep out of the fine-tuning, so that one trunk serves a model and its ablation"
    class_rows: str = "imagenet.csv"
    "label table of the trunk's own classifier, whose class rows become classes"
    n_photographs: int = 320
    "images per batch from photographs of organisms"
    n_refused: int = 48
    "images per batch from photographs of no organism"
    n_class_rows: int = 64
    "images per batch from the trunk's class rows"
    teachers: tuple[TeacherConfig, ...] = ()
    "classifiers of species without photographs"
    n_views: int = 5
    "views of each photograph, including the plain one"
    n_refused_views: int = 24
    "views of each photograph of no organism"
    hidden: int = 512
    "hidden units of the projector's correction"
    dropout: float = 0.2
    "dropout of the projector's inputs"
    n_known: int = 128
    "labelled species in the vocabulary loss, besides those of the batch"
    n_unknown: int = 256
    "unlabelled species in the vocabulary loss"
    n_refusals: int = 48
    "refusal texts in the vocabulary loss, besides those of the batch"
    text: TextConfig = field(default_factory=TextConfig)
    "shape of the text transformer"
    prototypes: PrototypeConfig = field(default_factory=PrototypeConfig)
    "first training of the projector"
    loop: LoopConfig = field(default_factory=LoopConfig)
    "training of both encoders, on the published trunk"
    settle: ProjectorTuningConfig = field(default_factory=ProjectorTuningConfig)
    "last training of the projector, on the fine-tuned trunk and towards the texts learned before"
    preprocess: Preprocess = field(
        default_factory=lambda: Preprocess(size=224, resize="squash", mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    )
    "preprocessing for the trunk in training"
    resize: str = "shortest"
    "how the exported model resizes; trained on squashed photographs, it is better on true proportions"
    interpolation: str = "bilinear"
    "filter of the exported model; bilinear, like the crops of the fine-tuning"

    def __post_init__(self):
        convert_plain_values(self)
