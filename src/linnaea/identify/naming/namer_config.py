"""The options that choose names, checked against one another."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from linnaea.records import RANKS
from linnaea.search.scorer import SCORING

RECORDS_NEEDED = "--near and --month need records of what lives there; add --occurrences FILE"


@dataclass(frozen=True, kw_only=True)
class NamerConfig:
    """Which names to choose from, and how certain a name must be."""

    vocabulary: str = "inat"
    "names to choose from: `inat`, a table with rank columns, a Darwin Core taxon table, or pybioclip's txt_emb_*.json"
    rank: str = field(default="auto", metadata={"choices": ("auto", *RANKS)})
    "`auto` gives the deepest rank that is certain enough; a rank gives the best taxon of that rank"
    top: int = 1
    "alternatives for each photograph, at the rank of the first; for one without a name, the best guesses"
    within: tuple[str, ...] = field(default=(), metadata={"metavar": "TAXON"})
    "only taxa within this one, e.g. Aves, family:Felidae or Plantae>Oenanthe; may be repeated; other organisms get "
    "the outcome outside_list"
    among: Path | None = field(default=None, metadata={"metavar": "FILE"})
    "only taxa listed in this file, one on each line or in a column scientificName; names of any rank"
    unmatched: Path | None = field(default=None, metadata={"metavar": "FILE.csv"})
    "where to list the names of --among that match nothing (default: beside the output, else beside the list)"
    labels: str = field(default="", metadata={"metavar": "A,B,C|FILE"})
    "your own names instead of taxa: a,b,c, a file with one name on each line or a column label, or a folder from "
    "`linnaea learn`"
    near: tuple[float, float] | None = field(default=None, metadata={"metavar": "LAT,LON"})
    "where the photographs were taken, in degrees; with --occurrences, species recorded there become likelier"
    month: int | None = field(default=None, metadata={"metavar": "M"})
    "the month in which they were taken, 1 to 12; with --occurrences, species recorded then become likelier"
    occurrences: Path | None = field(default=None, metadata={"metavar": "FILE"})
    "Darwin Core occurrences (CSV, TSV, Parquet, or GBIF's zip) for --near and --month"
    min_confidence: float | None = field(default=None, metadata={"metavar": "P"})
    "the floor, 0 to 1: no name with less confidence is given (default: the model's own for --rank auto, else none); "
    "with 0 every photograph gets a name, even if it shows something that was not asked for"
    names: str = field(default="auto", metadata={"choices": ("auto", "full", "staged")})
    "`auto` uses the compact table that a model carries (the bundled one does); other models: the complete table, "
    "made first if that takes minutes only, or `staged`. `full` embeds every name once and keeps the table (of few "
    "candidates only theirs); `staged` starts at once and uses the genus vector for species of distant genera"
    name_vectors: Path | None = field(default=None, metadata={"metavar": "FILE.npy|DIR"})
    "vectors of the names made elsewhere: pybioclip's txt_emb_*.npy (its .json beside it), or what `linnaea names "
    "--out` wrote"
    scoring: str = field(default="exact", metadata={"choices": SCORING})
    "`exact` scores every name; `fast` scores the nearest names, estimates the others and writes to the manifest "
    "how much it left out"

    def __post_init__(self):
        self._check_values()
        self._check_records()
        self._check_sources()

    def _check_values(self) -> None:
        """Raise ValueError for an option whose value alone is wrong."""
        if self.top < 1:
            raise ValueError(f"--top {self.top} is too small; give 1 or more")
        if self.scoring not in SCORING:
            raise ValueError(f"unknown --scoring {self.scoring!r}; choose one of {', '.join(SCORING)}")
        if self.rank not in ("auto", *RANKS):
            raise ValueError(f"unknown rank {self.rank!r}; choose auto or one of {', '.join(RANKS)}")
        check_probability("--min-confidence", self.min_confidence)
        if self.near is not None and not (-90 <= self.near[0] <= 90 and -180 <= self.near[1] <= 180):
            raise ValueError(f"--near {self.near[0]},{self.near[1]} is not on Earth; give latitude,longitude")
        if self.month is not None and not 1 <= self.month <= 12:
            raise ValueError(f"--month must be 1 to 12, not {self.month}")

    def _check_records(self) -> None:
        if self.occurrences is not None and self.near is None and self.month is None:
            raise ValueError("--occurrences needs a place or a season; add --near LAT,LON or --month M")
        if self.occurrences is None and self.month is not None:
            raise ValueError(RECORDS_NEEDED)

    def _check_sources(self) -> None:
        """Raise ValueError for two options that choose the names in different ways."""
        if self.labels:
            taxa = {"--within": self.within, "--among": self.among, "--occurrences": self.occurrences}
            given = [option for option, value in taxa.items() if value]
            given += ["--rank"] if self.rank != "auto" else []
            if given:
                raise ValueError(f"{given[0]} chooses among taxa and --labels replaces them; leave one of the two out")
        if self.name_vectors is not None and (self.labels or self.names == "staged"):
            other = "--labels" if self.labels else "--names staged"
            raise ValueError(
                f"--name-vectors are for all names of a vocabulary, {other} is not; leave one of the two out"
            )


def check_probability(option: str, value: float | None) -> None:
    """Raise ValueError unless the value of an option is None or 0 to 1."""
    if value is not None and not 0 <= value <= 1:
        raise ValueError(f"{option} {value} is not a probability; give 0 to 1")
