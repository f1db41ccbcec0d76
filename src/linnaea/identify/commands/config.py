"""The options of `linnaea identify`, checked against one another."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from linnaea.embed.images.image_vectors import BATCH_SIZE, DECODING, check_decoding
from linnaea.identify.naming.detections import BOX_CONFIDENCE
from linnaea.identify.naming.namer import NamerConfig
from linnaea.identify.output.writers import OUTPUT_FORMATS, check_output
from linnaea.model.runtimes.runtime_names import RUNTIME_CHOICES, check_runtime
from linnaea.records import RANKS
from linnaea.search.scorer import SCORING


@dataclass(frozen=True, kw_only=True)
class IdentifyConfig:
    """Names what is in photographs: for each the deepest taxon that the evidence supports, or why there is none."""

    paths: tuple[Path, ...] = field(metadata={"positional": True, "metavar": "PATH"})
    "photographs, or folders of them (searched to any depth)"
    out: Path | None = field(default=None, metadata={"short": "-o"})
    "the table: .csv, .jsonl or .parquet; - writes CSV to stdout; left out, a table is printed"
    as_: str = field(default="table", metadata={"choices": OUTPUT_FORMATS})
    "what is written: the table, Darwin Core occurrences, or a Camtrap DP package (then --out is a folder)"
    model: str = "bundled"
    "`bundled`, the folder of a model or of an open_clip checkpoint, or one on the hub, e.g. hf-hub:imageomics/bioclip-2"
    vocabulary: str = "inat"
    "names to choose from: `inat`, a table with rank columns, a Darwin Core taxon table, or pybioclip's txt_emb_*.json"
    rank: str = field(default="auto", metadata={"choices": ("auto", *RANKS)})
    "`auto` gives the deepest rank that is certain enough; a rank gives the best taxon of that rank"
    top: int = 1
    "alternatives for each photograph, at the rank of the first"
    within: tuple[str, ...] = field(default=(), metadata={"metavar": "TAXON"})
    "only taxa within this one, e.g. Aves, family:Felidae or Plantae>Oenanthe; may be repeated"
    among: Path | None = field(default=None, metadata={"metavar": "FILE"})
    "only taxa listed in this file, one a line or a column scientificName; names of any rank"
    labels: str = field(default="", metadata={"metavar": "A,B,C|FILE"})
    "your own names instead of taxa: a,b,c, a file with one a line or a column label, or a folder from `linnaea learn`"
    near: tuple[float, float] | None = field(default=None, metadata={"metavar": "LAT,LON"})
    "where the photographs were taken, in degrees; with --occurrences what lives there becomes likelier"
    month: int | None = field(default=None, metadata={"metavar": "M"})
    "the month they were taken in, 1 to 12; with --occurrences what is seen then becomes likelier"
    occurrences: Path | None = field(default=None, metadata={"metavar": "FILE"})
    "Darwin Core occurrences (CSV, TSV, Parquet, or GBIF's zip) for --near and --month"
    min_confidence: float | None = field(default=None, metadata={"metavar": "P"})
    "the floor, 0 to 1: no name with less confidence is given (default: the model's own for --rank auto, else none)"
    boxes: Path | None = field(default=None, metadata={"metavar": "FILE"})
    "name what is in these boxes: MegaDetector's JSON, or CSV with file,left,top,right,bottom in pixels"
    box_confidence: float = field(default=BOX_CONFIDENCE, metadata={"metavar": "P"})
    "leave out boxes of which the detector was less sure"
    names: str = field(default="auto", metadata={"choices": ("auto", "full", "staged")})
    "`full` embeds every name once and keeps the table (of few candidates only theirs); `staged` starts at once, with far species "
    "on their genus; `auto` is `full` if that is there or the candidates are few"
    name_vectors: Path | None = field(default=None, metadata={"metavar": "FILE.npy|DIR"})
    "vectors of the names made elsewhere: pybioclip's txt_emb_*.npy (its .json beside it), or what `linnaea names --out` wrote"
    scoring: str = field(default="exact", metadata={"choices": SCORING})
    "`exact` weighs every name; `fast` reads the likeliest clades, estimates the others and says in the manifest how much it left"
    report: Path | None = field(default=None, metadata={"metavar": "FILE.html"})
    "also write a report with thumbnails, in one HTML file"
    table: bool = False
    "also print the table when it is written to a file"
    batch_size: int = BATCH_SIZE
    "photographs that the model sees at once"
    runtime: str = field(default="onnxruntime", metadata={"choices": RUNTIME_CHOICES})
    "where the model runs: `onnxruntime` in full precision; `auto` takes the fastest that passes a check on 32 photographs"
    decoding: str = field(default="exact", metadata={"choices": DECODING})
    "`exact` takes every pixel; `scaled` shrinks photographs while it decodes them: large ones twice as fast"
    watch: bool = False
    "then keep on: name what comes into the folders, until Ctrl-C"
    resume: bool = False
    "go on where a broken run with the same options stopped"
    overwrite: bool = False
    "replace --out if it is there already, and forget a broken run"
    quiet: bool = False
    "no progress line and no summary"

    def __post_init__(self):
        if not self.paths:
            raise ValueError("no photograph or folder given; name at least one")
        if self.top < 1:
            raise ValueError(f"--top {self.top} is too small; give 1 or more")
        if self.batch_size < 1:
            raise ValueError(f"--batch-size {self.batch_size} is too small; give 1 or more")
        if self.scoring not in SCORING:
            raise ValueError(f"unknown --scoring {self.scoring!r}; choose one of {', '.join(SCORING)}")
        check_decoding(self.decoding)
        check_runtime(self.runtime)
        if self.as_ not in OUTPUT_FORMATS:
            raise ValueError(f"unknown form {self.as_!r}; choose one of {', '.join(OUTPUT_FORMATS)}")
        if self.rank not in ("auto", *RANKS):
            raise ValueError(f"unknown rank {self.rank!r}; choose auto or one of {', '.join(RANKS)}")
        for name in ("min_confidence", "box_confidence"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"--{name.replace('_', '-')} {value} is no probability; give 0 to 1")
        self._check_place()
        if self.labels and (self.within or self.among or self.occurrences or self.rank != "auto"):
            other = "--within" if self.within else "--among" if self.among else "--occurrences"
            other = other if self.within or self.among or self.occurrences else "--rank"
            raise ValueError(f"{other} chooses among taxa and --labels replaces them; leave one of the two out")
        if self.name_vectors is not None and (self.labels or self.names == "staged"):
            other = "--labels" if self.labels else "--names staged"
            raise ValueError(
                f"--name-vectors are for all names of a vocabulary, {other} is not; leave one of the two out"
            )
        check_output(self.out, self.as_)
        if self.resume and not self.writes_file:
            raise ValueError("--resume needs --out FILE: only a run with a file leaves something to go on from")
        if self.watch and self.report is not None:
            raise ValueError("--report shows a run that has ended and --watch goes on; leave one of the two out")
        if self.report is not None and self.report.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"--report {self.report} is an HTML file; let its name end in .html")

    def _check_place(self):
        if self.near is not None and not (-90 <= self.near[0] <= 90 and -180 <= self.near[1] <= 180):
            raise ValueError(f"--near {self.near[0]},{self.near[1]} is not on Earth; give latitude,longitude")
        if self.month is not None and not 1 <= self.month <= 12:
            raise ValueError(f"--month {self.month} is no month; give 1 to 12")
        if self.occurrences is not None and self.near is None and self.month is None:
            raise ValueError("--occurrences needs a place or a season; add --near LAT,LON or --month M")
        if self.occurrences is None and (self.month is not None or (self.near is not None and self.as_ == "table")):
            raise ValueError("--near and --month need records of what lives there; add --occurrences FILE")

    @property
    def writes_file(self) -> bool:
        """Whether there is a file or folder to write, other than stdout."""
        return self.out is not None and str(self.out) != "-"

    def make_namer_config(self) -> NamerConfig:
        """The part of the options that decides about names."""
        return NamerConfig(**{f.name: getattr(self, f.name) for f in dataclasses.fields(NamerConfig)})
