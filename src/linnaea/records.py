"""Types that pass between stages. Field names are Darwin Core terms where there is one."""

from __future__ import annotations

from dataclasses import dataclass, field

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
RANK_INDEX = {rank: index for index, rank in enumerate(RANKS)}

# What was found out about an image, and the status that follows from it.
OUTCOMES = {
    "named": "identified",
    "unsure": "unidentified",  # an organism, but which one is not certain enough
    "outside_list": "unidentified",  # an organism, but none of those that were asked for
    "no_organism": "unidentified",
    "no_detection": "unidentified",  # the detector found nothing
    "not_in_boxes": "unidentified",  # the list of boxes has no entry for the photograph
    "human": "unidentified",
    "vehicle": "unidentified",
    "unreadable": "unreadable",
}
# The outcome of a status for which none is given.
_USUAL_OUTCOMES = {"identified": "named", "unidentified": "unsure", "unreadable": "unreadable"}


@dataclass(frozen=True, kw_only=True)
class Taxon:
    """A taxon and the names of its ancestors.

    `lineage` has seven entries in the order of `RANKS`, "" for a rank that is missing or below the taxon. The entry of
    a species is the full binomial ("Felis catus"), so no entry depends on the one before it. `node` is the position of
    the taxon in the preorder of its tree.
    """

    rank: str
    name: str
    lineage: tuple[str, ...]
    common_name: str = ""
    node: int = -1

    @property
    def kingdom(self) -> str:
        """The kingdom, "" if it is missing."""
        return self.lineage[0]


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle in pixels of the upright image; `confidence` (0..1) is that of the detector."""

    left: float
    top: float
    right: float
    bottom: float
    confidence: float = 1.0
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """One image to identify: a file, with the box of a detector or the time of a video's frame if there is one."""

    path: str
    box: Box | None = None
    frame_time_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class RankedName:
    """The best taxon at one rank, with its calibrated probability (0..1)."""

    rank: str
    name: str
    confidence: float
    node: int = -1


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One row of an identification table.

    `status` is `identified`, `unidentified` or `unreadable`; the last two have a `reason`. `outcome` is one of
    `OUTCOMES` and fits the status. `position` numbers the alternatives of one image from 1. `confidence` is the
    calibrated probability (0..1) that `name` is right at its rank, `similarity` the cosine between the image and the
    name. `frame_time_s` is the time of a frame from the start of its video. The fields that begin with `guess` hold a
    candidate of an image without a name. `path_confidence` has the best taxon of each rank.

    Raise ValueError for an unknown outcome, or one that does not fit the status.
    """

    file: str
    status: str
    outcome: str = ""
    reason: str = ""
    position: int = 1
    rank: str = ""
    name: str = ""
    common_name: str = ""
    confidence: float | None = None
    similarity: float | None = None
    lineage: tuple[str, ...] = ("",) * 7
    guess_rank: str = ""
    guess_name: str = ""
    guess_confidence: float | None = None
    box: Box | None = None
    frame_time_s: float | None = None
    path_confidence: tuple[RankedName, ...] = field(default=())

    def __post_init__(self):
        if not self.outcome:
            object.__setattr__(self, "outcome", _USUAL_OUTCOMES.get(self.status, ""))
        if OUTCOMES.get(self.outcome) != self.status:
            raise ValueError(f"outcome {self.outcome!r} does not fit status {self.status!r}; see OUTCOMES")


_PLAIN_COLUMNS = ("file", "status", "outcome", "reason", "position", "rank", "name", "common_name")
_NUMBER_COLUMNS = ("confidence", "similarity")
_GUESS_COLUMNS = ("guess_rank", "guess_name", "guess_confidence")
_BEST_COLUMNS = tuple(column for rank in RANKS for column in (f"best_{rank}", f"confidence_{rank}"))
# Pixels of the upright image, the confidence of the detector and its category.
_BOX_FIELDS = {
    "box_left": "left",
    "box_top": "top",
    "box_right": "right",
    "box_bottom": "bottom",
    "box_confidence": "confidence",
    "box_category": "label",
}
# The columns of a table of predictions.
PREDICTION_COLUMNS = (
    *_PLAIN_COLUMNS,
    *_NUMBER_COLUMNS,
    *RANKS,
    *_GUESS_COLUMNS,
    *_BEST_COLUMNS,
    *_BOX_FIELDS,
    "frame_time_s",
)


def make_prediction_row(prediction: Prediction) -> dict[str, str | int | float | None]:
    """The prediction as a row of a table, with `PREDICTION_COLUMNS`."""
    row = {column: getattr(prediction, column) for column in (*_PLAIN_COLUMNS, *_NUMBER_COLUMNS)}
    row |= zip(RANKS, prediction.lineage, strict=True)
    row |= {column: getattr(prediction, column) for column in _GUESS_COLUMNS}
    best = {one.rank: one for one in prediction.path_confidence}
    for rank in RANKS:
        row[f"best_{rank}"] = best[rank].name if rank in best else ""
        row[f"confidence_{rank}"] = best[rank].confidence if rank in best else None
    box = prediction.box
    return (
        row
        | {column: None if box is None else getattr(box, name) for column, name in _BOX_FIELDS.items()}
        | {"frame_time_s": prediction.frame_time_s}
    )
