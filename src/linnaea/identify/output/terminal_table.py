"""The table of predictions for a terminal: columns of fixed width, so that rows can be printed as they come.

Rich measures text (a wide character takes two columns) and decides on colours: none if the output is no terminal, or if
NO_COLOR is set.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from linnaea.records import Prediction

if TYPE_CHECKING:
    from rich.console import Console

HEADINGS = ("photograph", "name", "common name", "rank", "confidence")
SHARES = (0.30, 0.34, 0.36)
"Shares of the photograph, the name and the common name in what the columns of fixed width leave."
RANK_WIDTH, CONFIDENCE_WIDTH, GAP = 8, 16, 2
BAR_WIDTH = 10
DEFAULT_WIDTH, MIN_WIDTH, MAX_WIDTH = 110, 60, 160
STATUS_STYLES = {"unidentified": "yellow", "unreadable": "red"}


def measure_width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    from rich.cells import cell_len

    return cell_len(text)


def fit_text(text: str, width: int, *, keep_end: bool = False) -> str:
    """The text padded or cut to exactly `width` columns. A cut shows as …; `keep_end` cuts the start, as paths need."""
    from rich.cells import set_cell_size

    text = "".join(character if character.isprintable() else "·" for character in text)
    if measure_width(text) > width:
        text = "…" + _crop_start(text, width - 1) if keep_end else set_cell_size(text, width - 1).rstrip() + "…"
    return set_cell_size(text, width)


def _crop_start(text: str, width: int) -> str:
    """The end of the text, at most `width` columns of it."""
    kept = len(text)
    for character in reversed(text):
        width -= measure_width(character)
        if width < 0:
            break
        kept -= 1
    return text[kept:]


def draw_bar(fraction: float, width: int = BAR_WIDTH) -> str:
    """A bar of `width` columns, filled to an eighth of a column."""
    eighths = round(max(0.0, min(1.0, fraction)) * width * 8)
    full, rest = divmod(eighths, 8)
    text = "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")
    return text.ljust(width)


class TerminalTable:
    """Formats rows of predictions; the widths of its columns are fixed before the first row."""

    def __init__(self, *, width: int | None = None, colour: bool | None = None):
        """Fit the table to `width` columns (default: the terminal's); `colour` overrides what rich finds out."""
        width = width or shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns
        width = max(MIN_WIDTH, min(width, MAX_WIDTH))
        room = width - RANK_WIDTH - CONFIDENCE_WIDTH - GAP * (len(HEADINGS) - 1)
        first, second = int(room * SHARES[0]), int(room * SHARES[1])
        self._widths = (first, second, room - first - second, RANK_WIDTH, CONFIDENCE_WIDTH)
        self._console = _make_console(colour)

    def format_header(self) -> str:
        """The headings and a rule, two lines."""
        headings = self._join(HEADINGS, self._widths).rstrip()
        return self._paint(headings, "bold") + "\n" + "─" * (sum(self._widths) + GAP * (len(HEADINGS) - 1))

    def format_rows(self, predictions: Iterable[Prediction]) -> list[str]:
        """One line for each row. A photograph without a name has the reason there, then its other candidates."""
        return [self._format_row(prediction) for prediction in predictions]

    def _format_row(self, prediction: Prediction) -> str:
        file_width, *widths = self._widths
        file = fit_text(prediction.file if prediction.position == 1 else "", file_width, keep_end=True) + " " * GAP
        if prediction.status != "identified" and prediction.position > 1 and prediction.guess_name:
            confidence = f"{' ' * BAR_WIDTH} {prediction.guess_confidence or 0.0:4.0%}"
            cells = (f"or {prediction.guess_name}", "", prediction.guess_rank, confidence)
            return file + self._paint(self._join(cells, widths).rstrip(), STATUS_STYLES[prediction.status])
        if prediction.status != "identified":
            room = sum(widths) + GAP * (len(widths) - 1)
            reason = fit_text(f"{prediction.status}: {prediction.reason}", room).rstrip()
            return file + self._paint(reason, STATUS_STYLES[prediction.status])
        confidence = prediction.confidence or 0.0
        cells = (
            prediction.name,
            prediction.common_name,
            prediction.rank,
            f"{draw_bar(confidence)} {confidence:4.0%}",
        )
        return file + self._join(cells, widths).rstrip()

    def _join(self, texts: Sequence[str], widths: Sequence[int]) -> str:
        return (" " * GAP).join(fit_text(text, width) for text, width in zip(texts, widths, strict=True))

    def _paint(self, text: str, style: str) -> str:
        """The text with the terminal's codes for `style`, or as it is without colours."""
        if self._console.color_system is None or self._console.no_color:
            return text
        from rich.style import Style

        return Style.parse(style).render(text)


def _make_console(colour: bool | None) -> Console:
    """A console that knows whether stdout takes colours, or is told so by `colour`."""
    from rich.console import Console

    if colour is None:
        return Console()
    return Console(color_system="standard" if colour else None, force_terminal=colour, no_color=not colour)
