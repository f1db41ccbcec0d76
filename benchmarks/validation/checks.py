"""Lines of validation pages: a claim, the expected value, the obtained value, the tolerance."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

from hardware import describe_hardware, show_command, write_result


@dataclass(frozen=True, kw_only=True)
class Result:
    """One line: a claim, its expected and obtained value, and the tolerance between them."""

    claim: str
    expected: float
    obtained: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether the value is within the tolerance."""
        return abs(self.obtained - self.expected) <= self.tolerance

    def text(self) -> str:
        """Return the line as a row of the page's table."""
        holds = "yes" if self.holds else "no"
        return f"| {self.claim} | {self.expected:.7g} | {self.obtained:.7g} | {self.tolerance:.2g} | {holds} |"


def mean_over(claim: str, expected: float, obtained: Sequence[float]) -> Result:
    """Return the line of a mean over seeds, with a tolerance of three standard errors."""
    error = float(np.std(obtained, ddof=1)) / math.sqrt(len(obtained))
    claim = f"{claim} ({len(obtained)} seeds; tolerance 3 s.e.)"
    return Result(claim=claim, expected=expected, obtained=float(np.mean(obtained)), tolerance=3 * error)


def page_options(description: str) -> argparse.ArgumentParser:
    """Return a parser with the option that every page has, its folder."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="folder for the result page")
    return parser


def write_page(
    name: str,
    title: str,
    results: Iterable[Result],
    folder: Path,
    argv: Sequence[str] | None,
    notes: Sequence[str] = (),
) -> int:
    """Write the page of the script `name`; return 1 if a line does not hold, else 0."""
    results = list(results)
    lines = [
        f"# {title}",
        "",
        f"- hardware: {describe_hardware()}",
        f"- command: `{show_command(f'validation/{name}', sys.argv[1:] if argv is None else argv)}`",
        f"- {sum(result.holds for result in results)} of {len(results)} hold",
        *(f"- {note}" for note in notes),
        "",
        "| result | expected | obtained | tolerance | holds |",
        "| --- | --- | --- | --- | --- |",
        *(result.text() for result in results),
    ]
    write_result(folder, name, lines)
    return 0 if all(result.holds for result in results) else 1
