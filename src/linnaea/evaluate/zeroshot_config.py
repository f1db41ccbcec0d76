"""The options of `linnaea evaluate zeroshot`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from linnaea.embed.model_options import ModelOptions

TEXTS = ("auto", "taxonomic", "scientific", "common")


@dataclass(frozen=True, kw_only=True)
class ZeroshotConfig(ModelOptions):
    """Name labelled photographs without training on their labels, and report how often the names are right."""

    manifest: Path
    "CSV with columns file,label and optionally the ranks, common and rank (`none` for no organism); or a table for "
    "training"
    root: Path = Path(".")
    "folder that the files are relative to"
    text: str = field(default="auto", metadata={"choices": TEXTS})
    "how labels are written; auto: common and taxonomic name (own words unless it is a single species), averaged"
    vocabulary: str = field(default="labels", metadata={"choices": ("labels", "full")})
    "labels: choose among the manifest's labels; full: among the whole vocabulary, as `identify` does"
    where: tuple[str, ...] = ()
    "keep rows with column=value"
    calibration: str = field(default="model", metadata={"choices": ("model", "cross-fitted", "none")})
    "full: the model's own, or one fitted to the other half of these photographs"
    min_confidence: float | None = None
    "full: floor of a name's confidence (default: the model's)"
    write_calibration: Path | None = None
    "full: fit to all these photographs and write the calibration there as JSON; a model reads it as calibration.json "
    "in its folder"
    unseen_weight: float = 3.0
    "full: weight, in a fitted calibration, of a photograph whose species was not in training; the field has more of "
    "them"
    floor_target: float = 0.9
    "share of the names of familiar and of unseen species that must be right at the floor in a written calibration"
    most_wrong_species: float = 0.05
    "largest share of the photographs of unseen species that get a wrong species at that floor"
    predictions: Path | None = None
    "write one row for each photograph there, as Parquet"

    def __post_init__(self):
        super().__post_init__()
        if self.write_calibration and self.vocabulary != "full":
            raise ValueError("--write-calibration needs the probabilities of --vocabulary full; add it")
