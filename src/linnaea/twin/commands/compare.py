"""`linnaea twin compare BASE WHATIF`: what an intervention changes, member by member, with an interval.

Member m of both runs has the same seed, so that what differs is the intervention's. The interval is Student's, of the
mean of the paired differences: it says how well the model's mean answer is known, not how true the model is. With many
species some intervals miss 0 by chance alone; a difference is called beyond chance only when Benjamini and Hochberg's rule
over all species lets it stand.

Shape suffixes: m members, k records, s species.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Compare a what-if with its baseline: differences that are the intervention's own, with intervals, and a report."""

    base: Path = field(metadata={"positional": True, "metavar": "BASE"})
    "folder of the run without the intervention"
    whatif: Path = field(metadata={"positional": True, "metavar": "WHATIF"})
    "folder of the run with it"
    last_years: float = 1.0
    "years at the end over which numbers are averaged"
    level: float = 0.9
    "of the intervals, 0 to 1"
    out: Path | None = None
    "folder for comparison.csv, differences.csv and report.html (default: WHATIF/compared)"

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise ValueError(f"--level {self.level:g} is not between 0 and 1; 0.9 is usual")
        if not self.last_years > 0:
            raise ValueError(f"--last-years {self.last_years:g}: give a number above 0")


def main(config: CompareConfig) -> int:
    """Compares two runs, prints the answer and writes tables and a report; exit code 0."""
    from linnaea.store import atomic_path
    from linnaea.twin.reports.comparison_report import write_comparison
    from linnaea.twin.reports.comparison_text import format_comparison
    from linnaea.twin.runs.paired_differences import compare_runs, make_comparison_table, make_difference_series
    from linnaea.twin.runs.results import load_run

    base, whatif = load_run(config.base), load_run(config.whatif)
    found = compare_runs(base, whatif, config.last_years, config.level)
    out = config.out or config.whatif / "compared"
    out.mkdir(parents=True, exist_ok=True)
    frames = {
        "comparison": make_comparison_table(found),
        "differences": make_difference_series(base, whatif, config.level),
    }
    for name, frame in frames.items():
        with atomic_path(out / f"{name}.csv") as temporary:
            frame.write_csv(temporary)
    notes = read_no_effect_notes(base, whatif)
    path = write_comparison(base, whatif, found, config.last_years, config.level, out, notes)
    for line in [*format_comparison(found, config.last_years, config.level), *(f"  {note}" for note in notes)]:
        print(line)
    print(f"written to {out}: comparison.csv, differences.csv, {path.name}")
    return 0


def read_no_effect_notes(*runs) -> list[str]:
    """Sentences on the interventions of these runs that could not change anything, as their manifests have them."""
    from linnaea.store import read_manifest

    return [
        f"{run.plan.scenario}: {line}."
        for run in runs
        for line in (read_manifest(run.run_dir) or {}).get("without_effect", ())
    ]
