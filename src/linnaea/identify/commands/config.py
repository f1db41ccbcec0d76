"""The options of `linnaea identify`, checked against one another."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path

from linnaea.embed.model_options import RunOptions
from linnaea.identify.detection.box_collector import UNITS
from linnaea.identify.detection.box_file import BOX_CONFIDENCE
from linnaea.identify.naming.namer_config import RECORDS_NEEDED, NamerConfig, check_probability
from linnaea.identify.output.capture_config import CaptureConfig
from linnaea.identify.output.event_config import EventConfig
from linnaea.identify.output.writers import OUTPUT_FORMATS, check_output

# The value of --boxes that seeks boxes where something moved.
MOTION = "motion"


@dataclass(frozen=True, kw_only=True)
class IdentifyConfig(RunOptions, NamerConfig, CaptureConfig, EventConfig):
    """Name what is in photographs: for each the deepest taxon that the evidence supports, or the reason for none."""

    paths: tuple[Path, ...] = field(metadata={"positional": True, "metavar": "PATH"})
    "photographs, or folders of them (searched to any depth)"
    out: Path | None = field(default=None, metadata={"short": "-o"})
    "the table: .csv, .tsv, .xlsx (for Excel), .jsonl or .parquet; - writes CSV to stdout; without it one is printed"
    as_: str = field(default="table", metadata={"choices": OUTPUT_FORMATS})
    "what is written: the table, Darwin Core occurrences, or a Camtrap DP package (then --out is a folder)"
    boxes: Path | None = field(default=None, metadata={"metavar": "FILE"})
    "name what is in these boxes: MegaDetector, SpeciesNet, COCO, Camtrap DP, or CSV with file,left,top,right,bottom; "
    "`motion` seeks them in bursts of three photographs and more"
    detector: Path | None = field(default=None, metadata={"metavar": "FILE.onnx"})
    "find boxes with this detector first: a YOLO export such as MegaDetector's; people and vehicles are not named"
    box_units: str = field(default="auto", metadata={"choices": UNITS})
    "whether sides of boxes are fractions of the picture or pixels (auto: the format and the numbers tell)"
    box_confidence: float = field(default=BOX_CONFIDENCE, metadata={"metavar": "P"})
    "ignore boxes with less confidence of the detector"
    frames: int = field(default=10, metadata={"metavar": "N"})
    "how many frames of a video are named at most, spread evenly, at most one a second (extra [video])"
    report: Path | None = field(default=None, metadata={"metavar": "FILE.html"})
    "also write a page to look through: photographs, names with counts, search, map, time line"
    table: bool = False
    "also print the table when it is written to a file"
    watch: bool = False
    "watch the folders: name photographs that arrive later too, until Ctrl-C"

    def __post_init__(self):
        RunOptions.__post_init__(self)
        NamerConfig.__post_init__(self)
        CaptureConfig.__post_init__(self)
        EventConfig.__post_init__(self)
        if not self.paths:
            raise ValueError("no photograph or folder given; name at least one")
        if self.as_ not in OUTPUT_FORMATS:
            raise ValueError(f"unknown form {self.as_!r}; choose one of {', '.join(OUTPUT_FORMATS)}")
        check_probability("--box-confidence", self.box_confidence)
        if self.seeks_motion and self.watch:
            raise ValueError(
                "--boxes motion needs whole bursts and --watch does not wait for them; leave one of them out"
            )
        if self.boxes is not None and self.detector is not None:
            raise ValueError("--boxes and --detector both say where to look; leave one of the two out")
        if self.box_units not in UNITS:
            raise ValueError(f"unknown --box-units {self.box_units!r}; choose one of {', '.join(UNITS)}")
        if self.frames < 1:
            raise ValueError(f"--frames {self.frames} must be 1 or more")
        # The standards take --near as the place of photographs that record none.
        if self.near is not None and self.occurrences is None and self.as_ == "table":
            raise ValueError(RECORDS_NEEDED)
        self._check_outputs()

    def _check_outputs(self) -> None:
        check_output(self.out, self.as_)
        if self.resume and not self.writes_file:
            raise ValueError("--resume needs --out FILE: only a run with a file can be resumed")
        self._check_sorted_folder()
        if self.watch and self.writes_event_files and not self.writes_file:
            raise ValueError("a watch writes tables of events and sorted folders only with --out FILE; add it")
        if self.watch and self.report is not None:
            raise ValueError("--report needs a run that ends and --watch does not end; leave one of the two out")
        if self.report is not None and self.report.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"--report {self.report} is an HTML file; let its name end in .html")

    def _check_sorted_folder(self) -> None:
        """Raise ValueError if the sorted copies would be found as photographs by the next run."""
        if self.sort_into is None:
            return
        target = Path(os.path.abspath(self.sort_into))
        for path in self.paths:
            folder = Path(os.path.abspath(path))
            if folder == target or folder in target.parents:
                raise ValueError(
                    f"--sort-into {self.sort_into} lies within {path}, where the next run would find the copies; "
                    "choose a folder outside"
                )

    def choose_unmatched_path(self) -> IdentifyConfig:
        """These options, with a file for the names of `among` that match nothing, if none is given."""
        if self.unmatched is not None or self.among is None:
            return self
        beside = self.out if self.writes_file else self.among
        return dataclasses.replace(self, unmatched=beside.with_name(f"{beside.name}.unmatched.csv"))

    @property
    def seeks_motion(self) -> bool:
        """Whether boxes are sought where something moved within a burst."""
        return self.boxes is not None and str(self.boxes) == MOTION

    @property
    def writes_file(self) -> bool:
        """Whether there is a file or folder to write, other than stdout."""
        return self.out is not None and str(self.out) != "-"
