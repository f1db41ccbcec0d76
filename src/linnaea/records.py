"""Types that pass between stages. Field names are Darwin Core terms where there is one."""

from __future__ import annotations

from dataclasses import dataclass, field

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
RANK_INDEX = {rank: index for index, rank in enumerate(RANKS)}


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
    """One image to identify: a file, with the box of a detector if there is one."""

    path: str
    box: Box | None = None


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

    `status` is `identified`, `unidentified` or `unreadable`; the last two have a `reason`. `position` numbers the
    alternatives of one image from 1. `confidence` is the calibrated probability (0..1) that `name` is right at its
    rank, `similarity` the cosine between the image and the name. `path_confidence` has the best taxon of each rank, for
    reports; it is not a column of the table.
    """

    file: str
    status: str
    reason: str = ""
    position: int = 1
    rank: str = ""
    name: str = ""
    common_name: str = ""
    confidence: float | None = None
    similarity: float | None = None
    lineage: tuple[str, ...] = ("",) * 7
    box: Box | None = None
    path_confidence: tuple[RankedName, ...] = field(default=())


# The columns of a table of predictions.
PREDICTION_COLUMNS = (
    "file",
    "status",
    "reason",
    "position",
    "rank",
    "name",
    "common_name",
    "confidence",
    "similarity",
    *RANKS,
)


def make_prediction_row(prediction: Prediction) -> dict[str, str | int | float | None]:
    """The prediction as a row of a table, with `PREDICTION_COLUMNS`."""
    row = {column: getattr(prediction, column) for column in PREDICTION_COLUMNS[: -len(RANKS)]}
    return row | dict(zip(RANKS, prediction.lineage, strict=True))
