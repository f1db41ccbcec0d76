"""`linnaea twin compare BASE WHATIF`: what an intervention changes, member by member, with an interval.

Member m of both runs has the same seed, so that their difference is the effect of the intervention. The interval is
Student's, of the mean of the paired differences. It shows how well the model's mean answer is known, not how true the
model is. With many species some intervals miss 0 by chance alone. A difference is therefore called beyond chance only
if it passes Benjamini and Hochberg's rule over all species.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linnaea.twin.runs.paired_differences import Difference
    from linnaea.twin.runs.results import Run


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Compare a what-if with its baseline: the effect of the intervention on each species, with intervals."""

    base: Path = field(metadata={"positional": True, "metavar": "BASE"})
    "folder of the run without the intervention"
    whatif: Path = field(metadata={"positional": True, "metavar": "WHATIF"})
    "folder of the run with it"
    last_years: float = 1.0
    "years at the end over which numbers are averaged"
    level: float = 0.9
    "confidence level of the intervals, between 0 and 1"
    out: Path | None = None
    "folder for comparison.csv, differences.csv and report.html (default: WHATIF/compared)"

    def __post_init__(self) -> None:
        check_settings(self.last_years, self.level)


def check_settings(last_years: float, level: float) -> None:
    """Raise ValueError for years that are not above 0, or a level that is not between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"--level {level:g} is not between 0 and 1; 0.9 is usual")
    if not last_years > 0:
        raise ValueError(f"--last-years {last_years:g}: give a number above 0")


def main(config: CompareConfig) -> int:
    """Compare two runs, print the answer and write tables and a report; return 0."""
    from linnaea.twin.reports.comparison_text import format_comparison
    from linnaea.twin.runs.paired_differences import compare_runs
    from linnaea.twin.runs.results import load_run

    base, whatif = load_run(config.base), load_run(config.whatif)
    found = compare_runs(base, whatif, config.last_years, config.level)
    notes = read_no_effect_notes(base, whatif)
    out_dir = config.out or config.whatif / "compared"
    names = write_comparison_files(base, whatif, found, out_dir, last_years=config.last_years, level=config.level)
    for line in [*format_comparison(found, config.last_years, config.level), *(f"  {note}" for note in notes)]:
        print(line)
    print(f"written to {out_dir}: {', '.join(names)}")
    return 0


def write_comparison_files(
    base: Run, whatif: Run, found: dict[str, Difference], out_dir: Path, *, last_years: float, level: float
) -> list[str]:
    """Write comparison.csv, differences.csv and report.html; return the names of the files."""
    from linnaea.store import atomic_path
    from linnaea.twin.reports.comparison_report import write_comparison
    from linnaea.twin.runs.paired_differences import make_comparison_table, make_difference_series

    out_dir.mkdir(parents=True, exist_ok=True)
    frames = {
        "comparison.csv": make_comparison_table(found),
        "differences.csv": make_difference_series(base, whatif, level),
    }
    for name, frame in frames.items():
        with atomic_path(out_dir / name) as temporary:
            frame.write_csv(temporary)
    notes = read_no_effect_notes(base, whatif)
    report_path = write_comparison(base, whatif, found, last_years, level, out_dir, notes)
    return [*frames, report_path.name]


def read_no_effect_notes(*runs: Run) -> list[str]:
    """Read from the runs' manifests the sentences on interventions that could not change anything."""
    from linnaea.store import read_manifest

    return [
        f"{run.plan.scenario}: {line}."
        for run in runs
        for line in (read_manifest(run.run_dir) or {}).get("without_effect", ())
    ]
